//! Tells a service by HTTP that somebody has to look: JSON, signed, retried, bounded.
//!
//! ```text
//! send --try--> queue of 64 --> thread `webhook` --POST--> the service
//!   full: dropped, counted       5 attempts, 1 s, 2 s, 4 s, 8 s between
//! ```
//!
//! Whoever sends never waits. One attempt is bounded by its time-out, one event by its attempts, all of them by the
//! queue; at the end there is a bounded time to empty it. What a receiver needs to trust a message is its signature:
//! `X-Reknit-Signature: sha256=` and the HMAC-SHA256 of the body under the secret, in hexadecimal. A message that
//! comes twice has the same `id`. Nothing of a key's name or value is sent, and the URL is never logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use ureq::Agent;

use crate::config::{ConfigError, EventKind, WebhookConfig};
use crate::model::{Millis, Secret};

/// The most events that wait.
pub const QUEUE: usize = 64;
/// The most attempts for one event.
pub const ATTEMPTS: u32 = 5;
/// The header of the signature.
pub const SIGNATURE: &str = "X-Reknit-Signature";
/// How long [`Webhook::stop`] waits for the queue to empty.
pub const DRAIN: Duration = Duration::from_secs(5);
/// How long one attempt may take while it empties.
const LAST_ATTEMPT: Duration = Duration::from_secs(2);
/// The pause before the second attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Something that somebody has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is.
    pub kind: EventKind,
    /// When it happened.
    pub at: Millis,
    /// The schedule it is about.
    pub schedule: Option<String>,
    /// The run it is about.
    pub run: Option<String>,
    /// What happened, in a sentence, without names of keys.
    pub message: String,
}

/// What became of events, for metrics: all of them rise only.
#[derive(Debug, Default)]
pub struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Events that were taken.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Events that were given up after their last attempt.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Events that found the queue full, or were left in it at the end.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The way to the service that is told.
#[derive(Debug)]
pub struct Webhook {
    queue: SyncSender<Event>,
    events: Vec<EventKind>,
    counts: Arc<Counts>,
    /// Dropped to stop pauses.
    stop: Sender<()>,
    ended: Receiver<()>,
}

impl Webhook {
    /// Reads the secret and starts the thread.
    ///
    /// # Errors
    /// [`ConfigError::Password`] if the secret cannot be read.
    pub fn start(config: &WebhookConfig) -> Result<Self, ConfigError> {
        Ok(Self::with_pause(config, config.secret()?, FIRST_PAUSE))
    }

    fn with_pause(config: &WebhookConfig, secret: Option<Secret>, pause: Duration) -> Self {
        let (queue, events) = sync_channel(QUEUE);
        let (stop, stopping) = channel();
        let (end, ended) = channel();
        let counts = Arc::new(Counts::default());
        let courier = Courier {
            url: config.url.clone(),
            secret,
            timeout: config.timeout,
            pause,
            stopping,
            counts: Arc::clone(&counts),
        };
        let body = move || {
            courier.work(&events);
            // Nobody may wait for it any more.
            let _ = end.send(());
        };
        let thread = std::thread::Builder::new().name("webhook".into());
        if let Err(error) = thread.spawn(body) {
            tracing::error!("nobody will be told by webhook, no thread could be started: {error}");
        }
        Self {
            queue,
            events: config.events.clone(),
            counts,
            stop,
            ended,
        }
    }

    /// Tells of an event, if the configuration says so. Never waits: an event that finds the queue full is dropped and
    /// counted.
    pub fn send(&self, event: Event) {
        if !self.events.contains(&event.kind) {
            return;
        }
        match self.queue.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(event) | TrySendError::Disconnected(event)) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("nobody is told of `{}`: too many wait", event.kind);
            }
        }
    }

    /// What became of events so far.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Ends it: what waits gets one attempt each, all together [`DRAIN`]. Blocks that long at most.
    pub fn stop(self) {
        drop(self.queue);
        drop(self.stop);
        if self.ended.recv_timeout(DRAIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("webhook: gave up on what was still waiting");
        }
    }
}

