//! Half-open intervals of positions, and the slot ranges that operators name them by.

use std::fmt;
use std::str::FromStr;

use super::{Position, Slot};

/// A half-open interval of positions: `start` is in it, `end` is not; no end means up to and with the last position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionRange {
    /// The first position in the range.
    pub start: Position,
    /// The first position behind the range, if there is one.
    pub end: Option<Position>,
}

impl PositionRange {
    /// Every position there is.
    pub const ALL_START: u64 = 0;

    /// The range of all positions.
    pub fn all() -> Self {
        Self {
            start: Position::from_bits(Self::ALL_START),
            end: None,
        }
    }

    /// Whether the position lies in the range.
    pub fn contains(&self, position: Position) -> bool {
        position >= self.start && self.end.is_none_or(|end| position < end)
    }
}

/// A closed range of slots, as in `--slots 0-8191`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRange {
    first: Slot,
    last: Slot,
}

impl SlotRange {
    /// The slots from `first` to `last`, both in it; nothing if they are out of order.
    pub fn new(first: Slot, last: Slot) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The first of them.
    pub fn first(self) -> Slot {
        self.first
    }

    /// The last of them.
    pub fn last(self) -> Slot {
        self.last
    }

    /// The positions of all keys in these slots.
    pub fn positions(self) -> PositionRange {
        let start = u64::from(self.first.number()) << Position::KEY_BITS;
        let end = Slot::new(self.last.number() + 1)
            .map(|next| Position::from_bits(u64::from(next.number()) << Position::KEY_BITS));
        PositionRange {
            start: Position::from_bits(start),
            end,
        }
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first.number(), self.last.number())
    }
}

impl FromStr for SlotRange {
    type Err = String;

    /// Reads `A-B` or a single `A`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let slot = |part: &str| {
            let number = part
                .trim()
                .parse()
                .map_err(|_| format!("`{text}` is not a slot number or two, such as 0-8191"))?;
            Slot::new(number)
                .ok_or_else(|| format!("slot {number} does not exist, the last is 16383"))
        };
        let (first, last) = (slot(first)?, slot(last)?);
        Self::new(first, last).ok_or_else(|| format!("slot range `{text}` ends before it starts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_ranges_are_contiguous_positions() {
        let range: SlotRange = "0-8191".parse().unwrap();
        let positions = range.positions();
        for key in ["foo", "bar", "a", "b", "c"] {
            let position = Position::of(key.as_bytes());
            assert_eq!(
                positions.contains(position),
                position.slot().number() <= 8191,
                "{key}"
            );
        }
        assert_eq!(
            "0-16383".parse::<SlotRange>().unwrap().positions(),
            PositionRange::all()
        );
    }

    #[test]
    fn bad_slot_ranges_are_named() {
        assert!(
            "9-3"
                .parse::<SlotRange>()
                .unwrap_err()
                .contains("ends before")
        );
        assert!(
            "0-16384"
                .parse::<SlotRange>()
                .unwrap_err()
                .contains("16384")
        );
        assert!("x".parse::<SlotRange>().unwrap_err().contains("`x`"));
    }
}
