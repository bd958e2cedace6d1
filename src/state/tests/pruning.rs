//! What is old goes when nobody needs it, and only then.

use std::time::Duration;

use super::*;
use crate::model::{RunNumber, Sequence, State as KeyState, Value};
use crate::state::{
    Changes, Intent, IntentKey, JournalEntry, Post, PreImage, Pruned, Retention, Segment,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const ALL: Retention = Retention {
    age: Duration::MAX,
    bytes: u64::MAX,
};

fn days(number: u32) -> Millis {
    NOW.plus(DAY * number)
}

fn prune_at(fixture: &Fixture, now: Millis) -> Pruned {
    live_until(fixture, now);
    fixture.state().prune(now, DAY * 7, ALL).unwrap()
}

/// Lets days pass, as runs see them.
fn live_until(fixture: &Fixture, now: Millis) {
    for day in (0..).map(days).take_while(|day| *day < now) {
        fixture.state().pass(day, DAY * 7).unwrap();
    }
}

fn put(fixture: &Fixture, at: Millis, number: u8) {
    let agreement = Agreement {
        since: at,
        ..version(number)
    };
    fixture.commit_at(at, |changes| {
        changes.put_agreement(DB, key("k"), agreement);
    });
}

fn history(fixture: &Fixture) -> Vec<u64> {
    let history = fixture.state().history(DB, &key("k")).unwrap();
    history.iter().map(|it| it.version.0).collect()
}

#[test]
fn superseded_versions_go_by_when_they_were_superseded() {
    let fixture = Fixture::new();
    for (day, number) in [(0, 1), (1, 2), (5, 3)] {
        put(&fixture, days(day), number);
    }
    assert_eq!(prune_at(&fixture, days(8)), Pruned::default());
    assert_eq!(history(&fixture), [2, 1]);
    assert_eq!(prune_at(&fixture, days(9)).history, 1);
    assert_eq!(history(&fixture), [2]);
    assert_eq!(prune_at(&fixture, days(30)).history, 1);
    assert!(history(&fixture).is_empty());
    let state = fixture.state();
    assert_eq!(
        state.agreement(DB, &key("k")).unwrap().unwrap().version,
        Version(3)
    );
}

#[test]
fn a_clock_that_jumps_back_prunes_nothing() {
    let fixture = Fixture::new();
    put(&fixture, days(10), 1);
    put(&fixture, days(11), 2);
    for now in [days(0), Millis(0), Millis(i64::MIN)] {
        assert_eq!(prune_at(&fixture, now), Pruned::default());
    }
}

#[test]
fn a_clock_that_jumps_ahead_and_back_prunes_nothing() {
    let fixture = runs(3);
    let gone = Agreement {
        since: days(3),
        ..tombstone(3)
    };
    put(&fixture, days(1), 1);
    put(&fixture, days(2), 2);
    fixture.commit_at(days(3), |changes| {
        changes.put_agreement(DB, key("k"), gone);
    });
    let retention = Retention {
        age: DAY * 30,
        ..ALL
    };
    for now in [4, 3650, 3651, 5, 6, 7300, 7] {
        let pruned = fixture
            .state()
            .prune(days(now), DAY * 7, retention)
            .unwrap();
        assert_eq!(pruned, Pruned::default(), "on day {now}");
    }
    assert_eq!(history(&fixture), [2, 1]);
    assert_eq!(entries(&fixture, 1), 10);
}

#[test]
fn nothing_of_a_key_goes_while_a_replica_lags_behind_on_it() {
    let fixture = Fixture::new();
    put(&fixture, days(0), 1);
    let gone = Agreement {
        since: days(0),
        ..tombstone(2)
    };
    let evicted = Lag {
        evicted: true,
        ..lag(LagBase::Agreed, 1)
    };
    for blocking in [behind(1), lag(LagBase::Unknown, 0), evicted] {
        fixture.commit_at(days(0), |changes| {
            changes
                .put_agreement(DB, key("k"), gone.clone())
                .put_lag(DB, key("k"), A, blocking);
        });
        assert_eq!(prune_at(&fixture, days(99)), Pruned::default());
    }
    fixture.commit_at(days(0), |changes| {
        changes.put_lag(DB, key("k"), A, lag(LagBase::Agreed, 1));
    });
    let pruned = prune_at(&fixture, days(99));
    assert_eq!(
        pruned.tombstones, 1,
        "another proof of the same version is no lag"
    );
    let checked = fixture.state().check().unwrap();
    assert_eq!(
        checked,
        crate::state::Checked::default(),
        "nothing is left of the key"
    );
}

#[test]
fn nothing_of_a_key_goes_while_a_step_on_it_is_open() {
    let fixture = Fixture::new();
    let gone = Agreement {
        since: days(0),
        ..tombstone(1)
    };
    let intent = Intent {
        sequence: Sequence(1),
        run: RunNumber(1),
        db: DB,
        replicas: vec![A],
        keys: vec![IntentKey {
            key: key("k"),
            agreement: None,
            always: Vec::new(),
            parts: Vec::new(),
        }],
        late: false,
    };
    fixture.commit_at(days(0), |changes| {
        changes
            .put_agreement(DB, key("k"), gone)
            .open_intent(intent);
    });
    assert_eq!(prune_at(&fixture, days(99)), Pruned::default());
    fixture.commit_at(days(0), |changes| {
        changes.close_intent(Sequence(1));
    });
    assert_eq!(prune_at(&fixture, days(99)).tombstones, 1);
}

#[test]
fn tombstones_of_keys_go_when_they_are_old() {
    let fixture = Fixture::new();
    let since = |day, agreement| Agreement {
        since: days(day),
        ..agreement
    };
    fixture.commit_at(days(0), |changes| {
        changes
            .put_agreement(DB, key("old"), since(0, tombstone(1)))
            .put_agreement(DB, key("young"), since(5, tombstone(1)))
            .put_agreement(DB, key("back"), since(0, tombstone(1)))
            .put_agreement(DB, key("there"), since(0, version(1)));
    });
    fixture.commit_at(days(0), |changes| {
        changes.put_agreement(DB, key("back"), since(0, version(2)));
    });
    assert_eq!(prune_at(&fixture, days(8)).tombstones, 1);
    let kept = |name| fixture.state().agreement(DB, &key(name)).unwrap().is_some();
    assert!(!kept("old") && kept("young") && kept("back") && kept("there"));
    assert_eq!(prune_at(&fixture, days(99)).tombstones, 1);
    assert!(kept("back") && kept("there"));
}

#[test]
fn tombstones_of_elements_go_with_the_versions_they_came_with() {
    let fixture = Fixture::new();
    let with = |number, day, removed: &[(&'static str, u64)]| {
        let removed = removed
            .iter()
            .map(|(name, at)| ((*name).into(), Version(*at)));
        Agreement {
            removed: removed.collect(),
            since: days(day),
            ..version(number)
        }
    };
    for (day, agreement) in [
        (0, with(1, 0, &[("a", 1)])),
        (1, with(2, 1, &[("a", 1), ("b", 2)])),
        (6, with(3, 6, &[("a", 1), ("b", 2), ("c", 3)])),
    ] {
        fixture.commit_at(days(day), |changes| {
            changes.put_agreement(DB, key("k"), agreement);
        });
    }
    let left = || {
        let agreement = fixture.state().agreement(DB, &key("k")).unwrap().unwrap();
        let names = agreement
            .removed
            .keys()
            .map(|it| String::from_utf8_lossy(it).into_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(prune_at(&fixture, days(9)).removed_elements, 1);
    assert_eq!(
        left(),
        ["b", "c"],
        "version 1 was superseded eight days ago"
    );
    assert_eq!(prune_at(&fixture, days(99)).removed_elements, 2);
    assert!(left().is_empty());
    assert_eq!(prune_at(&fixture, days(99)), Pruned::default());
}

#[test]
fn more_than_is_looked_at_at_once_goes_as_well() {
    let fixture = Fixture::new();
    for number in [1, 2] {
        fixture.commit_at(days(0), |changes| {
            for name in 0..2500 {
                let agreement = if name % 2 == 0 {
                    version(number)
                } else {
                    tombstone(number)
                };
                let name = key(&name.to_string());
                changes.put_agreement(DB, name.clone(), agreement);
                changes.put_lag(DB, name, A, lag(LagBase::Agreed, number.into()));
            }
        });
    }
    let pruned = prune_at(&fixture, Millis(NOW.0 + 8 * 24 * 60 * 60 * 1000));
    assert_eq!((pruned.tombstones, pruned.history), (1250, 2500));
    let checked = fixture.state().check().unwrap();
    assert_eq!(
        (checked.keys, checked.lags, checked.history),
        (1250, 1250, 0)
    );
}

fn journal(fixture: &Fixture, run: RunNumber, keys: u64) {
    fixture.commit(|changes| {
        for number in 0..keys {
            let entry = JournalEntry {
                sequence: Sequence(number),
                run,
                replica: A,
                db: DB,
                key: key(&number.to_string()),
                before: PreImage::Part(KeyState::lasting(Value::String(vec![b'x'; 1000].into()))),
                wrote: Post::Absent,
                rule: String::new(),
                evidence: String::new(),
                agreement_before: None,
                lags_before: BTreeMap::new(),
                stamps: None,
                outcome: Some(true),
            };
            changes.journal(entry);
        }
    });
}

fn entries(fixture: &Fixture, run: u64) -> u64 {
    let mut count = 0;
    fixture
        .state()
        .journal(RunNumber(run), &mut |_| count += 1)
        .unwrap();
    count
}

/// Runs that end on day 0, 1, 2, and so on, each with ten entries of a thousand bytes.
fn runs(count: u32) -> Fixture {
    let fixture = Fixture::new();
    for day in 0..count {
        let run = fixture.state().begin_run(run_start()).unwrap();
        journal(&fixture, run, 10);
        fixture.state().end_run(run, run_end(days(day))).unwrap();
    }
    fixture
}

#[test]
fn journals_go_by_age_but_for_the_last_run() {
    let fixture = runs(3);
    let retention = Retention { age: DAY, ..ALL };
    let prune = |now| {
        fixture
            .state()
            .prune(now, DAY * 7, retention)
            .unwrap()
            .journal
    };
    assert_eq!(prune(days(1)), 0);
    assert_eq!(prune(days(2)), 10);
    assert_eq!((entries(&fixture, 1), entries(&fixture, 2)), (0, 10));
    assert_eq!(prune(days(99)), 10);
    assert_eq!(
        entries(&fixture, 3),
        10,
        "the last run can always be undone"
    );
    assert_eq!(
        fixture.state().runs().unwrap().len(),
        3,
        "that they ran stays known"
    );
    assert_eq!(fixture.state().sizes().unwrap().journal_bytes / 10_000, 1);
}

#[test]
fn journals_go_by_size_the_oldest_first() {
    let fixture = runs(4);
    let retention = Retention {
        bytes: 25_000,
        ..ALL
    };
    let pruned = fixture.state().prune(days(0), DAY * 7, retention).unwrap();
    assert_eq!(pruned.journal, 20);
    let left: Vec<u64> = (1..=4).map(|run| entries(&fixture, run)).collect();
    assert_eq!(left, [0, 0, 10, 10]);
}

#[test]
fn the_journal_of_a_run_with_an_open_step_stays() {
    let fixture = runs(2);
    fixture.commit(|changes| {
        changes.open_intent(Intent {
            sequence: Sequence(1),
            run: RunNumber(1),
            db: DB,
            replicas: vec![A],
            keys: Vec::new(),
            late: false,
        });
    });
    let retention = Retention {
        age: Duration::ZERO,
        bytes: 0,
    };
    fixture.state().prune(days(99), DAY * 7, retention).unwrap();
    assert_eq!(entries(&fixture, 1), 10);
}

#[test]
fn of_each_kind_of_run_the_segments_of_the_last_one_are_kept() {
    let fixture = Fixture::new();
    let state = fixture.state();
    let finish = |kind: u8, slots: &str| {
        let run = state.begin_run(run_start()).unwrap();
        let segment = Segment {
            db: DB,
            slots: slots.parse().unwrap(),
            finished: days(0),
            digest: [kind; 32],
            proved: Sequence(1),
            left: 0,
            is_complete: true,
        };
        let mut changes = Changes::new(days(0));
        changes.finish(run, segment);
        state.commit(changes).unwrap();
        state.end_run(run, run_end(days(0))).unwrap();
    };
    for (kind, slots) in [(1, "0-9"), (1, "0-5"), (2, "0-9"), (1, "6-9"), (3, "1")] {
        finish(kind, slots);
    }
    state.prune(days(1), DAY, ALL).unwrap();
    let kept = state.all_segments().unwrap();
    let kept: Vec<_> = kept
        .iter()
        .map(|(run, one)| (run.0, one.digest[0], one.slots.to_string()))
        .collect();
    let expected = [(3, 2, "0-9"), (4, 1, "6-9"), (5, 3, "1-1")];
    assert_eq!(
        kept,
        expected.map(|(run, kind, slots)| (run, kind, slots.to_owned()))
    );
}
