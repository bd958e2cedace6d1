//! Values of any size, read and built aside piece by piece.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use crate::model::{
    ASIDE_PREFIX, DbIndex, Key, Kind, Position, Score, State, Stream, StreamId, Value,
};
use crate::store::{ApplyError, Piece, PieceCursor, StoreError};

use super::{Inner, Portions, Step};

type Portion = (Piece, Option<PieceCursor>);

impl Inner {
    pub(super) fn read_piece(
        &mut self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<Portion, StoreError> {
        let db = self.db(db);
        self.connection(Step::ReadPart(key), db, "reading a piece")?;
        self.count_round_trip(1);
        let held = self
            .data
            .get(db, key)
            .filter(|state| state.value.kind() == kind);
        let portion = held.and_then(|state| portion(&state.value, &cursor, &self.portions));
        let (piece, next) = portion.ok_or_else(|| StoreError::Changed {
            replica: self.name.clone(),
            key: key.clone(),
        })?;
        self.usage.bytes_read += piece_bytes(&piece);
        Ok((piece, next))
    }

    pub(super) fn build_aside(
        &mut self,
        db: Option<DbIndex>,
        aside: &Key,
        piece: Piece,
    ) -> Result<(), StoreError> {
        let db = self.write_aside(db, aside)?;
        self.usage.bytes_written += piece_bytes(&piece);
        let held = self.data.get(db, aside).map(|state| state.value);
        let value = extended(held, piece)
            .map_err(|error| self.refused("building aside", error.to_string()))?;
        self.data.set_state(db, aside, Some(State::lasting(value)));
        Ok(())
    }

    pub(super) fn drop_aside(
        &mut self,
        db: Option<DbIndex>,
        aside: &Key,
    ) -> Result<(), StoreError> {
        let db = self.write_aside(db, aside)?;
        self.data.set_state(db, aside, None);
        Ok(())
    }

    /// Whatever is written aside lies below the prefix: no client's key is ever written without a comparison.
    fn write_aside(&mut self, db: Option<DbIndex>, aside: &Key) -> Result<DbIndex, StoreError> {
        assert!(
            aside.as_bytes().starts_with(ASIDE_PREFIX),
            "not a key aside: {aside}"
        );
        let db = self.db(db);
        self.connection(Step::WriteAside(aside), db, "building aside")?;
        self.count_round_trip(1);
        Ok(db)
    }
}

/// The piece at a cursor and the cursor behind it; nothing if the cursor is not one of this kind of value.
fn portion(value: &Value, cursor: &PieceCursor, portions: &Portions) -> Option<Portion> {
    match value {
        Value::String(bytes) => {
            let (range, next) = window(bytes.len(), cursor, portions.page_bytes)?;
            Some((Piece::Bytes(bytes.slice(range)), next))
        }
        Value::List(elements) => {
            let (range, next) = window(elements.len(), cursor, portions.page_elements)?;
            Some((Piece::Elements(elements[range].to_vec()), next))
        }
        Value::Hash(fields) => {
            let (names, next) = hashed_page(fields.keys(), cursor, portions)?;
            let pairs = names
                .into_iter()
                .map(|name| (name.clone(), fields[name].clone()));
            Some((Piece::Fields(pairs.collect()), next))
        }
        Value::Set(members) => {
            let (names, next) = hashed_page(members.iter(), cursor, portions)?;
            Some((Piece::Members(names.into_iter().cloned().collect()), next))
        }
        Value::SortedSet(members) => {
            let (names, next) = hashed_page(members.keys(), cursor, portions)?;
            let pairs = names.into_iter().map(|name| (name.clone(), members[name]));
            Some((Piece::Scored(pairs.collect()), next))
        }
        Value::Stream(stream) => stream_page(stream, cursor, portions),
        Value::Module(_) => None,
    }
}

fn window(
    length: usize,
    cursor: &PieceCursor,
    page: usize,
) -> Option<(std::ops::Range<usize>, Option<PieceCursor>)> {
    let start = match cursor {
        PieceCursor::Start => 0,
        PieceCursor::Offset(offset) => usize::try_from(*offset).ok()?.min(length),
        PieceCursor::Scan(_) | PieceCursor::Id(_) | PieceCursor::End => return None,
    };
    let end = length.min(start.saturating_add(page));
    let next = (end < length).then_some(PieceCursor::Offset(end as u64));
    Some((start..end, next))
}

/// A page in the order of element positions. Like HSCAN, it never misses an element that stays while others change.
fn hashed_page<'a>(
    names: impl Iterator<Item = &'a Bytes>,
    cursor: &PieceCursor,
    portions: &Portions,
) -> Option<(Vec<&'a Bytes>, Option<PieceCursor>)> {
    let from = match cursor {
        PieceCursor::Start => 0,
        PieceCursor::Scan(from) => *from,
        PieceCursor::Offset(_) | PieceCursor::Id(_) | PieceCursor::End => return None,
    };
    let placed = names.map(|name| (Position::of_element(name).bits(), name));
    let mut rest: Vec<_> = placed.filter(|(at, _)| *at >= from).collect();
    rest.sort_unstable();
    let next = rest
        .get(portions.page_elements)
        .map(|(at, _)| PieceCursor::Scan(*at));
    rest.truncate(portions.page_elements);
    Some((rest.into_iter().map(|(_, name)| name).collect(), next))
}

