//! Seals, fences, counters and dumps: the same cases on a replica in memory and on real servers.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod seal_support;
mod support;

use reknit::model::{DbIndex, Expiry, Key, Marker, Op, RunNumber, Sequence, StateId};
use reknit::store::{Sealing, StoreError, WriteOutcome};

use seal_support::{
    Befalls, END, Ground, LATER, Memory, OTHER, OWNER, REPLICA, STATE, Server, after, count, first,
    found, is_fenced, lane, marker, put, run, secret, write, write_all,
};

use WriteOutcome::{Applied, Contended, Superseded, Unknown};

/// Each case becomes two tests.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[test] fn $name() { super::$name(&super::Memory::new()); })*
        }
        mod on_a_server {
            $(#[test] fn $name() { super::$name(&super::Server::new()); })*
        }
    };
}

cases! {
    a_seal_is_set_with_its_writes,
    a_marker_that_differs_in_anything_fences,
    a_marker_that_is_gone_fences,
    a_marker_where_none_was_expected_fences,
    a_marker_is_set_alone,
    what_is_superseded_is_left_out_of_the_mask,
    where_all_is_superseded_the_marker_is_set_all_the_same,
    a_clients_write_in_between_leaves_everything_as_it_was,
    a_change_of_the_marker_in_between_leaves_everything_as_it_was,
    after_a_lost_answer_the_marker_tells_the_truth,
    a_late_exec_happens_without_a_fence_and_never_after_one,
    a_fence_keeps_step_and_mask_and_writes_nothing_where_nothing_is,
    a_fence_whose_answer_is_lost_can_be_repeated,
    all_places_of_the_mask_can_be_used,
    counters_are_increased_or_declined,
    a_counter_can_get_another_expiry,
    after_a_lost_answer_the_mask_names_only_counters_that_were_increased,
    counters_without_a_seal_are_increased_or_declined,
    a_flushed_database_loses_its_marker_alone,
    a_key_of_another_type_is_never_taken_for_a_marker,
    a_text_that_is_no_marker_is_not_overwritten,
    a_list_of_states_of_another_type_is_noticed_before_the_write,
    markers_are_found_by_name,
    what_was_dumped_can_be_restored,
    own_keys_are_markers_and_the_list_of_states_too,
}

fn a_seal_is_set_with_its_writes(ground: &dyn Ground) {
    ground.set(0, "b", "old");
    let writes = [put("a", None, "1"), put("b", Some("old"), "2")];
    let set = write_all(ground, &writes, &first(5));
    let expected = Marker {
        written: 0b11,
        ..marker(5)
    };
    assert_eq!((set, found(ground)), (expected, Some(expected)));
    let next = write_all(ground, &[put("a", Some("1"), "3")], &after(set, 6));
    assert_eq!((next.written, next.sequence), (1, Sequence(6)));
    assert_eq!(ground.text(0, "a").as_deref(), Some("3"));
    assert_eq!(ground.text(0, "b").as_deref(), Some("2"));
    let states = run(ground.replica().states(None)).unwrap();
    let listed = (STATE.to_string().into(), REPLICA.to_string().into());
    assert_eq!(states, [listed]);
}

fn a_marker_that_differs_in_anything_fences(ground: &dyn Ground) {
    let set = write_all(ground, &[put("a", None, "1")], &first(5));
    let others = [
        Marker {
            owner: OTHER,
            ..set
        },
        Marker {
            state: StateId([0xcc; 16]),
            ..set
        },
        Marker {
            run: RunNumber(2),
            ..set
        },
        Marker {
            sequence: Sequence(4),
            ..set
        },
        Marker { written: 0, ..set },
    ];
    for other in others {
        let writes = [put("a", Some("1"), "mine")];
        assert!(is_fenced(
            write(ground, &writes, &after(other, 6)),
            Some(set)
        ));
    }
    assert_eq!(ground.text(0, "a").as_deref(), Some("1"));
    assert_eq!(found(ground), Some(set));
    write_all(ground, &[put("a", Some("1"), "2")], &after(set, 6));
}

fn a_marker_that_is_gone_fences(ground: &dyn Ground) {
    let written = write(ground, &[put("a", None, "1")], &after(marker(5), 6));
    assert!(is_fenced(written, None));
    assert_eq!((ground.text(0, "a"), found(ground)), (None, None));
}

