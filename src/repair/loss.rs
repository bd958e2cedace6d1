//! What a write takes from what a replica holds: nothing, a part, or the key. Pure.
//!
//! Additions take nothing: a missing key is created, an element added, a life made longer. All other writes are
//! destructive: they are counted, done last, and stopped by a guard where they are many.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Field, Op, Registers, State, Stream, Value};

/// What is taken; the greater is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// A value, an element or a lifetime is overwritten, or elements are removed.
    Overwritten,
    /// The key is removed.
    Deleted,
}

/// The losses of one key, by the index of the replica. Nothing where none is.
pub(crate) type Losses = BTreeMap<usize, Loss>;

/// The loss that operations mean for a replica that holds this; of a large collection, the elements that they touch.
pub(crate) fn loss(now: Option<&State>, ops: &[Op]) -> Option<Loss> {
    let now = now?;
    ops.iter().filter_map(|op| loss_of(now, op)).max()
}

fn loss_of(now: &State, op: &Op) -> Option<Loss> {
    let overwrites = match op {
        Op::Remove => return (!now.value.is_void()).then_some(Loss::Deleted),
        Op::Put(value) => !now.value.is_void() && !contains(value, &now.value),
        Op::TakeAside(_) | Op::Restore(_) => !now.value.is_void(),
        Op::SetFields(pairs) => pairs.iter().any(|pair| changes_field(&now.value, pair)),
        Op::ExpireField(name, expiry) => {
            field(&now.value, name).is_some_and(|held| *expiry < held.expiry)
        }
        Op::SetScores(pairs) => match &now.value {
            Value::SortedSet(held) => pairs
                .iter()
                .any(|(member, score)| held.get(member).is_some_and(|held| held != score)),
            _ => false,
        },
        Op::RemoveFields(_) | Op::RemoveMembers(_) | Op::RemoveScored(_) | Op::RemoveEntries(_) => {
            true
        }
        Op::Expire(expiry) => *expiry < now.expiry,
        Op::AddMembers(_)
        | Op::Prepend(_)
        | Op::Append(_)
        | Op::AppendEntries(_)
        | Op::RaiseLastId(_)
        | Op::CreateGroup(..)
        | Op::IncreaseBy(_)
        | Op::IncreaseFields(_)
        | Op::IncreaseScores(_)
        | Op::Stamp(_)
        | Op::Uncount => false,
    };
    overwrites.then_some(Loss::Overwritten)
}

fn changes_field(now: &Value, (name, value): &(Bytes, Bytes)) -> bool {
    field(now, name).is_some_and(|held| held.value != *value)
}

fn field<'a>(value: &'a Value, name: &Bytes) -> Option<&'a Field> {
    match value {
        Value::Hash(fields) => fields.get(name),
        _ => None,
    }
}

/// Whether a whole value that is put has in it all that was there: a HyperLogLog's counts, a rebuilt stream's entries.
/// Of others it is not asked: a value with more bits may be the union of bits, or just another value.
fn contains(put: &Value, now: &Value) -> bool {
    match (put, now) {
        (Value::String(put), Value::String(now)) => {
            match (Registers::parse(put), Registers::parse(now)) {
                (Some(put), Some(now)) => {
                    let mut pairs = put.as_slice().iter().zip(now.as_slice());
                    pairs.all(|(put, now)| put >= now)
                }
                _ => false,
            }
        }
        (Value::Stream(put), Value::Stream(now)) => continues(put, now),
        _ => false,
    }
}

fn continues(put: &Stream, now: &Stream) -> bool {
    let mut entries = now.entries.iter();
    put.last_id >= now.last_id
        && entries.all(|(id, pairs)| put.entries.get(id) == Some(pairs))
        && now.groups.keys().all(|name| put.groups.contains_key(name))
}

#[cfg(test)]
mod tests;
