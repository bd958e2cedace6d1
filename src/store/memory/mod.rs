//! A replica in memory: a real implementation of [`Replica`], for stories, simulation and tests.
//!
//! ```text
//! MemoryReplica ──▶ Inner (one lock) ── Data ◀── Client, and the fault script between any two steps
//! ```
//!
//! Deliberately absent: anything that depends on time, threads or chance. The clock is set, the order of a scan
//! follows from a seed, faults come from a script.

mod client;
mod data;
mod facts;
mod faults;
mod late;
mod markers;
mod pieces;
mod read;
mod scan;
mod seal;
mod stamps;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::{
    DbIndex, DigestKey, Expiry, Key, Kind, Marker, Millis, OwnerToken, ReplicaName, RunNumber,
    Stamp, State, Write,
};

use super::{
    Beside, Capabilities, EntrySink, Facts, Health, LargeState, Observed, Pace, Piece, PieceCursor,
    Replica, ScanReport, ScanRequest, Seal, StampQuery, StampReading, StoreError, Usage, Written,
};

pub use client::Client;
pub use data::{Data, Snapshot};
pub use faults::{Fault, Faults, Step};

use late::Pending;

/// From when on a replica in memory treats values as large, and in which portions it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portions {
    /// Values of more elements are large.
    pub whole_elements: usize,
    /// Values of more payload bytes are large.
    pub whole_bytes: usize,
    /// Elements in a piece.
    pub page_elements: usize,
    /// Bytes in a piece of a string.
    pub page_bytes: usize,
    /// Names in a page of a scan.
    pub page_names: usize,
}

impl Default for Portions {
    fn default() -> Self {
        Self {
            whole_elements: super::WHOLE_ELEMENTS,
            whole_bytes: super::WHOLE_BYTES,
            page_elements: super::PAGE_ELEMENTS,
            page_bytes: super::PAGE_BYTES,
            page_names: 10,
        }
    }
}

/// One complete copy of the data, in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryReplica {
    name: ReplicaName,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    name: ReplicaName,
    data: Data,
    portions: Portions,
    faults: Option<Box<dyn Faults>>,
    facts: Facts,
    health: Health,
    usage: Usage,
    seed: u64,
    reachable: bool,
    /// Transactions whose connection was lost and whose EXEC is still on its way, in the order they were sent.
    late: Vec<Pending>,
}

impl MemoryReplica {
    /// An empty replica. The seed decides the order in which a scan lists names.
    pub fn new(name: &str, seed: u64) -> Self {
        let name = ReplicaName(name.into());
        let inner = Inner {
            name: name.clone(),
            data: Data::new(Millis(0)),
            portions: Portions::default(),
            faults: None,
            facts: facts::of(&name),
            health: Health::well(Millis(0)),
            usage: Usage::default(),
            seed,
            reachable: true,
            late: Vec::new(),
        };
        Self {
            name,
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// A client of the default database.
    pub fn client(&self) -> Client {
        self.client_of(DbIndex(0))
    }

    /// A client of a database.
    pub fn client_of(&self, db: DbIndex) -> Client {
        Client::new(self.clone(), db)
    }

    /// Sets the replica's clock.
    pub fn set_now(&self, now: Millis) {
        self.lock().data.set_now(now);
    }

    /// Sets from when on values are large.
    pub fn set_portions(&self, portions: Portions) {
        self.lock().portions = portions;
    }

    /// Sets the script that is asked at every step; nothing takes it away.
    pub fn set_faults(&self, faults: Option<Box<dyn Faults>>) {
        self.lock().faults = faults;
    }

    /// Cuts the replica off from reknit, or lets it be reached again. Clients always reach it.
    pub fn set_reachable(&self, reachable: bool) {
        self.lock().reachable = reachable;
    }

    /// Changes what the server says of itself; the numbers of keys are always counted.
    pub fn change_facts(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock().facts);
    }

    /// Changes what a look at the server's health finds; its clock is that of the data.
    pub fn change_health(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.lock().health);
    }

