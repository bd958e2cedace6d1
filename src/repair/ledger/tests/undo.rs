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
    // Where nothing is left of what was written, what the base has besides stays.
    assert_eq!(members(laid(set(&["a", "x"]), &set(&["a"]), &None)), ["x"]);
}

#[test]
fn a_base_that_lacks_an_element_which_had_to_wait_is_not_what_was_read() {
    let read = set(&["a", "waits"]);
    let mut base = read.clone();
    let elements = base.as_mut().and_then(|memory| memory.elements_mut());
    elements.expect("elements").remove(&b"waits"[..]);
    assert_eq!(laid(base, &read, &set(&["waits"])), None);
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
        read: text(read),
        wrote: text(wrote),
    };
    Party {
        id: id(replica),
        deeds: deeds.iter().map(deed).collect(),
        left,
        presence,
        seen_before: Seen::all(Version(4)),
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
        complete: true,
        first: false,
        parties,
        counting: counters(),
    }
}

fn learned(undo: &Undo) -> Lesson {
    undo.lesson(Sequence(9), &mut digester())
}

fn erased(undo: &Undo) -> Lesson {
    undo.erased(Sequence(10), Millis(7))
}

fn held(lag: &Lag) -> Option<i64> {
    match &lag.base {
        LagBase::Held(memory) => number(memory.clone()),
        other => panic!("no base: {other:?}"),
    }
}

#[test]
fn where_a_write_is_put_back_what_is_agreed_stays_and_the_base_is_reduced() {
    let mut undo = summed(vec![
        party(0, &[("11", "16")], Some(0), Presence::Here),
        party(1, &[("12", "16")], None, Presence::Here),
    ]);
    let lesson = learned(&undo);
    assert_eq!(lesson.agreement, None);
    assert!(lesson.settled.is_empty());
    let part = &lesson.parts[0];
    // As if the write had failed: what it was read with is its base, and all it has seen is what it had.
    let applied = part.applied.as_ref().expect("a lag");
    assert_eq!(held(applied), Some(11));
    assert_eq!(applied.seen, Seen::all(Version(4)));
    assert_eq!((applied.proved, applied.since), (Sequence(9), Sequence(9)));
    assert_eq!(part.otherwise.base, LagBase::Agreed);
    assert_eq!(part.otherwise.seen, Seen::all(Version(5)));
    // A later run made 20 of it, and somebody counted there.
    undo.past.agreement = Some(agreement(6, text("20"), 8));
    let part = learned(&undo).parts.remove(0);
    assert_eq!(part.applied.as_ref().map(held), Some(Some(15)));
}

#[test]
fn who_is_taken_back_has_seen_what_it_had_and_of_elements_that_were_left_alone_what_it_has() {
    let mut undo = summed(vec![party(0, &[], Some(0), Presence::Here)]);
    undo.past.agreement = Some(agreement(5, set(&["kept", "new"]), 6));
    undo.parties[0].deeds.push(Deed {
        read: set(&["kept", "old"]),
        wrote: set(&["kept", "new"]),
    });
    let part = learned(&undo).parts.remove(0);
    let lag = part.applied.expect("a lag");
    let LagBase::Held(base) = &lag.base else {
        panic!("no base: {lag:?}")
    };
    assert_eq!(members(base.clone()), ["kept", "old"]);
    let of = |name: &'static str| lag.seen.of(&Bytes::from_static(name.as_bytes()));
    assert_eq!(["kept", "old", "new"].map(of), [5, 4, 4].map(Version));
}

#[test]
fn of_several_writes_those_that_stay_count() {
    let deeds = [("11", "16"), ("17", "20")];
    let mut undo = summed(vec![party(0, &deeds, Some(1), Presence::Here)]);
    undo.past.agreement = Some(agreement(6, text("20"), 6));
    let part = learned(&undo).parts.remove(0);
    assert_eq!(part.applied.as_ref().map(held), Some(Some(17)));
}

