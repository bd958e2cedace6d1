//! One key's merge, prepared: siblings in order, what has expired taken as absent, digests at hand.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::contest::{Account, AgreedValue, Voice};
use super::counter::Quantity;
use super::memory::{Agreed, Base, Standing};
use super::order::Whole;
use super::outcome::Note;
use super::recorded::{Heed, heed};
use super::{MergeInput, Merged};
use crate::model::{
    Amount, Body, Datacenter, Digester, Expiry, Kind, Memory, Millis, Policy, ReplicaIndex, Seen,
    Stamp, Stamped, Stamps, State, StringRule, Value, ValueDigest, Version,
};

/// The siblings of a key and all that is known of them.
#[derive(Debug, Clone)]
pub(super) struct Case<'a> {
    /// In the order of their replicas. Whatever order the caller had, the rules below see this one.
    pub(super) sides: Vec<Side<'a>>,
    pub(super) agreed: Option<AgreedView<'a>>,
    pub(super) policy: &'a Policy,
    /// How many replicas take part, for `majority`.
    pub(super) siblings: usize,
    /// The elements to look at, where siblings are partial.
    pub(super) shown: Option<&'a BTreeSet<Bytes>>,
    /// Whether there is any memory to compare with. Without, nothing is digested.
    pub(super) remembers: bool,
    /// Whether pasts are left out of account, because they do not reach down to elements.
    pub(super) on_equal_terms: bool,
    /// When a sibling of another type, which has lost, removed or replaced the whole key.
    pub(super) overwritten: Option<Stamp>,
}

/// One sibling.
#[derive(Debug, Clone)]
pub(super) struct Side<'a> {
    pub(super) replica: ReplicaIndex,
    pub(super) datacenter: &'a Datacenter,
    pub(super) state: Option<&'a State>,
    /// Of the whole value; only taken where there is memory.
    pub(super) digest: Option<ValueDigest>,
    pub(super) base: Option<BaseView<'a>>,
    /// What stands beside it.
    pub(super) stamps: Option<&'a Stamps>,
    /// Whether its fields can end by themselves.
    pub(super) fields_can_end: bool,
}

/// A base whose memory has not expired.
#[derive(Debug, Clone, Copy)]
pub(super) struct BaseView<'a> {
    pub(super) memory: Option<&'a Memory>,
    pub(super) seen: &'a Seen,
    pub(super) standing: Standing,
}

/// An agreement whose memory has not expired.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgreedView<'a> {
    pub(super) version: Version,
    pub(super) memory: Option<&'a Memory>,
    pub(super) removed: &'a BTreeMap<Bytes, Version>,
    pub(super) everybody: bool,
}

impl<'a> Case<'a> {
    pub(super) fn new(input: &MergeInput<'a>, digester: &mut Digester) -> Self {
        let remembers =
            input.agreed.is_some() || input.siblings.iter().any(|sibling| sibling.base.is_some());
        let mut sides: Vec<Side<'a>> = input
            .siblings
            .iter()
            .map(|sibling| {
                let state = sibling
                    .state
                    .filter(|state| !state.expiry.has_passed(input.now));
                let digest = state.filter(|_| remembers).map(|state| {
                    sibling
                        .digest
                        .unwrap_or_else(|| digester.value(&state.value))
                });
                Side {
                    replica: sibling.replica,
                    datacenter: sibling.datacenter,
                    state,
                    digest,
                    base: sibling
                        .base
                        .as_ref()
                        .map(|base| BaseView::of(base, input.now)),
                    stamps: sibling.stamps,
                    fields_can_end: sibling.fields_can_end,
                }
            })
            .collect();
        sides.sort_by_key(|side| side.replica);
        Self {
            siblings: sides.len(),
            sides,
            agreed: input.agreed.map(|agreed| AgreedView::of(agreed, input.now)),
            policy: input.policy,
            shown: input.shown,
            remembers,
            on_equal_terms: false,
            overwritten: None,
        }
    }

    /// The same case with only the siblings that hold this kind or nothing. What was agreed in another kind has lost.
    pub(super) fn of_kind(mut self, kind: Kind) -> Self {
        self.agreed = self
            .agreed
            .filter(|agreed| agreed.memory.is_none_or(|memory| memory.kind == kind));
        let (kept, lost): (Vec<Side<'a>>, Vec<Side<'a>>) = std::mem::take(&mut self.sides)
            .into_iter()
            .partition(|side| side.kind().is_none_or(|held| held == kind));
        self.sides = kept;
        self.overwritten = lost.iter().filter_map(Side::overwritten).max();
        self
    }

    /// The one kind that siblings hold.
    fn kind(&self) -> Option<Kind> {
        let mut kinds = self.sides.iter().filter_map(Side::kind);
        let first = kinds.next()?;
        kinds.all(|kind| kind == first).then_some(first)
    }

    /// What is asked of the stamps of the whole key. A collection is asked element by element.
    fn heed(&self) -> Heed {
        match self.kind() {
            Some(Kind::Hash | Kind::Set | Kind::SortedSet) => Heed::Nothing,
            Some(kind) => heed(self, kind),
            None => Heed::Age,
        }
    }

    /// Whether stamps were asked.
    pub(super) fn is_recorded(&self) -> bool {
        let heed = self.kind().map_or(Heed::Age, |kind| heed(self, kind));
        let mut stamps = self.sides.iter().filter_map(|side| side.stamps);
        heed != Heed::Nothing && stamps.any(|stamps| !stamps.is_silent())
    }