fn a_marker_where_none_was_expected_fences(ground: &dyn Ground) {
    let set = write_all(ground, &[], &first(5));
    let written = write(ground, &[put("a", None, "1")], &first(6));
    assert!(is_fenced(written, Some(set)));
    assert_eq!((ground.text(0, "a"), found(ground)), (None, Some(set)));
}

fn a_marker_is_set_alone(ground: &dyn Ground) {
    let set = write_all(ground, &[], &first(5));
    assert_eq!(set, marker(5));
    write_all(ground, &[], &after(set, 6));
    assert_eq!(found(ground), Some(marker(6)));
}

fn what_is_superseded_is_left_out_of_the_mask(ground: &dyn Ground) {
    ground.set(0, "a", "theirs");
    let writes = [
        put("a", None, "1"),
        put("b", None, "2"),
        put("c", Some("old"), "3"),
    ];
    let written = write(ground, &writes, &first(5)).unwrap();
    assert_eq!(written.outcomes, [Superseded, Applied, Superseded]);
    let set = Marker {
        written: 0b010,
        ..marker(5)
    };
    assert_eq!(written.sealing, Sealing::Set(set));
    assert_eq!(found(ground), Some(set));
    assert_eq!(ground.text(0, "a").as_deref(), Some("theirs"));
}

fn where_all_is_superseded_the_marker_is_set_all_the_same(ground: &dyn Ground) {
    let written = write(ground, &[put("a", Some("old"), "1")], &first(5)).unwrap();
    assert_eq!(written.outcomes, [Superseded]);
    assert_eq!(written.sealing, Sealing::Set(marker(5)));
    assert_eq!(found(ground), Some(marker(5)));
}

fn a_clients_write_in_between_leaves_everything_as_it_was(ground: &dyn Ground) {
    let set = write_all(ground, &[], &first(5));
    ground.arm(Befalls::ClientSets("b", "theirs"));
    let writes = [
        put("a", None, "1"),
        put("b", None, "2"),
        put("c", Some("old"), "3"),
    ];
    let written = write(ground, &writes, &after(set, 6)).unwrap();
    assert_eq!(written.outcomes, [Contended, Contended, Superseded]);
    assert_eq!(written.sealing, Sealing::Unset);
    assert_eq!((ground.text(0, "a"), found(ground)), (None, Some(set)));
    // The caller tries again by halves, and finds out whose key it was.
    let set = write_all(ground, &writes[..1], &after(set, 6));
    let written = write(ground, &writes[1..2], &after(set, 7)).unwrap();
    assert_eq!(written.outcomes, [Superseded]);
    assert_eq!(ground.text(0, "b").as_deref(), Some("theirs"));
}

fn a_change_of_the_marker_in_between_leaves_everything_as_it_was(ground: &dyn Ground) {
    let set = write_all(ground, &[], &first(5));
    // What another process would write, word by word.
    const TAKEN: &str = "1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0202020202020202 2 5 0";
    const LANE: &str = "reknit:marker:bbbbbbbbbbbbbbbb:0";
    ground.arm(Befalls::ClientSets(LANE, TAKEN));
    let written = write(ground, &[put("a", None, "1")], &after(set, 6)).unwrap();
    assert_eq!(written.outcomes, [Contended]);
    let taken = Marker {
        owner: OTHER,
        run: RunNumber(2),
        ..set
    };
    let again = write(ground, &[put("a", None, "1")], &after(set, 6));
    assert!(is_fenced(again, Some(taken)));
    assert_eq!(ground.text(0, "a"), None);
}

fn after_a_lost_answer_the_marker_tells_the_truth(ground: &dyn Ground) {
    let set = write_all(ground, &[], &first(5));
    ground.arm(Befalls::LostAnswer);
    let writes = [
        put("a", None, "1"),
        put("b", Some("old"), "2"),
        put("c", None, "3"),
    ];
    let written = write(ground, &writes, &after(set, 6)).unwrap();
    assert_eq!(written.outcomes, [Unknown, Superseded, Unknown]);
    assert_eq!(written.sealing, Sealing::Unknown);
    let fenced = fence(ground).unwrap();
    assert_eq!((fenced.sequence, fenced.written), (Sequence(6), 0b101));
    assert_eq!(ground.text(0, "a").as_deref(), Some("1"));
    assert_eq!(ground.text(0, "b"), None);
    assert_eq!(ground.text(0, "c").as_deref(), Some("3"));
}

