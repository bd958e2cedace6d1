//! AGREEMENT.md, "Merging one key", in its plainest form: what a run remembers, for random histories.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{datacenters, digester, policy};
use crate::crdt::{Agreed, Base, MergeInput, Merged, Sibling, Standing, Target, merge, remember};
use crate::model::{Field, Millis, Policy, Preference, ReplicaIndex, Seen, State, Value, Version};

pub(super) const ELEMENTS: u8 = 4;
pub(super) const ROUNDS: usize = 40;

/// Histories per shape; `REKNIT_SEEDS` asks for more.
pub(super) fn seeds() -> u64 {
    let asked = std::env::var("REKNIT_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// A small deterministic generator: splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn some_of(&mut self, replicas: usize) -> Vec<usize> {
        (0..replicas).filter(|_| self.chance(60)).collect()
    }
}

/// What is remembered of one key: the agreement, and who lags with which base.
#[derive(Default)]
pub(super) struct Ledger {
    version: Version,
    agreed: Option<State>,
    changed: BTreeMap<Bytes, Version>,
    removed: BTreeMap<Bytes, Version>,
    lag: BTreeMap<usize, (Option<State>, Seen)>,
}

impl Ledger {
    fn past(&self, replica: usize) -> (Option<State>, Seen) {
        let current = || (self.agreed.clone(), Seen::all(self.version));
        self.lag.get(&replica).cloned().unwrap_or_else(current)
    }

    pub(super) fn merge(&self, states: &[(usize, Option<State>)], policy: &Policy) -> Merged {
        let mut digester = digester();
        let mut remember = |state: &Option<State>| {
            let changed = |name: &Bytes| self.changed.get(name).copied().unwrap_or_default();
            state
                .as_ref()
                .map(|state| remember(state, 100, changed, &mut digester))
        };
        let memory = remember(&self.agreed);
        let pasts: Vec<_> = states
            .iter()
            .map(|(replica, _)| {
                let (base, seen) = self.past(*replica);
                (remember(&base), seen)
            })
            .collect();
        let names = datacenters(
            states
                .iter()
                .map(|(replica, _)| replica + 1)
                .max()
                .unwrap_or(0),
        );
        let siblings: Vec<Sibling<'_>> = states
            .iter()
            .zip(&pasts)
            .map(|((replica, state), (memory, seen))| Sibling {
                replica: ReplicaIndex(*replica),
                datacenter: &names[*replica],
                state: state.as_ref(),
                digest: None,
                base: Some(Base {
                    memory: memory.as_ref(),
                    seen: seen.clone(),
                    standing: Standing::Ordinary,
                }),
            })
            .collect();
        let agreed = Agreed {
            version: self.version,
            memory: memory.as_ref(),
            removed: &self.removed,
        };
        let input = MergeInput {
            siblings: &siblings,
            agreed: (self.version > Version(0)).then_some(&agreed),
            policy,
            now: Millis(0),
            shown: None,
        };
        merge(&input, &mut digester)
    }

    /// Learns a merge: what was agreed, and per replica what it holds after the writes (`held`) and whether the write
    /// went through.
    pub(super) fn learn(
        &mut self,
        replicas: usize,
        merged: &Merged,
        target: &Target,
        took_part: &BTreeMap<usize, (Option<State>, bool)>,
    ) {
        let before: Vec<_> = (0..replicas).map(|replica| self.past(replica)).collect();
        let wanted = target.at(self.agreed.as_ref());
        if merged.changes.key {
            self.version.0 += 1;
            self.agreed = wanted.clone();
        }
        for name in &merged.changes.added {
            self.changed.insert(name.clone(), self.version);
            self.removed.remove(name);
        }
        for name in &merged.changes.removed {
            self.removed.insert(name.clone(), self.version);
        }
        for (replica, (base, seen)) in before.into_iter().enumerate() {
            let entry = match took_part.get(&replica) {
                None if merged.changes.key || self.lag.contains_key(&replica) => Some((base, seen)),
                None => None,
                Some((held, written)) => {
                    self.taken_part(target, &wanted, (base, seen), held, *written)
                }
            };
            self.lag.remove(&replica);
            self.lag.extend(entry.map(|entry| (replica, entry)));
        }
    }

    /// The lag entry that a replica keeps after it took part.
    fn taken_part(
        &self,
        target: &Target,
        wanted: &Option<State>,
        (base, seen): (Option<State>, Seen),
        held: &Option<State>,
        written: bool,
    ) -> Option<(Option<State>, Seen)> {
        if written && target.untouched.is_empty() {
            return None;
        }
        // Elements that wait were not looked at: base and seen stay as they were.
        let mut now = entries(held);
        let old = entries(&base);
        let mut next = seen.clone();
        if written {
            next = Seen::all(self.version);
        }
        let wanted = entries(wanted);
        for name in (0..ELEMENTS).map(name) {
            if target.untouched.contains_key(&name) {
                next.elements.insert(name.clone(), seen.of(&name));
                match old.get(&name) {
                    Some(value) => now.insert(name, value.clone()),
                    None => now.remove(&name),
                };
            } else if now.get(&name) == wanted.get(&name) {
                next.elements.insert(name, self.version);
            }
        }
        let like = held.as_ref().or(base.as_ref()).or(self.agreed.as_ref());
        Some((like.and_then(|like| rebuilt(like, &now)), next))
    }
}

pub(super) fn name(element: u8) -> Bytes {
    vec![b'a' + element].into()
}

pub(super) fn text(value: u64) -> Bytes {
    format!("v{value:08}").into()
}

/// The elements of a set (with empty values) or hash; of a string the whole under no name.
pub(super) fn entries(state: &Option<State>) -> BTreeMap<Bytes, Bytes> {
    match state.as_ref().map(|state| &state.value) {
        None => BTreeMap::new(),
        Some(Value::Set(members)) => members
            .iter()
            .map(|member| (member.clone(), Bytes::new()))
            .collect(),
        Some(Value::Hash(fields)) => fields
            .iter()
            .map(|(name, field)| (name.clone(), field.value.clone()))
            .collect(),
        Some(Value::String(bytes)) => BTreeMap::from([(Bytes::new(), bytes.clone())]),
        Some(other) => panic!("no history has a {}", other.kind()),
    }
}

pub(super) fn rebuilt(like: &State, entries: &BTreeMap<Bytes, Bytes>) -> Option<State> {
    if entries.is_empty() {
        return None;
    }
    let fields = entries.iter();
    Some(State::lasting(match &like.value {
        Value::Set(_) => Value::Set(entries.keys().cloned().collect()),
        Value::Hash(_) => Value::Hash(
            fields
                .map(|(name, value)| (name.clone(), Field::lasting(value.clone())))
                .collect(),
        ),
        _ => Value::String(entries[&Bytes::new()].clone()),
    }))
}

pub(super) fn greatest() -> Policy {
    Policy {
        prefer: vec![Preference::Greatest],
        ..policy()
    }
}
