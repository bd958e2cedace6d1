//! What a run finds out about keys, and what becomes of them.

use bytes::Bytes;

use crate::crdt::Evidence;
use crate::model::{DbIndex, Expiry, Key, KeyspaceName, Kind, ReplicaName};

use super::resolve::REMOVAL;

/// In what way siblings differ; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceKind {
    /// Some replicas lack the key.
    Missing,
    /// The types differ.
    Type,
    /// The values differ.
    Value,
    /// Only the expiries differ.
    Expiry,
}

impl DifferenceKind {
    /// All kinds, in the order in which they are reported.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Type, Self::Value, Self::Expiry];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Type => "type",
            Self::Value => "value",
            Self::Expiry => "expiry",
        }
    }
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It differs; nothing was to be written.
    Diverged,
    /// It differs; this is what would be written (`--dry-run`).
    Planned,
    /// It was written, read again and is equal everywhere.
    Repaired,
    /// It keeps being written by clients: every conditional write lost, to the bounded end.
    Superseded,
    /// It is left as it is, for this reason.
    Unresolved(String),
    /// A replica refused the write, with these words.
    Refused(ReplicaName, String),
    /// A replica cannot read it, with these words.
    Unreadable(ReplicaName, String),
    /// A replica was lost before the key was done.
    Unfinished(String),
    /// It differs; `--limit` was reached before its turn.
    OverLimit,
    /// It differs, and to repair it overwrites or removes something: a guard stopped the run before that.
    HeldBack,
}

impl Verdict {
    /// All names.
    pub const NAMES: [&str; 10] = [
        "diverged",
        "planned",
        "repaired",
        "superseded",
        "unresolved",
        "refused",
        "unreadable",
        "unfinished",
        "over-limit",
        "held-back",
    ];

    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Diverged => "diverged",
            Self::Planned => "planned",
            Self::Repaired => "repaired",
            Self::Superseded => "superseded",
            Self::Unresolved(_) => "unresolved",
            Self::Refused(..) => "refused",
            Self::Unreadable(..) => "unreadable",
            Self::Unfinished(_) => "unfinished",
            Self::OverLimit => "over-limit",
            Self::HeldBack => "held-back",
        }
    }

    /// What there is to say beyond the name.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Unresolved(reason) | Self::Unfinished(reason) => Some(reason.clone()),
            Self::Refused(replica, words) | Self::Unreadable(replica, words) => {
                Some(format!("{replica}: {words}"))
            }
            Self::Diverged
            | Self::Planned
            | Self::Repaired
            | Self::Superseded
            | Self::OverLimit
            | Self::HeldBack => None,
        }
    }
}

/// What one replica holds, as far as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// Nothing.
    Absent,
    /// Something that it cannot read; that is not the same as nothing.
    Unreadable,
    /// This.
    Held(Held),
}

impl Holding {
    /// What is held, if that is known.
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// A value that one replica holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The type.
    pub kind: Kind,
    /// When the key ends.
    pub expiry: Expiry,
    /// Elements of a collection, bytes of a string.
    pub length: u64,
}

/// Where in a value siblings differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// What is shown: `value`, `field`, `field-expiry`, `member`, `score`, `index`, `entry`, `group`, `last-id`, `expiry`.
    pub what: &'static str,
    /// Its name, where it has one.
    pub name: Option<Bytes>,
    /// What each replica holds there, cut to [`Detail::SHOWN_BYTES`]; nothing where it is absent.
    pub values: Vec<Option<Bytes>>,
}

impl Detail {
    /// How much of a value is shown.
    pub const SHOWN_BYTES: usize = 64;

    /// How many differences of one key are shown.
    pub const SHOWN: usize = 8;
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was not tried: it would be written, or was to be.
    Planned,
    /// It happened.
    Applied,
    /// The key had changed meanwhile: nothing happened.
    Superseded,
    /// The replica refused it.
    Refused,
    /// The answer was lost: it happened or not.
    Unknown,
}

impl Fate {
    /// All fates, in this order.
    pub const ALL: [Self; 5] = [
        Self::Planned,
        Self::Applied,
        Self::Superseded,
        Self::Refused,
        Self::Unknown,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Applied => "applied",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// A change to a key of one replica, as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub replica: ReplicaName,
    /// What, in the words of the operations.
    pub ops: Vec<String>,
    /// What became of it.
    pub fate: Fate,
}

impl Change {
    /// Whether the key was removed.
    pub fn removed(&self) -> bool {
        self.fate == Fate::Applied && self.ops.iter().any(|op| op == REMOVAL)
    }
}

/// Everything a run has to say about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The database.
    pub db: DbIndex,
    /// The keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
    /// In what way the siblings differ.
    pub difference: DifferenceKind,
    /// What each replica holds, in datacenter order; nothing for one that does not take part.
    pub holdings: Vec<Option<Holding>>,
    /// Where they differ.
    pub details: Vec<Detail>,
    /// The rule that was applied, where one was.
    pub rule: Option<&'static str>,
    /// What was known beyond what the replicas hold, where it was merged.
    pub evidence: Option<Evidence>,
    /// How it was decided, where a preference decided it.
    pub decided: Option<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What was, would be or was to be written. Of one replica there can be several, each with another fate.
    pub changes: Vec<Change>,
    /// What became of it.
    pub verdict: Verdict,
}

impl Finding {
    /// The type under which the key is counted: the first replica's that has it.
    pub fn kind(&self) -> Option<Kind> {
        self.holdings
            .iter()
            .flatten()
            .find_map(|holding| Some(holding.held()?.kind))
    }
}
