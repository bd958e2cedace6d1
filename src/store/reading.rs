//! A value as it comes in, page by page: its digest, and the value itself while it is small enough to keep.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;

use crate::model::{
    Digester, ElementRef, Elements, Expiry, Field, Kind, ListDigest, Opaque, Position, State,
    Stream, StreamId, StringDigest, Sum, Value, ValueDigest,
};

use super::page::{Described, Item};
use super::{LargeState, Observed, Piece, WHOLE_BYTES, WHOLE_ELEMENTS};

/// One value that is being read.
pub(crate) struct Reading {
    kind: Kind,
    type_name: Bytes,
    expiry: Expiry,
    so_far: SoFar,
    whole: Option<Value>,
    names: Option<HashSet<u64>>,
    elements: u64,
    bytes: usize,
    stream_end: (StreamId, BTreeMap<Bytes, StreamId>),
}

/// The digest as far as the pages came.
enum SoFar {
    Nothing,
    Short(ValueDigest),
    String(StringDigest),
    List(ListDigest),
    Elements(Elements),
    Stream(Sum),
}

impl Reading {
    /// A value of which nothing was read. `keep` holds on to the value as long as it is small.
    pub(crate) fn new(described: &Described, keep: bool) -> Self {
        let mut reading = Self::digesting(described.kind, &described.type_name, described.expiry);
        reading.whole = keep.then(|| void(described.kind));
        reading
    }

    /// A value of which nothing was read and nothing but the digest is wanted.
    pub(crate) fn digesting(kind: Kind, type_name: &Bytes, expiry: Expiry) -> Self {
        Self {
            kind,
            type_name: type_name.clone(),
            expiry,
            so_far: SoFar::Nothing,
            whole: None,
            names: None,
            elements: 0,
            bytes: 0,
            stream_end: (StreamId::MIN, BTreeMap::new()),
        }
    }

    /// Drops elements that come twice from here on: SCAN repeats some while the server resizes a table.
    pub(crate) fn without_duplicates(mut self) -> Self {
        self.names = Some(HashSet::new());
        self
    }

    /// How many elements came so far; bytes for strings.
    pub(crate) fn length(&self) -> u64 {
        if self.kind == Kind::String {
            self.bytes as u64
        } else {
            self.elements
        }
    }

    /// Takes one item of a page in. `last` says that no other page follows: a string that came whole may be a
    /// HyperLogLog.
    pub(crate) fn take(&mut self, item: Item<'_>, last: bool, digester: &mut Digester) {
        if let (Some(names), Some(name)) = (&mut self.names, name_of(&item))
            && !names.insert(Position::of_element(name).bits())
        {
            return;
        }
        self.elements += 1;
        self.bytes += size_of(&item);
        self.digest(item, last, digester);
        if self.whole.is_some() {
            self.keep(item);
        }
    }

    /// Takes a stream's last ID and groups in.
    pub(crate) fn take_stream_end(&mut self, last_id: StreamId, groups: Vec<(Vec<u8>, StreamId)>) {
        let groups: BTreeMap<Bytes, StreamId> = groups
            .into_iter()
            .map(|(name, id)| (Bytes::from(name), id))
            .collect();
        if let Some(Value::Stream(stream)) = &mut self.whole {
            stream.last_id = last_id;
            stream.groups = groups.clone();
        }
        self.stream_end = (last_id, groups);
    }

    /// The value that was kept, if it was small enough.
    pub(crate) fn into_whole(self) -> Option<Value> {
        self.whole
    }

    /// The digest of what came, or nothing for a collection without elements, which is no value.
    pub(crate) fn digest_of_all(&mut self, digester: &mut Digester) -> Option<ValueDigest> {
        match (
            std::mem::replace(&mut self.so_far, SoFar::Nothing),
            self.kind,
        ) {
            (SoFar::Short(digest), _) => Some(digest),
            (SoFar::String(pieces), _) => Some(pieces.finish()),
            (SoFar::List(list), _) => Some(list.finish()),
            (SoFar::Elements(elements), _) => Some(digester.finish(elements)),
            (SoFar::Stream(sum), _) => Some(self.stream_digest(&sum, digester)),
            (SoFar::Nothing, Kind::Stream) => Some(self.stream_digest(&Sum::EMPTY, digester)),
            (SoFar::Nothing, _) => None,
        }
    }

