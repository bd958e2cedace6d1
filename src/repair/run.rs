//! What a run consists of: who takes part, on which keys, how far it may go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::{
    ASIDE_PREFIX, Datacenter, DbIndex, DigestKey, Key, Millis, ReplicaId, key_slot, slot_tag,
};
use crate::state::StateError;
use crate::store::{Pace, Replica, StoreError};

use super::evictions::OpenAbsences;
use super::finding::Finding;
use super::guard::Breaker;
use super::namesakes::Namesakes;
use super::notary::{Forgetful, MemoryTrouble, Notary, RunMemory, open};
use super::noting::RunJournal;
use super::pacing::Throttle;
use super::scope::Scope;
use super::unsettled::Unsettled;

/// A replica that takes part, in datacenter order.
#[derive(Clone)]
pub struct Participant {
    /// The replica.
    pub replica: Arc<dyn Replica>,
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// The database that a keyspace without one means.
    pub default_db: DbIndex,
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It compares.
    Diff,
    /// It compares and merges, and writes nothing.
    Plan,
    /// It compares, merges, writes and verifies.
    Repair,
}

/// What a run may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How far it goes.
    pub mode: Mode,
    /// Bytes that the entries of all replicas may take together.
    pub memory: u64,
    /// The pause between the first read and the second.
    pub settle: Duration,
    /// How many divergences are repaired at the most.
    pub limit: Option<u64>,
    /// Whether to write to replicas that carry markers of a reknit with a memory.
    pub force_markers: bool,
    /// How much may be overwritten and deleted.
    pub breaker: Breaker,
    /// Whether the datacenters replicate to each other as well: what an earlier version had is then a late arrival.
    pub replicates: bool,
    /// How far in the future a stamp may lie.
    pub max_skew: Duration,
    /// How old a tombstone must be that all replicas have before it is dropped.
    pub tombstone_grace: Duration,
}

/// A run.
pub struct Run {
    /// Who takes part, at the pace of the throttle ([`Throttle::pace`]).
    pub participants: Vec<Participant>,
    /// How gently.
    pub throttle: Arc<Throttle>,
    /// On which keys.
    pub scope: Scope,
    /// How far it may go.
    pub settings: Settings,
    /// Into how many segments a database is divided; a database that is not named is one.
    pub segments: BTreeMap<Option<DbIndex>, u32>,
    /// The secret of its digests.
    pub digest_key: DigestKey,
    /// A random number that tells this run from others.
    pub tag: u128,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Says when to stop.
    pub stop: CancellationToken,
    /// How far it has come.
    pub progress: Arc<Progress>,
    /// What is remembered between runs; nothing for a run without memory.
    pub memory: Option<RunMemory>,
    /// Where a run without memory keeps pre-images; nothing if it keeps none.
    pub journal: Option<RunJournal>,
}

impl Run {
    /// The database that a keyspace without one means.
    pub(crate) fn db_index(&self, db: Option<DbIndex>) -> DbIndex {
        let first = self.participants.first();
        db.unwrap_or_else(|| first.map_or(DbIndex(0), |first| first.default_db))
    }
}

/// Is told of each key as it is decided, in the order of positions within a pass.
pub trait Listener: Send {
    /// A key that differs, or did.
    fn finding(&mut self, finding: &Finding);
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Fewer than two replicas could be read.
    #[error("fewer than two replicas could be read, nothing was compared: {0}")]
    TooFew(String),
    /// The replicas carry markers, and this run has no memory.
    #[error(
        "the replicas carry markers of a reknit that keeps an agreement, and this run has none: repairing would \
         bring deleted keys back; use that reknit's configuration, or --force-markers to write all the same"
    )]
    Markers,
    /// The file with pre-images takes no more.
    #[error("journal {0}; nothing further was written")]
    Journal(StateError),
    /// What is remembered is not of these replicas, or cannot be kept.
    #[error(transparent)]
    Memory(#[from] MemoryTrouble),
    /// What had to wait could not be read back from disk.
    #[error(
        "the temporary file with the keys that were to be overwritten could not be read: {0}; see to the directory of \
         temporary files (TMPDIR) and run again, what was added until then stays"
    )]
    Spool(#[source] std::io::Error),
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading every key once.
    Scanning,
    /// Building and comparing the trees.
    Comparing,
    /// Waiting for writes in flight to arrive.
    Settling,
    /// Reading differing keys again, and repairing them.
    Deciding,
}

