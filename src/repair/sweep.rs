//! The first read: every replica is scanned at the same time into entries, or, beyond the memory limit, into sums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::merkle::{BucketSet, Buckets, Entries, EntryDigester, Listed};
use crate::model::{DbIndex, DigestKey, EntryRef, ExpiryRule, Key, KeyspaceName, Kind, Position};
use crate::store::{EntrySink, Replica, ScanReport, ScanRequest, StoreError};

use super::pacing::Pacer;
use super::scope::Scope;

/// Entries are kept apart by whether their expiry is compared: each has a tree of its own.
pub(crate) const EXPIRY_RULES: [ExpiryRule; 2] = [ExpiryRule::Longest, ExpiryRule::Ignore];

/// How many pushes go by between two looks at the memory that all sides share.
const BUDGET_STEP: u64 = 1024;

/// Reasons for unreadable keys that are kept; beyond, they are asked for again at the second read.
const REASONS_KEPT: usize = 1000;

/// Memory that the entries of all sides share.
pub(crate) struct Budget {
    used: AtomicU64,
    limit: u64,
    exceeded: AtomicBool,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit,
            exceeded: AtomicBool::new(false),
        }
    }

    fn add(&self, bytes: u64) {
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            self.exceeded.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

/// What a side gathered.
pub(crate) enum Gathered {
    Entries([Entries; 2]),
    Sums([Buckets; 2]),
}

/// One replica's account of the range.
pub(crate) struct Side {
    pub(crate) gathered: Gathered,
    pub(crate) report: ScanReport,
    /// Why keys could not be read, as far as kept.
    pub(crate) reasons: BTreeMap<Key, String>,
    /// Keys as listed, by keyspace and type.
    pub(crate) counts: Counts,
}

/// Keys by keyspace and type.
pub(crate) type Counts = BTreeMap<KeyspaceName, BTreeMap<Option<Kind>, u64>>;

fn count(counts: &mut Counts, keyspace: &KeyspaceName, listed: &Listed<'_>) {
    let kind = match listed {
        Listed::Readable(entry) => Some(entry.kind),
        Listed::Unreadable { .. } => None,
    };
    if let Some(kinds) = counts.get_mut(keyspace) {
        *kinds.entry(kind).or_default() += 1;
    } else {
        counts.insert(keyspace.clone(), BTreeMap::from([(kind, 1)]));
    }
}

/// What is read: which keys, in which database, with which secret.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) db: Option<DbIndex>,
    pub(crate) digest_key: &'a DigestKey,
    /// Only keys of these buckets, in a second pass.
    pub(crate) within: Option<&'a [BucketSet; 2]>,
}

impl Sweep<'_> {
    /// Reads one replica. `number` tells the sides of the trees apart.
    pub(crate) async fn read(
        &self,
        replica: &Arc<dyn Replica>,
        number: usize,
        pacer: &Pacer,
        budget: &Budget,
    ) -> Result<Side, StoreError> {
        let wanted = |key: &[u8]| self.wants(key);
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
                    .scan_keys(&request, &keys, pacer, &mut collector)
                    .await?
            }
            None => replica.scan(&request, pacer, &mut collector).await?,
        };
        collector.settle();
        Ok(Side {
            gathered: collector.gathered,
            report,
            reasons: collector.reasons,
            counts: collector.counts,
        })
    }

    fn wants(&self, key: &[u8]) -> bool {
        let Some(keyspace) = self.scope.owner(self.db, key) else {
            return false;
        };
        let class = class_of(keyspace.policy.expiry.rule);
        self.within
            .is_none_or(|sets| sets[class].contains(Position::of(key)))
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
    budget: &'a Budget,
    digesters: [EntryDigester; 2],
    gathered: Gathered,
    accounted: u64,
    pushes: u64,
    reasons: BTreeMap<Key, String>,
    counts: Counts,
}

impl<'a> Collector<'a> {
    fn new(sweep: &'a Sweep<'a>, number: usize, budget: &'a Budget) -> Self {
        Self {
            sweep,
            budget,
            digesters: [0, 1].map(|class| sweep.entry_digester(class, number)),
            gathered: Gathered::Entries([Entries::new(), Entries::new()]),
            accounted: 0,
            pushes: 0,
            reasons: BTreeMap::new(),
            counts: Counts::new(),
        }
    }

    fn take(&mut self, listed: Listed<'_>) {
        let Some(keyspace) = self.sweep.scope.owner(self.sweep.db, listed.key()) else {
            return;
        };
        let class = class_of(keyspace.policy.expiry.rule);
        count(&mut self.counts, &keyspace.name, &listed);
        match (&mut self.gathered, listed) {
            (Gathered::Entries(entries), Listed::Readable(entry)) => entries[class].push(entry),
            (Gathered::Entries(entries), Listed::Unreadable { position, key }) => {
                entries[class].push_unreadable(position, key);
            }
            (Gathered::Sums(sums), listed) => sums[class].add(&listed, &mut self.digesters[class]),
        }
        self.pushes += 1;
        if self.pushes.is_multiple_of(BUDGET_STEP) {
            self.account();
        }
    }

    fn account(&mut self) {
        if let Gathered::Entries(entries) = &self.gathered {
            let bytes: usize = entries.iter().map(Entries::memory_bytes).sum();
            self.budget
                .add((bytes as u64).saturating_sub(self.accounted));
            self.accounted = bytes as u64;
        }
        // The second pass reads what was found to differ: it must keep entries.
        if self.budget.is_exceeded() && self.sweep.within.is_none() {
            self.fold();
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

    /// Looks at the budget for the last time.
    fn settle(&mut self) {
        self.account();
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
