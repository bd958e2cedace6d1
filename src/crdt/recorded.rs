//! Recorded evidence: what the stamps beside the data say of a key or an element, before anything else is asked.
//!
//! ```text
//! add(e) = latest A(e) of all siblings        rem(e) = latest R(e), and R(k) of its key
//! present iff add > rem, and then what those hold whose add is the latest
//!
//! voices ── without what an age overrules ──▶ one value: it stands
//!                                        └──▶ several, or some of unknown age: agreement, preference; last the tie-break
//! ```
//!
//! A missing stamp is unknown age, never time zero: such a voice overrules nobody and is overruled by nobody. So is a
//! stamp that no longer says how old the data is, because an unstamped command changed it since: an absence beside a
//! stamp of its addition, and one of several values under the same stamp. Where nothing else is known of those either,
//! the greatest value wins (the tie-break).
//!
//! # Convergence
//! Maxima of stamps and a total order of values: commutative, associative, idempotent.
//!
//! Deliberately absent: clocks. Whether a stamp lies in the future is asked before.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::case::Case;
use super::contest::{
    Account, AgreedValue, Candidates, Contest, Voice, candidates, contest_of_unstamped,
};
use super::string;
use crate::model::{
    Counts, HashRule, Kind, OnDeleteConflict, Stamp, Stamped, Stamps, StringRule, Value, ZsetRule,
};

/// What is asked of stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Heed {
    /// Nothing: commands that change the value leave them stale, or there are none.
    #[default]
    Nothing,
    /// Whether it was removed. Of what was not, the type's own rule joins the values.
    Presence,
    /// That, and which value is the latest.
    Age,
}

/// What is asked of the stamps of a key of this kind, and of its elements'.
pub(super) fn heed(case: &Case<'_>, kind: Kind) -> Heed {
    let rules = &case.policy.rules;
    match kind {
        Kind::String => match rules.string {
            StringRule::Counter => Heed::Nothing,
            StringRule::CounterMax | StringRule::BitmapOr => Heed::Presence,
            StringRule::Lww if string::joins_registers(case) => Heed::Presence,
            StringRule::Lww => Heed::Age,
        },
        Kind::Hash => match rules.hash {
            HashRule::Lww => Heed::Age,
            HashRule::Counter => Heed::Nothing,
            HashRule::CounterMax => Heed::Presence,
        },
        Kind::Set => Heed::Age,
        Kind::SortedSet => match rules.zset {
            ZsetRule::Lww => Heed::Age,
            ZsetRule::Max | ZsetRule::Min => Heed::Presence,
            ZsetRule::Counter => Heed::Nothing,
        },
        Kind::List | Kind::Stream | Kind::Module => Heed::Nothing,
    }
}

/// Decides who may win by stamps, as far as they go. Nothing where there are none.
pub(super) fn recorded<'a, V: Ord + Clone>(
    voices: &[Voice<'a, V>],
    agreed: &AgreedValue<V>,
    on_delete: OnDeleteConflict,
) -> Option<Contest<'a, V>> {
    let all = voices.iter().map(|voice| voice.stamped);
    let all = all.fold(Stamped::default(), Stamped::join);
    if all.is_silent() {
        return None;
    }
    let present = || voices.iter().filter(|voice| voice.value.is_some());
    let last = present().filter_map(|voice| voice.stamped.added).max();
    let last = last.filter(|last| Some(*last) > all.removed);
    let stands = |voice: &&Voice<'a, V>| stands(voice, all, last);
    let left: Vec<Voice<'a, V>> = voices.iter().filter(stands).cloned().collect();
    let values: BTreeSet<&V> = left
        .iter()
        .filter_map(|voice| voice.value.as_ref())
        .collect();
    let is_doubted =
        |voice: &Voice<'a, V>| voice.value.is_none() && voice.account != Account::Unknown;
    match values.len() {
        0 => Some(Contest::Absent {
            changed: *agreed != AgreedValue::Removed,
        }),
        1 if !left.iter().any(is_doubted) => Some(Contest::Among(unopposed(&left))),
        _ => Some(among(voices, left, last, (agreed, on_delete))),
    }
}

/// Whether no age overrules a voice.
fn stands<V>(voice: &Voice<'_, V>, all: Stamped, last: Option<Stamp>) -> bool {
    let Stamped { added, removed } = voice.stamped;
    match (&voice.value, added, removed) {
        (Some(_), Some(_), _) if voice.heed == Heed::Presence => added > all.removed,
        (Some(_), Some(_), _) => added == last,
        (None, _, Some(_)) => removed == all.removed && !all.is_present(),
        (Some(_), None, _) | (None, _, None) => true,
    }
}

fn unopposed<'a, V: Ord + Clone>(left: &[Voice<'a, V>]) -> Candidates<'a, V> {
    let mut only = candidates(left, |_| true, AgreedValue::Unknown);
    let is_agreed = left.iter().any(|voice| voice.holds_agreed);
    only.known
        .iter_mut()
        .for_each(|one| one.changed = !is_agreed);
    only
}

