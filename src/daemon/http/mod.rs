//! Status, metrics and the API over HTTP.
//!
//! ```text
//! request ─▶ bounds (size, time) ─▶ token, origin ─▶ route ─▶ desk
//! ```

pub mod api;
pub mod ask;
mod document;
pub mod error;
pub mod explain;
pub mod extract;
pub mod gate;
pub mod keys;
pub mod limits;
pub mod node;
pub mod run;
mod strict;
pub mod text;
pub mod undo;
pub mod view;
pub mod writes;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum_server::Handle;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::config::HttpConfig;

use super::desk::Desk;
use error::ApiError;
use gate::Door;
use keys::Keys;

/// The largest body that is read.
const BODY_BYTES: usize = 1 << 20;

/// The largest head of a request that is read.
const HEAD_BYTES: usize = 64 << 10;

/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long requests under way may take when the service ends.
const GRACE: Duration = Duration::from_secs(2);

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpTrouble {
    /// The address.
    #[error("cannot listen on {0}: does another reknit? Else change http.listen")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The token.
    #[error("http.token_file {0}: {1}")]
    Token(std::path::PathBuf, String),
    /// The certificate or key.
    #[error("http.tls: {certificate} with {key} cannot be used", certificate = .certificate.display(), key = .key.display())]
    Tls {
        /// The certificate.
        certificate: std::path::PathBuf,
        /// The key.
        key: std::path::PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
}

/// What is served, and where.
pub struct Http {
    listener: TcpListener,
    keys: Arc<Keys>,
}

impl Http {
    /// Listens. Nothing is answered yet.
    ///
    /// # Errors
    /// When the address is taken, or the token, certificate or key cannot be read.
    pub async fn bind(config: &HttpConfig) -> Result<Self, HttpTrouble> {
        let keys = Keys::read(config).await?;
        let failed = |source| HttpTrouble::Listen(config.listen, source);
        let listener = TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener, keys })
    }

    /// What is shown and asked for at the door.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.clone()
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is told to stop.
    ///
    /// # Errors
    /// When connections cannot be accepted any more.
    pub async fn serve(self, desk: Arc<Desk>, stop: CancellationToken) -> std::io::Result<()> {
        let door = Door {
            listen: self.address()?.ip(),
            keys: self.keys.clone(),
        };
        let service = router(desk, door).into_make_service();
        let handle = Handle::new();
        tokio::spawn({
            let handle = handle.clone();
            async move {
                stop.cancelled().await;
                handle.graceful_shutdown(Some(GRACE));
            }
        });
        match self.keys.tls() {
            Some(tls) => {
                let mut server = axum_server::from_tcp_rustls(self.listener, tls)?.handle(handle);
                bound(server.http_builder());
                server.serve(service).await
            }
            None => {
                let mut server = axum_server::from_tcp(self.listener)?.handle(handle);
                bound(server.http_builder());
                server.serve(service).await
            }
        }
    }
}

/// Bounds the head of a request, in bytes and time.
fn bound(builder: &mut Builder<TokioExecutor>) {
    builder
        .http1()
        .max_buf_size(HEAD_BYTES)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME);
}

/// All routes.
pub fn router(desk: Arc<Desk>, door: Door) -> Router {
    let guarded = door.keys.token().is_some();
    let api = Router::new()
        .route("/status", get(api::status))
        .route("/runs", get(api::runs).post(api::start))
        .route("/runs/{id}", get(api::run))
        .route("/runs/{id}/divergences", get(api::divergences))
        .route("/runs/{id}/writes", get(writes::writes))
        .route("/runs/{id}/pause", post(api::pause))
        .route("/runs/{id}/resume", post(api::resume))
        .route("/runs/{id}/cancel", post(api::cancel))
        .route("/runs/{id}/undo", post(undo::undo))
        .route("/runs/{id}/undone", get(undo::undone))
        .route("/schedules", get(api::schedules))
        .route("/schedules/{name}/run", post(api::run_now))
        .route("/schedules/{name}/cancel", post(api::withdraw))
        .route("/schedules/{name}/pause", post(api::pause_schedule))
        .route("/schedules/{name}/resume", post(api::resume_schedule))
        .route("/explain", get(explain::explain))
        .route("/reload", post(api::reload))
        .route("/limits", get(limits::limits).put(limits::set_limits))
        .route(
            "/openapi.json",
            get(async move || document::document(guarded).await),
        );
    let admitted = Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(Arc::new(door), gate::admit));
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .merge(admitted)
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn(gate::in_time))
        .with_state(desk)
}

/// Whether it answers at all. Needs no token.
#[utoipa::path(get, path = "/healthz", tag = "service", responses(
    (status = 200, description = "It does", body = String, content_type = "text/plain")))]
async fn healthy() -> &'static str {
    "ok\n"
}

/// Whether runs begin when they are due. Needs no token.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, description = "They do", body = String, content_type = "text/plain"),
    (status = 503, description = "It is starting or ending", body = String, content_type = "text/plain")))]
async fn ready(Shared(desk): Shared<Arc<Desk>>) -> (StatusCode, &'static str) {
    match desk.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

/// The state directory is measured meanwhile, on a thread that may wait for the disk.
async fn metrics(
    Shared(desk): Shared<Arc<Desk>>,
) -> Result<([(header::HeaderName, &'static str); 1], String), ApiError> {
    let text = move || desk.metrics.text(&desk, SystemClock.now());
    let text = tokio::task::spawn_blocking(text).await;
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    let text = text.map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text))
}

async fn unknown() -> ApiError {
    ApiError::not_found("there is nothing at this address; /api/v1/openapi.json says what there is")
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this address does not take this method",
    )
}
