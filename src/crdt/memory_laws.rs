//! The merge with memory against true CRDTs with dots, over random histories: any subset of replicas takes part,
//! writes fail or apply in part, whole keys are deleted. Each history is one seed; a failing one is named.
//!
//! The ledger below is AGREEMENT.md, "Merging one key", in its plainest form.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::table::{datacenters, digester, policy};
use super::{Agreed, Base, Memory, MergeInput, Merged, Outcome, Seen, Sibling, Standing, Version};
use super::{Target, merge};
use crate::model::{
    Expiry, Field, Millis, Policy, Preference, ReplicaIndex, State, StringRule, Value,
};

const ELEMENTS: u8 = 4;
const ROUNDS: usize = 40;

/// Histories per shape; `REKNIT_SEEDS` asks for more.
fn seeds() -> u64 {
    let asked = std::env::var("REKNIT_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// A small deterministic generator: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn some_of(&mut self, replicas: usize) -> Vec<usize> {
        (0..replicas).filter(|_| self.chance(60)).collect()
    }
}

/// What is remembered of one key: the agreement, and who lags with which base.
#[derive(Default)]
struct Ledger {
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

    fn merge(&self, states: &[(usize, Option<State>)], policy: &Policy) -> Merged {
        let mut digester = digester();
        let mut remember = |state: &Option<State>| {
            let changed = |name: &Bytes| self.changed.get(name).copied().unwrap_or_default();
            state
                .as_ref()
                .map(|state| Memory::of(state, 100, changed, &mut digester))
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
    fn learn(
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

fn name(element: u8) -> Bytes {
    vec![b'a' + element].into()
}

fn text(value: u64) -> Bytes {
    format!("v{value:08}").into()
}

/// The elements of a set (with empty values) or hash; of a string the whole under no name.
fn entries(state: &Option<State>) -> BTreeMap<Bytes, Bytes> {
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

fn rebuilt(like: &State, entries: &BTreeMap<Bytes, Bytes>) -> Option<State> {
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

fn empty(is_set: bool) -> State {
    State::lasting(if is_set {
        Value::Set(BTreeSet::new())
    } else {
        Value::Hash(BTreeMap::new())
    })
}

/// Per holder (the last is the state directory) and element: live dots with their values, and all dots ever seen.
#[derive(Clone, Default)]
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
    ledger: Ledger,
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
            ledger: Ledger::default(),
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
        let merged = self.ledger.merge(&read, policy);
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
        self.write(&merged, &target, read);
        Ok(target.untouched.len())
    }

    fn write(&mut self, merged: &Merged, target: &Target, read: Vec<(usize, Option<State>)>) {
        let mut took_part = BTreeMap::new();
        for (replica, state) in read {
            let wanted = target.at(state.as_ref());
            let written = wanted == state || !self.random.chance(self.fail_percent);
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
        self.ledger.learn(self.replicas, merged, target, &took_part);
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

fn greatest() -> Policy {
    Policy {
        prefer: vec![Preference::Greatest],
        ..policy()
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

/// A register against (value, dot, context) per holder; absent is the least value.
fn register_history(seed: u64, replicas: usize) -> Result<(), String> {
    type Dot = (Option<Bytes>, u64, BTreeSet<u64>);
    let (mut random, policy) = (Random(seed), greatest());
    let mut ledger = Ledger::default();
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
        let merged = ledger.merge(&read, &policy);
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
        ledger.learn(replicas, &merged, target, &took_part);
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
    let mut ledger = Ledger::default();
    let mut states: Vec<Option<State>> = vec![None; replicas];
    let mut total = 0;
    for round in 0..=ROUNDS {
        let last = round == ROUNDS;
        for state in states.iter_mut().filter(|_| !last) {
            if random.chance(30) {
                let step = [-2, 1, 3, 5][random.below(4) as usize];
                *state = Some(number(state).map_or(step, |held| held + step)).map(counter);
                total += step;
            }
        }
        let present = if last {
            (0..replicas).collect()
        } else {
            random.some_of(replicas)
        };
        let read: Vec<_> = present.iter().map(|r| (*r, states[*r].clone())).collect();
        let merged = ledger.merge(&read, &policy);
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
        ledger.learn(replicas, &merged, target, &took_part);
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
    State {
        value: Value::String(number.to_string().into()),
        expiry: Expiry::Never,
    }
}

fn number(state: &Option<State>) -> Option<i64> {
    let bytes = entries(state).remove(&Bytes::new())?;
    super::integer(&bytes)
}

#[test]
fn counters_add_up_exactly_whoever_takes_part_and_whatever_fails() {
    for replicas in 2..=4 {
        for seed in 0..seeds() {
            counter_history(seed, replicas);
        }
    }
}
