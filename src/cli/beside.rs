//! Commands beside a service that holds the state directory: what they would read there, they ask the service for.
//!
//! ```text
//! state directory ─ open: ours ─▶ as ever
//!        └─ held by a service, whose lock says where it is asked ─▶ its API
//! ```

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::args::Format;
use super::args::memory::StateArgs;
use super::args::service::{ReachArgs, ServiceArgs};
use super::client::Client;
use super::commands::{config_variable, trouble_of};
use super::runs::open;
use crate::app::{Exit, Trouble};
use crate::state::State;

/// Where what runs remember is found.
pub(super) enum Place {
    /// In the state directory, which nobody else works on.
    Here(State),
    /// At the service.
    There(Client),
}

/// Finds what runs remember.
pub(super) fn place(state: &StateArgs, reach: &ReachArgs) -> anyhow::Result<Place> {
    let config = state.config.as_ref();
    if let Some(client) = named(config, reach)? {
        return Ok(Place::There(client));
    }
    match open(state) {
        Ok(state) => Ok(Place::Here(state)),
        Err(error) => Ok(Place::There(holder(error, config, reach)?)),
    }
}

/// The service that was named.
pub(super) fn named(config: Option<&PathBuf>, reach: &ReachArgs) -> anyhow::Result<Option<Client>> {
    let named = reach.url.as_deref();
    named.map(|url| client(config, reach, url)).transpose()
}

/// The service that holds the state directory.
///
/// # Errors
/// The error itself, if it is no such thing.
pub(super) fn holder(
    error: anyhow::Error,
    config: Option<&PathBuf>,
    reach: &ReachArgs,
) -> anyhow::Result<Client> {
    let url = service_of(&error).map(str::to_owned);
    match url {
        Some(url) => client(config, reach, &url),
        None => Err(error),
    }
}

/// Where the service is asked that was in the way of a command.
pub(super) fn service_of(error: &anyhow::Error) -> Option<&str> {
    trouble_of(error).and_then(Trouble::service)
}

/// What else to do about an error, if a service is why.
pub(super) fn with_advice(error: anyhow::Error, advice: impl FnOnce() -> String) -> anyhow::Error {
    match service_of(&error) {
        Some(_) => error.context(advice()),
        None => error,
    }
}

fn client(config: Option<&PathBuf>, reach: &ReachArgs, url: &str) -> anyhow::Result<Client> {
    let variable = config_variable().filter(|path| !path.is_empty());
    let service = ServiceArgs {
        // Its token and certificate are in the configuration, wherever the address comes from.
        config: config.cloned().or_else(|| variable.map(PathBuf::from)),
        url: Some(url.to_owned()),
        token_file: reach.token_file.clone(),
        ca_file: reach.ca_file.clone(),
        format: Format::Human,
    };
    Client::new(&service, None)
}

/// Asks on a thread that may wait, and leaves it alone when it is to stop.
pub(super) async fn asking(
    stop: CancellationToken,
    ask: impl FnOnce() -> anyhow::Result<Exit> + Send + 'static,
) -> anyhow::Result<Exit> {
    let asking = tokio::task::spawn_blocking(ask);
    tokio::select! {
        answered = asking => answered?,
        () = stop.cancelled() => {
            tracing::warn!("what the service was asked for goes on there: `reknit status`, `reknit cancel`");
            Ok(Exit::Interrupted)
        }
    }
}

/// What to do where the service cannot do it.
pub(super) fn stop_first() -> String {
    "a service works on it and cannot do this: stop it (`systemctl stop reknit`), and start it behind this".into()
}
