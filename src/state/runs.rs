//! The run log.

use std::collections::BTreeMap;

use crate::model::{Millis, ReplicaId, ReplicaName, RunNumber};

/// What is known when a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStart {
    /// When it began.
    pub at: Millis,
    /// What it is, in words: `repair`, `undo 7`.
    pub purpose: String,
    /// The replicas that take part.
    pub replicas: Vec<(ReplicaId, ReplicaName)>,
    /// The run that it undoes.
    pub undoes: Option<RunNumber>,
}

/// What is known when a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// When it ended.
    pub at: Millis,
    /// How: `done`, `partial`, `stopped`, `failed`.
    pub result: String,
    /// The exit code.
    pub exit: u8,
    /// Why, where there is something to say: the guard that stopped it, the reason for a forced one.
    pub note: Option<String>,
    /// Its counts by name.
    pub counts: BTreeMap<String, u64>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Its number.
    pub number: RunNumber,
    /// Its beginning.
    pub start: RunStart,
    /// Its end; nothing while it runs, and for ever if it was killed.
    pub end: Option<RunEnd>,
}
