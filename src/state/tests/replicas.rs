//! Replicas keep their ids, whatever they are called; forgotten ones do not come back.

use super::*;
use crate::model::{Lane, ReplicaName, RunNumber};
use crate::state::{Intent, IntentKey, IntentPart, KnownReplica};

fn name(text: &str) -> ReplicaName {
    ReplicaName(text.into())
}

fn enrol(fixture: &Fixture, text: &str, random: u8) -> ReplicaId {
    fixture
        .state()
        .enrol(&name(text), [random; 8], NOW)
        .unwrap()
}

#[test]
fn a_known_replica_keeps_its_id_and_two_never_share_one() {
    let mut fixture = Fixture::new();
    let us = enrol(&fixture, "us", 1);
    let eu = enrol(&fixture, "eu", 1);
    assert_ne!(us, eu);
    fixture.reopen();
    assert_eq!(enrol(&fixture, "us", 9), us);
    assert_eq!(enrol(&fixture, "eu", 9), eu);
    let known = fixture.state().replicas().unwrap();
    let names: Vec<&str> = known.iter().map(|it| it.name.0.as_str()).collect();
    assert_eq!(names, ["us", "eu"]);
}

#[test]
fn a_rename_keeps_the_id_and_refuses_a_name_that_is_taken() {
    let mut fixture = Fixture::new();
    let (us, eu) = (enrol(&fixture, "us", 1), enrol(&fixture, "eu", 2));
    let rename = |from, to| fixture.state().rename(&name(from), &name(to)).unwrap();
    assert!(!rename("us", "eu"));
    assert!(!rename("ap", "sa"));
    assert!(rename("us", "us-east"));
    fixture.reopen();
    assert_eq!(enrol(&fixture, "us-east", 9), us);
    assert_eq!(enrol(&fixture, "eu", 9), eu);
    assert_ne!(
        enrol(&fixture, "us", 9),
        us,
        "the old name is a new replica"
    );
}

#[test]
fn a_forgotten_replica_loses_everything_and_its_name_gets_a_new_id() {
    let mut fixture = Fixture::new();
    let (us, eu) = (enrol(&fixture, "us", 1), enrol(&fixture, "eu", 2));
    let lane = Lane {
        first: Sequence(1),
        acknowledged: Sequence(2),
    };
    for number in 1..3 {
        fixture.commit(|changes| {
            for id in [us, eu] {
                changes
                    .put_agreement(DB, key("k"), version(1))
                    .put_lag(DB, key("k"), id, behind(number))
                    .set_lane(id, DB, lane)
                    .add_void(id, DB, Sequence(0), Sequence(1));
            }
        });
    }
    let later = Millis(NOW.0 + 1);
    fixture.state().forget(us, later).unwrap();
    fixture.state().forget(us, later).unwrap();
    let state = fixture.reopen();
    assert_eq!(state.lags(DB, &key("k")).unwrap(), [(eu, behind(2))].into());
    assert!(state.lag_history(DB, &key("k"), us).unwrap().is_empty());
    assert_eq!(state.lag_history(DB, &key("k"), eu).unwrap(), [behind(1)]);
    assert_eq!(
        (state.lane(us, DB).unwrap(), state.lane(eu, DB).unwrap()),
        (None, Some(lane))
    );
    assert!(state.voids(us, DB).unwrap().0.is_empty());
    assert_eq!(
        state.check().unwrap().lags,
        1,
        "its lags are removed, not only hidden"
    );
    let again = enrol(&fixture, "us", 1);
    assert_ne!(again, us);
    let known = fixture.state().replicas().unwrap();
    let forgotten = KnownReplica {
        id: us,
        name: name("us"),
        since: NOW,
        forgotten: Some(later),
    };
    assert!(known.contains(&forgotten));
}

#[test]
fn lags_of_a_forgotten_replica_do_not_count_even_where_the_cleaning_was_cut_off() {
    let mut fixture = Fixture::new();
    let us = enrol(&fixture, "us", 1);
    fixture.state().forget(us, NOW).unwrap();
    // As if the process had been killed before these were removed.
    fixture.commit(|changes| {
        changes.put_lag(DB, key("k"), us, behind(1));
    });
    let state = fixture.reopen();
    assert!(state.lags(DB, &key("k")).unwrap().is_empty());
    let mut seen = 0;
    state.lagging(DB, &mut |_, _| seen += 1).unwrap();
    assert_eq!(seen, 0);
    let retention = crate::state::Retention {
        age: std::time::Duration::MAX,
        bytes: u64::MAX,
    };
    let pruned = state
        .prune(NOW, std::time::Duration::MAX, retention)
        .unwrap();
    assert_eq!(pruned.lags, 1);
    assert_eq!(state.check().unwrap().lags, 0);
}

#[test]
fn a_forgotten_replica_leaves_open_intents() {
    let fixture = Fixture::new();
    let (us, eu) = (enrol(&fixture, "us", 1), enrol(&fixture, "eu", 2));
    let part = |replica| IntentPart {
        replica,
        place: 0,
        applied: None,
        otherwise: behind(1),
    };
    let intent = |sequence, parts: Vec<IntentPart>, late| Intent {
        sequence: Sequence(sequence),
        run: RunNumber(1),
        db: DB,
        replicas: parts.iter().map(|part| part.replica).collect(),
        keys: vec![IntentKey {
            key: key("k"),
            agreement: Some(version(2)),
            always: Vec::new(),
            parts,
        }],
        late,
    };
    fixture.commit(|changes| {
        changes
            .open_intent(intent(1, vec![part(us), part(eu)], false))
            .open_intent(intent(2, vec![part(us)], true))
            .open_intent(intent(3, vec![part(us)], false));
    });
    fixture.state().forget(us, NOW).unwrap();
    let left = [
        intent(1, vec![part(eu)], false),
        intent(3, Vec::new(), false),
    ];
    assert_eq!(
        fixture.state().intents().unwrap(),
        left,
        "what is not settled stays to be settled"
    );
}
