//! What the state directory still knows of a key's past versions, fetched only where it is asked for.

use std::cell::RefCell;

use crate::model::{Agreement, DbIndex, Key, Lag, ReplicaId};
use crate::repair::ledger::{Archive, Past};
use crate::state::{State, StateError};

/// A key's versions, and the lags of one replica.
pub(super) struct Shelf<'a> {
    state: &'a State,
    db: DbIndex,
    key: &'a Key,
    past: &'a Past,
    replica: ReplicaId,
    trouble: RefCell<Option<StateError>>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(
        state: &'a State,
        db: DbIndex,
        key: &'a Key,
        past: &'a Past,
        replica: ReplicaId,
    ) -> Self {
        Self {
            state,
            db,
            key,
            past,
            replica,
            trouble: RefCell::new(None),
        }
    }

    /// What went wrong, if anything did: an answer given meanwhile is not to be used.
    pub(super) fn trouble(self) -> Option<StateError> {
        self.trouble.into_inner()
    }

    fn all<T: Clone>(&self, present: Option<&T>, kept: Result<Vec<T>, StateError>) -> Vec<T> {
        match kept {
            Ok(kept) => present.cloned().into_iter().chain(kept).collect(),
            Err(error) => {
                self.trouble.replace(Some(error));
                Vec::new()
            }
        }
    }
}

impl Archive for Shelf<'_> {
    fn agreements(&self) -> Vec<Agreement> {
        let kept = self.state.history(self.db, self.key);
        self.all(self.past.agreement.as_ref(), kept)
    }

    fn lags(&self) -> Vec<Lag> {
        let kept = self.state.lag_history(self.db, self.key, self.replica);
        self.all(self.past.lags.get(&self.replica), kept)
    }

    fn replaced(&self) -> Vec<Lag> {
        self.all(None, self.state.replaced(self.db, self.key, self.replica))
    }
}
