//! The journal: what was overwritten or removed, and what was written instead, so that it can be undone.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{
    Agreement, DbIndex, Expiry, Key, Kind, Lag, ReplicaId, Restamping, RunNumber, Sequence,
    State as KeyState, ValueDigest,
};

#[cfg(doc)]
use super::Changes;
use super::JournalPlace;

/// One write at one replica: the audit log and the pre-image in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// The step.
    pub sequence: Sequence,
    /// Its run.
    pub run: RunNumber,
    /// The replica that was written.
    pub replica: ReplicaId,
    /// The key's database.
    pub db: DbIndex,
    /// The key.
    pub key: Key,
    /// What it held before.
    pub before: PreImage,
    /// What it holds after.
    pub wrote: Post,
    /// The merge rule.
    pub rule: String,
    /// The evidence.
    pub evidence: String,
    /// What was agreed before.
    pub agreement_before: Option<Agreement>,
    /// Who lagged before.
    pub lags_before: BTreeMap<ReplicaId, Lag>,
    /// What it did to the stamps beside the key; nothing where it wrote none.
    pub stamps: Option<Box<Restamping>>,
    /// Whether the write happened; nothing while that is unknown.
    pub outcome: Option<bool>,
}

impl JournalEntry {
    /// Where it stands, for [`Changes::journal_outcome`].
    pub fn place(&self) -> JournalPlace {
        JournalPlace {
            run: self.run,
            sequence: self.sequence,
            replica: self.replica,
            db: self.db,
            key: self.key.clone(),
        }
    }
}

/// What a key held before a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreImage {
    /// Nothing.
    Absent,
    /// This.
    Whole(KeyState),
    /// Of a collection, these elements of those that were touched.
    Elements {
        /// The collection's type.
        kind: Kind,
        /// A state that holds the touched elements alone; nothing if none of them was there.
        held: Option<KeyState>,
        /// The names of all touched elements.
        names: Vec<Bytes>,
    },
    /// This, which commands alone cannot put back: as it was read, and as DUMP answered it.
    Dumped(KeyState, Bytes),
    /// A value that was too large to be read at once: it stands in entries of its own.
    Parts {
        /// Its type.
        kind: Kind,
        /// Its digest.
        digest: ValueDigest,
        /// When the key ended.
        expiry: Expiry,
        /// The steps of the entries that hold its parts, in their order.
        steps: Vec<Sequence>,
    },
    /// A part of a value: no write of its own.
    Part(KeyState),
}

impl Post {
    /// The digest of a whole value.
    pub fn digest(&self) -> Option<ValueDigest> {
        match self {
            Self::Whole { digest, .. } => Some(*digest),
            Self::Absent | Self::Elements { .. } => None,
        }
    }
}

/// What a key holds after a write: what an undo compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Post {
    /// Nothing.
    Absent,
    /// A whole value.
    Whole {
        /// Its digest.
        digest: ValueDigest,
        /// When it ends.
        expiry: Expiry,
    },
    /// Of a collection, the touched elements.
    Elements {
        /// The digest of a collection that holds the touched elements alone; nothing if none of them is there.
        digest: Option<ValueDigest>,
        /// When the key ends.
        expiry: Expiry,
    },
}
