//! Agreements, lags, lanes, steps, runs and the journal come back as they were put.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::model::{
    Entry, KeyspaceName, Lane, PolicyMark, Position, PositionRange, ReplicaName, RunNumber,
    State as KeyState, Value, Voids,
};
use crate::state::layout::LONGEST_NAME;
use crate::state::{Hold, Intent, JournalEntry, LagHead, Post, PreImage, RunRecord};

#[test]
fn what_is_agreed_comes_back_after_it_was_closed() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.state().agreement(DB, &key("k")).unwrap(), None);
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(1))
            .put_agreement(DbIndex(3), key("k"), version(2))
            .put_lag(DB, key("k"), A, behind(1));
    });
    let state = fixture.reopen();
    assert_eq!(state.agreement(DB, &key("k")).unwrap(), Some(version(1)));
    assert_eq!(
        state.agreement(DbIndex(3), &key("k")).unwrap(),
        Some(version(2))
    );
    assert_eq!(state.lags(DB, &key("k")).unwrap(), [(A, behind(1))].into());
    assert!(state.lags(DbIndex(3), &key("k")).unwrap().is_empty());
}

#[test]
fn the_identity_stays_the_same_and_clones_share_the_state() {
    let mut fixture = Fixture::new();
    let (id, other) = (fixture.state().id(), fixture.state().clone());
    assert_eq!(other.id(), id);
    drop(other);
    assert_eq!(fixture.reopen().id(), id);
    let text = std::fs::read_to_string(fixture.dir.path().join("identity")).unwrap();
    assert!(text.contains(&id.to_string()));
}

#[test]
fn a_forgotten_agreement_takes_its_lags_and_histories_along() {
    let fixture = Fixture::new();
    for number in 1..4 {
        fixture.commit(|changes| {
            changes
                .put_agreement(DB, key("k"), version(number))
                .put_lag(DB, key("k"), A, behind(number));
        });
    }
    fixture.commit(|changes| {
        changes.forget_agreement(DB, key("k"));
    });
    let state = fixture.state();
    assert_eq!(state.agreement(DB, &key("k")).unwrap(), None);
    assert!(state.lags(DB, &key("k")).unwrap().is_empty());
    assert!(state.history(DB, &key("k")).unwrap().is_empty());
    assert!(state.lag_history(DB, &key("k"), A).unwrap().is_empty());
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(8))
            .forget_agreement(DB, key("k"))
            .put_agreement(DB, key("k"), version(9));
    });
    assert_eq!(
        fixture.state().agreement(DB, &key("k")).unwrap(),
        Some(version(9))
    );
    assert!(fixture.state().history(DB, &key("k")).unwrap().is_empty());
}

#[test]
fn keys_that_are_there_are_listed_in_the_order_of_positions() {
    let fixture = Fixture::new();
    let names: Vec<String> = (0..500).map(|number| format!("key:{number}")).collect();
    fixture.commit(|changes| {
        for name in &names {
            changes.put_agreement(DB, key(name), version(1));
        }
        changes.put_agreement(DB, key("gone"), tombstone(1));
        changes.put_agreement(DbIndex(1), key("elsewhere"), version(1));
    });
    let listed = |range| {
        let mut entries: Vec<Entry> = Vec::new();
        let count = fixture
            .state()
            .listed(DB, range, &mut |entry, _| entries.push(entry.to_owned()));
        assert_eq!(count.unwrap(), entries.len() as u64);
        entries
    };
    let all = listed(PositionRange::all());
    let mut expected: Vec<(Position, Key)> = names
        .iter()
        .map(|name| (Position::of(name.as_bytes()), key(name)))
        .collect();
    expected.sort();
    let found: Vec<(Position, Key)> = all.iter().map(|it| (it.position, it.key.clone())).collect();
    assert_eq!(found, expected);
    assert_eq!((all[0].kind, all[0].digest, all[0].expiry), {
        let memory = memory(1);
        (memory.kind, memory.digest, memory.expiry)
    });
    let middle = expected[250].0;
    let range = |start, end| PositionRange { start, end };
    let (front, back) = (
        listed(range(Position::from_bits(0), Some(middle))),
        listed(range(middle, None)),
    );
    assert_eq!(
        (front.len(), back.len()),
        (250, 250),
        "a range is half-open"
    );
}