/// The JSON body. Keys are only ever added.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    id: String,
    event: &'static str,
    at_ms: i64,
    schedule: Option<&'a str>,
    run: Option<&'a str>,
    message: &'a str,
    reknit: &'static str,
}

/// The thread that tells.
struct Courier {
    url: Secret,
    secret: Option<Secret>,
    timeout: Duration,
    pause: Duration,
    stopping: Receiver<()>,
    counts: Arc<Counts>,
}

/// What became of one attempt.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Taken,
    /// Worth another attempt.
    Failed(String),
    /// It would be refused again.
    Refused(String),
}

impl Courier {
    fn work(&self, events: &Receiver<Event>) {
        let agent = agent();
        let mut number = 0_u64;
        while let Ok(event) = events.recv() {
            number += 1;
            let id = format!("{}-{number}", event.at.0);
            match self.deliver(&agent, &event, id) {
                Ok(()) => self.counts.delivered.fetch_add(1, Ordering::Relaxed),
                Err(why) => {
                    tracing::warn!("nobody was told of `{}`: {why}", event.kind);
                    self.counts.failed.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
    }

    fn deliver(&self, agent: &Agent, event: &Event, id: String) -> Result<(), String> {
        let body = body(event, id);
        let mut pause = self.pause;
        for attempt in 1.. {
            let why = match self.attempt(agent, event.kind, &body) {
                Attempt::Taken => return Ok(()),
                Attempt::Refused(why) => return Err(why),
                Attempt::Failed(why) => why,
            };
            if attempt == ATTEMPTS || !self.rest(pause) {
                return Err(why);
            }
            pause *= 2;
        }
        unreachable!("the loop ends with the last attempt")
    }

    fn attempt(&self, agent: &Agent, kind: EventKind, body: &[u8]) -> Attempt {
        let timeout = match self.is_stopping() {
            true => self.timeout.min(LAST_ATTEMPT),
            false => self.timeout,
        };
        let mut request = agent
            .post(self.url.expose())
            .header("Content-Type", "application/json")
            .header("X-Reknit-Event", kind.name());
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, signature(secret, body));
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        match request.send(body) {
            Ok(response) => judge(response.status().as_u16()),
            Err(error) => Attempt::Failed(reason(&error).into()),
        }
    }

    /// Whether the pause passed; not if it is to stop.
    fn rest(&self, pause: Duration) -> bool {
        self.stopping.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
    }

    fn is_stopping(&self) -> bool {
        !self.rest(Duration::ZERO)
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        // A redirect would carry the message, and a secret URL, elsewhere.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("reknit/", env!("CARGO_PKG_VERSION")));
    config.build().new_agent()
}

fn body(event: &Event, id: String) -> Vec<u8> {
    let body = Body {
        version: 1,
        id,
        event: event.kind.name(),
        at_ms: event.at.0,
        schedule: event.schedule.as_deref(),
        run: event.run.as_deref(),
        message: &event.message,
        reknit: env!("CARGO_PKG_VERSION"),
    };
    serde_json::to_vec(&body).expect("strings and numbers are JSON")
}

/// `sha256=` and the HMAC-SHA256 of the body in hexadecimal.
fn signature(secret: &Secret, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn judge(status: u16) -> Attempt {
    match status {
        200..300 => Attempt::Taken,
        408 | 425 | 429 | 500.. => Attempt::Failed(format!("it answered {status}")),
        _ => Attempt::Refused(format!("it answered {status}")),
    }
}

/// SUBTLE: not the error's own words, they may repeat the URL.
fn reason(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "it did not answer in time",
        ureq::Error::HostNotFound => "its host is not known",
        ureq::Error::ConnectionFailed | ureq::Error::Io(_) => "it cannot be reached",
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => "its certificate or TLS is not accepted",
        _ => "it does not speak HTTP",
    }
}

#[cfg(test)]
mod tests;
