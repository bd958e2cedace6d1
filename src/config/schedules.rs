//! Schedules: when repairs run by themselves, checked so far that the calendar cannot fail.

use std::time::Duration;

use chrono_tz::{TZ_VARIANTS, Tz};

use super::YamlPath;
use super::cron::Cron;
use super::error::{Contradiction, nearest, suggestion};
use super::raw::{OneOrMany, RawSchedule};
use super::replicas::{check_name, first_twin};
use super::windows::{MINUTES_PER_DAY, Window, windows};
use crate::model::{KeyspaceName, Keyspaces};

/// When and for what a repair runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due: Due,
    /// The time zone that `cron`, `window` and `blackouts` are in.
    pub timezone: Tz,
    /// Its keyspaces; empty means all.
    pub keyspaces: Vec<KeyspaceName>,
    /// The parts of the day in which it may work; empty means all day.
    pub windows: Vec<Window>,
    /// The parts of the day in which it may not, whatever the windows say.
    pub blackouts: Vec<Window>,
    /// The longest that a run is put off, by chance, so that many do not start at once.
    pub jitter: Duration,
    /// How long a run may work; one that takes longer is ended.
    pub deadline: Option<Duration>,
}

/// When a schedule is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// By a cron expression of five fields.
    Cron(Cron),
    /// In steps of this length.
    Every(Duration),
}

impl Schedule {
    /// The shortest step: a run is more than a look.
    pub const SHORTEST_EVERY: Duration = Duration::from_secs(1);

    /// Whether a minute of the week on the wall, from Monday, midnight on, is in a window and in no blackout.
    pub fn open_minutes(&self) -> Vec<bool> {
        let mut open = vec![self.windows.is_empty(); 7 * usize::from(MINUTES_PER_DAY)];
        for window in &self.windows {
            mark(&mut open, window, true);
        }
        for blackout in &self.blackouts {
            mark(&mut open, blackout, false);
        }
        open
    }
}

fn mark(minutes: &mut [bool], window: &Window, open: bool) {
    let (week, day_length) = (minutes.len(), usize::from(MINUTES_PER_DAY));
    for day in (0..7_u8).filter(|day| window.days.has(*day)) {
        let start = usize::from(day) * day_length + usize::from(window.from_minute);
        for minute in start..start + usize::from(window.minutes()) {
            minutes[minute % week] = open;
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

/// When it may work. An empty list would be taken for always by some, and for never by others.
fn open_windows(raw: Option<&OneOrMany>, at: &YamlPath) -> Result<Vec<Window>, Contradiction> {
    match windows(raw, at)? {
        list if list.is_empty() && raw.is_some() => Err(Contradiction::new(
            at.clone(),
            "the list is empty",
            "leave it out for always, or write one like \"01:00-06:00\"",
        )),
        list => Ok(list),
    }
}

fn schedule(
    raw: &RawSchedule,
    at: &YamlPath,
    keyspaces: &Keyspaces,
) -> Result<Schedule, Contradiction> {
    check_name(&raw.name, at.key("name"))?;
    let due = due(raw, at)?;
    let found = Schedule {
        name: raw.name.clone(),
        timezone: timezone(raw.timezone.as_deref(), at.key("timezone"))?,
        keyspaces: scheduled_keyspaces(raw, &at.key("keyspaces"), keyspaces)?,
        windows: open_windows(raw.window.as_ref(), &at.key("window"))?,
        blackouts: windows(raw.blackouts.as_ref(), &at.key("blackouts"))?,
        jitter: jitter(raw, &due, at.key("jitter"))?,
        deadline: deadline(raw, at.key("deadline"))?,
        due,
    };
    if !found.open_minutes().contains(&true) {
        let what = "blackouts leave no minute of the week";
        let advice = "shorten them, or remove the schedule";
        return Err(Contradiction::new(at.key("blackouts"), what, advice));
    }
    Ok(found)
}

fn due(raw: &RawSchedule, at: &YamlPath) -> Result<Due, Contradiction> {
    match (&raw.cron, raw.every) {
        (Some(text), None) => cron(text, at.key("cron")).map(Due::Cron),
        (None, Some(every)) if every.0.is_zero() => Err(Contradiction::new(
            at.key("every"),
            "every 0 never rests",
            "write one like 15m",
        )),
        (None, Some(every)) if every.0 < Schedule::SHORTEST_EVERY => Err(Contradiction::new(
            at.key("every"),
            "this is shorter than a second",
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

fn cron(text: &str, at: YamlPath) -> Result<Cron, Contradiction> {
    Cron::parse(text).map_err(|why| {
        let what = "this is not a cron expression";
        let what = why.map_or_else(|| what.into(), |why| format!("{what} ({why})"));
        let advice = "write five fields: minute hour day month weekday, such as \"0 2 * * *\"";
        Contradiction::new(at, what, advice)
    })
}

fn timezone(text: Option<&str>, at: YamlPath) -> Result<Tz, Contradiction> {
    let Some(text) = text else {
        return Ok(Tz::UTC);
    };
    text.parse().map_err(|_| {
        let advice = match nearest(text, TZ_VARIANTS.iter().map(|zone| zone.name())) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write one like UTC or Europe/Berlin".into(),
        };
        Contradiction::new(at, format!("there is no time zone `{text}`"), advice)
    })
}

/// Jitter stays below the time between two runs, so that it never swaps them.
fn jitter(raw: &RawSchedule, due: &Due, at: YamlPath) -> Result<Duration, Contradiction> {
    let jitter = raw.jitter.map_or(Duration::ZERO, |found| found.0);
    let distance = match due {
        Due::Every(every) => Some(*every),
        Due::Cron(cron) => cron
            .shortest_distance()
            .and_then(|found| found.to_std().ok()),
    };
    match distance {
        Some(distance) if !jitter.is_zero() && jitter >= distance => Err(Contradiction::new(
            at,
            "a run would be put off beyond the next one",
            format!("write less than {}", humantime::format_duration(distance)),
        )),
        _ => Ok(jitter),
    }
}

fn deadline(raw: &RawSchedule, at: YamlPath) -> Result<Option<Duration>, Contradiction> {
    match raw.deadline.map(|found| found.0) {
        Some(deadline) if deadline.is_zero() => Err(Contradiction::new(
            at,
            "a deadline of 0 leaves no time",
            "write one like 4h",
        )),
        deadline => Ok(deadline),
    }
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
