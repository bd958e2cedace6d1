//! What `runs` says: the log of runs, and what one of them wrote, write by write.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::args::Format;
use crate::model::{DbIndex, Expiry, Key, Kind, Millis, ReplicaName};

use super::output::Output;
use super::{Shape, document, human, json};

/// The schema of the log.
const RUNS_SCHEMA: &str = "reknit.runs/1";
/// The schema of one run's writes.
const WRITES_SCHEMA: &str = "reknit.writes/1";
/// The schema of a write's line.
const WRITE_SCHEMA: &str = "reknit.write/1";

/// A run in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedRun {
    /// Its number.
    pub number: u64,
    /// What it was, in words.
    pub purpose: String,
    /// When it began.
    #[serde(rename = "started_ms", serialize_with = "json::millis")]
    pub started: Millis,
    /// When it ended; nothing while it runs, and for ever if it was killed.
    #[serde(rename = "ended_ms", serialize_with = "json::maybe_millis")]
    pub ended: Option<Millis>,
    /// The run that went on with it, if it was killed.
    pub taken_up_by: Option<u64>,
    /// How it ended, in a word.
    pub result: Option<String>,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// Why it came to nothing, or the reason that was given for it.
    pub note: Option<String>,
    /// The run that it undid.
    pub undoes: Option<u64>,
    /// The replicas that were configured.
    #[serde(serialize_with = "json::all_shown")]
    pub replicas: Vec<ReplicaName>,
    /// Its counts by name.
    pub counts: BTreeMap<String, u64>,
}

/// The log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunsReport {
    /// The runs.
    pub runs: Vec<LoggedRun>,
    /// Earlier ones that are not shown.
    pub left_out: u64,
}

impl RunsReport {
    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        let page = || human::runs(shape, self);
        document::write(shape, RUNS_SCHEMA, self, page, exit_code, out)
    }
}

/// What a key held before a write, or holds after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedState {
    /// Whether the key was there.
    pub held: bool,
    /// The type, where it is known.
    #[serde(rename = "type", serialize_with = "json::kind")]
    pub kind: Option<Kind>,
    /// Elements of a collection, bytes of a string, where it is known.
    pub length: Option<u64>,
    /// When the key ends.
    #[serde(rename = "expires_at_ms", serialize_with = "json::expiry")]
    pub expiry: Expiry,
}

/// One write of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedWrite {
    /// The step.
    pub step: u64,
    /// The replica that was written.
    #[serde(serialize_with = "json::shown")]
    pub replica: ReplicaName,
    /// The database.
    #[serde(serialize_with = "json::db")]
    pub db: DbIndex,
    /// The key.
    #[serde(serialize_with = "json::key")]
    pub key: Key,
    /// What it held.
    pub before: LoggedState,
    /// What was written.
    pub after: LoggedState,
    /// The merge rule.
    pub rule: String,
    /// The evidence.
    pub evidence: String,
    /// Whether it happened; nothing while that is unknown.
    pub applied: Option<bool>,
}

/// Says what a run wrote, write by write, as it is read from the journal. Keeps nothing.
pub struct WritesReport {
    shape: Shape,
    out: Output,
    said: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    #[serde(flatten)]
    write: &'a LoggedWrite,
}

#[derive(Serialize)]
struct Tail<'a> {
    run: &'a LoggedRun,
    left_out: u64,
    exit_code: u8,
}

#[derive(Serialize)]
struct LastLine<'a> {
    schema: &'static str,
    #[serde(flatten)]
    tail: Tail<'a>,
}

impl WritesReport {
    /// A report on what this run wrote.
    pub fn new(shape: Shape, run: &LoggedRun, out: Box<dyn Write + Send>) -> Self {
        let mut out = Output::new(out);
        match shape.format {
            Format::Human => out.put(human::run_head(&shape, run).as_bytes()),
            Format::Json => {
                let head = format!("{{\"schema\":\"{WRITES_SCHEMA}\",\"writes\":[");
                out.put(head.as_bytes());
            }
            Format::Ndjson => {}
        }
        Self {
            shape,
            out,
            said: 0,
        }
    }

    /// Says one write.
    ///
    /// # Errors
    /// When it cannot be put into JSON.
    pub fn write(&mut self, write: &LoggedWrite) -> io::Result<()> {
        match self.shape.format {
            Format::Human => self.out.put(human::write(&self.shape, write).as_bytes()),
            Format::Json => {
                self.out.put(if self.said == 0 { b"\n" } else { b",\n" });
                self.out.put(&serde_json::to_vec(write)?);
            }
            Format::Ndjson => {
                let schema = WRITE_SCHEMA;
                self.out.put(&serde_json::to_vec(&Line { schema, write })?);
                self.out.put(b"\n");
            }
        }
        self.said += 1;
        Ok(())
    }

    /// Says how many writes were left out, and ends.
    ///
    /// # Errors
    /// The first error of writing; a broken pipe is none.
    pub fn finish(mut self, run: &LoggedRun, left_out: u64, exit_code: u8) -> io::Result<()> {
        let tail = Tail {
            run,
            left_out,
            exit_code,
        };
        match self.shape.format {
            Format::Human => {
                let foot = human::run_foot(self.said, left_out);
                self.out.put(foot.as_bytes());
            }
            Format::Json => {
                let tail = serde_json::to_string(&tail)?;
                self.out.put(b"\n],");
                self.out.put(tail.trim_start_matches('{').as_bytes());
                self.out.put(b"\n");
            }
            Format::Ndjson => {
                let schema = WRITES_SCHEMA;
                self.out
                    .put(&serde_json::to_vec(&LastLine { schema, tail })?);
                self.out.put(b"\n");
            }
        }
        self.out.close()
    }
}
