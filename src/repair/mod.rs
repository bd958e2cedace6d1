//! From differences to equal replicas: read, compare, settle, read again, merge, compare and write, verify.
//!
//! The law stands here: the tree says where to look, a fresh read says what is there, evidence says what should be
//! there, and a conditional write changes it. `resolve`, `ops`, `look` and `details` are pure; the others wait for
//! replicas and time, which come in as arguments.

mod describe;
mod details;
mod explain;
mod finding;
mod large;
mod ledger;
mod look;
pub mod ops;
mod pacing;
mod resolve;
mod round;
mod run;
mod runner;
mod scope;
mod side_by_side;
mod summary;
mod sweep;

pub use explain::{Explanation, Stand, explain};
pub use finding::{Change, Detail, DifferenceKind, Finding, Holding, Verdict};
pub use pacing::Pacer;
pub use run::{Listener, Mode, Participant, Phase, Progress, Run, RunError, Settings};
pub use runner::run;
pub use scope::Scope;
pub use side_by_side::Element;
pub use summary::{ReplicaSummary, Summary, Tally};
