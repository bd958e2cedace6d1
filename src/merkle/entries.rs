//! The entries of one replica, or the elements of one collection, in little memory: 48 bytes and the key each.
//!
//! ```text
//! records  [ position | key: offset 40, length 16, kind 4, flags 4 | expiry | value digest ] 48 bytes each
//! arena    [ key bytes ][ key bytes ][ length as u64, key bytes ]...
//! ```
//!
//! Both vectors grow by plain doubling: large ones move by remapping pages, and capacity not yet touched takes no
//! memory.

use std::cmp::{Ordering, Reverse};
use std::ops::Range;

use rayon::slice::ParallelSliceMut;

use crate::model::{EntryRef, Expiry, Kind, Position, PositionRange, ValueDigest};

// Where the parts of a packed key reference begin, from its least bit: flags, kind, length, offset.
const KIND_SHIFT: u32 = 4;
const LENGTH_SHIFT: u32 = 8;
const OFFSET_SHIFT: u32 = 24;
const ARENA_LIMIT: u64 = 1 << (u64::BITS - OFFSET_SHIFT);

/// This length says that the real one stands in the arena, before the key.
const LENGTH_IN_ARENA: u64 = (1 << (OFFSET_SHIFT - LENGTH_SHIFT)) - 1;
const LENGTH_PREFIX: usize = size_of::<u64>();

const UNREADABLE: u64 = 1;

/// What one replica lists under a key. A key that is absent is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed<'a> {
    /// An entry.
    Readable(EntryRef<'a>),
    /// The key is there, but its value could not be read: it is neither absent nor equal to anything.
    Unreadable {
        /// Where the key lies.
        position: Position,
        /// The key's bytes.
        key: &'a [u8],
    },
}

impl<'a> Listed<'a> {
    /// Where the key lies.
    pub fn position(&self) -> Position {
        match self {
            Self::Readable(entry) => entry.position,
            Self::Unreadable { position, .. } => *position,
        }
    }

    /// The key's bytes.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Self::Readable(entry) => entry.key,
            Self::Unreadable { key, .. } => key,
        }
    }
}

/// Where a key's bytes stand, its kind and its flags, in one number.
#[derive(Debug, Clone, Copy)]
struct Packed(u64);

impl Packed {
    fn new(offset: usize, length: u64, kind: Kind, flags: u64) -> Self {
        let offset = offset as u64;
        assert!(
            offset < ARENA_LIMIT,
            "the keys of one side take at most 1 TiB"
        );
        let kind = (kind as u64) << KIND_SHIFT;
        Self(offset << OFFSET_SHIFT | length << LENGTH_SHIFT | kind | flags)
    }

    fn offset(self) -> usize {
        (self.0 >> OFFSET_SHIFT) as usize
    }

    fn length(self) -> u64 {
        self.0 >> LENGTH_SHIFT & LENGTH_IN_ARENA
    }

    fn kind(self) -> Kind {
        Kind::ALL[(self.0 >> KIND_SHIFT & 0xf) as usize]
    }

    fn is_unreadable(self) -> bool {
        self.0 & UNREADABLE != 0
    }
}

#[derive(Debug, Clone, Copy)]
struct Record {
    position: Position,
    packed: Packed,
    expiry: i64,
    digest: ValueDigest,
}

/// Entries as they come in, in any order and some of them twice.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    records: Vec<Record>,
    arena: Vec<u8>,
}

