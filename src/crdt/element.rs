//! Collections element by element: sets, hashes, sorted sets and streams differ only in what an element is and in
//! how one of several values is chosen.
//!
//! An element is present as in an observed-remove set: a removal counts only if its replica had seen the element's
//! last change, so concurrent additions and updates win. Where no element is remembered ("by whole key"), one changed
//! side that had seen the agreed version wins, else all are united, and the report says so.
//!
//! Nothing here looks at elements that were not shown, so siblings may be partial.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::case::{AgreedView, BaseView, Case, Side};
use super::contest::{Account, AgreedValue, Contest, Voice, contest};
use super::counter::Quantity;
use super::decide::{Question, Verdict};
use super::memory::Standing;
use super::outcome::{Changes, Note, Outcome};
use super::recorded::{Heed, heed};
use super::whole_key::{by_whole_key, whole_key};
use super::{Merged, expiry, register};
use crate::model::{
    Amount, Digester, ElementMemory, Expiry, HashRule, Kind, Memory, OnDeleteConflict, Stamped,
    Value, ValueDigest, Version,
};

/// What an element of a kind of collection is.
pub(super) trait Collection {
    /// By what an element is found.
    type Name: Ord + Clone;
    /// What it holds.
    type Item: Ord + Clone;
    /// The kind of value.
    const KIND: Kind;

    /// The names of a value's elements, in order.
    fn names(value: &Value) -> Vec<Self::Name>;
    /// One element, with its own expiry.
    fn get(value: &Value, name: &Self::Name) -> Option<(Self::Item, Expiry)>;
    /// The value with these elements, without what is not an element.
    fn build(elements: Vec<Element<Self>>) -> Value;
    /// The digest of a collection of this element alone.
    fn digest(
        digester: &mut Digester,
        name: &Self::Name,
        item: &Self::Item,
        expiry: Expiry,
    ) -> ValueDigest;
    /// The name as it is remembered.
    fn to_bytes(name: &Self::Name) -> Bytes;
    /// The name behind a remembered one.
    fn from_bytes(name: &Bytes) -> Option<Self::Name>;
    /// The number in it, where it is one.
    fn amount(item: &Self::Item) -> Option<Amount>;
    /// The item again, where the memory tells it.
    fn recall(memory: &ElementMemory) -> Option<Self::Item>;
}

/// One element of a merged collection.
#[derive(Debug)]
pub(super) struct Element<C: Collection + ?Sized> {
    pub(super) name: C::Name,
    pub(super) item: C::Item,
    pub(super) expiry: Expiry,
}

/// How a collection decides an element that the contest left present.
pub(super) type Decide<C> =
    fn(&Question<'_, '_, C>, &mut Vec<Note>) -> Verdict<<C as Collection>::Item>;

/// Merges a collection.
pub(super) fn merge<C: Collection>(
    case: &Case<'_>,
    rule: &'static str,
    decide: Decide<C>,
    digester: &mut Digester,
) -> Merged {
    if by_whole_key(case, C::KIND) {
        return whole_key::<C>(case, decide, digester);
    }
    let (mut notes, mut changes) = (Vec::new(), Changes::default());
    let (mut elements, mut untouched) = (Vec::new(), BTreeMap::new());
    for name in names::<C>(case) {
        let voices = voices::<C>(case, &name, digester);
        let verdict = ask::<C>(case, &name, &voices, decide, &mut notes);
        note_change(case, &mut changes, || C::to_bytes(&name), &verdict);
        match verdict {
            Verdict::Present { item, expiry, .. } => elements.push(Element { name, item, expiry }),
            Verdict::Absent { .. } => {}
            Verdict::Untouched(reason) => {
                untouched.insert(C::to_bytes(&name), reason);
            }
        }
    }
    let value = C::build(elements);
    let held = case.sides.iter().any(|side| side.state.is_some());
    let stays = case.shown.is_some() && held || !untouched.is_empty();
    let mut target = register::target(case, None, expiry::merged(case));
    target.value = (stays || !value.is_void()).then_some(value);
    target.untouched = untouched;
    changes.key = !(changes.added.is_empty() && changes.removed.is_empty());
    Merged {
        changes,
        ..register::answer(case, Outcome::Target(target), false, rule, notes)
    }
}

