//! Single elements of a large collection, read by name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::{Digester, Expect, Field, Key, Kind, State, Stream, Value, Write};

use super::fields::{ask_ends, may_end};
use super::observe::{Description, describe, is_elsewhere};
use super::page::{Described, PageError, read_page, score, stream_id};
use super::resp::{Frame, Frames, Malformed, pack_arg, pack_start, unexpected};
use super::stream_end::ask_stream_end;
use super::wire::{Wire, WireError};
use super::{Capability, PAGE_ELEMENTS, PieceCursor};

/// Whether the named elements of a watched key are as a write expects.
pub(crate) async fn watched_elements(
    wire: &mut Wire,
    write: &Write,
    digester: &mut Digester,
) -> Result<bool, WireError> {
    let Expect::Elements {
        kind,
        names,
        digest,
        expiry,
    } = &write.expect
    else {
        return Ok(false);
    };
    let found = read_elements(wire, &write.key, *kind, names).await?;
    Ok(found
        .is_some_and(|state| state.expiry == *expiry && digester.value(&state.value) == *digest))
}

/// Reads the named elements: a value that holds only those of them that are there. Nothing if the key is absent, of
/// another kind, or may not be read.
pub(crate) async fn read_elements(
    wire: &mut Wire,
    key: &Key,
    kind: Kind,
    names: &[Bytes],
) -> Result<Option<State>, WireError> {
    let description = describe(wire, std::slice::from_ref(key)).await?.pop();
    let described = match description {
        Some(Description::Present(described)) if described.kind == kind => described,
        Some(Description::Unreadable(words)) if is_elsewhere(&words) => {
            return Err(WireError::Lost(words));
        }
        Some(_) | None => return Ok(None),
    };
    let value = match kind {
        Kind::Hash => fields(wire, key, names).await?,
        Kind::Set => members(wire, key, names).await?,
        Kind::SortedSet => scored(wire, key, names).await?,
        Kind::Stream => entries(wire, &described, names).await?,
        Kind::String | Kind::List | Kind::Module => None,
    };
    Ok(value.map(|value| State {
        value,
        expiry: described.expiry,
    }))
}

async fn fields(wire: &mut Wire, key: &Key, names: &[Bytes]) -> Result<Option<Value>, WireError> {
    let mut found = BTreeMap::new();
    for chunk in names.chunks(PAGE_ELEMENTS) {
        let Some(reply) = ask(wire, b"HMGET", key, chunk).await? else {
            return Ok(None);
        };
        let mut frames = Frames::new(&reply);
        frames.array()?;
        for name in chunk {
            match frames.next()? {
                Frame::Bulk(value) => {
                    found.insert(name.clone(), Field::lasting(Bytes::copy_from_slice(value)));
                }
                Frame::Nil => {}
                other => return Err(unexpected("a field's value", &other).into()),
            }
        }
    }
    if may_end(wire, Kind::Hash) {
        return ended(wire, key, found).await;
    }
    Ok(Some(Value::Hash(found)))
}

/// Fields with their own ends; those that are gone by now are left out.
async fn ended(
    wire: &mut Wire,
    key: &Key,
    mut found: BTreeMap<Bytes, Field>,
) -> Result<Option<Value>, WireError> {
    let names: Vec<Bytes> = found.keys().cloned().collect();
    for chunk in names.chunks(PAGE_ELEMENTS) {
        let Some(ends) = ask_ends(wire, key.as_bytes(), chunk).await? else {
            return Ok(None);
        };
        for (name, end) in chunk.iter().zip(ends) {
            match (end, found.get_mut(name)) {
                (Some(expiry), Some(field)) => field.expiry = expiry,
                (None, _) | (_, None) => drop(found.remove(name)),
            }
        }
    }
    Ok(Some(Value::Hash(found)))
}

async fn members(wire: &mut Wire, key: &Key, names: &[Bytes]) -> Result<Option<Value>, WireError> {
    let command = match wire.can.has(Capability::Members) {
        true => Asking::Together(b"SMISMEMBER"),
        false => Asking::OneByOne(b"SISMEMBER"),
    };
    let mut found = BTreeSet::new();
    let read = ask_each(wire, command, key, names, |name, frame| match frame {
        Frame::Int(1) => {
            found.insert(name.clone());
            Ok(())
        }
        Frame::Int(_) => Ok(()),
        other => Err(unexpected("a membership", &other)),
    });
    Ok(read.await?.then_some(Value::Set(found)))
}

