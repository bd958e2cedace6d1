//! The canonical digest formulas: from values, and piece by piece from a read buffer.
//!
//! ```text
//! string       H(v 's' bytes)                    HyperLogLog  H(v 'y' registers)
//! list         H(v 'l' (len bytes)* count)       module       H(v 'o' len type body)
//! set, hash,   H(v kind element*)                few elements, in the order of their names
//! zset         H(v kind count sum)               many, where sum = Σ H(v kind-of-element element) mod 2^256
//! stream       H(v 'r' count sum last-id groups)
//! entry        H(v 'n' position expiry digest key)
//!
//! kinds        few 'T' 'H' 'Z', many 't' 'h' 'z', elements 'e' 'f' 'm', in the order set, hash, zset
//! elements     member: n name      field: n name (2 × length + 1 if it ends) value [expiry]      scored: n name score
//! ```
//!
//! `v` is [`DIGEST_FORMAT`], H is blake3 keyed with the run's secret, lengths, counts and times are u64 little-endian;
//! within elements, lengths are seven bits per byte, the least first, and a score is the bits of its double. Few are
//! at most [`super::FEW_ELEMENTS`] that take at most [`super::FEW_BYTES`] together.

use super::elements::LEAD;
use super::{
    DIGEST_FORMAT, DigestKey, ElementRef, Elements, EntryRef, Field, Opaque, Registers, Shape,
    Stream, StreamId, Sum, Value, ValueDigest,
};

/// Inputs up to this many bytes are gathered in one buffer: one call is faster than several updates.
const GATHER_LIMIT: usize = 4096;

/// Digests values, elements and entries with one secret; reuses its memory.
#[derive(Debug, Clone)]
pub struct Digester {
    key: DigestKey,
    buffer: Vec<u8>,
    spare: Option<Elements>,
}

impl Digester {
    /// A digester with this secret.
    pub fn new(key: DigestKey) -> Self {
        Self {
            key,
            buffer: Vec::with_capacity(GATHER_LIMIT),
            spare: None,
        }
    }

