//! A base, and what a run wrote to the replica since: what differs between what was read and what was written. Pure.
//!
//! ```text
//! counters     base + (wrote - read)
//! elements     base, but for those in which read and wrote differ: as written
//! registers    as written
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::{
    Amount, Body, Digester, ElementMemory, Field, HashRule, Kind, Memory, Policy, Score,
    StringRule, Value, ValueDigest, Version, ZsetRule,
};

/// Which numbers are counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counting {
    strings: bool,
    fields: bool,
    scores: bool,
}

impl Counting {
    /// As a policy says.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            strings: policy.rules.string == StringRule::Counter,
            fields: policy.rules.hash == HashRule::Counter,
            scores: policy.rules.zset == ZsetRule::Counter,
        }
    }

    /// Whether what is remembered is a counter, or holds some.
    pub(crate) fn counts(self, memory: &Memory) -> bool {
        match memory.kind {
            Kind::String => self.strings && matches!(memory.body, Body::Counter(_)),
            Kind::Hash => self.fields,
            Kind::SortedSet => self.scores,
            Kind::List | Kind::Set | Kind::Stream | Kind::Module => false,
        }
    }
}

/// The base with what was written since, given what was read before.
pub(crate) fn overlay(
    base: Option<Memory>,
    read: Option<&Memory>,
    wrote: Option<&Memory>,
    counting: Counting,
    digester: &mut Digester,
) -> Option<Memory> {
    if same(read, wrote) {
        return base;
    }
    if same(read, base.as_ref()) {
        return wrote.cloned();
    }
    if let Some(wrote) = wrote
        && let Some(total) = total(base.as_ref(), read, wrote, counting)
    {
        return Some(counter(total, wrote, digester));
    }
    match elements(base.as_ref(), read, wrote, counting, digester) {
        Some(merged) => merged,
        None => wrote.cloned(),
    }
}

/// SUBTLE: the digest does not tell it alone. Where an element had to wait, the rest of a base moved on without it, and
/// the digest of the whole is that of the state that was read.
fn same(one: Option<&Memory>, other: Option<&Memory>) -> bool {
    let shown = |memory: &Memory| (memory.kind, memory.digest, memory.expiry);
    let elements = |memory: Option<&Memory>| -> Option<Vec<(Bytes, ValueDigest)>> {
        let elements = memory?.elements()?.iter();
        Some(
            elements
                .map(|(name, element)| (name.clone(), element.digest))
                .collect(),
        )
    };
    one.map(shown) == other.map(shown) && elements(one) == elements(other)
}

/// The number that a counter's base becomes; nothing for what is no counter.
fn total(
    base: Option<&Memory>,
    read: Option<&Memory>,
    wrote: &Memory,
    counting: Counting,
) -> Option<i64> {
    if !counting.strings {
        return None;
    }
    let number = |memory: Option<&Memory>| match memory.map(|memory| &memory.body) {
        None => Some(0),
        Some(Body::Counter(number)) => Some(*number),
        Some(_) => None,
    };
    let delta = number(Some(wrote))?.checked_sub(number(read)?)?;
    number(base)?.checked_add(delta)
}

fn counter(total: i64, like: &Memory, digester: &mut Digester) -> Memory {
    Memory {
        digest: digester.string(total.to_string().as_bytes()),
        body: Body::Counter(total),
        ..like.clone()
    }
}

/// The elements of a collection's base; nothing where they are not remembered one by one.
fn elements(
    base: Option<&Memory>,
    read: Option<&Memory>,
    wrote: Option<&Memory>,
    counting: Counting,
    digester: &mut Digester,
) -> Option<Option<Memory>> {
    let none = BTreeMap::new();
    let like = wrote.or(base)?;
    let of = |memory: Option<&Memory>| match memory {
        None => Some(none.clone()),
        Some(memory) if memory.kind == like.kind => memory.elements().cloned(),
        Some(_) => None,
    };
    let (mut merged, before, after) = (of(base)?, of(read)?, of(wrote)?);
    let names: BTreeSet<Bytes> = before.keys().chain(after.keys()).cloned().collect();
    for name in names {
        let (was, is) = (before.get(&name), after.get(&name));
        if was.map(|one| one.digest) == is.map(|one| one.digest) {
            continue;
        }
        let counted = counted(merged.get(&name), was, is, counting)
            .map(|amount| element(&name, amount, digester));
        match counted.or_else(|| is.cloned()) {
            Some(element) => drop(merged.insert(name, element)),
            None => drop(merged.remove(&name)),
        }
    }
    if merged.is_empty() {
        return Some(None);
    }
    let digests = |all: &BTreeMap<Bytes, ElementMemory>| -> Vec<ValueDigest> {
        all.values().map(|element| element.digest).collect()
    };
    let known = [base, wrote].into_iter().flatten().find(|memory| {
        let all = memory.elements();
        all.is_some_and(|all| all.keys().eq(merged.keys()) && digests(all) == digests(&merged))
    });
    let mut memory = known.unwrap_or(like).clone();
    if known.is_none() {
        memory.digest = unlike(&memory.digest);
    }
    if let (Some(read), Some(base)) = (read, base)
        && wrote.is_none_or(|wrote| read.expiry == wrote.expiry)
    {
        memory.expiry = base.expiry;
    }
    *memory.elements_mut()? = merged;
    Some(Some(memory))
}

/// The number that an element's base becomes; nothing for what is not counted.
fn counted(
    base: Option<&ElementMemory>,
    read: Option<&ElementMemory>,
    wrote: Option<&ElementMemory>,
    counting: Counting,
) -> Option<Amount> {
    match wrote?.amount? {
        Amount::Integer(is) if counting.fields => {
            let number = |element: Option<&ElementMemory>| match element.map(|one| one.amount) {
                None => Some(0),
                Some(Some(Amount::Integer(number))) => Some(number),
                Some(_) => None,
            };
            let delta = is.checked_sub(number(read)?)?;
            Some(Amount::Integer(number(base)?.checked_add(delta)?))
        }
        Amount::Score(is) if counting.scores => {
            let number = |element: Option<&ElementMemory>| match element.map(|one| one.amount) {
                None => Some(0.0),
                Some(Some(Amount::Score(score))) => Some(score.get()),
                Some(_) => None,
            };
            let sum = number(base)? + (is.get() - number(read)?);
            Score::new(sum).map(Amount::Score)
        }
        Amount::Integer(_) | Amount::Score(_) => None,
    }
}

fn element(name: &Bytes, amount: Amount, digester: &mut Digester) -> ElementMemory {
    let value = match amount {
        Amount::Integer(number) => {
            let field = Field::lasting(number.to_string());
            Value::Hash(BTreeMap::from([(name.clone(), field)]))
        }
        Amount::Score(score) => Value::SortedSet(BTreeMap::from([(name.clone(), score)])),
    };
    ElementMemory {
        digest: digester.value(&value),
        changed: Version::default(),
        amount: Some(amount),
    }
}

/// A digest that no value has: what was put together of two states is none that a replica was ever seen to hold.
fn unlike(digest: &ValueDigest) -> ValueDigest {
    let mut bytes = *digest.as_bytes();
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    ValueDigest::from_bytes(bytes)
}
