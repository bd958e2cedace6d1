//! A run, as the API shows it: where it stands, what it came to, how it works.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::daemon::board::{Card, RunState, Standing};
use crate::daemon::order::What;
use crate::repair::{Phase, ReplicaSummary};
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
    /// The run that went on with it, if it was killed.
    pub taken_up_by: Option<u64>,
    /// Why it came to nothing or not to its end, or the reason that was given for it.
    pub note: Option<String>,
    /// Keys that differ, found so far.
    pub divergences: u64,
    /// What it came to, by name; noughts are left out.
    pub counts: BTreeMap<String, u64>,
    /// How it ended in the log of runs: `done`, `left`, `partial`, `stopped`, `interrupted`, `failed`; null before that, and
    /// without memory.
    pub result: Option<String>,
    /// The exit code that it would have had as a command; null as `result`.
    pub exit_code: Option<u8>,
    /// The run that it undoes.
    pub undoes: Option<u64>,
    /// The replicas that were configured, in datacenter order.
    pub replicas: Vec<String>,
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

impl Run {
    /// A run on the board.
    pub fn of_card(card: &Card) -> Self {
        let standing = card.standing();
        let stopping = standing
            .stopping
            .map(|why| why.words(card.goes_on()).to_owned());
        Self {
            id: card.id,
            purpose: card.purpose.clone(),
            state: standing.state.name(),
            schedule: card.order.schedule.clone(),
            started_ms: card.asked.0,
            ended_ms: standing.ended.map(|at| at.0),
            taken_up_by: None,
            note: standing
                .trouble
                .clone()
                .or(stopping)
                .or_else(|| card.order.reason.clone()),
            divergences: standing.divergences,
            counts: card.counts(),
            result: None,
            exit_code: None,
            undoes: undoes(card),
            replicas: card
                .replicas
                .iter()
                .map(|(name, _)| name.0.clone())
                .collect(),
            work: Some(Work::of(&standing)),
        }
    }

    /// The same, with what the log of runs says of it.
    #[must_use]
    pub fn logged(self, record: Option<RunRecord>) -> Self {
        let end = record.and_then(|record| record.end);
        let Some(end) = end.filter(|_| self.ended_ms.is_some()) else {
            return self;
        };
        Self {
            result: Some(end.result),
            exit_code: Some(end.exit),
            ended_ms: Some(end.at.0),
            counts: end.counts,
            // That of the log has the reason that was given and what came in between, too.
            note: end.note.or(self.note),
            ..self
        }
    }

    /// A run that only the log knows.
    pub fn of_record(record: RunRecord) -> Self {
        let end = record.end;
        let names = record.start.replicas.into_iter();
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
            taken_up_by: record.taken_up_by.map(|run| run.0),
            note: match &end {
                Some(end) => end.note.clone(),
                None => Some("it was cut off: killed, or the machine went down".into()),
            },
            divergences: counts.get("differing").copied().unwrap_or(0),
            counts,
            result: end.as_ref().map(|end| end.result.clone()),
            exit_code: end.as_ref().map(|end| end.exit),
            undoes: record.start.undoes.map(|run| run.0),
            replicas: names.map(|(_, name)| name.0).collect(),
            work: None,
        }
    }
}

fn undoes(card: &Card) -> Option<u64> {
    match &card.order.what {
        What::Undo(undoing) => undoing.run.map(|run| run.0),
        What::Compare(..) => None,
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
