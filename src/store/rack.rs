//! A replica that is a Dynomite rack of several nodes: servers of their own that together hold one copy of the data.
//!
//! ```text
//! key ─▶ ring ─▶ owner ─▶ node ─▶ answer          what concerns all: every node, put together
//! ```
//!
//! The ring is fixed: Dynomite moves no keys by itself. A key counts only at the node that owns it, so what another
//! ring left at the wrong node is not seen, and not touched.
//!
//! Deliberately absent: values built aside, for their names tell no owner.

mod deployed;
mod sealing;
mod stamps;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};

use crate::model::{
    DbIndex, DigestKey, Key, Kind, Marker, Millis, Op, OwnerToken, ReplicaName, Ring, RunNumber,
    Stamp, State, Write,
};

use super::cluster::facts::{joined, worse};
use super::dump::Dumped;
use super::spread::Lane;
use super::{
    Beside, Capabilities, Connecting, EntrySink, Facts, Health, LargeState, Observed, Pace, Piece,
    PieceCursor, RedisReplica, Replica, ScanReport, ScanRequest, Seal, StampQuery, StampReading,
    StoreError, Usage, WriteOutcome, Written,
};

/// A replica that is a Dynomite rack.
pub struct RackReplica {
    name: ReplicaName,
    ring: Ring,
    /// In the order of the ring's indexes.
    nodes: Vec<Arc<RedisReplica>>,
    /// The markers that this process keeps, by lane.
    lanes: Mutex<BTreeMap<Key, Lane>>,
}

impl RackReplica {
    /// A rack of these nodes, in the order of the ring's indexes; nothing is connected yet.
    pub fn new(name: ReplicaName, ring: Ring, nodes: Vec<Connecting>, depth: usize) -> Self {
        let node = |connecting| Arc::new(RedisReplica::new(name.clone(), connecting, depth));
        Self {
            nodes: nodes.into_iter().map(node).collect(),
            name,
            ring,
            lanes: Mutex::default(),
        }
    }

    fn owner(&self, key: &Key) -> &RedisReplica {
        &self.nodes[self.ring.owner(key.as_bytes())]
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Key, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places of keys, by the node that owns them.
    fn shares<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> Vec<Vec<usize>> {
        let mut shares = vec![Vec::new(); self.nodes.len()];
        for (place, key) in keys.enumerate() {
            shares[self.ring.owner(key.as_bytes())].push(place);
        }
        shares
    }

    fn refused(&self, command: &str) -> StoreError {
        StoreError::Refused {
            replica: self.name.clone(),
            command: command.into(),
            reason: "a rack of several nodes cannot do this in this version".into(),
        }
    }
}

/// Those of the items that stand at these places.
fn pick<T: Clone>(items: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|&place| items[place].clone()).collect()
}

/// What the nodes answered, each for its share, in the order of what was asked.
fn put_together<T>(
    shares: &[Vec<usize>],
    answers: Vec<Result<Vec<T>, StoreError>>,
) -> Result<Vec<T>, StoreError> {
    let mut placed: Vec<(usize, T)> = Vec::new();
    for (share, answer) in shares.iter().zip(answers) {
        placed.extend(share.iter().copied().zip(answer?));
    }
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, answer)| answer).collect())
}

