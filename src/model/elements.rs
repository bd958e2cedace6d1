//! The elements of a set, hash or sorted set as they come in, on the way to one digest.
//!
//! ```text
//! few    [ element ][ element ][ element ]     kept as bytes, sorted by name at the end, digested in one go
//! many   Σ                                     each digested when it comes, only the sum is kept
//! ```
//!
//! Which of both it is depends on the finished collection alone, not on the order in which its elements came: at the
//! first element beyond [`FEW_ELEMENTS`] or [`FEW_BYTES`] what was kept is summed up, and there is no way back.

use super::{Expiry, Score, Sum};

/// A collection of more elements than this is digested by the sum of their digests.
pub const FEW_ELEMENTS: usize = 64;

/// So is one whose elements take more bytes than this in their encoding.
pub const FEW_BYTES: usize = 4096;

/// One element, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ElementRef<'a> {
    /// A set's member.
    Member(&'a [u8]),
    /// A hash's field: its name, its value, and when it ends.
    Field(&'a [u8], &'a [u8], Expiry),
    /// A sorted set's member.
    Scored(&'a [u8], Score),
}

impl ElementRef<'_> {
    /// The kind of collection that has such elements.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Member(_) => Shape::Set,
            Self::Field(..) => Shape::Hash,
            Self::Scored(..) => Shape::SortedSet,
        }
    }

    /// Appends the element, the length of every part first: no two elements in a row read like two others.
    #[inline]
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Member(name) => put_part(out, name),
            Self::Field(name, value, expiry) => {
                put_part(out, name);
                let ends = expiry != Expiry::Never;
                put_number(out, (value.len() as u64) << 1 | u64::from(ends));
                out.extend_from_slice(value);
                if ends {
                    out.extend_from_slice(&expiry.as_millis().to_le_bytes());
                }
            }
            Self::Scored(name, score) => {
                put_part(out, name);
                out.extend_from_slice(&score.get().to_bits().to_le_bytes());
            }
        }
    }

    fn name(&self) -> &[u8] {
        match self {
            Self::Member(name) | Self::Field(name, ..) | Self::Scored(name, _) => name,
        }
    }
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    put_number(out, part.len() as u64);
    out.extend_from_slice(part);
}

/// Seven bits per byte, the least significant first; the last byte is below 128.
#[inline]
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A kind of collection whose elements have names and no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A set.
    Set,
    /// A hash.
    Hash,
    /// A sorted set.
    SortedSet,
}

/// The elements of one collection so far, each of which comes once.
#[derive(Debug, Clone)]
pub struct Elements {
    pub(super) shape: Shape,
    /// Two bytes kept free for what leads the digest, then the elements as they came.
    pub(super) encoded: Vec<u8>,
    places: Vec<Place>,
    /// Whether the elements came in the order of their names.
    pub(super) in_order: bool,
    /// Once they are many.
    pub(super) sum: Option<Sum>,
}

/// Where an element stands in the encoding.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The first bytes of its name, zeros behind a short one: few comparisons need more.
    first: u64,
    name: u32,
    name_end: u32,
    start: u32,
    end: u32,
}

/// Bytes of the encoding that stand before the first element.
pub(super) const LEAD: usize = 2;

impl Elements {
    /// No elements, in memory that another collection may have used.
    pub(super) fn reusing(memory: Option<Self>, shape: Shape) -> Self {
        let mut elements = memory.unwrap_or_else(|| Self {
            shape,
            encoded: Vec::with_capacity(FEW_BYTES),
            places: Vec::with_capacity(FEW_ELEMENTS),
            in_order: true,
            sum: None,
        });
        elements.shape = shape;
        elements.clear();
        elements.in_order = true;
        elements.sum = None;
        elements
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.sum.is_none()
    }

    /// Keeps an element. False: they are too many to be kept, this one included.
    #[inline]
    pub(super) fn keep(&mut self, element: &ElementRef<'_>) -> bool {
        let start = self.encoded.len();
        element.encode(&mut self.encoded);
        let name = element.name();
        let name_start = start + number_length(name.len());
        let place = Place {
            first: first_bytes(name),
            name: name_start as u32,
            name_end: (name_start + name.len()) as u32,
            start: start as u32,
            end: self.encoded.len() as u32,
        };
        self.in_order &= self
            .places
            .last()
            .is_none_or(|last| self.before(last, &place));
        self.places.push(place);
        self.places.len() <= FEW_ELEMENTS && self.encoded.len() - LEAD <= FEW_BYTES
    }

    /// The encodings of the kept elements, in no order.
    pub(super) fn kept(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| self.encoding(place))
    }

    /// Appends the kept elements in the order of their names.
    pub(super) fn append_sorted(&mut self, out: &mut Vec<u8>) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|one, other| {
            let names = || self.name(one).cmp(self.name(other));
            one.first.cmp(&other.first).then_with(names)
        });
        places
            .iter()
            .for_each(|place| out.extend_from_slice(self.encoding(place)));
        self.places = places;
    }

    /// Forgets the kept elements.
    pub(super) fn clear(&mut self) {
        self.encoded.clear();
        self.encoded.shrink_to(2 * FEW_BYTES);
        self.encoded.extend_from_slice(&[0; LEAD]);
        self.places.clear();
    }

    fn before(&self, one: &Place, other: &Place) -> bool {
        one.first < other.first || one.first == other.first && self.name(one) < self.name(other)
    }

    fn name(&self, place: &Place) -> &[u8] {
        &self.encoded[place.name as usize..place.name_end as usize]
    }

    fn encoding(&self, place: &Place) -> &[u8] {
        &self.encoded[place.start as usize..place.end as usize]
    }
}

/// Bytes that [`put_number`] takes.
fn number_length(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

fn first_bytes(name: &[u8]) -> u64 {
    if let Some(first) = name.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let missing = 8 * (size_of::<u64>() - name.len()) as u32;
    let first = name
        .iter()
        .fold(0, |first, byte| first << 8 | u64::from(*byte));
    first.checked_shl(missing).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_as_many_bytes_as_said() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 40] {
            let mut out = Vec::new();
            put_number(&mut out, number as u64);
            assert_eq!(out.len(), number_length(number), "{number}");
        }
    }

    #[test]
    fn names_are_sorted_whatever_their_first_bytes() {
        let names: [&[u8]; 6] = [b"a\0", b"", b"a", b"12345678b", b"12345678a", b"\0"];
        let mut elements = Elements::reusing(None, Shape::Set);
        assert!(
            names
                .iter()
                .all(|name| elements.keep(&ElementRef::Member(name)))
        );
        let mut sorted = Vec::new();
        elements.append_sorted(&mut sorted);
        assert!(!elements.in_order);
        assert_eq!(sorted, b"\0\x01\0\x0912345678a\x0912345678b\x01a\x02a\0");
    }
}