/// The elements to decide: those shown, else all that a sibling or the agreement has.
fn names<C: Collection>(case: &Case<'_>) -> BTreeSet<C::Name> {
    if let Some(shown) = case.shown {
        return shown.iter().filter_map(C::from_bytes).collect();
    }
    let held = case.sides.iter().filter_map(Side::value).flat_map(C::names);
    let agreed = elements(case.agreed_memory(), C::KIND)
        .into_iter()
        .flat_map(BTreeMap::keys);
    held.chain(agreed.filter_map(C::from_bytes)).collect()
}

fn elements(memory: Option<&Memory>, kind: Kind) -> Option<&BTreeMap<Bytes, ElementMemory>> {
    memory.filter(|memory| memory.kind == kind)?.elements()
}

fn ask<'a, C: Collection>(
    case: &Case<'a>,
    name: &C::Name,
    voices: &[Voice<'a, C::Item>],
    decide: Decide<C>,
    notes: &mut Vec<Note>,
) -> Verdict<C::Item> {
    let (agreed, agreed_quantity) = agreed::<C>(case, name, voices);
    let contest = contest(voices, agreed.clone(), OnDeleteConflict::UpdateWins);
    if let Contest::Absent { changed } = contest {
        return Verdict::Absent { changed };
    }
    decide(
        &Question {
            case,
            name,
            voices,
            agreed,
            agreed_quantity,
            contest,
        },
        notes,
    )
}

/// What is agreed on one element.
fn agreed<C: Collection>(
    case: &Case<'_>,
    name: &C::Name,
    voices: &[Voice<'_, C::Item>],
) -> (AgreedValue<C::Item>, Quantity) {
    let Some(agreed) = case.agreed else {
        return (AgreedValue::Unknown, Quantity::Nothing);
    };
    match remembered::<C>(agreed.memory, name) {
        Some(memory) if agreed.everybody && is_lost::<C>(case, memory, voices) => {
            (AgreedValue::Lost, Quantity::remembered(memory.amount))
        }
        Some(memory) => (
            AgreedValue::Present(C::recall(memory)),
            Quantity::remembered(memory.amount),
        ),
        None if agreed.memory.is_none() || agreed.removed.contains_key(&C::to_bytes(name)) => {
            (AgreedValue::Removed, Quantity::Nothing)
        }
        None => (AgreedValue::Unknown, Quantity::Nothing),
    }
}

/// Whether nobody holds an element any more, and the memory does not tell it.
fn is_lost<C: Collection>(
    case: &Case<'_>,
    memory: &ElementMemory,
    voices: &[Voice<'_, C::Item>],
) -> bool {
    let counts = case.policy.rules.hash == HashRule::Counter && memory.amount.is_some();
    let is_told = counts || C::recall(memory).is_some();
    !is_told && !voices.iter().any(|voice| voice.holds_agreed)
}

fn remembered<'a, C: Collection>(
    memory: Option<&'a Memory>,
    name: &C::Name,
) -> Option<&'a ElementMemory> {
    elements(memory, C::KIND)?.get(&C::to_bytes(name))
}