    /// The digest of a whole value.
    pub fn value(&mut self, value: &Value) -> ValueDigest {
        match value {
            Value::String(bytes) => self.string(bytes),
            Value::List(elements) => {
                let mut list = self.list();
                elements.iter().for_each(|element| list.push(element));
                list.finish()
            }
            Value::Set(members) => {
                let members = members.iter();
                self.collection(Shape::Set, members.map(|name| ElementRef::Member(name)))
            }
            Value::Hash(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, Field { value, expiry })| ElementRef::Field(name, value, *expiry));
                self.collection(Shape::Hash, fields)
            }
            Value::SortedSet(members) => {
                let members = members.iter();
                let scored = members.map(|(name, score)| ElementRef::Scored(name, *score));
                self.collection(Shape::SortedSet, scored)
            }
            Value::Stream(stream) => self.whole_stream(stream),
            Value::Module(opaque) => self.module(opaque),
        }
    }

    /// The digest of a string. A valid HyperLogLog is digested by its registers, so its encoding and cached
    /// cardinality do not count.
    pub fn string(&mut self, bytes: &[u8]) -> ValueDigest {
        if let Some(registers) = Registers::parse(bytes) {
            return self.short(b'y', &[registers.as_slice()]);
        }
        if bytes.len() <= GATHER_LIMIT {
            return self.short(b's', &[bytes]);
        }
        let mut long = self.long_string();
        long.push(bytes);
        long.finish()
    }

    /// Starts the digest of a string that comes in pieces. It must not be a HyperLogLog: those are short.
    pub fn long_string(&self) -> StringDigest {
        StringDigest {
            hasher: self.start(b's'),
        }
    }

    /// Starts the digest of a list.
    pub fn list(&self) -> ListDigest {
        ListDigest {
            hasher: self.start(b'l'),
            count: 0,
        }
    }

    /// The digest of a module's value: its type and payload without the footer.
    pub fn module(&mut self, opaque: &Opaque) -> ValueDigest {
        let length = (opaque.type_name.len() as u64).to_le_bytes();
        self.short(b'o', &[&length, &opaque.type_name, opaque.body()])
    }

    /// Starts the digest of a collection whose elements come one by one.
    pub fn elements(&mut self, shape: Shape) -> Elements {
        Elements::reusing(self.spare.take(), shape)
    }

    /// Adds an element to a collection of its shape. Each comes once, in any order.
    #[inline]
    pub fn add(&mut self, elements: &mut Elements, element: &ElementRef<'_>) {
        debug_assert_eq!(element.shape(), elements.shape);
        if let Some(sum) = &mut elements.sum {
            self.add_to_sum(sum, element);
        } else if !elements.keep(element) {
            self.sum_up(elements);
        }
    }

    /// Few have become many.
    fn sum_up(&mut self, elements: &mut Elements) {
        let mut sum = Sum::EMPTY;
        for kept in elements.kept() {
            sum.add(self.full(element_tag(elements.shape), &[kept]).as_bytes());
        }
        elements.clear();
        elements.sum = Some(sum);
    }

    /// The digest of the collection.
    pub fn finish(&mut self, mut elements: Elements) -> ValueDigest {
        let (few, many) = collection_tags(elements.shape);
        let digest = if let Some(sum) = elements.sum {
            self.summed(many, &sum, &[])
        } else if elements.in_order {
            elements.encoded[..LEAD].copy_from_slice(&[DIGEST_FORMAT, few]);
            let digest = blake3::keyed_hash(self.key.secret(), &elements.encoded);
            ValueDigest::truncated(&digest)
        } else {
            self.begin(few);
            elements.append_sorted(&mut self.buffer);
            ValueDigest::truncated(&self.end())
        };
        self.spare = Some(elements);
        digest
    }

    /// The digest of the collection that holds this element alone.
    pub fn lone(&mut self, element: &ElementRef<'_>) -> ValueDigest {
        let mut elements = self.elements(element.shape());
        self.add(&mut elements, element);
        self.finish(elements)
    }

    /// Adds the digest of an element to a sum of such.
    pub fn add_to_sum(&mut self, sum: &mut Sum, element: &ElementRef<'_>) {
        self.begin(element_tag(element.shape()));
        element.encode(&mut self.buffer);
        sum.add(self.end().as_bytes());
    }

    /// Adds a stream entry to the sum of its stream; `pairs` yields names and values in turn.
    pub fn add_stream_entry<'a>(
        &mut self,
        sum: &mut Sum,
        id: StreamId,
        pairs: impl Iterator<Item = &'a [u8]>,
    ) {
        self.begin(b'x');
        self.buffer.extend_from_slice(&id.ms.to_le_bytes());
        self.buffer.extend_from_slice(&id.seq.to_le_bytes());
        for part in pairs {
            self.buffer
                .extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.buffer.extend_from_slice(part);
        }
        sum.add(self.end().as_bytes());
    }

    /// The digest of a stream from the sum of its entries, its last ID and its groups' names, in any order.
    pub fn stream<'a>(
        &mut self,
        entries: &Sum,
        last_id: StreamId,
        groups: impl Iterator<Item = &'a [u8]>,
    ) -> ValueDigest {
        let mut names = Sum::EMPTY;
        for group in groups {
            names.add(self.full(b'g', &[group]).as_bytes());
        }
        let (ms, seq) = (last_id.ms.to_le_bytes(), last_id.seq.to_le_bytes());
        let (count, sum) = (names.count.to_le_bytes(), names.to_bytes());
        self.summed(b'r', entries, &[&ms, &seq, &count, &sum])
    }

    /// The full digest of an entry: what the tree sums.
    pub fn entry(&mut self, entry: &EntryRef<'_>) -> [u8; 32] {
        let position = entry.position.bits().to_le_bytes();
        let expiry = entry.expiry.as_millis().to_le_bytes();
        *self
            .full(
                b'n',
                &[&position, &expiry, entry.digest.as_bytes(), entry.key],
            )
            .as_bytes()
    }

    fn whole_stream(&mut self, stream: &Stream) -> ValueDigest {
        let mut sum = Sum::EMPTY;
        for (id, pairs) in &stream.entries {
            let parts = pairs
                .iter()
                .flat_map(|(name, value)| [&name[..], &value[..]]);
            self.add_stream_entry(&mut sum, *id, parts);
        }
        self.stream(
            &sum,
            stream.last_id,
            stream.groups.keys().map(|name| &name[..]),
        )
    }

    fn collection<'a>(
        &mut self,
        shape: Shape,
        all: impl Iterator<Item = ElementRef<'a>>,
    ) -> ValueDigest {
        let mut elements = self.elements(shape);
        all.for_each(|element| self.add(&mut elements, &element));
        self.finish(elements)
    }

    fn summed(&mut self, tag: u8, sum: &Sum, extras: &[&[u8]]) -> ValueDigest {
        self.begin(tag);
        self.buffer.extend_from_slice(&sum.count.to_le_bytes());
        self.buffer.extend_from_slice(&sum.to_bytes());
        extras
            .iter()
            .for_each(|extra| self.buffer.extend_from_slice(extra));
        ValueDigest::truncated(&self.end())
    }

    fn short(&mut self, tag: u8, parts: &[&[u8]]) -> ValueDigest {
        ValueDigest::truncated(&self.full(tag, parts))
    }

    fn full(&mut self, tag: u8, parts: &[&[u8]]) -> blake3::Hash {
        self.begin(tag);
        parts
            .iter()
            .for_each(|part| self.buffer.extend_from_slice(part));
        self.end()
    }

    fn begin(&mut self, tag: u8) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[DIGEST_FORMAT, tag]);
    }

    fn end(&mut self) -> blake3::Hash {
        let digest = blake3::keyed_hash(self.key.secret(), &self.buffer);
        self.buffer.shrink_to(GATHER_LIMIT);
        digest
    }

    fn start(&self, tag: u8) -> Box<blake3::Hasher> {
        let mut hasher = Box::new(blake3::Hasher::new_keyed(self.key.secret()));
        hasher.update(&[DIGEST_FORMAT, tag]);
        hasher
    }
}

