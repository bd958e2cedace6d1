//! What a complete run knows of keys that nobody remembers: they were absent, wherever everything was read. A run reads
//! segment by segment; each is noted as it is finished, and the last one that is missing makes the run complete.
//!
//! So a counter that appears on two replicas between two runs is the sum of both, and a key that one replica has and
//! another lacks was added, not removed. Keys that a run has seen and could not settle are exceptions, noted one by
//! one.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Key, Lag, LagBase, ReplicaId, Seen, Sequence, SlotRange};
use crate::repair::run::Shared;
use crate::repair::segments::SegmentKind;
use crate::state::{Changes, LagHead, Segment, StateError};

use super::{Notary, Vouched};

/// What of a database was read to its end, of all participants that are still there.
pub(crate) struct Proof {
    /// Its slots.
    pub(crate) slots: Vec<SlotRange>,
    /// What it is noted under, if it is finished.
    pub(crate) kind: Option<SegmentKind>,
    /// The keys that it left open, since the last proof; nothing if they are not known.
    pub(crate) unsettled: Option<Vec<Key>>,
    /// How many keys differ still.
    pub(crate) left: u64,
}

/// Whether these are all slots, and nothing of them is unknown.
fn is_everything(read: &[Segment]) -> bool {
    let complete = read.iter().filter(|one| one.is_complete);
    let slots = complete.map(|one| one.slots);
    SlotRange::all().without(slots).is_empty()
}

