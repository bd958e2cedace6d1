//! A state directory in its plainest form, on which random histories run the real rules.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::crdt::{Agreed, Base, MergeInput, Merged, Sibling, Target, merge};
use crate::model::{
    Datacenter, DigestKey, Digester, Field, Lag, Millis, Policy, Preference, ReplicaId,
    ReplicaIndex, Sequence, State, Value, Voids,
};
use crate::repair::ledger::{
    Absent, Archive, Fate, Known, Past, Pupil, Subject, Trust, base, lesson,
};

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

/// What is remembered of one key.
#[derive(Default)]
pub(super) struct Book {
    pub(super) past: Past,
    pub(super) step: Sequence,
}

/// Nothing was forgotten, so nothing is looked up.
struct Nothing;

impl Archive for Nothing {
    fn agreements(&self) -> Vec<crate::model::Agreement> {
        panic!("no replica forgot anything")
    }

    fn lags(&self) -> Vec<Lag> {
        panic!("no replica forgot anything")
    }

    fn replaced(&self) -> Vec<Lag> {
        panic!("no replica forgot anything")
    }
}

pub(super) fn id(replica: usize) -> ReplicaId {
    ReplicaId([replica as u8; 8])
}

pub(super) fn trust(replica: usize) -> Trust {
    Trust {
        id: id(replica),
        voids: Voids::default(),
        covered: Some(Sequence(0)),
    }
}

pub(super) fn digester() -> Digester {
    Digester::new(DigestKey::new([7; 32]))
}

impl Book {
    fn base(&self, replica: usize, state: Option<&State>) -> Option<Known<'_>> {
        let held = state.map(|state| digester().value(&state.value));
        base(&self.past, &trust(replica), held.as_ref(), &Nothing)
    }

    pub(super) fn merge(&self, states: &[(usize, Option<State>)], policy: &Policy) -> Merged {
        let names: Vec<Datacenter> = (0..=states
            .iter()
            .map(|(replica, _)| *replica)
            .max()
            .unwrap_or(0))
            .map(|index| Datacenter(format!("dc{index}")))
            .collect();
        let bases: Vec<_> = states
            .iter()
            .map(|(replica, state)| self.base(*replica, state.as_ref()))
            .collect();
        let siblings: Vec<Sibling<'_>> = states
            .iter()
            .zip(&bases)
            .map(|((replica, state), base)| Sibling {
                base: base.as_ref().map(|known| Base {
                    memory: known.memory.as_deref(),
                    seen: known.seen.clone(),
                    standing: known.standing,
                }),
                ..Sibling::unknown(ReplicaIndex(*replica), &names[*replica], state.as_ref())
            })
            .collect();
        let agreement = self.past.agreement.as_ref();
        let agreed = agreement.map(|agreement| Agreed {
            version: agreement.version,
            memory: agreement.memory.as_ref(),
            removed: &agreement.removed,
            everybody: false,
        });
        let input = MergeInput {
            siblings: &siblings,
            agreed: agreed.as_ref(),
            policy,
            now: Millis(0),
            shown: None,
        };
        merge(&input, &mut digester())
    }

    /// Learns a merge: what was agreed, and per replica what it holds after the writes, which may have come half way,
    /// and whether they went through.
    pub(super) fn learn(
        &mut self,
        replicas: usize,
        merged: &Merged,
        target: &Target,
        took_part: &BTreeMap<usize, (Option<State>, bool)>,
        policy: &Policy,
    ) {
        self.step.0 += 1;
        let trusts: BTreeMap<usize, Trust> =
            took_part.keys().map(|one| (*one, trust(*one))).collect();
        let bases: BTreeMap<usize, _> = took_part
            .iter()
            .map(|(replica, (state, _))| (*replica, self.base(*replica, state.as_ref())))
            .collect();
        let pupils: Vec<Pupil<'_>> = took_part
            .iter()
            .map(|(replica, (state, written))| Pupil {
                trust: &trusts[replica],
                state: state.as_ref(),
                base: bases[replica].as_ref(),
                fate: if *written { Fate::Holds } else { Fate::Left },
                left_out: super::NOTHING,
            })
            .collect();
        let absent: Vec<Absent> = (0..replicas)
            .filter(|replica| !took_part.contains_key(replica))
            .map(|replica| Absent {
                id: id(replica),
                covered: Some(Sequence(0)),
                evicted: false,
            })
            .collect();
        let subject = Subject {
            past: &self.past,
            target,
            changes: &merged.changes,
            policy,
            elements: 100,
            step: self.step,
            now: Millis(0),
        };
        let learned = lesson(&subject, &pupils, &absent, &mut digester());
        if let Some(agreement) = learned.agreement {
            self.past.agreement = Some(agreement);
        }
        for (replica, lag) in learned.settled {
            self.past.lags.remove(&replica);
            self.past.lags.extend(lag.map(|lag| (replica, lag)));
        }
        assert!(learned.parts.is_empty(), "nothing is left open here");
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
        ..Policy::default()
    }
}
