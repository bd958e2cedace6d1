//! The merge of counters by what was counted: laws over histories of what the functions do at servers whose clocks
//! differ, against a replay in which every increment is counted once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::recorded::merge_of;
use super::{policy, target};
use crate::crdt::{Merged, Outcome, integer};
use crate::model::{Counts, Score, Stamp, Stamps, State, Value};

const STEP: f64 = 1.0 / 2048.0;
const SERVERS: usize = 3;

/// What is done at a server.
#[derive(Debug, Clone)]
enum Deed {
    Set(&'static str),
    Remove,
    Count(i64),
    /// The key ends by itself.
    End,
}

/// One thing that happens: at a server, or a repair among some.
#[derive(Debug, Clone)]
enum Event {
    Done(usize, Deed),
    Merged(Vec<usize>),
    /// The clocks go on.
    Later,
}

/// How far each server's clock is ahead, and what happens.
type History = ([u8; SERVERS], Vec<Event>);

/// A server that keeps a counter as `functions.lua` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Server {
    held: Option<Bytes>,
    stamps: Stamps,
}

fn stamp(at: f64) -> Option<Stamp> {
    Score::new(at).map(Stamp)
}

/// The stamp of now, later than this.
fn behind(past: Option<Stamp>, now: f64) -> Option<Stamp> {
    let past = past.map_or(0.0, |past| past.0.get());
    stamp(if now > past { now } else { past + STEP })
}

fn next(at: Option<Stamp>) -> Option<Stamp> {
    stamp(at.map_or(-STEP, |at| at.0.get()) + STEP)
}

impl Server {
    fn take(&mut self, name: usize, now: f64, deed: &Deed) {
        let key = self.stamps.key;
        let at = behind(key.added.max(key.removed), now);
        match deed {
            Deed::Set(text) => {
                self.held = Some(Bytes::from_static(text.as_bytes()));
                self.stamps = Stamps::default();
                self.stamps.key.added = at;
            }
            Deed::Remove => {
                self.held = None;
                self.stamps = Stamps::default();
                self.stamps.key.removed = at;
            }
            Deed::Count(by) => self.count(name, at, *by),
            Deed::End => self.held = None,
        }
    }

    fn count(&mut self, name: usize, at: Option<Stamp>, by: i64) {
        let before = self.held.as_ref().map(|bytes| integer(bytes));
        if before == Some(None) {
            return;
        }
        let (before, key) = (before.flatten(), self.stamps.key);
        let counts = match (self.stamps.counts.take(), before) {
            (Some(counts), Some(_)) => counts,
            (known, before) => {
                let since = match (known, before) {
                    (Some(known), None) => next(known.since),
                    (None, None) => key.removed,
                    (_, Some(_)) if key.removed.is_some() && key.removed >= key.added => {
                        next(key.removed)
                    }
                    (_, Some(_)) => key.added,
                };
                Counts {
                    since,
                    base: before,
                    parts: BTreeMap::new(),
                }
            }
        };
        let counts = self.stamps.counts.insert(counts);
        let sign = if by < 0 { '-' } else { '+' };
        *counts
            .parts
            .entry(format!("{sign}{name}").into())
            .or_default() += by.abs();
        self.held = Some((before.unwrap_or(0) + by).to_string().into());
        (self.stamps.key.added, self.stamps.key.removed) = (at, None);
    }

    fn state(&self) -> Option<State> {
        let held = self.held.clone();
        held.map(|bytes| State::lasting(Value::String(bytes)))
    }

    /// What a repair makes of it.
    fn repaired(&self, merged: &Merged) -> Self {
        let state = target(merged).at(self.state().as_ref());
        let held = state.map(|state| match state.value {
            Value::String(bytes) => bytes,
            other => panic!("{other:?} is no string"),
        });
        let restamp = merged.stamps.as_ref();
        let mut stamps = restamp.map_or_else(|| self.stamps.clone(), |all| all.at(&self.stamps));
        // It is never lowered.
        stamps.key.added = stamps
            .key
            .added
            .map(|at| self.stamps.key.added.map_or(at, |now| now.max(at)));
        Self { held, stamps }
    }
}

