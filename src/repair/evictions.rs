//! How many keys each replica has evicted: noted only once all that this may have cost is known key by key.
//!
//! ```text
//! it evicted since ─▶ absences are lag ─▶ nothing lacking was left open ─▶ noted: later absences are removals again
//!                                    └──▶ something was ───────────────▶ not noted: the next run asks again
//! ```
//!
//! A count that is noted too early makes an evicted key look removed by a client; one that is noted late only keeps a
//! removal from being heard for some runs more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::ReplicaId;
use crate::state::{Changes, StateError};

use super::run::{Mode, Shared};

/// Whether a key was left open that a replica lacks, or may lack.
#[derive(Debug, Default)]
pub(super) struct OpenAbsences(AtomicBool);

impl OpenAbsences {
    /// A key was left open that a replica lacks, or may lack.
    pub(super) fn put(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Shared<'_> {
    /// Notes at the end of a run how many keys its replicas had evicted at its beginning, if it read everything
    /// everywhere and left open nothing that somebody lacks. A key that only an absent replica still holds is not
    /// looked at, so all have to take part.
    pub(crate) fn note_evictions(&self) {
        if let Err(error) = self.try_to_note_evictions() {
            self.break_off(error);
        }
    }

    fn try_to_note_evictions(&self) -> Result<(), StateError> {
        let Some(memory) = &self.run.memory else {
            return Ok(());
        };
        let is_complete = self.run.settings.mode == Mode::Repair
            && self.run.scope.is_everything()
            && memory.others.is_empty()
            && self.lost().is_empty()
            && !self.is_broken()
            && !self.open_absences.any();
        if !is_complete {
            return Ok(());
        }
        let mut counts: BTreeMap<ReplicaId, u64> = BTreeMap::new();
        for (id, keys) in self.evictions() {
            let least = counts.entry(id).or_insert(keys);
            *least = (*least).min(keys);
        }
        let mut changes = Changes::new(self.run.clock.now());
        let mut has_news = false;
        for (id, keys) in counts {
            if memory.state.evicted(id)? != Some(keys) {
                changes.set_evicted(id, keys);
                has_news = true;
            }
        }
        match has_news {
            true => memory.state.commit(changes),
            false => Ok(()),
        }
    }
}