    /// All keys as they are now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().data.snapshot()
    }

    /// Restarts the replica with what a snapshot holds.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.lock().data.restore(snapshot);
    }

    /// Removes every key of one database, as FLUSHDB does.
    pub fn flush(&self, db: DbIndex) {
        self.lock().data.flush_db(db);
    }

    /// Removes a key to make room; the facts say so.
    pub fn evict(&self, db: DbIndex, key: &Key) {
        self.lock().data.evict(db, key);
    }

    /// Delivers every EXEC that [`Fault::Late`] held up, in the order they were sent, each as the server takes it: it is
    /// aborted where a key that it watched was touched since. Answers how many took effect.
    pub fn deliver_late(&self) -> usize {
        self.lock().deliver_late()
    }

    /// A panic in a fault script must not hide behind a poisoned lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Asks the script what goes wrong here. An unreachable replica is always disconnected.
    fn fault(&mut self, step: Step<'_>, db: DbIndex) -> Fault {
        if !self.reachable {
            return Fault::Disconnect;
        }
        match &mut self.faults {
            Some(faults) => faults.at(step, db, &mut self.data),
            None => Fault::None,
        }
    }

    /// The same for steps at which all that can go wrong is the connection.
    fn connection(&mut self, step: Step<'_>, db: DbIndex, action: &str) -> Result<(), StoreError> {
        match self.fault(step, db) {
            Fault::Disconnect => Err(self.unreachable(action)),
            _ => Ok(()),
        }
    }

    fn unreachable(&self, action: &str) -> StoreError {
        StoreError::Unreachable {
            replica: self.name.clone(),
            action: action.into(),
            reason: "connection lost".into(),
        }
    }

    fn refused(&self, command: &str, reason: String) -> StoreError {
        StoreError::Refused {
            replica: self.name.clone(),
            command: command.into(),
            reason,
        }
    }

    /// The database that is meant.
    fn db(&self, db: Option<DbIndex>) -> DbIndex {
        db.unwrap_or(self.facts.default_db)
    }

    /// Counts commands that were sent together and answered together.
    fn count_round_trip(&mut self, commands: u64) {
        self.usage.commands += commands;
        self.usage.round_trips += 1;
    }
}

#[async_trait]
impl Replica for MemoryReplica {
    fn name(&self) -> &ReplicaName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.lock().facts.capabilities
    }

    async fn scan(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        self.scan_all(request, pace, sink).await
    }

    async fn scan_keys(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        self.scan_named(request, keys, pace, sink).await
    }

    async fn fetch(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        self.lock().fetch(db, keys, digest_key)
    }

    async fn elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError> {
        self.lock().elements(db, key, kind, digest_key, sink)
    }

    async fn fetch_elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError> {
        self.lock().fetch_elements(db, key, kind, names)
    }

    async fn read_piece(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), StoreError> {
        self.lock().read_piece(db, key, kind, cursor)
    }

    async fn build_aside(
        &self,
        db: Option<DbIndex>,
        aside: &Key,
        piece: Piece,
    ) -> Result<(), StoreError> {
        self.lock().build_aside(db, aside, piece)
    }

    async fn drop_aside(&self, db: Option<DbIndex>, aside: &Key) -> Result<(), StoreError> {
        self.lock().drop_aside(db, aside)
    }

    async fn write(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError> {
        self.lock().write(db, writes, digest_key, seal)
    }

    async fn markers(
        &self,
        db: Option<DbIndex>,
        names: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.lock().markers(db, names)
    }

    async fn states(&self, db: Option<DbIndex>) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.lock().states(db)
    }

    async fn fence(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        self.lock().fence(db, lane, owner, run)
    }

    async fn stamps(
        &self,
        db: Option<DbIndex>,
        queries: &[StampQuery],
    ) -> Result<Vec<StampReading>, StoreError> {
        self.lock().stamps(db, queries)
    }

    async fn removals(
        &self,
        db: Option<DbIndex>,
        of: Option<&Key>,
        _cursor: u64,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        self.lock().removals(db, of)
    }

    async fn keys_beside(
        &self,
        db: Option<DbIndex>,
        what: Beside,
        _cursor: u64,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        self.lock().keys_beside(db, what)
    }

    async fn dump(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
    ) -> Result<Vec<Option<(Bytes, Expiry)>>, StoreError> {
        self.lock().dump(db, keys)
    }

    async fn own_keys(&self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        self.lock().own_keys(db)
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        self.lock().facts()
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let inner = self.lock();
        match inner.reachable {
            true => Ok(Health {
                time: inner.data.now(),
                ..inner.health.clone()
            }),
            false => Err(inner.unreachable("PING")),
        }
    }

    fn usage(&self) -> Usage {
        self.lock().usage
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        self.lock().clock()
    }
}

#[cfg(test)]
mod tests;
