//! Operations on the elements of hashes, sets, sorted sets and lists.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::{Expiry, Field, Op, Score, State, Value};

use super::{ApplyError, sum};

/// Applies an operation on elements. The result can be an empty collection, which the caller takes for absent.
pub(super) fn apply(state: Option<State>, op: &Op) -> Result<Option<State>, ApplyError> {
    let Some(mut state) = state.or_else(|| created_by(op).map(State::lasting)) else {
        return Ok(None);
    };
    match (op, &mut state.value) {
        (Op::SetFields(pairs), Value::Hash(fields)) => set_fields(fields, pairs),
        (Op::RemoveFields(names), Value::Hash(fields)) => {
            remove_all(fields, names);
        }
        (Op::ExpireField(name, expiry), Value::Hash(fields)) => {
            expire_field(fields, name, *expiry);
        }
        (Op::AddMembers(added), Value::Set(members)) => members.extend(added.iter().cloned()),
        (Op::RemoveMembers(names), Value::Set(members)) => remove_members(members, names),
        (Op::SetScores(pairs), Value::SortedSet(members)) => set_scores(members, pairs),
        (Op::IncreaseFields(deltas), Value::Hash(fields)) => increase_fields(fields, deltas)?,
        (Op::IncreaseScores(deltas), Value::SortedSet(members)) => {
            increase_scores(members, deltas)?;
        }
        (Op::RemoveScored(names), Value::SortedSet(members)) => {
            remove_all(members, names);
        }
        (Op::Prepend(added), Value::List(elements)) => {
            elements.splice(0..0, added.iter().cloned());
        }
        (Op::Append(added), Value::List(elements)) => elements.extend(added.iter().cloned()),
        _ => return Err(ApplyError::WrongType),
    }
    Ok(Some(state))
}

/// The empty collection that an operation creates where there is none; nothing for those that only take away.
fn created_by(op: &Op) -> Option<Value> {
    match op {
        Op::SetFields(_) | Op::IncreaseFields(_) => Some(Value::Hash(BTreeMap::new())),
        Op::AddMembers(_) => Some(Value::Set(BTreeSet::new())),
        Op::SetScores(_) | Op::IncreaseScores(_) => Some(Value::SortedSet(BTreeMap::new())),
        Op::Prepend(_) | Op::Append(_) => Some(Value::List(Vec::new())),
        _ => None,
    }
}

/// HSET takes a field's expiry away.
fn set_fields(fields: &mut BTreeMap<Bytes, Field>, pairs: &[(Bytes, Bytes)]) {
    for (name, value) in pairs {
        fields.insert(name.clone(), Field::lasting(value.clone()));
    }
}

fn expire_field(fields: &mut BTreeMap<Bytes, Field>, name: &Bytes, expiry: Expiry) {
    if let Some(field) = fields.get_mut(name) {
        field.expiry = expiry;
    }
}

fn remove_all<V>(elements: &mut BTreeMap<Bytes, V>, names: &[Bytes]) {
    for name in names {
        elements.remove(name);
    }
}

fn remove_members(members: &mut BTreeSet<Bytes>, names: &[Bytes]) {
    for name in names {
        members.remove(name);
    }
}

fn set_scores(members: &mut BTreeMap<Bytes, Score>, pairs: &[(Bytes, Score)]) {
    members.extend(pairs.iter().cloned());
}

/// HINCRBY keeps a field's expiry, and creates what is missing.
fn increase_fields(
    fields: &mut BTreeMap<Bytes, Field>,
    deltas: &[(Bytes, i64)],
) -> Result<(), ApplyError> {
    for (name, delta) in deltas {
        let zero = || Field::lasting(Bytes::from_static(b"0"));
        let held = fields.get(name).cloned().unwrap_or_else(zero);
        let value = sum(&held.value, *delta)?;
        fields.insert(name.clone(), Field { value, ..held });
    }
    Ok(())
}

fn increase_scores(
    members: &mut BTreeMap<Bytes, Score>,
    deltas: &[(Bytes, i64)],
) -> Result<(), ApplyError> {
    for (member, delta) in deltas {
        let held = members.get(member).map_or(0.0, |score| score.get());
        let sum = Score::new(held + *delta as f64).ok_or(ApplyError::Overflow)?;
        members.insert(member.clone(), sum);
    }
    Ok(())
}
