//! Collections against observed-remove CRDTs with dots, over random histories: any subset of replicas takes part,
//! writes fail or apply in part, whole keys are deleted. Each history is one seed; a failing one is named.

mod undone;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::book::{Book, ELEMENTS, ROUNDS, Random, entries, greatest, name, rebuilt, seeds, text};
use crate::crdt::{Merged, Outcome, Target};
use crate::model::{Policy, State, Value};

fn empty(is_set: bool) -> State {
    State::lasting(if is_set {
        Value::Set(BTreeSet::new())
    } else {
        Value::Hash(BTreeMap::new())
    })
}

/// Per holder (the last is the state directory) and element: live dots with their values, and all dots ever seen.
#[derive(Debug, Clone, Default)]
struct Dotted {
    live: BTreeMap<u64, Bytes>,
    seen: BTreeSet<u64>,
}

fn join(holders: &[&Dotted]) -> Dotted {
    let survives = |dot: &u64| {
        holders
            .iter()
            .all(|holder| holder.live.contains_key(dot) || !holder.seen.contains(dot))
    };
    let all = holders.iter().flat_map(|holder| &holder.live);
    let live: BTreeMap<u64, Bytes> = all
        .filter(|(dot, _)| survives(dot))
        .map(|(dot, value)| (*dot, value.clone()))
        .collect();
    let greatest = live.values().max().cloned();
    Dotted {
        live: live
            .into_iter()
            .filter(|(_, value)| Some(value) == greatest.as_ref())
            .collect(),
        seen: holders
            .iter()
            .flat_map(|holder| holder.seen.iter().copied())
            .collect(),
    }
}

/// What a replica held before a write, and after.
type Deed = (Option<State>, Option<State>);

/// A replica's client changed an element: a dot and its value, or nothing where it removed that.
type Change = (usize, u8, Option<(u64, Bytes)>);

struct History {
    random: Random,
    is_set: bool,
    values: u64,
    replicas: usize,
    fail_percent: u64,
    elements: u8,
    states: Vec<Option<State>>,
    oracle: Vec<Vec<Dotted>>,
    /// A replica's clients change an element once between two runs: more would be invisible.
    fresh: Vec<BTreeSet<u8>>,
    dots: u64,
    book: Book,
    /// What clients did since the last run.
    since: Vec<Change>,
    /// What the last run read and wrote, where it wrote.
    written: BTreeMap<usize, Deed>,
    took_part: BTreeSet<usize>,
    /// A write of the last run was applied to some elements only.
    is_halved: bool,
}

impl History {
    fn new(seed: u64, is_set: bool, values: u64, replicas: usize, fail: u64, elements: u8) -> Self {
        Self {
            random: Random(seed),
            is_set,
            values,
            replicas,
            fail_percent: fail,
            elements,
            states: vec![None; replicas],
            oracle: vec![vec![Dotted::default(); usize::from(elements)]; replicas + 1],
            fresh: vec![(0..elements).collect(); replicas],
            dots: 0,
            book: Book::default(),
            since: Vec::new(),
            written: BTreeMap::new(),
            took_part: BTreeSet::new(),
            is_halved: false,
        }
    }

    fn clients(&mut self) {
        for _ in 0..self.random.below(7) {
            let replica = self.random.below(self.replicas as u64) as usize;
            let mut now = entries(&self.states[replica]);
            if self.random.chance(10) {
                for element in 0..self.elements {
                    if now.contains_key(&name(element)) && self.fresh[replica].remove(&element) {
                        now.remove(&name(element));
                        self.since.push((replica, element, None));
                        self.oracle[replica][usize::from(element)].live.clear();
                    }
                }
            } else {
                let element = self.random.below(u64::from(self.elements)) as u8;
                if self.fresh[replica].remove(&element) {
                    self.change(replica, element, &mut now);
                }
            }
            self.states[replica] = rebuilt(&empty(self.is_set), &now);
        }
    }

    fn change(&mut self, replica: usize, element: u8, now: &mut BTreeMap<Bytes, Bytes>) {
        let dotted = &mut self.oracle[replica][usize::from(element)];
        let held = now.get(&name(element)).cloned();
        if held.is_some() && (self.is_set || self.random.chance(50)) {
            now.remove(&name(element));
            dotted.live.clear();
            self.since.push((replica, element, None));
            return;
        }
        self.dots += 1;
        let mut value = match self.is_set {
            true => Bytes::new(),
            false => text(self.random.below(self.values)),
        };
        if held.as_ref() == Some(&value) {
            value = text(self.values + self.dots);
        }
        now.insert(name(element), value.clone());
        let change = Some((self.dots, value.clone()));
        self.since.push((replica, element, change));
        dotted.live = BTreeMap::from([(self.dots, value)]);
        dotted.seen.insert(self.dots);
    }

