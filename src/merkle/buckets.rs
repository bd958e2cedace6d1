//! The first pass over replicas that do not fit into memory: a fixed number of sums, whatever the number of keys.
//!
//! Where a bucket's sums differ between sides, a second pass reads the keys of that bucket alone, as many buckets at a
//! time as fit into memory by what the first pass counted. A bucket that is too large by itself (one hash tag puts all
//! its keys into one slot) is refined: a further first pass over its positions alone.

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::model::{Position, Sum};

use super::{Entries, EntryDigester, Listed, Prefix};

/// Entries digested at a time by [`Buckets::fold`]: bounds the digests that stand in memory.
const FOLD_ENTRIES: usize = 1 << 14;

/// The sums of one side's entries by the first bits of their positions.
#[derive(Debug, Clone)]
pub struct Buckets {
    sums: Vec<Sum>,
    /// Bytes of the keys in each bucket: what they will take when they are read.
    key_bytes: Vec<u64>,
    bits: u32,
    below: Prefix,
}

impl Buckets {
    /// The usual number of buckets, as a power of two: 2^16, 3.1 MB per side.
    pub const DEFAULT_BITS: u32 = 16;

    /// The greatest number of buckets, as a power of two.
    pub const MAX_BITS: u32 = 24;

    /// `2^bits` empty buckets over all positions; `bits` from 1 to [`Buckets::MAX_BITS`], else the nearest of these.
    pub fn new(bits: u32) -> Self {
        Self::within(Prefix::ROOT, bits)
    }

    /// Empty buckets over the positions below a prefix; entries elsewhere are left out.
    pub fn within(below: Prefix, bits: u32) -> Self {
        let left = Prefix::MAX_LENGTH - below.length();
        let bits = bits.clamp(1, Self::MAX_BITS).min(left);
        Self {
            sums: vec![Sum::EMPTY; 1 << bits],
            key_bytes: vec![0; 1 << bits],
            bits,
            below,
        }
    }

    /// Adds an entry. A key that SCAN answers twice counts twice: its bucket then differs, which costs a look at it.
    pub fn add(&mut self, listed: &Listed<'_>, digester: &mut EntryDigester) {
        if let Some(bucket) = self.bucket(listed.position()) {
            self.sums[bucket].add(&digester.digest(listed));
            self.key_bytes[bucket] += listed.key().len() as u64;
        }
    }

    /// Adds all entries, digesting on all threads of the current rayon pool.
    pub fn fold(&mut self, entries: &Entries, digester: &EntryDigester) {
        for start in (0..entries.len()).step_by(FOLD_ENTRIES) {
            let indexes = start..entries.len().min(start + FOLD_ENTRIES);
            let digests: Vec<_> = indexes
                .into_par_iter()
                .map_with(digester.clone(), |digester, index| {
                    let listed = entries.get(index);
                    let bucket = self.bucket(listed.position())?;
                    Some((bucket, listed.key().len(), digester.digest(&listed)))
                })
                .collect();
            for (bucket, length, digest) in digests.into_iter().flatten() {
                self.sums[bucket].add(&digest);
                self.key_bytes[bucket] += length as u64;
            }
        }
    }

    /// Adds what another worker summed of the same side.
    ///
    /// # Panics
    /// If the buckets are not over the same positions.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.shape(), other.shape(), "{SAME_SHAPE}");
        for (own, more) in self.sums.iter_mut().zip(&other.sums) {
            *own = own.plus(more);
        }
        for (own, more) in self.key_bytes.iter_mut().zip(&other.key_bytes) {
            *own += more;
        }
    }

    /// The buckets that are not the same on all sides.
    ///
    /// # Panics
    /// If there are no sides, or their buckets are not over the same positions.
    pub fn differing(sides: &[&Self]) -> BucketSet {
        let first = sides.first().expect("buckets of at least one side");
        for side in sides {
            assert_eq!(side.shape(), first.shape(), "{SAME_SHAPE}");
        }
        let mut set = BucketSet::empty(first, sides.len());
        for bucket in 0..first.sums.len() {
            if sides
                .iter()
                .any(|side| side.sums[bucket] != first.sums[bucket])
            {
                let counts = sides.iter().map(|side| side.sums[bucket].count);
                let key_bytes = sides.iter().map(|side| side.key_bytes[bucket]).sum();
                set.insert(bucket, key_bytes, counts);
            }
        }
        set
    }

    /// Whether keys at this position are counted.
    pub fn covers(&self, position: Position) -> bool {
        self.below.contains(position)
    }

    /// Which bucket a position lies in, if any.
    fn bucket(&self, position: Position) -> Option<usize> {
        bucket(self.below, self.bits, position)
    }

    fn shape(&self) -> (Prefix, u32) {
        (self.below, self.bits)
    }
}