fn fence(ground: &dyn Ground) -> Option<Marker> {
    let replica = ground.replica();
    run(replica.fence(None, &lane(), OTHER, RunNumber(2))).unwrap()
}

fn a_late_exec_happens_without_a_fence_and_never_after_one(ground: &dyn Ground) {
    ground.set(0, "n", "1");
    let set = write_all(ground, &[], &first(5));
    let late = |set, sequence| {
        ground.arm(Befalls::LateExec);
        let writes = [put("a", None, "1"), count("n", 5, Expiry::Never)];
        let written = write(ground, &writes, &after(set, sequence)).unwrap();
        assert_eq!(written.outcomes, [Unknown, Unknown]);
        assert_eq!(written.sealing, Sealing::Unknown);
    };
    late(set, 6);
    assert_eq!(fence(ground), Some(set));
    ground.deliver();
    assert_eq!(ground.text(0, "a"), None);
    assert_eq!(ground.text(0, "n").as_deref(), Some("1"));
    let taken = Marker {
        owner: OTHER,
        run: RunNumber(2),
        ..set
    };
    assert_eq!(found(ground), Some(taken));
    // Nothing else holds it up: without the fence it would have happened.
    late(taken, 7);
    ground.deliver();
    assert_eq!(ground.text(0, "a").as_deref(), Some("1"));
    assert_eq!(ground.text(0, "n").as_deref(), Some("6"));
    let expected = Marker {
        written: 0b11,
        ..marker(7)
    };
    assert_eq!(found(ground), Some(expected));
}

fn a_fence_keeps_step_and_mask_and_writes_nothing_where_nothing_is(ground: &dyn Ground) {
    assert_eq!((fence(ground), found(ground)), (None, None));
    let set = write_all(ground, &[put("a", None, "1")], &first(5));
    assert_eq!(fence(ground), Some(set));
    let taken = Marker {
        owner: OTHER,
        run: RunNumber(2),
        ..set
    };
    assert_eq!(found(ground), Some(taken));
    assert_eq!((taken.sequence, taken.written), (Sequence(5), 1));
    // The old owner is out, the new one goes on.
    assert!(is_fenced(write(ground, &[], &after(set, 6)), Some(taken)));
    write_all(ground, &[], &after(taken, 6));
}

fn a_fence_whose_answer_is_lost_can_be_repeated(ground: &dyn Ground) {
    let set = write_all(ground, &[put("a", None, "1")], &first(5));
    ground.arm(Befalls::LostAnswer);
    let replica = ground.replica();
    let fence = || run(replica.fence(None, &lane(), OTHER, RunNumber(2)));
    // A connection tries again by itself, and finds its own first try.
    let seen = fence().or_else(|_| fence()).unwrap().unwrap();
    assert_eq!((seen.sequence, seen.written), (set.sequence, set.written));
    assert_eq!(found(ground).map(|marker| marker.owner), Some(OTHER));
}

fn all_places_of_the_mask_can_be_used(ground: &dyn Ground) {
    for place in 32..64 {
        ground.set(0, &format!("n{place}"), "0");
    }
    let plain = (0..32).map(|place| put(&format!("a{place}"), None, "1"));
    let counters = (32..64).map(|place| count(&format!("n{place}"), 1, Expiry::Never));
    let writes: Vec<_> = plain.chain(counters).collect();
    let set = write_all(ground, &writes, &first(5));
    assert_eq!(set.written, u64::MAX);
    assert_eq!(found(ground), Some(set));
}

