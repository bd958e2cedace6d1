//! Puts the parts together from the configuration: replicas, scope, settings, and what must hold before a run.

mod check;
mod clean;
pub mod demo;
mod division;
mod estimate;
mod exit;
mod explain;
mod explained;
mod fitness;
mod fleet;
mod functions;
mod job;
mod journal;
mod logbook;
mod memory;
mod preflight;
mod resuming;
mod roster;
mod session;
mod strangers;
mod undo;
mod written;

pub use check::{CheckedServer, Checkup, Gravity, Note, Reach, check};
pub use clean::{CleanedDatabase, CleanedServer, Cleaning, clean, exit_of_clean};
pub use estimate::{Estimate, Size};
pub use exit::{Exit, exit_of};
pub use explain::{Unexplained, exit_of_explanation, explain, explain_beside};
pub use explained::explained;
pub use fleet::{Fleet, Plan, Trouble, plan, throttle};
pub use functions::{InstalledServer, Installing, exit_of_installation, install_functions};
pub use job::{Job, JobError};
pub use journal::{Unkept, undo_from_file};
pub use logbook::Logbook;
pub use memory::{
    Memory, Remembering, Unremembered, hold, open_existing, open_for_service, state_dir,
};
pub use preflight::{expect, preflight};
pub use roster::{enrolled, forget, rename};
pub use session::{Ended, Session, counts_of};
pub use undo::{Steering, Undoable, Undoing, shortfall, undo, undo_noted};
pub use written::{is_whole, known_names, written};