impl Entries {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: EntryRef<'_>) {
        let packed = self.store(entry.key, entry.kind, 0);
        self.records.push(Record {
            position: entry.position,
            packed,
            expiry: entry.expiry.as_millis(),
            digest: entry.digest,
        });
    }

    /// Adds a key whose value could not be read.
    pub fn push_unreadable(&mut self, position: Position, key: &[u8]) {
        let packed = self.store(key, Kind::Module, UNREADABLE);
        self.records.push(Record {
            position,
            packed,
            expiry: 0,
            digest: ValueDigest::from_bytes([0; ValueDigest::LENGTH]),
        });
    }

    /// Adds all entries of another list behind these, as if pushed now: shards of a replica come together so.
    pub fn append(&mut self, other: &Self) {
        self.records.reserve(other.len());
        other.iter().for_each(|listed| match listed {
            Listed::Readable(entry) => self.push(entry),
            Listed::Unreadable { position, key } => self.push_unreadable(position, key),
        });
    }

    /// How many were pushed.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes in use, not counting capacity that was never touched.
    pub fn memory_bytes(&self) -> usize {
        self.arena.len() + self.records.len() * size_of::<Record>()
    }

    /// The entry that was pushed as the `index`th, from 0.
    pub fn get(&self, index: usize) -> Listed<'_> {
        self.listed(&self.records[index])
    }

    /// All entries as they were pushed.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Listed<'_>> {
        self.records.iter().map(|record| self.listed(record))
    }

    /// Sorts the entries by position and key. Of a key that SCAN answered twice, what was pushed last counts.
    ///
    /// # Cost
    /// O(n log n) in place, on all threads of the current rayon pool.
    pub fn seal(mut self) -> SealedEntries {
        let arena = &self.arena;
        self.records
            .par_sort_unstable_by(|a, b| in_order(arena, a, b));
        self.records.dedup_by(|later, first| {
            later.position == first.position
                && key_of(arena, later.packed) == key_of(arena, first.packed)
        });
        SealedEntries(self)
    }

    /// SUBTLE: every key takes at least one byte of the arena, so offsets are in the order of pushing.
    fn store(&mut self, key: &[u8], kind: Kind, flags: u64) -> Packed {
        let offset = self.arena.len();
        let length = key.len() as u64;
        let short = length > 0 && length < LENGTH_IN_ARENA;
        if !short {
            self.arena.extend_from_slice(&length.to_le_bytes());
        }
        self.arena.extend_from_slice(key);
        Packed::new(
            offset,
            if short { length } else { LENGTH_IN_ARENA },
            kind,
            flags,
        )
    }

    fn listed(&self, record: &Record) -> Listed<'_> {
        let key = key_of(&self.arena, record.packed);
        let position = record.position;
        if record.packed.is_unreadable() {
            return Listed::Unreadable { position, key };
        }
        Listed::Readable(EntryRef {
            position,
            key,
            kind: record.packed.kind(),
            digest: record.digest,
            expiry: Expiry::from_millis(record.expiry),
        })
    }
}

/// By position, then key; of the same key, what was pushed last comes first, to be the one that stays.
#[inline]
fn in_order(arena: &[u8], a: &Record, b: &Record) -> Ordering {
    match a.position.cmp(&b.position) {
        Ordering::Equal => in_order_of_keys(arena, a, b),
        order => order,
    }
}

/// Kept apart: positions are hardly ever equal, and comparing them alone is what sorting is made of.
#[cold]
fn in_order_of_keys(arena: &[u8], a: &Record, b: &Record) -> Ordering {
    let keys = key_of(arena, a.packed).cmp(key_of(arena, b.packed));
    keys.then_with(|| Reverse(a.packed.offset()).cmp(&Reverse(b.packed.offset())))
}

fn key_of(arena: &[u8], packed: Packed) -> &[u8] {
    let offset = packed.offset();
    if packed.length() != LENGTH_IN_ARENA {
        return &arena[offset..offset + packed.length() as usize];
    }
    let mut length = [0; LENGTH_PREFIX];
    length.copy_from_slice(&arena[offset..offset + LENGTH_PREFIX]);
    let start = offset + LENGTH_PREFIX;
    &arena[start..start + u64::from_le_bytes(length) as usize]
}

/// Entries in the order of position and key, each key once.
#[derive(Debug, Clone, Default)]
pub struct SealedEntries(Entries);

