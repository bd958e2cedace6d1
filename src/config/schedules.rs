//! Schedules and the HTTP endpoint: checked for their shape and kept for the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::YamlPath;
use super::error::{Contradiction, suggestion};
use super::raw::{RawHttp, RawSchedule};
use super::replicas::{check_name, first_twin};
use crate::model::{KeyspaceName, Keyspaces};

/// When and for what a repair runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due: Due,
    /// The time zone that `cron` and `window` are in, by its IANA name.
    pub timezone: String,
    /// Its keyspaces; empty means all.
    pub keyspaces: Vec<KeyspaceName>,
    /// The part of the day in which it may work.
    pub window: Option<Window>,
}

/// When a schedule is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// By a cron expression of five fields.
    Cron(String),
    /// This long after the last.
    Every(Duration),
}

/// A part of the day; one that ends before it starts goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first minute of the day.
    pub from_minute: u16,
    /// The first minute of the day behind it.
    pub to_minute: u16,
}

/// Where status and metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// A file with the token that requests must bring; nothing means none is asked for.
    pub token_file: Option<PathBuf>,
}

impl HttpConfig {
    /// The address of a configuration that names none.
    pub const LISTEN: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(
        std::net::Ipv4Addr::LOCALHOST,
        9310,
    ));
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: Self::LISTEN,
            token_file: None,
        }
    }
}

/// Reads the schedules.
pub(super) fn schedules(
    raw: &[RawSchedule],
    keyspaces: &Keyspaces,
) -> Result<Vec<Schedule>, Contradiction> {
    let path = YamlPath::of("schedules");
    if let Some((index, name)) = first_twin(raw.iter().map(|raw| raw.name.as_str())) {
        let at = path.item(index).key("name");
        let what = format!("two schedules are named `{name}`");
        return Err(Contradiction::new(at, what, "give each its own name"));
    }
    raw.iter()
        .enumerate()
        .map(|(index, raw)| schedule(raw, &path.item(index), keyspaces))
        .collect()
}

fn schedule(
    raw: &RawSchedule,
    at: &YamlPath,
    keyspaces: &Keyspaces,
) -> Result<Schedule, Contradiction> {
    check_name(&raw.name, at.key("name"))?;
    let timezone = raw.timezone.clone().unwrap_or_else(|| "UTC".into());
    if !is_timezone(&timezone) {
        let advice = "write one like UTC or Europe/Berlin";
        return Err(Contradiction::new(
            at.key("timezone"),
            "this is not a time zone",
            advice,
        ));
    }
    Ok(Schedule {
        name: raw.name.clone(),
        due: due(raw, at)?,
        timezone,
        keyspaces: scheduled_keyspaces(raw, &at.key("keyspaces"), keyspaces)?,
        window: raw
            .window
            .as_deref()
            .map(|text| window(text, at.key("window")))
            .transpose()?,
    })
}

fn due(raw: &RawSchedule, at: &YamlPath) -> Result<Due, Contradiction> {
    match (&raw.cron, raw.every) {
        (Some(cron), None) if is_cron(cron) => Ok(Due::Cron(cron.clone())),
        (Some(_), None) => Err(Contradiction::new(
            at.key("cron"),
            "this is not a cron expression",
            "write five fields: minute hour day month weekday, such as \"0 2 * * *\"",
        )),
        (None, Some(every)) if every.0.is_zero() => Err(Contradiction::new(
            at.key("every"),
            "every 0 never rests",
            "write one like 15m",
        )),
        (None, Some(every)) => Ok(Due::Every(every.0)),
        (Some(_), Some(_)) => Err(Contradiction::new(
            at.key("every"),
            "there is a cron too",
            "keep one of them",
        )),
        (None, None) => {
            let what = format!("schedule `{}` is never due", raw.name);
            Err(Contradiction::new(
                at.clone(),
                what,
                "add `cron` or `every`",
            ))
        }
    }
}

fn is_cron(text: &str) -> bool {
    let field = |field: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"*/,-?#".contains(&byte);
        field.bytes().all(allowed)
    };
    text.split_whitespace().count() == 5 && text.split_whitespace().all(field)
}

fn is_timezone(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn scheduled_keyspaces(
    raw: &RawSchedule,
    at: &YamlPath,
    keyspaces: &Keyspaces,
) -> Result<Vec<KeyspaceName>, Contradiction> {
    let known: Vec<&str> = keyspaces.iter().map(|k| k.name.0.as_str()).collect();
    let named = raw.keyspaces.as_deref().unwrap_or_default();
    let missing = named
        .iter()
        .position(|name| !known.contains(&name.as_str()));
    if let Some(index) = missing {
        let name = &named[index];
        let what = format!("there is no keyspace `{name}`");
        return Err(Contradiction::new(
            at.item(index),
            what,
            suggestion(name, &known),
        ));
    }
    Ok(named.iter().cloned().map(KeyspaceName).collect())
}

fn window(text: &str, at: YamlPath) -> Result<Window, Contradiction> {
    let parsed = text
        .split_once('-')
        .and_then(|(from, to)| Some((minute(from)?, minute(to)?)))
        .filter(|(from, to)| from != to);
    let Some((from_minute, to_minute)) = parsed else {
        let advice = "write one like \"01:00-06:00\"";
        return Err(Contradiction::new(
            at,
            "this is not a part of the day",
            advice,
        ));
    };
    Ok(Window {
        from_minute,
        to_minute,
    })
}

/// `HH:MM` as a minute of the day.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Reads the HTTP endpoint.
pub(super) fn http(raw: &RawHttp, base_dir: &Path) -> Result<HttpConfig, Contradiction> {
    let at = YamlPath::of("http").key("listen");
    let listen = match &raw.listen {
        None => HttpConfig::LISTEN,
        Some(text) => text.parse().map_err(|_| {
            let what = "this is not an address and port";
            Contradiction::new(at, what, "write one like 127.0.0.1:9310 or [::1]:9310")
        })?,
    };
    let token_file = raw.token_file.as_ref().map(|file| base_dir.join(file));
    Ok(HttpConfig { listen, token_file })
}
