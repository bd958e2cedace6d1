//! The first bits that positions share: the name of a node in any tree, whatever its splits.

use crate::model::{Position, PositionRange};

/// The first bits of a position: it stands for all positions that begin with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The bits, leftmost; those behind the prefix are zero.
    bits: u64,
    length: u32,
}

impl Prefix {
    /// No bits: all positions.
    pub const ROOT: Self = Self { bits: 0, length: 0 };

    /// The bits of a position.
    pub const MAX_LENGTH: u32 = u64::BITS;

    /// The first `length` bits of a position; all of them if there are no more.
    pub fn of(position: Position, length: u32) -> Self {
        let length = length.min(Self::MAX_LENGTH);
        let mask = u64::MAX.checked_shl(Self::MAX_LENGTH - length).unwrap_or(0);
        Self {
            bits: position.bits() & mask,
            length,
        }
    }

    /// How many bits it has.
    pub fn length(self) -> u32 {
        self.length
    }

    /// Whether the position begins with it.
    pub fn contains(self, position: Position) -> bool {
        Self::of(position, self.length) == self
    }

    /// The positions that begin with it.
    pub fn range(self) -> PositionRange {
        let size = 1u64.checked_shl(Self::MAX_LENGTH - self.length);
        PositionRange {
            start: Position::from_bits(self.bits),
            end: size
                .and_then(|size| self.bits.checked_add(size))
                .map(Position::from_bits),
        }
    }

    /// Whether any position lies both below it and in the range.
    pub fn overlaps(self, range: PositionRange) -> bool {
        let own = self.range();
        range.end.is_none_or(|end| own.start < end) && own.end.is_none_or(|end| range.start < end)
    }

    /// The prefix that goes on with these `bits` more bits.
    pub(super) fn child(self, number: u64, bits: u32) -> Self {
        let length = self.length + bits;
        debug_assert!(length <= Self::MAX_LENGTH && number < 1 << bits);
        Self {
            bits: self.bits | number << (Self::MAX_LENGTH - length),
            length,
        }
    }

    /// The number that the `bits` bits of the position behind this prefix make.
    pub(super) fn child_of(self, position: Position, bits: u32) -> usize {
        debug_assert!(bits > 0 && self.length + bits <= Self::MAX_LENGTH);
        let rest = position.bits() << self.length;
        (rest >> (Self::MAX_LENGTH - bits)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn the_root_holds_every_position_and_a_full_prefix_one() {
        assert_eq!(Prefix::ROOT.range(), PositionRange::all());
        let last = Position::from_bits(u64::MAX);
        assert_eq!(Prefix::of(last, 64).range().start, last);
        assert_eq!(Prefix::of(last, 64).range().end, None);
        assert!(Prefix::of(last, 64).overlaps(PositionRange::all()));
    }

    proptest! {
        #[test]
        fn range_and_bits_agree(bits: u64, other: u64, near in 0u32..64, length in 0u32..=64) {
            let prefix = Prefix::of(Position::from_bits(bits), length);
            for candidate in [other, bits ^ 1 << near, bits] {
                let position = Position::from_bits(candidate);
                prop_assert_eq!(prefix.contains(position), prefix.range().contains(position));
            }
        }

        #[test]
        fn children_are_named_by_the_bits_that_follow(bits in any::<u64>(), length in 0u32..=31) {
            let position = Position::from_bits(bits);
            let parent = Prefix::of(position, length * 2);
            let child = parent.child(parent.child_of(position, 2) as u64, 2);
            prop_assert_eq!(child, Prefix::of(position, length * 2 + 2));
        }
    }
}
