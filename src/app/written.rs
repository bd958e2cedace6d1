//! What the journal keeps of a write, as reports show it.

use std::collections::BTreeMap;

use crate::model::{Expiry, ReplicaId, ReplicaName};
use crate::report::{LoggedState, LoggedWrite};
use crate::state::{JournalEntry, Post, PreImage, State, StateError};

/// All replicas that were ever known, by identity.
///
/// # Errors
/// When the state directory cannot be read.
pub fn known_names(state: &State) -> Result<BTreeMap<ReplicaId, ReplicaName>, StateError> {
    let known = state.replicas()?.into_iter();
    Ok(known.map(|replica| (replica.id, replica.name)).collect())
}

/// Whether it is a write of its own: the parts of a large value belong to the write that follows them.
pub fn is_whole(entry: &JournalEntry) -> bool {
    !matches!(entry.before, PreImage::Part(_))
}

/// A write of the journal as reports show it.
pub fn written(entry: &JournalEntry, names: &BTreeMap<ReplicaId, ReplicaName>) -> LoggedWrite {
    let unnamed = || ReplicaName(entry.replica.to_string());
    LoggedWrite {
        step: entry.sequence.0,
        replica: names.get(&entry.replica).cloned().unwrap_or_else(unnamed),
        db: entry.db,
        key: entry.key.clone(),
        before: before(&entry.before),
        after: after(&entry.wrote),
        rule: entry.rule.clone(),
        evidence: entry.evidence.clone(),
        applied: entry.outcome,
    }
}

const ABSENT: LoggedState = LoggedState {
    held: false,
    kind: None,
    length: None,
    expiry: Expiry::Never,
};

fn before(image: &PreImage) -> LoggedState {
    match image {
        PreImage::Absent => ABSENT,
        PreImage::Whole(state) | PreImage::Dumped(state, _) | PreImage::Part(state) => {
            LoggedState {
                held: true,
                kind: Some(state.value.kind()),
                length: Some(state.value.length()),
                expiry: state.expiry,
            }
        }
        PreImage::Elements { kind, .. } => LoggedState {
            held: true,
            kind: Some(*kind),
            ..ABSENT
        },
        PreImage::Parts { kind, expiry, .. } => LoggedState {
            held: true,
            kind: Some(*kind),
            expiry: *expiry,
            ..ABSENT
        },
    }
}

fn after(post: &Post) -> LoggedState {
    match post {
        Post::Absent => ABSENT,
        Post::Whole { expiry, .. } | Post::Elements { expiry, .. } => LoggedState {
            held: true,
            expiry: *expiry,
            ..ABSENT
        },
    }
}
