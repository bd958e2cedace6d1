//! A replica that is one Redis server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::{
    ASIDE_PREFIX, DbIndex, DigestKey, Digester, Key, Kind, Marker, Millis, OWN_PREFIX, OwnerToken,
    ReplicaName, RunNumber, Stamp, State, Write,
};

use super::bulk::{Bulk, Names};
use super::dump::{Dumped, dump};
use super::elements::read_elements;
use super::error::{advise, advise_marker, refused_command};
use super::functions::counting_names;
use super::markers::{fence, read_markers, read_states};
use super::observe::observe;
use super::pieces::{build_aside, list_elements, read_piece, unlink};
use super::seal::SealError;
use super::stamps::read_stamps;
use super::wire::{Connecting, Endpoint, Meter, Wire, WireError};
use super::{
    Beside, Capabilities, EntrySink, Facts, Health, LargeState, Observed, Pace, Piece, PieceCursor,
    Replica, ScanReport, ScanRequest, Seal, StampQuery, StampReading, StoreError, Usage, Written,
    server_info,
};

/// Connections to one server at the same time, at the most.
const CONNECTIONS: usize = 4;

/// Waits before the second, third, ... attempt to reach a server that was lost.
const BACKOFF: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1_600),
    Duration::from_millis(3_000),
];

/// Runs a reading action on a connection, again on another one where it is lost, a bounded number of times.
///
/// A macro, because a closure that lends the connection to a future cannot be `Send` yet.
macro_rules! retrying {
    ($replica:expr, $db:expr, $action:expr, |$wire:ident| $run:expr) => {{
        let mut pauses = $replica.pauses.iter();
        loop {
            let mut lease = $replica.lease($db, $action).await?;
            let $wire = &mut lease.wire;
            match ($run.await.map_err(SealError::from), pauses.next()) {
                (Ok(answer), _) => {
                    $replica.give_back(lease);
                    break Ok(answer);
                }
                (Err(SealError::Wire(WireError::Lost(_))), Some(pause)) => {
                    drop(lease);
                    tokio::time::sleep(*pause).await;
                }
                (Err(error), _) => break Err($replica.marker_failure($action, error)),
            }
        }
    }};
}

mod deployed;
mod following;
mod probing;
mod scanning;
mod writing;

/// A replica that is one Redis server.
pub struct RedisReplica {
    name: ReplicaName,
    connecting: Connecting,
    depth: usize,
    /// The waits before the second, third, ... attempt.
    pauses: &'static [Duration],
    /// Whether the server was ever reached.
    reached: AtomicBool,
    idle: Mutex<Vec<Wire>>,
    slots: Semaphore,
    meter: Arc<Meter>,
    /// What the server can do, as the last connection was told.
    can: Arc<Mutex<Capabilities>>,
    /// The connection by which the server's health is looked at.
    probe: tokio::sync::Mutex<Option<Wire>>,
}

impl RedisReplica {
    /// A replica behind this address; nothing is connected yet. `depth` bounds the commands under way on a connection.
    pub fn new(name: ReplicaName, connecting: Connecting, depth: usize) -> Self {
        Self {
            pauses: match connecting.endpoint {
                Endpoint::Sentinel { .. } => &following::FAILOVER,
                Endpoint::Tcp { .. } | Endpoint::Unix(_) => &BACKOFF,
            },
            reached: AtomicBool::new(false),
            name,
            connecting,
            depth,
            idle: Mutex::new(Vec::new()),
            slots: Semaphore::new(CONNECTIONS),
            meter: Arc::new(Meter::default()),
            can: Arc::new(Mutex::new(Capabilities::ALL)),
            probe: tokio::sync::Mutex::new(None),
        }
    }

    /// Sends one command and gives its whole answer in the redis crate's terms.
    ///
    /// # Errors
    /// When the server cannot be reached. An error that the server answers is a value here.
    pub async fn query(&self, args: &[&[u8]]) -> Result<redis::Value, StoreError> {
        let command = String::from_utf8_lossy(args[0]).into_owned();
        let mut lease = self.lease(None, &command).await?;
        let reply = lease
            .wire
            .ask(args)
            .await
            .map_err(|error| self.failure(&command, error))?;
        let value = redis::parse_redis_value(&reply).map_err(|error| StoreError::Protocol {
            replica: self.name.clone(),
            command,
            reason: error.to_string(),
        })?;
        self.give_back(lease);
        Ok(value)
    }

