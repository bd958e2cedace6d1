//! The conditional writes of a batch, and what became of each.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::model::{DbIndex, ReplicaName, Write};
use crate::store::{BATCH_KEYS, WriteOutcome};

use super::finding::{Fate, Verdict};
use super::ops::weight;
use super::run::Shared;

/// Bytes that one transaction carries at the most, beyond its first key.
const BATCH_BYTES: usize = 1 << 20;

/// Elements that one transaction writes at the most, beyond its first key: some 10 ms of the server.
const BATCH_ELEMENTS: usize = 8_000;

/// Writes by replica; each with the number of its key in the batch.
pub(super) type Writes = BTreeMap<usize, Vec<(usize, Write)>>;

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
    writes: Vec<(usize, Write)>,
) -> Vec<Written> {
    let target = &shared.run.participants[replica].replica;
    let mut written = Vec::with_capacity(writes.len());
    for batch in transactions(writes) {
        let (keys, batch): (Vec<usize>, Vec<Write>) = batch.into_iter().unzip();
        match target.write(db, &batch, &shared.run.digest_key).await {
            Ok(outcomes) => written.extend(keys.into_iter().zip(outcomes).map(|(key, outcome)| {
                let (fate, verdict) = judged(target.name(), outcome);
                Written {
                    replica,
                    key,
                    fate,
                    verdict,
                }
            })),
            Err(error) => {
                shared.lose(replica, &error);
                let reason = format!("{}: {error}", target.name());
                written.extend(keys.into_iter().map(|key| Written {
                    replica,
                    key,
                    fate: Fate::Planned,
                    verdict: Some(Verdict::Unfinished(reason.clone())),
                }));
            }
        }
    }
    written
}

fn judged(replica: &ReplicaName, outcome: WriteOutcome) -> (Fate, Option<Verdict>) {
    match outcome {
        WriteOutcome::Applied => (Fate::Applied, None),
        WriteOutcome::Superseded => (Fate::Superseded, None),
        WriteOutcome::Unknown => (Fate::Unknown, None),
        WriteOutcome::Refused(words) => {
            let verdict = Verdict::Refused(replica.clone(), words);
            (Fate::Refused, Some(verdict))
        }
    }
}

/// Splits writes so that no transaction holds the server for long.
fn transactions(writes: Vec<(usize, Write)>) -> Vec<Vec<(usize, Write)>> {
    let mut batches: Vec<Vec<(usize, Write)>> = Vec::new();
    let (mut elements, mut bytes) = (0, 0);
    for (index, write) in writes {
        let own = weight(&write.ops);
        elements += own.elements;
        bytes += own.bytes;
        match batches.last_mut() {
            Some(batch)
                if batch.len() < BATCH_KEYS
                    && elements <= BATCH_ELEMENTS
                    && bytes <= BATCH_BYTES =>
            {
                batch.push((index, write));
            }
            _ => {
                (elements, bytes) = (own.elements, own.bytes);
                batches.push(vec![(index, write)]);
            }
        }
    }
    batches
}