fn merged(servers: &[Server], order: &[usize]) -> Merged {
    let all: Vec<_> = servers
        .iter()
        .map(|one| (one.state(), one.stamps.clone()))
        .collect();
    merge_of(&all, order, &policy())
}

fn repair(servers: &mut [Server], group: &[usize]) {
    let merged = merged(servers, group);
    for &index in group {
        servers[index] = servers[index].repaired(&merged);
    }
}

fn deed(texts: &'static [&'static str], can_end: bool) -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => prop::sample::select(texts).prop_map(Deed::Set),
        2 => Just(Deed::Remove),
        10 => (-9_i64..10).prop_map(Deed::Count),
        2 => Just(if can_end { Deed::End } else { Deed::Remove }),
    ]
}

fn event(texts: &'static [&'static str], can_end: bool) -> impl Strategy<Value = Event> {
    let group = prop::sample::subsequence(vec![0, 1, 2], 2..=SERVERS);
    prop_oneof![
        12 => (0..SERVERS, deed(texts, can_end)).prop_map(|(server, deed)| Event::Done(server, deed)),
        4 => group.prop_map(Event::Merged),
        4 => Just(Event::Later),
    ]
}

/// What is written: numbers, and here and there something else.
const NUMBERS: &[&str] = &["5", "9", "10", "-3"];
const TEXTS: &[&str] = &["5", "10", "x", "007"];

fn histories(texts: &'static [&'static str], can_end: bool) -> impl Strategy<Value = History> {
    let ahead = prop::array::uniform3(0_u8..4);
    (ahead, prop::collection::vec(event(texts, can_end), 1..24))
}

/// Plays a history, and tells of each event with the servers before it and behind.
fn play(
    (ahead, events): &History,
    mut told: impl FnMut(&Event, &[Server], &[Server]),
) -> Vec<Server> {
    let mut servers = vec![Server::default(); SERVERS];
    let mut now = 100.0;
    for event in events {
        let before = servers.clone();
        match event {
            Event::Later => now += 1.0,
            Event::Merged(group) => repair(&mut servers, group),
            Event::Done(index, deed) => {
                servers[*index].take(*index, now + f64::from(ahead[*index]), deed);
            }
        }
        told(event, &before, &servers);
    }
    servers
}

/// What a server knows when every increment is kept apart: when the counter began, from what (nothing, a value, a
/// removal), and which increments belong to it.
#[derive(Debug, Clone, Default)]
struct Ledger {
    began: (Option<Stamp>, u8, Bytes),
    increments: BTreeSet<(usize, i64)>,
}

impl Ledger {
    fn begin(&mut self, at: Option<Stamp>, rank: u8, bytes: Bytes) {
        *self = Self {
            began: (at, rank, bytes),
            increments: BTreeSet::new(),
        };
    }

    fn number(&self) -> Option<i64> {
        match self.began.1 {
            1 => integer(&self.began.2),
            _ => Some(0),
        }
    }

    fn held(&self) -> Option<Bytes> {
        let (_, rank, bytes) = &self.began;
        match self.number() {
            None => Some(bytes.clone()),
            Some(_) if *rank != 1 && self.increments.is_empty() => None,
            Some(base) => {
                let sum: i64 = self.increments.iter().map(|(_, by)| by).sum();
                Some((base + sum).to_string().into())
            }
        }
    }

    /// What all of them know together.
    fn together(all: &[Self]) -> Self {
        let began = all
            .iter()
            .map(|one| one.began.clone())
            .max()
            .unwrap_or_default();
        let since = began.0;
        let alike = all.iter().filter(|one| one.began.0 == since);
        Self {
            began,
            increments: alike
                .flat_map(|one| one.increments.iter().copied())
                .collect(),
        }
    }
}