    pub(super) fn with_own_connections(&self) -> Self {
        Self {
            pauses: self.pauses,
            meter: Arc::clone(&self.meter),
            can: Arc::clone(&self.can),
            ..Self::new(self.name.clone(), self.connecting.clone(), self.depth)
        }
    }

    async fn lease(&self, db: Option<DbIndex>, action: &str) -> Result<Lease<'_>, StoreError> {
        let permit = self
            .slots
            .acquire()
            .await
            .map_err(|_| StoreError::Unreachable {
                replica: self.name.clone(),
                action: action.into(),
                reason: "the run is over".into(),
            })?;
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => self.connect(action).await?,
        };
        let db = db.unwrap_or(self.connecting.db);
        match wire.select(db).await {
            Ok(()) => Ok(Lease {
                wire,
                _permit: permit,
            }),
            // An idle connection may have been closed by the server since.
            Err(WireError::Lost(_)) => {
                let mut wire = self.connect(action).await?;
                wire.select(db)
                    .await
                    .map_err(|error| self.failure(action, error))?;
                Ok(Lease {
                    wire,
                    _permit: permit,
                })
            }
            Err(error) => Err(self.failure(action, error)),
        }
    }

    /// Gives a connection back that is in order: every answer read, nothing watched.
    fn give_back(&self, lease: Lease<'_>) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(lease.wire);
    }

    async fn connect(&self, action: &str) -> Result<Wire, StoreError> {
        // One that was never reached is not waited for as long as one that fails over.
        let attempts = match self.reached.load(Ordering::Relaxed) {
            true if self.follows() => self.pauses.len(),
            _ => self.pauses.len().min(2),
        };
        let mut attempt = Wire::connect(&self.connecting, Arc::clone(&self.meter)).await;
        for pause in &self.pauses[..attempts] {
            match attempt {
                Err(WireError::Lost(_)) => {
                    tokio::time::sleep(*pause).await;
                    attempt = Wire::connect(&self.connecting, Arc::clone(&self.meter)).await;
                }
                Ok(_) | Err(_) => break,
            }
        }
        let wire = attempt.map_err(|error| self.failure(action, error))?;
        self.reached.store(true, Ordering::Relaxed);
        *self.can.lock().unwrap_or_else(PoisonError::into_inner) = wire.can;
        Ok(wire)
    }

    /// Whether it follows a master wherever that goes.
    fn follows(&self) -> bool {
        matches!(self.connecting.endpoint, Endpoint::Sentinel { .. })
    }

    fn failure(&self, action: &str, error: WireError) -> StoreError {
        let replica = self.name.clone();
        match error {
            WireError::Lost(reason) => StoreError::Unreachable {
                replica,
                action: action.into(),
                reason: format!("{} at {}", advise(&reason), self.connecting.endpoint),
            },
            WireError::Refused(reason) => {
                let (command, reason) = refused_command(&reason).unwrap_or((action, &reason));
                StoreError::Refused {
                    replica,
                    command: command.into(),
                    reason: advise(reason),
                }
            }
            WireError::Malformed(malformed) => StoreError::Protocol {
                replica,
                command: action.into(),
                reason: advise(&malformed.to_string()),
            },
        }
    }

    fn marker_failure(&self, action: &str, error: SealError) -> StoreError {
        let replica = self.name.clone();
        match error {
            SealError::Wire(error) => self.failure(action, error),
            SealError::Fenced(lane, found) => StoreError::Fenced {
                replica,
                lane,
                found,
            },
            SealError::Marker(key, reason) => StoreError::Marker {
                replica,
                key,
                reason: advise_marker(&reason),
            },
        }
    }
}

/// A connection in use.
struct Lease<'a> {
    wire: Wire,
    _permit: SemaphorePermit<'a>,
}

#[async_trait]
impl Replica for RedisReplica {
    fn name(&self) -> &ReplicaName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        *self.can.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn detached(&self) -> Option<Arc<dyn Replica>> {
        Some(Arc::new(self.with_own_connections()))
    }

    async fn scan(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        if let Some(report) = self.scan_follower(request, pace, &mut *sink).await {
            return Ok(report);
        }
        let bulk = Bulk::new(request, Names::Scan(Some(0)), self.depth, pace, sink);
        self.run_bulk(request.db, bulk).await
    }

    async fn scan_keys(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        self.run_bulk(
            request.db,
            Bulk::new(request, Names::Listed(keys.iter()), self.depth, pace, sink),
        )
        .await
    }