    /// What the replica holds: whole if it was kept, else its digest.
    pub(crate) fn finish(mut self, digester: &mut Digester) -> Observed {
        let Some(digest) = self.digest_of_all(digester) else {
            return Observed::Absent;
        };
        match self.whole {
            Some(value) => Observed::Whole(State {
                value,
                expiry: self.expiry,
            }),
            None => Observed::Large(LargeState {
                kind: self.kind,
                digest,
                expiry: self.expiry,
                length: if self.kind == Kind::String {
                    self.bytes as u64
                } else {
                    self.elements
                },
            }),
        }
    }

    fn stream_digest(&self, sum: &Sum, digester: &mut Digester) -> ValueDigest {
        let (last_id, groups) = &self.stream_end;
        digester.stream(sum, *last_id, groups.keys().map(|name| &name[..]))
    }

    fn digest(&mut self, item: Item<'_>, last: bool, digester: &mut Digester) {
        match item {
            Item::Bytes(piece) => self.digest_piece(piece, last, digester),
            Item::Element(element) => {
                if matches!(self.so_far, SoFar::Nothing) {
                    self.so_far = SoFar::List(digester.list());
                }
                if let SoFar::List(list) = &mut self.so_far {
                    list.push(element);
                }
            }
            Item::Entry(id, pairs) => {
                if matches!(self.so_far, SoFar::Nothing) {
                    self.so_far = SoFar::Stream(Sum::EMPTY);
                }
                if let SoFar::Stream(sum) = &mut self.so_far {
                    digester.add_stream_entry(sum, id, pairs);
                }
            }
            Item::Field(..) | Item::Member(_) | Item::Scored(..) => {
                if let Some(element) = element_of(&item) {
                    self.digest_element(&element, digester);
                }
            }
        }
    }

    fn digest_element(&mut self, element: &ElementRef<'_>, digester: &mut Digester) {
        if matches!(self.so_far, SoFar::Nothing) {
            self.so_far = SoFar::Elements(digester.elements(element.shape()));
        }
        if let SoFar::Elements(elements) = &mut self.so_far {
            digester.add(elements, element);
        }
    }

    fn digest_piece(&mut self, piece: &[u8], last: bool, digester: &mut Digester) {
        if self.kind == Kind::Module {
            let opaque = Opaque {
                type_name: self.type_name.clone(),
                payload: Bytes::copy_from_slice(piece),
            };
            self.so_far = SoFar::Short(digester.module(&opaque));
            return;
        }
        if last && matches!(self.so_far, SoFar::Nothing) {
            self.so_far = SoFar::Short(digester.string(piece));
            return;
        }
        if matches!(self.so_far, SoFar::Nothing) {
            self.so_far = SoFar::String(digester.long_string());
        }
        if let SoFar::String(pieces) = &mut self.so_far {
            pieces.push(piece);
        }
    }

    fn keep(&mut self, item: Item<'_>) {
        let fits = self.bytes <= WHOLE_BYTES && self.elements as usize <= WHOLE_ELEMENTS;
        // A module's value cannot be read in pieces: it is kept whatever its size.
        if !fits && self.kind != Kind::Module {
            self.whole = None;
        }
        let copy = Bytes::copy_from_slice;
        match (&mut self.whole, item) {
            (Some(Value::String(kept)), Item::Bytes(piece)) => {
                *kept = if kept.is_empty() {
                    copy(piece)
                } else {
                    [&kept[..], piece].concat().into()
                };
            }
            (Some(Value::Module(opaque)), Item::Bytes(payload)) => {
                *opaque = Opaque {
                    type_name: self.type_name.clone(),
                    payload: copy(payload),
                };
            }
            (Some(Value::List(kept)), Item::Element(element)) => kept.push(copy(element)),
            (Some(Value::Hash(kept)), Item::Field(name, value, expiry)) => {
                let value = copy(value);
                kept.insert(copy(name), Field { value, expiry });
            }
            (Some(Value::Set(kept)), Item::Member(member)) => {
                kept.insert(copy(member));
            }
            (Some(Value::SortedSet(kept)), Item::Scored(member, score)) => {
                kept.insert(copy(member), score);
            }
            (Some(Value::Stream(stream)), Item::Entry(id, pairs)) => {
                stream.entries.insert(id, copy_pairs(pairs));
            }
            _ => {}
        }
    }
}

