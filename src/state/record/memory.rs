//! What is remembered of a state.
//!
//! ```text
//! memory   tags | expiry? | digest 24 | body      tags: kind in the low half, 0x10 with an expiry
//! element  name | changed | amount | digest 24
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{
    Amount, Body, ElementMemory, Expiry, Kind, Memory, Millis, Score, Seen, StreamId, Sum,
    ValueDigest, Version,
};

use super::super::codec::{
    Read, Reader, Unreadable, put_all, put_bytes, put_number, put_optional, put_signed,
};

const WITH_EXPIRY: u8 = 0x10;
const KIND_BITS: u8 = 0x0f;

const WHOLE: u8 = 0;
const COUNTER: u8 = 1;
const ELEMENTS: u8 = 2;
const LIST: u8 = 3;
const STREAM: u8 = 4;

const NO_AMOUNT: u8 = 0;
const INTEGER: u8 = 1;
const SCORE: u8 = 2;

pub(super) fn kind_tag(kind: Kind) -> u8 {
    match kind {
        Kind::String => 1,
        Kind::List => 2,
        Kind::Hash => 3,
        Kind::Set => 4,
        Kind::SortedSet => 5,
        Kind::Stream => 6,
        Kind::Module => 7,
    }
}

pub(super) fn kind_of(tag: u8) -> Read<Kind> {
    match tag {
        1 => Ok(Kind::String),
        2 => Ok(Kind::List),
        3 => Ok(Kind::Hash),
        4 => Ok(Kind::Set),
        5 => Ok(Kind::SortedSet),
        6 => Ok(Kind::Stream),
        7 => Ok(Kind::Module),
        _ => Err(Unreadable::Broken("an unknown type")),
    }
}

pub(super) fn put_memory(out: &mut Vec<u8>, memory: &Memory) {
    put_summary(out, memory.kind, memory.expiry, &memory.digest);
    put_body(out, &memory.body);
}

pub(super) fn read_memory(reader: &mut Reader<'_>) -> Read<Memory> {
    let (kind, expiry, digest) = read_summary(reader)?;
    Ok(Memory {
        kind,
        digest,
        expiry,
        body: read_body(reader)?,
    })
}

fn put_summary(out: &mut Vec<u8>, kind: Kind, expiry: Expiry, digest: &ValueDigest) {
    match expiry {
        Expiry::Never => out.push(kind_tag(kind)),
        Expiry::At(Millis(at)) => {
            out.push(kind_tag(kind) | WITH_EXPIRY);
            put_signed(out, at);
        }
    }
    put_digest(out, digest);
}

/// Type, expiry and digest: the head of a memory, all that a listing needs.
pub(super) fn read_summary(reader: &mut Reader<'_>) -> Read<(Kind, Expiry, ValueDigest)> {
    let tags = reader.byte()?;
    if tags & !(KIND_BITS | WITH_EXPIRY) != 0 {
        return Err(Unreadable::Broken("unknown tags"));
    }
    let kind = kind_of(tags & KIND_BITS)?;
    let expiry = if tags & WITH_EXPIRY == 0 {
        Expiry::Never
    } else {
        Expiry::At(Millis(reader.signed()?))
    };
    Ok((kind, expiry, read_digest(reader)?))
}

pub(super) fn put_expiry(out: &mut Vec<u8>, expiry: Expiry) {
    let at = match expiry {
        Expiry::Never => None,
        Expiry::At(Millis(at)) => Some(at),
    };
    put_optional(out, at, put_signed);
}

pub(super) fn read_expiry(reader: &mut Reader<'_>) -> Read<Expiry> {
    let at = reader.optional(Reader::signed)?;
    Ok(at.map_or(Expiry::Never, |at| Expiry::At(Millis(at))))
}

pub(super) fn put_digest(out: &mut Vec<u8>, digest: &ValueDigest) {
    out.extend_from_slice(digest.as_bytes());
}

pub(super) fn read_digest(reader: &mut Reader<'_>) -> Read<ValueDigest> {
    reader.array().map(ValueDigest::from_bytes)
}

fn put_body(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Whole => out.push(WHOLE),
        Body::Counter(value) => {
            out.push(COUNTER);
            put_signed(out, *value);
        }
        Body::Elements(elements) => {
            out.push(ELEMENTS);
            put_elements(out, elements);
        }
        Body::List { length, sum } => {
            out.push(LIST);
            put_number(out, *length as u64);
            put_number(out, sum.count);
            out.extend_from_slice(&sum.to_bytes());
        }
        Body::Stream {
            first,
            last_id,
            entries,
        } => {
            out.push(STREAM);
            put_stream_id(out, *first);
            put_stream_id(out, *last_id);
            put_optional(out, entries.as_ref(), put_elements);
        }
    }
}