/// What leads the digests of collections with few and with many elements.
fn collection_tags(shape: Shape) -> (u8, u8) {
    match shape {
        Shape::Set => (b'T', b't'),
        Shape::Hash => (b'H', b'h'),
        Shape::SortedSet => (b'Z', b'z'),
    }
}

/// What leads the digest of an element of many.
fn element_tag(shape: Shape) -> u8 {
    match shape {
        Shape::Set => b'e',
        Shape::Hash => b'f',
        Shape::SortedSet => b'm',
    }
}

/// The digest of a string that comes in pieces.
#[derive(Debug)]
pub struct StringDigest {
    hasher: Box<blake3::Hasher>,
}

impl StringDigest {
    /// Adds the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> ValueDigest {
        ValueDigest::truncated(&self.hasher.finalize())
    }
}

/// The digest of a list that comes element by element, head first.
#[derive(Debug)]
pub struct ListDigest {
    hasher: Box<blake3::Hasher>,
    count: u64,
}

impl ListDigest {
    /// Adds the next element.
    pub fn push(&mut self, element: &[u8]) {
        self.hasher.update(&(element.len() as u64).to_le_bytes());
        self.hasher.update(element);
        self.count += 1;
    }

    /// The digest of the list.
    pub fn finish(mut self) -> ValueDigest {
        self.hasher.update(&self.count.to_le_bytes());
        ValueDigest::truncated(&self.hasher.finalize())
    }
}

#[cfg(test)]
mod tests;