/// How far a run has come; read by whoever shows it.
#[derive(Default)]
pub struct Progress {
    phase: AtomicU8,
    /// Differing keys found so far.
    pub candidates: AtomicU64,
    /// Differing keys decided so far.
    pub decided: AtomicU64,
    /// The most memory that entries took at a time, in bytes; of keys that cannot be told apart by their positions it
    /// can be more than the limit.
    pub memory: AtomicU64,
    /// Keys that all replicas are expected to have together.
    pub expected: AtomicU64,
    scanned: AtomicU64,
}

impl Progress {
    /// What the run is doing.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Scanning,
            1 => Phase::Comparing,
            2 => Phase::Settling,
            _ => Phase::Deciding,
        }
    }

    /// Keys read so far, on all replicas together.
    pub fn scanned(&self) -> u64 {
        self.scanned.load(Ordering::Relaxed)
    }

    /// Another part of the same run begins.
    pub(crate) fn begin_anew(&self) {
        self.enter(Phase::Scanning);
        for count in [
            &self.scanned,
            &self.expected,
            &self.candidates,
            &self.decided,
        ] {
            count.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn found(&self, keys: usize) {
        self.candidates.fetch_add(keys as u64, Ordering::Relaxed);
    }

    pub(crate) fn used(&self, bytes: u64) {
        self.memory.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// Scans tell how far they are; what they wait for is the replica's affair.
#[async_trait]
impl Pace for Progress {
    async fn keys(&self, count: u64) {
        self.scanned.fetch_add(count, Ordering::Relaxed);
    }

    async fn bytes(&self, _count: u64) {}
}

/// What the parts of a run share.
pub(crate) struct Shared<'a> {
    pub(crate) run: &'a Run,
    lost: Mutex<BTreeMap<usize, String>>,
    permits: AtomicU64,
    asides: AtomicU64,
    /// Tells the names of this run from those of another.
    tag: u128,
    /// How far the replicas' clocks are ahead of ours, in milliseconds: the one furthest ahead.
    ahead: i64,
    /// What is remembered, by database.
    notaries: BTreeMap<Option<DbIndex>, Notary<'a>>,
    /// The state directory or the journal takes no more: nothing further may be written.
    broken: Mutex<Option<StateError>>,
    /// Keys that were found and are left open; only kept where there is memory.
    unsettled: Mutex<Unsettled>,
    /// Whether a key is left open that somebody lacks.
    pub(super) open_absences: OpenAbsences,
    /// Names under which more than one replica counts.
    pub(super) namesakes: Namesakes,
    /// Of one large collection at a time the elements stand in memory.
    pub(crate) elements: tokio::sync::Mutex<()>,
    /// Bytes that the entries of the keys take just now.
    key_bytes: AtomicU64,
}

/// Of the memory limit, this share is not for the entries of keys: one of so many.
const SHARE_OF_ELEMENTS: u64 = 8;

impl<'a> Shared<'a> {
    pub(crate) async fn new(run: &'a Run) -> Self {
        let shared = Self {
            run,
            lost: Mutex::new(BTreeMap::new()),
            permits: AtomicU64::new(run.settings.limit.unwrap_or(u64::MAX)),
            asides: AtomicU64::new(0),
            tag: run.tag,
            ahead: 0,
            notaries: BTreeMap::new(),
            broken: Mutex::new(None),
            unsettled: Mutex::default(),
            open_absences: OpenAbsences::default(),
            namesakes: Namesakes::default(),
            elements: tokio::sync::Mutex::new(()),
            key_bytes: AtomicU64::new(0),
        };
        let ahead = shared.measure_skew().await;
        let namesakes = Namesakes::ask(run, &shared.active()).await;
        Self {
            ahead,
            namesakes,
            ..shared
        }
    }

    /// Opens what is remembered of the databases that the run works on. Answers which replicas forgot something.
    ///
    /// # Errors
    /// When the memory is not that of these replicas; nothing was written then.
    pub(crate) async fn open_memory(&mut self) -> Result<Vec<Forgetful>, MemoryTrouble> {
        let Some(memory) = &self.run.memory else {
            return Ok(Vec::new());
        };
        let mut forgetful = Vec::new();
        for db in self.run.scope.databases() {
            let (index, active) = (self.db_index(db), self.active());
            let opening = open(self.run, memory, db, index, &active).await?;
            for (replica, error) in &opening.lost {
                self.lose(*replica, error);
            }
            forgetful.extend(opening.forgetful);
            self.notaries.insert(db, opening.notary);
        }
        Ok(forgetful)
    }

    /// What is remembered of a database; nothing for a run without memory.
    pub(crate) fn notary(&self, db: Option<DbIndex>) -> Option<&Notary<'a>> {
        self.notaries.get(&db)
    }

    /// How many keys the replicas had evicted when their databases were opened.
    pub(crate) fn evictions(&self) -> impl Iterator<Item = (ReplicaId, u64)> {
        self.notaries.values().flat_map(Notary::evictions)
    }

    /// The state directory or the journal cannot be used any more: the run ends, and writes nothing further.
    pub(crate) fn break_off(&self, error: StateError) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.is_none() {
            tracing::error!("{error}; the run ends here");
            *broken = Some(error);
        }
    }

    /// A key was found and is left open.
    pub(crate) fn unsettled(&self, db: DbIndex, key: Key) {
        if !self.notaries.is_empty() {
            let mut all = self
                .unsettled
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.put(db, key);
        }
    }

    /// The keys of a database that were found and are left open since it was last asked; nothing where they are so many
    /// that they are not known any more.
    pub(crate) fn take_unsettled(&self, db: DbIndex) -> Option<Vec<Key>> {
        let all = self.unsettled.lock();
        all.unwrap_or_else(PoisonError::into_inner).take(db)
    }

    /// Whether the state directory cannot be used any more.
    pub(crate) fn is_broken(&self) -> bool {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.is_some()
    }

    /// Why the run ended early, if it did.
    pub(crate) fn take_trouble(&self) -> Option<RunError> {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.take().map(|error| match self.run.journal {
            Some(_) => RunError::Journal(error),
            None => MemoryTrouble::State(error).into(),
        })
    }

    async fn measure_skew(&self) -> i64 {
        let mut ahead = 0;
        for (index, participant) in self.run.participants.iter().enumerate() {
            match participant.replica.now().await {
                Ok(Millis(theirs)) => ahead = ahead.max(theirs - self.run.clock.now().0),
                Err(error) => self.lose(index, &error),
            }
        }
        ahead
    }

    /// The time by the clock that is furthest ahead: what has expired there may not be written anywhere.
    pub(crate) fn now(&self) -> Millis {
        Millis(self.run.clock.now().0 + self.ahead)
    }

    /// The replicas that still take part, by index.
    pub(crate) fn active(&self) -> Vec<usize> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        (0..self.run.participants.len())
            .filter(|index| !lost.contains_key(index))
            .collect()
    }

    /// From here on the replica takes no part.
    pub(crate) fn lose(&self, index: usize, error: &StoreError) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.insert(index, error.to_string()).is_none() {
            tracing::error!("{error}; the replica takes no further part in this run");
        }
    }

    pub(crate) fn lost(&self) -> BTreeMap<usize, String> {
        self.lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the entries of keys may take of the memory limit.
    pub(crate) fn room_for_keys(&self) -> u64 {
        let limit = self.run.settings.memory;
        limit - limit / SHARE_OF_ELEMENTS
    }

    /// What they leave to the elements of a large collection.
    pub(crate) fn room_for_elements(&self) -> u64 {
        let limit = self.run.settings.memory;
        let left = limit.saturating_sub(self.key_bytes.load(Ordering::Relaxed));
        // Keys that cannot be told apart by their positions may take more than the limit.
        left.max(limit / SHARE_OF_ELEMENTS)
    }

    /// Notes what the entries of keys take from now on.
    pub(crate) fn used_by_keys(&self, bytes: u64) {
        self.key_bytes.store(bytes, Ordering::Relaxed);
        self.run.progress.used(bytes);
    }

    /// Notes what elements take beside them.
    pub(crate) fn used_by_elements(&self, bytes: u64) {
        let keys = self.key_bytes.load(Ordering::Relaxed);
        self.run.progress.used(keys + bytes);
    }

    /// Whether one more divergence may be repaired.
    pub(crate) fn take_permit(&self) -> bool {
        self.permits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }

    /// Whether no more divergences may be repaired.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_broken() || self.permits.load(Ordering::Relaxed) == 0
    }

    /// A name for a value that is built aside to take a key's place, in the same slot; each is used once.
    pub(crate) fn next_aside(&self, key: &Key) -> Key {
        let number = self.asides.fetch_add(1, Ordering::Relaxed);
        let slot = slot_tag(key_slot(key.as_bytes()));
        let name = format!("{:x}:{number:x}{{{slot}}}", self.tag);
        Key::new([ASIDE_PREFIX, name.as_bytes()].concat())
    }

    /// Waits, but not when the run is to stop.
    pub(crate) async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = self.run.clock.sleep(duration) => {}
            () = self.run.stop.cancelled() => {}
        }
    }

    pub(crate) fn db_index(&self, db: Option<DbIndex>) -> DbIndex {
        self.run.db_index(db)
    }
}