    /// These siblings on equal terms: their pasts and the agreement say nothing about single elements.
    pub(super) fn united(&self, replicas: &[ReplicaIndex]) -> Self {
        let sides = self
            .sides
            .iter()
            .filter(|side| replicas.contains(&side.replica));
        Self {
            sides: sides.cloned().collect(),
            agreed: None,
            remembers: false,
            on_equal_terms: true,
            ..self.clone()
        }
    }

    /// A voice for each sibling in a contest about the whole key.
    pub(super) fn voices(&self) -> Vec<Voice<'a, Whole<'a>>> {
        let heed = self.heed();
        self.sides
            .iter()
            .map(|side| Voice {
                replica: side.replica,
                datacenter: side.datacenter,
                value: side.state.map(|state| Whole(&state.value)),
                expiry: side.expiry(),
                account: self.account(side),
                holds_agreed: side.digest.is_some() && side.digest == self.agreed_digest(),
                base: side
                    .base
                    .map_or(Quantity::Nothing, |base| quantity(base.memory)),
                stamped: side.stamped(heed),
                heed,
            })
            .collect()
    }

    /// What is agreed on the whole key.
    pub(super) fn agreed_value<V>(&self) -> AgreedValue<V> {
        match self.agreed {
            None => AgreedValue::Unknown,
            Some(AgreedView { memory: None, .. }) => AgreedValue::Removed,
            Some(AgreedView {
                everybody: true, ..
            }) if !self.is_held() => AgreedValue::Lost,
            Some(AgreedView {
                memory: Some(_), ..
            }) => AgreedValue::Present(None),
        }
    }

    /// Whether somebody holds the agreed value, or it can be told from memory.
    fn is_held(&self) -> bool {
        let counts = self.policy.rules.string == StringRule::Counter;
        let is_told = counts && matches!(self.agreed_quantity(), Quantity::Of(_));
        let agreed = self.agreed_digest();
        is_told || self.sides.iter().any(|side| side.digest == agreed)
    }

    /// The number that is agreed on a string.
    pub(super) fn agreed_quantity(&self) -> Quantity {
        quantity(self.agreed.and_then(|agreed| agreed.memory))
    }

    /// The memory that is agreed on.
    pub(super) fn agreed_memory(&self) -> Option<&'a Memory> {
        self.agreed.and_then(|agreed| agreed.memory)
    }

    /// What is known of a sibling's whole key.
    pub(super) fn account(&self, side: &Side<'a>) -> Account {
        let Some(base) = side.base.filter(|_| !self.on_equal_terms) else {
            return Account::Unknown;
        };
        if side.digest == base.memory.map(|memory| memory.digest) {
            return Account::Unchanged;
        }
        Account::Changed {
            had_seen: self.had_seen(&base),
            rolled_back: base.standing == Standing::RolledBack,
        }
    }

    /// Whether a replica has seen the agreed version of the key.
    pub(super) fn had_seen(&self, base: &BaseView<'a>) -> bool {
        self.agreed
            .is_none_or(|agreed| base.seen.key >= agreed.version)
    }

    fn agreed_digest(&self) -> Option<ValueDigest> {
        self.agreed_memory().map(|memory| memory.digest)
    }
}

impl<'a> Side<'a> {
    pub(super) fn kind(&self) -> Option<Kind> {
        self.state.map(|state| state.value.kind())
    }

    pub(super) fn value(&self) -> Option<&'a Value> {
        self.state.map(|state| &state.value)
    }

    /// What stamps say of the whole key: a collection was last written with its last element.
    pub(super) fn stamped(&self, heed: Heed) -> Stamped {
        let Some(stamps) = self.stamps.filter(|_| heed != Heed::Nothing) else {
            return Stamped::default();
        };
        let is_string = self.kind() == Some(Kind::String);
        let elements = stamps.elements.values().filter(|_| !is_string);
        let last = elements.filter_map(|one| one.added).max();
        Stamped {
            added: stamps.key.added.max(last),
            ..stamps.key
        }
    }

    /// When all that this sibling's collection held before was removed: by DEL, or by SET over it.
    fn overwritten(&self) -> Option<Stamp> {
        let key = self.stamps?.key;
        let set = key.added.filter(|_| self.kind() == Some(Kind::String));
        set.max(key.removed)
    }

    pub(super) fn expiry(&self) -> Expiry {
        self.state.map_or(Expiry::Never, |state| state.expiry)
    }
}

impl<'a> BaseView<'a> {
    fn of(base: &'a Base<'a>, now: Millis) -> Self {
        Self {
            memory: living(base.memory, now),
            seen: &base.seen,
            standing: base.standing,
        }
    }
}

impl<'a> AgreedView<'a> {
    fn of(agreed: &'a Agreed<'a>, now: Millis) -> Self {
        Self {
            version: agreed.version,
            memory: living(agreed.memory, now),
            removed: agreed.removed,
            everybody: agreed.everybody,
        }
    }
}

/// Expired is not deleted: it is simply gone.
fn living(memory: Option<&Memory>, now: Millis) -> Option<&Memory> {
    memory.filter(|memory| !memory.expiry.has_passed(now))
}

fn quantity(memory: Option<&Memory>) -> Quantity {
    match memory {
        None => Quantity::Nothing,
        Some(Memory {
            body: Body::Counter(number),
            ..
        }) => Quantity::Of(Amount::Integer(*number)),
        Some(_) => Quantity::NotANumber,
    }
}

/// Keeps a note, unless there are many already.
pub(super) fn note(notes: &mut Vec<Note>, note: Note) {
    if notes.len() < Merged::MAX_NOTES {
        notes.push(note);
    }
}
