//! The least operations that bring a key from what a replica holds to what it should hold.
//!
//! Pure. Deliberately absent: what the target is (the merge), and whether the key still holds what it held (the
//! conditional write).

use bytes::Bytes;

use crate::crdt::alike;
use crate::model::{Expiry, Field, Op, State, Stream, StreamId, Value};
use std::collections::BTreeMap;

/// A stream of up to this many entries is rebuilt in one transaction when older entries are missing; longer ones are
/// rebuilt aside.
pub const REBUILD_ENTRIES: usize = 1000;

/// A stream of up to this many entries is rebuilt aside when older entries are missing; longer ones are reported.
pub const REBUILD_ASIDE_ENTRIES: u64 = 1_000_000;

/// Why a stream cannot be brought to its target: IDs only rise, so that older entries need a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// A rebuild would lose the positions and pending entries of its consumer groups.
    #[error("the stream needs a rebuild, which would lose what its consumer groups have pending")]
    HasGroups,
    /// It is too long to be rebuilt in one transaction: that can be done aside.
    #[error("the stream needs to be rebuilt aside")]
    Aside,
    /// It is too long to be rebuilt at all.
    #[error(
        "the stream needs a rebuild and has {entries} entries, more than {REBUILD_ASIDE_ENTRIES}"
    )]
    TooLong {
        /// Entries of all replicas together.
        entries: u64,
    },
}

/// What operations cost, so that a transaction can be bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpsWeight {
    /// Elements that are written or removed; at least 1 for each operation.
    pub elements: usize,
    /// Bytes of names and values that are sent.
    pub bytes: usize,
}

/// The least operations that bring a key from `now` to `target`; nothing is absent. None where they are equal.
///
/// With `keep_expiry` a key that is there keeps the expiry it has, whatever the target's; a created key gets the
/// target's. The expiry of a hash field belongs to the value and is always brought to the target's.
///
/// # Errors
/// When a stream would have to be rebuilt and must not be.
pub fn ops_to_reach(
    now: Option<&State>,
    target: Option<&State>,
    keep_expiry: bool,
) -> Result<Vec<Op>, Unreachable> {
    let present = |state: &&State| !state.value.is_void();
    match (now.filter(present), target.filter(present)) {
        (None, None) => Ok(Vec::new()),
        (Some(_), None) => Ok(vec![Op::Remove]),
        (None, Some(target)) => {
            let put = vec![Op::Put(target.value.clone())];
            Ok(with_expiry(put, Expiry::Never, target.expiry))
        }
        (Some(now), Some(target)) => {
            let wanted = if keep_expiry {
                now.expiry
            } else {
                target.expiry
            };
            let ops = value_ops(&now.value, &target.value)?;
            // A value that is put takes the expiry away.
            let replaced = matches!(ops.first(), Some(Op::Put(_)));
            let left = if replaced { Expiry::Never } else { now.expiry };
            Ok(with_expiry(ops, left, wanted))
        }
    }
}

/// The operations that bring the shown elements of a large collection from `now` to `target`, and its expiry. Both show
/// the same elements only, so a void one is no absent key, and nothing here puts or removes a whole one.
///
/// # Errors
/// When a stream would have to be rebuilt.
pub fn ops_within(now: &State, target: &State) -> Result<Vec<Op>, Unreachable> {
    let ops = value_ops(&now.value, &target.value)?;
    if ops.iter().any(|op| matches!(op, Op::Put(_) | Op::Remove)) {
        return Err(Unreachable::Aside);
    }
    Ok(with_expiry(ops, now.expiry, target.expiry))
}

/// What these operations cost together.
pub fn weight(ops: &[Op]) -> OpsWeight {
    ops.iter()
        .map(weight_of)
        .fold(OpsWeight::default(), |sum, one| OpsWeight {
            elements: sum.elements + one.elements.max(1),
            bytes: sum.bytes + one.bytes,
        })
}

fn with_expiry(mut ops: Vec<Op>, left: Expiry, wanted: Expiry) -> Vec<Op> {
    if left != wanted {
        ops.push(Op::Expire(wanted));
    }
    ops
}

fn value_ops(now: &Value, target: &Value) -> Result<Vec<Op>, Unreachable> {
    if alike(now, target) {
        return Ok(Vec::new());
    }
    Ok(match (now, target) {
        (Value::List(now), Value::List(target)) => list_ops(now, target),
        (Value::Hash(now), Value::Hash(target)) => hash_ops(now, target),
        (Value::Set(now), Value::Set(target)) => changes(
            Op::AddMembers(target.difference(now).cloned().collect()),
            Op::RemoveMembers(now.difference(target).cloned().collect()),
        ),
        (Value::SortedSet(now), Value::SortedSet(target)) => {
            let differs = |(member, score): &(&Bytes, &_)| now.get(*member) != Some(*score);
            let set = target.iter().filter(differs);
            changes(
                Op::SetScores(
                    set.map(|(member, score)| (member.clone(), *score))
                        .collect(),
                ),
                Op::RemoveScored(lacking(now, target)),
            )
        }
        (Value::Stream(now), Value::Stream(target)) => return stream_ops(now, target),
        _ => vec![Op::Put(target.clone())],
    })
}

/// SUBTLE: additions first. A collection that is emptied in between would lose its expiry.
fn changes(added: Op, removed: Op) -> Vec<Op> {
    [added, removed]
        .into_iter()
        .filter(|op| weight_of(op).elements > 0)
        .collect()
}

