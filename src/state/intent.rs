//! Intents: what a step is about to write, synced before it does, and what follows from what then happened.

use std::collections::BTreeSet;

use crate::model::{
    Agreement, DbIndex, Key, Lag, LagBase, Millis, ReplicaId, RunNumber, Seen, Sequence,
};

use super::Changes;
use super::changes::{Change, Reached};

/// What one step is about to do: on disk before the first byte goes to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The step.
    pub sequence: Sequence,
    /// Its run.
    pub run: RunNumber,
    /// The database of all its keys.
    pub db: DbIndex,
    /// The replicas whose markers the step sets and whose outcome is still unknown.
    pub replicas: Vec<ReplicaId>,
    /// The keys.
    pub keys: Vec<IntentKey>,
    /// Whether the step was settled but for replicas that could not be reached: what is agreed is on disk, and
    /// only the parts left here are open.
    pub late: bool,
}

/// One key of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentKey {
    /// The key.
    pub key: Key,
    /// What is agreed once the step is settled; nothing if only bases change. In a late intent: what was agreed then.
    pub agreement: Option<Agreement>,
    /// Lag entries of replicas that are not written: to be put, or dropped.
    pub always: Vec<(ReplicaId, Option<Lag>)>,
    /// The writes.
    pub parts: Vec<IntentPart>,
}

/// One write: a key at a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentPart {
    /// The replica.
    pub replica: ReplicaId,
    /// The write's place among those of the replica: its bit in the marker.
    pub place: u8,
    /// The lag entry if the write happens; nothing if the replica is then at the version.
    pub applied: Option<Lag>,
    /// The lag entry if it does not happen; also what holds while that is unknown.
    pub otherwise: Lag,
}

impl Intent {
    /// What to remember once it is known what happened: `outcome` answers for a replica and place whether the write
    /// was applied, or nothing while that is unknown.
    ///
    /// Closes the intent. If something is unknown, that part of it stays open, late: what is agreed is settled, the
    /// replica is taken not to have it, and once that is known the late intent is settled in its turn.
    pub fn settle(&self, now: Millis, outcome: impl Fn(ReplicaId, u8) -> Option<bool>) -> Changes {
        let mut changes = Changes::new(now);
        let mut open = Vec::new();
        for key in &self.keys {
            if !self.late {
                self.settle_agreed(key, &mut changes);
            }
            let mut unknown = Vec::new();
            for part in &key.parts {
                match outcome(part.replica, part.place) {
                    Some(applied) => self.settle_part(key, part, applied, &mut changes),
                    None => unknown.push(part.clone()),
                }
            }
            if !unknown.is_empty() {
                open.push(self.left_open(key, unknown, &mut changes));
            }
        }
        if open.is_empty() {
            changes.close_intent(self.sequence);
        } else {
            changes.push(Change::KeepIntent(self.late_with(open)));
        }
        changes
    }

    /// What holds whatever the replicas did.
    fn settle_agreed(&self, key: &IntentKey, changes: &mut Changes) {
        if let Some(agreement) = &key.agreement {
            changes.put_agreement(self.db, key.key.clone(), agreement.clone());
        }
        for (replica, lag) in &key.always {
            match lag {
                Some(lag) => changes.put_lag(self.db, key.key.clone(), *replica, lag.clone()),
                None => changes.drop_lag(self.db, key.key.clone(), *replica),
            };
        }
    }

    fn settle_part(
        &self,
        key: &IntentKey,
        part: &IntentPart,
        applied: bool,
        changes: &mut Changes,
    ) {
        let (db, name, replica) = (self.db, key.key.clone(), part.replica);
        if applied {
            let read = part.otherwise.clone();
            changes.push(Change::Replaced(db, name.clone(), replica, read));
        }
        match (&part.applied, applied) {
            // Since the others were settled, later runs may have carried the entry on: it stands.
            (_, false) if self.late => {}
            (_, false) => {
                changes.put_lag(db, name, replica, part.otherwise.clone());
            }
            // SUBTLE: being at the version, or having what is agreed as base, is said of the version of then.
            (
                None
                | Some(Lag {
                    base: LagBase::Agreed,
                    ..
                }),
                true,
            ) if self.late => {
                changes.push(self.reached(key, part));
            }
            (Some(lag), true) => {
                changes.put_lag(db, name, replica, lag.clone());
            }
            (None, true) => {
                changes.drop_lag(db, name, replica);
            }
        }
        if let Some(lag) = self.truth(key, part).filter(|_| applied && self.late) {
            changes.push(Change::Correct(db, key.key.clone(), replica, lag));
        }
    }

    /// What a replica held from this step on that was late to tell that it was written to.
    fn truth(&self, key: &IntentKey, part: &IntentPart) -> Option<Lag> {
        let told = part.applied.as_ref();
        if let Some(lag) = told.filter(|lag| lag.base != LagBase::Agreed) {
            return Some(lag.clone());
        }
        let then = key.agreement.as_ref()?;
        Some(Lag {
            base: LagBase::Held(then.memory.clone()),
            seen: told.map_or_else(|| Seen::all(then.version), |lag| lag.seen.clone()),
            proved: self.sequence,
            since: self.sequence,
            evicted: false,
        })
    }

    fn reached(&self, key: &IntentKey, part: &IntentPart) -> Change {
        let (name, replica) = (key.key.clone(), part.replica);
        match &key.agreement {
            Some(then) => {
                let reached = Reached {
                    then: then.clone(),
                    proved: self.sequence,
                    lag: part.applied.clone(),
                };
                Change::Reached(self.db, name, replica, reached)
            }
            // Nothing was agreed on then: nothing to be behind of.
            None => Change::DropLag(self.db, name, replica),
        }
    }

    /// Until it is known, the replica is taken not to have what was written.
    fn left_open(
        &self,
        key: &IntentKey,
        unknown: Vec<IntentPart>,
        changes: &mut Changes,
    ) -> IntentKey {
        if !self.late {
            for part in &unknown {
                let (name, lag) = (key.key.clone(), part.otherwise.clone());
                changes.put_lag(self.db, name, part.replica, lag);
            }
        }
        IntentKey {
            key: key.key.clone(),
            agreement: key.agreement.clone(),
            always: Vec::new(),
            parts: unknown,
        }
    }

    fn late_with(&self, keys: Vec<IntentKey>) -> Self {
        let parts = keys.iter().flat_map(|key| &key.parts);
        let open: BTreeSet<ReplicaId> = parts.map(|part| part.replica).collect();
        Self {
            replicas: open.into_iter().collect(),
            keys,
            late: true,
            ..self.without_keys()
        }
    }

    fn without_keys(&self) -> Self {
        Self {
            sequence: self.sequence,
            run: self.run,
            db: self.db,
            replicas: Vec::new(),
            keys: Vec::new(),
            late: self.late,
        }
    }

    /// The intent without a replica that was forgotten; nothing if nothing of it is left open.
    pub(super) fn without(&self, replica: ReplicaId) -> Option<Self> {
        let mut left = self.clone();
        left.replicas.retain(|id| *id != replica);
        for key in &mut left.keys {
            key.parts.retain(|part| part.replica != replica);
            key.always.retain(|(id, _)| *id != replica);
        }
        if left.late {
            left.keys.retain(|key| !key.parts.is_empty());
        }
        let settled = left.late && left.keys.is_empty();
        (!settled).then_some(left)
    }
}
