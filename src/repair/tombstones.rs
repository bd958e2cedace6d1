//! Tombstones: carried over to whoever lacks them, and dropped once everybody has had them for long enough.
//!
//! ```text
//! removals of each replica, page by page ─▶ their stamps at all ─┬─ added later somewhere ──▶ left alone
//!                                                                ├─ some lack it ───────────▶ carried over
//!                                                                └─ all have it, old enough ▶ dropped
//! ```
//!
//! A tombstone that is dropped while a replica lacks the removal lets what was removed come back. So this is done at
//! the end of a run over everything in which every replica took part; what is carried over in one run is dropped in a
//! later one: each is looked at once, where the first replica lists it. Every write looks at the stamps in the moment it is made.
//!
//! Deliberately absent: data. No key and no element is written here.

use bytes::Bytes;
use futures::future::join_all;

use crate::model::{
    DbIndex, Expect, Key, Layout, Millis, Op, Stamp, Stamped, Stamps, Witness, Write,
};
use crate::store::{BATCH_KEYS, Beside, StampQuery, StoreError, WriteOutcome};

use super::run::{Mode, Shared};

/// What became of the tombstones of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Swept {
    carried: u64,
    dropped: u64,
}

/// Goes through the tombstones of a database, if this run may.
pub(super) async fn sweep(shared: &Shared<'_>, db: Option<DbIndex>) {
    let run = shared.run;
    let is_whole = run.scope.is_whole() && shared.lost().is_empty() && !run.stop.is_cancelled();
    if run.scope.layout() == Layout::Plain || run.settings.mode != Mode::Repair || !is_whole {
        return;
    }
    let mut swept = Swept::default();
    let now = run.clock.now().0;
    let grace = run.settings.tombstone_grace.as_millis() as i64;
    let cutoff = Millis(now.saturating_sub(grace));
    for replica in shared.active() {
        if let Err(error) = sweep_replica(shared, db, (replica, cutoff), &mut swept).await {
            tracing::warn!("{error}; its tombstones are left as they are until the next run");
        }
    }
    if swept != Swept::default() {
        let Swept { carried, dropped } = swept;
        tracing::info!(
            "tombstones: {carried} carried over to replicas that lacked them, {dropped} dropped"
        );
    }
}

