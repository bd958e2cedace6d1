//! What an undo shows of itself: what became of each write of the run that it undoes.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use super::{Card, DIVERGENCES_KEPT, DIVERGENCES_KEPT_LONG};
use crate::repair::{UndoFinding, UndoListener, UndoSummary};

/// What an undo did so far, and what it came to. At most [`DIVERGENCES_KEPT`] findings are kept; the rest is counted.
#[derive(Debug, Clone, Default)]
pub struct Undone {
    /// The first findings, in the order in which they were decided.
    pub findings: Vec<UndoFinding>,
    /// How many there are, by what became of them.
    pub counts: BTreeMap<&'static str, u64>,
    /// What it came to; nothing before it ends, and for one that came to nothing.
    pub summary: Option<UndoSummary>,
}

impl Card {
    fn undo(&self) -> MutexGuard<'_, Undone> {
        self.undone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it undid, with some of its findings.
    pub fn undone(&self, from: usize, most: usize) -> Undone {
        let undone = self.undo();
        let page = undone.findings.iter().skip(from).take(most);
        Undone {
            findings: page.cloned().collect(),
            counts: undone.counts.clone(),
            summary: undone.summary.clone(),
        }
    }

    /// What an undo came to.
    pub(in crate::daemon) fn undone_as(&self, summary: UndoSummary) {
        let mut undone = self.undo();
        undone.counts = summary.counts.clone();
        undone.summary = Some(summary);
    }

    pub(super) fn shorten_undone(&self) {
        let mut undone = self.undo();
        undone.findings.truncate(DIVERGENCES_KEPT_LONG);
        undone.findings.shrink_to_fit();
    }
}

/// Keeps what an undo finds on its card.
pub(in crate::daemon) struct PinnedUndo<'a>(pub(in crate::daemon) &'a Card);

impl UndoListener for PinnedUndo<'_> {
    fn finding(&mut self, finding: &UndoFinding) {
        let mut undone = self.0.undo();
        *undone.counts.entry(finding.fate.name()).or_default() += 1;
        if undone.findings.len() < DIVERGENCES_KEPT {
            undone.findings.push(finding.clone());
        }
    }
}
