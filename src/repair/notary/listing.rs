//! The agreements of a database in the order of positions: one more side of the comparison, read once.
//!
//! It is by itself, so that it can be read on a thread of its own while the replicas are.

use crate::model::{DbIndex, EntryRef, Key, Millis, Position, PositionRange, Sequence, Voids};
use crate::state::{State, StateError};

/// What lists the agreements of a database.
#[derive(Clone)]
pub(crate) struct Listing {
    pub(super) state: State,
    pub(super) index: DbIndex,
    /// What the participants forgot.
    pub(super) voids: Vec<Voids>,
}

impl Listing {
    /// Whether a participant forgot what was proved at this step.
    pub(crate) fn is_forgotten(&self, proved: Sequence) -> bool {
        let covering = |voids: &Voids| voids.covering(proved).is_some();
        self.voids.iter().any(covering)
    }

    /// Visits what is agreed to be there and has not expired, in the order of positions, with the step that proved it.
    pub(crate) fn listed(
        &self,
        range: PositionRange,
        now: Millis,
        visit: &mut dyn FnMut(EntryRef<'_>, Sequence),
    ) -> Result<(), StateError> {
        let mut living = |entry: EntryRef<'_>, proved| {
            if !entry.expiry.has_passed(now) {
                visit(entry, proved);
            }
        };
        self.state.listed(self.index, range, &mut living)?;
        Ok(())
    }

    /// Visits what is agreed on one key, if it is there and has not expired.
    pub(crate) fn entry(
        &self,
        key: &Key,
        now: Millis,
        visit: &mut dyn FnMut(EntryRef<'_>, Sequence),
    ) -> Result<(), StateError> {
        let Some(agreement) = self.state.agreement(self.index, key)? else {
            return Ok(());
        };
        let memory = agreement.memory.as_ref();
        if let Some(memory) = memory.filter(|memory| !memory.expiry.has_passed(now)) {
            let entry = EntryRef {
                position: Position::of(key.as_bytes()),
                key: key.as_bytes(),
                kind: memory.kind,
                digest: memory.digest,
                expiry: memory.expiry,
            };
            visit(entry, agreement.proved);
        }
        Ok(())
    }
}
