//! What the API shows: its own shapes, so that the inside can change without them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::counts_of;
use crate::daemon::board::{Card, RunState, Standing};
use crate::daemon::desk::ScheduleView;
use crate::model::{Expiry, Millis, escape};
use crate::repair::{Finding, Holding, Phase, ReplicaSummary};
use crate::report::{LoggedState, LoggedWrite};
use crate::state::RunRecord;

/// A repair run.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Run {
    /// Its number: that of `reknit runs`, where there is memory.
    pub id: u64,
    /// What it does: `repair`, `dry run`, `diff` or `undo N`.
    pub purpose: String,
    /// Where it stands: `planned`, `running`, `paused`, `done`, `partial`, `failed` or `stopped`.
    #[schema(value_type = StateName)]
    pub state: &'static str,
    /// The schedule that it was due by; null if an operator asked, or that is not known any more.
    pub schedule: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Why it came to nothing or not to its end, or the reason that was given for it.
    pub note: Option<String>,
    /// Keys that differ, found so far.
    pub divergences: u64,
    /// What it came to, by name; noughts are left out.
    pub counts: BTreeMap<String, u64>,
    /// How it works; null for a run that is known from the log alone.
    pub work: Option<Work>,
}

/// The states of a run, for the document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "it stands in the document only")]
pub enum StateName {
    /// It has not begun.
    Planned,
    /// It works.
    Running,
    /// It waits until it is resumed.
    Paused,
    /// All took part.
    Done,
    /// Something did not take part.
    Partial,
    /// It came to nothing.
    Failed,
    /// It was ended.
    Stopped,
}

/// How a run works.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Work {
    /// What it is doing: `scanning`, `comparing`, `settling` or `deciding`.
    #[schema(value_type = String)]
    pub phase: &'static str,
    /// The segment that it works on.
    pub segment: Option<String>,
    /// Keys read in it so far, on all replicas together.
    pub scanned: u64,
    /// Keys that are expected there; 0 if that is not known.
    pub expected: u64,
    /// Its segments.
    pub segments: Segments,
    /// Segments that were given up.
    pub given_up: Vec<GivenUp>,
    /// Every replica's part, in datacenter order, of ended segments.
    pub replicas: Vec<Replica>,
}

/// How many segments stand how.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Segments {
    /// Done.
    pub done: u64,
    /// Given up.
    pub failed: u64,
    /// Waiting, or worked on.
    pub open: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Segments that were halved.
    pub split: u64,
}

/// A segment that was given up.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GivenUp {
    /// The segment.
    pub segment: String,
    /// Why.
    pub reason: String,
}

/// A replica's part in a run.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Keys that were compared on it.
    pub keys: u64,
    /// Differing keys that it lacked.
    pub missing: u64,
    /// Differing keys that it alone had.
    pub alone: u64,
    /// Keys that it held otherwise than another.
    pub differing: u64,
    /// Keys that were written to it.
    pub written: u64,
    /// Bytes received from it.
    pub bytes_read: u64,
    /// Bytes sent to it.
    pub bytes_written: u64,
    /// Why it took no part, or not to the end.
    pub lost: Option<String>,
}

/// A schedule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due: String,
    /// Its keyspaces; empty means all.
    pub keyspaces: Vec<String>,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it had no full success for too long.
    pub overdue: bool,
    /// Whether it may work now.
    pub open: bool,
    /// Whether a run of it is under way.
    pub running: bool,
    /// Whether an operator asked for a run that has not begun.
    pub asked: bool,
    /// When it runs next, in milliseconds since 1970.
    pub next_run_ms: Option<i64>,
    /// When a run of it last began.
    pub last_started_ms: Option<i64>,
    /// When a run of it last ended.
    pub last_ended_ms: Option<i64>,
    /// When a run of it last ended that missed nothing.
    pub last_success_ms: Option<i64>,
}

