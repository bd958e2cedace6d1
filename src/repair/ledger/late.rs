//! Late arrivals, where the datacenters also replicate to each other: what a version within the history already had is
//! no change of a client's, but an old write that comes by the other way.
//!
//! Only while somebody holds what is agreed: where all went back, their clients did that. An absence counts as had
//! where it was agreed: a key or element that was removed, not one that had not been there yet.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::Known;
use crate::crdt::Standing;
use crate::model::{Agreement, ElementMemory, Memory, ValueDigest};

/// Makes of a base what the replica holds now, where that is a late arrival: the whole key, by its digest. `held` is
/// what each participant holds; nothing for those that take no part.
pub(crate) fn take_late(
    known: &mut Known<'_>,
    now: Option<&ValueDigest>,
    held: &[Option<Option<ValueDigest>>],
    agreed: &Agreement,
    history: &[Agreement],
) {
    let of = |memory: Option<&Memory>| memory.map(|memory| memory.digest);
    let now = now.copied();
    let stands = held.contains(&Some(of(agreed.memory.as_ref())));
    if known.standing != Standing::Ordinary || now == of(known.memory.as_deref()) || !stands {
        return;
    }
    let had = older(agreed, history).find(|one| of(one.memory.as_ref()) == now);
    if let Some(had) = had.filter(|had| !is_by_element(known.memory.as_deref(), had)) {
        known.memory = had.memory.clone().map(Cow::Owned);
    }
}

/// Whether the elements tell more than the whole: a collection that is again what it once was may have lost elements
/// that never went before.
fn is_by_element(base: Option<&Memory>, had: &Agreement) -> bool {
    let pair = base.zip(had.memory.as_ref());
    pair.is_some_and(|(base, had)| {
        base.kind == had.kind && base.elements().is_some() && had.elements().is_some()
    })
}

/// The same for the elements of a collection. `now` is a memory of what the replica holds, `held` of what all hold.
pub(crate) fn take_late_elements(
    known: &mut Known<'_>,
    now: &Memory,
    held: &[&Memory],
    agreed: &Agreement,
    history: &[Agreement],
) {
    let Some(base) = known.memory.as_deref().filter(|base| base.kind == now.kind) else {
        return;
    };
    let late = late_elements(base, now, held, agreed, history);
    if known.standing != Standing::Ordinary || late.is_empty() {
        return;
    }
    let mut base = base.clone();
    for name in late {
        base.put_element(&name, element(Some(now), &name).cloned());
    }
    known.memory = Some(Cow::Owned(base));
}

fn late_elements(
    base: &Memory,
    now: &Memory,
    held: &[&Memory],
    agreed: &Agreement,
    history: &[Agreement],
) -> Vec<Bytes> {
    let (Some(before), Some(after)) = (base.elements(), now.elements()) else {
        return Vec::new();
    };
    let names: BTreeSet<&Bytes> = before.keys().chain(after.keys()).collect();
    let is_late = |name: &&Bytes| {
        let now = digest(Some(now), name);
        let agreed_one = digest(agreed.memory.as_ref(), name);
        let had = |one: &Agreement| match now {
            Some(_) => digest(one.memory.as_ref(), name) == now,
            None => one.removed.contains_key(*name),
        };
        now != digest(Some(base), name)
            && held
                .iter()
                .any(|one| digest(Some(*one), name) == agreed_one)
            && older(agreed, history).any(had)
    };
    names.into_iter().filter(is_late).cloned().collect()
}

fn older<'a>(agreed: &Agreement, history: &'a [Agreement]) -> impl Iterator<Item = &'a Agreement> {
    let latest = agreed.version;
    history.iter().filter(move |one| one.version < latest)
}

fn digest(memory: Option<&Memory>, name: &Bytes) -> Option<ValueDigest> {
    element(memory, name).map(|element| element.digest)
}

fn element<'a>(memory: Option<&'a Memory>, name: &Bytes) -> Option<&'a ElementMemory> {
    memory?.elements()?.get(name)
}
