//! Starts the service: what must be there before anything is due, and what stops it.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::{Exit, Trouble, open_for_service};
use crate::clock::SystemClock;
use crate::config::Config;

use super::http::{Http, HttpTrouble};
use super::notify::Notifier;
use super::segments::Patience;
use super::service::{Load, Service, Setup};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum Unstarted {
    /// What runs remember.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// What is served.
    #[error(transparent)]
    Http(#[from] HttpTrouble),
    /// The service manager.
    #[error(
        "NOTIFY_SOCKET names a socket that cannot be used: {0}; unset it, or start reknit by systemd"
    )]
    Notify(#[source] std::io::Error),
    /// Signals.
    #[error("signals cannot be taken: {0}")]
    Signals(#[source] std::io::Error),
}

/// Serves until it is told to stop.
///
/// # Errors
/// When the state directory, the address or a secret cannot be used. Nothing was begun then.
pub async fn serve(config: Config, load: Load, stop: CancellationToken) -> Result<Exit, Unstarted> {
    let clock = Arc::new(SystemClock);
    let notifier = Notifier::from_environment().map_err(Unstarted::Notify)?;
    let http = Http::bind(&config.http).await?;
    let address = http
        .address()
        .map_err(|error| HttpTrouble::Listen(config.http.listen, error))?;
    let url = config.http.url_at(address);
    let memory = open_for_service(&config, &url, &*clock)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Unstarted::Signals)?;
    let service = Service::new(Setup {
        config: Arc::new(config),
        load,
        memory,
        clock,
        patience: Patience::default(),
        notifier,
        url,
        keys: http.keys(),
    })?;
    let desk = service.desk();
    if desk.config().schedules.is_empty() {
        tracing::warn!("there are no schedules: runs begin only when they are asked for");
    }
    tracing::info!("listening on {address}");
    // It answers a little longer than the last run works.
    let served = CancellationToken::new();
    let serving = tokio::spawn(http.serve(desk, served.clone()));
    let (send, reload) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // One that waits already reads the same file.
            let _ = send.try_send(());
        }
    });
    let exit = service.serve(stop, reload).await;
    served.cancel();
    if let Ok(Err(error)) = serving.await {
        tracing::error!("HTTP: {error}");
    }
    Ok(exit)
}
