//! A replica that tells the world what it is asked, and that answers nothing once the run is to be dead.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use reknit::model::{
    DbIndex, DigestKey, Expiry, Key, Kind, Marker, Millis, OwnerToken, ReplicaName, RunNumber,
    State, Write,
};
use reknit::store::{
    Capabilities, EntrySink, Facts, Health, LargeState, MemoryReplica, Observed, Pace, Piece,
    PieceCursor, Replica, ScanReport, ScanRequest, Seal, StoreError, Usage, Written,
};

use super::world::{Place, World};

/// One replica as a run reaches it.
pub(crate) struct Edge {
    pub(crate) number: usize,
    pub(crate) replica: MemoryReplica,
    pub(crate) world: Arc<Mutex<World>>,
}

impl Edge {
    /// Waits for ever once the run is dead: so it ends where it was.
    async fn alive(&self) {
        let is_dead = {
            let world = self.world.lock().unwrap();
            world.run.as_ref().is_some_and(|run| run.is_dead)
        };
        if is_dead {
            std::future::pending::<()>().await;
        }
    }

    async fn answered<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.alive().await;
        result
    }

    /// What could not be read to the end was not read.
    async fn read<T>(
        &self,
        result: Result<T, StoreError>,
        places: &[Place],
    ) -> Result<T, StoreError> {
        if result.is_err()
            && let Some(run) = self.world.lock().unwrap().run.as_mut()
        {
            run.lose(self.number, places);
        }
        self.alive().await;
        result
    }

    fn fetching(&self, is_fetching: bool) {
        if let Some(run) = self.world.lock().unwrap().run.as_mut() {
            run.is_fetching = is_fetching;
        }
    }

    fn fetches(&self, db: Option<DbIndex>, keys: &[Key]) -> Vec<Place> {
        let db = db.unwrap_or(DbIndex(0));
        let places: Vec<Place> = super::watch::places(db, keys).collect();
        if let Some(run) = self.world.lock().unwrap().run.as_mut() {
            run.is_fetching = true;
            run.fetch(self.number, &places);
        }
        places
    }
}

#[async_trait]
impl Replica for Edge {
    fn name(&self) -> &ReplicaName {
        self.replica.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.replica.capabilities()
    }

    async fn scan(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        self.alive().await;
        self.fetching(false);
        let result = self.replica.scan(request, pace, sink).await;
        self.read(result, &[]).await
    }

    async fn scan_keys(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        self.alive().await;
        self.fetching(false);
        let result = self.replica.scan_keys(request, keys, pace, sink).await;
        self.read(result, &[]).await
    }

    async fn fetch(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        self.alive().await;
        let places = self.fetches(db, keys);
        let result = self.replica.fetch(db, keys, digest_key).await;
        self.read(result, &places).await
    }

    async fn elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError> {
        self.alive().await;
        let result = self.replica.elements(db, key, kind, digest_key, sink).await;
        self.answered(result).await
    }

    async fn fetch_elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError> {
        self.alive().await;
        let result = self.replica.fetch_elements(db, key, kind, names).await;
        self.answered(result).await
    }

    async fn read_piece(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), StoreError> {
        self.alive().await;
        let result = self.replica.read_piece(db, key, kind, cursor).await;
        self.answered(result).await
    }

    async fn build_aside(
        &self,
        db: Option<DbIndex>,
        aside: &Key,
        piece: Piece,
    ) -> Result<(), StoreError> {
        self.alive().await;
        let result = self.replica.build_aside(db, aside, piece).await;
        self.answered(result).await
    }

    async fn drop_aside(&self, db: Option<DbIndex>, aside: &Key) -> Result<(), StoreError> {
        self.alive().await;
        let result = self.replica.drop_aside(db, aside).await;
        self.answered(result).await
    }

    async fn write(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError> {
        self.alive().await;
        let result = self.replica.write(db, writes, digest_key, seal).await;
        self.answered(result).await
    }

    async fn markers(
        &self,
        db: Option<DbIndex>,
        names: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.alive().await;
        let result = self.replica.markers(db, names).await;
        self.answered(result).await
    }

    async fn states(&self, db: Option<DbIndex>) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.alive().await;
        let result = self.replica.states(db).await;
        self.answered(result).await
    }

    async fn fence(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        self.alive().await;
        let result = self.replica.fence(db, lane, owner, run).await;
        self.answered(result).await
    }

    async fn dump(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
    ) -> Result<Vec<Option<(Bytes, Expiry)>>, StoreError> {
        self.alive().await;
        let result = self.replica.dump(db, keys).await;
        self.answered(result).await
    }

    async fn own_keys(&self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        self.alive().await;
        let result = self.replica.own_keys(db).await;
        self.answered(result).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.replica.health().await
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        self.alive().await;
        let result = self.replica.facts().await;
        self.answered(result).await
    }

    fn usage(&self) -> Usage {
        self.replica.usage()
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        self.alive().await;
        let result = self.replica.now().await;
        self.answered(result).await
    }
}