#[async_trait]
impl Replica for RackReplica {
    fn name(&self) -> &ReplicaName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let nodes = self.nodes.iter().map(|node| node.capabilities());
        nodes.fold(Capabilities::ALL, Capabilities::and)
    }

    fn detached(&self) -> Option<Arc<dyn Replica>> {
        let apart = |node: &Arc<RedisReplica>| Arc::new(node.with_own_connections());
        Some(Arc::new(Self {
            name: self.name.clone(),
            ring: self.ring.clone(),
            nodes: self.nodes.iter().map(apart).collect(),
            lanes: Mutex::default(),
        }))
    }

    async fn scan(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let mut all = ScanReport::default();
        for (index, node) in self.nodes.iter().enumerate() {
            let wanted = |key: &[u8]| self.ring.owner(key) == index && (request.wanted)(key);
            let of_node = ScanRequest {
                wanted: &wanted,
                pattern: request.pattern.clone(),
                ..*request
            };
            let part = node.scan(&of_node, pace, &mut *sink).await?;
            all = ScanReport {
                names_seen: all.names_seen + part.names_seen,
                keys_read: all.keys_read + part.keys_read,
                markers_seen: all.markers_seen || part.markers_seen,
            };
        }
        Ok(all)
    }

    async fn scan_keys(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let mut all = ScanReport::default();
        for (node, share) in self.nodes.iter().zip(self.shares(keys.iter())) {
            if !share.is_empty() {
                let keys = pick(keys, &share);
                let part = node.scan_keys(request, &keys, pace, &mut *sink).await?;
                all.names_seen += part.names_seen;
                all.keys_read += part.keys_read;
            }
        }
        Ok(all)
    }

    async fn fetch(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        let shares = self.shares(keys.iter());
        let asked =
            self.nodes
                .iter()
                .zip(&shares)
                .map(async |(node, share)| match share.is_empty() {
                    true => Ok(Vec::new()),
                    false => node.fetch(db, &pick(keys, share), digest_key).await,
                });
        put_together(&shares, join_all(asked).await)
    }

    async fn elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError> {
        let owner = self.owner(key);
        owner.elements(db, key, kind, digest_key, sink).await
    }

    async fn fetch_elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError> {
        self.owner(key).fetch_elements(db, key, kind, names).await
    }

    async fn read_piece(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), StoreError> {
        self.owner(key).read_piece(db, key, kind, cursor).await
    }

    async fn build_aside(
        &self,
        _db: Option<DbIndex>,
        _aside: &Key,
        _piece: Piece,
    ) -> Result<(), StoreError> {
        Err(self.refused("building a large value"))
    }

    async fn drop_aside(&self, db: Option<DbIndex>, aside: &Key) -> Result<(), StoreError> {
        for node in &self.nodes {
            node.drop_aside(db, aside).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError> {
        let is_aside = |op: &Op| matches!(op, Op::TakeAside(_));
        if writes.iter().any(|write| write.ops.iter().any(is_aside)) {
            return Err(self.refused("this write"));
        }
        if let Some(seal) = seal {
            return self.write_sealed(db, writes, digest_key, seal).await;
        }
        let shares = self.shares(writes.iter().map(|write| &write.key));
        let sent =
            self.nodes
                .iter()
                .zip(&shares)
                .map(async |(node, share)| match share.is_empty() {
                    true => Ok(Vec::new()),
                    false => {
                        let own = pick(writes, share);
                        let written = node.write(db, &own, digest_key, None).await;
                        written.map(|written| written.outcomes)
                    }
                });
        let sent = join_all(sent).await;
        // A node that could not be reached was not written: what others wrote stays written.
        let any = sent
            .iter()
            .zip(&shares)
            .any(|(sent, share)| sent.is_ok() && !share.is_empty());
        let sent = sent
            .into_iter()
            .zip(&shares)
            .map(|(sent, share)| match sent {
                Err(_) if any => Ok(vec![WriteOutcome::Superseded; share.len()]),
                sent => sent,
            });
        let sent = sent.collect();
        Ok(Written::unsealed(put_together(&shares, sent)?))
    }

    async fn markers(
        &self,
        db: Option<DbIndex>,
        names: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(self.lane_marker(db, name).await?);
        }
        Ok(found)
    }

    async fn states(&self, db: Option<DbIndex>) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let asked = self.nodes.iter().map(|node| node.states(db));
        let mut all: Vec<(Bytes, Bytes)> = try_join_all(asked).await?.concat();
        all.sort();
        all.dedup();
        Ok(all)
    }

    async fn fence(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        self.fence_lane(db, lane, (owner, run)).await
    }

    async fn stamps(
        &self,
        db: Option<DbIndex>,
        queries: &[StampQuery],
    ) -> Result<Vec<StampReading>, StoreError> {
        self.stamps_of_owners(db, queries).await
    }

    async fn removals(
        &self,
        db: Option<DbIndex>,
        of: Option<&Key>,
        cursor: u64,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        match of {
            Some(key) => self.owner(key).removals(db, of, cursor).await,
            None => self.removals_of_keys(db, cursor).await,
        }
    }

    async fn keys_beside(
        &self,
        db: Option<DbIndex>,
        what: Beside,
        cursor: u64,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        self.keys_of_nodes(db, what, cursor).await
    }

    async fn counting_names(&self) -> Result<Vec<String>, StoreError> {
        let asked = join_all(self.nodes.iter().map(|node| node.counting_names())).await;
        let names: Result<Vec<Vec<String>>, StoreError> = asked.into_iter().collect();
        Ok(names?.concat())
    }

    async fn dump(&self, db: Option<DbIndex>, keys: &[Key]) -> Result<Vec<Dumped>, StoreError> {
        let shares = self.shares(keys.iter());
        let asked =
            self.nodes
                .iter()
                .zip(&shares)
                .map(async |(node, share)| match share.is_empty() {
                    true => Ok(Vec::new()),
                    false => node.dump(db, &pick(keys, share)).await,
                });
        put_together(&shares, join_all(asked).await)
    }

    async fn own_keys(&self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        let mut own = Vec::new();
        for node in &self.nodes {
            own.extend(node.own_keys(db).await?);
        }
        own.sort();
        own.dedup();
        Ok(own)
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        let asked = join_all(self.nodes.iter().map(|node| node.facts())).await;
        let mut all: Vec<Facts> = Vec::with_capacity(asked.len());
        for facts in asked {
            all.push(facts?);
        }
        let ids: Vec<String> = all.iter().map(|facts| facts.run_id.clone()).collect();
        let all = all.into_iter().reduce(joined).expect("a ring has a node");
        Ok(Facts {
            run_id: ids.join(","),
            ..all
        })
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let asked = join_all(self.nodes.iter().map(|node| node.health())).await;
        let mut all: Option<Health> = None;
        for health in asked {
            let health = health?;
            all = Some(match all {
                None => health,
                Some(before) => worse(before, health),
            });
        }
        Ok(all.expect("a ring has a node"))
    }

    fn usage(&self) -> Usage {
        let nodes = self.nodes.iter();
        nodes.fold(Usage::default(), |all, node| all.plus(&node.usage()))
    }

    /// The clock that is furthest ahead.
    async fn now(&self) -> Result<Millis, StoreError> {
        let mut latest = Millis(i64::MIN);
        for now in join_all(self.nodes.iter().map(|node| node.now())).await {
            latest = latest.max(now?);
        }
        Ok(latest)
    }
}
