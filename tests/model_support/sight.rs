//! The specification: what a holder of a key has, and has seen of it, in dots; and how several holders are merged.
//!
//! A dot is one write of one client. A holder is a replica or the state directory. An element lives where its dot does,
//! unless somebody who has seen the dot holds it no more. Among several living values the greatest wins. A counter is
//! the set of the increments in it. Nothing here knows versions, bases, markers or lags.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reknit::model::{Field, Score, State, Stream, StreamId, Value};

/// One write of one client.
pub(crate) type Dot = u64;

/// What the values of a key are, and how they are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// A set of few members.
    Set,
    /// A hash whose fields have few values.
    Few,
    /// A hash whose every value is new.
    Many,
    /// A sorted set with few scores.
    Ranked,
    /// A stream.
    Stream,
    /// A string whose every value is new.
    Register,
    /// A list as a register.
    List,
    /// A string that counts.
    Counter,
    /// A key whose merge is not told here: it has to be the same everywhere in the end.
    Loose,
}

impl Family {
    /// Whether what is remembered is enough to write an element that no replica at hand holds.
    fn recalls(self) -> bool {
        matches!(self, Self::Set | Self::Ranked)
    }

    /// Whether the same value can come twice, so that a change undone between two runs would be invisible.
    pub(crate) fn repeats(self) -> bool {
        matches!(self, Self::Set | Self::Few | Self::Ranked)
    }
}

/// One element at one holder; a register is the element without a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// The dots that the present value stands for; none where it is absent.
    pub(crate) live: BTreeMap<Dot, Bytes>,
    pub(crate) seen: BTreeSet<Dot>,
    /// When a client last changed it here.
    pub(crate) touched: u64,
    /// When it last was what the state directory takes for this holder's base.
    pub(crate) base: u64,
}

impl Element {
    pub(crate) fn item(&self) -> Option<&Bytes> {
        self.live.values().next()
    }
}

/// A key at one holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) elements: BTreeMap<Bytes, Element>,
    /// The increments that are in a counter.
    pub(crate) counted: BTreeMap<Dot, i64>,
}

impl Sight {
    pub(crate) fn element(&mut self, name: &Bytes) -> &mut Element {
        self.elements.entry(name.clone()).or_default()
    }

    fn item(&self, name: &Bytes) -> Option<&Bytes> {
        self.elements.get(name)?.item()
    }

    /// The items by name that a replica with this sight must hold.
    pub(crate) fn items(&self) -> BTreeMap<Bytes, Bytes> {
        let present = self.elements.iter();
        present
            .filter_map(|(name, element)| Some((name.clone(), element.item()?.clone())))
            .collect()
    }

    pub(crate) fn total(&self) -> i64 {
        self.counted.values().sum()
    }
}

/// What several holders come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Merge {
    pub(crate) elements: BTreeMap<Bytes, Joined>,
    pub(crate) counted: BTreeMap<Dot, i64>,
    /// When each replica that took part was read, and what it had then.
    pub(crate) read: BTreeMap<usize, (u64, Sight)>,
}

/// One element of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joined {
    pub(crate) live: BTreeMap<Dot, Bytes>,
    pub(crate) seen: BTreeSet<Dot>,
    /// Only an absent replica holds the agreed value, of which no more than a digest is remembered.
    pub(crate) waits: bool,
}

impl Merge {
    /// Merges what was read with what the state directory has.
    pub(crate) fn of(
        family: Family,
        read: &BTreeMap<usize, (u64, Sight)>,
        directory: &Sight,
    ) -> Self {
        let holders: Vec<&Sight> = read
            .values()
            .map(|(_, sight)| sight)
            .chain([directory])
            .collect();
        let names: BTreeSet<&Bytes> = holders
            .iter()
            .flat_map(|holder| holder.elements.keys())
            .collect();
        let joined = |name: &Bytes| join(family, name, read, directory, &holders);
        Self {
            elements: names
                .into_iter()
                .map(|name| (name.clone(), joined(name)))
                .collect(),
            counted: holders
                .iter()
                .flat_map(|holder| holder.counted.clone())
                .collect(),
            read: read.clone(),
        }
    }

    pub(crate) fn total(&self) -> i64 {
        self.counted.values().sum()
    }

    /// Whether the whole key waits.
    pub(crate) fn waits(&self) -> bool {
        self.elements
            .get(&Bytes::new())
            .is_some_and(|whole| whole.waits)
    }

