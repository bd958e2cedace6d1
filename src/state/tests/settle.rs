//! What follows from an intent, by what its replicas did.

use super::*;
use crate::model::RunNumber;
use crate::state::{Intent, IntentKey, IntentPart};

/// What an intent's part says of a replica: `applied` as a lag, or nothing for "at the version".
fn part(replica: ReplicaId, place: u8, applied: Option<Lag>) -> IntentPart {
    IntentPart {
        replica,
        place,
        applied,
        otherwise: behind(0xf0 | place),
    }
}

fn intent(keys: Vec<IntentKey>) -> Intent {
    Intent {
        sequence: Sequence(5),
        run: RunNumber(1),
        db: DB,
        replicas: vec![A, B],
        keys,
        late: false,
    }
}

/// A new version 5 of `k`, written at A and B.
fn both_written() -> Intent {
    intent(vec![IntentKey {
        key: key("k"),
        agreement: Some(version(5)),
        always: Vec::new(),
        parts: vec![part(A, 0, None), part(B, 1, None)],
    }])
}

fn opened(intent: &Intent) -> Fixture {
    let fixture = Fixture::new();
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(1))
            .open_intent(intent.clone());
    });
    fixture
}

fn settle(fixture: &Fixture, intent: &Intent, outcome: impl Fn(ReplicaId, u8) -> Option<bool>) {
    fixture.state().commit(intent.settle(NOW, outcome)).unwrap();
}

fn lags(fixture: &Fixture) -> BTreeMap<ReplicaId, Lag> {
    fixture.state().lags(DB, &key("k")).unwrap()
}

#[test]
fn each_outcome_has_its_lag_entries() {
    let missed = |place: u8| behind(0xf0 | place);
    let table = [
        (true, true, vec![]),
        (true, false, vec![(B, missed(1))]),
        (false, true, vec![(A, missed(0))]),
        (false, false, vec![(A, missed(0)), (B, missed(1))]),
    ];
    for (a, b, expected) in table {
        let intent = both_written();
        let fixture = opened(&intent);
        settle(&fixture, &intent, |replica, _| {
            Some(if replica == A { a } else { b })
        });
        let state = fixture.state();
        assert_eq!(state.agreement(DB, &key("k")).unwrap(), Some(version(5)));
        assert_eq!(state.history(DB, &key("k")).unwrap(), [version(1)]);
        assert_eq!(lags(&fixture), expected.into_iter().collect(), "{a} {b}");
        assert!(state.intents().unwrap().is_empty());
    }
}

#[test]
fn the_outcome_is_asked_by_the_place_in_the_marker() {
    let keys = ["k", "l", "m"]
        .iter()
        .zip(0..)
        .map(|(name, place)| IntentKey {
            key: key(name),
            agreement: Some(version(5)),
            always: Vec::new(),
            parts: vec![part(A, place, None)],
        });
    let intent = intent(keys.collect());
    let fixture = opened(&intent);
    let written = 0b101_u64;
    settle(&fixture, &intent, |_, place| {
        Some(written >> place & 1 == 1)
    });
    let missing = |name: &str| !fixture.state().lags(DB, &key(name)).unwrap().is_empty();
    assert_eq!(
        (missing("k"), missing("l"), missing("m")),
        (false, true, false)
    );
}

#[test]
fn entries_of_replicas_that_are_not_written_are_put_and_dropped_whatever_happens() {
    let intent = intent(vec![IntentKey {
        key: key("k"),
        agreement: None,
        always: vec![(A, Some(behind(7))), (B, None)],
        parts: Vec::new(),
    }]);
    let fixture = opened(&intent);
    fixture.commit(|changes| {
        changes.put_lag(DB, key("k"), B, behind(1));
    });
    settle(&fixture, &intent, |_, _| None);
    assert_eq!(lags(&fixture), [(A, behind(7))].into());
    assert_eq!(
        fixture.state().agreement(DB, &key("k")).unwrap(),
        Some(version(1))
    );
    assert!(fixture.state().intents().unwrap().is_empty());
}

