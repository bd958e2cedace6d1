//! What is remembered of schedules, as it is kept in the state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::model::Millis;

/// What is remembered of all schedules, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlannerMemory {
    /// By name.
    pub schedules: BTreeMap<String, ScheduleMemory>,
    /// Names of schedules that an operator paused and that are not configured at present: they come back paused.
    #[serde(default)]
    pub paused: BTreeSet<String>,
}

/// What is remembered of one schedule. Times in JSON are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleMemory {
    /// When it was first seen.
    #[serde(with = "time")]
    pub known_since: Millis,
    /// The latest due time that a run served: all up to it are.
    #[serde(with = "maybe", default)]
    pub last_due: Option<Millis>,
    /// When a run last started, or went on.
    #[serde(with = "maybe", default)]
    pub last_started: Option<Millis>,
    /// When a run last ended, in whatever way.
    #[serde(with = "maybe", default)]
    pub last_ended: Option<Millis>,
    /// When a run last ended that missed nothing.
    #[serde(with = "maybe", default)]
    pub last_success: Option<Millis>,
    /// Whether an operator paused it.
    #[serde(default)]
    pub paused: bool,
    /// Since when an operator waits for a run.
    #[serde(with = "maybe", default)]
    pub asked: Option<Millis>,
    /// The run that has not ended: it works, rests, or was cut off.
    #[serde(default)]
    pub open: Option<OpenRun>,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// When it was due.
    #[serde(with = "time")]
    pub due: Millis,
    /// How long it worked before it last rested, in milliseconds.
    pub worked_ms: u64,
    /// Since when it works; nothing while it rests.
    #[serde(with = "maybe", default)]
    pub working_since: Option<Millis>,
    /// The number of the run that works, or last worked, on it.
    #[serde(default)]
    pub run: Option<u64>,
    /// Whether an operator paused it: it waits until it is resumed, also after a restart.
    #[serde(default)]
    pub paused: bool,
}

/// How many paused schedules that are not configured are remembered.
const MOST_PAUSED: usize = 1000;

impl PlannerMemory {
    /// The paused schedules that are none of these.
    pub(super) fn paused_beside<'a>(
        &'a self,
        configured: impl Iterator<Item = &'a str> + Clone,
    ) -> BTreeSet<String> {
        let known = self.schedules.iter();
        let known = known
            .filter(|(_, memory)| memory.paused)
            .map(|(name, _)| name);
        let absent = known
            .chain(&self.paused)
            .filter(|name| !configured.clone().any(|one| one == name.as_str()));
        absent.take(MOST_PAUSED).cloned().collect()
    }
}

impl ScheduleMemory {
    /// The memory of a schedule that nothing is known of.
    pub fn known_since(now: Millis) -> Self {
        Self {
            known_since: now,
            last_due: None,
            last_started: None,
            last_ended: None,
            last_success: None,
            paused: false,
            asked: None,
            open: None,
        }
    }

    /// A run starts, or goes on: everything that was due by then, and what was asked for, is served by it.
    pub(super) fn begin(&mut self, due: Millis, now: Millis) {
        let open = self.open.get_or_insert(OpenRun {
            due,
            worked_ms: 0,
            working_since: None,
            run: None,
            paused: false,
        });
        open.working_since = Some(now);
        self.last_due = Some(self.last_due.map_or(open.due, |last| last.max(open.due)));
        self.last_started = Some(now);
        self.asked = None;
    }

    /// The run ended, or rests.
    pub(super) fn end(&mut self, outcome: Outcome, now: Millis) {
        let worked = self.worked(now);
        match outcome {
            Outcome::Closed => {
                if let Some(open) = &mut self.open {
                    open.worked_ms = u64::try_from(worked.as_millis()).unwrap_or(u64::MAX);
                    open.working_since = None;
                }
                return;
            }
            Outcome::Done => self.last_success = Some(now),
            Outcome::Partial | Outcome::Failed | Outcome::Stopped | Outcome::Deadline => {}
        }
        self.open = None;
        self.last_ended = Some(now);
    }

    /// How long the run that has not ended worked so far.
    pub(super) fn worked(&self, now: Millis) -> Duration {
        let Some(open) = &self.open else {
            return Duration::ZERO;
        };
        let since = open.working_since.map_or(0, |since| now.0 - since.0);
        Duration::from_millis(open.worked_ms)
            + Duration::from_millis(u64::try_from(since).unwrap_or(0))
    }

    /// What a process that starts makes of it.
    ///
    /// A run that was under way was cut off, nobody knows when: it rests, and what it worked since it last started does
    /// not count. Times ahead of the clock are not believed: a clock that was wrong must not silence a schedule for
    /// years.
    pub(super) fn restore(&mut self, now: Millis) {
        if let Some(open) = &mut self.open {
            open.working_since = None;
            open.due = open.due.min(now);
        }
        for time in [
            &mut self.last_due,
            &mut self.last_started,
            &mut self.last_ended,
            &mut self.last_success,
            &mut self.asked,
        ] {
            *time = time.map(|found| found.min(now));
        }
    }
}

/// A time as milliseconds.
mod time {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Millis;

    pub(super) fn serialize<S: Serializer>(at: &Millis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(at.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
        i64::deserialize(from).map(Millis)
    }
}

/// A time that may be none.
mod maybe {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::Millis;

    pub(super) fn serialize<S: Serializer>(at: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
        at.map(|at| at.0).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Millis>, D::Error> {
        Option::<i64>::deserialize(from).map(|found| found.map(Millis))
    }
}