    /// The state directory has the merge.
    pub(crate) fn teach_directory(&self, directory: &mut Sight) {
        for (name, joined) in self.elements.iter().filter(|(_, joined)| !joined.waits) {
            let element = directory.element(name);
            element.live = joined.live.clone();
            element.seen = joined.seen.clone();
        }
        directory.counted = self.counted.clone();
    }

    /// A replica that took part: what it held as it should be, it has seen; and its base is what was read.
    pub(crate) fn teach_reader(&self, replica: usize, now: &mut Sight) {
        let Some((at, read)) = self.read.get(&replica) else {
            return;
        };
        for (name, joined) in self.elements.iter().filter(|(_, joined)| !joined.waits) {
            let element = now.element(name);
            element.base = element.base.max(*at);
            if read.item(name) == joined.live.values().next() {
                element.seen.extend(&joined.seen);
                if element.touched <= *at {
                    element.live = joined.live.clone();
                }
            }
        }
        if read.total() == self.total() {
            let mut counted = self.counted.clone();
            let since = now.counted.iter();
            counted.extend(
                since
                    .filter(|(dot, _)| !read.counted.contains_key(dot))
                    .map(|(dot, amount)| (*dot, *amount)),
            );
            now.counted = counted;
        }
    }

    /// A replica that was written.
    pub(crate) fn write(&self, at: u64, now: &mut Sight) {
        for (name, joined) in self.elements.iter().filter(|(_, joined)| !joined.waits) {
            let element = now.element(name);
            element.live = joined.live.clone();
            element.seen.extend(&joined.seen);
            element.base = at;
        }
        now.counted.extend(self.counted.clone());
    }
}

fn join(
    family: Family,
    name: &Bytes,
    read: &BTreeMap<usize, (u64, Sight)>,
    directory: &Sight,
    holders: &[&Sight],
) -> Joined {
    let all: Vec<&Element> = holders
        .iter()
        .filter_map(|holder| holder.elements.get(name))
        .collect();
    let survives = |dot: &Dot| {
        all.iter()
            .all(|one| one.live.contains_key(dot) || !one.seen.contains(dot))
    };
    let mut live: BTreeMap<Dot, Bytes> = all
        .iter()
        .flat_map(|one| one.live.clone())
        .filter(|(dot, _)| survives(dot))
        .collect();
    let agreed = directory
        .elements
        .get(name)
        .and_then(|element| element.live.iter().find(|(dot, _)| survives(dot)));
    let at_hand = |item: &Bytes| {
        read.values()
            .any(|(_, sight)| sight.item(name) == Some(item))
    };
    let waits = agreed.is_some_and(|(_, item)| !family.recalls() && !at_hand(item));
    let greatest = live.values().max().cloned();
    live.retain(|_, item| Some(&*item) == greatest.as_ref());
    Joined {
        live,
        seen: all
            .iter()
            .flat_map(|one| one.seen.iter().copied())
            .collect(),
        waits,
    }
}

/// The items of what a replica holds, by name.
pub(crate) fn items(state: Option<&State>) -> BTreeMap<Bytes, Bytes> {
    let Some(state) = state else {
        return BTreeMap::new();
    };
    match &state.value {
        Value::Set(members) => members
            .iter()
            .map(|name| (name.clone(), Bytes::new()))
            .collect(),
        Value::Hash(fields) => fields
            .iter()
            .map(|(name, field): (&Bytes, &Field)| (name.clone(), field.value.clone()))
            .collect(),
        Value::SortedSet(members) => members
            .iter()
            .map(|(name, score)| (name.clone(), score_item(*score)))
            .collect(),
        Value::Stream(stream) => stream_items(stream),
        Value::String(bytes) => BTreeMap::from([(Bytes::new(), bytes.clone())]),
        Value::List(elements) => BTreeMap::from([(Bytes::new(), list_item(elements))]),
        Value::Module(_) => BTreeMap::new(),
    }
}

fn stream_items(stream: &Stream) -> BTreeMap<Bytes, Bytes> {
    let ids = stream.entries.keys();
    ids.map(|id: &StreamId| (Bytes::from(id.to_string()), Bytes::new()))
        .collect()
}

/// A score as an item: its order is that of its bytes.
pub(crate) fn score_item(score: Score) -> Bytes {
    format!("{:08}", score.get()).into()
}

/// A list as one item; its elements are all of one length.
pub(crate) fn list_item(elements: &[Bytes]) -> Bytes {
    elements.join(&b","[..]).into()
}
