//! The same histories with undos: of any run so far, at any replicas that hold what it wrote. What an undo teaches is
//! held against the dots: a replica that is taken back alone is as if its write had failed, and a run that is taken back
//! everywhere as if it had not been.

use std::collections::{BTreeMap, BTreeSet};

use super::super::book::{Book, ELEMENTS, ROUNDS, digester, entries, greatest, id, name, seeds};
use super::{Dotted, History};
use crate::crdt::remember;
use crate::model::{Lag, LagBase, Memory, Millis, Seen, Sequence, State, Version};
use crate::repair::ledger::overlay::Counting;
use crate::repair::ledger::{Deed, Party, Past, Presence, Undo};

/// How everything stood before a run, and what it wrote.
struct Record {
    before: Past,
    oracle: Vec<Vec<Dotted>>,
    fresh: Vec<BTreeSet<u8>>,
    written: BTreeMap<usize, super::Deed>,
    is_halved: bool,
}

fn memory(state: &Option<State>) -> Option<Memory> {
    let state = state.as_ref()?;
    Some(remember(
        state,
        100,
        |_| Version::default(),
        &mut digester(),
    ))
}

/// What is remembered before a run, as the journal has it: also of those of whom only is known that they lacked the key.
fn former(book: &Book, took_part: &BTreeSet<usize>) -> Past {
    let mut past = Past {
        agreement: book.past.agreement.clone(),
        lags: book.past.lags.clone(),
    };
    if past.agreement.is_none() {
        for replica in took_part {
            past.lags.entry(id(*replica)).or_insert(Lag {
                base: LagBase::Held(None),
                seen: Seen::default(),
                proved: Sequence(0),
                since: Sequence(0),
                evicted: false,
            });
        }
    }
    past
}

/// A run, and its record if it wrote.
fn repair(history: &mut History) -> Result<Option<Record>, String> {
    let past = former(&history.book, &BTreeSet::new());
    let (oracle, fresh) = (history.oracle.clone(), history.fresh.clone());
    let step = history.book.step;
    history.repair(&greatest())?;
    if history.book.step == step || history.written.is_empty() {
        return Ok(None);
    }
    let book = Book { past, step };
    Ok(Some(Record {
        before: former(&book, &history.took_part),
        oracle,
        fresh,
        written: history.written.clone(),
        is_halved: history.is_halved,
    }))
}

/// Undoes a run at these replicas, as far as they hold what it wrote; `is_last` if no run followed it.
fn undo(history: &mut History, record: &Record, at: &[usize], is_last: bool) {
    let holds = |replica: &usize| {
        let wrote = record.written.get(replica).map(|(_, wrote)| wrote);
        wrote == Some(&history.states[*replica])
    };
    let back: Vec<usize> = at.iter().copied().filter(holds).collect();
    if back.is_empty() {
        return;
    }
    // An element that clients changed before the run and after it changed twice for whoever takes the run away.
    let mut once = history.since.iter();
    let once = once.all(|(replica, element, _)| record.fresh[*replica].contains(element));
    let whole = is_last && !record.is_halved && back.len() == record.written.len();
    if whole && !once {
        return;
    }
    let undo = undo_of(history, record, &back, whole);
    let (step, next) = (history.book.step.0 + 1, history.book.step.0 + 2);
    history.book.step = Sequence(next);
    for part in undo.lesson(Sequence(step), &mut digester()).parts {
        let lag = part.applied.expect("an undone replica lags");
        history.book.past.lags.insert(part.replica, lag);
    }
    if whole {
        let lesson = undo.erased(Sequence(next), Millis(0));
        history.book.past.agreement = lesson.agreement;
        for (replica, lag) in lesson.settled {
            history.book.past.lags.remove(&replica);
            history.book.past.lags.extend(lag.map(|lag| (replica, lag)));
        }
    }
    back.iter()
        .for_each(|replica| alone(history, record, *replica));
    if whole {
        erase(history, record);
    }
}

fn undo_of(history: &History, record: &Record, back: &[usize], complete: bool) -> Undo {
    let party = |replica: usize| {
        let deed = record.written.get(&replica).map(|(read, wrote)| Deed {
            read: memory(read),
            wrote: memory(wrote),
        });
        let lag = record.before.lags.get(&id(replica));
        let agreement = record.before.agreement.as_ref();
        let seen = lag.map(|lag| lag.seen.clone());
        Party {
            id: id(replica),
            deeds: deed.into_iter().collect(),
            left: back.contains(&replica).then_some(0),
            presence: Presence::Here,
            seen_before: seen
                .or_else(|| Some(Seen::all(agreement?.version)))
                .unwrap_or_default(),
            is_new: false,
        }
    };
    Undo {
        past: former(&history.book, &BTreeSet::new()),
        before: Past {
            agreement: record.before.agreement.clone(),
            lags: record.before.lags.clone(),
        },
        complete,
        first: false,
        parties: (0..history.replicas).map(party).collect(),
        counting: Counting::default(),
    }
}

/// The dots of a replica whose write is to have failed.
fn alone(history: &mut History, record: &Record, replica: usize) {
    let (read, wrote) = &record.written[&replica];
    history.states[replica] = read.clone();
    let (read, wrote) = (entries(read), entries(wrote));
    for element in 0..history.elements {
        if read.get(&name(element)) != wrote.get(&name(element)) {
            let column = usize::from(element);
            history.oracle[replica][column] = record.oracle[replica][column].clone();
            history.fresh[replica].insert(element);
        }
    }
}

/// The dots where a run is not to have been: as before, and what clients did since.
fn erase(history: &mut History, record: &Record) {
    history.oracle = record.oracle.clone();
    history.fresh = record.fresh.clone();
    for (replica, element, change) in std::mem::take(&mut history.since) {
        let dotted = &mut history.oracle[replica][usize::from(element)];
        dotted.seen.extend(change.iter().map(|(dot, _)| *dot));
        dotted.live = change.into_iter().collect();
        history.fresh[replica].remove(&element);
    }
}

fn histories(is_set: bool, values: u64, elements: u8) {
    for (replicas, fail) in [(2, 0), (3, 0), (3, 20), (4, 10), (5, 0)] {
        for seed in 0..seeds() * 2 {
            let mut history = History::new(seed, is_set, values, replicas, fail, elements);
            let mut records = Vec::new();
            for round in 0..ROUNDS {
                history.clients();
                let last = match repair(&mut history) {
                    Ok(Some(record)) => {
                        records.push(record);
                        Some(records.len() - 1)
                    }
                    Ok(None) => None,
                    Err(why) => panic!("seed {seed}, {replicas} replicas, round {round}: {why}"),
                };
                if records.is_empty() || !history.random.chance(40) {
                    continue;
                }
                if history.random.chance(50) {
                    history.clients();
                }
                let which = match history.random.chance(60) {
                    true => records.len() - 1,
                    false => history.random.below(records.len() as u64) as usize,
                };
                let at = match history.random.chance(50) {
                    true => (0..replicas).collect(),
                    false => history.random.some_of(replicas),
                };
                let is_last = last == Some(which);
                undo(&mut history, &records[which], &at, is_last);
            }
        }
    }
}

#[test]
fn a_set_of_one_element_follows_its_dots_whatever_is_undone() {
    histories(true, 1, 1);
}

#[test]
fn sets_follow_their_dots_whatever_is_undone() {
    histories(true, 1, ELEMENTS);
}

#[test]
fn hashes_follow_their_dots_whatever_is_undone() {
    histories(false, 1_000_000, ELEMENTS);
}
