//! What a complete run knows of keys that nobody remembers: they were absent, wherever everything was read.
//!
//! So a counter that appears on two replicas between two runs is the sum of both, and a key that one replica has and
//! another lacks was added, not removed. Keys that a run has seen and could not settle are exceptions, noted one by
//! one.

use std::collections::BTreeSet;

use crate::model::{Key, Lag, LagBase, ReplicaId, Seen, Sequence};
use crate::repair::run::Shared;
use crate::state::{Changes, StateError};

use super::Notary;

impl Notary<'_> {
    /// Keys to look at although no tree differs: a participant lags, or forgot the proof that it does not.
    pub(crate) fn overdue(
        &self,
        active: &[usize],
        listed: impl Iterator<Item = Key>,
    ) -> Result<BTreeSet<Key>, StateError> {
        let ids: BTreeSet<ReplicaId> = active.iter().map(|replica| self.id(*replica)).collect();
        let mut keys = BTreeSet::new();
        self.memory.state.lagging(self.index, &mut |key, replica| {
            if ids.contains(&replica) {
                keys.insert(key.clone());
            }
        })?;
        let forgetful = self.trusts.iter().flatten();
        if forgetful.into_iter().any(|one| !one.voids.0.is_empty()) {
            for key in listed {
                if self.is_overdue(&key, active)? {
                    keys.insert(key);
                }
            }
        }
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

    /// Notes at the end of a run that read everything what that proves; `unsettled` are the keys that it left open.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) async fn cover(
        &self,
        shared: &Shared<'_>,
        unsettled: Vec<Key>,
    ) -> Result<(), StateError> {
        let active: BTreeSet<usize> = shared.active().into_iter().collect();
        let _one_at_a_time = self.gate.lock().await;
        let step = self.memory.state.next_sequence()?;
        if !self.prove_all(shared, &active, step).await? {
            return Ok(());
        }
        let mut changes = Changes::new(shared.run.clock.now());
        for key in unsettled {
            self.except(shared, &mut changes, key, &active, step)?;
        }
        for replica in &active {
            if let Some(one) = self.trusts[*replica].as_ref() {
                changes.set_evicted(one.id, one.evicted_keys);
            }
            for keyspace in shared.run.scope.worked_on(self.db) {
                let name = shared.run.scope.fingerprint(keyspace);
                changes.cover(self.id(*replica), self.index, name, step);
            }
        }
        self.acknowledge(&mut changes, &active, step)?;
        self.memory.state.commit(changes)
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