    /// One run. Returns what differs from the oracle, and how many elements had to wait.
    fn repair(&mut self, policy: &Policy) -> Result<usize, String> {
        let present = self.random.some_of(self.replicas);
        if present.is_empty() || self.random.chance(20) {
            return Ok(0);
        }
        let read: Vec<_> = present
            .iter()
            .map(|r| (*r, self.states[*r].clone()))
            .collect();
        let merged = self.book.merge(&read, policy);
        let Outcome::Target(target) = &merged.outcome else {
            return Err(format!("{:?}", merged.outcome));
        };
        let wanted = entries(&target.at(None));
        for element in 0..self.elements {
            if target.untouched.contains_key(&name(element)) {
                continue;
            }
            let column = usize::from(element);
            let holders: Vec<_> = present.iter().chain([&self.replicas]).collect();
            let joined = join(
                &holders
                    .iter()
                    .map(|h| &self.oracle[**h][column])
                    .collect::<Vec<_>>(),
            );
            let (want, got) = (joined.live.values().next(), wanted.get(&name(element)));
            if want != got {
                return Err(format!(
                    "{element}: merged {got:?}, dots say {want:?}, {read:?}"
                ));
            }
            self.oracle[self.replicas][column] = joined;
        }
        let target = target.clone();
        self.write(&merged, &target, read, policy);
        Ok(target.untouched.len())
    }

    fn write(
        &mut self,
        merged: &Merged,
        target: &Target,
        read: Vec<(usize, Option<State>)>,
        policy: &Policy,
    ) {
        let mut took_part = BTreeMap::new();
        (self.since, self.written, self.is_halved) = (Vec::new(), BTreeMap::new(), false);
        self.took_part = read.iter().map(|(replica, _)| *replica).collect();
        for (replica, state) in read {
            let wanted = target.at(state.as_ref());
            let written = wanted == state || !self.random.chance(self.fail_percent);
            self.is_halved |= !written;
            if written && wanted != state {
                let deed = (state.clone(), wanted.clone());
                self.written.insert(replica, deed);
            }
            let held = if written {
                wanted
            } else {
                self.half(&state, &wanted)
            };
            self.states[replica] = held.clone();
            let (now, goal) = (entries(&held), entries(&target.at(state.as_ref())));
            for element in 0..self.elements {
                if target.untouched.contains_key(&name(element)) {
                    continue;
                }
                self.fresh[replica].insert(element);
                if now.get(&name(element)) == goal.get(&name(element)) {
                    let column = usize::from(element);
                    self.oracle[replica][column] = self.oracle[self.replicas][column].clone();
                }
            }
            took_part.insert(replica, (held, written));
        }
        self.book
            .learn(self.replicas, merged, target, &took_part, policy);
    }

    /// A write that was applied to some elements only.
    fn half(&mut self, state: &Option<State>, wanted: &Option<State>) -> Option<State> {
        let (mut now, goal) = (entries(state), entries(wanted));
        for element in (0..self.elements).map(name) {
            if self.random.chance(50) {
                match goal.get(&element) {
                    Some(value) => now.insert(element, value.clone()),
                    None => now.remove(&element),
                };
            }
        }
        rebuilt(&empty(self.is_set), &now)
    }
}

fn histories(is_set: bool, values: u64, elements: u8) {
    let policy = greatest();
    for (replicas, fail) in [(2, 20), (3, 20), (4, 40), (5, 30)] {
        let mut waited = 0;
        for seed in 0..seeds() {
            let mut history = History::new(seed, is_set, values, replicas, fail, elements);
            for round in 0..ROUNDS {
                history.clients();
                match history.repair(&policy) {
                    Ok(waiting) => waited += waiting,
                    Err(why) => panic!("seed {seed}, {replicas} replicas, round {round}: {why}"),
                }
            }
        }
        assert!(
            !is_set || waited == 0,
            "a set's member is its own value and never waits"
        );
    }
}

#[test]
fn a_set_of_one_element_follows_its_dots_whoever_takes_part() {
    histories(true, 1, 1);
}

#[test]
fn sets_follow_their_dots_also_when_writes_apply_in_part() {
    histories(true, 1, ELEMENTS);
}

#[test]
fn hashes_follow_their_dots_also_when_writes_apply_in_part() {
    histories(false, 1_000_000, ELEMENTS);
}

#[test]
fn hashes_of_few_values_follow_their_dots() {
    histories(false, 9, ELEMENTS);
}
