//! What a merge answers: what each replica should hold, or why that is open, and what explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use super::order::alike;
use super::recorded::Restamp;
use crate::model::{
    Datacenter, Expiry, Kind, Preference, ReplicaIndex, State, Stream, StreamId, Value, escape,
};

/// The answer for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What the key should be.
    pub outcome: Outcome,
    /// The type that was merged; nothing if no sibling and no agreement has one.
    pub kind: Option<Kind>,
    /// The rule that was applied in the end, as reports show it.
    pub rule: &'static str,
    /// What was known beyond the siblings.
    pub evidence: Evidence,
    /// How a register was decided; nothing for types that are joined.
    pub decided: Option<Decided>,
    /// The first replica that held the winning value; nothing where it was put together.
    pub winner: Option<ReplicaIndex>,
    /// What differs from the agreement; empty without evidence, where everything is new.
    pub changes: Changes,
    /// What the operator should know. At most [`Merged::MAX_NOTES`].
    pub notes: Vec<Note>,
    /// The stamps that belong beside the target; nothing where stamps were not asked.
    pub stamps: Option<Restamp>,
}

impl Merged {
    /// The notes kept of one key; a hash of a million odd fields must not fill a report.
    pub const MAX_NOTES: usize = 32;
}

/// What the key should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This, at every replica. Elements may be left as they are.
    Target(Target),
    /// Open: no replica is to be written.
    Unresolved(Reason),
}

/// Why a key or an element is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The policy's preference says skip.
    Skipped,
    /// The agreed value may win, and only a replica that does not take part holds it.
    Waits,
    /// One stream ID has two contents; neither can be overwritten.
    TwoContents,
    /// It ends by itself elsewhere, which this replica cannot hold.
    EndsElsewhere,
    /// The counts add up to more than an integer holds.
    Overflows,
}

/// What every replica should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The value, without the elements in `untouched`; nothing if the key should be absent. It may be an empty
    /// collection where elements are untouched or siblings were partial.
    pub value: Option<Value>,
    /// The expiry, for replicas where the key is created or, unless `keeps_own_expiry`, at all.
    pub expiry: Expiry,
    /// The keyspace ignores expiry: a replica that holds the value, or the collection, keeps its own.
    pub keeps_own_expiry: bool,
    /// Elements, by name or stream ID as text, of which each replica keeps what it has, and why.
    pub untouched: BTreeMap<Bytes, Reason>,
    /// The siblings showed only some elements, so an empty collection is not an absent key.
    pub partial: bool,
}

impl Target {
    /// The same for a replica that cannot hold some fields, which end by themselves: it keeps what it has of them.
    #[must_use]
    pub fn leaving(&self, names: &BTreeSet<Bytes>) -> Self {
        let mut left = self.clone();
        if let Some(Value::Hash(fields)) = &mut left.value {
            fields.retain(|name, _| !names.contains(name));
        }
        let kept = names.iter().cloned();
        left.untouched
            .extend(kept.map(|name| (name, Reason::EndsElsewhere)));
        left
    }

    /// What a replica that holds `current` should hold: the target, but for what is its own: untouched elements,
    /// positions of consumer groups, an expiry that is ignored, the encoding of an equal HyperLogLog.
    ///
    /// It needs no write exactly where this is `current`.
    pub fn at(&self, current: Option<&State>) -> Option<State> {
        let value = self.value.as_ref()?;
        let own = current.filter(|state| state.value.kind() == value.kind());
        let value = match own {
            Some(own) => self.composed(value, &own.value),
            None => value.clone(),
        };
        if value.is_void() && !self.partial {
            return None;
        }
        let kept = own.filter(|own| {
            self.keeps_own_expiry && (is_joined(value.kind()) || alike(&own.value, &value))
        });
        Some(State {
            expiry: kept.map_or(self.expiry, |own| own.expiry),
            value,
        })
    }