impl Notary<'_> {
    /// Keys to look at although no tree differs: a participant lags, or forgot the proof that it does not. `suspects`
    /// are those whose agreement somebody forgot: where all who did have proofs of their own, nothing is overdue.
    ///
    /// # Cost
    /// One listing of the lags, which are few where all take part; no look at any single key.
    pub(crate) fn overdue(
        &self,
        active: &[usize],
        suspects: &[(Key, Sequence)],
    ) -> Result<BTreeSet<Key>, StateError> {
        let vouched = active
            .iter()
            .filter_map(|replica| self.trusts.get(*replica)?.as_ref());
        let vouched: BTreeMap<ReplicaId, &Vouched> =
            vouched.map(|vouched| (vouched.id, vouched)).collect();
        let mut unproved: BTreeMap<Key, BTreeSet<ReplicaId>> = BTreeMap::new();
        for (key, proved) in suspects {
            let forgot = vouched.values().filter(|one| one.forgot(*proved));
            unproved.insert(key.clone(), forgot.map(|one| one.id).collect());
        }
        let mut keys = BTreeSet::new();
        let mut visit = |key: &Key, lag: LagHead| {
            let Some(one) = vouched.get(&lag.replica) else {
                return;
            };
            if lag.is_behind || one.forgot(lag.proved) {
                keys.insert(key.clone());
            } else if let Some(forgot) = unproved.get_mut(key) {
                forgot.remove(&lag.replica);
            }
        };
        self.memory.state.lagging(self.index, &mut visit)?;
        let unproved = unproved.into_iter().filter(|(_, who)| !who.is_empty());
        keys.extend(unproved.map(|(key, _)| key));
        Ok(keys)
    }

    /// Whether one of these participants lags behind a key, or forgot the proof that it does not.
    pub(crate) fn is_overdue(&self, key: &Key, active: &[usize]) -> Result<bool, StateError> {
        let past = self.past(key)?;
        let agreed = past.agreement.as_ref();
        let vouched = active
            .iter()
            .filter_map(|replica| self.trusts.get(*replica)?.as_ref());
        Ok(vouched.into_iter().any(|one| match past.lags.get(&one.id) {
            // Nothing was ever agreed on: nobody is behind.
            Some(_) if agreed.is_none() => false,
            Some(lag) => lag.base != LagBase::Agreed || one.forgot(lag.proved),
            None => agreed.is_some_and(|agreed| one.forgot(agreed.proved)),
        }))
    }

    /// Whether no participant has forgotten anything since a segment was finished.
    pub(crate) fn remembers(&self, segment: &Segment) -> bool {
        let mut vouched = self.trusts.iter();
        vouched.all(|one| {
            let one = one.as_ref();
            one.is_some_and(|one| one.is_unbroken_since(segment.proved))
        })
    }

    /// Notes what was read to its end, and what that proves: of keys that nobody remembers something only once all slots
    /// were read.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) async fn cover(&self, shared: &Shared<'_>, proof: Proof) -> Result<(), StateError> {
        let active: BTreeSet<usize> = shared.active().into_iter().collect();
        let _one_at_a_time = self.gate.lock().await;
        let step = self.memory.state.next_sequence()?;
        if !self.prove_all(shared, &active, step).await? {
            return Ok(());
        }
        let mut changes = Changes::new(shared.run.clock.now());
        let read = self.read(shared, &proof, step);
        let is_whole = shared.run.scope.is_whole_but_for_slots();
        for key in proof.unsettled.into_iter().flatten().filter(|_| is_whole) {
            self.except(shared, &mut changes, key, &active, step)?;
        }
        let mut all = read.clone();
        if let Some(kind) = proof.kind {
            all.extend(self.finished(kind)?);
            for segment in read {
                changes.finish(self.memory.run, segment);
            }
        }
        if is_whole && is_everything(&all) {
            self.cover_all(shared, &mut changes, &active, step);
        }
        self.acknowledge(&mut changes, &active, step)?;
        self.memory.state.commit(changes)
    }

    /// What was read, as segments.
    fn read(&self, shared: &Shared<'_>, proof: &Proof, step: Sequence) -> Vec<Segment> {
        let is_complete = proof.unsettled.is_some();
        if !is_complete {
            let db = self.index;
            tracing::warn!(
                "database {db}: too many keys are left open to be noted one by one, so of keys that nothing was agreed \
                 on, this run proves nothing; it is made up by a run that leaves fewer"
            );
        }
        let segment = |(number, slots): (usize, &SlotRange)| Segment {
            db: self.index,
            slots: *slots,
            finished: shared.run.clock.now(),
            digest: proof.kind.unwrap_or_default(),
            proved: step,
            // Which of them left how many is of no interest.
            left: if number == 0 { proof.left } else { 0 },
            is_complete,
        };
        proof.slots.iter().enumerate().map(segment).collect()
    }

    /// What this run has finished or taken up of this kind, and nobody has forgotten.
    fn finished(&self, kind: SegmentKind) -> Result<Vec<Segment>, StateError> {
        let mut segments = self.memory.state.segments(self.memory.run)?;
        segments.retain(|one| one.db == self.index && one.digest == kind && self.remembers(one));
        Ok(segments)
    }

    fn cover_all(
        &self,
        shared: &Shared<'_>,
        changes: &mut Changes,
        active: &BTreeSet<usize>,
        step: Sequence,
    ) {
        for replica in active {
            for keyspace in shared.run.scope.worked_on(self.db) {
                let name = shared.run.scope.fingerprint(keyspace);
                changes.cover(self.id(*replica), self.index, name, step);
            }
        }
    }

    /// A key that nothing was agreed on, and that was there: of the replicas whose coverage moves on it is known what
    /// was known before, that it was absent then, or nothing.
    fn except(
        &self,
        shared: &Shared<'_>,
        changes: &mut Changes,
        key: Key,
        active: &BTreeSet<usize>,
        step: Sequence,
    ) -> Result<(), StateError> {
        let past = self.past(&key)?;
        let owner = shared.run.scope.owner(self.db, key.as_bytes());
        let agreed = past.agreement.as_ref();
        if agreed.is_some_and(|agreed| agreed.memory.is_some()) {
            return Ok(());
        }
        let Some(keyspace) = owner else {
            return Ok(());
        };
        let ids = active.iter().map(|replica| self.id(*replica));
        for id in ids.filter(|id| !past.lags.contains_key(id)) {
            let covered = self.covered(id, keyspace);
            let forgot = |proved| {
                self.trusts
                    .iter()
                    .flatten()
                    .any(|one| one.id == id && one.forgot(proved))
            };
            // What is agreed to be gone stays what is known, but where that was forgotten.
            if agreed.is_some_and(|agreed| !forgot(agreed.proved)) {
                continue;
            }
            let covered = covered.filter(|_| agreed.is_none());
            let lag = Lag {
                base: covered.map_or(LagBase::Unknown, |_| LagBase::Held(None)),
                seen: Seen::default(),
                proved: covered.unwrap_or_default(),
                since: step,
                evicted: false,
            };
            changes.put_lag(self.index, key.clone(), id, lag);
        }
        Ok(())
    }
}
