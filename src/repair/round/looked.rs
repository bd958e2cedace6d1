//! What a look at a key led to.

use crate::model::{ExpiryPolicy, Kind, RunNumber};

use super::super::finding::Verdict;
use super::super::look::{Look, difference};
use super::{Acting, Tracked};

/// What a look at a key led to.
pub(super) enum Looked<'a> {
    /// It is decided, or left.
    Decided,
    /// It moved: it is looked at again.
    Moving(Box<Tracked<'a>>),
    /// It is stable and different, or news.
    Differs(Box<Acting<'a>>),
}

impl Looked<'_> {
    /// The same, of a key that clients go on writing.
    pub(super) fn moving(mut self) -> Self {
        if let Self::Differs(acting) = &mut self {
            acting.moving = true;
        }
        self
    }
}

/// Whether all replicas hold the same string.
pub(super) fn is_counter(present: &[Look], expiry: &ExpiryPolicy) -> bool {
    let is_string = |look: &Look| look.kind() == Some(Kind::String);
    present.iter().all(is_string) && difference(present, expiry).is_none()
}

/// The verdict on a key that was undone.
pub(super) fn waits(run: RunNumber) -> Verdict {
    Verdict::Unresolved(format!(
        "run {run} put it back: it waits until it is named with --key"
    ))
}
