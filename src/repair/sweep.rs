//! The first read: every replica is scanned at the same time into entries, or, beyond the memory limit, into sums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::merkle::{BucketSet, Buckets, Entries, EntryDigester, Listed};
use crate::model::{
    DbIndex, DigestKey, EntryRef, ExpiryRule, Key, Keyspace, KeyspaceName, Kind, Millis, Position,
    Sequence,
};
use crate::state::StateError;
use crate::store::{EntrySink, Replica, ScanReport, ScanRequest, StoreError};

use super::notary::Listing;
use super::run::Progress;
use super::scope::Scope;

/// Entries are kept apart by whether their expiry is compared: each has a tree of its own.
pub(crate) const EXPIRY_RULES: [ExpiryRule; 2] = [ExpiryRule::Longest, ExpiryRule::Ignore];

/// What an entry costs in memory beside its key: the record, its share of the tree, and some slack of the vectors.
pub(crate) const ENTRY_BYTES: u64 = 64;

/// Memory that a side takes from the budget at a time.
pub(crate) const GRANT: u64 = 4 << 10;

/// Reasons for unreadable keys that are kept; beyond, they are asked for again at the second read.
const REASONS_KEPT: usize = 1000;

/// Memory that the entries of all sides share. What is not granted is not used.
pub(crate) struct Budget {
    granted: AtomicU64,
    most: AtomicU64,
    limit: u64,
    exceeded: AtomicBool,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            granted: AtomicU64::new(0),
            most: AtomicU64::new(0),
            limit,
            exceeded: AtomicBool::new(false),
        }
    }

    /// Whether so many more bytes may be used. Once that was denied, nothing is granted any more.
    pub(crate) fn grant(&self, bytes: u64) -> bool {
        if self.is_exceeded() {
            return false;
        }
        let granted = self.granted.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if granted > self.limit {
            self.granted.fetch_sub(bytes, Ordering::Relaxed);
            self.exceeded.store(true, Ordering::Relaxed);
            return false;
        }
        self.most.fetch_max(granted, Ordering::Relaxed);
        true
    }

    /// The most that was granted.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

/// What a side gathered.
pub(crate) enum Gathered {
    Entries([Entries; 2]),
    Sums([Buckets; 2]),
    /// It was too much for a second pass.
    Nothing,
}

/// One replica's account of the range.
pub(crate) struct Side {
    pub(crate) gathered: Gathered,
    pub(crate) report: ScanReport,
    /// Why keys could not be read, as far as kept.
    pub(crate) reasons: BTreeMap<Key, String>,
    /// Keys as listed, by keyspace and type.
    pub(crate) counts: Counts,
    /// Of what is agreed: the keys whose proof a participant forgot, each with that proof.
    pub(crate) suspects: [Vec<(Key, Sequence)>; 2],
}

/// Keys by keyspace and type.
pub(crate) type Counts = BTreeMap<KeyspaceName, BTreeMap<Option<Kind>, u64>>;

/// Counts keys while they come in.
#[derive(Default)]
struct Tallies<'a>(Vec<Tally<'a>>);

struct Tally<'a> {
    keyspace: &'a Keyspace,
    /// By kind; what cannot be read comes last.
    keys: [u64; Kind::ALL.len() + 1],
}

impl<'a> Tallies<'a> {
    fn count(&mut self, keyspace: &'a Keyspace, listed: &Listed<'_>) {
        let kind = match listed {
            Listed::Readable(entry) => entry.kind as usize,
            Listed::Unreadable { .. } => Kind::ALL.len(),
        };
        let known = self
            .0
            .iter_mut()
            .find(|tally| std::ptr::eq(tally.keyspace, keyspace));
        if let Some(tally) = known {
            tally.keys[kind] += 1;
        } else {
            let mut keys = [0; Kind::ALL.len() + 1];
            keys[kind] = 1;
            self.0.push(Tally { keyspace, keys });
        }
    }

    fn into_counts(self) -> Counts {
        let kinds = || Kind::ALL.map(Some).into_iter().chain([None]);
        let of = |tally: Tally<'_>| {
            let counted = kinds().zip(tally.keys).filter(|(_, keys)| *keys > 0);
            (tally.keyspace.name.clone(), counted.collect())
        };
        self.0.into_iter().map(of).collect()
    }
}

/// What is read: which keys, in which database, with which secret.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) db: Option<DbIndex>,
    pub(crate) digest_key: &'a DigestKey,
    pub(crate) pass: Pass<'a>,
}