const SAME_SHAPE: &str = "buckets are compared and merged over the same positions";

fn bucket(below: Prefix, bits: u32, position: Position) -> Option<usize> {
    if !below.contains(position) {
        return None;
    }
    Some(if bits == 0 {
        0
    } else {
        below.child_of(position, bits)
    })
}

/// A set of buckets, and how many entries each side has in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSet {
    below: Prefix,
    bits: u32,
    /// One bit per bucket.
    bitmap: Vec<u64>,
    /// The buckets in the set, in order, with the entries of every side in turn.
    buckets: Vec<usize>,
    counts: Vec<u64>,
    /// Bytes of the keys of all sides, for each bucket in the set.
    key_bytes: Vec<u64>,
    sides: usize,
}

impl BucketSet {
    fn empty(shape: &Buckets, sides: usize) -> Self {
        Self {
            below: shape.below,
            bits: shape.bits,
            bitmap: vec![0; shape.sums.len().div_ceil(64)],
            buckets: Vec::new(),
            counts: Vec::new(),
            key_bytes: Vec::new(),
            sides,
        }
    }

    /// Whether keys at this position are in the set.
    pub fn contains(&self, position: Position) -> bool {
        bucket(self.below, self.bits, position)
            .is_some_and(|bucket| self.bitmap[bucket / 64] >> (bucket % 64) & 1 != 0)
    }

    /// How many buckets are in the set.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether the sides did not differ.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// How many entries each side has in these buckets, in the order of the sides.
    pub fn entries(&self) -> Vec<u64> {
        let of_side = |side| self.counts[side..].iter().step_by(self.sides).sum();
        (0..self.sides)
            .map(|side| if self.is_empty() { 0 } else { of_side(side) })
            .collect()
    }

    /// What these buckets' entries take in memory on all sides together, as they were counted: each its key, and
    /// `entry_bytes` beside it.
    pub fn bytes(&self, entry_bytes: u64) -> u64 {
        let entries: u64 = self.counts.iter().sum();
        entries * entry_bytes + self.key_bytes.iter().sum::<u64>()
    }

