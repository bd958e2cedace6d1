//! What an undo teaches, rule by rule.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::book::{digester, id};
use crate::crdt::remember;
use crate::model::{
    Agreement, Body, Lag, LagBase, Memory, Millis, Policy, Seen, Sequence, State, StringRule,
    Value, Version,
};
use crate::repair::ledger::overlay::{Counting, overlay};
use crate::repair::ledger::{Deed, Lesson, Party, Past, Presence, Undo};

fn memory(value: Value) -> Option<Memory> {
    let state = State::lasting(value);
    Some(remember(&state, 100, |_| Version(1), &mut digester()))
}

fn text(text: &str) -> Option<Memory> {
    memory(Value::String(Bytes::copy_from_slice(text.as_bytes())))
}

fn set(members: &[&str]) -> Option<Memory> {
    let members: BTreeSet<Bytes> = members
        .iter()
        .map(|member| Bytes::copy_from_slice(member.as_bytes()))
        .collect();
    memory(Value::Set(members))
}

fn counters() -> Counting {
    let mut policy = Policy::default();
    policy.rules.string = StringRule::Counter;
    Counting::of(&policy)
}

fn laid(base: Option<Memory>, read: &Option<Memory>, wrote: &Option<Memory>) -> Option<Memory> {
    overlay(
        base,
        read.as_ref(),
        wrote.as_ref(),
        Counting::default(),
        &mut digester(),
    )
}

fn number(memory: Option<Memory>) -> Option<i64> {
    match memory?.body {
        Body::Counter(number) => Some(number),
        other => panic!("no counter: {other:?}"),
    }
}