fn stream_page(stream: &Stream, cursor: &PieceCursor, portions: &Portions) -> Option<Portion> {
    let from = match cursor {
        PieceCursor::Start => StreamId::MIN,
        PieceCursor::Id(id) => *id,
        PieceCursor::End => return Some((stream_end(stream), None)),
        PieceCursor::Offset(_) | PieceCursor::Scan(_) => return None,
    };
    let mut rest = stream.entries.range(from..);
    let page = rest.by_ref().take(portions.page_elements);
    let entries = page.map(|(id, pairs)| (*id, pairs.clone())).collect();
    let next = rest
        .next()
        .map_or(PieceCursor::End, |(id, _)| PieceCursor::Id(*id));
    Some((Piece::Entries(entries), Some(next)))
}

fn stream_end(stream: &Stream) -> Piece {
    let groups = stream.groups.iter();
    Piece::StreamEnd {
        last_id: stream.last_id,
        groups: groups.map(|(name, id)| (name.clone(), *id)).collect(),
    }
}

/// The value with one more piece. Elements of sets, hashes and sorted sets can come twice.
fn extended(held: Option<Value>, piece: Piece) -> Result<Value, ApplyError> {
    let mut value = held.unwrap_or_else(|| beginning(&piece));
    match (&mut value, piece) {
        (Value::String(bytes), Piece::Bytes(more)) => {
            let mut joined = BytesMut::from(&bytes[..]);
            joined.extend_from_slice(&more);
            *bytes = joined.freeze();
        }
        (Value::List(elements), Piece::Elements(more)) => elements.extend(more),
        (Value::Hash(fields), Piece::Fields(more)) => {
            fields.extend(more);
        }
        (Value::Set(members), Piece::Members(more)) => members.extend(more),
        (Value::SortedSet(members), Piece::Scored(more)) => members.extend(more),
        (Value::Stream(stream), Piece::Entries(more)) => append(stream, more)?,
        (Value::Stream(stream), Piece::StreamEnd { last_id, groups }) => {
            stream.last_id = stream.last_id.max(last_id);
            stream.groups.extend(groups);
        }
        _ => return Err(ApplyError::WrongType),
    }
    Ok(value)
}

fn append(
    stream: &mut Stream,
    entries: Vec<(StreamId, Vec<(Bytes, Bytes)>)>,
) -> Result<(), ApplyError> {
    for (id, pairs) in entries {
        if id <= stream.last_id {
            return Err(ApplyError::IdNotAbove);
        }
        stream.last_id = id;
        stream.entries.insert(id, pairs);
    }
    Ok(())
}

fn beginning(piece: &Piece) -> Value {
    match piece {
        Piece::Bytes(_) => Value::String(Bytes::new()),
        Piece::Elements(_) => Value::List(Vec::new()),
        Piece::Fields(_) => Value::Hash(BTreeMap::new()),
        Piece::Members(_) => Value::Set(BTreeSet::new()),
        Piece::Scored(_) => Value::SortedSet(BTreeMap::<Bytes, Score>::new()),
        Piece::Entries(_) | Piece::StreamEnd { .. } => Value::Stream(Stream::default()),
    }
}

fn piece_bytes(piece: &Piece) -> u64 {
    let pairs = |pairs: &[(Bytes, Bytes)]| -> usize {
        pairs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    };
    let bytes = match piece {
        Piece::Bytes(bytes) => bytes.len(),
        Piece::Elements(list) | Piece::Members(list) => list.iter().map(Bytes::len).sum(),
        Piece::Fields(fields) => fields
            .iter()
            .map(|(name, field)| name.len() + field.value.len())
            .sum(),
        Piece::Scored(members) => members.iter().map(|(member, _)| member.len() + 8).sum(),
        Piece::Entries(entries) => entries.iter().map(|(_, fields)| 16 + pairs(fields)).sum(),
        Piece::StreamEnd { groups, .. } => groups.iter().map(|(name, _)| name.len() + 16).sum(),
    };
    bytes as u64
}
