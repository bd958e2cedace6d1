//! The rules of the agreement, one by one. Each test fails when its rule is taken out.

use std::collections::{BTreeMap, BTreeSet};

use super::bases::Shelf;
use super::book::{digester, id, trust};
use crate::crdt::{Changes, Target, remember};
use crate::model::{
    Agreement, Expiry, Lag, LagBase, Memory, Millis, Policy, Seen, Sequence, State, Value, Version,
};
use crate::repair::ledger::{Absent, Fate, Lesson, Past, Pupil, Subject, Trust, base, lesson};

pub(super) fn text(value: &str) -> State {
    State::lasting(Value::String(value.to_owned().into()))
}

fn set(members: &[&str]) -> State {
    let members = members.iter().map(|member| member.to_string().into());
    State::lasting(Value::Set(members.collect()))
}

pub(super) fn memory(state: &State) -> Memory {
    remember(state, 100, |_| Version(1), &mut digester())
}

pub(super) fn agreement(version: u64, proved: u64, state: Option<&State>) -> Agreement {
    Agreement {
        version: Version(version),
        memory: state.map(memory),
        removed: BTreeMap::new(),
        proved: Sequence(proved),
        since: Millis(0),
    }
}

pub(super) fn lag(base: LagBase, seen: u64, proved: u64, since: u64) -> Lag {
    Lag {
        base,
        seen: Seen::all(Version(seen)),
        proved: Sequence(proved),
        since: Sequence(since),
        evicted: false,
    }
}

pub(super) fn held(state: &State) -> LagBase {
    LagBase::Held(Some(memory(state)))
}

pub(super) fn agreed(version: u64, proved: u64, state: &State) -> Past {
    Past {
        agreement: Some(agreement(version, proved, Some(state))),
        lags: BTreeMap::new(),
    }
}

struct Scene {
    past: Past,
    target: Target,
    changes: Changes,
}

impl Scene {
    fn new(past: Past, target: Option<&State>, added: &[&str], removed: &[&str]) -> Self {
        let names = |names: &[&str]| -> BTreeSet<bytes::Bytes> {
            names.iter().map(|name| name.to_string().into()).collect()
        };
        Self {
            past,
            target: Target {
                value: target.map(|state| state.value.clone()),
                expiry: Expiry::Never,
                keeps_own_expiry: false,
                untouched: BTreeMap::new(),
                partial: false,
            },
            changes: Changes {
                key: !(added.is_empty() && removed.is_empty()),
                added: names(added),
                removed: names(removed),
            },
        }
    }

    fn learn(&self, pupils: &[(usize, Option<&State>, Fate)], absent: &[usize]) -> Lesson {
        let absent: Vec<Absent> = absent
            .iter()
            .map(|replica| Absent {
                id: id(*replica),
                covered: Some(Sequence(0)),
                evicted: false,
            })
            .collect();
        self.learn_with(pupils, &absent)
    }

    fn learn_with(&self, pupils: &[(usize, Option<&State>, Fate)], absent: &[Absent]) -> Lesson {
        let trusts: Vec<Trust> = pupils.iter().map(|(replica, ..)| trust(*replica)).collect();
        let bases: Vec<_> = trusts
            .iter()
            .map(|trust| base(&self.past, trust, None, &Shelf::default()))
            .collect();
        let pupils: Vec<Pupil<'_>> = pupils
            .iter()
            .enumerate()
            .map(|(index, (_, state, fate))| Pupil {
                trust: &trusts[index],
                state: *state,
                base: bases[index].as_ref(),
                fate: *fate,
                left_out: super::NOTHING,
            })
            .collect();
        let subject = Subject {
            past: &self.past,
            target: &self.target,
            changes: &self.changes,
            policy: &Policy::default(),
            elements: 100,
            step: Sequence(20),
            now: Millis(7),
        };
        lesson(&subject, &pupils, absent, &mut digester())
    }
}

