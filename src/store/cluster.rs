//! A replica that is a Redis Cluster: many nodes, each a server of its own, that together hold one copy of the data.
//!
//! ```text
//!              ┌ owner(slot) ─▶ node ─┐
//! key ─▶ slot ─┤                      ├─▶ answer
//!              └ moved? look again ◀──┘
//! ```
//!
//! Every command goes to the node that holds the key's slot. A node that is lost, that failed over, or that answers
//! that the slot is elsewhere, is no failure: the nodes are asked again who holds what, and what was not done is
//! planned anew. What may have been done is not done twice: it is unknown, and read back.
//!
//! Deliberately absent: databases beyond the first, and commands over several slots, for a cluster has neither.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::{
    DbIndex, DigestKey, HostPort, Key, Kind, Marker, Millis, OwnerToken, ReplicaName, RunNumber,
    STATES_KEY, State, Write,
};

use super::dump::Dumped;
use super::wire::{Connecting, Endpoint, Meter};
use super::{
    Capabilities, EntrySink, Facts, Health, LargeState, Observed, Pace, Piece, PieceCursor,
    RedisReplica, Replica, ScanReport, ScanRequest, Seal, StoreError, Usage, Written,
};

/// Does something at the node that holds a key's slot; again where the slot has moved, or the node was lost.
macro_rules! at_owner {
    ($cluster:expr, $key:expr, |$node:ident| $run:expr) => {{
        let slot = slot_map::slot_of($key.as_bytes());
        let mut pauses = PAUSES.iter();
        'anew: loop {
            let mut elsewhere = None;
            for $node in $cluster.holders(slot).await? {
                match $run.await {
                    Err(error) if map::is_elsewhere(&error) => elsewhere = Some(error),
                    answer => break 'anew answer,
                }
            }
            match (elsewhere, pauses.next()) {
                (Some(error), None) => break Err(error),
                (_, Some(pause)) => tokio::time::sleep(*pause).await,
                (None, None) => {}
            }
            $cluster.settled().await?;
        }
    }};
}

pub(super) mod facts;
mod map;
mod routing;
mod scanning;
mod sealing;
mod shared;
mod slot_map;
mod writing;

use super::spread::Lane;
use slot_map::SlotMap;

/// How often something is tried anew whose slot moves, or whose node is lost.
const ATTEMPTS: usize = 8;

/// Waits between these attempts, and between looks at a cluster that fails over.
const PAUSES: [Duration; ATTEMPTS] = {
    let mut pauses = [Duration::from_secs(2); ATTEMPTS];
    pauses[0] = Duration::from_millis(20);
    pauses[1] = Duration::from_millis(100);
    pauses[2] = Duration::from_millis(300);
    pauses[3] = Duration::from_millis(1_000);
    pauses
};

/// A replica that is a Redis Cluster.
pub struct ClusterReplica {
    name: ReplicaName,
    /// How its nodes are connected to; the endpoint is that of no particular one.
    connecting: Connecting,
    /// The nodes that the configuration names.
    seeds: Vec<HostPort>,
    depth: usize,
    meter: Arc<Meter>,
    /// Every node that was ever spoken to, and whether it is asked for keys that are on their way to it.
    nodes: Mutex<BTreeMap<(HostPort, bool), Arc<RedisReplica>>>,
    map: Mutex<Option<Arc<SlotMap>>>,
    /// The markers that this process keeps, by lane.
    lanes: Mutex<BTreeMap<Key, Lane>>,
    /// Whether all slots were ever seen to be held.
    reached: AtomicBool,
}

impl ClusterReplica {
    /// A replica that is the cluster of these nodes; nothing is connected yet. `connecting` tells how each is spoken to.
    pub fn new(
        name: ReplicaName,
        connecting: Connecting,
        seeds: Vec<HostPort>,
        depth: usize,
    ) -> Self {
        Self {
            name,
            connecting,
            seeds,
            depth,
            meter: Arc::new(Meter::default()),
            nodes: Mutex::new(BTreeMap::new()),
            map: Mutex::new(None),
            lanes: Mutex::new(BTreeMap::new()),
            reached: AtomicBool::new(false),
        }
    }

    /// The node at this address.
    fn node(&self, at: &HostPort) -> Arc<RedisReplica> {
        self.speaking_to(at, false)
    }

    /// The node at this address, asked for keys that are on their way to it.
    fn asking(&self, at: &HostPort) -> Arc<RedisReplica> {
        self.speaking_to(at, true)
    }

