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
use super::decide::{Question, Verdict, prefer};
use super::element::{self, Collection, Element};
use super::outcome::{Note, Outcome, Reason};
use super::register;
use crate::model::{
    Amount, Body, Digester, ElementMemory, Expiry, Kind, OnDeleteConflict, Stream, StreamId,
    StreamRule, Sum, Value, ValueDigest,
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
        && let Some(Value::Stream(stream)) = &mut target.value
    {
        complete(case, stream);
    }
    let held = case.sides.iter().any(|side| side.state.is_some());
    match (is_removed(case), held) {
        (true, _) => removed(merged),
        (false, true) => merged,
        // The last ID and the groups are where the agreed stream is.
        (false, false) => register::open(case, Reason::Waits, rule, merged.notes),
    }
}

/// The key was removed; but a stream into which entries were added meanwhile stays, without the others. An empty
/// stream is a value, so it goes only here, not when its last entry does.
fn removed(mut merged: Merged) -> Merged {
    if let Outcome::Target(target) = &mut merged.outcome
        && target.untouched.is_empty()
        && !target.partial
        && target
            .value
            .as_ref()
            .is_some_and(|value| value.element_count() == 0)
    {
        target.value = None;
        merged.changes.key = true;
    }
    merged
}

/// Gives a stream what is not an entry: the greatest last ID, and all siblings' groups.
fn complete(case: &Case<'_>, stream: &mut Stream) {
    let mut groups: BTreeMap<Bytes, StreamId> = BTreeMap::new();
    for sibling in case
        .sides
        .iter()
        .filter_map(|side| stream_of(side.value()?))
    {
        stream.last_id = stream.last_id.max(sibling.last_id);
        for (name, at) in &sibling.groups {
            let start = groups.entry(name.clone()).or_insert(*at);
            *start = (*start).min(*at);
        }
    }
    stream.groups = groups;
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
    let own = stream_of(side.value()?)?;
    let mark = match own.entries.keys().next() {
        Some(id) => *id,
        None => own.last_id.next()?,
    };
    (mark > *first).then_some(mark)
}

fn stream_of(value: &Value) -> Option<&Stream> {
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
        stream_of(value)
            .into_iter()
            .flat_map(|stream| stream.entries.keys())
            .copied()
            .collect()
    }

    fn get(value: &Value, name: &StreamId) -> Option<(Self::Item, Expiry)> {
        stream_of(value)?
            .entries
            .get(name)
            .map(|entry| (entry.clone(), Expiry::Never))
    }

    fn build(elements: Vec<Element<Self>>) -> Value {
        let entry = |element: Element<Self>| (element.name, element.item);
        Value::Stream(Stream {
            entries: elements.into_iter().map(entry).collect(),
            ..Stream::default()
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
