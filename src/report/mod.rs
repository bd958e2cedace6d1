//! What a command says on standard output: for people, as one JSON document, or as JSON lines.
//!
//! Output only. Everything that is said was worked out elsewhere and comes in as data:
//!
//! ```text
//!     run  -- findings, one by one -->  Report  -->  human | json | ndjson
//!          -- summary, at the end  -->
//! ```
//!
//! A broken pipe is success: nobody listens any more, so nothing more is said. The JSON forms are described field by
//! field in `docs/json.md`, which a test compares with what is printed. Entry digests are never printed.

mod check;
mod clean;
mod divergences;
mod document;
mod explain;
mod human;
mod json;
mod output;
pub mod progress;
mod run;
mod runs;
mod shape;
mod status;
mod text;
mod undo;
mod wire;

pub use check::{
    CheckReport, CheckedCapabilities, CheckedReplica, Estimate, KeyspaceKeys, Remark, Severity,
};
pub use clean::{CleanReport, CleanedDatabase, CleanedReplica};
pub use divergences::DivergencesReport;
pub use explain::{
    ExplainReport, ExplainedElement, ExplainedMemory, ExplainedPast, ExplainedResult,
    ExplainedSibling, ExplainedThere, ExplainedVersion, ExplainedWrite, Standing,
};
pub use run::Report;
pub use runs::{LoggedRun, LoggedState, LoggedWrite, RunsReport, WritesReport};
pub use shape::Shape;
pub use status::{
    AskedReport, LimitsReport, Seen, SeenLimits, SeenRun, SeenSchedule, StatusReport,
};
pub use undo::UndoReport;
