//! Single elements of a large collection, read by name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::{Digester, Expect, Field, Key, Kind, State, Stream, Value, Write};

use super::PAGE_ELEMENTS;
use super::PieceCursor;
use super::observe::{Description, describe, is_elsewhere};
use super::page::{
    Described, PageError, pack_stream_end, read_page, read_stream_end, score, stream_id,
};
use super::resp::{Frame, Frames, pack_arg, pack_start, unexpected};
use super::wire::{Wire, WireError};

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
    Ok(Some(Value::Hash(found)))
}

async fn members(wire: &mut Wire, key: &Key, names: &[Bytes]) -> Result<Option<Value>, WireError> {
    let mut found = BTreeSet::new();
    for chunk in names.chunks(PAGE_ELEMENTS) {
        let Some(reply) = ask(wire, b"SMISMEMBER", key, chunk).await? else {
            return Ok(None);
        };
        let mut frames = Frames::new(&reply);
        frames.array()?;
        for name in chunk {
            match frames.next()? {
                Frame::Int(1) => {
                    found.insert(name.clone());
                }
                Frame::Int(_) => {}
                other => return Err(unexpected("a membership", &other).into()),
            }
        }
    }
    Ok(Some(Value::Set(found)))
}

async fn scored(wire: &mut Wire, key: &Key, names: &[Bytes]) -> Result<Option<Value>, WireError> {
    let mut found = BTreeMap::new();
    for chunk in names.chunks(PAGE_ELEMENTS) {
        let Some(reply) = ask(wire, b"ZMSCORE", key, chunk).await? else {
            return Ok(None);
        };
        let mut frames = Frames::new(&reply);
        frames.array()?;
        for name in chunk {
            match frames.next()? {
                Frame::Bulk(text) => {
                    found.insert(name.clone(), score(text)?);
                }
                Frame::Nil => {}
                other => return Err(unexpected("a score", &other).into()),
            }
        }
    }
    Ok(Some(Value::SortedSet(found)))
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
    wire.push_with(|out| pack_stream_end(out, key));
    wire.flush().await?;
    match read_stream_end(wire.reply().await?) {
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