/// Several values are left, or one and an absence of which something else is known: that is asked of these voices
/// alone, and the tie-break where it leaves several of the same age.
fn among<'a, V: Ord + Clone>(
    voices: &[Voice<'a, V>],
    left: Vec<Voice<'a, V>>,
    last: Option<Stamp>,
    (agreed, on_delete): (&AgreedValue<V>, OnDeleteConflict),
) -> Contest<'a, V> {
    let is_held = |all: &[Voice<'a, V>]| all.iter().any(|voice| voice.holds_agreed);
    let overruled = is_held(voices) && !is_held(&left);
    let agreed = if overruled {
        AgreedValue::Unknown
    } else {
        agreed.clone()
    };
    let mut contest = contest_of_unstamped(&left, agreed, on_delete);
    if let Contest::Among(candidates) = &mut contest {
        let is_aged = |value: &V| {
            let mut holders = left
                .iter()
                .filter(|voice| voice.value.as_ref() == Some(value));
            holders.any(|voice| voice.heed == Heed::Age && voice.stamped.added == last)
        };
        let is_tie = last.is_some() && candidates.known.iter().all(|one| is_aged(&one.value));
        if is_tie && !candidates.agreed_elsewhere {
            let greatest = candidates.known.iter().map(|one| one.value.clone()).max();
            candidates
                .known
                .retain(|one| Some(&one.value) == greatest.as_ref());
        }
    }
    contest
}

/// The stamps that belong beside a merged value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restamp {
    /// Those of the key; nothing where each replica keeps its own.
    key: Option<Stamped>,
    /// Those of its elements; of elements that are not listed each replica keeps its own.
    elements: BTreeMap<Bytes, Stamped>,
    /// What was counted, where that is kept.
    counts: Option<Counts>,
    /// The latest removal of a whole collection that was written again after it.
    overtaken: Option<Stamp>,
}

impl Restamp {
    /// The winners' stamps: the set of additions lists what is there, the set of removals what was removed, nothing
    /// stands in both, and every time is one that was found.
    pub(super) fn of<'a>(
        siblings: impl Iterator<Item = &'a Stamps> + Clone,
        value: Option<&Value>,
        untouched: &BTreeMap<Bytes, super::Reason>,
        overwritten: Option<Stamp>,
    ) -> Self {
        let key = siblings.clone().map(|one| one.key);
        let key = key.fold(Stamped::default(), Stamped::join);
        let names: BTreeSet<&Bytes> = siblings
            .clone()
            .flat_map(|one| one.elements.keys())
            .collect();
        let there = value.map_or_else(BTreeSet::new, Value::element_names);
        let is_collection = value.is_none_or(|value| value.kind() != Kind::String);
        let mut elements = BTreeMap::new();
        let mut added = key.added;
        for name in names
            .into_iter()
            .filter(|name| is_collection && !untouched.contains_key(*name))
        {
            let own = siblings.clone().map(|one| one.of(name));
            let own = own.fold(Stamped::default(), Stamped::join);
            let whole = own.removed.max(key.removed).max(overwritten);
            if there.contains(name) {
                added = added.max(own.added);
                elements.extend(
                    settled(
                        Stamped {
                            removed: whole,
                            ..own
                        },
                        true,
                    )
                    .map(|it| (name.clone(), it)),
                );
            } else {
                let removed = match value {
                    // Its key's own tombstone tells as much.
                    None => own.removed.filter(|removed| Some(*removed) > key.removed),
                    Some(_) if own.added > own.removed => whole,
                    Some(_) => own.removed,
                };
                elements.insert(
                    name.clone(),
                    Stamped {
                        added: None,
                        removed,
                    },
                );
            }
        }
        let key = Stamped { added, ..key };
        Self {
            key: settled(key, value.is_some()),
            elements,
            counts: None,
            overtaken: value.and(key.removed).filter(|_| is_collection),
        }
    }

    /// The same where some replica took no part: the removal of a whole collection stays listed, for that replica may
    /// hold elements that are older, and nobody else knows their names.
    #[must_use]
    pub fn for_the_absent(mut self) -> Self {
        if let Some(key) = &mut self.key {
            key.removed = key.removed.max(self.overtaken);
        }
        self
    }

    /// What a replica should have that has these.
    pub fn at(&self, held: &Stamps) -> Stamps {
        let mut elements = self.elements.clone();
        for (name, stamped) in &held.elements {
            elements.entry(name.clone()).or_insert(*stamped);
        }
        Stamps {
            key: self.key.unwrap_or(held.key),
            elements,
            counts: self.counts.clone(),
        }
    }

    /// What was counted, where that is kept.
    pub fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// Those of a counter.
    pub(super) fn of_counter(
        added: Option<Stamp>,
        removed: Option<Stamp>,
        counts: Option<Counts>,
    ) -> Self {
        Self {
            key: Some(Stamped { added, removed }),
            elements: BTreeMap::new(),
            counts,
            overtaken: None,
        }
    }
}

/// Nothing where something else than stamps said that it is there.
fn settled(all: Stamped, is_there: bool) -> Option<Stamped> {
    match (is_there, all.is_present()) {
        (true, true) => Some(Stamped {
            removed: None,
            ..all
        }),
        (true, false) => None,
        (false, _) => Some(Stamped { added: None, ..all }),
    }
}
