//! Writes that carry data and stamps together: what they are worked out from, and what they leave alone. Pure.
//!
//! A collection that is changed element by element is compared by the elements that are touched, so that clients may
//! go on writing others. Whatever is put or removed whole is compared whole.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::model::{Expect, Kind, Op, Stamps, State, Witness};
use crate::store::only;

use super::resolve::Stable;

/// Whether what a replica holds can be written together with stamps.
pub(super) fn is_stamped(sibling: &Stable<'_>) -> bool {
    let kind = sibling.state.map(|state| state.value.kind());
    sibling.stamps.is_some()
        && match kind {
            None | Some(Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet) => true,
            Some(Kind::List | Kind::Stream | Kind::Module) => false,
        }
}

/// The write that brings a replica to these stamps, and by these operations to its target. Nothing where there is
/// nothing to write.
pub(super) fn stamped(
    state: Option<&State>,
    mut ops: Vec<Op>,
    held: &Stamps,
    wanted: &Stamps,
) -> Option<(Expect, Vec<Op>)> {
    let changed: BTreeSet<Bytes> = names(held)
        .chain(names(wanted))
        .filter(|name| held.of(name) != wanted.of(name))
        .cloned()
        .collect();
    if ops.is_empty() && changed.is_empty() && held.key == wanted.key {
        return None;
    }
    let is_whole = |op: &Op| matches!(op, Op::Put(_) | Op::Remove);
    let by_element = state.is_some_and(|state| state.value.kind() != Kind::String);
    let touched = (by_element && !ops.iter().any(is_whole)).then(|| {
        ops.iter()
            .flat_map(touched)
            .chain(changed.iter().cloned())
            .collect()
    });
    let looked_at: BTreeSet<Bytes> = match &touched {
        Some(touched) => BTreeSet::clone(touched),
        None => names(held).chain(changed.iter()).cloned().collect(),
    };
    let witness = Witness {
        held: state.map(|state| shown(state, touched.as_ref())),
        touched,
        stamps: part(held, &looked_at),
        only_stamps: false,
    };
    if !changed.is_empty() || held.key != wanted.key {
        ops.push(Op::Stamp(part(wanted, &changed)));
    }
    Some((Expect::Stamped(Box::new(witness)), ops))
}

fn names(stamps: &Stamps) -> impl Iterator<Item = &Bytes> {
    stamps.elements.keys()
}

fn part(stamps: &Stamps, names: &BTreeSet<Bytes>) -> Stamps {
    let of = |name: &Bytes| (name.clone(), stamps.of(name));
    Stamps {
        key: stamps.key,
        elements: names.iter().map(of).collect(),
    }
}

fn shown(state: &State, touched: Option<&BTreeSet<Bytes>>) -> State {
    let names = |touched: &BTreeSet<Bytes>| touched.iter().cloned().collect::<Vec<_>>();
    let value = touched.and_then(|touched| only(&state.value, &names(touched)));
    State {
        value: value.unwrap_or_else(|| state.value.clone()),
        expiry: state.expiry,
    }
}

/// The elements that an operation sets or removes.
fn touched(op: &Op) -> Vec<Bytes> {
    match op {
        Op::SetFields(pairs) => pairs.iter().map(|(name, _)| name.clone()).collect(),
        Op::SetScores(pairs) => pairs.iter().map(|(name, _)| name.clone()).collect(),
        Op::ExpireField(name, _) => vec![name.clone()],
        Op::RemoveFields(names)
        | Op::AddMembers(names)
        | Op::RemoveMembers(names)
        | Op::RemoveScored(names) => names.clone(),
        _ => Vec::new(),
    }
}
