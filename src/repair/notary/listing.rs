//! The agreements of a database in the order of positions: one more side of the comparison, read once.
//!
//! It is by itself, so that it can be read on a thread of its own while the replicas are.

use tokio_util::sync::CancellationToken;

use crate::model::{DbIndex, EntryRef, Key, Millis, Position, PositionRange, Sequence, Voids};
use crate::state::{State, StateError};

/// Agreements that are listed before it is asked whether the run is to stop.
const LISTED_AT_ONCE: usize = 1024;

/// What lists the agreements of a database.
#[derive(Clone)]
pub(crate) struct Listing {
    pub(super) state: State,
    pub(super) index: DbIndex,
    /// What the participants forgot.
    pub(super) voids: Vec<Voids>,
    /// Says when to stop.
    pub(super) stop: CancellationToken,
}

impl Listing {
    /// Whether a participant forgot what was proved at this step.
    pub(crate) fn is_forgotten(&self, proved: Sequence) -> bool {
        let covering = |voids: &Voids| voids.covering(proved).is_some();
        self.voids.iter().any(covering)
    }

    /// Visits what is agreed to be there and has not expired, in the order of positions, with the step that proved it;
    /// not all of it where the run is to stop.
    pub(crate) fn listed(
        &self,
        range: PositionRange,
        now: Millis,
        visit: &mut dyn FnMut(EntryRef<'_>, Sequence),
    ) -> Result<(), StateError> {
        let mut listed = 0_usize;
        let mut living = |entry: EntryRef<'_>, proved| {
            let is_over = listed.is_multiple_of(LISTED_AT_ONCE) && self.stop.is_cancelled();
            if !is_over && !entry.expiry.has_passed(now) {
                visit(entry, proved);
            }
            listed += 1;
            !is_over
        };
        self.state.listed_while(self.index, range, &mut living)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Agreement, Body, Expiry, Kind, Memory, ValueDigest, Version};
    use crate::state::{Changes, Opening};

    const NOW: Millis = Millis(1_700_000_000_000);

    fn agreement() -> Agreement {
        Agreement {
            version: Version(1),
            memory: Some(Memory {
                kind: Kind::String,
                digest: ValueDigest::from_bytes([1; ValueDigest::LENGTH]),
                expiry: Expiry::Never,
                body: Body::Whole,
            }),
            removed: std::collections::BTreeMap::new(),
            proved: Sequence(1),
            since: NOW,
        }
    }

    #[test]
    fn a_listing_ends_soon_after_the_run_is_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Opening {
            dir: dir.path(),
            now: NOW,
            purpose: "test",
            random: [7; 64],
        });
        let (state, index) = (state.unwrap(), DbIndex(0));
        let mut changes = Changes::new(NOW);
        for number in 0..4 * LISTED_AT_ONCE {
            changes.put_agreement(index, Key::new(format!("k{number}")), agreement());
        }
        state.commit_unsynced(changes).unwrap();
        let listing = Listing {
            state,
            index,
            voids: Vec::new(),
            stop: CancellationToken::new(),
        };
        let visited_until = |stops: usize| {
            let mut visited = 0;
            let mut visit = |_: EntryRef<'_>, _| {
                visited += 1;
                if visited == stops {
                    listing.stop.cancel();
                }
            };
            let all = PositionRange::all();
            listing.listed(all, NOW, &mut visit).unwrap();
            visited
        };
        assert_eq!(visited_until(usize::MAX), 4 * LISTED_AT_ONCE);
        assert_eq!(visited_until(1), LISTED_AT_ONCE);
        assert_eq!(visited_until(usize::MAX), 0);
    }
}