    fn composed(&self, value: &Value, own: &Value) -> Value {
        if alike(value, own) {
            return own.clone();
        }
        let mut value = value.clone();
        match (&mut value, own) {
            (Value::Set(members), Value::Set(own)) => {
                members.extend(own.iter().filter(|name| self.leaves(name)).cloned());
            }
            (Value::SortedSet(members), Value::SortedSet(own)) => {
                let left = own.iter().filter(|(name, _)| self.leaves(name));
                members.extend(left.map(|(name, score)| (name.clone(), *score)));
            }
            (Value::Hash(fields), Value::Hash(own)) => {
                for (name, field) in own {
                    let ours = fields
                        .get(name)
                        .is_some_and(|target| self.keeps_own_expiry && target.value == field.value);
                    if ours || self.leaves(name) {
                        fields.insert(name.clone(), field.clone());
                    }
                }
            }
            (Value::Stream(stream), Value::Stream(own)) => self.compose_stream(stream, own),
            _ => {}
        }
        value
    }

    fn compose_stream(&self, stream: &mut Stream, own: &Stream) {
        for id in self
            .untouched
            .keys()
            .filter_map(|name| StreamId::parse(name))
        {
            if let Some(entry) = own.entries.get(&id) {
                stream.entries.insert(id, entry.clone());
            }
        }
        stream
            .groups
            .extend(own.groups.iter().map(|(name, at)| (name.clone(), *at)));
    }

    fn leaves(&self, name: &Bytes) -> bool {
        self.untouched.contains_key(name)
    }
}

/// Whether values of this kind are merged element by element, so that a replica's key stays its own.
fn is_joined(kind: Kind) -> bool {
    match kind {
        Kind::Hash | Kind::Set | Kind::SortedSet | Kind::Stream => true,
        Kind::String | Kind::List | Kind::Module => false,
    }
}

/// What was known beyond the siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Stamps beside the data.
    Recorded,
    /// The agreement.
    Agreed,
    /// Nothing: first run, or a run without memory.
    None,
}

impl Evidence {
    /// All, in this order.
    pub const ALL: [Self; 3] = [Self::Recorded, Self::Agreed, Self::None];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Agreed => "agreed",
            Self::None => "none",
        }
    }
}

/// How a register was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// There was one candidate.
    Unopposed,
    /// By this step of `prefer`.
    By(Preference),
    /// By the configured order of the replicas.
    Order,
}

/// What of the agreement changes: each named element gets the new version as that of its last change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Whether the key has a new version, but for its expiry.
    pub key: bool,
    /// Elements that were added or changed.
    pub added: BTreeSet<Bytes>,
    /// Elements that were removed.
    pub removed: BTreeSet<Bytes>,
}

/// What the operator should know of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The types differed; what these replicas held is replaced.
    TypesDiffer {
        /// The type that won.
        kept: Kind,
        /// Who held another.
        replaced: Vec<ReplicaIndex>,
    },
    /// A counter was merged as a register, because a side is not a canonical number.
    NotANumber(Option<Bytes>),
    /// A counter was merged as a register, because the sum overflows.
    Overflow(Option<Bytes>),
    /// Several replicas changed a collection that is remembered by whole key: they were united, removals are lost.
    UnitedByWholeKey,
    /// One stream ID has two contents.
    TwoContents(StreamId),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skipped => "the preference says skip",
            Self::Waits => "only an absent replica holds the agreed value",
            Self::TwoContents => "one stream ID has two contents",
            Self::EndsElsewhere => "the field ends by itself elsewhere, which cannot be held here",
            Self::Overflows => "its counts add up to more than an integer holds",
        })
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopposed => f.write_str("the only candidate"),
            Self::By(Preference::Datacenter(Datacenter(name))) => {
                write!(f, "preferred datacenter {name}")
            }
            Self::By(Preference::Majority) => f.write_str("held by the majority"),
            Self::By(Preference::Greatest) => f.write_str("the greatest"),
            Self::By(Preference::Skip) => f.write_str("skip"),
            Self::Order => f.write_str("first in the configured order"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |name: &Option<Bytes>| {
            name.as_ref()
                .map_or_else(String::new, |name| format!(" at {}", escape(name)))
        };
        match self {
            Self::TypesDiffer { kept, replaced } => {
                write!(
                    f,
                    "types differ: {kept} was kept, {} replaced",
                    replaced.len()
                )
            }
            Self::NotANumber(name) => write!(f, "not a canonical number{}: a register", at(name)),
            Self::Overflow(name) => write!(f, "the counter overflows{}: a register", at(name)),
            Self::UnitedByWholeKey => f.write_str("too large to merge removals: united"),
            Self::TwoContents(id) => write!(f, "stream ID {id} has two contents"),
        }
    }
}
