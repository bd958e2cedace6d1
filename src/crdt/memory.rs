//! How a memory is taken of a state, and what a merge is told of pasts.
//!
//! What a memory is stands in the model; where memories are kept is the state directory's business.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::counter::integer;
use super::element::remember_elements;
use super::hash::Fields;
use super::set::Members;
use super::stream::Entries;
use super::zset::Scores;
use crate::model::{
    Body, Digester, ElementRef, Memory, Seen, State, Stream, StreamId, Sum, Value, Version,
};

/// The memory of a state. Collections of more than `limit` elements are remembered by whole key; `changed` tells
/// each element's version of last change.
pub fn remember(
    state: &State,
    limit: usize,
    changed: impl Fn(&Bytes) -> Version,
    digester: &mut Digester,
) -> Memory {
    Memory {
        kind: state.value.kind(),
        digest: digester.value(&state.value),
        expiry: state.expiry,
        body: body(&state.value, limit, changed, digester),
    }
}

fn body(
    value: &Value,
    limit: usize,
    changed: impl Fn(&Bytes) -> Version,
    digester: &mut Digester,
) -> Body {
    let within = value.element_count() <= limit;
    match value {
        Value::String(bytes) => integer(bytes).map_or(Body::Whole, Body::Counter),
        Value::Stream(stream) => Body::Stream {
            first: first_id(stream),
            last_id: stream.last_id,
            entries: within.then(|| remember_elements::<Entries>(value, changed, digester)),
        },
        Value::Module(_) => Body::Whole,
        _ if !within => Body::Whole,
        Value::List(elements) => list_body(elements, digester),
        Value::Hash(_) => Body::Elements(remember_elements::<Fields>(value, changed, digester)),
        Value::Set(_) => Body::Elements(remember_elements::<Members>(value, changed, digester)),
        Value::SortedSet(_) => {
            Body::Elements(remember_elements::<Scores>(value, changed, digester))
        }
    }
}

fn list_body(elements: &[Bytes], digester: &mut Digester) -> Body {
    let mut sum = Sum::EMPTY;
    elements
        .iter()
        .for_each(|element| digester.add_to_sum(&mut sum, &ElementRef::Member(element)));
    Body::List {
        length: elements.len(),
        sum,
    }
}

fn first_id(stream: &Stream) -> StreamId {
    stream
        .entries
        .keys()
        .next()
        .copied()
        .unwrap_or(stream.last_id)
}

/// How far a replica that has a base can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It forgot nothing.
    #[default]
    Ordinary,
    /// It lost some of the last writes; the base is what stood at its marker. Its registers never beat the agreed
    /// version by preference alone.
    RolledBack,
}

/// The state of a key at a replica when it last took part: what it holds now minus this is what its clients did.
///
/// A replica without one (on a first run, or a newcomer) fills gaps: it never beats the agreed version, and what it
/// lacks is no evidence.
#[derive(Debug, Clone)]
pub struct Base<'a> {
    /// What it held; nothing if the key was absent.
    pub memory: Option<&'a Memory>,
    /// What it has seen.
    pub seen: Seen,
    /// How far to trust it.
    pub standing: Standing,
}

/// The latest version of a key that runs have brought replicas to.
#[derive(Debug, Clone)]
pub struct Agreed<'a> {
    /// Its version.
    pub version: Version,
    /// What was agreed; nothing if the key was removed.
    pub memory: Option<&'a Memory>,
    /// Elements that were removed, while that is remembered, with the version of their removal.
    pub removed: &'a BTreeMap<Bytes, Version>,
    /// Whether every replica that could hold what was agreed takes part: what none of them holds is lost, and nothing
    /// waits for it.
    pub everybody: bool,
}
