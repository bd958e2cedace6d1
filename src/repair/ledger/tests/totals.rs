//! Registers against dots, and counters against exact totals, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::book::{Book, ROUNDS, Random, entries, greatest, seeds, text};
use crate::crdt::{Outcome, integer};
use crate::model::{State, StringRule, Value};

/// A register against (value, dot, context) per holder; absent is the least value.
fn register_history(seed: u64, replicas: usize) -> Result<(), String> {
    type Dot = (Option<Bytes>, u64, BTreeSet<u64>);
    let (mut random, policy) = (Random(seed), greatest());
    let mut book = Book::default();
    let mut states: Vec<Option<State>> = vec![None; replicas];
    let mut oracle: Vec<Dot> = vec![(None, 0, BTreeSet::from([0])); replicas + 1];
    let (mut dots, mut fresh) = (0, vec![true; replicas]);
    for round in 0..ROUNDS {
        for replica in 0..replicas {
            if fresh[replica] && random.chance(30) {
                (fresh[replica], dots) = (false, dots + 1);
                let deleted = states[replica].is_some() && random.chance(25);
                let value = (!deleted).then(|| text(random.below(1_000_000)));
                states[replica] = value.clone().map(|v| State::lasting(Value::String(v)));
                oracle[replica].0 = value;
                oracle[replica].1 = dots;
                oracle[replica].2.insert(dots);
            }
        }
        let present = random.some_of(replicas);
        if present.is_empty() || random.chance(20) {
            continue;
        }
        let read: Vec<_> = present.iter().map(|r| (*r, states[*r].clone())).collect();
        let merged = book.merge(&read, &policy);
        let Outcome::Target(target) = &merged.outcome else {
            continue;
        };
        let holders: Vec<&Dot> = present
            .iter()
            .chain([&replicas])
            .map(|holder| &oracle[*holder])
            .collect();
        let alive = |dot: u64| holders.iter().all(|h| h.1 == dot || !h.2.contains(&dot));
        let want = holders
            .iter()
            .filter(|h| alive(h.1))
            .map(|h| (h.0.clone(), h.1))
            .max();
        let (value, dot) = want.ok_or("no dot lives")?;
        let got = entries(&target.at(None)).remove(&Bytes::new());
        if got != value {
            return Err(format!(
                "round {round}: merged {got:?}, dots say {value:?}, {read:?}"
            ));
        }
        let seen = holders
            .iter()
            .flat_map(|holder| holder.2.iter().copied())
            .collect();
        oracle[replicas] = (value, dot, seen);
        let mut took_part = BTreeMap::new();
        for (replica, state) in read {
            let wanted = target.at(state.as_ref());
            let written = wanted == state || !random.chance(20);
            if written {
                oracle[replica] = oracle[replicas].clone();
                states[replica] = wanted;
            }
            fresh[replica] = true;
            took_part.insert(replica, (states[replica].clone(), written));
        }
        book.learn(replicas, &merged, target, &took_part, &policy);
    }
    Ok(())
}

#[test]
fn registers_under_greatest_follow_their_dots() {
    for replicas in 2..=5 {
        for seed in 0..4 * seeds() {
            register_history(seed, replicas)
                .unwrap_or_else(|why| panic!("seed {seed}, {replicas} replicas, {why}"));
        }
    }
}

/// Increments at any replica, failed writes, any subset: in the end all hold the exact total.
fn counter_history(seed: u64, replicas: usize) {
    let mut policy = greatest();
    policy.rules.string = StringRule::Counter;
    let mut random = Random(seed);
    let mut book = Book::default();
    let mut states: Vec<Option<State>> = vec![None; replicas];
    let mut total = 0;
    for round in 0..=ROUNDS {
        let last = round == ROUNDS;
        for state in states.iter_mut().filter(|_| !last) {
            if random.chance(30) {
                let step = [-2, 1, 3, 5][random.below(4) as usize];
                *state = Some(counter(number(state).map_or(step, |held| held + step)));
                total += step;
            }
        }
        let present = if last {
            (0..replicas).collect()
        } else {
            random.some_of(replicas)
        };
        let read: Vec<_> = present.iter().map(|r| (*r, states[*r].clone())).collect();
        let merged = book.merge(&read, &policy);
        let Outcome::Target(target) = &merged.outcome else {
            panic!("a counter never waits")
        };
        let mut took_part = BTreeMap::new();
        for (replica, state) in read {
            let wanted = target.at(state.as_ref());
            let written = last || wanted == state || !random.chance(30);
            if written {
                states[replica] = wanted;
            }
            took_part.insert(replica, (states[replica].clone(), written));
        }
        book.learn(replicas, &merged, target, &took_part, &policy);
    }
    for state in &states {
        assert_eq!(
            number(state).unwrap_or(0),
            total,
            "seed {seed}, {replicas} replicas"
        );
    }
}

fn counter(number: i64) -> State {
    State::lasting(Value::String(number.to_string().into()))
}

fn number(state: &Option<State>) -> Option<i64> {
    let bytes = entries(state).remove(&Bytes::new())?;
    integer(&bytes)
}

#[test]
fn counters_add_up_exactly_whoever_takes_part_and_whatever_fails() {
    for replicas in 2..=4 {
        for seed in 0..seeds() {
            counter_history(seed, replicas);
        }
    }
}