/// A value of this kind without anything in it.
pub(crate) fn void(kind: Kind) -> Value {
    match kind {
        Kind::String => Value::String(Bytes::new()),
        Kind::List => Value::List(Vec::new()),
        Kind::Hash => Value::Hash(BTreeMap::new()),
        Kind::Set => Value::Set(BTreeSet::new()),
        Kind::SortedSet => Value::SortedSet(BTreeMap::new()),
        Kind::Stream => Value::Stream(Stream::default()),
        Kind::Module => Value::Module(Opaque {
            type_name: Bytes::new(),
            payload: Bytes::new(),
        }),
    }
}

/// The digest of a collection that holds this item alone: by it, elements are compared.
pub(crate) fn lone_digest(item: &Item<'_>, digester: &mut Digester) -> Option<ValueDigest> {
    if let Item::Entry(id, pairs) = item {
        let mut sum = Sum::EMPTY;
        digester.add_stream_entry(&mut sum, *id, *pairs);
        return Some(digester.stream(&sum, StreamId::MIN, std::iter::empty()));
    }
    element_of(item).map(|element| digester.lone(&element))
}

/// The element of a set, hash or sorted set that an item is.
#[inline]
pub(crate) fn element_of<'a>(item: &Item<'a>) -> Option<ElementRef<'a>> {
    match *item {
        Item::Field(name, value, expiry) => Some(ElementRef::Field(name, value, expiry)),
        Item::Member(member) => Some(ElementRef::Member(member)),
        Item::Scored(member, score) => Some(ElementRef::Scored(member, score)),
        Item::Bytes(_) | Item::Element(_) | Item::Entry(..) => None,
    }
}

/// A piece of this kind without anything in it.
pub(crate) fn empty_piece(kind: Kind) -> Piece {
    match kind {
        Kind::String | Kind::Module => Piece::Bytes(Bytes::new()),
        Kind::List => Piece::Elements(Vec::new()),
        Kind::Hash => Piece::Fields(Vec::new()),
        Kind::Set => Piece::Members(Vec::new()),
        Kind::SortedSet => Piece::Scored(Vec::new()),
        Kind::Stream => Piece::Entries(Vec::new()),
    }
}

/// Copies an item into a piece of its kind.
pub(crate) fn add_to_piece(piece: &mut Piece, item: Item<'_>) {
    let copy = Bytes::copy_from_slice;
    match (piece, item) {
        (Piece::Bytes(bytes), Item::Bytes(more)) => *bytes = copy(more),
        (Piece::Elements(elements), Item::Element(element)) => elements.push(copy(element)),
        (Piece::Fields(fields), Item::Field(name, value, expiry)) => {
            let value = copy(value);
            fields.push((copy(name), Field { value, expiry }));
        }
        (Piece::Members(members), Item::Member(member)) => members.push(copy(member)),
        (Piece::Scored(members), Item::Scored(member, score)) => {
            members.push((copy(member), score))
        }
        (Piece::Entries(entries), Item::Entry(id, pairs)) => entries.push((id, copy_pairs(pairs))),
        _ => {}
    }
}

fn copy_pairs(mut pairs: super::page::Pairs<'_>) -> Vec<(Bytes, Bytes)> {
    let mut copied = Vec::new();
    while let (Some(name), Some(value)) = (pairs.next(), pairs.next()) {
        copied.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
    }
    copied
}

/// The name by which SCAN commands may repeat an item.
fn name_of<'a>(item: &Item<'a>) -> Option<&'a [u8]> {
    match item {
        Item::Field(name, ..) | Item::Member(name) | Item::Scored(name, _) => Some(name),
        Item::Bytes(_) | Item::Element(_) | Item::Entry(..) => None,
    }
}

fn size_of(item: &Item<'_>) -> usize {
    match item {
        Item::Bytes(bytes) | Item::Element(bytes) | Item::Member(bytes) => bytes.len(),
        Item::Field(name, value, _) => name.len() + value.len(),
        Item::Scored(member, _) => member.len() + 8,
        Item::Entry(_, pairs) => 16 + pairs.map(<[u8]>::len).sum::<usize>(),
    }
}
