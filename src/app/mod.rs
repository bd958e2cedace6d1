//! Puts the parts together from the configuration: replicas, scope, settings, and what must hold before a run.

pub mod demo;
mod exit;
mod fleet;
mod preflight;

pub use exit::{Exit, exit_of};
pub use fleet::{Fleet, Plan, Trouble, plan};
pub use preflight::preflight;