fn members(memory: Option<Memory>) -> Vec<String> {
    let memory = memory.expect("a set");
    let names = memory.elements().expect("elements").keys();
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

#[test]
fn of_a_counter_the_base_moves_by_what_was_written() {
    let table = [
        // base, read, wrote, then
        (Some("10"), Some("12"), Some("15"), Some(13)),
        (Some("10"), Some("10"), Some("15"), Some(15)),
        (Some("10"), Some("15"), Some("15"), Some(10)),
        (None, Some("3"), Some("7"), Some(4)),
        (Some("10"), None, Some("7"), Some(17)),
        (Some("10"), Some("12"), None, None),
    ];
    for (base, read, wrote, then) in table {
        let of = |word: Option<&str>| word.and_then(text);
        let (read, wrote) = (of(read), of(wrote));
        let found = overlay(
            of(base),
            read.as_ref(),
            wrote.as_ref(),
            counters(),
            &mut digester(),
        );
        assert_eq!(number(found), then, "{base:?} {read:?} {wrote:?}");
    }
}

#[test]
fn of_a_register_the_base_is_what_was_written() {
    let (read, wrote) = (text("12"), text("15"));
    assert_eq!(laid(text("10"), &read, &wrote), wrote);
    assert_eq!(laid(text("10"), &read, &read), text("10"));
    assert_eq!(laid(text("10"), &read, &None), None);
}

#[test]
fn of_a_collection_only_what_was_written_moves() {
    let (read, wrote) = (set(&["a", "b", "c"]), set(&["a", "c", "d"]));
    let laid_over = laid(set(&["a", "b", "x"]), &read, &wrote);
    assert_eq!(members(laid_over.clone()), ["a", "d", "x"]);
    let digest = laid_over.expect("a set").digest;
    assert_ne!(Some(digest), wrote.as_ref().map(|memory| memory.digest));
    assert_eq!(laid(set(&["b"]), &set(&["b", "y"]), &set(&["y"])), None);
    assert_eq!(members(laid(None, &read, &wrote)), ["d"]);
}

fn agreement(version: u64, memory: Option<Memory>, proved: u64) -> Agreement {
    Agreement {
        version: Version(version),
        memory,
        removed: BTreeMap::new(),
        proved: Sequence(proved),
        since: Millis(0),
    }
}

fn party(replica: usize, deeds: &[(&str, &str)], left: Option<usize>, presence: Presence) -> Party {
    let deed = |(read, wrote): &(&str, &str)| Deed {
        step: Sequence(6),
        read: text(read),
        wrote: text(wrote),
    };
    Party {
        id: id(replica),
        deeds: deeds.iter().map(deed).collect(),
        left,
        presence,
        delivered: None,
        is_new: false,
    }
}

/// A counter agreed at 10; clients added 1 at replica 0, 2 at 1 and 3 at 2; the run wrote 16 everywhere.
fn summed(parties: Vec<Party>) -> Undo {
    Undo {
        past: Past {
            agreement: Some(agreement(5, text("16"), 6)),
            lags: BTreeMap::new(),
        },
        before: Past {
            agreement: Some(agreement(4, text("10"), 3)),
            lags: BTreeMap::new(),
        },
        moved: false,
        first: false,
        parties,
        counting: counters(),
    }
}

fn learned(undo: &Undo) -> Lesson {
    undo.lesson(Sequence(9), Millis(7), &mut digester())
}

fn held(lag: &Lag) -> Option<i64> {
    match &lag.base {
        LagBase::Held(memory) => number(memory.clone()),
        other => panic!("no base: {other:?}"),
    }
}

#[test]
fn the_old_content_comes_back_as_a_new_version() {
    let undo = summed(vec![party(0, &[("11", "16")], Some(0), Presence::Here)]);
    let agreement = learned(&undo).agreement.expect("a version");
    assert_eq!(agreement.version, Version(6));
    assert_eq!(number(agreement.memory), Some(10));
    assert_eq!(
        (agreement.proved, agreement.since),
        (Sequence(9), Millis(7))
    );
}

#[test]
fn an_undone_replica_gets_its_former_base_and_another_what_was_written_there_on_top() {
    let undo = summed(vec![
        party(0, &[("11", "16")], Some(0), Presence::Here),
        party(1, &[("12", "16")], None, Presence::Here),
        party(2, &[("13", "16")], None, Presence::Away),
        party(3, &[], None, Presence::Away),
    ]);
    let lesson = learned(&undo);
    let part = &lesson.parts[0];
    // Its base is what is agreed: it is at the version, and what it holds more is its clients'.
    assert_eq!(part.applied, None);
    assert_eq!(held(&part.otherwise), Some(15));
    let settled: BTreeMap<_, _> = lesson.settled.into_iter().collect();
    let lag = |replica: usize| settled[&id(replica)].clone().expect("a lag");
    assert_eq!((held(&lag(1)), lag(1).proved), (Some(14), Sequence(9)));
    assert_eq!((held(&lag(2)), lag(2).proved), (Some(13), Sequence(6)));
    assert_eq!((held(&lag(3)), lag(3).proved), (Some(10), Sequence(3)));
    for replica in 1..4 {
        assert_eq!(
            lag(replica).seen,
            Seen::all(Version(6)),
            "the old content was seen"
        );
        assert_eq!(lag(replica).since, Sequence(9));
    }
}

#[test]
fn of_several_writes_those_that_stay_count() {
    let deeds = [("11", "16"), ("17", "20")];
    let undo = summed(vec![party(0, &deeds, Some(1), Presence::Here)]);
    let part = learned(&undo).parts.remove(0);
    assert_eq!(part.applied.as_ref().map(held), Some(Some(15)));
    assert_eq!(held(&part.otherwise), Some(18));
}

#[test]
fn where_the_agreement_moved_on_it_stays_and_the_base_is_reduced() {
    let mut undo = summed(vec![
        party(0, &[("11", "16")], Some(0), Presence::Here),
        party(1, &[("12", "16")], None, Presence::Here),
    ]);
    undo.moved = true;
    undo.past.agreement = Some(agreement(6, text("20"), 8));
    let lesson = learned(&undo);
    assert_eq!(lesson.agreement, None);
    assert!(lesson.settled.is_empty());
    let part = &lesson.parts[0];
    assert_eq!(part.applied.as_ref().map(held), Some(Some(15)));
    assert_eq!(part.otherwise.base, LagBase::Agreed);
}

#[test]
fn who_forgot_or_was_never_known_gets_no_base() {
    let mut undo = summed(vec![
        party(0, &[("11", "16")], Some(0), Presence::Forgetful),
        party(1, &[("12", "16")], Some(0), Presence::Here),
    ]);
    let unknown = Lag {
        base: LagBase::Unknown,
        seen: Seen::default(),
        proved: Sequence(0),
        since: Sequence(2),
        evicted: false,
    };
    undo.before.lags.insert(id(1), unknown);
    for part in learned(&undo).parts {
        let applied = part.applied.expect("a lag");
        assert_eq!(
            (applied.base, applied.seen),
            (LagBase::Unknown, Seen::default())
        );
        // What the run wrote is its base all the same, where it stays.
        assert_eq!(held(&part.otherwise), Some(16));
    }
}

#[test]
fn a_first_agreement_that_is_undone_takes_nothing_from_anybody() {
    let first = |counting: Counting, deeds: [&[(&str, &str)]; 3]| {
        let away = [None, Some(0), Some(0)];
        let parties = deeds.iter().zip(away).enumerate();
        let mut undo = summed(
            parties
                .map(|(replica, (deeds, left))| party(replica, deeds, left, Presence::Here))
                .collect(),
        );
        undo.before = Past::default();
        undo.first = true;
        undo.counting = counting;
        learned(&undo)
    };
    // 16 at the first, 5 and 3 at the others: the greatest was agreed on.
    let lesson = first(counters(), [&[], &[("5", "16")], &[("3", "16")]]);
    assert_eq!(lesson.agreement.expect("a version").memory, None);
    let bases: Vec<_> = lesson
        .parts
        .iter()
        .map(|part| part.applied.as_ref().map(held))
        .collect();
    assert_eq!(
        bases,
        [Some(Some(5)), Some(Some(3))],
        "nobody else adds anything"
    );
    assert!(
        lesson.settled.is_empty(),
        "the first brings all of it along"
    );
    // Registers: what each held is a change to nothing, so that no tombstone removes it.
    let lesson = first(Counting::default(), [&[], &[("b", "a")], &[("c", "a")]]);
    assert!(lesson.parts.iter().all(|part| part.applied.is_none()));
}

#[test]
fn what_a_later_run_delivered_counts_as_written() {
    let mut late = party(1, &[], None, Presence::Here);
    late.delivered = Some(text("12"));
    let undo = summed(vec![
        party(0, &[("11", "16")], Some(0), Presence::Here),
        late,
    ]);
    let settled = learned(&undo).settled;
    assert_eq!(settled[0].1.as_ref().map(held), Some(Some(14)));
}