/// Settles A and leaves B open.
fn half_settled(intent: &Intent) -> (Fixture, Intent) {
    let fixture = opened(intent);
    settle(&fixture, intent, |replica, _| {
        (replica == A).then_some(true)
    });
    let mut left = fixture.state().intents().unwrap();
    let late = left.pop().expect("B's part is open");
    assert!(left.is_empty() && late.late);
    assert_eq!((late.sequence, &late.replicas), (intent.sequence, &vec![B]));
    (fixture, late)
}

#[test]
fn a_replica_that_cannot_be_reached_keeps_its_part_open_and_counts_as_behind() {
    let (fixture, late) = half_settled(&both_written());
    assert_eq!(
        fixture.state().agreement(DB, &key("k")).unwrap(),
        Some(version(5))
    );
    assert_eq!(lags(&fixture), [(B, behind(0xf1))].into());
    settle(&fixture, &late, |_, _| None);
    assert_eq!(fixture.state().intents().unwrap(), [late], "still unknown");
    assert_eq!(lags(&fixture), [(B, behind(0xf1))].into());
}

#[test]
fn a_late_outcome_settles_the_rest() {
    for (applied, expected) in [(true, None), (false, Some((B, behind(0xf1))))] {
        let (fixture, late) = half_settled(&both_written());
        settle(&fixture, &late, |_, _| Some(applied));
        assert_eq!(lags(&fixture), expected.into_iter().collect());
        assert!(fixture.state().intents().unwrap().is_empty());
    }
}

#[test]
fn a_late_outcome_is_about_the_version_of_then() {
    let (fixture, late) = half_settled(&both_written());
    fixture.commit(|changes| {
        changes.put_agreement(DB, key("k"), version(6));
    });
    settle(&fixture, &late, |_, _| Some(true));
    let held = Lag {
        seen: Seen::all(Version(5)),
        ..lag(LagBase::Held(Some(memory(5))), 5)
    };
    assert_eq!(
        lags(&fixture),
        [(B, held)].into(),
        "it has 5, and 6 is agreed"
    );
}

#[test]
fn what_was_taken_to_be_so_until_a_late_outcome_never_was() {
    let (fixture, late) = half_settled(&both_written());
    fixture.commit(|changes| {
        let later = Lag {
            since: Sequence(8),
            ..behind(0xf1)
        };
        changes.put_lag(DB, key("k"), B, later);
    });
    settle(&fixture, &late, |_, _| Some(true));
    assert_eq!(lags(&fixture), BTreeMap::new());
    let history = fixture.state().lag_history(DB, &key("k"), B).unwrap();
    let told = |since| Lag {
        seen: Seen::all(Version(5)),
        since: Sequence(since),
        ..lag(LagBase::Held(Some(memory(5))), 5)
    };
    let mine: Vec<Lag> = history
        .into_iter()
        .filter(|lag| lag.since >= late.sequence)
        .collect();
    assert_eq!(
        mine,
        [told(8), told(0xf1)],
        "it had the version from step 5 on"
    );
    let held = fixture.state().replaced(DB, &key("k"), B).unwrap();
    assert!(
        held.iter().all(|lag| lag.base == behind(0xf1).base) && held.len() == 2,
        "and what was read before is kept as read: {held:?}"
    );
}

#[test]
fn what_clients_made_of_a_key_is_kept_when_it_is_written_over() {
    let read = |state: LagBase| IntentPart {
        otherwise: lag(state, 5),
        ..part(A, 0, None)
    };
    let changed = LagBase::Held(Some(memory(9)));
    let as_agreed = LagBase::Held(version(1).memory);
    for (base, is_kept) in [
        (changed, true),
        (as_agreed, false),
        (LagBase::Held(None), false),
    ] {
        let intent = intent(vec![IntentKey {
            key: key("k"),
            agreement: Some(version(5)),
            always: Vec::new(),
            parts: vec![read(base.clone())],
        }]);
        let fixture = opened(&intent);
        settle(&fixture, &intent, |_, _| Some(true));
        let kept = fixture.state().replaced(DB, &key("k"), A).unwrap();
        let expected = is_kept.then(|| lag(base.clone(), 5));
        assert_eq!(kept, expected.into_iter().collect::<Vec<_>>(), "{base:?}");
    }
}

