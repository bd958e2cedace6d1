//! The stamps beside a key, side by side: evidence as it was found. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::crdt::Restamp;
use crate::model::{StampSet, Stamped, Stamps};

use super::super::details::all_equal;
use super::super::stamps::{Stampings, stamps};
use super::Element;

/// The stamps of the key, then those of its elements, each at every replica and as they should be; at most
/// [`Element::SHOWN`], those that differ first.
pub(super) fn rows(stampings: &Stampings, wanted: Option<&Restamp>) -> Vec<Element> {
    let sides: Vec<Option<&Stamps>> = stampings
        .iter()
        .map(|reading| stamps(reading.as_ref()))
        .collect();
    let names: BTreeSet<&Bytes> = sides
        .iter()
        .flatten()
        .flat_map(|one| one.elements.keys())
        .collect();
    let mut rows = Vec::new();
    for name in std::iter::once(None).chain(names.into_iter().map(Some)) {
        for set in StampSet::ALL {
            rows.extend(row(&sides, wanted, name, set));
        }
    }
    rows.sort_by_key(|row: &Element| (row.name.is_some(), !row.differs));
    rows.truncate(Element::SHOWN);
    rows
}

/// A stamp at every replica; nothing where none has it.
fn row(
    sides: &[Option<&Stamps>],
    wanted: Option<&Restamp>,
    name: Option<&Bytes>,
    set: StampSet,
) -> Option<Element> {
    let text = |stamps: &Stamps| {
        let stamped: Stamped = name.map_or(stamps.key, |name| stamps.of(name));
        stamped.of(set).map(|stamp| Bytes::from(stamp.to_string()))
    };
    let values: Vec<Option<Bytes>> = sides.iter().map(|side| side.and_then(&text)).collect();
    let first = sides.iter().flatten().next()?;
    let result = wanted.map_or_else(|| (*first).clone(), |wanted| wanted.at(first));
    let known = sides.iter().zip(&values).filter(|(side, _)| side.is_some());
    values.iter().any(Option::is_some).then(|| Element {
        what: match set {
            StampSet::Added => "added",
            StampSet::Removed => "removed",
        },
        name: name.cloned(),
        differs: !all_equal(known.map(|(_, value)| value)),
        result: text(&result),
        values: values.clone(),
        since: Vec::new(),
    })
}
