//! What a run amounts to, in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{DbIndex, KeyspaceName, Kind, Millis, ReplicaName, RunNumber};
use crate::store::Usage;

use super::finding::{Change, DifferenceKind, Fate, Finding, Holding, Verdict};
use super::guard::Tripped;
use super::notary::Forgetful;
use super::pacing::Reason;
use super::segments::Resumed;

/// Counts of one keyspace and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Keys of this type on the replica that has most of them.
    pub keys: u64,
    /// Keys that some replicas lack.
    pub missing: u64,
    /// Keys whose types differ.
    pub types: u64,
    /// Keys whose values differ.
    pub values: u64,
    /// Keys of which only the expiries differ.
    pub expiries: u64,
    /// Keys that were written, read again and found equal.
    pub repaired: u64,
    /// Keys that differ still.
    pub left: u64,
}

impl Tally {
    /// Keys that differ, or did.
    pub fn differing(&self) -> u64 {
        self.missing + self.types + self.values + self.expiries
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            missing: self.missing + other.missing,
            types: self.types + other.types,
            values: self.values + other.values,
            expiries: self.expiries + other.expiries,
            repaired: self.repaired + other.repaired,
            left: self.left + other.left,
        }
    }
}

/// One replica's part in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSummary {
    /// Its name.
    pub name: ReplicaName,
    /// Keys that were compared on it.
    pub keys: u64,
    /// Differing keys that it lacked: how far it is behind.
    pub missing: u64,
    /// Differing keys that it alone had: how far it is ahead.
    pub alone: u64,
    /// Keys that it held otherwise than another.
    pub differing: u64,
    /// Keys that were written to it.
    pub written: u64,
    /// Keys of which something is to be overwritten or removed, as they were found: done last, if at all.
    pub overwrites: u64,
    /// Keys that are to be removed, as they were found.
    pub deletes: u64,
    /// What was moved.
    pub usage: Usage,
    /// Why it took no part, or not to the end.
    pub lost: Option<String>,
}

impl ReplicaSummary {
    fn absorb(&mut self, part: Self) {
        self.keys += part.keys;
        self.missing += part.missing;
        self.alone += part.alone;
        self.differing += part.differing;
        self.written += part.written;
        self.overwrites += part.overwrites;
        self.deletes += part.deletes;
        self.usage = self.usage.plus(&part.usage);
        self.lost = self.lost.take().or(part.lost);
    }
}

/// What a run did and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
    /// Every replica, in datacenter order.
    pub replicas: Vec<ReplicaSummary>,
    /// Counts by database, keyspace and type; nothing as type is a key that could not be read.
    pub tallies: BTreeMap<(DbIndex, KeyspaceName), BTreeMap<Option<Kind>, Tally>>,
    /// Keys that moved between two looks, left to the next run.
    pub in_flight: u64,
    /// Keys left alone because they end soon.
    pub expiring: u64,
    /// Findings by verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// How often the keys were read: 1, or more beyond the memory limit.
    pub passes: u64,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether `--limit` ended the run before all differing keys were looked at.
    pub limit_reached: bool,
    /// Whether a marker of a reknit with a memory was seen.
    pub markers_seen: bool,
    /// The limits on overwriting and deleting that stopped the run, or would stop a repair.
    pub tripped: Vec<Tripped>,
    /// Replicas that forgot something, or took part for the first time.
    pub forgetful: Vec<Forgetful>,
    /// What was taken up of an earlier run, which was cut off: those segments were not read again.
    pub resumed: Option<Resumed>,
    /// Keys of which something new was remembered.
    pub learned: u64,
    /// The number of a run that repairs with memory, in the log of runs.
    pub run: Option<RunNumber>,
    /// How long was waited for a replica, and why, as far as there was reason to.
    pub waits: Vec<(ReplicaName, Reason, Duration)>,
}

impl Summary {
    /// Nothing yet.
    pub fn new(started: Millis, names: Vec<ReplicaName>) -> Self {
        let replica = |name| ReplicaSummary {
            name,
            keys: 0,
            missing: 0,
            alone: 0,
            differing: 0,
            written: 0,
            overwrites: 0,
            deletes: 0,
            usage: Usage::default(),
            lost: None,
        };
        Self {
            started,
            ended: started,
            replicas: names.into_iter().map(replica).collect(),
            tallies: BTreeMap::new(),
            in_flight: 0,
            expiring: 0,
            verdicts: BTreeMap::new(),
            passes: 0,
            interrupted: false,
            limit_reached: false,
            markers_seen: false,
            tripped: Vec::new(),
            forgetful: Vec::new(),
            resumed: None,
            learned: 0,
            run: None,
            waits: Vec::new(),
        }
    }