#[test]
fn a_late_outcome_proves_the_same_version_by_its_own_step() {
    let (fixture, late) = half_settled(&both_written());
    let proved_again = Agreement {
        proved: Sequence(8),
        ..version(5)
    };
    fixture.commit(|changes| {
        changes.put_agreement(DB, key("k"), proved_again);
    });
    settle(&fixture, &late, |_, _| Some(true));
    let agreed = Lag {
        seen: Seen::all(Version(5)),
        ..lag(LagBase::Agreed, 5)
    };
    assert_eq!(lags(&fixture), [(B, agreed)].into());
}

#[test]
fn a_late_outcome_that_is_no_does_not_undo_what_later_runs_noted() {
    let (fixture, late) = half_settled(&both_written());
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(6))
            .put_lag(DB, key("k"), B, behind(0x77));
    });
    settle(&fixture, &late, |_, _| Some(false));
    assert_eq!(lags(&fixture), [(B, behind(0x77))].into());
}

#[test]
fn a_late_outcome_with_a_lag_of_its_own_keeps_it_or_holds_what_was_agreed() {
    let intent = |applied| {
        intent(vec![IntentKey {
            key: key("k"),
            agreement: Some(version(5)),
            always: Vec::new(),
            parts: vec![part(A, 0, None), part(B, 1, Some(applied))],
        }])
    };
    let (fixture, late) = half_settled(&intent(behind(4)));
    settle(&fixture, &late, |_, _| Some(true));
    assert_eq!(lags(&fixture), [(B, behind(4))].into());

    let (fixture, late) = half_settled(&intent(lag(LagBase::Agreed, 5)));
    fixture.commit(|changes| {
        changes.put_agreement(DB, key("k"), version(6));
    });
    settle(&fixture, &late, |_, _| Some(true));
    let held = lag(LagBase::Held(Some(memory(5))), 5);
    assert_eq!(lags(&fixture), [(B, held)].into());
}

#[test]
fn where_only_bases_change_a_late_intent_remembers_what_was_agreed() {
    let only_bases = intent(vec![IntentKey {
        key: key("k"),
        agreement: None,
        always: Vec::new(),
        parts: vec![part(A, 0, None), part(B, 1, None)],
    }]);
    let (fixture, late) = half_settled(&only_bases);
    assert_eq!(late.keys[0].agreement, Some(version(1)));
    fixture.commit(|changes| {
        changes.put_agreement(DB, key("k"), version(6));
    });
    settle(&fixture, &late, |_, _| Some(true));
    let held = Lag {
        seen: Seen::all(Version(1)),
        ..lag(LagBase::Held(Some(memory(1))), 5)
    };
    assert_eq!(lags(&fixture), [(B, held)].into());
}

#[test]
fn a_late_outcome_of_a_key_that_was_forgotten_since_leaves_nothing() {
    let (fixture, late) = half_settled(&both_written());
    fixture.commit(|changes| {
        changes.forget_agreement(DB, key("k"));
    });
    settle(&fixture, &late, |_, _| Some(true));
    assert!(lags(&fixture).is_empty());
    assert!(fixture.state().intents().unwrap().is_empty());
}

#[test]
fn settled_keys_do_not_stay_in_a_late_intent() {
    let mut intent = both_written();
    intent.keys.push(IntentKey {
        key: key("only a"),
        agreement: Some(version(5)),
        always: vec![(B, Some(behind(3)))],
        parts: vec![part(A, 1, None)],
    });
    let (fixture, late) = half_settled(&intent);
    let names: Vec<String> = late.keys.iter().map(|it| it.key.to_string()).collect();
    assert_eq!(names, ["k"]);
    let kept = fixture.state().lags(DB, &key("only a")).unwrap();
    assert_eq!(kept, [(B, behind(3))].into());
}

#[test]
fn a_settling_that_is_cut_off_by_a_crash_can_be_done_again() {
    let intent = both_written();
    let fixture = opened(&intent);
    for _ in 0..2 {
        settle(&fixture, &intent, |replica, _| Some(replica == A));
    }
    assert_eq!(lags(&fixture), [(B, behind(0xf1))].into());
    assert_eq!(
        fixture.state().history(DB, &key("k")).unwrap(),
        [version(1)]
    );
}
