//! Streams: union of entry IDs, minus agreed ones that were removed.
//!
//! * One ID with two contents is left as it is everywhere and reported: neither can be overwritten in place.
//! * A replica whose first ID rose since its base was trimmed (XTRIM): below its first ID entries go, unless newer
//!   than their holder's base. So a partial stream must show each side's first entry.
//! * The last ID is the greatest. Groups are created where missing, at the smallest last-delivered ID of their
//!   holders; the positions of existing ones are local and stay.
//!
//! # Convergence
//! Without memory a union: commutative, associative, idempotent, but for IDs with two contents.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Merged;
use super::case::{Case, note};
use super::contest::{Contest, contest};
use super::counter::Amount;
use super::element::{self, Collection, Element, Question, Verdict, prefer};
use super::memory::{Body, ElementMemory};
use super::outcome::{Note, Outcome, Reason};
use crate::model::{
    Digester, Expiry, Kind, OnDeleteConflict, Stream, StreamId, StreamRule, Sum, Value, ValueDigest,
};

/// The entries of a stream.
#[derive(Debug)]
pub(super) struct Entries;

/// Merges the stream siblings of a key.
pub(super) fn merge(case: &Case<'_>, digester: &mut Digester) -> Merged {
    let rule = match case.policy.rules.stream {
        StreamRule::Union => "union",
    };
    let mut merged = element::merge::<Entries>(case, rule, decide, digester);
    if let Outcome::Target(target) = &mut merged.outcome
        && target.untouched.is_empty()
        && !target.partial
        && is_removed(case)
        && target
            .value
            .as_ref()
            .is_some_and(|value| value.element_count() == 0)
    {
        // An empty stream is a value. It goes only if the key was removed, not if all its entries were.
        target.value = None;
        merged.changes.key = true;
    }
    merged
}

fn is_removed(case: &Case<'_>) -> bool {
    let (voices, agreed) = (case.voices(), case.agreed_value());
    matches!(
        contest(&voices, agreed, OnDeleteConflict::UpdateWins),
        Contest::Absent { .. }
    )
}

fn decide(
    question: &Question<'_, '_, Entries>,
    notes: &mut Vec<Note>,
) -> Verdict<Vec<(Bytes, Bytes)>> {
    let mut contents = question
        .voices
        .iter()
        .filter_map(|voice| voice.value.as_ref());
    let first = contents.next();
    if contents.any(|content| Some(content) != first) {
        note(notes, Note::TwoContents(*question.name));
        return Verdict::Untouched(Reason::TwoContents);
    }
    if first.is_some() && is_trimmed(question) {
        return Verdict::Absent { changed: true };
    }
    prefer(question)
}

/// Whether an entry lies below a low-water mark, and nobody added it since.
fn is_trimmed(question: &Question<'_, '_, Entries>) -> bool {
    let id = *question.name;
    let mut sides = question.case.sides.iter();
    let below = sides
        .clone()
        .any(|side| low_water_mark(side).is_some_and(|mark| id < mark));
    let newer = sides.any(|side| {
        let holds = side
            .value()
            .is_some_and(|value| Entries::get(value, &id).is_some());
        let known = side.base.map(|base| base.memory.map(|memory| &memory.body));
        holds
            && known.is_some_and(|body| match body {
                Some(Body::Stream { last_id, .. }) => id > *last_id,
                Some(_) | None => true,
            })
    });
    below && !newer
}

/// The first ID of a side that removed its first entries since its base.
fn low_water_mark(side: &super::case::Side<'_>) -> Option<StreamId> {
    let Body::Stream { first, .. } = &side.base?.memory?.body else {
        return None;
    };
    let own = stream(side.value()?)?;
    let mark = match own.entries.keys().next() {
        Some(id) => *id,
        None => own.last_id.next()?,
    };
    (mark > *first).then_some(mark)
}

fn stream(value: &Value) -> Option<&Stream> {
    match value {
        Value::Stream(stream) => Some(stream),
        _ => None,
    }
}

impl Collection for Entries {
    type Name = StreamId;
    type Item = Vec<(Bytes, Bytes)>;
    const KIND: Kind = Kind::Stream;

    fn names(value: &Value) -> Vec<StreamId> {
        stream(value)
            .into_iter()
            .flat_map(|stream| stream.entries.keys())
            .copied()
            .collect()
    }

    fn get(value: &Value, name: &StreamId) -> Option<(Self::Item, Expiry)> {
        stream(value)?
            .entries
            .get(name)
            .map(|entry| (entry.clone(), Expiry::Never))
    }

    fn build(elements: Vec<Element<Self>>, like: &[&Value]) -> Value {
        let streams = || like.iter().filter_map(|value| stream(value));
        let mut groups: BTreeMap<Bytes, StreamId> = BTreeMap::new();
        for (name, at) in streams().flat_map(|stream| &stream.groups) {
            let start = groups.entry(name.clone()).or_insert(*at);
            *start = (*start).min(*at);
        }
        let entry = |element: Element<Self>| (element.name, element.item);
        Value::Stream(Stream {
            entries: elements.into_iter().map(entry).collect(),
            last_id: streams()
                .map(|stream| stream.last_id)
                .max()
                .unwrap_or_default(),
            groups,
        })
    }

    fn digest(
        digester: &mut Digester,
        id: &StreamId,
        entry: &Self::Item,
        _: Expiry,
    ) -> ValueDigest {
        let mut sum = Sum::EMPTY;
        let parts = entry
            .iter()
            .flat_map(|(name, value)| [&name[..], &value[..]]);
        digester.add_stream_entry(&mut sum, *id, parts);
        digester.stream(&sum, StreamId::MIN, std::iter::empty())
    }

    fn to_bytes(id: &StreamId) -> Bytes {
        id.to_string().into()
    }

    fn from_bytes(name: &Bytes) -> Option<StreamId> {
        StreamId::parse(name)
    }

    fn amount(_: &Self::Item) -> Option<Amount> {
        None
    }

    fn recall(_: &ElementMemory) -> Option<Self::Item> {
        None
    }
}