fn counters_are_increased_or_declined(ground: &dyn Ground) {
    ground.set(0, "plain", "-7");
    ground.set(0, "ends", "7");
    ground.expire("ends", END);
    ground.set(0, "zeros", "007");
    ground.set(0, "float", "1.5");
    ground.set(0, "full", "9223372036854775807");
    ground.set_list("list");
    let writes = [
        count("plain", 10, Expiry::Never),
        count("ends", -10, END),
        count("ends", 1, Expiry::Never),
        count("zeros", 1, Expiry::Never),
        count("float", 1, Expiry::Never),
        count("full", 1, Expiry::Never),
        count("list", 1, Expiry::Never),
        count("absent", 1, Expiry::Never),
        put("a", None, "1"),
        count("full", -1, Expiry::Never),
    ];
    let written = write(ground, &writes, &first(5)).unwrap();
    let mut expected = vec![Superseded; 10];
    for place in [0, 1, 8, 9] {
        expected[place] = Applied;
    }
    assert_eq!(written.outcomes, expected);
    let set = Marker {
        written: 0b11_0000_0011,
        ..marker(5)
    };
    assert_eq!(written.sealing, Sealing::Set(set));
    assert_eq!(found(ground), Some(set));
    let values = [
        ("plain", Some("3")),
        ("ends", Some("-3")),
        ("zeros", Some("007")),
        ("float", Some("1.5")),
        ("full", Some("9223372036854775806")),
        ("absent", None),
    ];
    for (key, value) in values {
        assert_eq!(ground.text(0, key).as_deref(), value, "{key}");
    }
    assert_eq!(ground.ends("ends"), END);
}

fn a_counter_can_get_another_expiry(ground: &dyn Ground) {
    ground.set(0, "a", "1");
    ground.set(0, "b", "1");
    ground.expire("b", END);
    ground.set(0, "c", "1");
    ground.expire("c", END);
    let mut writes = [
        count("a", 1, Expiry::Never),
        count("b", 1, END),
        count("c", 1, END),
    ];
    for (write, expiry) in writes.iter_mut().zip([END, LATER, Expiry::Never]) {
        write.ops.push(Op::Expire(expiry));
    }
    write_all(ground, &writes, &first(5));
    for (key, expiry) in [("a", END), ("b", LATER), ("c", Expiry::Never)] {
        assert_eq!(ground.text(0, key).as_deref(), Some("2"), "{key}");
        assert_eq!(ground.ends(key), expiry, "{key}");
    }
}

fn after_a_lost_answer_the_mask_names_only_counters_that_were_increased(ground: &dyn Ground) {
    ground.set(0, "n", "1");
    ground.set(0, "text", "x");
    let set = write_all(ground, &[], &first(5));
    ground.arm(Befalls::LostAnswer);
    let writes = [
        count("text", 2, Expiry::Never),
        put("a", None, "1"),
        count("n", 2, Expiry::Never),
    ];
    let written = write(ground, &writes, &after(set, 6)).unwrap();
    assert_eq!(written.outcomes, [Unknown, Unknown, Unknown]);
    let fenced = fence(ground).unwrap();
    assert_eq!((fenced.sequence, fenced.written), (Sequence(6), 0b110));
    assert_eq!(ground.text(0, "n").as_deref(), Some("3"));
}

fn counters_without_a_seal_are_increased_or_declined(ground: &dyn Ground) {
    ground.set(0, "n", "1");
    ground.set(0, "text", "x");
    let writes = [
        count("n", 2, Expiry::Never),
        put("a", None, "1"),
        count("text", 2, Expiry::Never),
    ];
    let written = run(ground.replica().write(None, &writes, &secret(), None)).unwrap();
    assert_eq!(written.outcomes, [Applied, Applied, Superseded]);
    assert_eq!(written.sealing, Sealing::Unasked);
    let written = run(ground.replica().write(None, &writes[..1], &secret(), None)).unwrap();
    assert_eq!(written.outcomes, [Applied]);
    assert_eq!(ground.text(0, "n").as_deref(), Some("5"));
}

fn a_flushed_database_loses_its_marker_alone(ground: &dyn Ground) {
    let replica = ground.replica();
    for db in [0, 1] {
        let writes = [put("a", None, "1")];
        let written = run(replica.write(Some(DbIndex(db)), &writes, &secret(), Some(&first(5))));
        assert_eq!(written.unwrap().outcomes, [Applied]);
    }
    ground.flush(0);
    let marker_of = |db| run(replica.marker(Some(DbIndex(db)), &lane())).unwrap();
    assert_eq!((marker_of(0), marker_of(1).is_some()), (None, true));
    assert_eq!(run(replica.states(Some(DbIndex(0)))).unwrap(), []);
    assert_eq!(run(replica.states(Some(DbIndex(1)))).unwrap().len(), 1);
}

