//! What a run learns of a key: the next agreement, and what is remembered of each replica. Pure.
//!
//! ```text
//! past (agreement, lags) ── base ──▶ merge ──▶ target ── lesson ──▶ next agreement
//!                                                              ├─▶ replicas alike, or written: at the version
//!                                                              ├─▶ read, but not written: base = as read
//!                                                              └─▶ absent: base and seen as they were
//! ```
//!
//! Deliberately absent: the merge itself, and when a lesson may be believed: only once the markers of the replicas
//! that took part are acknowledged after the read.

mod base;
mod lane;
mod late;
mod lesson;
mod overlay;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::BTreeMap;

use crate::model::{Agreement, Lag, ReplicaId, Sequence, Voids};

pub(crate) use base::{Archive, Known, base};
pub use lane::WrongState;
pub(crate) use lane::{Knowledge, Memorable, compare};
pub(crate) use late::{take_late, take_late_elements};
pub(crate) use lesson::{Absent, Fate, Lesson, Part, Pupil, Subject, alike, lesson};
pub(crate) use overlay::Counting;
pub(crate) use undo::{Deed, Party, Presence, Undo};

/// What is remembered of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Past {
    /// The latest version; nothing if there never was one.
    pub(crate) agreement: Option<Agreement>,
    /// The replicas that are not, or not provably, at the latest version.
    pub(crate) lags: BTreeMap<ReplicaId, Lag>,
}

/// How far a replica's memory reaches in one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The replica.
    pub(crate) id: ReplicaId,
    /// What it forgot.
    pub(crate) voids: Voids,
    /// The step at which it was last read so completely that a key nobody remembers was absent there.
    pub(crate) covered: Option<Sequence>,
}
