//! Values that do not stand in memory whole: read, digested and copied piece by piece.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Expiry, Field, Kind, Score, Stream, StreamId, Value, ValueDigest};

/// What is known of a large value after it was read in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeState {
    /// Its kind.
    pub kind: Kind,
    /// Digest of the whole value.
    pub digest: ValueDigest,
    /// When the key ends.
    pub expiry: Expiry,
    /// Elements of a collection, bytes of a string.
    pub length: u64,
}

/// Where the next piece of a value begins; opaque but for its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceCursor {
    /// At the beginning.
    Start,
    /// At a byte of a string, or an index of a list.
    Offset(u64),
    /// At a cursor of HSCAN, SSCAN or ZSCAN.
    Scan(u64),
    /// At a stream ID.
    Id(StreamId),
    /// Behind a stream's entries: its last ID and groups.
    End,
}

/// A bounded piece of a value. Elements of sets, hashes and sorted sets can come twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of a string, to be appended.
    Bytes(Bytes),
    /// Elements of a list, to be appended.
    Elements(Vec<Bytes>),
    /// Hash fields with their values and ends.
    Fields(Vec<(Bytes, Field)>),
    /// Set members.
    Members(Vec<Bytes>),
    /// Sorted-set members with their scores.
    Scored(Vec<(Bytes, Score)>),
    /// Stream entries in ascending order.
    Entries(Vec<(StreamId, Vec<(Bytes, Bytes)>)>),
    /// The end of a stream: its last ID and its groups.
    StreamEnd {
        /// The last ID it ever gave.
        last_id: StreamId,
        /// Groups with the ID they start behind.
        groups: Vec<(Bytes, StreamId)>,
    },
}

/// The collection that holds this element of a value alone; nothing if it does not hold it, or is no set, hash, sorted
/// set or stream. A stream's element is named by its ID as text; alone, it stands in a stream without last ID and
/// groups, so that the digest depends on the entry only.
pub fn alone(value: &Value, name: &[u8]) -> Option<Value> {
    match value {
        Value::Set(members) => members
            .get(name)
            .map(|member| Value::Set([member.clone()].into())),
        Value::Hash(fields) => picked(fields, name).map(Value::Hash),
        Value::SortedSet(members) => picked(members, name).map(Value::SortedSet),
        Value::Stream(stream) => {
            let id = StreamId::parse(name)?;
            let entries = [(id, stream.entries.get(&id)?.clone())].into();
            Some(Value::Stream(Stream {
                entries,
                last_id: StreamId::MIN,
                groups: BTreeMap::new(),
            }))
        }
        Value::String(_) | Value::List(_) | Value::Module(_) => None,
    }
}

/// The collection reduced to the named elements; void where none of them is there. A stream keeps its last ID and
/// groups. Nothing for a value that has no named elements.
pub fn only(value: &Value, names: &[Bytes]) -> Option<Value> {
    let names = || names.iter();
    Some(match value {
        Value::Set(members) => Value::Set(
            names()
                .filter(|name| members.contains(*name))
                .cloned()
                .collect(),
        ),
        Value::Hash(fields) => {
            Value::Hash(names().filter_map(|name| entry(fields, name)).collect())
        }
        Value::SortedSet(members) => {
            Value::SortedSet(names().filter_map(|name| entry(members, name)).collect())
        }
        Value::Stream(stream) => {
            let ids = names().filter_map(|name| StreamId::parse(name));
            let found = ids.filter_map(|id| Some((id, stream.entries.get(&id)?.clone())));
            Value::Stream(Stream {
                entries: found.collect(),
                last_id: stream.last_id,
                groups: stream.groups.clone(),
            })
        }
        Value::String(_) | Value::List(_) | Value::Module(_) => return None,
    })
}

fn entry<V: Clone>(elements: &BTreeMap<Bytes, V>, name: &[u8]) -> Option<(Bytes, V)> {
    elements
        .get_key_value(name)
        .map(|(name, value)| (name.clone(), value.clone()))
}

fn picked<V: Clone>(elements: &BTreeMap<Bytes, V>, name: &[u8]) -> Option<BTreeMap<Bytes, V>> {
    entry(elements, name).map(|found| BTreeMap::from([found]))
}