fn read_body(reader: &mut Reader<'_>) -> Read<Body> {
    Ok(match reader.byte()? {
        WHOLE => Body::Whole,
        COUNTER => Body::Counter(reader.signed()?),
        ELEMENTS => Body::Elements(read_elements(reader)?),
        LIST => Body::List {
            length: usize::try_from(reader.number()?)
                .map_err(|_| Unreadable::Broken("a list longer than memory"))?,
            sum: read_sum(reader)?,
        },
        STREAM => Body::Stream {
            first: read_stream_id(reader)?,
            last_id: read_stream_id(reader)?,
            entries: reader.optional(read_elements)?,
        },
        _ => return Err(Unreadable::Broken("an unknown body")),
    })
}

fn read_sum(reader: &mut Reader<'_>) -> Read<Sum> {
    let count = reader.number()?;
    let mut limbs = [0; 4];
    for limb in &mut limbs {
        *limb = u64::from_le_bytes(reader.array()?);
    }
    Ok(Sum { count, limbs })
}

pub(super) fn put_stream_id(out: &mut Vec<u8>, id: StreamId) {
    put_number(out, id.ms);
    put_number(out, id.seq);
}

pub(super) fn read_stream_id(reader: &mut Reader<'_>) -> Read<StreamId> {
    Ok(StreamId {
        ms: reader.number()?,
        seq: reader.number()?,
    })
}

fn put_elements(out: &mut Vec<u8>, elements: &BTreeMap<Bytes, ElementMemory>) {
    put_all(out, elements.iter(), |out, (name, element)| {
        put_bytes(out, name);
        put_number(out, element.changed.0);
        put_amount(out, element.amount);
        put_digest(out, &element.digest);
    });
}

fn read_elements(reader: &mut Reader<'_>) -> Read<BTreeMap<Bytes, ElementMemory>> {
    reader.all(|reader| {
        let name = reader.bytes()?;
        let changed = Version(reader.number()?);
        let amount = read_amount(reader)?;
        let digest = read_digest(reader)?;
        let element = ElementMemory {
            digest,
            changed,
            amount,
        };
        Ok((name, element))
    })
}

fn put_amount(out: &mut Vec<u8>, amount: Option<Amount>) {
    match amount {
        None => out.push(NO_AMOUNT),
        Some(Amount::Integer(value)) => {
            out.push(INTEGER);
            put_signed(out, value);
        }
        Some(Amount::Score(score)) => {
            out.push(SCORE);
            put_score(out, score);
        }
    }
}

fn read_amount(reader: &mut Reader<'_>) -> Read<Option<Amount>> {
    Ok(match reader.byte()? {
        NO_AMOUNT => None,
        INTEGER => Some(Amount::Integer(reader.signed()?)),
        SCORE => Some(Amount::Score(read_score(reader)?)),
        _ => return Err(Unreadable::Broken("an unknown amount")),
    })
}

pub(super) fn put_score(out: &mut Vec<u8>, score: Score) {
    out.extend_from_slice(&score.get().to_be_bytes());
}

pub(super) fn read_score(reader: &mut Reader<'_>) -> Read<Score> {
    let number = f64::from_be_bytes(reader.array()?);
    Score::new(number).ok_or(Unreadable::Broken("a score that is no number"))
}

pub(super) fn put_seen(out: &mut Vec<u8>, seen: &Seen) {
    put_number(out, seen.key.0);
    put_versions(out, &seen.elements);
}

pub(super) fn read_seen(reader: &mut Reader<'_>) -> Read<Seen> {
    Ok(Seen {
        key: Version(reader.number()?),
        elements: read_versions(reader)?,
    })
}

pub(super) fn put_versions(out: &mut Vec<u8>, versions: &BTreeMap<Bytes, Version>) {
    put_all(out, versions.iter(), |out, (name, version)| {
        put_bytes(out, name);
        put_number(out, version.0);
    });
}

pub(super) fn read_versions(reader: &mut Reader<'_>) -> Read<BTreeMap<Bytes, Version>> {
    reader.all(|reader| Ok((reader.bytes()?, Version(reader.number()?))))
}
