//! A client of the application, beside reknit.

use crate::model::{DbIndex, Key, Millis, Op, State};
use crate::store::ApplyError;

use super::MemoryReplica;

/// Writes to a replica as a client of the application does: no faults, no conditions.
#[derive(Clone)]
pub struct Client {
    replica: MemoryReplica,
    db: DbIndex,
}

impl Client {
    pub(super) fn new(replica: MemoryReplica, db: DbIndex) -> Self {
        Self { replica, db }
    }

    /// What a key holds.
    pub fn get(&self, key: &Key) -> Option<State> {
        self.replica.lock().data.get(self.db, key)
    }

    /// Puts a state in the place of whatever a key holds.
    pub fn set_state(&self, key: &Key, state: Option<State>) {
        self.replica.lock().data.set_state(self.db, key, state);
    }

    /// Does what one command does.
    ///
    /// # Errors
    /// When Redis would refuse it.
    pub fn apply(&self, key: &Key, op: &Op) -> Result<(), ApplyError> {
        self.replica.lock().data.apply(self.db, key, op)
    }

    /// Names of all keys, in order, reknit's own included.
    pub fn keys(&self) -> Vec<Key> {
        self.replica.lock().data.keys(self.db)
    }

    /// The replica's clock.
    pub fn now(&self) -> Millis {
        self.replica.lock().data.now()
    }

    /// Removes every key of every database.
    pub fn flush(&self) {
        self.replica.lock().data.flush();
    }
}
