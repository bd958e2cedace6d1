//! The conditional writes of a batch, and what became of each.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::model::{DbIndex, ReplicaName, Write};
use crate::store::{BATCH_KEYS, WriteOutcome};

use super::finding::{Fate, Verdict};
use super::notary::Case;
use super::noting::{Note, note, settle};
use super::ops::{OpsWeight, weight};
use super::run::Shared;

/// Bytes that one transaction carries at the most, beyond its first key.
const BATCH_BYTES: usize = 1 << 20;

/// Elements that one transaction writes at the most, beyond its first key: some 10 ms of the server.
const BATCH_ELEMENTS: usize = 8_000;

/// A write that is to be made.
pub(super) struct Order {
    /// The number of its key in the batch.
    pub(super) key: usize,
    pub(super) write: Write,
    /// What it overwrites; only where that is kept in a file.
    pub(super) note: Option<Note>,
}

/// Writes by replica.
pub(super) type Writes = BTreeMap<usize, Vec<Order>>;

/// What became of the write of one key to one replica.
pub(super) struct Written {
    pub(super) replica: usize,
    /// The number of the key in the batch.
    pub(super) key: usize,
    pub(super) fate: Fate,
    /// What that means for the key, where it need not be read again.
    pub(super) verdict: Option<Verdict>,
}

/// Executes the writes of all replicas at the same time.
pub(super) async fn write_all(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    writes: Writes,
) -> Vec<Written> {
    let per_replica = join_all(
        writes
            .into_iter()
            .map(|(replica, writes)| write_replica(shared, db, replica, writes)),
    );
    per_replica.await.into_iter().flatten().collect()
}

async fn write_replica(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    replica: usize,
    orders: Vec<Order>,
) -> Vec<Written> {
    let mut written = Vec::with_capacity(orders.len());
    for batch in transactions(orders) {
        written.extend(write_batch(shared, db, replica, batch).await);
    }
    written
}

async fn write_batch(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    replica: usize,
    orders: Vec<Order>,
) -> Vec<Written> {
    let target = &shared.run.participants[replica].replica;
    let (mut keys, mut batch, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for order in orders {
        keys.push(order.key);
        batch.push(order.write);
        notes.push(order.note);
    }
    let numbers = match note(shared, db, replica, &batch, notes).await {
        Ok(numbers) => numbers,
        Err(reason) => return unwritten(replica, keys, &reason),
    };
    match target.write(db, &batch, &shared.run.digest_key, None).await {
        Ok(done) => {
            settle(shared, &numbers, &done.outcomes);
            let judge = |(key, outcome)| {
                let (fate, verdict) = judged(target.name(), outcome);
                Written {
                    replica,
                    key,
                    fate,
                    verdict,
                }
            };
            keys.into_iter().zip(done.outcomes).map(judge).collect()
        }
        Err(error) => {
            let nothing = vec![WriteOutcome::Superseded; numbers.len()];
            settle(shared, &numbers, &nothing);
            shared.lose(replica, &error);
            unwritten(replica, keys, &format!("{}: {error}", target.name()))
        }
    }
}

/// Writes that were not tried, for this reason.
fn unwritten(replica: usize, keys: Vec<usize>, reason: &str) -> Vec<Written> {
    let one = |key| Written {
        replica,
        key,
        fate: Fate::Planned,
        verdict: Some(Verdict::Unfinished(reason.to_owned())),
    };
    keys.into_iter().map(one).collect()
}

pub(super) fn judged(replica: &ReplicaName, outcome: WriteOutcome) -> (Fate, Option<Verdict>) {
    match outcome {
        WriteOutcome::Applied => (Fate::Applied, None),
        WriteOutcome::Superseded | WriteOutcome::Contended => (Fate::Superseded, None),
        WriteOutcome::Unknown => (Fate::Unknown, None),
        WriteOutcome::Refused(words) => {
            let verdict = Verdict::Refused(replica.clone(), words);
            (Fate::Refused, Some(verdict))
        }
    }
}

/// What the writes of a step mean for each replica.
#[derive(Default)]
pub(super) struct Load(BTreeMap<usize, (usize, OpsWeight)>);

impl Load {
    /// Adds a key's writes. Says whether all of it still fits into one transaction for each replica.
    pub(super) fn add(&mut self, case: &Case<'_>, most: usize) -> bool {
        let mut fits = true;
        for (replica, write) in &case.writes {
            let (keys, sum) = self.0.entry(*replica).or_default();
            let own = weight(&write.ops);
            *keys += 1;
            sum.elements += own.elements;
            sum.bytes += own.bytes;
            fits &= *keys <= most && sum.elements <= BATCH_ELEMENTS && sum.bytes <= BATCH_BYTES;
        }
        fits
    }
}

/// Splits writes so that no transaction holds the server for long.
fn transactions(orders: Vec<Order>) -> Vec<Vec<Order>> {
    let mut batches: Vec<Vec<Order>> = Vec::new();
    let (mut elements, mut bytes) = (0, 0);
    for order in orders {
        let own = weight(&order.write.ops);
        elements += own.elements;
        bytes += own.bytes;
        match batches.last_mut() {
            Some(batch)
                if batch.len() < BATCH_KEYS
                    && elements <= BATCH_ELEMENTS
                    && bytes <= BATCH_BYTES =>
            {
                batch.push(order);
            }
            _ => {
                (elements, bytes) = (own.elements, own.bytes);
                batches.push(vec![order]);
            }
        }
    }
    batches
}
