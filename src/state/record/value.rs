//! Whole values and their expiry, as the journal keeps them.

use bytes::Bytes;

use crate::model::{Expiry, Field, Opaque, State as KeyState, Stream, Value};

use super::super::codec::{Read, Reader, Unreadable, put_all, put_bytes};
use super::Record;
use super::memory::{
    kind_of, kind_tag, put_expiry, put_score, put_stream_id, read_expiry, read_score,
    read_stream_id,
};
use crate::model::Kind;

impl Record for KeyState {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(kind_tag(self.value.kind()));
        put_expiry(out, self.expiry);
        put_value(out, &self.value);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let kind = kind_of(reader.byte()?)?;
        let expiry = read_expiry(reader)?;
        let value = read_value(kind, reader)?;
        Ok(Self { value, expiry })
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(bytes) => put_bytes(out, bytes),
        Value::List(elements) => put_all(out, elements.iter(), |out, it| put_bytes(out, it)),
        Value::Set(members) => put_all(out, members.iter(), |out, it| put_bytes(out, it)),
        Value::Hash(fields) => put_all(out, fields.iter(), |out, (name, field)| {
            put_bytes(out, name);
            put_bytes(out, &field.value);
            put_expiry(out, field.expiry);
        }),
        Value::SortedSet(members) => put_all(out, members.iter(), |out, (name, score)| {
            put_bytes(out, name);
            put_score(out, *score);
        }),
        Value::Stream(stream) => put_stream(out, stream),
        Value::Module(opaque) => {
            put_bytes(out, &opaque.type_name);
            put_bytes(out, &opaque.payload);
        }
    }
}

fn read_value(kind: Kind, reader: &mut Reader<'_>) -> Read<Value> {
    Ok(match kind {
        Kind::String => Value::String(reader.bytes()?),
        Kind::List => Value::List(reader.all(Reader::bytes)?),
        Kind::Set => Value::Set(reader.all(Reader::bytes)?),
        Kind::Hash => Value::Hash(reader.all(read_field)?),
        Kind::SortedSet => {
            Value::SortedSet(reader.all(|reader| Ok((reader.bytes()?, read_score(reader)?)))?)
        }
        Kind::Stream => Value::Stream(read_stream(reader)?),
        Kind::Module => Value::Module(Opaque {
            type_name: reader.bytes()?,
            payload: reader.bytes()?,
        }),
    })
}

fn read_field(reader: &mut Reader<'_>) -> Read<(Bytes, Field)> {
    let name = reader.bytes()?;
    let value = reader.bytes()?;
    let expiry: Expiry = read_expiry(reader)?;
    Ok((name, Field { value, expiry }))
}

fn put_stream(out: &mut Vec<u8>, stream: &Stream) {
    put_stream_id(out, stream.last_id);
    put_all(out, stream.entries.iter(), |out, (id, fields)| {
        put_stream_id(out, *id);
        put_all(out, fields.iter(), |out, (name, value)| {
            put_bytes(out, name);
            put_bytes(out, value);
        });
    });
    put_all(out, stream.groups.iter(), |out, (name, id)| {
        put_bytes(out, name);
        put_stream_id(out, *id);
    });
}

fn read_stream(reader: &mut Reader<'_>) -> Read<Stream> {
    let last_id = read_stream_id(reader)?;
    let entries = reader.all(|reader| {
        let id = read_stream_id(reader)?;
        let fields = reader.all(|reader| Ok((reader.bytes()?, reader.bytes()?)))?;
        Ok((id, fields))
    })?;
    let groups = reader.all(|reader| Ok((reader.bytes()?, read_stream_id(reader)?)))?;
    Ok(Stream {
        entries,
        last_id,
        groups,
    })
}

/// A state where one can be missing.
pub(super) fn read_optional_state(reader: &mut Reader<'_>) -> Read<Option<KeyState>> {
    reader.optional(KeyState::read)
}

/// Names, as many as it says.
pub(super) fn read_names(reader: &mut Reader<'_>) -> Read<Vec<Bytes>> {
    reader.all(Reader::bytes)
}

pub(super) fn put_names(out: &mut Vec<u8>, names: &[Bytes]) {
    put_all(out, names.iter(), |out, name| put_bytes(out, name));
}

/// A tag that is none of those known.
pub(super) const UNKNOWN_TAG: Unreadable = Unreadable::Broken("an unknown tag");