async fn sweep_replica(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    (replica, cutoff): (usize, Millis),
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let source = &shared.run.participants[replica].replica;
    let mut cursor = 0;
    loop {
        let (removed, next) = source.removals(db, None, cursor).await?;
        let keys = removed.into_iter().map(|(name, _)| Key::new(name));
        let keys: Vec<Key> = keys.filter(|key| !is_held(shared, db, key)).collect();
        for batch in keys.chunks(BATCH_KEYS) {
            let queries = batch.iter().map(|key| query(key, &[])).collect();
            settle(shared, db, (queries, replica, cutoff), swept).await?;
        }
        cursor = next;
        if cursor == 0 || shared.run.stop.is_cancelled() {
            break;
        }
    }
    loop {
        let (keys, next) = source.keys_beside(db, Beside::Removals, cursor).await?;
        for key in keys.iter().filter(|key| !is_held(shared, db, key)) {
            sweep_elements(shared, db, (replica, key, cutoff), swept).await?;
        }
        cursor = next;
        if cursor == 0 || shared.run.stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Whether a key was undone, and waits until it is named: its stamps are put back, too.
fn is_held(shared: &Shared<'_>, db: Option<DbIndex>, key: &Key) -> bool {
    let Some(notary) = shared.notary(db) else {
        return false;
    };
    match notary.memory.state.held(notary.index, key) {
        Ok(hold) => hold.is_some(),
        Err(error) => {
            shared.break_off(error);
            true
        }
    }
}

async fn sweep_elements(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    (replica, key, cutoff): (usize, &Key, Millis),
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let source = &shared.run.participants[replica].replica;
    let mut cursor = 0;
    loop {
        let (removed, next) = source.removals(db, Some(key), cursor).await?;
        let names: Vec<Bytes> = removed.into_iter().map(|(name, _)| name).collect();
        if !names.is_empty() {
            let queries = vec![query(key, &names)];
            settle(shared, db, (queries, replica, cutoff), swept).await?;
        }
        cursor = next;
        if cursor == 0 || shared.run.stop.is_cancelled() {
            return Ok(());
        }
    }
}

fn query(key: &Key, elements: &[Bytes]) -> StampQuery {
    StampQuery {
        key: key.clone(),
        elements: elements.to_vec(),
        only: true,
    }
}

/// Looks at some tombstones at all replicas, and carries over or drops what is to be.
async fn settle(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    (queries, replica, cutoff): (Vec<StampQuery>, usize, Millis),
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let participants = &shared.run.participants;
    let asked = participants
        .iter()
        .map(|one| one.replica.stamps(db, &queries));
    let mut readings = Vec::with_capacity(participants.len());
    for answer in join_all(asked).await {
        readings.push(answer?);
    }
    let mut writes: Vec<Vec<Write>> = vec![Vec::new(); participants.len()];
    for (index, query) in queries.iter().enumerate() {
        let held: Option<Vec<&Stamps>> = readings
            .iter()
            .map(|all| all.get(index)?.as_ref().ok())
            .collect();
        // Where a set of stamps is none, nothing is known.
        let Some(held) = held else { continue };
        let names: Vec<Option<&Bytes>> = match query.elements.is_empty() {
            true => vec![None],
            false => query.elements.iter().map(Some).collect(),
        };
        let wanted: Vec<(Option<&Bytes>, Fate)> = names
            .into_iter()
            .map(|name| {
                let all: Vec<Stamped> = held.iter().map(|one| stamped(one, name)).collect();
                (name, fate(&all, replica, cutoff))
            })
            .collect();
        for (place, held) in writes.iter_mut().zip(held) {
            place.extend(write(&query.key, held, &wanted, swept));
        }
    }
    for (participant, writes) in participants.iter().zip(writes) {
        if writes.is_empty() {
            continue;
        }
        let written = participant
            .replica
            .write(db, &writes, &shared.run.digest_key, None)
            .await?;
        for outcome in written.outcomes {
            if let WriteOutcome::Refused(words) = outcome {
                tracing::warn!(
                    "replica {}: a tombstone was not written: {words}",
                    participant.replica.name()
                );
            }
        }
    }
    Ok(())
}

fn stamped(stamps: &Stamps, name: Option<&Bytes>) -> Stamped {
    name.map_or(stamps.key, |name| stamps.of(name))
}

/// What is to become of a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays where it is.
    Stays,
    /// Everybody is to have it.
    Carried(Stamp),
    /// Nobody needs it any more.
    Dropped,
}

/// The fate of a tombstone that this replica lists, given the stamps of its key or element at every replica.
fn fate(all: &[Stamped], lister: usize, cutoff: Millis) -> Fate {
    let joined = all.iter().copied().fold(Stamped::default(), Stamped::join);
    let Some(removed) = joined.removed.filter(|_| !joined.is_present()) else {
        return Fate::Stays;
    };
    // What is listed as added anywhere is for a merge to decide; what one before lists was looked at there.
    let is_done = all[..lister].iter().any(|one| one.removed.is_some());
    if is_done || all.iter().any(|one| one.added.is_some()) {
        return Fate::Stays;
    }
    match all.iter().all(|one| one.removed == Some(removed)) {
        false => Fate::Carried(removed),
        true if removed.is_after(cutoff) => Fate::Stays,
        true => Fate::Dropped,
    }
}

/// The write that brings a replica there; nothing where it is.
fn write(
    key: &Key,
    held: &Stamps,
    wanted: &[(Option<&Bytes>, Fate)],
    swept: &mut Swept,
) -> Option<Write> {
    let mut witness = Stamps {
        key: held.key,
        ..Stamps::default()
    };
    let mut after = witness.clone();
    let mut of_elements = false;
    for (name, fate) in wanted {
        let now = stamped(held, *name);
        let removed = match fate {
            Fate::Stays => continue,
            Fate::Carried(removed) => Some(*removed),
            Fate::Dropped => None,
        };
        if now.removed == removed {
            continue;
        }
        match fate {
            Fate::Dropped => swept.dropped += 1,
            Fate::Carried(_) | Fate::Stays => swept.carried += 1,
        }
        let then = Stamped { removed, ..now };
        match name {
            None => after.key = then,
            Some(name) => {
                of_elements = true;
                witness.elements.insert((*name).clone(), now);
                after.elements.insert((*name).clone(), then);
            }
        }
    }
    (after != witness).then(|| Write {
        key: key.clone(),
        expect: Expect::Stamped(Box::new(Witness {
            held: None,
            touched: of_elements.then(Default::default),
            stamps: witness,
            only_stamps: true,
            watched: None,
            is_unraised: false,
        })),
        ops: vec![Op::Stamp(after)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_dropped_only_when_everybody_has_had_it_for_long_enough() {
        let at = |millis: i64| Some(Stamp::millis(millis)).filter(|_| millis > 0);
        let of = |sides: &[(i64, i64)]| {
            let stamped = |(added, removed): &(i64, i64)| Stamped {
                added: at(*added),
                removed: at(*removed),
            };
            let all: Vec<Stamped> = sides.iter().map(stamped).collect();
            fate(&all, 0, Millis(10))
        };
        assert_eq!(of(&[(0, 5), (0, 5), (0, 5)]), Fate::Dropped);
        assert_eq!(of(&[(0, 10), (0, 10)]), Fate::Dropped);
        assert_eq!(of(&[(0, 11), (0, 11)]), Fate::Stays);
        // Somebody has not heard of it, or of an earlier one alone.
        assert_eq!(of(&[(0, 5), (0, 0)]), Fate::Carried(Stamp::millis(5)));
        assert_eq!(of(&[(0, 5), (0, 3)]), Fate::Carried(Stamp::millis(5)));
        // It is there again, or was never merged.
        assert_eq!(of(&[(0, 5), (7, 0)]), Fate::Stays);
        assert_eq!(of(&[(0, 5), (4, 0)]), Fate::Stays);
        assert_eq!(of(&[(0, 0), (0, 0)]), Fate::Stays);
        let twice = [Stamped {
            added: None,
            removed: at(5),
        }; 2];
        assert_eq!(fate(&twice, 1, Millis(10)), Fate::Stays);
    }
}
