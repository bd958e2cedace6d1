//! What is superseded goes to the history by itself.

use proptest::prelude::*;

use super::*;
use crate::state::record::arbitrary;

#[test]
fn superseded_versions_are_kept_newest_first() {
    let mut fixture = Fixture::new();
    for number in 1..=4 {
        fixture.commit(|changes| {
            changes.put_agreement(DB, key("k"), version(number));
        });
    }
    let again = Agreement {
        proved: Sequence(99),
        ..version(4)
    };
    fixture.commit(|changes| {
        changes.put_agreement(DB, key("k"), again.clone());
    });
    let state = fixture.reopen();
    assert_eq!(state.agreement(DB, &key("k")).unwrap(), Some(again));
    let history = state.history(DB, &key("k")).unwrap();
    assert_eq!(history, [version(4), version(3), version(2), version(1)]);
    assert!(state.history(DB, &key("kk")).unwrap().is_empty());
    assert!(state.history(DbIndex(1), &key("k")).unwrap().is_empty());
}

#[test]
fn replaced_and_ended_lags_are_kept_newest_first() {
    let mut fixture = Fixture::new();
    for number in 1..=3 {
        fixture.commit(|changes| {
            changes.put_lag(DB, key("k"), A, behind(number));
        });
    }
    fixture.commit(|changes| {
        changes
            .drop_lag(DB, key("k"), A)
            .put_lag(DB, key("k"), B, behind(9));
    });
    let state = fixture.reopen();
    assert_eq!(state.lags(DB, &key("k")).unwrap(), [(B, behind(9))].into());
    let ended = state.lag_history(DB, &key("k"), A).unwrap();
    assert_eq!(ended, [behind(3), behind(2), behind(1)]);
    assert!(state.lag_history(DB, &key("k"), B).unwrap().is_empty());
}

#[test]
fn what_a_commit_changes_twice_is_superseded_once_by_the_last() {
    let fixture = Fixture::new();
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(1))
            .put_lag(DB, key("k"), A, behind(1));
    });
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(2))
            .put_agreement(DB, key("k"), version(3))
            .put_lag(DB, key("k"), A, behind(2))
            .put_lag(DB, key("k"), A, behind(3));
    });
    let state = fixture.state();
    assert_eq!(state.agreement(DB, &key("k")).unwrap(), Some(version(3)));
    assert_eq!(state.history(DB, &key("k")).unwrap(), [version(1)]);
    assert_eq!(state.lags(DB, &key("k")).unwrap(), [(A, behind(3))].into());
    assert_eq!(state.lag_history(DB, &key("k"), A).unwrap(), [behind(1)]);
}

#[test]
fn what_a_commit_changes_and_changes_back_is_not_superseded() {
    let fixture = Fixture::new();
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), version(1))
            .put_lag(DB, key("k"), A, behind(1));
    });
    fixture.commit(|changes| {
        changes
            .put_agreement(DB, key("k"), tombstone(2))
            .put_agreement(DB, key("k"), version(1))
            .put_lag(DB, key("k"), A, behind(2))
            .put_lag(DB, key("k"), A, behind(1));
    });
    let state = fixture.state();
    assert_eq!(state.agreement(DB, &key("k")).unwrap(), Some(version(1)));
    assert!(state.history(DB, &key("k")).unwrap().is_empty());
    assert_eq!(state.lags(DB, &key("k")).unwrap(), [(A, behind(1))].into());
    assert!(state.lag_history(DB, &key("k"), A).unwrap().is_empty());
}

/// One change of one of a few keys.
#[derive(Debug, Clone)]
enum Step {
    Agree(u8, Agreement),
    Lag(u8, ReplicaId, Lag),
    AtVersion(u8, ReplicaId),
}

fn step() -> impl Strategy<Value = Step> {
    let replica = prop_oneof![Just(A), Just(B)];
    prop_oneof![
        (0_u8..3, arbitrary::agreement()).prop_map(|(key, it)| Step::Agree(key, it)),
        (0_u8..3, replica.clone(), arbitrary::lag())
            .prop_map(|(key, id, it)| { Step::Lag(key, id, it) }),
        (0_u8..3, replica).prop_map(|(key, id)| Step::AtVersion(key, id)),
    ]
}

/// What a state should hold: the present last.
#[derive(Default)]
struct Expected {
    agreements: BTreeMap<u8, Vec<Agreement>>,
    lags: BTreeMap<(u8, ReplicaId), Vec<Lag>>,
    present: BTreeMap<(u8, ReplicaId), Lag>,
}

impl Expected {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Agree(key, agreement) => {
                let kept = self.agreements.entry(*key).or_default();
                if kept.last() != Some(agreement) {
                    kept.push(agreement.clone());
                }
            }
            Step::Lag(key, id, lag) => {
                let former = self.present.insert((*key, *id), lag.clone());
                let ended = self.lags.entry((*key, *id)).or_default();
                ended.extend(former.filter(|former| former != lag));
            }
            Step::AtVersion(key, id) => {
                let ended = self.lags.entry((*key, *id)).or_default();
                ended.extend(self.present.remove(&(*key, *id)));
            }
        }
    }
}

fn name(number: u8) -> Key {
    key(&format!("k{number}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_is_changed_the_present_and_the_past_are_kept(
        steps in proptest::collection::vec(step(), 1..24),
        closed_after: u8,
    ) {
        let (mut fixture, mut expected) = (Fixture::new(), Expected::default());
        for (index, step) in steps.iter().enumerate() {
            expected.take(step);
            fixture.commit(|changes| {
                match step.clone() {
                    Step::Agree(key, it) => changes.put_agreement(DB, name(key), it),
                    Step::Lag(key, id, it) => changes.put_lag(DB, name(key), id, it),
                    Step::AtVersion(key, id) => changes.drop_lag(DB, name(key), id),
                };
            });
            if index == usize::from(closed_after % 24) {
                fixture.reopen();
            }
        }
        let state = fixture.state();
        for (key, kept) in expected.agreements {
            let (last, past) = kept.split_last().expect("one was put");
            let past: Vec<Agreement> = past.iter().rev().cloned().collect();
            let present = state.agreement(DB, &name(key)).unwrap();
            prop_assert_eq!(present.as_ref(), Some(last));
            prop_assert_eq!(state.history(DB, &name(key)).unwrap(), past);
        }
        for ((key, id), ended) in expected.lags {
            let ended: Vec<Lag> = ended.into_iter().rev().collect();
            prop_assert_eq!(state.lag_history(DB, &name(key), id).unwrap(), ended);
            let lags = state.lags(DB, &name(key)).unwrap();
            prop_assert_eq!(lags.get(&id), expected.present.get(&(key, id)));
        }
        state.check().unwrap();
    }
}
