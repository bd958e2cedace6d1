//! Which keys a run works on, and under which keyspace.

use std::collections::BTreeSet;

use crate::model::{
    DbIndex, Glob, Key, Keyspace, KeyspaceName, Keyspaces, Kind, Layout, OWN_PREFIX, Position,
    PositionRange, Selection, SlotRange, holds_stamps,
};

/// The keyspaces and the selection of a run.
#[derive(Debug, Clone)]
pub struct Scope {
    keyspaces: Keyspaces,
    selection: Selection,
    layout: Layout,
}

impl Scope {
    /// The keys that are both in a keyspace and selected.
    pub fn new(keyspaces: Keyspaces, selection: Selection) -> Self {
        Self {
            keyspaces,
            selection,
            layout: Layout::Plain,
        }
    }

    /// The same over replicas of this layout.
    #[must_use]
    pub fn of_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// How the replicas' data is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether a key is none of the clients': reknit's own, or one that holds stamps.
    fn is_apart(&self, key: &[u8]) -> bool {
        key.starts_with(OWN_PREFIX) || self.layout == Layout::Dynomite && holds_stamps(key)
    }

    /// The databases that are worked on, in order; nothing stands for each replica's default.
    pub fn databases(&self) -> BTreeSet<Option<DbIndex>> {
        let worked_on = self
            .keyspaces
            .iter()
            .filter(|keyspace| self.works_on(keyspace));
        worked_on.map(|keyspace| keyspace.db).collect()
    }

    /// The keyspace under which a key is worked on; nothing if it is not.
    pub fn owner(&self, db: Option<DbIndex>, key: &[u8]) -> Option<&Keyspace> {
        if self.is_apart(key) {
            return None;
        }
        let owner = self.keyspaces.owner(db, key)?;
        let position = || Position::of(key);
        // A position costs a digest: it is only taken where slots are selected.
        let position = if self.selection.slots.is_some() {
            position()
        } else {
            Position::from_bits(0)
        };
        (self.works_on(owner) && self.selection.admits_key(key, position)).then_some(owner)
    }

    /// The keyspace of all keys of this database that are worked on, if there is but one.
    pub fn only_owner(&self, db: Option<DbIndex>) -> Option<&Keyspace> {
        let mut worked_on = self
            .keyspaces
            .iter()
            .filter(|k| k.db == db && self.works_on(k));
        worked_on.next().filter(|_| worked_on.next().is_none())
    }

    /// Whether a key is selected whose siblings have these types.
    pub fn admits_kinds(&self, kinds: impl IntoIterator<Item = Kind>) -> bool {
        self.selection.admits_kinds(kinds)
    }

    /// A pattern that all keys of this database match which are worked on, if there is one worth sending.
    pub fn server_pattern(&self, db: Option<DbIndex>) -> Option<Glob> {
        if let Some(pattern) = &self.selection.pattern {
            return Some(pattern.clone());
        }
        self.only_owner(db)
            .filter(|only| !only.pattern.matches_all())
            .map(|only| only.pattern.clone())
    }

    /// Whether everything in the keyspaces that are worked on is selected, as far as its slots are.
    pub(crate) fn is_whole_but_for_slots(&self) -> bool {
        self.selection.is_whole_but_for_slots()
    }

    /// What tells it from others beside the databases and slots that are selected: those of a run's segments differ.
    pub fn kind(&self) -> impl std::fmt::Debug {
        let selection = Selection {
            keyspaces: Vec::new(),
            slots: None,
            ..self.selection.clone()
        };
        (self.keyspaces.clone(), selection)
    }

    /// The slots that are selected.
    pub fn slots(&self) -> SlotRange {
        self.selection.slots.unwrap_or_else(SlotRange::all)
    }

    /// The same keys, of these slots alone.
    #[must_use]
    pub(crate) fn within(&self, slots: SlotRange) -> Self {
        let selection = Selection {
            // A position costs a digest: it is only taken where slots are selected.
            slots: (slots != SlotRange::all()).then_some(slots),
            ..self.selection.clone()
        };
        Self::new(self.keyspaces.clone(), selection).of_layout(self.layout)
    }