    /// Splits the set so that no part takes more than `most` bytes; buckets stay in order. A bucket that alone takes
    /// more is a part of its own, to be refined.
    pub fn split(&self, most: u64, entry_bytes: u64) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        let mut used = 0;
        let counts = self.counts.chunks_exact(self.sides);
        let buckets = self.buckets.iter().zip(&self.key_bytes);
        for ((&bucket, &key_bytes), counts) in buckets.zip(counts) {
            let bytes = counts.iter().sum::<u64>() * entry_bytes + key_bytes;
            if parts.is_empty() || used + bytes > most {
                parts.push(self.cleared());
                used = 0;
            }
            used += bytes;
            if let Some(part) = parts.last_mut() {
                part.insert(bucket, key_bytes, counts.iter().copied());
            }
        }
        parts
    }

    /// Empty buckets over the positions of the one bucket in this set; nothing if there are more, or no bits are
    /// left to tell its keys apart.
    pub fn refine(&self) -> Option<Buckets> {
        let [bucket] = self.buckets[..] else {
            return None;
        };
        let below = self.below.child(bucket as u64, self.bits);
        (below.length() < Prefix::MAX_LENGTH).then(|| Buckets::within(below, self.bits))
    }

    fn cleared(&self) -> Self {
        Self {
            bitmap: vec![0; self.bitmap.len()],
            buckets: Vec::new(),
            counts: Vec::new(),
            key_bytes: Vec::new(),
            ..*self
        }
    }

    fn insert(&mut self, bucket: usize, key_bytes: u64, counts: impl Iterator<Item = u64>) {
        self.bitmap[bucket / 64] |= 1 << (bucket % 64);
        self.buckets.push(bucket);
        self.key_bytes.push(key_bytes);
        self.counts.extend(counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::fixture::{
        Keys, digester, entries_of, listed, numbered, position_of, sides,
    };
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    fn buckets(bits: u32, side: u32, keys: &Keys) -> Buckets {
        let mut buckets = Buckets::new(bits);
        buckets.fold(&entries_of(keys), &digester(side));
        buckets
    }

    fn without(keys: &Keys, missing: &[u8]) -> Keys {
        let mut keys = keys.clone();
        keys.remove(missing).expect("the key is there");
        keys
    }

    #[test]
    fn equal_sides_have_no_differing_bucket() {
        let keys = numbered("", 1000);
        let sides = [0, 1].map(|side| buckets(8, side, &keys));
        let set = Buckets::differing(&[&sides[0], &sides[1]]);
        assert!(set.is_empty());
        assert_eq!(set.entries(), [0, 0]);
        assert!(set.split(10, 1).is_empty());
        assert_eq!(set.bytes(48), 0);
    }

    #[test]
    fn one_missing_key_marks_its_bucket_and_counts_both_sides() {
        let keys = numbered("", 1000);
        let [whole, less] = [buckets(4, 0, &keys), buckets(4, 1, &without(&keys, b"7"))];
        let set = Buckets::differing(&[&whole, &less]);
        assert_eq!(set.len(), 1);
        assert!(set.contains(position_of(b"7")));
        let within = keys.keys().filter(|key| set.contains(position_of(key)));
        let within = within.count() as u64;
        assert_eq!(set.entries(), [within, within - 1]);
        let lengths = |keys: &Keys| -> u64 {
            let inside = keys.keys().filter(|key| set.contains(position_of(key)));
            inside.map(|key| key.len() as u64).sum()
        };
        let key_bytes = lengths(&keys) + lengths(&without(&keys, b"7"));
        assert_eq!(set.bytes(48), (2 * within - 1) * 48 + key_bytes);
    }

    #[test]
    fn a_bucket_over_budget_is_refined_until_it_fits() {
        let keys = numbered("{tag}", 2000);
        let less = without(&keys, b"{tag}7");
        let mut pair = [buckets(16, 0, &keys), buckets(16, 1, &less)];
        for round in 0..3 {
            let set = Buckets::differing(&[&pair[0], &pair[1]]);
            assert_eq!(set.len(), 1);
            assert!(set.contains(position_of(b"{tag}7")));
            if set.entries().iter().sum::<u64>() <= 100 {
                assert!(round > 0, "one slot is one bucket at first");
                return;
            }
            let refined = set.refine().expect("bits are left");
            pair = [refined.clone(), refined];
            pair[0].fold(&entries_of(&keys), &digester(0));
            pair[1].fold(&entries_of(&less), &digester(1));
        }
        panic!("refining does not end");
    }

    #[test]
    fn refining_ends_with_the_bits_of_the_position() {
        let keys = numbered("same:", 10);
        let mut side = Buckets::within(Prefix::of(position_of(b"same:"), 60), 16);
        side.fold(&entries_of(&keys), &digester(0));
        let set = Buckets::differing(&[&side, &Buckets::within(side.below, 16)]);
        assert_eq!(set.entries(), [10, 0]);
        assert!(set.refine().is_none());
    }

    proptest! {
        // A case is several hundred keys.
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn every_differing_key_lies_in_a_differing_bucket(keys in sides(3), bits in 1..12u32) {
            let each: Vec<_> = (0..).zip(&keys).map(|(side, keys)| buckets(bits, side, keys)).collect();
            let set = Buckets::differing(&each.iter().collect::<Vec<_>>());
            for key in keys.iter().flat_map(Keys::keys) {
                let held = keys.iter().map(|side| side.get(key));
                let differs = held.clone().any(|held| held != keys[0].get(key) || held == Some(&None));
                prop_assert!(!differs || set.contains(position_of(key)));
            }
        }

        #[test]
        fn parts_keep_the_budget_and_together_are_the_set(keys in sides(2), budget in 1..200u64) {
            let pair = [buckets(6, 0, &keys[0]), buckets(6, 1, &keys[1])];
            let set = Buckets::differing(&[&pair[0], &pair[1]]);
            let parts = set.split(budget * 10, 9);
            for part in &parts {
                prop_assert!(part.bytes(9) <= budget * 10 || part.len() == 1);
            }
            prop_assert_eq!(parts.iter().map(|part| part.bytes(9)).sum::<u64>(), set.bytes(9));
            for key in keys.iter().flat_map(Keys::keys) {
                let position = position_of(key);
                let times = parts.iter().filter(|part| part.contains(position)).count();
                prop_assert_eq!(times, usize::from(set.contains(position)));
            }
        }

        #[test]
        fn folding_adding_and_merging_are_one(keys in sides(2)) {
            let mut added = Buckets::new(9);
            for (key, held) in keys.iter().flatten() {
                added.add(&listed(key, *held), &mut digester(0));
            }
            let mut merged = buckets(9, 0, &keys[0]);
            merged.merge(&buckets(9, 0, &keys[1]));
            prop_assert_eq!(added.sums, merged.sums);
            prop_assert_eq!(added.key_bytes, merged.key_bytes);
        }
    }
}
