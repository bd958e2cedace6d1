//! Markers and the list of state directories: read by name, and taken over.

use bytes::Bytes;

use crate::model::{Key, Marker, OwnerToken, RunNumber, STATES_KEY};

use super::observe::is_passing;
use super::resp::{Frame, Frames, unexpected};
use super::seal::SealError;
use super::server_info::refusal;
use super::wire::{Wire, WireError};

/// How often a marker that keeps changing is tried to be taken over.
pub(super) const FENCE_ATTEMPTS: usize = 8;

/// Reads the named markers as they stand, one answer per name.
pub(crate) async fn read_markers(
    wire: &mut Wire,
    names: &[Key],
) -> Result<Vec<Option<Bytes>>, SealError> {
    let mut found = Vec::with_capacity(names.len());
    for batch in names.chunks(super::BATCH_KEYS) {
        for name in batch {
            wire.push(&[b"GET", name.as_bytes()]);
        }
        wire.flush().await?;
        for name in batch {
            found.push(read_raw(wire.reply().await?, name)?);
        }
    }
    Ok(found)
}

/// Reads which state directories were listed, with the replica's id in each.
pub(crate) async fn read_states(wire: &mut Wire) -> Result<Vec<(Bytes, Bytes)>, SealError> {
    let reply = wire.ask(&[b"HGETALL", STATES_KEY]).await?;
    let mut frames = Frames::new(&reply);
    let length = match frames.next()? {
        Frame::Array(length) => length,
        Frame::Error(words) => return Err(unreadable(&Key::copied(STATES_KEY), words)),
        other => return Err(unexpected("the state directories", &other).into()),
    };
    let mut states = Vec::with_capacity(length / 2);
    for _ in 0..length / 2 {
        let state = Bytes::copy_from_slice(frames.bytes()?);
        states.push((state, Bytes::copy_from_slice(frames.bytes()?)));
    }
    states.sort();
    Ok(states)
}

/// Takes a marker over: another owner and run, the same step and mask. Answers the marker that was found; nothing is
/// written where there is none.
///
/// Every SET aborts the transactions that watch the marker, so that those of a dead run come too late.
pub(crate) async fn fence(
    wire: &mut Wire,
    lane: &Key,
    owner: OwnerToken,
    run: RunNumber,
) -> Result<Option<Marker>, SealError> {
    let mut last = None;
    for _ in 0..FENCE_ATTEMPTS {
        wire.push(&[b"WATCH", lane.as_bytes()]);
        wire.push(&[b"GET", lane.as_bytes()]);
        wire.flush().await?;
        demand(wire.reply().await?, "WATCH")?;
        let Some(found) = read_marker(wire.reply().await?, lane)? else {
            demand(&wire.ask(&[b"UNWATCH"]).await?, "UNWATCH")?;
            return Ok(None);
        };
        let taken = Marker {
            owner,
            run,
            ..found
        };
        if set(wire, lane, &taken).await? {
            return Ok(Some(found));
        }
        last = Some(found);
    }
    Err(SealError::Fenced(lane.clone(), last))
}

/// Sets a watched marker; whether it was still the same.
async fn set(wire: &mut Wire, lane: &Key, marker: &Marker) -> Result<bool, SealError> {
    wire.push(&[b"MULTI"]);
    wire.push(&[b"SET", lane.as_bytes(), marker.encode().as_bytes()]);
    wire.push(&[b"EXEC"]);
    wire.flush().await?;
    let multi = demand(wire.reply().await?, "MULTI");
    let queued = demand(wire.reply().await?, "SET");
    let reply = wire.reply().await?;
    multi.and(queued)?;
    match Frames::new(reply).next()? {
        // A server that is loading answers with an empty array.
        Frame::Nil | Frame::Array(0) => Ok(false),
        Frame::Array(_) => {
            let mut frames = Frames::new(reply);
            frames.array()?;
            match frames.next()? {
                Frame::Error(words) => Err(refusal("SET", words).into()),
                _ => Ok(true),
            }
        }
        Frame::Error(words) => Err(refusal("EXEC", words).into()),
        other => Err(unexpected("the answer to EXEC", &other).into()),
    }
}

/// Reads the answer to GET of a marker.
pub(crate) fn read_marker(reply: &[u8], lane: &Key) -> Result<Option<Marker>, SealError> {
    let Some(text) = read_raw(reply, lane)? else {
        return Ok(None);
    };
    match Marker::decode(&text) {
        Some(marker) => Ok(Some(marker)),
        None => Err(SealError::Marker(lane.clone(), odd(&text))),
    }
}

/// What to say of a text that is no marker.
pub(super) fn odd(text: &[u8]) -> String {
    let shown = crate::model::escape(&text[..text.len().min(64)]);
    format!("`{shown}` is no marker that this version reads")
}

fn read_raw(reply: &[u8], lane: &Key) -> Result<Option<Bytes>, SealError> {
    match Frames::new(reply).next()? {
        Frame::Bulk(text) => Ok(Some(Bytes::copy_from_slice(text))),
        Frame::Nil => Ok(None),
        Frame::Error(words) => Err(unreadable(lane, words)),
        other => Err(unexpected("a marker", &other).into()),
    }
}

fn unreadable(key: &Key, words: &[u8]) -> SealError {
    let words = String::from_utf8_lossy(words).into_owned();
    if is_passing(&words) {
        WireError::Lost(words).into()
    } else {
        SealError::Marker(key.clone(), words)
    }
}

fn demand(reply: &[u8], command: &str) -> Result<(), WireError> {
    match Frames::new(reply).next()? {
        Frame::Error(words) => Err(refusal(command, words)),
        _ => Ok(()),
    }
}
