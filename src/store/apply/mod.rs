//! What an operation does to a key, exactly as Redis does it: the reference for [`super::MemoryReplica`].
//!
//! Pure: the time comes in as an argument. Deliberately absent: comparing, watching, more than one key.

mod elements;
mod payload;
mod stream;

use std::borrow::Cow;

use bytes::Bytes;

use crate::model::{Expiry, Millis, Op, State, Value};

pub(crate) use payload::encode;
use stream::{append_entries, create_group, raise_last_id, remove_entries};

/// Why Redis refuses an operation. The key is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The key holds another kind of value.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// The string is not a canonical 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// The sum does not fit into 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// An entry's ID is not above the stream's last ID.
    #[error("ERR The ID specified in XADD is equal or smaller than the target stream top item")]
    IdNotAbove,
    /// A stream entry without a field.
    #[error("ERR wrong number of arguments for 'xadd' command")]
    EmptyEntry,
    /// The stream's last ID would be lowered.
    #[error("ERR The ID specified in XSETID is smaller than the target stream top item")]
    IdLowered,
    /// The consumer group is there already.
    #[error("BUSYGROUP Consumer Group name already exists")]
    GroupExists,
    /// No value can be made of these bytes.
    #[error("ERR DUMP payload version or checksum are wrong")]
    BadPayload,
    /// The key, or the value built aside, is not there.
    #[error("ERR no such key")]
    NoSuchKey,
}

/// What a key holds after an operation at this time; nothing is absent.
///
/// A state whose expiry has passed counts as absent. [`Op::TakeAside`] needs a second key and is
/// [`ApplyError::NoSuchKey`] here: a replica turns it into [`Op::Put`] before.
///
/// # Errors
/// When Redis would refuse the operation.
pub fn apply(state: Option<State>, op: &Op, now: Millis) -> Result<Option<State>, ApplyError> {
    let state = live(state, now);
    let next = match op {
        Op::Remove => None,
        Op::Put(value) => Some(State::lasting(value.clone())),
        Op::Restore(payload) => {
            let value = payload::decode(payload).ok_or(ApplyError::BadPayload)?;
            Some(State::lasting(value))
        }
        Op::SetFields(_)
        | Op::RemoveFields(_)
        | Op::ExpireField(..)
        | Op::AddMembers(_)
        | Op::RemoveMembers(_)
        | Op::SetScores(_)
        | Op::IncreaseFields(_)
        | Op::IncreaseScores(_)
        | Op::RemoveScored(_)
        | Op::Prepend(_)
        | Op::Append(_) => elements::apply(state, op)?,
        Op::AppendEntries(entries) => append_entries(state, entries)?,
        Op::RemoveEntries(ids) => remove_entries(state, ids)?,
        Op::RaiseLastId(id) => raise_last_id(state, *id)?,
        Op::CreateGroup(name, id) => create_group(state, name, *id)?,
        Op::IncreaseBy(delta) => Some(increase(state, *delta)?),
        Op::Expire(expiry) => state.map(|state| State {
            expiry: *expiry,
            ..state
        }),
        Op::TakeAside(_) => return Err(ApplyError::NoSuchKey),
        // Stamps stand beside the key.
        Op::Stamp(_) | Op::Uncount => state,
    };
    Ok(live(next, now))
}

/// What of a state is still there at this time: no key or hash field whose expiry has passed, no empty collection.
pub fn live(state: Option<State>, now: Millis) -> Option<State> {
    let mut state = state.filter(|state| !state.expiry.has_passed(now))?;
    if let Value::Hash(fields) = &mut state.value {
        fields.retain(|_, field| !field.expiry.has_passed(now));
    }
    (!state.value.is_void()).then_some(state)
}

/// Whether anything of a state is left at this time: its expiry has not passed, nor that of all its hash fields.
pub fn is_live(state: &State, now: Millis) -> bool {
    let left = match &state.value {
        Value::Hash(fields) => fields.values().any(|field| !field.expiry.has_passed(now)),
        other => !other.is_void(),
    };
    left && !state.expiry.has_passed(now)
}

fn increase(state: Option<State>, delta: i64) -> Result<State, ApplyError> {
    let (text, expiry) = match state {
        None => (Cow::Borrowed(&b"0"[..]), Expiry::Never),
        Some(State {
            value: Value::String(bytes),
            expiry,
        }) => (Cow::Owned(bytes.to_vec()), expiry),
        Some(_) => return Err(ApplyError::WrongType),
    };
    Ok(State {
        value: Value::String(sum(&text, delta)?),
        expiry,
    })
}

/// An integer's text, increased.
fn sum(text: &[u8], delta: i64) -> Result<Bytes, ApplyError> {
    let number = canonical_integer(text).ok_or(ApplyError::NotAnInteger)?;
    let sum = number.checked_add(delta).ok_or(ApplyError::Overflow)?;
    Ok(Bytes::from(sum.to_string()))
}

/// The integer, if the text is exactly how Redis prints it: no plus, space, leading zero or -0.
fn canonical_integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests;
