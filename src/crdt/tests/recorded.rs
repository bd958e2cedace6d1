//! The merge by stamps: laws over histories that Dynomite's own rules left in replicas, and single cases by name.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::{datacenters, digester, policy, string, target};
use crate::crdt::{Evidence, MergeInput, Merged, Sibling, merge};
use crate::model::{
    Field, Millis, Policy, ReplicaIndex, Stamp, Stamped, Stamps, State, StringRule, Value,
};

/// What a client asked for; its time is its place in the history.
#[derive(Debug, Clone)]
enum Asked {
    /// HSET of a field.
    Put(u8, u8),
    /// HDEL of a field.
    Drop(u8),
    /// DEL of the key.
    Delete,
}

/// One rack's copy of a hash, changed by the rules that Dynomite implements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rack {
    data: BTreeMap<Bytes, Bytes>,
    stamps: Stamps,
}

fn name(field: u8) -> Bytes {
    Bytes::from(vec![b'a' + field])
}

fn at(time: i64) -> Option<Stamp> {
    Some(Stamp::millis(time))
}

impl Rack {
    fn take(&mut self, time: i64, asked: &Asked) {
        let now = at(time);
        match asked {
            Asked::Put(field, value) if self.stamps.key.removed <= now => {
                self.stamps.key.removed = None;
                self.stamps.key.added = self.stamps.key.added.max(now);
                let own = self.stamps.elements.entry(name(*field)).or_default();
                if own.removed > now {
                    // A late add is refused, and yet deletes the later tombstone.
                    own.removed = None;
                } else if own.added <= now {
                    *own = Stamped {
                        added: now,
                        removed: None,
                    };
                    self.data
                        .insert(name(*field), Bytes::from(vec![b'0' + value]));
                }
            }
            Asked::Drop(field) => {
                let own = self.stamps.elements.entry(name(*field)).or_default();
                if own.added.max(own.removed) <= now {
                    *own = Stamped {
                        added: None,
                        removed: now,
                    };
                    self.data.remove(&name(*field));
                }
                if self.stamps.elements.values().all(|one| one.added.is_none()) {
                    self.stamps.key.added = None;
                }
            }
            Asked::Delete if self.stamps.key.added <= now => {
                let removed = self.stamps.key.removed.or(now);
                self.data.clear();
                self.stamps = Stamps::default();
                self.stamps.key.removed = removed;
            }
            Asked::Put(..) | Asked::Delete => {}
        }
    }

    fn state(&self) -> Option<State> {
        let field = |(name, value): (&Bytes, &Bytes)| (name.clone(), Field::lasting(value.clone()));
        let fields: BTreeMap<Bytes, Field> = self.data.iter().map(field).collect();
        (!fields.is_empty()).then(|| State::lasting(Value::Hash(fields)))
    }

    /// What a repair makes of it.
    fn repaired(&self, merged: &Merged) -> Self {
        let state = target(merged).at(self.state().as_ref());
        let data = match state.map(|state| state.value) {
            Some(Value::Hash(fields)) => fields
                .into_iter()
                .map(|(name, field)| (name, field.value))
                .collect(),
            _ => BTreeMap::new(),
        };
        let restamp = merged.stamps.as_ref();
        let mut stamps = restamp.map_or_else(|| self.stamps.clone(), |all| all.at(&self.stamps));
        stamps.elements.retain(|_, one| !one.is_silent());
        Self { data, stamps }
    }
}

fn merged(racks: &[Rack], order: &[usize]) -> Merged {
    let states: Vec<Option<State>> = racks.iter().map(Rack::state).collect();
    let all: Vec<(Option<State>, Stamps)> = states
        .into_iter()
        .zip(racks.iter().map(|rack| rack.stamps.clone()))
        .collect();
    merge_of(&all, order, &policy())
}

pub(super) fn merge_of(
    all: &[(Option<State>, Stamps)],
    order: &[usize],
    policy: &Policy,
) -> Merged {
    let names = datacenters(all.len());
    let sibling = |&index: &usize| Sibling {
        stamps: Some(&all[index].1),
        ..Sibling::unknown(ReplicaIndex(index), &names[index], all[index].0.as_ref())
    };
    let siblings: Vec<_> = order.iter().map(sibling).collect();
    merge(
        &MergeInput::without_memory(&siblings, policy, Millis(0)),
        &mut digester(),
    )
}

fn value(merged: &Merged) -> Option<Value> {
    target(merged).value.clone()
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        4 => (0_u8..3, 0_u8..4).prop_map(|(field, value)| Asked::Put(field, value)),
        3 => (0_u8..3).prop_map(Asked::Drop),
        1 => Just(Asked::Delete),
    ]
}