/// A voice for each sibling in the contest about one element.
fn voices<'a, C: Collection>(
    case: &Case<'a>,
    name: &C::Name,
    digester: &mut Digester,
) -> Vec<Voice<'a, C::Item>> {
    let agreed = case
        .agreed
        .and_then(|agreed| remembered::<C>(agreed.memory, name));
    let heed = heed(case, C::KIND);
    // What ends by itself is a matter between those that can hold its end: whoever cannot keeps what it has.
    let is_ending = |side: &Side<'_>| {
        let held = side.value().and_then(|value| C::get(value, name));
        side.fields_can_end && held.is_some_and(|(_, expiry)| expiry != Expiry::Never)
    };
    let ends = case.sides.iter().any(is_ending);
    case.sides
        .iter()
        .filter(|side| side.fields_can_end || !ends)
        .map(|side| {
            let held = side.value().and_then(|value| C::get(value, name));
            let digest = held
                .as_ref()
                .filter(|_| case.remembers)
                .map(|(item, expiry)| C::digest(digester, name, item, *expiry));
            let before = side
                .base
                .and_then(|base| remembered::<C>(base.memory, name));
            let unchanged = digest == before.map(|memory| memory.digest);
            Voice {
                replica: side.replica,
                datacenter: side.datacenter,
                expiry: held.as_ref().map_or(Expiry::Never, |(_, expiry)| *expiry),
                account: account::<C>(case, side.base, name, unchanged),
                holds_agreed: digest.is_some() && digest == agreed.map(|memory| memory.digest),
                base: before.map_or(Quantity::Nothing, |b| Quantity::remembered(b.amount)),
                stamped: stamped(case, side, &C::to_bytes(name), heed),
                heed,
                value: held.map(|(item, _)| item),
            }
        })
        .collect()
}

/// What stamps say of an element at a sibling: whoever removed the whole key removed it, too.
fn stamped(case: &Case<'_>, side: &Side<'_>, name: &Bytes, heed: Heed) -> Stamped {
    let Some(stamps) = side.stamps.filter(|_| heed != Heed::Nothing) else {
        return Stamped::default();
    };
    let own = stamps.of(name);
    let whole = stamps.key.removed.max(case.overwritten);
    Stamped {
        removed: own.removed.max(whole),
        ..own
    }
}

fn account<C: Collection>(
    case: &Case<'_>,
    base: Option<BaseView<'_>>,
    name: &C::Name,
    unchanged: bool,
) -> Account {
    let Some(base) = base.filter(|_| !case.on_equal_terms) else {
        return Account::Unknown;
    };
    if unchanged {
        return Account::Unchanged;
    }
    let name = C::to_bytes(name);
    Account::Changed {
        had_seen: case
            .agreed
            .is_none_or(|agreed| base.seen.of(&name) >= last_change(&agreed, C::KIND, &name)),
        rolled_back: base.standing == Standing::RolledBack,
    }
}

/// The version of an element's last change.
fn last_change(agreed: &AgreedView<'_>, kind: Kind, name: &Bytes) -> Version {
    let present = elements(agreed.memory, kind).and_then(|all| all.get(name));
    match (present, agreed.removed.get(name)) {
        (Some(memory), _) => memory.changed,
        (None, Some(version)) => *version,
        (None, None) if agreed.memory.is_none() => agreed.version,
        (None, None) => Version::default(),
    }
}

fn note_change<I>(
    case: &Case<'_>,
    changes: &mut Changes,
    name: impl Fn() -> Bytes,
    verdict: &Verdict<I>,
) {
    match verdict {
        _ if !case.remembers => {}
        Verdict::Present { changed: true, .. } => drop(changes.added.insert(name())),
        Verdict::Absent { changed: true } => drop(changes.removed.insert(name())),
        Verdict::Present { .. } | Verdict::Absent { .. } | Verdict::Untouched(_) => {}
    }
}

/// What is remembered of a collection's elements.
pub(super) fn remember_elements<C: Collection>(
    value: &Value,
    changed: impl Fn(&Bytes) -> Version,
    digester: &mut Digester,
) -> BTreeMap<Bytes, ElementMemory> {
    let elements = C::names(value).into_iter().filter_map(|name| {
        let (item, expiry) = C::get(value, &name)?;
        let digest = C::digest(digester, &name, &item, expiry);
        let name = C::to_bytes(&name);
        let memory = ElementMemory {
            digest,
            changed: changed(&name),
            amount: C::amount(&item),
        };
        Some((name, memory))
    });
    elements.collect()
}
