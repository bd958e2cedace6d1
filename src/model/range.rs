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
    /// Every slot there is.
    pub fn all() -> Self {
        let last = Slot::new(Slot::COUNT - 1).expect("the last of all slots is one");
        let first = Slot::new(0).expect("the first of all slots is one");
        Self { first, last }
    }

    fn of(first: u16, last: u16) -> Option<Self> {
        Self::new(Slot::new(first)?, Slot::new(last)?)
    }

    /// How many slots it has.
    pub fn count(self) -> u32 {
        u32::from(self.last.number() - self.first.number()) + 1
    }

    /// The same slots in so many ranges of about the same size, in order; at most one per slot.
    pub fn divided(self, parts: u32) -> Vec<Self> {
        let parts = parts.clamp(1, self.count());
        let first = |part: u32| u32::from(self.first.number()) + part * self.count() / parts;
        let number = |slot: u32| u16::try_from(slot).unwrap_or(Slot::COUNT);
        let range = |part| Self::of(number(first(part)), number(first(part + 1) - 1));
        (0..parts).filter_map(range).collect()
    }

    /// What is left of it without the others, in order.
    pub fn without(self, others: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let cut = |left: Vec<Self>, other: Self| {
            let parts = left.into_iter().flat_map(|one| one.around(other));
            parts.flatten().collect()
        };
        others.into_iter().fold(vec![self], cut)
    }

    /// What lies before the other and what lies behind it.
    fn around(self, other: Self) -> [Option<Self>; 2] {
        if other.last < self.first || self.last < other.first {
            return [Some(self), None];
        }
        let before = other.first.number().checked_sub(1);
        let before = before.and_then(|last| Self::of(self.first.number(), last));
        [
            before,
            Self::of(other.last.number() + 1, self.last.number()),
        ]
    }

    /// Whether all slots of the other are in it.
    pub fn includes(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

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
    fn divided_ranges_are_the_same_slots_in_order() {
        for (range, parts) in [
            ("0-16383", 7),
            ("0-16383", 1),
            ("5-9", 2),
            ("3-4", 100),
            ("9", 3),
        ] {
            let range: SlotRange = range.parse().unwrap();
            let divided = range.divided(parts);
            assert_eq!(divided.len() as u32, parts.min(range.count()), "{range}");
            assert_eq!(divided[0].first(), range.first());
            assert_eq!(divided.last().unwrap().last(), range.last());
            for pair in divided.windows(2) {
                assert_eq!(pair[0].last().number() + 1, pair[1].first().number());
            }
            assert_eq!(range.without(divided), []);
        }
    }

    #[test]
    fn what_is_left_of_a_range_is_what_others_do_not_have() {
        let range = |text: &str| text.parse::<SlotRange>().unwrap();
        let table = [
            ("0-100", vec![], "0-100"),
            ("0-100", vec!["0-100"], ""),
            ("10-100", vec!["0-20", "40-50"], "21-39 51-100"),
            ("10-100", vec!["200-300", "90-200"], "10-89"),
            ("0-16383", vec!["16383"], "0-16382"),
            ("0-16383", vec!["0", "5-6", "5"], "1-4 7-16383"),
        ];
        for (whole, others, left) in table {
            let found = range(whole).without(others.iter().map(|other| range(other)));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), left, "{whole} without {others:?}");
        }
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