impl SealedEntries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes in use, not counting capacity that was never touched.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    /// The `index`th entry in order, from 0.
    pub fn get(&self, index: usize) -> Listed<'_> {
        self.0.get(index)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Listed<'_>> {
        self.0.iter()
    }

    /// What is listed under this key.
    pub fn find(&self, position: Position, key: &[u8]) -> Option<Listed<'_>> {
        let records = &self.0.records;
        let index = records.binary_search_by(|record| {
            let keys = || key_of(&self.0.arena, record.packed).cmp(key);
            record.position.cmp(&position).then_with(keys)
        });
        index.ok().map(|index| self.get(index))
    }

    /// The indexes of the entries in a range of positions.
    pub fn indexes(&self, range: PositionRange) -> Range<usize> {
        self.indexes_within(range, 0..self.len())
    }

    /// Reads the first byte of each of these keys, so that the caches miss on many at once and not one by one.
    pub(super) fn warm(&self, indexes: Range<usize>) {
        let offsets = self.0.records[indexes]
            .iter()
            .map(|record| record.packed.offset());
        let touched = offsets.fold(0, |all, offset| all ^ self.0.arena[offset]);
        std::hint::black_box(touched);
    }

    /// The same, where the answer is known to lie within `bounds`.
    pub(super) fn indexes_within(
        &self,
        range: PositionRange,
        bounds: Range<usize>,
    ) -> Range<usize> {
        let records = &self.0.records[bounds.clone()];
        let start = records.partition_point(|record| record.position < range.start);
        let end = range.end.map_or(records.len(), |end| {
            start + records[start..].partition_point(|record| record.position < end)
        });
        bounds.start + start..bounds.start + end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::fixture::{Keys, entries_of, listed, numbered, push, sides};
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    #[test]
    fn a_record_takes_48_bytes_and_an_entry_its_key_on_top() {
        assert_eq!(size_of::<Record>(), 48);
        let mut entries = Entries::new();
        push(&mut entries, b"0123456789", Some((1, 1)));
        push(&mut entries, b"a", None);
        assert_eq!(entries.memory_bytes(), 48 + 10 + 48 + 1);
    }

    #[test]
    fn every_kind_survives_its_packing() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "kinds are packed by their order");
            assert_eq!(Packed::new(7, 3, kind, UNREADABLE).kind(), kind);
        }
    }

    #[test]
    fn keys_of_any_length_come_back() {
        let mut entries = Entries::new();
        let keys = [0, 1, 0xfffe, 0xffff, 0x1_0000, 0x2_0001].map(|length| vec![b'k'; length]);
        for key in &keys {
            push(&mut entries, key, Some((1, 1)));
        }
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(entries.get(index), listed(key, Some((1, 1))));
        }
        let sealed = entries.seal();
        for key in &keys {
            assert_eq!(
                sealed.find(Position::of(key), key),
                Some(listed(key, Some((1, 1))))
            );
        }
    }

    #[test]
    fn of_a_key_that_scan_answers_twice_the_last_answer_counts() {
        let long = vec![b'l'; 0x1_0000];
        for key in [&b""[..], b"foo", b"same:a", &long] {
            let mut entries = Entries::new();
            push(&mut entries, key, Some((1, 1)));
            push(&mut entries, b"other", Some((5, 5)));
            push(&mut entries, key, None);
            push(&mut entries, key, Some((2, 2)));
            let sealed = entries.seal();
            assert_eq!(sealed.len(), 2);
            let found = sealed.find(listed(key, None).position(), key);
            assert_eq!(found, Some(listed(key, Some((2, 2)))));
        }
    }

    #[test]
    fn an_expiry_of_never_comes_back() {
        let mut entries = Entries::new();
        let Listed::Readable(entry) = listed(b"k", Some((1, 1))) else {
            unreachable!("it is readable");
        };
        let lasting = EntryRef {
            expiry: Expiry::Never,
            ..entry
        };
        entries.push(lasting);
        assert_eq!(entries.get(0), Listed::Readable(lasting));
    }

    #[test]
    fn ranges_hold_exactly_their_positions() {
        let sealed = entries_of(&numbered("", 200)).seal();
        let positions: Vec<Position> = sealed.iter().map(|listed| listed.position()).collect();
        let range = PositionRange {
            start: positions[50],
            end: Some(positions[120]),
        };
        assert_eq!(sealed.indexes(range), 50..120);
        assert_eq!(sealed.indexes(PositionRange::all()), 0..200);
        let backwards = PositionRange {
            start: positions[120],
            end: Some(positions[50]),
        };
        assert!(sealed.indexes(backwards).is_empty());
    }

    proptest! {
        // A case is several hundred keys.
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn sealed_entries_are_all_keys_once_and_in_order(keys in sides(2)) {
            let mut entries = entries_of(&keys[0]);
            entries.append(&entries_of(&keys[1]));
            let mut last: Keys = keys[0].clone();
            last.extend(keys[1].clone());
            let mut expected: Vec<_> = last.iter().map(|(key, held)| listed(key, *held)).collect();
            expected.sort_by_key(|listed| (listed.position(), listed.key()));
            let sealed = entries.seal();
            prop_assert_eq!(sealed.iter().collect::<Vec<_>>(), expected);
        }
    }
}
