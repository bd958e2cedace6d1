//! What a snapshot of a replica is to be judged by.

use std::collections::{BTreeMap, BTreeSet};

use reknit::model::{Key, State};
use reknit::store::Snapshot;

use super::{Increment, Name};

/// What a snapshot of a replica is to be judged by.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) snapshot: Snapshot,
    pub(super) states: BTreeMap<Key, State>,
    /// Elements that its clients had added and no run was sure to have read.
    pub(super) unread: BTreeSet<Name>,
    /// The increments it had, by number, with whether a run was sure to have read them.
    pub(super) counted: BTreeMap<usize, bool>,
    /// Keys that a run is sure to have read as they are in it: to hold them again is no change.
    pub(super) told: BTreeSet<Key>,
}

/// What of a key in a snapshot no run was sure to have read when it was taken.
#[derive(Clone, Default)]
pub(super) struct Unread {
    pub(super) names: Vec<Name>,
    pub(super) increments: Vec<usize>,
}

impl Kept {
    pub(super) fn unread_of(&self, increments: &[Increment], key: &Key) -> Unread {
        let names = self.unread.iter().filter(|name| name.0 == *key);
        let numbers = self.counted.iter().filter(|(_, is_read)| !**is_read);
        let numbers = numbers.map(|(number, _)| *number);
        Unread {
            names: names.cloned().collect(),
            increments: numbers
                .filter(|number| increments[*number].key == *key)
                .collect(),
        }
    }
}