/// A key that differs, or did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Divergence {
    /// The key, escaped as redis-cli shows it.
    pub key: String,
    /// The database.
    pub db: u32,
    /// The keyspace.
    pub keyspace: String,
    /// The type; null if it could not be read.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<&'static str>,
    /// In what way: `missing`, `type`, `value` or `expiry`.
    #[schema(value_type = String)]
    pub difference: &'static str,
    /// What became of it.
    #[schema(value_type = String)]
    pub verdict: &'static str,
    /// What there is to say beyond that.
    pub reason: Option<String>,
    /// The merge rule that was applied.
    #[schema(value_type = Option<String>)]
    pub rule: Option<&'static str>,
    /// How it was decided, where a preference decided it.
    pub decided: Option<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What each replica held.
    pub holdings: BTreeMap<String, Held>,
    /// What was written, or was to be.
    pub changes: Vec<Change>,
}

/// What a replica held.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Held {
    /// `held`, `absent`, `unreadable`, or `away` if it took no part.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// The type.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<&'static str>,
    /// Elements of a collection, bytes of a string.
    pub length: Option<u64>,
    /// When the key ends, in milliseconds since 1970; null means never.
    pub expires_at_ms: Option<i64>,
}

/// A change to a key of one replica.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Change {
    /// Where.
    pub replica: String,
    /// What.
    pub operations: Vec<String>,
    /// `planned`, `applied`, `superseded`, `refused` or `unknown`.
    #[schema(value_type = String)]
    pub fate: &'static str,
}

/// A write of a run, as the journal keeps it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Write {
    /// The step of the run.
    pub step: u64,
    /// The replica that was written.
    pub replica: String,
    /// The database.
    pub db: u32,
    /// The key, escaped as redis-cli shows it.
    pub key: String,
    /// What it held.
    pub before: Written,
    /// What was written.
    pub after: Written,
    /// The merge rule.
    pub rule: String,
    /// The evidence.
    pub evidence: String,
    /// Whether it happened; null while that is unknown.
    pub applied: Option<bool>,
}

/// What a key held before a write, or holds after it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Written {
    /// Whether the key was there.
    pub held: bool,
    /// The type, where it is known.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<&'static str>,
    /// Elements of a collection, bytes of a string, where it is known.
    pub length: Option<u64>,
    /// When the key ends, in milliseconds since 1970; null means never.
    pub expires_at_ms: Option<i64>,
}

impl From<LoggedWrite> for Write {
    fn from(write: LoggedWrite) -> Self {
        Self {
            step: write.step,
            replica: write.replica.0,
            db: write.db.0,
            key: escape(write.key.as_bytes()),
            before: write.before.into(),
            after: write.after.into(),
            rule: write.rule,
            evidence: write.evidence,
            applied: write.applied,
        }
    }
}

impl From<LoggedState> for Written {
    fn from(state: LoggedState) -> Self {
        Self {
            held: state.held,
            kind: state.kind.map(|kind| kind.name()),
            length: state.length,
            expires_at_ms: expires_at(state.expiry),
        }
    }
}

/// When a key ends; nothing means never.
fn expires_at(expiry: Expiry) -> Option<i64> {
    match expiry {
        Expiry::At(at) => Some(at.0),
        Expiry::Never => None,
    }
}

impl Run {
    /// A run on the board.
    pub fn of_card(card: &Card) -> Self {
        let standing = card.standing();
        let stopping = standing.stopping.map(|why| why.words().to_owned());
        Self {
            id: card.id,
            purpose: card.purpose.clone(),
            state: standing.state.name(),
            schedule: card.order.schedule.clone(),
            started_ms: card.asked.0,
            ended_ms: standing.ended.map(|at| at.0),
            note: standing
                .trouble
                .clone()
                .or(stopping)
                .or_else(|| card.order.reason.clone()),
            divergences: standing.divergences,
            counts: standing
                .summary
                .as_ref()
                .map_or_else(BTreeMap::new, counts_of),
            work: Some(Work::of(&standing)),
        }
    }

    /// A run that only the log knows.
    pub fn of_record(record: RunRecord) -> Self {
        let end = record.end;
        let counts = end
            .as_ref()
            .map_or_else(BTreeMap::new, |end| end.counts.clone());
        Self {
            id: record.number.0,
            purpose: record.start.purpose,
            state: state_of(end.as_ref().map(|end| end.result.as_str())).name(),
            schedule: None,
            started_ms: record.start.at.0,
            ended_ms: end.as_ref().map(|end| end.at.0),
            note: match &end {
                Some(end) => end.note.clone(),
                None => Some("it was cut off: killed, or the machine went down".into()),
            },
            divergences: counts.get("differing").copied().unwrap_or(0),
            counts,
            work: None,
        }
    }
}

