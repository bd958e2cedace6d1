//! Who is told of what, beside the log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Contradiction, suggestion};
use super::http::{file, secret};
use super::raw::{RawNotifications, RawWebhook};
use super::{ConfigError, YamlPath};
use crate::model::Secret;

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notifications {
    /// A service that is told by HTTP.
    pub webhook: Option<WebhookConfig>,
}

/// A service that is told by a POST with a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where to: a secret, because many services know their users by nothing else.
    pub url: Secret,
    /// A file with the secret that bodies are signed with; nothing means they are not signed.
    pub secret_file: Option<PathBuf>,
    /// What it is told, in the order of [`EventKind::ALL`].
    pub events: Vec<EventKind>,
    /// How long one attempt may take.
    pub timeout: Duration,
}

impl WebhookConfig {
    /// How long one attempt may take where nothing is said.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// The longest that one attempt may take.
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

    /// The secret that bodies are signed with, if they are.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if its file cannot be read or is empty.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        secret("notifications.webhook", self.secret_file.as_deref())
    }
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A guard stopped a run.
    GuardTripped,
    /// A schedule had no full success for too long.
    Overdue,
    /// A run missed a replica, a segment or a key.
    Partial,
    /// A run left conflicts to people.
    ConflictReport,
    /// A run failed.
    Failed,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::GuardTripped,
        Self::Overdue,
        Self::Partial,
        Self::ConflictReport,
        Self::Failed,
    ];

    /// Its name in YAML and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::GuardTripped => "guard-tripped",
            Self::Overdue => "overdue",
            Self::Partial => "partial",
            Self::ConflictReport => "conflict-report",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads who is told.
pub(super) fn notifications(
    raw: Option<&RawNotifications>,
    base_dir: &Path,
) -> Result<Notifications, Contradiction> {
    let at = YamlPath::of("notifications").key("webhook");
    let webhook = raw.and_then(|raw| raw.webhook.as_ref());
    Ok(Notifications {
        webhook: webhook
            .map(|raw| self::webhook(raw, &at, base_dir))
            .transpose()?,
    })
}

fn webhook(
    raw: &RawWebhook,
    at: &YamlPath,
    base_dir: &Path,
) -> Result<WebhookConfig, Contradiction> {
    let timeout = raw.timeout.map_or(WebhookConfig::TIMEOUT, |found| found.0);
    if timeout.is_zero() || timeout > WebhookConfig::MAX_TIMEOUT {
        return Err(Contradiction::new(
            at.key("timeout"),
            "this is not above 0 and at most a minute",
            "write one like 10s",
        ));
    }
    Ok(WebhookConfig {
        url: webhook_url(raw, at)?,
        secret_file: file(raw.secret_file.as_deref(), at.key("secret_file"), base_dir)?,
        events: events(raw.events.as_deref(), &at.key("events"))?,
        timeout,
    })
}

/// SUBTLE: no complaint repeats the URL, it may be a secret.
fn webhook_url(raw: &RawWebhook, at: &YamlPath) -> Result<Secret, Contradiction> {
    let Some(text) = &raw.url else {
        let what = "nothing says where to";
        return Err(Contradiction::new(at.clone(), what, "add `url:`"));
    };
    let known = url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !known {
        return Err(Contradiction::new(
            at.key("url"),
            "this is not an http or https url",
            "write one like https://alerts.example.com/reknit",
        ));
    }
    Ok(Secret::new(text.as_str()))
}

fn events(raw: Option<&[String]>, at: &YamlPath) -> Result<Vec<EventKind>, Contradiction> {
    let Some(names) = raw else {
        return Ok(EventKind::ALL.to_vec());
    };
    let known = EventKind::ALL.map(EventKind::name);
    if let Some(index) = names
        .iter()
        .position(|name| !known.contains(&name.as_str()))
    {
        let what = format!("unknown event `{}`", names[index]);
        let advice = suggestion(&names[index], &known);
        return Err(Contradiction::new(at.item(index), what, advice));
    }
    let named = |kind: &EventKind| names.iter().any(|name| name == kind.name());
    Ok(EventKind::ALL.into_iter().filter(named).collect())
}
