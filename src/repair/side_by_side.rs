//! A value element by element, as every replica holds it and as it should be. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{State, Value};

use super::details::{Elements, all_equal, cut, end_of, entry_of, field_of, member_of, score_of};

/// One element of a value; the value itself, of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// What it is: `value`, `field`, `member`, `score`, `index`, `entry`, `group`, `last-id`, `field-expiry`,
    /// `added`, `removed` (stamps: without a name, those of the key).
    pub what: &'static str,
    /// Its name, where it has one.
    pub name: Option<Bytes>,
    /// What each replica holds there, cut to [`super::Detail::SHOWN_BYTES`]; nothing where it is absent or unknown.
    pub values: Vec<Option<Bytes>>,
    /// What should be there; nothing where it should be absent, or that is open.
    pub result: Option<Bytes>,
    /// Whether the replicas differ in it.
    pub differs: bool,
    /// What each replica did with it since it last took part; empty where that is not remembered.
    pub since: Vec<Option<super::Did>>,
}

impl Element {
    /// How many elements of one value are shown.
    pub const SHOWN: usize = 50;
}

/// What stands in a value: its elements, each with its place in the order and its name.
type Parts = BTreeMap<(u8, Bytes), (&'static str, Option<Bytes>, Bytes)>;

/// The elements of all siblings and of the result, those that differ first; at most [`Element::SHOWN`], and how many
/// more there are. A sibling that takes no part holds nothing, and is not asked whether it differs.
pub(super) fn side_by_side(
    siblings: &[(bool, Option<&State>)],
    result: Option<&State>,
) -> (Vec<Element>, u64) {
    let of = |state: Option<&State>| state.map(parts).unwrap_or_default();
    let sides: Vec<(bool, Parts)> = siblings
        .iter()
        .map(|(takes_part, state)| (*takes_part, of(*state)))
        .collect();
    let result = of(result);
    let all = sides.iter().map(|(_, parts)| parts).chain([&result]);
    let mut names: Parts = BTreeMap::new();
    for parts in all {
        names.extend(
            parts
                .iter()
                .map(|(place, part)| (place.clone(), part.clone())),
        );
    }
    let mut elements: Vec<Element> = names
        .into_iter()
        .map(|(place, (what, name, _))| {
            let here = |parts: &Parts| parts.get(&place).map(|(_, _, value)| value.clone());
            let values = || sides.iter().map(|(_, parts)| here(parts));
            let taking_part = sides.iter().filter(|(takes_part, _)| *takes_part);
            Element {
                what,
                name: name.as_ref().map(cut),
                differs: !all_equal(taking_part.map(|(_, parts)| here(parts))),
                values: values().map(|value| value.as_ref().map(cut)).collect(),
                result: here(&result).as_ref().map(cut),
                since: Vec::new(),
            }
        })
        .collect();
    elements.sort_by_key(|element| !element.differs);
    let left_out = elements.len().saturating_sub(Element::SHOWN);
    elements.truncate(Element::SHOWN);
    (elements, left_out as u64)
}

fn parts(state: &State) -> Parts {
    match &state.value {
        Value::String(bytes) => [whole(bytes)].into(),
        Value::Module(opaque) => [whole(&opaque.payload)].into(),
        Value::List(elements) => elements.iter().enumerate().map(indexed).collect(),
        Value::Hash(_) => {
            let mut parts = named("field", field_of(&state.value));
            let expiries = named("field-expiry", end_of(&state.value)).into_iter();
            parts.extend(expiries.map(|((_, name), part)| ((1, name), part)));
            parts
        }
        Value::Set(_) => named("member", member_of(&state.value)),
        Value::SortedSet(_) => named("score", score_of(&state.value)),
        Value::Stream(stream) => {
            let entries = entry_of(&state.value).into_iter();
            // In the order of the IDs, not of their texts.
            let mut parts: Parts = stream
                .entries
                .keys()
                .zip(entries)
                .map(|(id, (name, value))| {
                    let place = [id.ms.to_be_bytes(), id.seq.to_be_bytes()].concat();
                    ((0, Bytes::from(place)), ("entry", Some(name), value))
                })
                .collect();
            let last_id = Bytes::from(stream.last_id.to_string());
            parts.insert((1, Bytes::new()), ("last-id", None, last_id));
            for name in stream.groups.keys() {
                let part = ("group", Some(name.clone()), Bytes::from_static(b"present"));
                parts.insert((2, name.clone()), part);
            }
            parts
        }
    }
}

fn whole(bytes: &Bytes) -> ((u8, Bytes), (&'static str, Option<Bytes>, Bytes)) {
    ((0, Bytes::new()), ("value", None, bytes.clone()))
}

fn indexed(
    (index, element): (usize, &Bytes),
) -> ((u8, Bytes), (&'static str, Option<Bytes>, Bytes)) {
    let place = Bytes::copy_from_slice(&(index as u64).to_be_bytes());
    let name = Bytes::from(index.to_string());
    ((0, place), ("index", Some(name), element.clone()))
}

fn named(what: &'static str, elements: Elements) -> Parts {
    elements
        .into_iter()
        .map(|(name, value)| ((0, name.clone()), (what, Some(name), value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(elements: &[&'static str]) -> State {
        let elements = elements.iter().map(|element| Bytes::from(*element));
        State::lasting(Value::List(elements.collect()))
    }

    #[test]
    fn what_differs_comes_first_in_the_order_of_the_value() {
        let (a, b) = (list(&["x", "y", "z"]), list(&["x", "Y"]));
        let (elements, left_out) = side_by_side(&[(true, Some(&a)), (true, Some(&b))], Some(&a));
        let shown: Vec<_> = elements
            .iter()
            .map(|one| (one.name.clone().unwrap(), one.differs))
            .collect();
        let name = |text: &'static str| Bytes::from(text);
        assert_eq!(
            shown,
            [(name("1"), true), (name("2"), true), (name("0"), false)]
        );
        assert_eq!(elements[0].result, Some(name("y")));
        assert_eq!(elements[1].values, [Some(name("z")), None]);
        assert_eq!(left_out, 0);
    }

    #[test]
    fn a_replica_that_takes_no_part_makes_no_difference() {
        let a = list(&["x"]);
        let siblings = [(true, Some(&a)), (false, None), (true, Some(&a))];
        let (elements, _) = side_by_side(&siblings, Some(&a));
        assert!(!elements[0].differs);
        let (elements, _) = side_by_side(&[(true, Some(&a)), (true, None)], Some(&a));
        assert!(elements[0].differs);
    }

    #[test]
    fn much_is_left_out_and_counted() {
        let long: Vec<Bytes> = (0..60).map(|n| Bytes::from(n.to_string())).collect();
        let long = State::lasting(Value::List(long));
        let (elements, left_out) = side_by_side(&[(true, Some(&long))], None);
        assert_eq!((elements.len(), left_out), (Element::SHOWN, 10));
    }
}
