//! The state directory: what runs remember between them.
//!
//! ```text
//! DIR/identity   whose it is: state id, digest secret, format; JSON, readable by its owner alone
//! DIR/lock       who works on it
//! DIR/store/     agreements, lags, histories, lanes, voids, intents, journal, run log
//! DIR/aside-T/   what `--adopt` set aside at T; never read, never deleted
//! ```
//!
//! The edge to disk: synchronous, and never the one to ask for the time or to print. What a record means is the
//! agreement's business; this room keeps it, whole and in order, over a SIGKILL at any moment.

mod changes;
mod error;
mod intent;
mod journal;
mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Agreement, DbIndex, DigestKey, EntryRef, Key, KeyspaceName, Lag, Lane, Millis, PositionRange,
    ReplicaId, ReplicaName, RunNumber, Sequence, StateId, Voids,
};

pub use changes::{Changes, JournalPlace};
pub use error::{Holder, StateError};
pub use intent::{Intent, IntentKey, IntentPart};
pub use journal::{JournalEntry, Post, PreImage};
pub use runs::{RunEnd, RunRecord, RunStart};

/// A result of this room.
pub type Result<T, E = StateError> = std::result::Result<T, E>;

/// An open state directory. Clones share it; the last one to go lets the lock go.
#[derive(Clone)]
pub struct State(#[allow(dead_code)] Arc<()>);

/// How to open a state directory.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The directory; created if it is missing.
    pub dir: &'a Path,
    /// The time.
    pub now: Millis,
    /// What is shown to whoever meets the lock.
    pub purpose: &'a str,
    /// Entropy for a new identity: its state id and digest secret.
    pub random: [u8; 64],
}

/// A replica that was ever enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownReplica {
    /// Its identity.
    pub id: ReplicaId,
    /// Its name.
    pub name: ReplicaName,
    /// When it was enrolled.
    pub since: Millis,
    /// When it was forgotten.
    pub forgotten: Option<Millis>,
}

/// How much of the journal is kept. The journal of the latest run always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Entries of runs that ended longer ago go.
    pub age: Duration,
    /// Beyond so many bytes, the oldest runs' entries go.
    pub bytes: u64,
}

/// What a pruning removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Superseded versions and ended lags.
    pub history: u64,
    /// Tombstones of keys.
    pub tombstones: u64,
    /// Tombstones of elements.
    pub removed_elements: u64,
    /// Lags of replicas that were forgotten.
    pub lags: u64,
    /// Entries of the journal.
    pub journal: u64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Bytes on disk of all of it.
    pub bytes: u64,
    /// Of these: agreements.
    pub agreement_bytes: u64,
    /// Of these: the journal.
    pub journal_bytes: u64,
}

/// What a check of every record found readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Keys that are agreed to be there.
    pub keys: u64,
    /// Keys that are agreed to be gone.
    pub tombstones: u64,
    /// Lag entries.
    pub lags: u64,
    /// Superseded versions and ended lags.
    pub history: u64,
    /// Entries of the journal.
    pub journal: u64,
    /// Open intents.
    pub intents: u64,
    /// Runs.
    pub runs: u64,
}

