//! Counters that stand alike everywhere and whose counts differ: two equal increments are two, which no tree tells.
//!
//! ```text
//! counts of each replica, page by page ─▶ those of the same keys everywhere ─┬─ alike ───▶ nothing
//!                                                                            └─ differ ──▶ a batch to be decided
//! ```
//!
//! What differs in its number is found by the tree, and left to it.

use futures::future::join_all;

use crate::model::{DbIndex, Key, Layout};
use crate::store::{BATCH_KEYS, Beside, StampQuery, StampReading, StoreError};

use super::candidates::Batch;
use super::course::Course;
use super::round::{Candidate, Stage, Tracked};
use super::run::Shared;

/// Finds and decides the counters whose counts differ.
pub(super) async fn recount<'a>(shared: &'a Shared<'a>, course: &mut Course<'a>) {
    if shared.run.scope.layout() == Layout::Plain {
        return;
    }
    let all = shared.run.scope.databases().into_iter();
    for (db, replica) in all.flat_map(|db| shared.active().into_iter().map(move |one| (db, one))) {
        if let Err(error) = recount_replica(shared, (db, replica), course).await {
            tracing::warn!("{error}; its counters are left as they are until the next run");
        }
    }
}

async fn recount_replica<'a>(
    shared: &'a Shared<'a>,
    (db, replica): (Option<DbIndex>, usize),
    course: &mut Course<'a>,
) -> Result<(), StoreError> {
    let source = &shared.run.participants[replica].replica;
    let mut cursor = 0;
    loop {
        let (keys, next) = source.keys_beside(db, Beside::Counts, cursor).await?;
        let is_selected = |key: &Key| shared.run.scope.owner(db, key.as_bytes()).is_some();
        let mut keys: Vec<Key> = keys.into_iter().filter(is_selected).collect();
        keys.sort();
        keys.dedup();
        for batch in keys.chunks(BATCH_KEYS) {
            let tracked = differing(shared, (db, replica), batch).await?;
            if shared.run.stop.is_cancelled() || shared.is_exhausted() {
                return Ok(());
            }
            if !tracked.is_empty() {
                shared.run.progress.found(tracked.len());
                let batches = std::iter::once(Batch::Keys(tracked));
                course.decide(Stage::Additions, batches).await;
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// Those of the keys whose counts differ, and that no replica before this one listed.
async fn differing<'a>(
    shared: &'a Shared<'a>,
    (db, replica): (Option<DbIndex>, usize),
    keys: &[Key],
) -> Result<Vec<Tracked<'a>>, StoreError> {
    let query = |key: &Key| StampQuery {
        key: key.clone(),
        elements: Vec::new(),
        only: true,
    };
    let queries: Vec<StampQuery> = keys.iter().map(query).collect();
    let active = shared.active();
    let asked = active.iter().map(|index| {
        let replica = &shared.run.participants[*index].replica;
        replica.stamps(db, &queries)
    });
    let mut readings: Vec<Vec<StampReading>> = Vec::with_capacity(active.len());
    for answer in join_all(asked).await {
        readings.push(answer?);
    }
    let before = active.iter().take_while(|index| **index < replica).count();
    let mut found = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        // Where counts are none, nothing is known.
        let counts: Option<Vec<_>> = readings
            .iter()
            .map(|all| Some(&all.get(place)?.as_ref().ok()?.counts))
            .collect();
        let Some(counts) = counts else { continue };
        let is_seen = counts[..before].iter().any(|counts| counts.is_some());
        let differs = counts.iter().any(|one| *one != counts[0]);
        let Some(keyspace) = shared.run.scope.owner(db, key.as_bytes()) else {
            continue;
        };
        if differs && !is_seen {
            found.push(Tracked::counted(Candidate {
                key: key.clone(),
                keyspace,
                looks: vec![None; shared.run.participants.len()],
            }));
        }
    }
    Ok(found)
}