/// What a pass over the keys is for.
#[derive(Clone, Copy)]
pub(crate) enum Pass<'a> {
    /// All keys: their entries, or sums of them from where they exceed the budget.
    First,
    /// The keys of these buckets of one class: their entries, or none if they exceed the budget.
    Within(usize, &'a BucketSet),
    /// The keys of one class that these buckets cover: sums of them.
    Count(usize, &'a Buckets),
}

impl Sweep<'_> {
    /// Reads one replica. `number` tells the sides of the trees apart.
    pub(crate) async fn read(
        &self,
        replica: &Arc<dyn Replica>,
        number: usize,
        progress: &Progress,
        budget: &Budget,
    ) -> Result<Side, StoreError> {
        // A second pass that has found too much needs no more.
        let is_full = || matches!(self.pass, Pass::Within(..)) && budget.is_exceeded();
        let wanted = |key: &[u8]| self.wants(key) && !is_full();
        let request = ScanRequest {
            db: self.db,
            pattern: self.scope.server_pattern(self.db),
            wanted: &wanted,
            digest_key: self.digest_key,
        };
        let mut collector = Collector::new(self, number, budget);
        let report = match self.scope.listed_keys() {
            Some(keys) => {
                replica
                    .scan_keys(&request, &keys, progress, &mut collector)
                    .await?
            }
            None => replica.scan(&request, progress, &mut collector).await?,
        };
        Ok(Side {
            gathered: collector.gathered,
            report,
            reasons: collector.reasons,
            counts: collector.tallies.into_counts(),
            suspects: Default::default(),
        })
    }

    /// What is agreed, as if it were read from a replica; it counts towards the budget as one.
    pub(crate) fn recall(
        &self,
        agreed: &Listing,
        number: usize,
        budget: &Budget,
        now: Millis,
    ) -> Result<Side, StateError> {
        let mut collector = Collector::new(self, number, budget);
        let mut suspects: [Vec<(Key, Sequence)>; 2] = Default::default();
        let mut take = |entry: EntryRef<'_>, proved| {
            if !self.wants(entry.key) {
                return;
            }
            collector.entry(entry);
            // Beyond the budget they are asked for again, part by part.
            let is_kept = matches!(collector.gathered, Gathered::Entries(_));
            if is_kept
                && agreed.is_forgotten(proved)
                && let Some(keyspace) = self.scope.owner(self.db, entry.key)
            {
                let class = class_of(keyspace.policy.expiry.rule);
                suspects[class].push((Key::copied(entry.key), proved));
            }
        };
        match self.scope.listed_keys() {
            None => agreed.listed(self.scope.positions(), now, &mut take)?,
            Some(keys) => {
                for key in keys {
                    agreed.entry(&key, now, &mut take)?;
                }
            }
        }
        Ok(Side {
            gathered: collector.gathered,
            report: ScanReport::default(),
            reasons: collector.reasons,
            counts: Counts::new(),
            suspects,
        })
    }

    /// The same on a thread of its own, while the replicas are read.
    pub(crate) fn recall_on_thread(
        &self,
        agreed: Listing,
        number: usize,
        budget: Arc<Budget>,
        now: Millis,
    ) -> JoinHandle<Result<Side, StateError>> {
        let (scope, digest_key) = (self.scope.clone(), self.digest_key.clone());
        let db = self.db;
        tokio::task::spawn_blocking(move || {
            let sweep = Sweep {
                scope: &scope,
                db,
                digest_key: &digest_key,
                pass: Pass::First,
            };
            sweep.recall(&agreed, number, &budget, now)
        })
    }

    /// Whether it is worth a thread per replica: where all keys are read.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.pass, Pass::First) && !self.scope.lists_keys()
    }

    /// Reads all keys of one replica on a thread of its own until they are read or the run is to stop: so that a server
    /// need not wait while the answers of another are digested, and as many cores are busy as there are replicas.
    ///
    /// `replica` must be detached: connections belong to the thread that they were made on.
    pub(crate) async fn read_on_thread(
        &self,
        replica: Arc<dyn Replica>,
        number: usize,
        (progress, budget): (Arc<Progress>, Arc<Budget>),
        stop: CancellationToken,
    ) -> Result<Side, StoreError> {
        let (scope, digest_key) = (self.scope.clone(), self.digest_key.clone());
        let db = self.db;
        let read = move || {
            let sweep = Sweep {
                scope: &scope,
                db,
                digest_key: &digest_key,
                pass: Pass::First,
            };
            let failure = |reason: String| StoreError::Unreachable {
                replica: replica.name().clone(),
                action: "scan".into(),
                reason,
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| failure(error.to_string()))?;
            runtime.block_on(async {
                tokio::select! {
                    side = sweep.read(&replica, number, &progress, &budget) => side,
                    () = stop.cancelled() => Err(failure("the run is over".into())),
                }
            })
        };
        let reading = tokio::task::spawn_blocking(read);
        reading.await.expect("reading a replica does not panic")
    }

    fn wants(&self, key: &[u8]) -> bool {
        let Some(keyspace) = self.scope.owner(self.db, key) else {
            return false;
        };
        let class = class_of(keyspace.policy.expiry.rule);
        match self.pass {
            Pass::First => true,
            Pass::Within(only, set) => class == only && set.contains(Position::of(key)),
            Pass::Count(only, buckets) => class == only && buckets.covers(Position::of(key)),
        }
    }

    /// What a side begins with.
    fn nothing(&self) -> Gathered {
        match self.pass {
            Pass::First | Pass::Within(..) => Gathered::Entries([Entries::new(), Entries::new()]),
            Pass::Count(class, buckets) => {
                let mut sums = [(); 2].map(|()| Buckets::new(1));
                sums[class] = buckets.clone();
                Gathered::Sums(sums)
            }
        }
    }

    /// The digester of a side's entries under an expiry rule.
    pub(crate) fn entry_digester(&self, class: usize, number: usize) -> EntryDigester {
        EntryDigester::new(self.digest_key.clone(), EXPIRY_RULES[class], number as u32)
    }
}