    async fn fetch(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        let mut digester = Digester::new(digest_key.clone());
        self.meter.count_read(keys.len() as u64);
        retrying!(self, db, "fetch", |wire| observe(
            wire,
            keys,
            self.depth,
            true,
            &mut digester
        ))
    }

    async fn elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError> {
        let mut digester = Digester::new(digest_key.clone());
        let mut lease = self.lease(db, "fetch").await?;
        let listed = list_elements(&mut lease.wire, key, kind, &mut digester, sink).await;
        let listed = listed.map_err(|error| self.failure("fetch", error))?;
        self.give_back(lease);
        Ok(listed)
    }

    async fn fetch_elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError> {
        retrying!(self, db, "fetch", |wire| read_elements(
            wire, key, kind, names
        ))
    }

    async fn read_piece(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), StoreError> {
        let piece: Result<_, StoreError> = retrying!(self, db, "fetch", |wire| read_piece(
            wire, key, kind, &cursor
        ));
        piece?.ok_or_else(|| StoreError::Changed {
            replica: self.name.clone(),
            key: key.clone(),
        })
    }

    async fn build_aside(
        &self,
        db: Option<DbIndex>,
        aside: &Key,
        piece: Piece,
    ) -> Result<(), StoreError> {
        debug_assert!(aside.as_bytes().starts_with(ASIDE_PREFIX), "aside keys");
        let mut lease = self.lease(db, "build aside").await?;
        let refusal = build_aside(&mut lease.wire, aside, &piece)
            .await
            .map_err(|error| self.failure("build aside", error))?;
        self.give_back(lease);
        match refusal {
            None => Ok(()),
            Some(words) => Err(StoreError::Refused {
                replica: self.name.clone(),
                command: format!("building {aside}"),
                reason: advise(&words),
            }),
        }
    }

    async fn drop_aside(&self, db: Option<DbIndex>, aside: &Key) -> Result<(), StoreError> {
        if !aside.as_bytes().starts_with(OWN_PREFIX) {
            return Ok(());
        }
        retrying!(self, db, "UNLINK", |wire| unlink(wire, aside))
    }

    async fn write(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError> {
        let written = match seal {
            Some(seal) => self.write_sealed(db, writes, digest_key, seal).await?,
            None => Written::unsealed(self.write_unsealed(db, writes, digest_key).await?),
        };
        self.count_written(&written);
        Ok(written)
    }

    async fn markers(
        &self,
        db: Option<DbIndex>,
        names: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        retrying!(self, db, "GET", |wire| read_markers(wire, names))
    }

    async fn states(&self, db: Option<DbIndex>) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        retrying!(self, db, "HGETALL", |wire| read_states(wire))
    }

    async fn fence(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        // Taking over twice is as good as once, so a lost answer is no reason to stop.
        retrying!(self, db, "fence", |wire| fence(wire, lane, owner, run))
    }

    async fn stamps(
        &self,
        db: Option<DbIndex>,
        queries: &[StampQuery],
    ) -> Result<Vec<StampReading>, StoreError> {
        retrying!(self, db, "ZMSCORE", |wire| read_stamps(wire, queries))
    }

    async fn removals(
        &self,
        db: Option<DbIndex>,
        of: Option<&Key>,
        cursor: u64,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        self.page_of_removals(db, of, cursor).await
    }

    async fn keys_beside(
        &self,
        db: Option<DbIndex>,
        what: Beside,
        cursor: u64,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        self.page_of_keys_beside(db, what, cursor).await
    }

    async fn counting_names(&self) -> Result<Vec<String>, StoreError> {
        retrying!(self, None, "FUNCTION", |wire| counting_names(wire))
    }

    async fn dump(&self, db: Option<DbIndex>, keys: &[Key]) -> Result<Vec<Dumped>, StoreError> {
        retrying!(self, db, "DUMP", |wire| dump(wire, keys))
    }

    async fn own_keys(&self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        retrying!(self, db, "SCAN", |wire| server_info::own_keys(wire))
    }

    async fn facts(&self) -> Result<Facts, StoreError> {
        let default_db = self.connecting.db;
        retrying!(self, None, "INFO", |wire| server_info::facts(
            wire, default_db
        ))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.look().await
    }

    fn usage(&self) -> Usage {
        self.meter.usage()
    }

    async fn now(&self) -> Result<Millis, StoreError> {
        retrying!(self, None, "TIME", |wire| server_info::now(wire))
    }
}
