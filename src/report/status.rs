//! What the service says of itself: `status`, `limits`, and what was asked of it.
//!
//! It comes as the API's JSON. The JSON forms pass it on as it is; the form for people reads what it shows.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Shape, document, human};

/// The schema of the status.
const STATUS_SCHEMA: &str = "reknit.status/1";
/// The schema of the limits.
const LIMITS_SCHEMA: &str = "reknit.limits/1";
/// The schema of what was asked.
const ASKED_SCHEMA: &str = "reknit.asked/1";

/// The service as it stands, and as it says so.
pub struct StatusReport {
    body: Value,
    pub(super) seen: Seen,
}

/// The limits, as the service says them.
pub struct LimitsReport {
    body: Value,
    pub(super) seen: SeenLimits,
}

/// What was asked of the service, and done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskedReport {
    /// What, in words.
    pub done: String,
    /// The run that it is about.
    pub run: Option<u64>,
    /// The schedule that it is about.
    pub schedule: Option<String>,
    /// How the run ended, if that was waited for.
    pub state: Option<String>,
}

/// What is shown of the service.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    pub(super) version: String,
    pub(super) began_ms: i64,
    pub(super) now_ms: i64,
    pub(super) current: Option<SeenRun>,
    pub(super) last: Option<SeenRun>,
    pub(super) schedules: Vec<SeenSchedule>,
    pub(super) limits: SeenLimits,
    pub(super) replicas: Vec<SeenReplica>,
}

/// What is shown of a run.
#[derive(Debug, Clone, Deserialize)]
pub struct SeenRun {
    /// Its number.
    pub id: u64,
    pub(super) purpose: String,
    /// Where it stands.
    pub state: String,
    /// The schedule that it was due by.
    pub schedule: Option<String>,
    pub(super) started_ms: i64,
    pub(super) ended_ms: Option<i64>,
    /// Why it came to nothing.
    pub note: Option<String>,
    pub(super) divergences: u64,
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) work: Option<SeenWork>,
}

/// What is shown of how a run works.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SeenWork {
    pub(super) phase: String,
    pub(super) scanned: u64,
    pub(super) expected: u64,
    pub(super) segments: SeenSegments,
}

/// How many segments stand how.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SeenSegments {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) open: u64,
}

/// What is shown of a schedule.
#[derive(Debug, Clone, Deserialize)]
pub struct SeenSchedule {
    /// Its name.
    pub name: String,
    pub(super) due: String,
    pub(super) paused: bool,
    pub(super) overdue: bool,
    pub(super) open: bool,
    pub(super) running: bool,
    pub(super) asked: bool,
    pub(super) next_run_ms: Option<i64>,
    pub(super) last_success_ms: Option<i64>,
}

/// What is shown of a replica.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SeenReplica {
    pub(super) name: String,
    pub(super) datacenter: String,
    pub(super) waiting_for: Option<String>,
    pub(super) waited_ms: BTreeMap<String, u64>,
    pub(super) health: Option<SeenLook>,
}

/// What is shown of the latest look at a replica.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SeenLook {
    pub(super) reason: Option<String>,
    pub(super) latency_seconds: Option<f64>,
    pub(super) clock_ahead_ms: Option<i64>,
}

/// Limits, and those of the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct SeenLimits {
    pub(super) now: SeenPace,
    pub(super) configured: SeenPace,
    pub(super) changed: bool,
}

/// How fast.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct SeenPace {
    pub(super) keys_per_second: u64,
    pub(super) bytes_per_second: u64,
    pub(super) intensity: f64,
}

impl SeenRun {
    /// Whether nothing further happens in it.
    pub fn is_ended(&self) -> bool {
        self.ended_ms.is_some()
    }
}

impl StatusReport {
    /// Reads what the service says.
    ///
    /// # Errors
    /// When something is missing: it is another version.
    pub fn read(body: Value) -> serde_json::Result<Self> {
        let seen = Seen::deserialize(&body)?;
        Ok(Self { body, seen })
    }

    /// The run that is under way.
    pub fn current(&self) -> Option<&SeenRun> {
        self.seen.current.as_ref()
    }

    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        let page = || human::status(shape, &self.seen);
        document::write(shape, STATUS_SCHEMA, &self.body, page, exit_code, out)
    }
}

impl LimitsReport {
    /// Reads what the service says.
    ///
    /// # Errors
    /// When something is missing: it is another version.
    pub fn read(body: Value) -> serde_json::Result<Self> {
        let seen = SeenLimits::deserialize(&body)?;
        Ok(Self { body, seen })
    }

    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        let page = || human::limits(shape, &self.seen);
        document::write(shape, LIMITS_SCHEMA, &self.body, page, exit_code, out)
    }
}

impl AskedReport {
    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        let page = || super::text::tame(&self.done);
        document::write(shape, ASKED_SCHEMA, self, page, exit_code, out)
    }
}