async fn scored(wire: &mut Wire, key: &Key, names: &[Bytes]) -> Result<Option<Value>, WireError> {
    let command = match wire.can.has(Capability::Scores) {
        true => Asking::Together(b"ZMSCORE"),
        false => Asking::OneByOne(b"ZSCORE"),
    };
    let mut found = BTreeMap::new();
    let read = ask_each(wire, command, key, names, |name, frame| match frame {
        Frame::Bulk(text) => {
            found.insert(name.clone(), score(text)?);
            Ok(())
        }
        Frame::Nil => Ok(()),
        other => Err(unexpected("a score", &other)),
    });
    Ok(read.await?.then_some(Value::SortedSet(found)))
}

/// How elements are asked for.
#[derive(Clone, Copy)]
enum Asking {
    /// By a command that takes many names.
    Together(&'static [u8]),
    /// By a command for each.
    OneByOne(&'static [u8]),
}

/// Asks for named elements and visits the answer to each; false if the server refuses.
async fn ask_each(
    wire: &mut Wire,
    asking: Asking,
    key: &Key,
    names: &[Bytes],
    mut visit: impl FnMut(&Bytes, Frame<'_>) -> Result<(), Malformed>,
) -> Result<bool, WireError> {
    for chunk in names.chunks(PAGE_ELEMENTS) {
        match asking {
            Asking::Together(command) => {
                let Some(reply) = ask(wire, command, key, chunk).await? else {
                    return Ok(false);
                };
                let mut frames = Frames::new(&reply);
                frames.array()?;
                for name in chunk {
                    visit(name, frames.next()?)?;
                }
            }
            Asking::OneByOne(command) => {
                for name in chunk {
                    wire.push(&[command, key.as_bytes(), name]);
                }
                wire.flush().await?;
                let mut is_answered = true;
                for name in chunk {
                    match Frames::new(wire.reply().await?).next()? {
                        Frame::Error(_) => is_answered = false,
                        frame => visit(name, frame)?,
                    }
                }
                if !is_answered {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

async fn entries(
    wire: &mut Wire,
    described: &Described,
    names: &[Bytes],
) -> Result<Option<Value>, WireError> {
    let key = described.key.as_bytes();
    let mut stream = Stream::default();
    for name in names {
        stream_id(name)?;
        let reply = wire.ask(&[b"XRANGE", key, name, name]).await?;
        let mut reading = super::reading::Reading::new(described, true);
        let mut digester = Digester::new(crate::model::DigestKey::new([0; 32]));
        match read_page(Kind::Stream, &PieceCursor::Start, &reply, |item| {
            reading.take(item, true, &mut digester)
        }) {
            Ok(_) => {}
            Err(PageError::Malformed(malformed)) => return Err(malformed.into()),
            Err(PageError::WrongType | PageError::Refused(_)) => return Ok(None),
        }
        if let Some(Value::Stream(found)) = reading.into_whole() {
            stream.entries.extend(found.entries);
        }
    }
    match ask_stream_end(wire, key).await? {
        Ok(Some((last_id, groups))) => {
            stream.last_id = last_id;
            stream.groups = groups
                .into_iter()
                .map(|(name, id)| (Bytes::from(name), id))
                .collect();
            Ok(Some(Value::Stream(stream)))
        }
        Ok(None) | Err(PageError::WrongType | PageError::Refused(_)) => Ok(None),
        Err(PageError::Malformed(malformed)) => Err(malformed.into()),
    }
}

/// Asks for named elements; nothing if the server refuses.
async fn ask(
    wire: &mut Wire,
    command: &[u8],
    key: &Key,
    names: &[Bytes],
) -> Result<Option<Vec<u8>>, WireError> {
    wire.push_with(|out| {
        pack_start(out, 2 + names.len());
        pack_arg(out, command);
        pack_arg(out, key.as_bytes());
        names.iter().for_each(|name| pack_arg(out, name));
    });
    wire.flush().await?;
    let reply = wire.reply().await?;
    match Frames::new(reply).next()? {
        Frame::Error(_) => Ok(None),
        _ => Ok(Some(reply.to_vec())),
    }
}
