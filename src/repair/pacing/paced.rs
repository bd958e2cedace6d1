//! A replica that is read and written at a pace: whatever a run asks of it waits here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::model::{
    DbIndex, DigestKey, Expiry, Key, Kind, Marker, Millis, OwnerToken, ReplicaName, RunNumber,
    Stamp, State, Write,
};
use crate::store::{
    Beside, Capabilities, EntrySink, Facts, Health, LargeState, Observed, Pace, Piece, PieceCursor,
    Replica, ScanReport, ScanRequest, Seal, StampQuery, StampReading, StoreError, Usage, Written,
};

use super::pacer::Pacer;

/// A replica at a pace. What asks the server of itself does not wait.
pub(super) struct Paced {
    replica: Arc<dyn Replica>,
    pacer: Arc<Pacer>,
    stop: CancellationToken,
    /// Bytes that were counted towards the pace.
    counted: Arc<AtomicU64>,
}

/// The pace of a scan: that of the replica, and whoever else wants to be told.
struct OfScan<'a> {
    paced: &'a Paced,
    told: &'a dyn Pace,
}

impl Paced {
    pub(super) fn new(
        replica: Arc<dyn Replica>,
        pacer: Arc<Pacer>,
        stop: CancellationToken,
    ) -> Self {
        let counted = moved(&replica.usage());
        Self {
            replica,
            pacer,
            stop,
            counted: Arc::new(AtomicU64::new(counted)),
        }
    }

    /// Waits until so many keys may be worked on, works, and counts what was moved.
    async fn work<T>(&self, keys: usize, work: impl Future<Output = T>) -> T {
        let _working = self.pacer.begin(&self.stop).await;
        if keys > 0 {
            self.pacer.take(keys as u64, 0, &self.stop).await;
        }
        let done = work.await;
        self.pacer.moved(self.uncounted());
        done
    }

    /// What the connections have moved and nobody has counted yet.
    fn uncounted(&self) -> u64 {
        let moved = moved(&self.replica.usage());
        moved.saturating_sub(self.counted.fetch_max(moved, Ordering::Relaxed))
    }
}

/// Bytes both ways.
fn moved(usage: &Usage) -> u64 {
    usage.bytes_read + usage.bytes_written
}

#[async_trait]
impl Pace for OfScan<'_> {
    async fn keys(&self, count: u64) {
        self.told.keys(count).await;
        self.paced.pacer.take(count, 0, &self.paced.stop).await;
    }

    /// The count of the scan is what one connection received; the replica knows all that was moved.
    async fn bytes(&self, count: u64) {
        self.told.bytes(count).await;
        let uncounted = self.paced.uncounted();
        self.paced.pacer.take(0, uncounted, &self.paced.stop).await;
    }
}

#[async_trait]
impl Replica for Paced {
    fn name(&self) -> &ReplicaName {
        self.replica.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.replica.capabilities()
    }

    fn detached(&self) -> Option<Arc<dyn Replica>> {
        Some(Arc::new(Self {
            replica: self.replica.detached()?,
            pacer: Arc::clone(&self.pacer),
            stop: self.stop.clone(),
            counted: Arc::clone(&self.counted),
        }))
    }

    async fn scan(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let of_scan = OfScan {
            paced: self,
            told: pace,
        };
        self.work(0, self.replica.scan(request, &of_scan, sink))
            .await
    }

    async fn scan_keys(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let of_scan = OfScan {
            paced: self,
            told: pace,
        };
        let scan = self.replica.scan_keys(request, keys, &of_scan, sink);
        self.work(0, scan).await
    }

    async fn fetch(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        let fetch = self.replica.fetch(db, keys, digest_key);
        self.work(keys.len(), fetch).await
    }

    async fn elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError> {
        let elements = self.replica.elements(db, key, kind, digest_key, sink);
        self.work(0, elements).await
    }

    async fn fetch_elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError> {
        let fetch = self.replica.fetch_elements(db, key, kind, names);
        self.work(0, fetch).await
    }

    async fn read_piece(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), StoreError> {
        let read = self.replica.read_piece(db, key, kind, cursor);
        self.work(0, read).await
    }

    async fn build_aside(
        &self,
        db: Option<DbIndex>,
        aside: &Key,
        piece: Piece,
    ) -> Result<(), StoreError> {
        self.work(0, self.replica.build_aside(db, aside, piece))
            .await
    }

    async fn drop_aside(&self, db: Option<DbIndex>, aside: &Key) -> Result<(), StoreError> {
        self.work(0, self.replica.drop_aside(db, aside)).await
    }

    async fn write(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError> {
        let write = self.replica.write(db, writes, digest_key, seal);
        self.work(writes.len(), write).await
    }

    async fn markers(
        &self,
        db: Option<DbIndex>,
        names: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.replica.markers(db, names).await
    }

    async fn marker(&self, db: Option<DbIndex>, lane: &Key) -> Result<Option<Bytes>, StoreError> {
        self.replica.marker(db, lane).await
    }

    async fn states(&self, db: Option<DbIndex>) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.replica.states(db).await
    }

    async fn fence(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        self.replica.fence(db, lane, owner, run).await
    }

    async fn stamps(
        &self,
        db: Option<DbIndex>,
        queries: &[StampQuery],
    ) -> Result<Vec<StampReading>, StoreError> {
        self.work(queries.len(), self.replica.stamps(db, queries))
            .await
    }

    async fn removals(
        &self,
        db: Option<DbIndex>,
        of: Option<&Key>,
        cursor: u64,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        self.work(0, self.replica.removals(db, of, cursor)).await
    }

    async fn keys_beside(
        &self,
        db: Option<DbIndex>,
        what: Beside,
        cursor: u64,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        self.work(0, self.replica.keys_beside(db, what, cursor))
            .await
    }

    async fn counting_names(&self) -> Result<Vec<String>, StoreError> {
        self.work(0, self.replica.counting_names()).await
    }

    async fn dump(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
    ) -> Result<Vec<Option<(Bytes, Expiry)>>, StoreError> {
        self.work(keys.len(), self.replica.dump(db, keys)).await
    }

    async fn own_keys(&self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        self.work(0, self.replica.own_keys(db)).await
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        self.replica.facts().await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.replica.health().await
    }

    fn usage(&self) -> Usage {
        self.replica.usage()
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        self.replica.now().await
    }
}