#[test]
fn a_key_of_any_length_is_kept() {
    let mut fixture = Fixture::new();
    let long = Key::new(vec![b'x'; LONGEST_NAME + 7]);
    for number in 1..3 {
        fixture.commit(|changes| {
            changes
                .put_agreement(DB, long.clone(), version(number))
                .put_lag(DB, long.clone(), A, behind(number))
                .hold(DB, long.clone(), hold(3));
        });
    }
    let state = fixture.reopen();
    assert_eq!(state.agreement(DB, &long).unwrap(), Some(version(2)));
    assert_eq!(state.history(DB, &long).unwrap(), [version(1)]);
    assert_eq!(state.lags(DB, &long).unwrap(), [(A, behind(2))].into());
    assert_eq!(state.held(DB, &long).unwrap(), Some(hold(3)));
    let mut seen = Vec::new();
    let mut visit = |key: &Key, lag: LagHead| seen.push((key.clone(), lag.replica));
    state.lagging(DB, &mut visit).unwrap();
    assert_eq!(seen, [(long.clone(), A)]);
    let mut listed = Vec::new();
    let all = PositionRange::all();
    state
        .listed(DB, all, &mut |entry, _| listed.push(entry.to_owned().key))
        .unwrap();
    assert_eq!(listed, [long]);
    assert_eq!(state.check().unwrap().keys, 1);
}

#[test]
fn only_who_is_behind_or_evicts_is_lagging() {
    let fixture = Fixture::new();
    let evicted = Lag {
        evicted: true,
        ..lag(LagBase::Agreed, 1)
    };
    fixture.commit(|changes| {
        changes
            .put_lag(DB, key("proof"), A, lag(LagBase::Agreed, 1))
            .put_lag(DB, key("held"), A, behind(1))
            .put_lag(DB, key("held"), B, lag(LagBase::Held(None), 1))
            .put_lag(DB, key("new"), A, lag(LagBase::Unknown, 0))
            .put_lag(DB, key("evicted"), B, evicted)
            .put_lag(DbIndex(1), key("elsewhere"), A, behind(1));
    });
    let mut seen = BTreeSet::new();
    let mut visit = |key: &Key, lag: LagHead| {
        if lag.is_behind {
            assert!(seen.insert((key.to_string(), lag.replica)));
        }
    };
    fixture.state().lagging(DB, &mut visit).unwrap();
    let named = |name: &str, replica| (name.to_owned(), replica);
    let expected = [
        named("evicted", B),
        named("held", A),
        named("held", B),
        named("new", A),
    ];
    assert_eq!(seen, expected.into());
}

#[test]
fn lanes_and_voids_are_kept_by_replica_and_database() {
    let mut fixture = Fixture::new();
    let lane = Lane {
        first: Sequence(2),
        acknowledged: Sequence(9),
    };
    fixture.commit(|changes| {
        changes
            .set_lane(A, DB, lane)
            .add_void(A, DB, Sequence(3), Sequence(5))
            .add_void(A, DB, Sequence(1), Sequence(2));
    });
    fixture.commit(|changes| {
        changes.add_void(A, DB, Sequence(2), Sequence(9));
    });
    let state = fixture.reopen();
    assert_eq!(state.lane(A, DB).unwrap(), Some(lane));
    assert_eq!(state.lane(A, DbIndex(1)).unwrap(), None);
    assert_eq!(state.lane(B, DB).unwrap(), None);
    let voids = state.voids(A, DB).unwrap();
    assert_eq!(voids.covering(Sequence(4)), Some(Sequence(2)));
    assert_eq!(voids.covering(Sequence(2)), Some(Sequence(1)));
    assert_eq!(state.voids(B, DB).unwrap(), Voids::default());
}