/// Whether an error names this key and nothing was written.
fn is_unreadable<T>(answer: Result<T, StoreError>, named: &Key) -> bool {
    match answer {
        Err(StoreError::Marker { key, reason, .. }) => key == *named && !reason.is_empty(),
        _ => false,
    }
}

fn a_key_of_another_type_is_never_taken_for_a_marker(ground: &dyn Ground) {
    let name = lane();
    ground.set_list(&name.to_string());
    let replica = ground.replica();
    assert!(is_unreadable(run(replica.marker(None, &name)), &name));
    let fenced = run(replica.fence(None, &name, OWNER, RunNumber(1)));
    assert!(is_unreadable(fenced, &name));
    for seal in [first(5), after(marker(5), 6)] {
        assert!(is_unreadable(
            write(ground, &[put("a", None, "1")], &seal),
            &name
        ));
    }
    assert_eq!(ground.text(0, "a"), None);
}

fn a_text_that_is_no_marker_is_not_overwritten(ground: &dyn Ground) {
    let name = lane();
    ground.set(0, &name.to_string(), "9 from another version");
    let replica = ground.replica();
    let raw = run(replica.marker(None, &name)).unwrap().unwrap();
    assert_eq!(&raw[..], b"9 from another version");
    let fenced = run(replica.fence(None, &name, OWNER, RunNumber(1)));
    assert!(is_unreadable(fenced, &name));
    assert!(is_unreadable(
        write(ground, &[put("a", None, "1")], &first(5)),
        &name
    ));
    let left = ground.text(0, &name.to_string());
    assert_eq!(left.as_deref(), Some("9 from another version"));
    assert_eq!(ground.text(0, "a"), None);
}

fn a_list_of_states_of_another_type_is_noticed_before_the_write(ground: &dyn Ground) {
    let name = Key::from("reknit:states");
    ground.set_list("reknit:states");
    assert!(is_unreadable(run(ground.replica().states(None)), &name));
    assert!(is_unreadable(
        write(ground, &[put("a", None, "1")], &first(5)),
        &name
    ));
    assert_eq!((ground.text(0, "a"), found(ground)), (None, None));
}

fn markers_are_found_by_name(ground: &dyn Ground) {
    let set = write_all(ground, &[], &first(5));
    let copied = "reknit:marker:cccccccccccccccc:0";
    ground.set(0, copied, &set.encode());
    let names = ["reknit:marker:dddddddddddddddd:0", copied].map(Key::from);
    let found = run(ground.replica().markers(None, &names)).unwrap();
    assert_eq!(found, [None, Some(set.encode().into())]);
}

fn what_was_dumped_can_be_restored(ground: &dyn Ground) {
    ground.set(0, "a", "text");
    ground.expire("a", END);
    let keys = ["a", "absent"].map(Key::from);
    let dumped = run(ground.replica().dump(None, &keys)).unwrap();
    assert_eq!(dumped[1], None);
    let (payload, expiry) = dumped[0].clone().unwrap();
    assert_eq!(expiry, END);
    ground.set(0, "a", "overwritten");
    let mut back = put("a", Some("overwritten"), "");
    back.ops = vec![Op::Restore(payload), Op::Expire(expiry)];
    let mut torn = put("b", None, "");
    torn.ops = vec![Op::Restore("no payload".into())];
    let written = write(ground, &[back, torn], &first(5)).unwrap();
    assert_eq!(written.outcomes[0], Applied);
    let refused = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Refused(words) if words.contains("DUMP payload"));
    assert!(refused(&written.outcomes[1]), "{written:?}");
    assert_eq!(ground.text(0, "a").as_deref(), Some("text"));
    assert_eq!((ground.ends("a"), ground.text(0, "b")), (END, None));
}

fn own_keys_are_markers_and_the_list_of_states_too(ground: &dyn Ground) {
    write_all(ground, &[put("a", None, "1")], &first(5));
    let own = run(ground.replica().own_keys(None)).unwrap();
    assert_eq!(own, [lane(), Key::from("reknit:states")]);
    assert!(own.iter().all(Key::is_marker));
}
