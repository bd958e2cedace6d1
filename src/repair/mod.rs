//! From differences to equal replicas: read, compare, settle, read again, merge, compare and write, verify.
//!
//! The law stands here: the tree says where to look, a fresh read says what is there, evidence says what should be
//! there, and a conditional write changes it. `resolve`, `ops`, `loss`, `look`, `guard` and `details` are pure; the others
//! wait for replicas and time, which come in as arguments.

mod candidates;
mod course;
mod describe;
mod details;
mod evictions;
mod explain;
mod finding;
mod fit;
mod guard;
mod increase;
mod large;
mod ledger;
mod look;
mod loss;
mod namesakes;
mod notary;
mod noting;
pub mod ops;
mod pacing;
mod passes;
mod reading;
mod recount;
mod resolve;
mod restamp;
mod round;
mod run;
mod runner;
mod scope;
mod segments;
mod side_by_side;
mod spool;
mod stamps;
mod summary;
mod sweep;
mod tombstones;
mod undo;
mod unsettled;
mod writing;

pub use explain::{Did, Explanation, Recalled, RecalledReplica, RecalledVersion, Stand, explain};
pub use finding::{Change, Detail, DifferenceKind, Fate, Finding, Held, Holding, Verdict};
pub use guard::{ALWAYS_ALLOWED, Breaker, Destruction, Planned, Tripped};
pub use ledger::WrongState;
pub use notary::{Forgetful, MemoryTrouble, RunMemory, TakenUp, lane_name};
pub use noting::RunJournal;
pub use pacing::{NodeHealth, Rates, Reason, Throttle};
pub use run::{Listener, Mode, Participant, Phase, Progress, Run, RunError, Settings};
pub use runner::run;
pub use scope::Scope;
pub use segments::{Resumed, SegmentKind, segment_kinds};
pub use side_by_side::Element;
pub use summary::{ReplicaSummary, Summary, Tally};
pub use undo::{
    UndoFate, UndoFinding, UndoListener, UndoRequest, UndoSummary, undo, undo_from_file,
};
