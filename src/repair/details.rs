//! Where in a value siblings differ: what a report shows of it. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::model::{Expiry, State, Value};

use super::finding::Detail;

/// The first differences between siblings, in the order of the elements' names; at most [`Detail::SHOWN`].
pub(crate) fn details(siblings: &[Option<&State>]) -> Vec<Detail> {
    let mut found = Vec::new();
    let present: Vec<&State> = siblings.iter().flatten().copied().collect();
    let same_kind = present
        .windows(2)
        .all(|pair| pair[0].value.kind() == pair[1].value.kind());
    if let (Some(first), true) = (present.first(), same_kind) {
        match &first.value {
            Value::String(_) | Value::Module(_) => whole(siblings, &mut found),
            Value::List(_) => indexes(siblings, &mut found),
            Value::Hash(_) => {
                named(siblings, "field", field_of, &mut found);
                named(siblings, "field-expiry", end_of, &mut found);
            }
            Value::Set(_) => named(siblings, "member", member_of, &mut found),
            Value::SortedSet(_) => named(siblings, "score", score_of, &mut found),
            Value::Stream(_) => stream(siblings, &mut found),
        }
    }
    if present.len() == siblings.len() && !all_equal(present.iter().map(|state| state.expiry)) {
        let values = siblings
            .iter()
            .map(|state| state.map(|state| text(expiry_text(state.expiry))))
            .collect();
        found.push(Detail {
            what: "expiry",
            name: None,
            values,
        });
    }
    found
}

pub(super) fn expiry_text(expiry: Expiry) -> String {
    expiry.to_string()
}

fn text(text: String) -> Bytes {
    Bytes::from(text)
}

pub(super) fn cut(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len().min(Detail::SHOWN_BYTES))
}

pub(super) fn all_equal<T: PartialEq>(mut items: impl Iterator<Item = T>) -> bool {
    let first = items.next();
    items.all(|item| Some(item) == first)
}

fn push_if_different(
    what: &'static str,
    name: Option<Bytes>,
    values: Vec<Option<Bytes>>,
    found: &mut Vec<Detail>,
) {
    if found.len() < Detail::SHOWN && !all_equal(values.iter()) {
        let values = values.iter().map(|value| value.as_ref().map(cut)).collect();
        found.push(Detail {
            what,
            name: name.as_ref().map(cut),
            values,
        });
    }
}

fn whole(siblings: &[Option<&State>], found: &mut Vec<Detail>) {
    let bytes = |state: &State| match &state.value {
        Value::String(bytes) => Some(bytes.clone()),
        Value::Module(opaque) => Some(opaque.payload.clone()),
        _ => None,
    };
    let values = siblings.iter().map(|state| state.and_then(bytes)).collect();
    push_if_different("value", None, values, found);
}

fn indexes(siblings: &[Option<&State>], found: &mut Vec<Detail>) {
    let list = |state: &Option<&State>| match state.map(|state| &state.value) {
        Some(Value::List(elements)) => elements.clone(),
        _ => Vec::new(),
    };
    let lists: Vec<Vec<Bytes>> = siblings.iter().map(list).collect();
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    for index in 0..longest {
        if found.len() >= Detail::SHOWN {
            return;
        }
        let values = lists.iter().map(|list| list.get(index).cloned()).collect();
        push_if_different("index", Some(text(index.to_string())), values, found);
    }
}

/// The names and values of a collection's elements.
pub(super) type Elements = Vec<(Bytes, Bytes)>;

pub(super) fn field_of(value: &Value) -> Elements {
    match value {
        Value::Hash(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), field.value.clone()))
            .collect(),
        _ => Vec::new(),
    }
}

/// When those fields end that do.
pub(super) fn end_of(value: &Value) -> Elements {
    match value {
        Value::Hash(fields) => fields
            .iter()
            .filter(|(_, field)| field.expiry != Expiry::Never)
            .map(|(name, field)| (name.clone(), text(expiry_text(field.expiry))))
            .collect(),
        _ => Vec::new(),
    }
}

pub(super) fn member_of(value: &Value) -> Elements {
    match value {
        Value::Set(members) => members
            .iter()
            .map(|member| (member.clone(), text("present".into())))
            .collect(),
        _ => Vec::new(),
    }
}

pub(super) fn score_of(value: &Value) -> Elements {
    match value {
        Value::SortedSet(members) => members
            .iter()
            .map(|(member, score)| (member.clone(), text(score.to_text())))
            .collect(),
        _ => Vec::new(),
    }
}