#[test]
fn a_change_is_a_new_version_and_where_the_agreement_wins_there_is_none() {
    let (old, new) = (set(&["a"]), set(&["a", "b"]));
    let scene = Scene::new(agreed(3, 10, &old), Some(&new), &["b"], &[]);
    let learned = scene.learn(
        &[(0, Some(&new), Fate::Holds), (1, Some(&old), Fate::Written)],
        &[],
    );
    let next = learned.agreement.unwrap();
    assert_eq!((next.version, next.proved), (Version(4), Sequence(20)));
    let elements = next.memory.as_ref().unwrap().elements().unwrap().clone();
    assert_eq!(
        elements[&b"a"[..]].changed,
        Version(1),
        "not changed by this run"
    );
    assert_eq!(elements[&b"b"[..]].changed, Version(4));
    let scene = Scene::new(agreed(3, 10, &old), Some(&old), &[], &[]);
    let learned = scene.learn(
        &[(0, Some(&old), Fate::Holds), (1, None, Fate::Written)],
        &[],
    );
    assert_eq!(learned.agreement.unwrap().version, Version(3));
}

#[test]
fn what_is_as_it_was_is_not_written_down_again() {
    let state = set(&["a"]);
    let scene = Scene::new(agreed(3, 10, &state), Some(&state), &[], &[]);
    let learned = scene.learn(
        &[
            (0, Some(&state), Fate::Holds),
            (1, Some(&state), Fate::Holds),
        ],
        &[2],
    );
    assert!(learned.is_empty(), "{learned:?}");
}

#[test]
fn a_replica_that_was_not_written_keeps_what_was_read_as_its_base_and_what_it_had_seen() {
    let (old, new) = (text("old"), text("new"));
    let scene = Scene::new(agreed(3, 10, &old), Some(&new), &["x"], &[]);
    let learned = scene.learn(
        &[(0, Some(&new), Fate::Holds), (1, Some(&old), Fate::Written)],
        &[],
    );
    let part = &learned.parts[0];
    assert_eq!(part.applied, None, "written, it is at the version");
    assert_eq!(part.otherwise.base, held(&old));
    assert_eq!(part.otherwise.seen.key, Version(3));
    assert_eq!(part.otherwise.proved, Sequence(20));
}

#[test]
fn an_element_that_is_as_it_should_be_is_seen_also_where_the_write_fails() {
    let (old, new) = (set(&["a", "b"]), set(&["b", "c"]));
    let scene = Scene::new(agreed(3, 10, &old), Some(&new), &["c"], &["a"]);
    let half = set(&["b"]);
    let learned = scene.learn(
        &[
            (0, Some(&new), Fate::Holds),
            (1, Some(&half), Fate::Written),
        ],
        &[],
    );
    let seen = &learned.parts[0].otherwise.seen;
    assert_eq!(seen.of(&"a".into()), Version(4), "its removal was its own");
    assert_eq!(seen.of(&"b".into()), Version(4));
    assert_eq!(seen.of(&"c".into()), Version(3));
}

#[test]
fn an_absent_replica_keeps_base_and_seen_as_they_were() {
    let (old, new) = (text("old"), text("new"));
    let scene = Scene::new(agreed(3, 10, &old), Some(&new), &["x"], &[]);
    let learned = scene.learn(&[(0, Some(&new), Fate::Holds)], &[2]);
    let (_, lag) = learned
        .settled
        .iter()
        .find(|(one, _)| *one == id(2))
        .unwrap();
    let lag = lag.as_ref().unwrap();
    assert_eq!(lag.base, held(&old));
    assert_eq!(lag.seen, Seen::all(Version(3)));
    assert_eq!((lag.proved, lag.since), (Sequence(10), Sequence(20)));
}

#[test]
fn an_absent_replica_that_lags_already_keeps_its_lag() {
    let (older, old, new) = (text("older"), text("old"), text("new"));
    let mut past = agreed(3, 10, &old);
    past.lags.insert(id(2), lag(held(&older), 2, 5, 7));
    let scene = Scene::new(past, Some(&new), &["x"], &[]);
    let learned = scene.learn(&[(0, Some(&new), Fate::Holds)], &[2]);
    let kept = Some(lag(held(&older), 2, 5, 20));
    assert!(learned.settled.contains(&(id(2), kept)), "{learned:?}");
}

