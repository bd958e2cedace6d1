//! The merge under test: single cases by name, and laws as properties.

mod arbitrary;
mod cases;
mod cases_remembered;
mod counts;
mod laws;
mod recorded;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Agreed, Base, MergeInput, Merged, Outcome, Sibling, Standing, Target, merge};
use crate::model::{
    Datacenter, DigestKey, Digester, Expiry, Millis, Policy, Preference, ReplicaIndex, Seen, State,
    Stream, StreamId, StringRule, Value, Version,
};

fn digester() -> Digester {
    Digester::new(DigestKey::new([7; 32]))
}

fn policy() -> Policy {
    Policy::default()
}

/// `dc0`, `dc1` and so on.
fn datacenters(count: usize) -> Vec<Datacenter> {
    (0..count)
        .map(|index| Datacenter(format!("dc{index}")))
        .collect()
}

/// A merge without memory; the replica is the index.
fn plain(states: &[Option<State>], policy: &Policy) -> Merged {
    let names = datacenters(states.len());
    let siblings: Vec<_> = states
        .iter()
        .enumerate()
        .map(|(index, state)| Sibling::unknown(ReplicaIndex(index), &names[index], state.as_ref()))
        .collect();
    merge(
        &MergeInput::without_memory(&siblings, policy, Millis(0)),
        &mut digester(),
    )
}

fn target(merged: &Merged) -> &Target {
    match &merged.outcome {
        Outcome::Target(target) => target,
        Outcome::Unresolved(reason) => panic!("unresolved: {reason}"),
    }
}

/// A replica's past in a case below.
#[derive(Clone)]
enum Past {
    Newcomer,
    Base(Option<State>, u64, Standing),
}

fn held(state: &Option<State>, version: u64) -> Past {
    Past::Base(state.clone(), version, Standing::Ordinary)
}

const LIMIT: usize = 10;

/// A merge with an agreement at version 5, whose elements all changed in version 5.
fn remembered(agreed: &Option<State>, sides: &[(Option<State>, Past)], policy: &Policy) -> Merged {
    let mut digester = digester();
    let mut memory = |state: &Option<State>| {
        state
            .as_ref()
            .map(|state| super::remember(state, LIMIT, |_| Version(5), &mut digester))
    };
    let agreed_memory = memory(agreed);
    let bases: Vec<_> = sides
        .iter()
        .map(|(_, past)| match past {
            Past::Newcomer => None,
            Past::Base(state, version, standing) => Some((memory(state), *version, *standing)),
        })
        .collect();
    let names = datacenters(sides.len());
    let siblings: Vec<_> = sides
        .iter()
        .zip(&bases)
        .enumerate()
        .map(|(index, ((state, _), base))| Sibling {
            base: base.as_ref().map(|(memory, version, standing)| Base {
                memory: memory.as_ref(),
                seen: Seen::all(Version(*version)),
                standing: *standing,
            }),
            ..Sibling::unknown(ReplicaIndex(index), &names[index], state.as_ref())
        })
        .collect();
    let agreed = Agreed {
        version: Version(5),
        memory: agreed_memory.as_ref(),
        removed: &BTreeMap::new(),
        everybody: false,
    };
    let input = MergeInput {
        siblings: &siblings,
        agreed: Some(&agreed),
        policy,
        now: Millis(0),
        shown: None,
    };
    merge(&input, &mut digester)
}

fn string(text: &str) -> Option<State> {
    Some(State::lasting(Value::String(text.to_owned().into())))
}

fn until(text: &str, expiry: i64) -> Option<State> {
    string(text).map(|state| State {
        expiry: Expiry::At(Millis(expiry)),
        ..state
    })
}

fn set(members: &str) -> Option<State> {
    let member = |byte: u8| Bytes::from(vec![byte]);
    Some(State::lasting(Value::Set(
        members.bytes().map(member).collect(),
    )))
}

fn list(elements: &str) -> Option<State> {
    let element = |byte: u8| Bytes::from(vec![byte]);
    Some(State::lasting(Value::List(
        elements.bytes().map(element).collect(),
    )))
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

fn stream(entries: &[(u64, &'static str)], groups: &[(&'static str, u64)]) -> Option<State> {
    let pair = |text: &'static str| vec![(Bytes::from("f"), Bytes::from(text))];
    Some(State::lasting(Value::Stream(Stream {
        entries: entries
            .iter()
            .map(|(ms, text)| (id(*ms), pair(text)))
            .collect(),
        last_id: id(entries.iter().map(|(ms, _)| *ms).max().unwrap_or(0)),
        groups: groups
            .iter()
            .map(|(name, ms)| (Bytes::from(*name), id(*ms)))
            .collect(),
    })))
}

fn with_rule(rule: StringRule) -> Policy {
    let mut policy = policy();
    policy.rules.string = rule;
    policy
}

fn preferring(steps: &[Preference]) -> Policy {
    Policy {
        prefer: steps.to_vec(),
        ..policy()
    }
}
