//! What is remembered of a key: digests and versions, not values.
//!
//! The agreement keeps one [`Memory`] per key, and one per replica that lags. How a memory is taken of a state is the
//! merge's business, where memories are kept is that of the state directory.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Expiry, Kind, Score, StreamId, Sum, ValueDigest};

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

/// A number that can be counted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// A string's or hash field's integer.
    Integer(i64),
    /// A sorted set's score.
    Score(Score),
}

impl Memory {
    /// The elements, where they are remembered one by one.
    pub fn elements(&self) -> Option<&BTreeMap<Bytes, ElementMemory>> {
        match &self.body {
            Body::Elements(elements) => Some(elements),
            Body::Stream { entries, .. } => entries.as_ref(),
            Body::Whole | Body::Counter(_) | Body::List { .. } => None,
        }
    }

    /// Puts in an element, or takes it out; nothing changes where elements are not remembered one by one.
    pub fn put_element(&mut self, name: &Bytes, element: Option<ElementMemory>) {
        if let Some(elements) = self.elements_mut() {
            match element {
                Some(element) => drop(elements.insert(name.clone(), element)),
                None => drop(elements.remove(name)),
            }
        }
        // What a stream's first entry is, follows from its entries: a base that says otherwise looks like a trim.
        if let Body::Stream {
            first,
            last_id,
            entries: Some(entries),
        } = &mut self.body
        {
            let ids = entries.keys().filter_map(|name| StreamId::parse(name));
            *first = ids.min().unwrap_or(*last_id);
        }
    }

    /// The elements, to be changed, where they are remembered one by one.
    pub fn elements_mut(&mut self) -> Option<&mut BTreeMap<Bytes, ElementMemory>> {
        match &mut self.body {
            Body::Elements(elements) => Some(elements),
            Body::Stream { entries, .. } => entries.as_mut(),
            Body::Whole | Body::Counter(_) | Body::List { .. } => None,
        }
    }
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
