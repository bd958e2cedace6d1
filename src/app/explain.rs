//! Finds the keyspace of a key and asks what is to be said of it.

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::model::{Key, Keyspace, Selection, escape};
use crate::repair::{self, Explanation, Mode, RunError};
use crate::state::State;

use super::Exit;
use super::fleet::{Fleet, Plan, Trouble, plan};
use super::memory::{look_into, open};
use super::preflight::preflight;

/// Why a key cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum Unexplained {
    /// It is one of reknit's own.
    #[error(
        "key {0} is one of reknit's own: those are never compared, `reknit clean` removes them"
    )]
    Own(String),
    /// No keyspace owns it.
    #[error(
        "key {0} is in no keyspace, so no run looks at it: add one that matches, or name a database with --db"
    )]
    NoKeyspace(String),
    /// The replicas.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Explains one key; writes nothing.
///
/// # Errors
/// When no run would look at it, or fewer than two replicas can be read.
pub async fn explain(
    config: &Config,
    fleet: &Fleet,
    key: Key,
    stop: CancellationToken,
) -> Result<Explanation, Unexplained> {
    explain_with(config, fleet, key, Recalling::Opened, stop).await
}

/// Explains one key with what a service remembers, which keeps its state directory open; nothing for one without memory.
///
/// # Errors
/// As [`explain`].
pub async fn explain_beside(
    config: &Config,
    fleet: &Fleet,
    key: Key,
    (state, stop): (Option<State>, CancellationToken),
) -> Result<Explanation, Unexplained> {
    explain_with(config, fleet, key, Recalling::Held(state), stop).await
}

/// Where what is remembered comes from.
enum Recalling {
    /// From the state directory of the configuration.
    Opened,
    /// From one that is open.
    Held(Option<State>),
}

async fn explain_with(
    config: &Config,
    fleet: &Fleet,
    key: Key,
    recalling: Recalling,
    stop: CancellationToken,
) -> Result<Explanation, Unexplained> {
    let shown = || escape(key.as_bytes());
    if key.is_own() {
        return Err(Unexplained::Own(shown()));
    }
    let keyspace = owner(config, &key).ok_or_else(|| Unexplained::NoKeyspace(shown()))?;
    preflight(fleet, Mode::Diff, config.layout(), config.keyspaces.iter()).await?;
    let planned = Plan {
        mode: Mode::Plan,
        limit: None,
        force_markers: false,
        force_overwrites: None,
        force_deletes: None,
    };
    let mut run = plan(config, fleet, Selection::default(), planned, stop)?;
    let memory = match recalling {
        Recalling::Opened => open(config, fleet, Mode::Plan, run.clock.as_ref())?,
        Recalling::Held(state) => state
            .map(|state| look_into(state, config, run.clock.as_ref()))
            .transpose()?,
    };
    if let Some(memory) = memory {
        run.digest_key = memory.state.digest_key();
        let number = memory.state.last_run();
        run.memory = Some(memory.of_run(number, config, false)?);
    }
    Ok(repair::explain(&run, keyspace, key).await?)
}

/// The keyspace that owns the key in the replicas' default database, else in the first other one.
fn owner<'a>(config: &'a Config, key: &Key) -> Option<&'a Keyspace> {
    let by_default = config.keyspaces.owner(None, key.as_bytes());
    by_default.or_else(|| {
        let mut others = config.keyspaces.iter();
        others.find(|keyspace| keyspace.pattern.matches(key.as_bytes()))
    })
}

/// How an explanation ends.
pub fn exit_of_explanation(explanation: &Explanation) -> Exit {
    if explanation.is_partial() {
        Exit::Partial
    } else if explanation.difference.is_some() {
        Exit::Diverged
    } else {
        Exit::InSync
    }
}
