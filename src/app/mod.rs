//! Puts the parts together from the configuration: replicas, scope, settings, and what must hold before a run.

mod check;
mod clean;
pub mod demo;
mod estimate;
mod exit;
mod explain;
mod fitness;
mod fleet;
mod logbook;
mod memory;
mod preflight;
mod resuming;
mod roster;
mod session;
mod undo;

pub use check::{CheckedServer, Checkup, Gravity, Note, Reach, check};
pub use clean::{CleanedDatabase, CleanedServer, Cleaning, clean, exit_of_clean};
pub use estimate::{Estimate, Size};
pub use exit::{Exit, exit_of};
pub use explain::{Unexplained, exit_of_explanation, explain};
pub use fleet::{Fleet, Plan, Trouble, plan};
pub use memory::{Memory, Remembering, Unremembered, open_existing, state_dir};
pub use preflight::{expect, preflight};
pub use roster::{enrolled, forget, rename};
pub use session::{Ended, Session};
pub use undo::{Undoable, Undoing, undo};