#[test]
fn after_a_failed_write_a_replica_that_forgot_has_seen_nothing() {
    let (old, new) = (text("old"), text("new"));
    let mut past = agreed(3, 10, &new);
    past.lags.insert(id(1), lag(LagBase::Unknown, 0, 0, 10));
    let scene = Scene::new(past, Some(&new), &[], &[]);
    let learned = scene.learn(&[(1, Some(&old), Fate::Written)], &[]);
    let otherwise = &learned.parts[0].otherwise;
    assert_eq!(otherwise.seen, Seen::default());
    assert_eq!(otherwise.base, held(&old));
}

#[test]
fn an_absent_replica_is_not_proved_by_the_markers_of_others() {
    let state = text("same");
    let mut past = agreed(3, 10, &state);
    past.lags.insert(id(1), lag(held(&text("old")), 2, 5, 10));
    let scene = Scene::new(past, Some(&state), &[], &[]);
    let pupils = [
        (0, Some(&state), Fate::Holds),
        (1, Some(&state), Fate::Holds),
    ];
    let learned = scene.learn(&pupils, &[2]);
    assert!(learned.settled.contains(&(id(1), None)), "its lag ends");
    assert_eq!(learned.agreement.unwrap().proved, Sequence(20));
    let (_, lag) = learned
        .settled
        .iter()
        .find(|(one, _)| *one == id(2))
        .unwrap();
    let lag = lag.as_ref().unwrap();
    assert_eq!((&lag.base, lag.proved), (&LagBase::Agreed, Sequence(10)));
}

#[test]
fn a_base_that_is_the_agreement_is_spelled_out_before_that_moves_on() {
    let (old, new) = (text("old"), text("new"));
    let mut past = agreed(3, 10, &old);
    past.lags.insert(id(2), lag(LagBase::Agreed, 3, 5, 10));
    let scene = Scene::new(past, Some(&new), &["x"], &[]);
    let learned = scene.learn(&[(0, Some(&new), Fate::Holds)], &[2]);
    let (_, lag) = learned
        .settled
        .iter()
        .find(|(one, _)| *one == id(2))
        .unwrap();
    assert_eq!(lag.as_ref().unwrap().base, held(&old));
}

#[test]
fn of_a_new_key_an_absent_replica_is_known_to_lack_it_only_where_all_was_read() {
    let new = text("new");
    let scene = Scene::new(Past::default(), Some(&new), &[], &[]);
    let absent = |covered| Absent {
        id: id(2),
        covered,
        evicted: false,
    };
    let base_of = |covered| {
        let learned = scene.learn_with(&[(0, Some(&new), Fate::Holds)], &[absent(covered)]);
        let (_, lag) = learned
            .settled
            .into_iter()
            .find(|(one, _)| *one == id(2))
            .unwrap();
        lag.unwrap().base
    };
    assert_eq!(base_of(Some(Sequence(4))), LagBase::Held(None));
    assert_eq!(base_of(None), LagBase::Unknown);
}

#[test]
fn an_evicted_key_lags_though_nothing_else_is_news() {
    let state = text("same");
    let scene = Scene::new(agreed(3, 10, &state), Some(&state), &[], &[]);
    let evicted = Absent {
        id: id(1),
        covered: None,
        evicted: true,
    };
    let learned = scene.learn_with(&[(0, Some(&state), Fate::Holds)], &[evicted]);
    assert_eq!(learned.agreement, None);
    let (_, lag) = &learned.settled[0];
    let lag = lag.as_ref().unwrap();
    assert!(lag.evicted);
    assert_eq!(lag.base, LagBase::Held(None), "what comes later was added");
    assert_eq!(lag.seen, Seen::all(Version(3)), "and nothing was removed");
}

#[test]
fn a_removed_key_leaves_a_tombstone_with_its_elements() {
    let old = set(&["a", "b"]);
    let scene = Scene::new(agreed(3, 10, &old), None, &[], &["a", "b"]);
    let learned = scene.learn(
        &[(0, None, Fate::Holds), (1, Some(&old), Fate::Written)],
        &[],
    );
    let next = learned.agreement.unwrap();
    assert_eq!((next.version, next.memory), (Version(4), None));
    assert_eq!(next.removed[&b"a"[..]], Version(4));
}

#[test]
fn a_key_that_never_was_leaves_nothing() {
    let scene = Scene::new(Past::default(), None, &[], &[]);
    assert!(scene.learn(&[(0, None, Fate::Holds)], &[1]).is_empty());
}