pub(super) fn entry_of(value: &Value) -> Elements {
    match value {
        Value::Stream(stream) => {
            let shown = |fields: &Vec<(Bytes, Bytes)>| {
                let parts: Vec<&[u8]> = fields
                    .iter()
                    .flat_map(|(name, value)| [&name[..], &value[..]])
                    .collect();
                Bytes::from(parts.join(&b' '))
            };
            stream
                .entries
                .iter()
                .map(|(id, fields)| (text(id.to_string()), shown(fields)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Goes through the elements of all siblings in the order of their names, side by side.
fn named(
    siblings: &[Option<&State>],
    what: &'static str,
    elements_of: impl Fn(&Value) -> Elements,
    found: &mut Vec<Detail>,
) {
    let sides: Vec<Elements> = siblings
        .iter()
        .map(|state| {
            state
                .map(|state| elements_of(&state.value))
                .unwrap_or_default()
        })
        .collect();
    let mut heads = vec![0; sides.len()];
    while found.len() < Detail::SHOWN {
        let next = |side: &Elements, head: usize| side.get(head).map(|(name, _)| name.clone());
        let Some(name) = sides
            .iter()
            .zip(&heads)
            .filter_map(|(side, &head)| next(side, head))
            .min()
        else {
            return;
        };
        let mut values = Vec::with_capacity(sides.len());
        for (side, head) in sides.iter().zip(&mut heads) {
            let here = side.get(*head).filter(|(found, _)| *found == name);
            *head += usize::from(here.is_some());
            values.push(here.map(|(_, value)| value.clone()));
        }
        push_if_different(what, Some(name), values, found);
    }
}

fn stream(siblings: &[Option<&State>], found: &mut Vec<Detail>) {
    named(siblings, "entry", entry_of, found);
    let last = |state: &State| match &state.value {
        Value::Stream(stream) => Some(text(stream.last_id.to_string())),
        _ => None,
    };
    let values = siblings.iter().map(|state| state.and_then(last)).collect();
    push_if_different("last-id", None, values, found);
    let groups = |state: &Option<&State>| -> BTreeSet<Bytes> {
        match state.map(|state| &state.value) {
            Some(Value::Stream(stream)) => stream.groups.keys().cloned().collect(),
            _ => BTreeSet::new(),
        }
    };
    let sides: Vec<BTreeSet<Bytes>> = siblings.iter().map(groups).collect();
    let names: BTreeSet<Bytes> = sides.iter().flatten().cloned().collect();
    for name in names {
        let here = |side: &BTreeSet<Bytes>| side.contains(&name).then(|| text("present".into()));
        let values = sides.iter().map(here).collect();
        push_if_different("group", Some(name.clone()), values, found);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Field, Millis};

    fn hash(pairs: &[(&'static str, &'static str)]) -> State {
        let fields = pairs
            .iter()
            .map(|(name, value)| (Bytes::from(*name), Field::lasting(*value)));
        State::lasting(Value::Hash(fields.collect::<BTreeMap<_, _>>()))
    }

    #[test]
    fn only_differing_fields_are_shown() {
        let (a, b) = (
            hash(&[("x", "1"), ("y", "2")]),
            hash(&[("x", "1"), ("y", "3"), ("z", "4")]),
        );
        let found = details(&[Some(&a), Some(&b)]);
        let names: Vec<_> = found
            .iter()
            .map(|detail| detail.name.clone().unwrap())
            .collect();
        assert_eq!(names, ["y", "z"]);
        assert_eq!(found[1].values, [None, Some(Bytes::from("4"))]);
    }

    #[test]
    fn expiries_are_shown_where_all_hold_the_key() {
        let a = hash(&[("x", "1")]);
        let b = State {
            expiry: Expiry::At(Millis(5)),
            ..a.clone()
        };
        let found = details(&[Some(&a), Some(&b)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "expiry");
        assert!(
            details(&[Some(&a), None])
                .iter()
                .all(|detail| detail.what != "expiry")
        );
    }

    #[test]
    fn much_is_cut_to_a_bound() {
        let long = "v".repeat(1000);
        let fields = |value: &str| -> State {
            let fields =
                (0..100).map(|n| (Bytes::from(n.to_string()), Field::lasting(value.to_owned())));
            State::lasting(Value::Hash(fields.collect()))
        };
        let found = details(&[Some(&fields(&long)), Some(&fields("w"))]);
        assert_eq!(found.len(), Detail::SHOWN);
        assert_eq!(
            found[0].values[0].as_ref().unwrap().len(),
            Detail::SHOWN_BYTES
        );
    }
}
