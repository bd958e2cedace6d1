//! The base of a replica, rule by rule: what it is, and what of it is left to one that forgot.

use std::collections::BTreeMap;

use super::book::{id, trust};
use super::rules::{agreed, agreement, held, lag, memory, text};
use crate::crdt::Standing;
use crate::model::{Agreement, Lag, Seen, Sequence, ValueDigest, Version};
use crate::repair::ledger::{Archive, Known, Past, Trust, base};

#[derive(Default)]
pub(super) struct Shelf {
    agreements: Vec<Agreement>,
    lags: Vec<Lag>,
    replaced: Vec<Lag>,
}

fn shelf(agreements: Vec<Agreement>, lags: Vec<Lag>) -> Shelf {
    Shelf {
        agreements,
        lags,
        ..Shelf::default()
    }
}

impl Archive for Shelf {
    fn agreements(&self) -> Vec<Agreement> {
        self.agreements.clone()
    }

    fn lags(&self) -> Vec<Lag> {
        self.lags.clone()
    }

    fn replaced(&self) -> Vec<Lag> {
        self.replaced.clone()
    }
}

fn forgot(replica: usize, after: u64, to: u64) -> Trust {
    let mut trust = trust(replica);
    trust.voids.add(Sequence(after), Sequence(to));
    trust
}

fn digest_of<'a>(known: &'a Known<'_>) -> Option<&'a ValueDigest> {
    known.memory.as_ref().map(|memory| &memory.digest)
}

#[test]
fn a_replica_without_a_lag_is_at_the_version() {
    let past = agreed(3, 10, &text("new"));
    let known = base(&past, &trust(0), None, &Shelf::default()).unwrap();
    assert_eq!(digest_of(&known), Some(&memory(&text("new")).digest));
    assert_eq!(known.seen, Seen::all(Version(3)));
    assert_eq!(known.standing, Standing::Ordinary);
}

#[test]
fn a_replica_that_lags_has_the_base_and_the_versions_of_its_lag() {
    let mut past = agreed(3, 10, &text("new"));
    past.lags.insert(id(1), lag(held(&text("old")), 2, 5, 10));
    let known = base(&past, &trust(1), None, &Shelf::default()).unwrap();
    assert_eq!(digest_of(&known), Some(&memory(&text("old")).digest));
    assert_eq!(known.seen, Seen::all(Version(2)));
}

#[test]
fn a_newcomer_has_no_base() {
    let past = agreed(3, 10, &text("new"));
    let flushed = forgot(0, 0, 12);
    assert_eq!(base(&past, &flushed, None, &Shelf::default()), None);
}

#[test]
fn a_key_that_nobody_remembers_was_absent_where_all_was_read_and_unknown_elsewhere() {
    let past = Past::default();
    let known = base(&past, &trust(0), None, &Shelf::default()).unwrap();
    assert_eq!(known.memory, None);
    let uncovered = Trust {
        covered: None,
        ..trust(0)
    };
    assert_eq!(base(&past, &uncovered, None, &Shelf::default()), None);
}

#[test]
fn a_base_that_was_proved_before_the_roll_back_is_ordinary() {
    let past = agreed(3, 10, &text("new"));
    let known = base(&past, &forgot(0, 10, 20), None, &Shelf::default()).unwrap();
    assert_eq!(known.standing, Standing::Ordinary);
}

#[test]
fn a_base_that_was_lost_falls_back_to_what_stood_at_the_marker() {
    let past = agreed(3, 15, &text("new"));
    let (v1, v2) = (text("one"), text("two"));
    let archive = shelf(
        vec![
            agreement(3, 15, Some(&text("new"))),
            agreement(2, 9, Some(&v2)),
            agreement(1, 4, Some(&v1)),
        ],
        vec![],
    );
    let held = memory(&text("mine")).digest;
    let known = base(&past, &forgot(0, 10, 20), Some(&held), &archive).unwrap();
    assert_eq!(digest_of(&known), Some(&memory(&v2).digest));
    assert_eq!(known.seen, Seen::all(Version(2)));
    assert_eq!(known.standing, Standing::RolledBack);
}