#[test]
fn what_a_replica_was_read_of_and_evicted_is_kept_until_it_is_forgotten() {
    let mut fixture = Fixture::new();
    let name = ReplicaName("us".into());
    let us = fixture.state().enrol(&name, [1; 8], NOW).unwrap();
    let keyspace = |name: &str| KeyspaceName(name.into());
    fixture.commit(|changes| {
        changes
            .cover(us, DB, keyspace("hits"), Sequence(4))
            .cover(us, DB, keyspace("hits"), Sequence(9))
            .cover(us, DbIndex(1), keyspace("rest"), Sequence(5))
            .cover(B, DB, keyspace("rest"), Sequence(6))
            .set_evicted(us, 300);
    });
    let state = fixture.reopen();
    let covered = state.coverage(us, DB).unwrap();
    assert_eq!(covered, [(keyspace("hits"), Sequence(9))].into());
    assert_eq!(state.evicted(us).unwrap(), Some(300));
    assert_eq!(state.evicted(B).unwrap(), None);
    state.check().unwrap();
    state.forget(us, NOW).unwrap();
    assert!(state.coverage(us, DB).unwrap().is_empty());
    assert_eq!(state.evicted(us).unwrap(), None);
    assert_eq!(state.coverage(B, DB).unwrap().len(), 1);
}

#[test]
fn the_last_step_that_may_be_known_covers_all_that_were_given() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.state().last_sequence(), Sequence(0));
    let given = fixture.state().next_sequence().unwrap();
    assert!(fixture.state().last_sequence() >= given);
    assert!(fixture.reopen().last_sequence() >= given);
}

#[test]
fn a_step_is_never_numbered_twice() {
    let mut fixture = Fixture::new();
    let mut last = Sequence(0);
    for _ in 0..3 {
        for _ in 0..1500 {
            let next = fixture.state().next_sequence().unwrap();
            assert!(next > last, "{next:?} after {last:?}");
            last = next;
        }
        fixture.reopen();
    }
    assert!(
        last.0 < 3 * 2048 + 1024,
        "blocks are not wasted beyond an opening: {last:?}"
    );
    assert_eq!(Fixture::new().state().next_sequence().unwrap(), Sequence(1));
}

#[test]
fn runs_are_numbered_and_keep_their_beginning_and_end() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.state().last_run(), RunNumber(0));
    let first = fixture.state().begin_run(run_start()).unwrap();
    fixture.state().end_run(first, run_end(NOW)).unwrap();
    let second = fixture.state().begin_run(run_start()).unwrap();
    assert_eq!((first, second), (RunNumber(1), RunNumber(2)));
    let state = fixture.reopen();
    assert_eq!(state.last_run(), second);
    let record = |number, end| RunRecord {
        number,
        start: run_start(),
        end,
        taken_up_by: None,
    };
    let runs = [record(first, Some(run_end(NOW))), record(second, None)];
    assert_eq!(state.runs().unwrap(), runs);
    assert_eq!(state.run(first).unwrap().as_ref(), Some(&runs[0]));
    assert_eq!(state.run(RunNumber(3)).unwrap(), None);
    assert!(state.end_run(RunNumber(3), run_end(NOW)).is_err());
}

#[test]
fn a_run_that_was_killed_keeps_which_run_took_it_up_first() {
    let mut fixture = Fixture::new();
    let state = fixture.state();
    for _ in 0..3 {
        state.begin_run(run_start()).unwrap();
    }
    let [first, second, third] = [1, 2, 3].map(RunNumber);
    state.end_run(first, run_end(NOW)).unwrap();
    state.take_up_run(first, third).unwrap();
    state.take_up_run(second, third).unwrap();
    state.take_up_run(second, RunNumber(4)).unwrap();
    state.take_up_run(RunNumber(9), third).unwrap();
    let runs = fixture.reopen().runs().unwrap();
    let by: Vec<_> = runs.iter().map(|run| run.taken_up_by).collect();
    assert_eq!(by, [None, Some(third), None]);
}

