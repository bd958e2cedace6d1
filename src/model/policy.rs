//! What the operator wants for a keyspace: merge rules per type, expiry, preference.

use std::time::Duration;

use super::{Datacenter, Kind};

/// How differing strings are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StringRule {
    /// A register: the latest change wins, else preference.
    #[default]
    Lww,
    /// A PN-counter: increments of all replicas add up.
    Counter,
    /// The greatest of the integers: for datacenters that replicate to each other.
    CounterMax,
    /// Bitwise or.
    BitmapOr,
}

/// How the values of a hash's fields are merged; their presence is always a set's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashRule {
    /// Each field is a register.
    #[default]
    Lww,
    /// Each field that is an integer is a PN-counter.
    Counter,
    /// Each field that is an integer takes the greatest.
    CounterMax,
}

/// How sets are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetRule {
    /// Element by element; a concurrent addition beats a removal.
    #[default]
    AddWins,
}

/// How the scores of a sorted set's members are merged; their presence is always a set's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZsetRule {
    /// Each score is a register.
    #[default]
    Lww,
    /// The greatest score.
    Max,
    /// The least score.
    Min,
    /// Each score is a PN-counter.
    Counter,
}

/// How lists are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListRule {
    /// Appends and prepends to what was agreed are joined; anything else is a register.
    #[default]
    Append,
    /// Always a register.
    Lww,
}

/// How streams are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamRule {
    /// Union of entry IDs, minus what was removed.
    #[default]
    Union,
}

/// How HyperLogLogs are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HllRule {
    /// Register-wise maximum.
    #[default]
    Merge,
    /// A register like any string.
    Lww,
}

/// The merge rule of every type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Strings that are not HyperLogLogs.
    pub string: StringRule,
    /// Hashes.
    pub hash: HashRule,
    /// Sets.
    pub set: SetRule,
    /// Sorted sets.
    pub zset: ZsetRule,
    /// Lists.
    pub list: ListRule,
    /// Streams.
    pub stream: StreamRule,
    /// Strings that are valid HyperLogLogs.
    pub hyperloglog: HllRule,
}

/// Which expiry a merged key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiryRule {
    /// The longest of those that changed; none is longest.
    #[default]
    Longest,
    /// Expiry is neither compared nor repaired; a key that is copied keeps its source's.
    Ignore,
}

/// How expiries are compared and merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiryPolicy {
    /// Which expiry wins.
    pub rule: ExpiryRule,
    /// Expiries whose greatest and smallest differ by at most this are equal.
    pub tolerance: Duration,
    /// A key that ends within this time is skipped.
    pub horizon: Duration,
}

impl Default for ExpiryPolicy {
    fn default() -> Self {
        Self {
            rule: ExpiryRule::Longest,
            tolerance: Duration::from_secs(1),
            horizon: Duration::from_secs(60),
        }
    }
}

/// One step in deciding between concurrent values of a register; the first that decides ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preference {
    /// A value held in this datacenter.
    Datacenter(Datacenter),
    /// The value that more than half of the siblings hold.
    Majority,
    /// The greatest value by bytes: the only one that does not depend on which runs happened first.
    Greatest,
    /// Leave the key alone and report it.
    Skip,
}

/// Who wins when a register was deleted on one replica and changed on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeleteConflict {
    /// The change.
    #[default]
    UpdateWins,
    /// The deletion.
    DeleteWins,
}

/// Merge rules, expiry rule and preference of a keyspace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Rules per type.
    pub rules: Rules,
    /// Expiry.
    pub expiry: ExpiryPolicy,
    /// Preference between concurrent registers. Where it does not decide, the datacenters' configured order does.
    pub prefer: Vec<Preference>,
    /// Deleted here, changed there.
    pub on_delete_conflict: OnDeleteConflict,
}

/// Tells a policy from another, as it is written down: what decides how a key is merged, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyMark(pub [u8; PolicyMark::LENGTH]);

impl PolicyMark {
    /// Bytes in a mark.
    pub const LENGTH: usize = 8;
}

impl Policy {
    /// The policy's mark: equal for equal policies, in every version.
    pub fn mark(&self) -> PolicyMark {
        let mut text = String::from("1");
        let mut put = |part: &str| {
            text.push(' ');
            text.push_str(&super::escape(part.as_bytes()));
        };
        Kind::ALL
            .into_iter()
            .for_each(|kind| put(self.rules.name_for(kind)));
        put(match self.rules.hyperloglog {
            HllRule::Merge => "merge",
            HllRule::Lww => "lww",
        });
        put(match self.expiry.rule {
            ExpiryRule::Longest => "longest",
            ExpiryRule::Ignore => "ignore",
        });
        put(match self.on_delete_conflict {
            OnDeleteConflict::UpdateWins => "update-wins",
            OnDeleteConflict::DeleteWins => "delete-wins",
        });
        for preference in &self.prefer {
            put(match preference {
                Preference::Datacenter(datacenter) => &datacenter.0,
                Preference::Majority => "majority",
                Preference::Greatest => "greatest",
                Preference::Skip => "skip",
            });
        }
        let mut mark = [0; PolicyMark::LENGTH];
        mark.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..PolicyMark::LENGTH]);
        PolicyMark(mark)
    }
}

impl Rules {
    /// Whether values of a kind are counted: increased, where clients may be counting at the same time.
    pub fn counts(&self, kind: Kind) -> bool {
        match kind {
            Kind::String => self.string == StringRule::Counter,
            Kind::Hash => self.hash == HashRule::Counter,
            Kind::SortedSet => self.zset == ZsetRule::Counter,
            Kind::List | Kind::Set | Kind::Stream | Kind::Module => false,
        }
    }

    /// Whether any kind is counted.
    pub fn counts_any(&self) -> bool {
        [Kind::String, Kind::Hash, Kind::SortedSet]
            .into_iter()
            .any(|kind| self.counts(kind))
    }

    /// The configured name of the rule for a kind, as reports show it.
    pub fn name_for(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::String => self.string.name(),
            Kind::List => match self.list {
                ListRule::Append => "append",
                ListRule::Lww => "lww",
            },
            Kind::Hash => match self.hash {
                HashRule::Lww => "lww",
                HashRule::Counter => "counter",
                HashRule::CounterMax => "counter-max",
            },
            Kind::Set => match self.set {
                SetRule::AddWins => "add-wins",
            },
            Kind::SortedSet => match self.zset {
                ZsetRule::Lww => "lww",
                ZsetRule::Max => "max",
                ZsetRule::Min => "min",
                ZsetRule::Counter => "counter",
            },
            Kind::Stream => match self.stream {
                StreamRule::Union => "union",
            },
            Kind::Module => "lww",
        }
    }
}

impl StringRule {
    /// The rule's name in the YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lww => "lww",
            Self::Counter => "counter",
            Self::CounterMax => "counter-max",
            Self::BitmapOr => "bitmap-or",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_told_from_another_by_its_mark_which_is_frozen() {
        let usual = Policy::default();
        let mut others = vec![usual.clone(); 4];
        others[0].rules.string = StringRule::Counter;
        others[1].rules.hyperloglog = HllRule::Lww;
        others[2].prefer = vec![Preference::Greatest];
        others[3].on_delete_conflict = OnDeleteConflict::DeleteWins;
        for other in others {
            assert_ne!(other.mark(), usual.mark(), "{other:?}");
        }
        let text = b"1 lww append lww add-wins lww union lww merge longest update-wins";
        assert_eq!(usual.mark().0, blake3::hash(text).as_bytes()[..8]);
    }
}
