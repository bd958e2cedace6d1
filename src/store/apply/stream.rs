//! Operations on streams. A stream without entries is still a stream.

use bytes::Bytes;

use crate::model::{State, Stream, StreamId, Value};

use super::ApplyError;

type Entries = [(StreamId, Vec<(Bytes, Bytes)>)];

/// XADD with explicit IDs.
pub(super) fn append_entries(
    state: Option<State>,
    entries: &Entries,
) -> Result<Option<State>, ApplyError> {
    if entries.is_empty() {
        return Ok(state);
    }
    let mut state = or_created(state);
    let stream = stream_of(&mut state)?;
    for (id, pairs) in entries {
        if *id <= stream.last_id {
            return Err(ApplyError::IdNotAbove);
        }
        if pairs.is_empty() {
            return Err(ApplyError::EmptyEntry);
        }
        stream.last_id = *id;
        stream.entries.insert(*id, pairs.clone());
    }
    Ok(Some(state))
}

/// XDEL.
pub(super) fn remove_entries(
    state: Option<State>,
    ids: &[StreamId],
) -> Result<Option<State>, ApplyError> {
    let Some(mut state) = state else {
        return Ok(None);
    };
    let stream = stream_of(&mut state)?;
    for id in ids {
        stream.entries.remove(id);
    }
    Ok(Some(state))
}

/// XSETID, and only upwards: an ID that was given once is never given again.
pub(super) fn raise_last_id(
    state: Option<State>,
    id: StreamId,
) -> Result<Option<State>, ApplyError> {
    let mut state = state.ok_or(ApplyError::NoSuchKey)?;
    let stream = stream_of(&mut state)?;
    if id < stream.last_id {
        return Err(ApplyError::IdLowered);
    }
    stream.last_id = id;
    Ok(Some(state))
}

/// XGROUP CREATE with MKSTREAM.
pub(super) fn create_group(
    state: Option<State>,
    name: &Bytes,
    id: StreamId,
) -> Result<Option<State>, ApplyError> {
    let mut state = or_created(state);
    let stream = stream_of(&mut state)?;
    if stream.groups.contains_key(name) {
        return Err(ApplyError::GroupExists);
    }
    stream.groups.insert(name.clone(), id);
    Ok(Some(state))
}

fn or_created(state: Option<State>) -> State {
    state.unwrap_or_else(|| State::lasting(Value::Stream(Stream::default())))
}

fn stream_of(state: &mut State) -> Result<&mut Stream, ApplyError> {
    match &mut state.value {
        Value::Stream(stream) => Ok(stream),
        _ => Err(ApplyError::WrongType),
    }
}
