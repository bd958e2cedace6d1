//! Which keys a run looks at.
//!
//! Keyspaces, pattern, names, range and slots are known from a key's name alone and are asked for every name that is
//! scanned. The type is not: it acts only after siblings are joined, so that filtered never looks like absent.

use std::collections::BTreeSet;

use super::{DbIndex, Glob, Key, KeyspaceName, Kind, Position, SlotRange};

/// Which keys a run looks at; every part that is absent admits everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The keyspaces to work on, in configured order: resolved, and without those that are skipped.
    pub keyspaces: Vec<KeyspaceName>,
    /// Keys that match this pattern.
    pub pattern: Option<Glob>,
    /// These keys alone.
    pub keys: Option<BTreeSet<Key>>,
    /// Keys from this one on, itself included, in the order of their bytes.
    pub from: Option<Key>,
    /// Keys before this one, itself excluded.
    pub to: Option<Key>,
    /// Keys in these slots.
    pub slots: Option<SlotRange>,
    /// Keys that have one of these types on any replica.
    pub kinds: Option<BTreeSet<Kind>>,
    /// The database that was asked for. Already applied: it is every replica's default, and keyspaces of other
    /// databases are not among `keyspaces`.
    pub db: Option<DbIndex>,
}

impl Selection {
    /// Every key of these keyspaces.
    pub fn of(keyspaces: Vec<KeyspaceName>) -> Self {
        Self {
            keyspaces,
            ..Self::default()
        }
    }

    /// Whether every key of the keyspaces is selected.
    pub fn is_whole(&self) -> bool {
        self.is_whole_but_for_slots() && self.slots.is_none()
    }

    /// Whether every key of the keyspaces is selected, as far as its slots are.
    pub fn is_whole_but_for_slots(&self) -> bool {
        let parts = [
            self.pattern.is_none(),
            self.keys.is_none(),
            self.from.is_none() && self.to.is_none(),
            self.kinds.is_none(),
        ];
        parts.into_iter().all(|absent| absent)
    }

    /// Whether names are selected by their form or place: how many there are is not known before they are read.
    pub fn narrows_names(&self) -> bool {
        let bounded = self.from.is_some() || self.to.is_some() || self.slots.is_some();
        bounded || self.pattern.is_some()
    }

    /// Whether the keyspace is to be worked on.
    pub fn admits_keyspace(&self, name: &KeyspaceName) -> bool {
        self.keyspaces.contains(name)
    }

    /// Whether the key is selected by its name and position; its keyspace and types are asked for apart.
    ///
    /// # Cost
    /// One binary search among the selected keys at most.
    pub fn admits_key(&self, key: &[u8], position: Position) -> bool {
        self.in_range(key)
            && self
                .slots
                .is_none_or(|slots| slots.positions().contains(position))
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.matches(key))
            && self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }

    /// Whether a key is selected whose siblings have these types: one that fits is enough.
    pub fn admits_kinds(&self, siblings: impl IntoIterator<Item = Kind>) -> bool {
        self.kinds
            .as_ref()
            .is_none_or(|kinds| siblings.into_iter().any(|kind| kinds.contains(&kind)))
    }

    fn in_range(&self, key: &[u8]) -> bool {
        self.from.as_ref().is_none_or(|from| key >= from.as_bytes())
            && self.to.as_ref().is_none_or(|to| key < to.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(selection: &Selection, key: &str) -> bool {
        selection.admits_key(key.as_bytes(), Position::of(key.as_bytes()))
    }

    #[test]
    fn without_filters_every_key_is_admitted() {
        let all = Selection::of(vec![KeyspaceName("default".into())]);
        assert!(admits(&all, ""));
        assert!(admits(&all, "any"));
        assert!(all.admits_kinds([Kind::Module]));
        assert!(all.admits_keyspace(&KeyspaceName("default".into())));
        assert!(!all.admits_keyspace(&KeyspaceName("other".into())));
    }

    #[test]
    fn a_range_includes_its_start_and_excludes_its_end() {
        let range = Selection {
            from: Some("b".into()),
            to: Some("d".into()),
            ..Selection::default()
        };
        let table = [("a", false), ("b", true), ("c\u{ff}", true), ("d", false)];
        for (key, expected) in table {
            assert_eq!(admits(&range, key), expected, "{key}");
        }
    }

    #[test]
    fn all_filters_must_agree() {
        let selection = Selection {
            pattern: Some(Glob::new("user:*")),
            keys: Some(BTreeSet::from(["user:1".into(), "cart:1".into()])),
            ..Selection::default()
        };
        assert!(admits(&selection, "user:1"));
        assert!(!admits(&selection, "user:2"));
        assert!(!admits(&selection, "cart:1"));
    }

    #[test]
    fn slots_select_by_position() {
        let half = Selection {
            slots: "0-8191".parse().ok(),
            ..Selection::default()
        };
        assert!(admits(&half, "bar"), "slot 5061");
        assert!(!admits(&half, "foo"), "slot 12182");
    }

    #[test]
    fn one_sibling_of_the_type_is_enough() {
        let selection = Selection {
            kinds: Some(BTreeSet::from([Kind::Hash])),
            ..Selection::default()
        };
        assert!(selection.admits_kinds([Kind::String, Kind::Hash]));
        assert!(!selection.admits_kinds([Kind::String, Kind::Set]));
    }
}