#[test]
fn the_old_content_comes_back_as_a_new_version() {
    let undo = summed(vec![party(0, &[("11", "16")], Some(0), Presence::Here)]);
    let agreement = erased(&undo).agreement.expect("a version");
    assert_eq!(agreement.version, Version(6));
    assert_eq!(number(agreement.memory), Some(10));
    assert_eq!(
        (agreement.proved, agreement.since),
        (Sequence(10), Millis(7))
    );
}

#[test]
fn once_all_is_put_back_everybody_has_its_former_base_and_had_seen_the_old_content() {
    let lagging = Lag {
        base: LagBase::Held(text("9")),
        seen: Seen {
            key: Version(3),
            elements: BTreeMap::from([(Bytes::from_static(b"e"), Version(4))]),
        },
        proved: Sequence(2),
        since: Sequence(3),
        evicted: false,
    };
    let mut undo = summed(vec![
        party(0, &[("11", "16")], Some(0), Presence::Here),
        party(1, &[], None, Presence::Here),
        party(2, &[], None, Presence::Away),
        party(3, &[("12", "16")], Some(0), Presence::Here),
    ]);
    undo.before.lags.insert(id(3), lagging);
    let lesson = erased(&undo);
    assert!(lesson.parts.is_empty());
    let settled: BTreeMap<_, _> = lesson.settled.into_iter().collect();
    // Its base is what is agreed: it is at the version, and what it holds more is its clients'.
    assert_eq!(settled[&id(0)], None);
    assert!(!settled.contains_key(&id(1)), "it never lagged");
    let away = settled[&id(2)].clone().expect("a lag");
    assert_eq!((held(&away), away.proved), (Some(10), Sequence(3)));
    assert_eq!(away.seen, Seen::all(Version(6)), "the old content was seen");
    let behind = settled[&id(3)].clone().expect("a lag");
    assert_eq!((held(&behind), behind.proved), (Some(9), Sequence(10)));
    assert_eq!(behind.seen.key, Version(3));
    assert_eq!(behind.seen.of(&Bytes::from_static(b"e")), Version(6));
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
    let part = learned(&undo).parts.remove(0);
    let applied = part.applied.expect("a lag");
    assert_eq!(applied.base, LagBase::Unknown);
    assert_eq!(applied.seen, Seen::default());
    undo.before.lags.insert(id(1), unknown);
    for (_, lag) in erased(&undo).settled {
        let lag = lag.expect("a lag");
        assert_eq!((lag.base, lag.seen), (LagBase::Unknown, Seen::default()));
    }
}

#[test]
fn a_first_agreement_that_is_undone_takes_nothing_from_anybody() {
    let first = |counting: Counting, deeds: [&[(&str, &str)]; 3]| {
        let left = [None, Some(0), Some(0)];
        let parties = deeds.iter().zip(left).enumerate();
        let mut undo = summed(
            parties
                .map(|(replica, (deeds, left))| party(replica, deeds, left, Presence::Here))
                .collect(),
        );
        undo.before = Past::default();
        undo.first = true;
        undo.counting = counting;
        erased(&undo)
    };
    // 16 at the first, 5 and 3 at the others: the greatest was agreed on.
    let lesson = first(counters(), [&[], &[("5", "16")], &[("3", "16")]]);
    assert_eq!(lesson.agreement.expect("a version").memory, None);
    let bases = lesson.settled.iter();
    let bases: Vec<_> = bases
        .map(|(replica, lag)| (*replica, lag.as_ref().map(held)))
        .collect();
    assert_eq!(
        bases,
        [(id(1), Some(Some(5))), (id(2), Some(Some(3)))],
        "nobody else adds anything: the first brings all of it along"
    );
    // Registers: what each held is a change to nothing, so that no tombstone removes it.
    let lesson = first(Counting::default(), [&[], &[("b", "a")], &[("c", "a")]]);
    assert!(lesson.settled.iter().all(|(_, lag)| lag.is_none()));
}