/// The state of a run by the word in the log.
fn state_of(result: Option<&str>) -> RunState {
    match result {
        Some("done" | "left") => RunState::Done,
        Some("partial") => RunState::Partial,
        Some("stopped" | "interrupted") => RunState::Stopped,
        _ => RunState::Failed,
    }
}

impl Work {
    fn of(standing: &Standing) -> Self {
        let tally = standing.segments;
        let given_up = |(segment, reason): &(String, String)| GivenUp {
            segment: segment.clone(),
            reason: reason.clone(),
        };
        let replicas = standing
            .summary
            .iter()
            .flat_map(|summary| &summary.replicas);
        Self {
            phase: phase(standing.phase),
            segment: standing.current.clone(),
            scanned: standing.scanned,
            expected: standing.expected,
            segments: Segments {
                done: tally.done,
                failed: tally.failed,
                open: tally.open,
                retried: tally.retried,
                split: tally.split,
            },
            given_up: standing.given_up.iter().map(given_up).collect(),
            replicas: replicas.map(Replica::of).collect(),
        }
    }
}

/// The name of a phase.
pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Scanning => "scanning",
        Phase::Comparing => "comparing",
        Phase::Settling => "settling",
        Phase::Deciding => "deciding",
    }
}

impl Replica {
    fn of(part: &ReplicaSummary) -> Self {
        Self {
            name: part.name.0.clone(),
            keys: part.keys,
            missing: part.missing,
            alone: part.alone,
            differing: part.differing,
            written: part.written,
            bytes_read: part.usage.bytes_read,
            bytes_written: part.usage.bytes_written,
            lost: part.lost.clone(),
        }
    }
}

impl From<ScheduleView> for Schedule {
    fn from(view: ScheduleView) -> Self {
        let millis = |at: Option<Millis>| at.map(|at| at.0);
        let ScheduleView {
            due,
            keyspaces,
            status,
        } = view;
        Self {
            name: status.name,
            due,
            keyspaces,
            paused: status.memory.paused,
            overdue: status.overdue,
            open: status.open,
            running: status.running,
            asked: status.memory.asked.is_some(),
            next_run_ms: millis(status.next_run),
            last_started_ms: millis(status.memory.last_started),
            last_ended_ms: millis(status.memory.last_ended),
            last_success_ms: millis(status.memory.last_success),
        }
    }
}

impl Divergence {
    /// A finding of a run over these replicas.
    pub fn of(
        finding: &Finding,
        replicas: &[(crate::model::ReplicaName, crate::model::Datacenter)],
    ) -> Self {
        let names = replicas.iter().map(|(name, _)| name.0.clone());
        let holdings = finding.holdings.iter().map(|one| Held::of(one.as_ref()));
        Self {
            key: escape(finding.key.as_bytes()),
            db: finding.db.0,
            keyspace: finding.keyspace.0.clone(),
            kind: finding.kind().map(|kind| kind.name()),
            difference: finding.difference.name(),
            verdict: finding.verdict.name(),
            reason: finding.verdict.reason(),
            rule: finding.rule,
            decided: finding.decided.clone(),
            notes: finding.notes.clone(),
            holdings: names.zip(holdings).collect(),
            changes: finding
                .changes
                .iter()
                .map(|change| Change {
                    replica: change.replica.0.clone(),
                    operations: change.ops.clone(),
                    fate: change.fate.name(),
                })
                .collect(),
        }
    }
}

impl Held {
    fn of(holding: Option<&Holding>) -> Self {
        let held = holding.and_then(Holding::held);
        Self {
            state: match holding {
                None => "away",
                Some(Holding::Absent) => "absent",
                Some(Holding::Unreadable) => "unreadable",
                Some(Holding::Held(_)) => "held",
            },
            kind: held.map(|held| held.kind.name()),
            length: held.map(|held| held.length),
            expires_at_ms: held.and_then(|held| expires_at(held.expiry)),
        }
    }
}
