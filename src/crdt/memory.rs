//! What is remembered of a key: digests and versions, not values.
//!
//! The agreement keeps one [`Memory`] per key, and one per replica that lags. This file only says what a memory is
//! and how one is taken of a state; where memories are kept is the state directory's business.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::counter::{Amount, integer};
use super::element::remember;
use super::hash::Fields;
use super::set::Members;
use super::stream::Entries;
use super::zset::Scores;
use crate::model::{
    Digester, ElementRef, Expiry, Kind, State, Stream, StreamId, Sum, Value, ValueDigest,
};

/// A number that rises each time the agreement on a key changes. Zero is before the first agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// What is remembered of one state of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The value's type.
    pub kind: Kind,
    /// The value's digest.
    pub digest: ValueDigest,
    /// When the key ends.
    pub expiry: Expiry,
    /// What is remembered beyond the digest.
    pub body: Body,
}

/// What is remembered of a value beyond its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing: a register, or a collection by whole key.
    Whole,
    /// A string that was a canonical integer.
    Counter(i64),
    /// The elements of a set, hash or sorted set.
    Elements(BTreeMap<Bytes, ElementMemory>),
    /// A list's length and the sum of its elements' digests, by which it is found again inside a longer one.
    List {
        /// How many elements it had.
        length: usize,
        /// The sum of their digests as set members.
        sum: Sum,
    },
    /// A stream.
    Stream {
        /// The ID of its first entry; `last_id` where it had none.
        first: StreamId,
        /// The greatest ID it had ever given.
        last_id: StreamId,
        /// Its entries, named by their IDs as text; nothing above the limit.
        entries: Option<BTreeMap<Bytes, ElementMemory>>,
    },
}

/// What is remembered of one element of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementMemory {
    /// The digest of a collection that holds this element alone.
    pub digest: ValueDigest,
    /// The version of its last change. Meaningless in a base.
    pub changed: Version,
    /// Its number, for a hash field that is a canonical integer and for a score.
    pub amount: Option<Amount>,
}

impl Memory {
    /// The memory of a state. Collections of more than `limit` elements are remembered by whole key; `changed` tells
    /// each element's version of last change.
    pub fn of(
        state: &State,
        limit: usize,
        changed: impl Fn(&Bytes) -> Version,
        digester: &mut Digester,
    ) -> Self {
        Self {
            kind: state.value.kind(),
            digest: digester.value(&state.value),
            expiry: state.expiry,
            body: Body::of(&state.value, limit, changed, digester),
        }
    }

    /// The elements, where they are remembered one by one.
    pub(super) fn elements(&self) -> Option<&BTreeMap<Bytes, ElementMemory>> {
        match &self.body {
            Body::Elements(elements) => Some(elements),
            Body::Stream { entries, .. } => entries.as_ref(),
            Body::Whole | Body::Counter(_) | Body::List { .. } => None,
        }
    }
}

impl Body {
    fn of(
        value: &Value,
        limit: usize,
        changed: impl Fn(&Bytes) -> Version,
        digester: &mut Digester,
    ) -> Self {
        let within = value.element_count() <= limit;
        match value {
            Value::String(bytes) => integer(bytes).map_or(Self::Whole, Self::Counter),
            Value::Stream(stream) => Self::Stream {
                first: first_id(stream),
                last_id: stream.last_id,
                entries: within.then(|| remember::<Entries>(value, changed, digester)),
            },
            Value::Module(_) => Self::Whole,
            _ if !within => Self::Whole,
            Value::List(elements) => Self::of_list(elements, digester),
            Value::Hash(_) => Self::Elements(remember::<Fields>(value, changed, digester)),
            Value::Set(_) => Self::Elements(remember::<Members>(value, changed, digester)),
            Value::SortedSet(_) => Self::Elements(remember::<Scores>(value, changed, digester)),
        }
    }

    fn of_list(elements: &[Bytes], digester: &mut Digester) -> Self {
        let mut sum = Sum::EMPTY;
        elements
            .iter()
            .for_each(|element| digester.add_to_sum(&mut sum, &ElementRef::Member(element)));
        Self::List {
            length: elements.len(),
            sum,
        }
    }
}

fn first_id(stream: &Stream) -> StreamId {
    stream
        .entries
        .keys()
        .next()
        .copied()
        .unwrap_or(stream.last_id)
}

/// The versions that a replica has seen of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Of the key, and of every element not named below.
    pub key: Version,
    /// Of single elements, where it differs.
    pub elements: BTreeMap<Bytes, Version>,
}

impl Seen {
    /// All of a key at one version.
    pub fn all(version: Version) -> Self {
        Self {
            key: version,
            elements: BTreeMap::new(),
        }
    }

    /// The version seen of an element.
    pub fn of(&self, element: &Bytes) -> Version {
        self.elements.get(element).copied().unwrap_or(self.key)
    }
}

/// How far a replica that has a base can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It forgot nothing.
    #[default]
    Ordinary,
    /// It lost some of the last writes; the base is what stood at its marker. Its registers never beat the agreed
    /// version by preference alone.
    RolledBack,
}

/// The state of a key at a replica when it last took part: what it holds now minus this is what its clients did.
///
/// A replica without one (on a first run, or a newcomer) fills gaps: it never beats the agreed version, and what it
/// lacks is no evidence.
#[derive(Debug, Clone)]
pub struct Base<'a> {
    /// What it held; nothing if the key was absent.
    pub memory: Option<&'a Memory>,
    /// What it has seen.
    pub seen: Seen,
    /// How far to trust it.
    pub standing: Standing,
}

/// The latest version of a key that runs have brought replicas to.
#[derive(Debug, Clone)]
pub struct Agreed<'a> {
    /// Its version.
    pub version: Version,
    /// What was agreed; nothing if the key was removed.
    pub memory: Option<&'a Memory>,
    /// Elements that were removed, while that is remembered, with the version of their removal.
    pub removed: &'a BTreeMap<Bytes, Version>,
}
