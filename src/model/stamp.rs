//! Stamps: when a key, or an element of a collection, was last added and last removed, as Dynomite's servers keep it
//! beside the data.
//!
//! ```text
//! ._add-set           key      ─▶ its last accepted write         ._rem-set           key      ─▶ its DEL
//! ._add-set_<key>     element  ─▶ its last accepted add           ._rem-set_<key>     element  ─▶ its removal
//! ```
//!
//! Four kinds of sorted sets, whose scores are milliseconds of the wall clock of whoever took the client's command.
//! Deliberately absent: what follows from stamps, which is `crdt`'s business.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::{Counts, Key, Millis, Score};

/// How a replica's data is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Plain Redis: keys and nothing else.
    #[default]
    Plain,
    /// Stamps beside the data, as Dynomite keeps them.
    Dynomite,
}

/// When something was written: milliseconds since 1970, as exact as the server keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub Score);

impl Stamp {
    /// A stamp of a whole millisecond.
    pub fn millis(millis: i64) -> Self {
        Self(Score::new(millis as f64).expect("an integer is a number as a double, too"))
    }

    /// The next earlier one.
    pub fn just_before(self) -> Self {
        Self(Score::new(self.0.get().next_down()).unwrap_or(self.0))
    }

    /// Whether it lies behind this time.
    pub fn is_after(self, time: Millis) -> bool {
        self.0.get() > time.0 as f64
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.get())
    }
}

/// What the two sets say of one key or element; a missing stamp means unknown age, never time zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamped {
    /// The time of its last accepted write.
    pub added: Option<Stamp>,
    /// The time of its removal.
    pub removed: Option<Stamp>,
}

impl Stamped {
    /// What one of the sets says.
    pub fn of(self, set: StampSet) -> Option<Stamp> {
        match set {
            StampSet::Added => self.added,
            StampSet::Removed => self.removed,
        }
    }

    /// Has one of the sets say this.
    pub fn put(&mut self, set: StampSet, stamp: Option<Stamp>) {
        match set {
            StampSet::Added => self.added = stamp,
            StampSet::Removed => self.removed = stamp,
        }
    }

    /// The latest of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            added: self.added.max(other.added),
            removed: self.removed.max(other.removed),
        }
    }

    /// Whether neither set lists it.
    pub fn is_silent(self) -> bool {
        self == Self::default()
    }

    /// Whether it was added after it was last removed, as far as stamps tell.
    pub fn is_present(self) -> bool {
        self.added > self.removed
    }
}

/// The stamps that one replica has of a key and of its elements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamps {
    /// Those of the key.
    pub key: Stamped,
    /// Those of its elements, removed ones included. An element that is not listed has none.
    pub elements: BTreeMap<Bytes, Stamped>,
    /// What was counted at it, where that is kept.
    pub counts: Option<Counts>,
}

impl Stamps {
    /// Those of one element.
    pub fn of(&self, element: &[u8]) -> Stamped {
        self.elements.get(element).copied().unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_silent(&self) -> bool {
        self.key.is_silent()
            && self.counts.is_none()
            && self.elements.values().all(|one| one.is_silent())
    }

    /// The latest of all, with the element that has it; nothing stands for the key.
    pub fn latest(&self) -> Option<(Option<&Bytes>, Stamp)> {
        let elements = self.elements.iter().map(|(name, one)| (Some(name), *one));
        let all = std::iter::once((None, self.key)).chain(elements);
        let latest = all.filter_map(|(name, one)| Some((name, one.added.max(one.removed)?)));
        latest.max_by_key(|(_, stamp)| *stamp)
    }
}

/// One of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampSet {
    /// What was added.
    Added,
    /// What was removed.
    Removed,
}

impl StampSet {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Added, Self::Removed];

    /// The sorted set with the stamps of keys.
    pub fn of_keys(self) -> Key {
        Key::copied(self.prefix())
    }

    /// The sorted set with the stamps of a key's elements.
    pub fn of_elements(self, key: &Key) -> Key {
        Key::new([self.prefix(), b"_", key.as_bytes()].concat())
    }

    /// The key whose elements' stamps a sorted set of this name holds.
    pub fn owner(self, name: &[u8]) -> Option<Key> {
        let rest = name.strip_prefix(self.prefix())?.strip_prefix(b"_")?;
        Some(Key::copied(rest))
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Added => b"._add-set",
            Self::Removed => b"._rem-set",
        }
    }
}

/// Whether a key of this name holds stamps or counts, and no data.
pub fn holds_stamps(name: &[u8]) -> bool {
    let is_of = |set: StampSet| name == set.prefix() || set.owner(name).is_some();
    StampSet::ALL.into_iter().any(is_of) || Counts::owner(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_kinds_of_sets_are_told_from_data() {
        for name in [
            "._add-set",
            "._rem-set",
            "._add-set_h",
            "._rem-set_",
            "._add-set__x",
            "._counts_c",
        ] {
            assert!(holds_stamps(name.as_bytes()), "{name}");
        }
        for name in [
            "._add-se",
            "._add-setx",
            "_add-set",
            "._rem-sets_h",
            "._counts",
            "h",
        ] {
            assert!(!holds_stamps(name.as_bytes()), "{name}");
        }
        let key = Key::copied(b"a_\xff");
        let set = StampSet::Removed.of_elements(&key);
        assert_eq!(set.as_bytes(), b"._rem-set_a_\xff");
        assert_eq!(StampSet::Removed.owner(set.as_bytes()), Some(key));
        assert_eq!(StampSet::Added.owner(set.as_bytes()), None);
    }

    #[test]
    fn equal_stamps_leave_nothing_and_a_missing_one_is_no_zero() {
        let at = |millis| Some(Stamp::millis(millis));
        let stamped = |added, removed| Stamped { added, removed };
        assert!(stamped(at(2), at(1)).is_present());
        assert!(!stamped(at(2), at(2)).is_present());
        assert!(stamped(at(-5), None).is_present());
        assert!(!stamped(None, at(-5)).is_present());
        assert!(stamped(None, None).is_silent());
    }
}
