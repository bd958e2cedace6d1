//! What a repair run of the service is asked to do, and by whom.

use crate::app::{Plan, Undoing};
use crate::model::Selection;
use crate::repair::Mode;

/// A run that is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// What it does.
    pub what: What,
    /// The schedule that it is due by; nothing if an operator asked.
    pub schedule: Option<String>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Whether it goes on with the run before it, which was cut off.
    pub resumes: bool,
}

/// What a run does.
#[derive(Debug, Clone)]
pub enum What {
    /// Compares, and as far as its plan goes merges and writes.
    Compare(Plan, Box<Selection>),
    /// Puts back what a run overwrote or removed.
    Undo(Box<Undoing>),
}

impl Order {
    /// A repair of all that a schedule names.
    pub fn scheduled(schedule: &str, selection: Selection, resumes: bool) -> Self {
        let plan = Plan {
            mode: Mode::Repair,
            limit: None,
            force_markers: false,
            force_overwrites: None,
            force_deletes: None,
        };
        Self {
            what: What::Compare(plan, Box::new(selection)),
            schedule: Some(schedule.into()),
            reason: None,
            resumes,
        }
    }

    /// What it does, in the words of the log of runs.
    pub fn purpose(&self) -> String {
        match &self.what {
            What::Compare(plan, _) => match plan.mode {
                Mode::Diff => "diff".into(),
                Mode::Plan => "dry run".into(),
                Mode::Repair => "repair".into(),
            },
            What::Undo(undoing) => match undoing.run {
                Some(run) => format!("undo {run}"),
                None => "undo".into(),
            },
        }
    }
}