/// Keeps the ledgers of an event.
fn note(ledgers: &mut [Ledger], number: usize, event: &Event, after: &[Server]) {
    match event {
        Event::Later | Event::Done(_, Deed::End) => {}
        Event::Merged(group) => {
            let all: Vec<Ledger> = group.iter().map(|&index| ledgers[index].clone()).collect();
            group
                .iter()
                .for_each(|&index| ledgers[index] = Ledger::together(&all));
        }
        Event::Done(index, deed) => {
            let key = after[*index].stamps.key;
            let ledger = &mut ledgers[*index];
            match deed {
                Deed::Set(text) => ledger.begin(key.added, 1, Bytes::from_static(text.as_bytes())),
                Deed::Remove => ledger.begin(key.removed, 2, Bytes::new()),
                Deed::Count(by) if ledger.number().is_some() => {
                    ledger.increments.extend([(number, *by)]);
                }
                Deed::Count(_) | Deed::End => {}
            }
        }
    }
}

/// What was counted, if anything: without, a number and its stamp say the same.
fn counted(server: &Server) -> Option<&Counts> {
    let counts = server.stamps.counts.as_ref();
    counts.filter(|counts| !counts.parts.is_empty())
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

proptest! {
    #[test]
    fn a_counter_stands_at_what_a_replay_counts_that_takes_every_increment_once(
        history in histories(NUMBERS, false)
    ) {
        let mut ledgers = vec![Ledger::default(); SERVERS];
        let mut number = 0;
        play(&history, |event, _, after| {
            number += 1;
            note(&mut ledgers, number, event, after);
            for (server, ledger) in after.iter().zip(&ledgers) {
                assert_eq!(server.held, ledger.held(), "{number}: {event:?} {ledgers:?} {after:?}");
            }
        });
    }

    #[test]
    fn counts_decide_alike_in_every_order_of_siblings(history in histories(TEXTS, true)) {
        let servers = play(&history, |_, _, _| {});
        let first = merged(&servers, &ORDERS[0]);
        for order in ORDERS {
            prop_assert_eq!(&merged(&servers, &order), &first);
        }
        // Nor does it matter which of them is preferred.
        let turned = [2, 0, 1].map(|index: usize| servers[index].clone());
        let turned = merged(&turned, &ORDERS[0]);
        if servers.iter().any(|one| one.stamps.counts.is_some()) {
            prop_assert_eq!(&target(&turned).value, &target(&first).value);
            prop_assert_eq!(turned.stamps, first.stamps);
        }
    }

    #[test]
    fn what_was_repaired_by_counts_stays(history in histories(TEXTS, true)) {
        let mut servers = play(&history, |_, _, _| {});
        repair(&mut servers, &ORDERS[0]);
        for one in &servers {
            prop_assert_eq!(&one.held, &servers[0].held);
        }
        let once = servers.clone();
        repair(&mut servers, &ORDERS[0]);
        prop_assert_eq!(&servers, &once);
        // Also among fewer, who may carry over removals that what the third has left of a counter kept apart.
        for group in [[0, 1], [1, 2], [0, 2]] {
            repair(&mut servers, &group);
            for (one, other) in servers.iter().zip(&once) {
                prop_assert_eq!(&one.held, &other.held);
            }
        }
    }

    // Numbers alone: what is no number, and was set in the very moment in which another server set a number and then
    // counted, takes the time of that count, and then beats what was set in between.
    #[test]
    fn it_does_not_matter_which_counters_are_merged_first(history in histories(NUMBERS, false)) {
        let servers = play(&history, |_, _, _| {});
        let mut at_once = servers.clone();
        repair(&mut at_once, &ORDERS[0]);
        for pair in [[0, 1], [0, 2], [1, 2]] {
            let mut steps = servers.clone();
            repair(&mut steps, &pair);
            repair(&mut steps, &ORDERS[0]);
            for (one, other) in steps.iter().zip(&at_once) {
                prop_assert_eq!(&one.held, &other.held, "{:?}", pair);
                prop_assert_eq!(counted(one), counted(other));
            }
        }
    }

    #[test]
    fn no_sum_falls_and_no_counter_goes_back_to_an_earlier_beginning(history in histories(TEXTS, true)) {
        play(&history, |event, before, after| {
            let Event::Merged(group) = event else { return };
            for &index in group {
                let (was, is) = (&before[index].stamps.counts, &after[index].stamps.counts);
                // What had ended may go.
                let Some(was) = was.as_ref().filter(|_| before[index].held.is_some()) else { continue };
                let Some(is) = is else { continue };
                assert!(is.since >= was.since, "{was:?} {is:?}");
                for (name, part) in was.parts.iter().filter(|_| is.since == was.since) {
                    assert!(is.parts.get(name) >= Some(part), "{name:?} fell: {was:?} {is:?}");
                }
            }
        });
    }

    #[test]
    fn sums_as_great_as_they_can_be_are_added_up_or_left_open(
        bases in prop::array::uniform3(prop::option::of(prop::sample::select(vec![i64::MIN, -1, 0, i64::MAX]))),
        parts in prop::array::uniform3((0_usize..2, any::<bool>(), prop::sample::select(vec![0, 1, i64::MAX - 1, i64::MAX]))),
    ) {
        let server = |index: usize| {
            let (name, is_added, part) = parts[index];
            let sign = if is_added { '+' } else { '-' };
            let counts = Counts {
                since: stamp(1.0),
                base: bases[index],
                parts: [(format!("{sign}{name}").into(), part)].into(),
            };
            let mut one = Server { held: counts.total().map(|total| total.to_string().into()), ..Server::default() };
            one.stamps.key.added = stamp(2.0);
            one.stamps.counts = Some(counts);
            one
        };
        let servers = [0, 1, 2].map(server);
        let first = merged(&servers, &ORDERS[0]);
        for order in ORDERS {
            prop_assert_eq!(&merged(&servers, &order), &first);
        }
        if let (Outcome::Target(found), Some(stamps)) = (&first.outcome, &first.stamps) {
            let total = stamps.counts().and_then(Counts::total);
            let held = total.map(|total| Value::String(total.to_string().into()));
            prop_assert_eq!(&found.value, &held);
        }
    }
}

/// A server that counted, and whose counter then ended.
fn ended(name: usize, deeds: &[Deed]) -> Server {
    let mut one = Server::default();
    deeds.iter().for_each(|deed| one.take(name, 100.0, deed));
    one.take(name, 100.0, &Deed::End);
    one
}

#[test]
fn what_is_left_of_a_counter_that_ended_does_not_come_back_beside_a_new_one() {
    let left = ended(0, &[Deed::Count(7), Deed::End, Deed::Count(1000)]);
    let mut fresh = Server::default();
    fresh.take(1, 50.0, &Deed::Count(1));
    let mut servers = [left, fresh];
    repair(&mut servers, &[0, 1]);
    for one in &servers {
        assert_eq!(one.held.as_deref(), Some(&b"1"[..]));
    }
    // Who still holds the one that ended elsewhere has what was counted there, too.
    let mut servers = [ended(0, &[Deed::Count(7)]), ended(1, &[Deed::Count(5)])];
    servers[1].held = Some("5".into());
    repair(&mut servers, &[0, 1]);
    assert_eq!(servers[0].held.as_deref(), Some(&b"12"[..]));
}

#[test]
fn counts_without_a_key_stay_until_the_key_is_removed() {
    let servers = [
        ended(0, &[Deed::Count(7)]),
        ended(1, &[Deed::Count(2)]),
        Server::default(),
    ];
    let merged_now = merged(&servers, &ORDERS[0]);
    assert_eq!(
        (&target(&merged_now).value, &merged_now.stamps),
        (&None, &None)
    );
    let mut removed = servers.clone();
    removed[2].take(2, 100.0, &Deed::Remove);
    repair(&mut removed, &ORDERS[0]);
    for one in &removed {
        assert_eq!(one, &removed[2]);
        assert_eq!(one.stamps.counts, None);
    }
}