pub(crate) fn class_of(rule: ExpiryRule) -> usize {
    match rule {
        ExpiryRule::Longest => 0,
        ExpiryRule::Ignore => 1,
    }
}

/// Gathers what a scan finds: entries, until all sides together exceed the budget, then sums.
struct Collector<'a> {
    sweep: &'a Sweep<'a>,
    /// The keyspace of every key that is wanted, if there is but one.
    only_owner: Option<&'a Keyspace>,
    budget: &'a Budget,
    digesters: [EntryDigester; 2],
    gathered: Gathered,
    /// Bytes that the budget has granted and that are not used yet.
    granted: u64,
    reasons: BTreeMap<Key, String>,
    tallies: Tallies<'a>,
}

impl<'a> Collector<'a> {
    fn new(sweep: &'a Sweep<'a>, number: usize, budget: &'a Budget) -> Self {
        Self {
            sweep,
            only_owner: sweep.scope.only_owner(sweep.db),
            budget,
            digesters: [0, 1].map(|class| sweep.entry_digester(class, number)),
            gathered: sweep.nothing(),
            granted: 0,
            reasons: BTreeMap::new(),
            tallies: Tallies::default(),
        }
    }

    fn take(&mut self, listed: Listed<'_>) {
        let scope = self.sweep.scope;
        let owner = || scope.owner(self.sweep.db, listed.key());
        let Some(keyspace) = self.only_owner.or_else(owner) else {
            return;
        };
        let class = class_of(keyspace.policy.expiry.rule);
        self.tallies.count(keyspace, &listed);
        self.make_room(listed.key().len());
        match (&mut self.gathered, listed) {
            (Gathered::Entries(entries), Listed::Readable(entry)) => entries[class].push(entry),
            (Gathered::Entries(entries), Listed::Unreadable { position, key }) => {
                entries[class].push_unreadable(position, key);
            }
            (Gathered::Sums(sums), listed) => sums[class].add(&listed, &mut self.digesters[class]),
            (Gathered::Nothing, _) => {}
        }
    }

    /// Sees to it that one more entry fits into the budget; if not, it will be summed, or left out.
    fn make_room(&mut self, key_length: usize) {
        if matches!(self.gathered, Gathered::Sums(_)) {
            return;
        }
        let needed = ENTRY_BYTES + key_length as u64;
        if self.granted < needed {
            let more = (needed - self.granted).max(GRANT);
            if !self.budget.grant(more) {
                return self.overflow();
            }
            self.granted += more;
        }
        self.granted -= needed;
    }

    fn overflow(&mut self) {
        match self.sweep.pass {
            Pass::First => self.fold(),
            // It will be tried again in smaller parts.
            Pass::Within(..) => self.gathered = Gathered::Nothing,
            Pass::Count(..) => {}
        }
    }

    /// Turns the entries so far into sums.
    fn fold(&mut self) {
        if let Gathered::Entries(entries) = &self.gathered {
            let mut sums = [(); 2].map(|()| Buckets::new(Buckets::DEFAULT_BITS));
            for class in [0, 1] {
                sums[class].fold(&entries[class], &self.digesters[class]);
            }
            self.gathered = Gathered::Sums(sums);
        }
    }
}

impl EntrySink for Collector<'_> {
    fn entry(&mut self, entry: EntryRef<'_>) {
        self.take(Listed::Readable(entry));
    }

    fn unreadable(&mut self, key: &[u8], reason: &str) {
        if self.reasons.len() < REASONS_KEPT {
            self.reasons.insert(Key::copied(key), reason.to_owned());
        }
        self.take(Listed::Unreadable {
            position: Position::of(key),
            key,
        });
    }
}

impl Side {
    /// Turns a side that stayed within its share into sums, where another side did not.
    pub(crate) fn fold(&mut self, sweep: &Sweep<'_>, number: usize) {
        if let Gathered::Entries(entries) = &self.gathered {
            let mut sums = [(); 2].map(|()| Buckets::new(Buckets::DEFAULT_BITS));
            for class in [0, 1] {
                sums[class].fold(&entries[class], &sweep.entry_digester(class, number));
            }
            self.gathered = Gathered::Sums(sums);
        }
    }
}