fn journalled(run: u64, sequence: u64, name: &str) -> JournalEntry {
    JournalEntry {
        sequence: Sequence(sequence),
        run: RunNumber(run),
        replica: A,
        db: DB,
        key: key(name),
        before: PreImage::Whole(KeyState::lasting(Value::String(Bytes::from("before")))),
        wrote: Post::Absent,
        rule: "string".into(),
        evidence: "agreed".into(),
        agreement_before: Some(version(1)),
        lags_before: [(B, behind(1))].into(),
        stamps: None,
        outcome: None,
    }
}

#[test]
fn a_journal_is_read_in_the_order_of_steps_with_what_came_of_each() {
    let mut fixture = Fixture::new();
    let (first, second) = (journalled(1, 256, "k"), journalled(1, 3, "later"));
    fixture.commit(|changes| {
        changes
            .journal(first.clone())
            .journal(second.clone())
            .journal(journalled(2, 1, "k"));
    });
    fixture.commit(|changes| {
        changes.journal_outcome(first.place(), false);
    });
    let mut read = Vec::new();
    let state = fixture.reopen();
    state
        .journal(RunNumber(1), &mut |entry| read.push(entry))
        .unwrap();
    let told = JournalEntry {
        outcome: Some(false),
        ..first
    };
    assert_eq!(read, [second, told]);
    assert_eq!(state.check().unwrap().journal, 3);
    assert!(state.sizes().unwrap().journal_bytes > 300);
}

fn hold(run: u64) -> Hold {
    Hold {
        run: RunNumber(run),
        policy: Some(PolicyMark([run as u8; 8])),
    }
}

#[test]
fn undone_keys_are_held_until_they_are_let_go() {
    let mut fixture = Fixture::new();
    fixture.commit(|changes| {
        changes
            .hold(DB, key("k"), hold(4))
            .hold(DB, key("other"), hold(5));
        changes.hold(DbIndex(1), key("k"), hold(6));
    });
    fixture.commit(|changes| {
        changes.unhold(DB, key("other"));
    });
    let state = fixture.reopen();
    assert_eq!(state.held(DB, &key("k")).unwrap(), Some(hold(4)));
    assert_eq!(state.held(DB, &key("other")).unwrap(), None);
    let mut seen = Vec::new();
    state
        .holds(DB, &mut |key, run| seen.push((key.clone(), run)))
        .unwrap();
    assert_eq!(seen, [(key("k"), RunNumber(4))]);
}

#[test]
fn open_intents_are_found_again_oldest_first() {
    let mut fixture = Fixture::new();
    let intent = |sequence| Intent {
        sequence: Sequence(sequence),
        run: RunNumber(1),
        db: DB,
        replicas: vec![A],
        keys: Vec::new(),
        late: false,
    };
    fixture.commit(|changes| {
        changes
            .open_intent(intent(300))
            .open_intent(intent(2))
            .open_intent(intent(5));
    });
    fixture.commit(|changes| {
        changes.close_intent(Sequence(5));
    });
    assert_eq!(
        fixture.reopen().intents().unwrap(),
        [intent(2), intent(300)]
    );
}

#[test]
fn nothing_to_change_writes_nothing() {
    let fixture = Fixture::new();
    let changes = Changes::new(NOW);
    assert!(changes.is_empty());
    fixture.state().commit(changes).unwrap();
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(1))
            .put_lag(DB, key("k"), A, behind(1));
    });
    let before = fixture.state().writing().commit;
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(1))
            .put_lag(DB, key("k"), A, behind(1))
            .drop_lag(DB, key("k"), B);
    });
    assert_eq!(fixture.state().writing().commit, before);
}