    /// Of all keys in these slots, those that this takes by what is selected beside slots: all, or nothing is known.
    pub fn takes_all_of_slots(&self, db: Option<DbIndex>) -> bool {
        self.within(SlotRange::all()).takes_all(db)
    }

    /// Whether everything in the keyspaces that are worked on is selected.
    pub(crate) fn is_whole(&self) -> bool {
        self.selection.is_whole()
    }

    /// Whether everything in all keyspaces is selected, but for those that are never worked on.
    pub(crate) fn is_everything(&self) -> bool {
        self.is_whole() && self.selection.keyspaces.is_empty()
    }

    /// The keyspaces of a database that are worked on.
    pub(crate) fn worked_on(&self, db: Option<DbIndex>) -> impl Iterator<Item = &Keyspace> {
        let all = self.keyspaces.iter();
        all.filter(move |keyspace| keyspace.db == db && self.works_on(keyspace))
    }

    /// Names a keyspace by the keys that it owns: its pattern, and those of the keyspaces before it.
    pub(crate) fn fingerprint(&self, keyspace: &Keyspace) -> KeyspaceName {
        let mut name = String::new();
        for one in self.keyspaces.iter().filter(|one| one.db == keyspace.db) {
            name.push_str(&crate::model::escape(one.pattern.as_bytes()));
            if one.name == keyspace.name {
                break;
            }
            name.push(' ');
        }
        KeyspaceName(name)
    }

    /// The positions that are selected.
    pub fn positions(&self) -> PositionRange {
        self.selection
            .slots
            .map_or_else(PositionRange::all, SlotRange::positions)
    }

    /// Whether all keys of a database are worked on, as far as the selection and the keyspaces' patterns tell.
    pub fn takes_all(&self, db: Option<DbIndex>) -> bool {
        let all = |k: &Keyspace| k.db == db && self.works_on(k) && k.pattern.matches_all();
        !self.selection.narrows_names() && self.keyspaces.iter().any(all)
    }

    /// Whether keys are given by name.
    pub fn lists_keys(&self) -> bool {
        self.selection.keys.is_some()
    }

    /// The keys, if they are given by name.
    pub fn listed_keys(&self) -> Option<Vec<Key>> {
        let keys = self.selection.keys.as_ref()?;
        let of_clients = |key: &&Key| !self.is_apart(key.as_bytes());
        Some(keys.iter().filter(of_clients).cloned().collect())
    }

    fn works_on(&self, keyspace: &Keyspace) -> bool {
        !keyspace.skip
            && (self.selection.keyspaces.is_empty()
                || self.selection.admits_keyspace(&keyspace.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyspaceName;

    #[test]
    fn stamps_are_no_data_in_any_part_of_a_run() {
        let name = KeyspaceName("default".into());
        let everything = Keyspaces::new(vec![Keyspace::everything()]);
        let scope = Scope::new(everything, Selection::of(vec![name])).of_layout(Layout::Dynomite);
        for scope in [scope.within(SlotRange::all()), scope] {
            assert!(scope.owner(None, b"._add-set_h").is_none());
            assert!(scope.owner(None, b"._counts_c").is_none());
            assert!(scope.owner(None, b"h").is_some());
        }
    }

    #[test]
    fn all_keys_of_a_database_are_taken_unless_names_are_narrowed_or_keyspaces_left_out() {
        let name = KeyspaceName("default".into());
        let everything = || Keyspaces::new(vec![Keyspace::everything()]);
        let takes = |selection, db| Scope::new(everything(), selection).takes_all(db);
        let all = Selection::of(vec![name.clone()]);
        assert!(takes(all.clone(), None));
        assert!(!takes(all.clone(), Some(DbIndex(3))));
        let narrowed = Selection {
            pattern: Some(Glob::new("a*")),
            ..all
        };
        assert!(!takes(narrowed, None));
        let other = Selection::of(vec![KeyspaceName("other".into())]);
        assert!(!takes(other, None));
    }
}