fn by_element() -> impl Strategy<Value = Asked> {
    asked().prop_filter("no DEL", |asked| !matches!(asked, Asked::Delete))
}

const RACKS: usize = 3;

/// To which racks each request of a history came, and in which order.
type Deliveries = Vec<Vec<usize>>;

/// Requests that came to some racks in any order, or in that of their times.
fn racks(history: &[Asked], deliveries: &Deliveries) -> Vec<Rack> {
    let deliver = |order: &Vec<usize>| {
        let mut rack = Rack::default();
        for &index in order.iter().filter(|index| **index < history.len()) {
            rack.take(1 + index as i64, &history[index]);
        }
        rack
    };
    deliveries.iter().map(deliver).collect()
}

fn histories(of: impl Strategy<Value = Asked>) -> impl Strategy<Value = (Vec<Asked>, Deliveries)> {
    let order = prop::collection::vec(0_usize..10, 0..14);
    (
        prop::collection::vec(of, 1..10),
        prop::collection::vec(order, RACKS),
    )
}

/// Every request that came anywhere, one after the other by their times.
fn replay(history: &[Asked], deliveries: &Deliveries) -> Rack {
    let mut whole = Rack::default();
    for (index, asked) in history.iter().enumerate() {
        if deliveries.iter().flatten().any(|came| *came == index) {
            whole.take(1 + index as i64, asked);
        }
    }
    whole
}

fn in_order(deliveries: Deliveries) -> Deliveries {
    let sort = |mut order: Vec<usize>| {
        order.sort_unstable();
        order.dedup();
        order
    };
    deliveries.into_iter().map(sort).collect()
}

