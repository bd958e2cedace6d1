//! The stamps and counts beside a key, side by side: evidence as it was found. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::crdt::Restamp;
use crate::model::{Counts, StampSet, Stamps};

use super::super::details::all_equal;
use super::super::stamps::{Stampings, stamps};
use super::Element;

/// One thing that stands beside the key.
#[derive(Debug, Clone, Copy)]
enum Beside<'a> {
    /// A stamp of an element, or of the key.
    Stamp(Option<&'a Bytes>, StampSet),
    /// Since when it was counted.
    Since,
    /// From what.
    Base,
    /// What was counted, by sign and name of the replica.
    Part(&'a Bytes),
}

impl<'a> Beside<'a> {
    const COUNTED: &'static str = "counted";

    fn what(self) -> &'static str {
        match self {
            Self::Stamp(_, StampSet::Added) => "added",
            Self::Stamp(_, StampSet::Removed) => "removed",
            Self::Since => "counted-since",
            Self::Base => "counted-from",
            Self::Part(_) => Self::COUNTED,
        }
    }

    fn name(self) -> Option<&'a Bytes> {
        match self {
            Self::Stamp(name, _) => name,
            Self::Part(name) => Some(name),
            Self::Since | Self::Base => None,
        }
    }

    /// As it stands in the report; nothing where there is none.
    fn text(self, stamps: &Stamps) -> Option<Bytes> {
        let counts = stamps.counts.as_ref();
        let text = match self {
            Self::Stamp(name, set) => {
                let stamped = name.map_or(stamps.key, |name| stamps.of(name));
                stamped.of(set)?.to_string()
            }
            Self::Since => counts?.since?.to_string(),
            Self::Base => counts?.base?.to_string(),
            Self::Part(name) => counts?.parts.get(name)?.to_string(),
        };
        Some(text.into())
    }
}

/// The stamps of the key and what was counted at it, then the stamps of its elements, each at every replica and as they
/// should be; at most [`Element::SHOWN`], those that differ first.
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
    let counts = || sides.iter().filter_map(|one| one.as_ref()?.counts.as_ref());
    let parts: BTreeSet<&Bytes> = counts().flat_map(|one: &Counts| one.parts.keys()).collect();
    let of = |name| StampSet::ALL.map(|set| Beside::Stamp(name, set));
    let all = of(None).into_iter().chain([Beside::Since, Beside::Base]);
    let all = all.chain(parts.into_iter().map(Beside::Part));
    let all = all.chain(names.into_iter().flat_map(|name| of(Some(name))));
    let mut rows: Vec<Element> = all
        .filter_map(|beside| row(&sides, wanted, beside))
        .collect();
    rows.sort_by_key(|row| {
        let of_element = row.name.is_some() && row.what != Beside::COUNTED;
        (of_element, row.name.is_some(), !row.differs)
    });
    rows.truncate(Element::SHOWN);
    rows
}

/// What stands at every replica; nothing where it stands at none.
fn row(sides: &[Option<&Stamps>], wanted: Option<&Restamp>, beside: Beside<'_>) -> Option<Element> {
    let text = |stamps: &Stamps| beside.text(stamps);
    let values: Vec<Option<Bytes>> = sides.iter().map(|side| side.and_then(text)).collect();
    let first = sides.iter().flatten().next()?;
    let result = wanted.map_or_else(|| (*first).clone(), |wanted| wanted.at(first));
    let known = sides.iter().zip(&values).filter(|(side, _)| side.is_some());
    values.iter().any(Option::is_some).then(|| Element {
        what: beside.what(),
        name: beside.name().cloned(),
        differs: !all_equal(known.map(|(_, value)| value)),
        result: text(&result),
        values: values.clone(),
        since: Vec::new(),
    })
}