#[allow(unused_variables, missing_docs)]
impl State {
    pub fn open(opening: Opening<'_>) -> Result<Self> {
        todo!()
    }
    pub fn set_aside(dir: &Path, now: Millis) -> Result<PathBuf> {
        todo!()
    }
    pub fn id(&self) -> StateId {
        todo!()
    }
    pub fn digest_key(&self) -> DigestKey {
        todo!()
    }
    pub fn replicas(&self) -> Result<Vec<KnownReplica>> {
        todo!()
    }
    /// A known one keeps its id; a forgotten name gets a new one, made of `random`.
    pub fn enrol(&self, name: &ReplicaName, random: [u8; 8], now: Millis) -> Result<ReplicaId> {
        todo!()
    }
    /// Gives a replica another name and keeps its history. False if nobody has the name, or somebody the new one.
    pub fn rename(&self, from: &ReplicaName, to: &ReplicaName) -> Result<bool> {
        todo!()
    }
    pub fn forget(&self, replica: ReplicaId, now: Millis) -> Result<()> {
        todo!()
    }
    pub fn agreement(&self, db: DbIndex, key: &Key) -> Result<Option<Agreement>> {
        todo!()
    }
    pub fn lags(&self, db: DbIndex, key: &Key) -> Result<BTreeMap<ReplicaId, Lag>> {
        todo!()
    }
    /// Superseded versions and earlier proofs of the same version, newest first.
    pub fn history(&self, db: DbIndex, key: &Key) -> Result<Vec<Agreement>> {
        todo!()
    }
    /// Ended and replaced lag entries, newest first.
    pub fn lag_history(&self, db: DbIndex, key: &Key, replica: ReplicaId) -> Result<Vec<Lag>> {
        todo!()
    }
    /// Visits the keys that are agreed to be there, in position order; answers how many.
    pub fn listed(
        &self,
        db: DbIndex,
        range: PositionRange,
        visit: &mut dyn FnMut(EntryRef<'_>),
    ) -> Result<u64> {
        todo!()
    }
    /// Visits every lag entry whose base is not what is agreed, or that is evicted, in position order.
    pub fn lagging(&self, db: DbIndex, visit: &mut dyn FnMut(&Key, ReplicaId)) -> Result<()> {
        todo!()
    }
    pub fn lane(&self, replica: ReplicaId, db: DbIndex) -> Result<Option<Lane>> {
        todo!()
    }
    pub fn voids(&self, replica: ReplicaId, db: DbIndex) -> Result<Voids> {
        todo!()
    }
    /// The next step's number: never used before, and never again, whatever happens.
    pub fn next_sequence(&self) -> Result<Sequence> {
        todo!()
    }
    /// The last number that [`State::next_sequence`] may have given.
    pub fn last_sequence(&self) -> Sequence {
        todo!()
    }
    /// The keyspaces that were read completely at a replica, by name, with the step that proved it.
    pub fn coverage(
        &self,
        replica: ReplicaId,
        db: DbIndex,
    ) -> Result<BTreeMap<KeyspaceName, Sequence>> {
        todo!()
    }
    /// The number of keys that a replica had evicted when it was last looked at.
    pub fn evicted(&self, replica: ReplicaId) -> Result<Option<u64>> {
        todo!()
    }
    pub fn last_run(&self) -> RunNumber {
        todo!()
    }
    pub fn begin_run(&self, start: RunStart) -> Result<RunNumber> {
        todo!()
    }
    pub fn end_run(&self, run: RunNumber, end: RunEnd) -> Result<()> {
        todo!()
    }
    /// All runs, oldest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>> {
        todo!()
    }
    pub fn run(&self, run: RunNumber) -> Result<Option<RunRecord>> {
        todo!()
    }
    /// Open intents, oldest first.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        todo!()
    }
    /// Visits what a run wrote, in the order of its steps.
    pub fn journal(&self, run: RunNumber, visit: &mut dyn FnMut(JournalEntry)) -> Result<()> {
        todo!()
    }
    /// The run that undid the key, if it waits for the operator.
    pub fn held(&self, db: DbIndex, key: &Key) -> Result<Option<RunNumber>> {
        todo!()
    }
    /// Writes all of the changes or none, and returns once they are on disk.
    pub fn commit(&self, changes: Changes) -> Result<()> {
        todo!()
    }
    /// Writes all of the changes or none; a crash may still take them, and all that follow, until the next sync.
    pub fn commit_unsynced(&self, changes: Changes) -> Result<()> {
        todo!()
    }
    /// Brings everything committed to disk.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }
    /// Reads every record.
    pub fn check(&self) -> Result<Checked> {
        todo!()
    }
    pub fn prune(&self, now: Millis, history: Duration, journal: Retention) -> Result<Pruned> {
        todo!()
    }
    pub fn sizes(&self) -> Result<Sizes> {
        todo!()
    }
}