proptest! {
    #[test]
    fn stamps_decide_alike_in_every_order_of_siblings((history, deliveries) in histories(asked())) {
        let racks = racks(&history, &deliveries);
        let first = merged(&racks, &[0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            prop_assert_eq!(&merged(&racks, &order), &first);
        }
        // Nor does it matter which of them is preferred.
        let turned: Vec<Rack> = [2, 0, 1].map(|index: usize| racks[index].clone()).to_vec();
        let turned = merged(&turned, &[0, 1, 2]);
        prop_assert_eq!(value(&turned), value(&first));
        prop_assert_eq!(turned.stamps, first.stamps);
    }

    #[test]
    fn what_was_repaired_by_stamps_stays((history, deliveries) in histories(asked())) {
        let racks = racks(&history, &deliveries);
        let first = merged(&racks, &[0, 1, 2]);
        let repaired: Vec<Rack> = racks.iter().map(|rack| rack.repaired(&first)).collect();
        for rack in &repaired {
            prop_assert_eq!(&rack.data, &repaired[0].data);
            prop_assert_eq!(&rack.stamps, &repaired[0].stamps);
            for (name, one) in &rack.stamps.elements {
                prop_assert!(one.added.is_none() || one.removed.is_none(), "{:?}", name);
                prop_assert_eq!(one.added.is_some(), rack.data.contains_key(name));
            }
            let key = rack.stamps.key;
            prop_assert!(key.added.is_none() || key.removed.is_none());
        }
        let again = merged(&repaired, &[0, 1, 2]);
        for rack in &repaired {
            prop_assert_eq!(&rack.repaired(&again), rack);
        }
    }

    #[test]
    fn stamps_never_get_newer_than_those_that_were_found((history, deliveries) in histories(asked())) {
        let racks = racks(&history, &deliveries);
        let first = merged(&racks, &[0, 1, 2]);
        let latest = |racks: &[Rack]| racks.iter().filter_map(|rack| Some(rack.stamps.latest()?.1)).max();
        let repaired: Vec<Rack> = racks.iter().map(|rack| rack.repaired(&first)).collect();
        prop_assert!(latest(&repaired) <= latest(&racks));
    }

    #[test]
    fn racks_that_missed_requests_become_what_a_replay_by_time_makes(
        (mut history, deliveries) in histories(by_element()),
        deleted in any::<bool>(),
        later in prop::collection::vec((0_u8..3).prop_map(Asked::Drop), 0..3),
    ) {
        // Behind a DEL nothing is added: Dynomite itself forgets the DEL then.
        history.extend(deleted.then_some(Asked::Delete));
        history.extend(later.into_iter().filter(|_| deleted));
        let deliveries = in_order(deliveries);
        let (racks, whole) = (racks(&history, &deliveries), replay(&history, &deliveries));
        let first = merged(&racks, &[0, 1, 2]);
        prop_assert_eq!(value(&first), whole.state().map(|state| state.value));
        for rack in &racks {
            let repaired = rack.repaired(&first);
            // A rack that dropped its last element forgot when it was written.
            prop_assert!(repaired.stamps.key.added <= whole.stamps.key.added);
            prop_assert_eq!(&repaired.stamps.key.removed, &whole.stamps.key.removed);
        }
    }

    #[test]
    fn it_does_not_matter_who_is_merged_first((history, deliveries) in histories(by_element())) {
        let racks = racks(&history, &deliveries);
        let at_once = merged(&racks, &[0, 1, 2]);
        for (pair, third) in [([0, 1], 2), ([0, 2], 1), ([1, 2], 0)] {
            let first = merged(&racks, &pair);
            let mut steps = racks.clone();
            pair.iter().for_each(|&index| steps[index] = racks[index].repaired(&first));
            let last = merged(&steps, &[0, 1, 2]);
            prop_assert_eq!(value(&last), value(&at_once));
            // But for when a key was last written that was empty in between, as Dynomite has it.
            let (stepwise, direct) = (steps[third].repaired(&last), racks[third].repaired(&at_once));
            prop_assert_eq!(stepwise.data, direct.data);
            prop_assert_eq!(stepwise.stamps.elements, direct.stamps.elements);
        }
    }
}

fn stamped(added: i64, removed: i64) -> Stamps {
    let time = |time: i64| at(time).filter(|_| time > 0);
    Stamps {
        key: Stamped {
            added: time(added),
            removed: time(removed),
        },
        elements: BTreeMap::new(),
        counts: None,
    }
}

/// A merge of strings, each with the times of its key's last write and of its DEL; 0 where there is none.
fn strings(sides: &[(&str, i64, i64)]) -> Merged {
    strings_by(sides, &policy())
}

fn strings_by(sides: &[(&str, i64, i64)], policy: &Policy) -> Merged {
    let side = |(text, added, removed): &(&str, i64, i64)| {
        (
            string(text).filter(|_| !text.is_empty()),
            stamped(*added, *removed),
        )
    };
    let all: Vec<_> = sides.iter().map(side).collect();
    let order: Vec<usize> = (0..all.len()).collect();
    merge_of(&all, &order, policy)
}

fn text(merged: &Merged) -> Option<String> {
    match value(merged)? {
        Value::String(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => panic!("{other:?} is no string"),
    }
}

#[test]
fn the_latest_write_wins_and_a_later_removal_removes() {
    type Case<'a> = (&'a [(&'a str, i64, i64)], Option<&'a str>);
    let table: [Case<'_>; 9] = [
        (&[("old", 1, 0), ("new", 2, 0)], Some("new")),
        (&[("", 0, 3), ("new", 2, 0)], None),
        (&[("", 0, 1), ("new", 2, 0)], Some("new")),
        // An equal time: the removal.
        (&[("", 0, 2), ("new", 2, 0)], None),
        (&[("", 0, 3), ("old", 1, 0), ("new", 4, 0)], Some("new")),
        (&[("", 0, 3), ("", 0, 5), ("new", 4, 0)], None),
        // An emptied rack knows nothing.
        (&[("", 0, 0), ("it", 2, 0)], Some("it")),
        // A leftover of a key that expired is no removal, and no write either.
        (&[("", 2, 0), ("it", 2, 0)], Some("it")),
        (&[("", 5, 0), ("it", 2, 0)], Some("it")),
    ];
    for (sides, wanted) in table {
        let merged = strings(sides);
        assert_eq!(text(&merged).as_deref(), wanted, "{sides:?}");
        assert_eq!(merged.evidence, Evidence::Recorded);
    }
}

#[test]
fn equal_times_with_different_values_go_to_the_greatest_whoever_holds_it() {
    for sides in [
        [("a", 2, 0), ("b", 2, 0), ("c", 1, 0)],
        [("c", 1, 0), ("b", 2, 0), ("a", 2, 0)],
    ] {
        assert_eq!(text(&strings(&sides)).as_deref(), Some("b"));
    }
}

#[test]
fn a_value_of_unknown_age_is_neither_newer_nor_older() {
    // The first in order, as without stamps; what is older than another loses all the same.
    assert_eq!(
        text(&strings(&[("unknown", 0, 0), ("new", 9, 0)])).as_deref(),
        Some("unknown")
    );
    assert_eq!(
        text(&strings(&[("new", 9, 0), ("unknown", 0, 0)])).as_deref(),
        Some("new")
    );
    assert_eq!(
        text(&strings(&[("old", 8, 0), ("unknown", 0, 0), ("new", 9, 0)])).as_deref(),
        Some("unknown")
    );
    // Nothing is removed on the word of a removal that may be older.
    assert_eq!(
        text(&strings(&[("", 0, 9), ("unknown", 0, 0)])).as_deref(),
        Some("unknown")
    );
}

#[test]
fn counters_go_without_stamps_which_increments_leave_stale() {
    let mut counting = policy();
    counting.rules.string = StringRule::Counter;
    let merged = strings_by(&[("3", 9, 0), ("7", 1, 0)], &counting);
    assert_eq!(text(&merged).as_deref(), Some("7"));
    assert_eq!(merged.evidence, Evidence::None);
    assert_eq!(merged.stamps, None);
}

#[test]
fn joined_values_are_removed_by_stamps_and_not_chosen() {
    let mut greatest = policy();
    greatest.rules.string = StringRule::CounterMax;
    let of = |sides: &[(&str, i64, i64)]| text(&strings_by(sides, &greatest));
    assert_eq!(of(&[("3", 9, 0), ("7", 1, 0)]).as_deref(), Some("7"));
    assert_eq!(of(&[("", 0, 9), ("7", 1, 0)]), None);
    assert_eq!(
        of(&[("", 0, 5), ("7", 1, 0), ("3", 9, 0)]).as_deref(),
        Some("3")
    );
}

/// A hash of single letters, each with the time at which it was added.
fn hash(fields: &[(u8, i64)], key: Stamps) -> (Option<State>, Stamps) {
    let mut rack = Rack {
        data: BTreeMap::new(),
        stamps: key,
    };
    for (field, time) in fields {
        rack.data.insert(name(*field), "v".into());
        let added = Stamped {
            added: at(*time),
            removed: None,
        };
        rack.stamps.elements.insert(name(*field), added);
    }
    (rack.state(), rack.stamps)
}

fn fields(merged: &Merged) -> Vec<Bytes> {
    value(merged).map_or_else(Vec::new, |value| {
        value.element_names().into_iter().collect()
    })
}

#[test]
fn a_whole_key_s_removal_removes_the_elements_that_are_older() {
    let removed = (None, stamped(0, 20));
    let held = hash(&[(0, 15), (1, 25)], stamped(25, 0));
    let merged = merge_of(&[removed, held.clone()], &[0, 1], &policy());
    assert_eq!(fields(&merged), [name(1)]);
    // The key lives, so its tombstone goes; that of the element stays, with its time.
    let after = merged.stamps.unwrap().at(&held.1);
    assert_eq!(after.key, stamped(25, 0).key);
    assert_eq!(
        after.of(b"a"),
        Stamped {
            added: None,
            removed: at(20)
        }
    );
    assert_eq!(
        after.of(b"b"),
        Stamped {
            added: at(25),
            removed: None
        }
    );
}

#[test]
fn a_set_over_a_hash_overwrites_what_is_older_and_loses_to_what_is_newer() {
    let set = (string("s"), stamped(20, 0));
    let older = hash(&[(0, 15)], stamped(15, 0));
    let merged = merge_of(&[set.clone(), older], &[0, 1], &policy());
    assert_eq!(text(&merged).as_deref(), Some("s"));
    let newer = hash(&[(0, 15), (1, 25)], stamped(25, 0));
    let merged = merge_of(&[set.clone(), newer], &[0, 1], &policy());
    assert_eq!(fields(&merged), [name(1)]);
    // Of one time, the set has overwritten the hash: else neither would be left.
    let equal = hash(&[(0, 15), (1, 20)], stamped(20, 0));
    for order in [[0, 1], [1, 0]] {
        let merged = merge_of(&[set.clone(), equal.clone()], &order, &policy());
        assert_eq!(text(&merged).as_deref(), Some("s"));
    }
}

#[test]
fn types_that_differ_are_all_removed_by_a_later_removal() {
    let all = [
        (string("s"), stamped(10, 0)),
        hash(&[(0, 15)], stamped(15, 0)),
        (None, stamped(0, 20)),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        assert_eq!(value(&merge_of(&all, &order, &policy())), None);
    }
}

#[test]
fn an_element_without_a_stamp_stays_beside_those_that_have_one() {
    let (state, mut stamps) = hash(&[(0, 15), (1, 16)], stamped(16, 0));
    stamps.elements.remove(&name(0));
    let removed = (None, stamped(0, 20));
    let merged = merge_of(&[removed, (state, stamps)], &[0, 1], &policy());
    assert_eq!(fields(&merged), [name(0)]);
}