#[test]
fn what_stood_at_the_marker_is_the_lag_where_the_replica_lagged_then() {
    let past = agreed(3, 15, &text("new"));
    let archive = shelf(
        vec![agreement(2, 9, Some(&text("two")))],
        vec![lag(held(&text("one")), 1, 4, 9)],
    );
    let known = base(&past, &forgot(0, 10, 20), None, &archive).unwrap();
    assert_eq!(digest_of(&known), Some(&memory(&text("one")).digest));
    assert_eq!(known.seen, Seen::all(Version(1)));
}

#[test]
fn a_lag_that_ended_before_the_marker_is_not_what_stood_there() {
    let past = agreed(3, 15, &text("new"));
    let archive = shelf(
        vec![agreement(2, 9, Some(&text("two")))],
        vec![lag(held(&text("one")), 1, 4, 6)],
    );
    let known = base(&past, &forgot(0, 10, 20), None, &archive).unwrap();
    assert_eq!(digest_of(&known), Some(&memory(&text("two")).digest));
}

#[test]
fn a_state_that_the_replica_held_since_is_a_replay_and_no_change() {
    let past = agreed(3, 15, &text("new"));
    let archive = shelf(
        vec![
            agreement(3, 15, Some(&text("new"))),
            agreement(1, 4, Some(&text("one"))),
        ],
        vec![],
    );
    let held = memory(&text("new")).digest;
    let known = base(&past, &forgot(0, 10, 20), Some(&held), &archive).unwrap();
    assert_eq!(digest_of(&known), Some(&held), "its base is what it holds");
    assert_eq!(known.seen, Seen::all(Version(1)), "but it has seen less");
}

#[test]
fn a_state_that_was_read_and_written_over_is_a_replay_too() {
    let past = agreed(3, 15, &text("new"));
    let read = text("mine");
    let mut archive = shelf(vec![agreement(1, 4, Some(&text("one")))], vec![]);
    archive.replaced = vec![lag(held(&read), 1, 12, 12)];
    let held = memory(&read).digest;
    let known = base(&past, &forgot(0, 10, 20), Some(&held), &archive).unwrap();
    assert_eq!(digest_of(&known), Some(&held), "its base is what it holds");
    assert_eq!(known.seen, Seen::all(Version(1)), "but it has seen less");
    archive.replaced[0].since = Sequence(9);
    let known = base(&past, &forgot(0, 10, 20), Some(&held), &archive).unwrap();
    assert_eq!(
        digest_of(&known),
        Some(&memory(&text("one")).digest),
        "what it held before is no replay"
    );
}

#[test]
fn of_two_lags_of_one_step_the_later_one_is_what_stood_there() {
    let past = agreed(3, 15, &text("new"));
    let archive = shelf(
        vec![agreement(2, 9, Some(&text("two")))],
        vec![
            lag(held(&text("written")), 2, 9, 9),
            lag(held(&text("one")), 1, 4, 9),
        ],
    );
    let known = base(&past, &forgot(0, 10, 20), None, &archive).unwrap();
    assert_eq!(digest_of(&known), Some(&memory(&text("written")).digest));
}

#[test]
fn an_absence_that_was_agreed_since_is_a_replay_too() {
    let past = Past {
        agreement: Some(agreement(3, 15, None)),
        lags: BTreeMap::new(),
    };
    let archive = shelf(
        vec![agreement(3, 15, None), agreement(1, 4, Some(&text("one")))],
        vec![],
    );
    let known = base(&past, &forgot(0, 10, 20), None, &archive).unwrap();
    assert_eq!(known.memory, None);
}

#[test]
fn history_that_does_not_reach_back_makes_a_newcomer() {
    let past = agreed(3, 15, &text("new"));
    let archive = shelf(vec![agreement(3, 15, Some(&text("new")))], vec![]);
    assert_eq!(base(&past, &forgot(0, 10, 20), None, &archive), None);
}

#[test]
fn a_base_that_an_older_loss_took_makes_a_newcomer() {
    let past = agreed(3, 15, &text("new"));
    let kept = |step| vec![agreement(2, step, Some(&text("old")))];
    let mut trust = forgot(0, 10, 20);
    trust.voids.add(Sequence(4), Sequence(8));
    let base_of = |step| base(&past, &trust, None, &shelf(kept(step), vec![]));
    assert_eq!(base_of(6), None);
    assert!(base_of(9).is_some());
}