fn lacking<K: Ord + Clone, V, W>(now: &BTreeMap<K, V>, target: &BTreeMap<K, W>) -> Vec<K> {
    now.keys()
        .filter(|key| !target.contains_key(key))
        .cloned()
        .collect()
}

/// Only what grew at its ends is added to; any other list is put whole.
fn list_ops(now: &[Bytes], target: &[Bytes]) -> Vec<Op> {
    match target.windows(now.len()).position(|part| part == now) {
        Some(start) => changes(
            Op::Prepend(target[..start].to_vec()),
            Op::Append(target[start + now.len()..].to_vec()),
        ),
        None => vec![Op::Put(Value::List(target.to_vec()))],
    }
}

fn hash_ops(now: &BTreeMap<Bytes, Field>, target: &BTreeMap<Bytes, Field>) -> Vec<Op> {
    let mut set = Vec::new();
    let mut expire = Vec::new();
    for (name, field) in target {
        let held = now.get(name);
        // Setting a field takes its expiry away.
        let left = match held {
            Some(held) if held.value == field.value => held.expiry,
            _ => {
                set.push((name.clone(), field.value.clone()));
                Expiry::Never
            }
        };
        if left != field.expiry {
            expire.push(Op::ExpireField(name.clone(), field.expiry));
        }
    }
    let mut ops = changes(Op::SetFields(set), Op::RemoveFields(Vec::new()));
    ops.append(&mut expire);
    ops.extend(changes(
        Op::SetFields(Vec::new()),
        Op::RemoveFields(lacking(now, target)),
    ));
    ops
}

fn stream_ops(now: &Stream, target: &Stream) -> Result<Vec<Op>, Unreachable> {
    if needs_rebuild(now, target) {
        return rebuild(now, target);
    }
    let appended: Vec<_> = target.entries.range(above(now.last_id)).collect();
    let last = appended.last().map_or(now.last_id, |(id, _)| **id);
    let entries = appended
        .into_iter()
        .map(|(id, pairs)| (*id, pairs.clone()))
        .collect();
    let mut ops = changes(
        Op::RemoveEntries(lacking(&now.entries, &target.entries)),
        Op::AppendEntries(entries),
    );
    if last < target.last_id {
        ops.push(Op::RaiseLastId(target.last_id));
    }
    let missing = target
        .groups
        .iter()
        .filter(|(name, _)| !now.groups.contains_key(*name));
    ops.extend(missing.map(|(name, id)| Op::CreateGroup(name.clone(), *id)));
    Ok(ops)
}

fn above(id: StreamId) -> (std::ops::Bound<StreamId>, std::ops::Bound<StreamId>) {
    (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded)
}

/// Whether the target lacks a group, has a lower last ID, or an entry that the stream passed over or holds otherwise.
fn needs_rebuild(now: &Stream, target: &Stream) -> bool {
    let mut older = target.entries.range(..=now.last_id);
    target.last_id < now.last_id
        || older.any(|(id, pairs)| now.entries.get(id) != Some(pairs))
        || now
            .groups
            .keys()
            .any(|name| !target.groups.contains_key(name))
}

fn rebuild(now: &Stream, target: &Stream) -> Result<Vec<Op>, Unreachable> {
    let entries = now.entries.len().max(target.entries.len());
    if !now.groups.is_empty() {
        return Err(Unreachable::HasGroups);
    }
    if entries > REBUILD_ENTRIES {
        return Err(Unreachable::Aside);
    }
    Ok(vec![Op::Put(Value::Stream(target.clone()))])
}

/// An operation's own weight; no elements where it would do nothing.
fn weight_of(op: &Op) -> OpsWeight {
    let of = |elements, bytes| OpsWeight { elements, bytes };
    let names = |names: &[Bytes]| of(names.len(), names.iter().map(Bytes::len).sum());
    match op {
        Op::Remove
        | Op::RaiseLastId(_)
        | Op::IncreaseBy(_)
        | Op::Expire(_)
        | Op::TakeAside(_)
        | Op::Uncount => of(1, 0),
        Op::Put(value) => of(value.element_count(), value.payload_bytes()),
        Op::Restore(payload) => of(1, payload.len()),
        Op::SetFields(pairs) => of(pairs.len(), pair_bytes(pairs)),
        Op::ExpireField(name, _) | Op::CreateGroup(name, _) => of(1, name.len()),
        Op::RemoveFields(list)
        | Op::AddMembers(list)
        | Op::RemoveMembers(list)
        | Op::RemoveScored(list)
        | Op::Prepend(list)
        | Op::Append(list) => names(list),
        Op::SetScores(pairs) => of(
            pairs.len(),
            pairs.iter().map(|(member, _)| member.len() + 8).sum(),
        ),
        Op::IncreaseFields(pairs) | Op::IncreaseScores(pairs) => of(
            pairs.len(),
            pairs.iter().map(|(name, _)| name.len() + 8).sum(),
        ),
        Op::AppendEntries(entries) => of(
            entries.len(),
            entries
                .iter()
                .map(|(_, pairs)| 16 + pair_bytes(pairs))
                .sum(),
        ),
        Op::RemoveEntries(ids) => of(ids.len(), 16 * ids.len()),
        Op::Stamp(stamps) => of(
            1 + stamps.elements.len(),
            stamps.elements.keys().map(|name| name.len() + 8).sum(),
        ),
    }
}

fn pair_bytes(pairs: &[(Bytes, Bytes)]) -> usize {
    pairs
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum()
}

#[cfg(test)]
mod tests;