    /// The sum of all tallies.
    pub fn total(&self) -> Tally {
        self.tallies
            .values()
            .flat_map(BTreeMap::values)
            .fold(Tally::default(), |sum, tally| sum.plus(tally))
    }

    /// How many keys of a database differ still.
    pub(crate) fn left_in(&self, db: DbIndex) -> u64 {
        let of_db = self.tallies.iter().filter(|((one, _), _)| *one == db);
        let tallies = of_db.flat_map(|(_, tallies)| tallies.values());
        tallies.map(|tally| tally.left).sum()
    }

    /// How many findings ended with this verdict.
    pub fn verdict(&self, name: &str) -> u64 {
        self.verdicts.get(name).copied().unwrap_or(0)
    }

    /// Whether a replica or a key did not take part to the end.
    pub fn is_partial(&self) -> bool {
        self.replicas.iter().any(|replica| replica.lost.is_some())
            || self.verdict("unreadable") + self.verdict("unfinished") > 0
    }

    /// Takes in what another part of the same run came to: of other keys, or of the same ones at another attempt.
    pub fn absorb(&mut self, part: Self) {
        self.ended = self.ended.max(part.ended);
        for (sum, one) in self.replicas.iter_mut().zip(part.replicas) {
            sum.absorb(one);
        }
        for (keyspace, tallies) in part.tallies {
            let sums = self.tallies.entry(keyspace).or_default();
            for (kind, tally) in tallies {
                let sum = sums.entry(kind).or_default();
                *sum = sum.plus(&tally);
            }
        }
        for (verdict, count) in part.verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
        self.in_flight += part.in_flight;
        self.expiring += part.expiring;
        self.learned += part.learned;
        self.passes = self.passes.max(part.passes);
        self.interrupted |= part.interrupted;
        self.limit_reached |= part.limit_reached;
        self.markers_seen |= part.markers_seen;
        self.tripped.extend(part.tripped);
        self.forgetful.extend(part.forgetful);
        self.run = self.run.or(part.run);
        self.resumed = match (self.resumed, part.resumed) {
            (Some(sum), Some(one)) => Some(sum.plus(one)),
            (sum, one) => sum.or(one),
        };
    }

    /// What stays of an attempt that is made again: what was written and moved, but neither the keys that it counted nor
    /// what it could not look at.
    #[must_use]
    pub fn of_a_lost_attempt(mut self) -> Self {
        for replica in &mut self.replicas {
            (replica.keys, replica.lost) = (0, None);
        }
        for tally in self.tallies.values_mut().flat_map(BTreeMap::values_mut) {
            (tally.keys, tally.left) = (0, 0);
        }
        self.verdicts.remove("unreadable");
        self.verdicts.remove("unfinished");
        self
    }

    pub(crate) fn count(&mut self, finding: &Finding) {
        *self.verdicts.entry(finding.verdict.name()).or_default() += 1;
        let keyspace = self
            .tallies
            .entry((finding.db, finding.keyspace.clone()))
            .or_default();
        let tally = keyspace.entry(finding.kind()).or_default();
        match finding.difference {
            DifferenceKind::Missing => tally.missing += 1,
            DifferenceKind::Type => tally.types += 1,
            DifferenceKind::Value => tally.values += 1,
            DifferenceKind::Expiry => tally.expiries += 1,
        }
        if finding.verdict == Verdict::Repaired {
            tally.repaired += 1
        } else {
            tally.left += 1
        }
        self.count_replicas(finding);
    }

    fn count_replicas(&mut self, finding: &Finding) {
        let held = |one: &&Holding| one.held().is_some();
        let holders = finding.holdings.iter().flatten().filter(held).count();
        let is_missing = finding.difference == DifferenceKind::Missing;
        for (replica, holding) in self.replicas.iter_mut().zip(&finding.holdings) {
            match holding {
                None | Some(Holding::Unreadable) => {}
                Some(Holding::Absent) => replica.missing += 1,
                Some(Holding::Held(_)) if is_missing && holders == 1 => replica.alone += 1,
                Some(Holding::Held(_)) if is_missing => {}
                Some(Holding::Held(_)) => replica.differing += 1,
            }
            let applied =
                |change: &Change| change.replica == replica.name && change.fate == Fate::Applied;
            replica.written += u64::from(finding.changes.iter().any(applied));
        }
    }
}