    fn speaking_to(&self, at: &HostPort, asking: bool) -> Arc<RedisReplica> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry((at.clone(), asking)).or_insert_with(|| {
            let HostPort { host, port } = at.clone();
            let connecting = Connecting {
                endpoint: Endpoint::Tcp { host, port },
                asking,
                ..self.connecting.clone()
            };
            let (name, meter) = (self.name.clone(), Arc::clone(&self.meter));
            Arc::new(RedisReplica::node(name, connecting, self.depth, meter))
        });
        Arc::clone(node)
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Key, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, action: &str, reason: String) -> StoreError {
        StoreError::Unreachable {
            replica: self.name.clone(),
            action: action.into(),
            reason,
        }
    }
}

#[async_trait]
impl Replica for ClusterReplica {
    fn name(&self) -> &ReplicaName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = nodes.values().map(|node| node.capabilities());
        found.fold(Capabilities::ALL, Capabilities::and)
    }

    fn detached(&self) -> Option<Arc<dyn Replica>> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::new(Self {
            name: self.name.clone(),
            connecting: self.connecting.clone(),
            seeds: self.seeds.clone(),
            depth: self.depth,
            meter: Arc::clone(&self.meter),
            nodes: Mutex::new(BTreeMap::new()),
            map: Mutex::new(map.clone()),
            lanes: Mutex::new(BTreeMap::new()),
            reached: AtomicBool::new(self.reached.load(Ordering::Relaxed)),
        }))
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
        self.scan_listed(request, keys, pace, sink).await
    }

    async fn fetch(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        self.fetch_routed(db, keys, digest_key).await
    }

    async fn elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError> {
        at_owner!(self, key, |node| node
            .elements(db, key, kind, digest_key, &mut *sink))
    }

    async fn fetch_elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError> {
        at_owner!(self, key, |node| node.fetch_elements(db, key, kind, names))
    }

    async fn read_piece(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), StoreError> {
        at_owner!(self, key, |node| node.read_piece(
            db,
            key,
            kind,
            cursor.clone()
        ))
    }

    async fn build_aside(
        &self,
        db: Option<DbIndex>,
        aside: &Key,
        piece: Piece,
    ) -> Result<(), StoreError> {
        // A piece that was added twice would be wrong: where it is not known whether it was, the value is built anew.
        let owner = self.owner(slot_map::slot_of(aside.as_bytes())).await?;
        match owner.build_aside(db, aside, piece).await {
            // Nothing new begins in a slot that is on its way.
            Err(StoreError::Refused {
                replica, reason, ..
            }) if super::observe::is_elsewhere(&reason) => {
                let key = aside.clone();
                Err(StoreError::Changed { replica, key })
            }
            built => built,
        }
    }

    async fn drop_aside(&self, db: Option<DbIndex>, aside: &Key) -> Result<(), StoreError> {
        at_owner!(self, aside, |node| node.drop_aside(db, aside))
    }

    async fn write(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError> {
        match seal {
            Some(seal) => self.write_sealed(db, writes, digest_key, seal).await,
            None => {
                let outcomes = self.write_routed(db, writes, digest_key).await?;
                Ok(Written::unsealed(outcomes))
            }
        }
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
        let list = Key::copied(STATES_KEY);
        at_owner!(self, list, |node| node.states(db))
    }

    async fn fence(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        self.fence_lane(db, lane, owner, run).await
    }

    async fn dump(&self, db: Option<DbIndex>, keys: &[Key]) -> Result<Vec<Dumped>, StoreError> {
        let mut dumped = Vec::with_capacity(keys.len());
        for key in keys {
            let one = at_owner!(self, key, |node| node.dump(db, std::slice::from_ref(key)));
            dumped.extend(one?);
        }
        Ok(dumped)
    }

    async fn own_keys(&self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        let map = self.settled().await?;
        let mut own = Vec::new();
        for master in map.masters() {
            own.extend(self.node(master).own_keys(db).await?);
        }
        own.sort();
        own.dedup();
        Ok(own)
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        self.facts_of_all().await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.worst_health().await
    }

    fn usage(&self) -> Usage {
        self.meter.usage()
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        let map = self.current().await?;
        match map.masters().first() {
            Some(first) => self.node(first).now().await,
            None => Err(self.unreachable("TIME", "the cluster has no masters".into())),
        }
    }
}
