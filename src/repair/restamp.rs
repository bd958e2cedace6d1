//! Writes that carry data and stamps together: what they are worked out from, and what they leave alone. Pure.
//!
//! A collection that is changed element by element is compared by the elements that are touched, so that clients may
//! go on writing others. Whatever is put or removed whole is compared whole.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::model::{Counts, Expect, Kind, Op, Stamped, Stamps, State, Witness};
use crate::store::only;

use super::increase::FAR_FROM_OVERFLOW;
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
    let is_recounted = held.counts != wanted.counts;
    if ops.is_empty() && changed.is_empty() && held.key == wanted.key && !is_recounted {
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
        watched: None,
        is_unraised: held.key.added > wanted.key.added,
    };
    if is_recounted && held.counts.is_some() {
        ops.push(Op::Uncount);
    }
    if !changed.is_empty() || held.key != wanted.key || is_recounted {
        ops.push(Op::Stamp(part(wanted, &changed)));
    }
    Some((Expect::Stamped(Box::new(witness)), ops))
}

/// How a counter that a replica counts since the same beginning gets what others counted, whatever its clients count
/// meanwhile. Nothing where it has to be written whole.
pub(super) fn counted(
    state: &State,
    wanted: &State,
    held: &Stamps,
    then: &Stamps,
) -> Option<(Expect, Vec<Op>)> {
    let (now, counts) = (held.counts.as_ref()?, then.counts.as_ref()?);
    if (now.since, now.base) != (counts.since, counts.base) {
        return None;
    }
    let beyond = counts.beyond(now);
    let delta = counts.total()?.checked_sub(now.total()?)?;
    let is_far = [counts.total()?, delta]
        .iter()
        .all(|number| number.unsigned_abs() < FAR_FROM_OVERFLOW);
    if beyond.is_empty() || !is_far {
        return None;
    }
    let of = |parts| Counts {
        parts,
        ..counts.clone()
    };
    let touched: BTreeSet<Bytes> = beyond.keys().cloned().collect();
    let was = now.parts.iter().filter(|(name, _)| touched.contains(*name));
    let was = was.map(|(name, part)| (name.clone(), *part)).collect();
    let stamps = |key, parts| Stamps {
        key,
        counts: Some(of(parts)),
        ..Stamps::default()
    };
    let witness = Witness {
        held: Some(state.clone()),
        touched: Some(touched),
        stamps: stamps(held.key, was),
        only_stamps: false,
        watched: None,
        is_unraised: false,
    };
    let increase = (delta != 0).then_some(Op::IncreaseBy(delta));
    let expire = (state.expiry != wanted.expiry).then_some(Op::Expire(wanted.expiry));
    let stamp = Op::Stamp(stamps(then.key, beyond));
    let ops = increase.into_iter().chain(expire).chain([stamp]).collect();
    Some((Expect::Stamped(Box::new(witness)), ops))
}

/// The write that takes a replica back to these stamps, and by these operations to what it held: compared whole, or of a
/// large collection by these elements. The time of the key's last write is lowered, if nobody has raised it meanwhile.
pub(super) fn back(
    (state, touched): (Option<&State>, Option<BTreeSet<Bytes>>),
    mut ops: Vec<Op>,
    held: &Stamps,
    wanted: &Stamps,
) -> Option<(Expect, Vec<Op>)> {
    let all = names(held).chain(names(wanted));
    let changed: BTreeSet<Bytes> = all
        .filter(|name| held.of(name) != wanted.of(name))
        .cloned()
        .collect();
    let is_restamped = !changed.is_empty() || held.key != wanted.key;
    let is_recounted = held.counts != wanted.counts;
    if ops.is_empty() && !is_restamped && !is_recounted {
        return None;
    }
    let touched = touched.filter(|_| state.is_some());
    let looked_at = match &touched {
        Some(touched) => touched.union(&changed).cloned().collect(),
        None => names(held).chain(&changed).cloned().collect(),
    };
    let is_lowered = held.key.added > wanted.key.added;
    let witness = Witness {
        held: state.map(|state| shown(state, touched.as_ref())),
        touched: touched.map(|touched| touched.union(&changed).cloned().collect()),
        stamps: part(held, &looked_at),
        only_stamps: false,
        watched: None,
        is_unraised: is_lowered,
    };
    if is_recounted && held.counts.is_some() {
        ops.push(Op::Uncount);
    }
    if is_lowered {
        // What is only ever raised has to go first.
        ops.push(Op::Stamp(Stamps {
            key: Stamped {
                added: None,
                ..wanted.key
            },
            ..Stamps::default()
        }));
    }
    if is_restamped || is_recounted {
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
        counts: stamps.counts.clone(),
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
