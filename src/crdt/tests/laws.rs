//! The laws of the merge as properties, over all permutations of two to four siblings of every type under every
//! rule.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::proptest;

use super::arbitrary::{
    AGREED, Known, States, all_siblings, associative, is_joined_string, known, policies, value,
};
use super::{datacenters, digester, plain};
use crate::crdt::{
    Agreed, Base, MergeInput, Merged, Outcome, Sibling, Standing, Target, alike, merge, remember,
};
use crate::model::{Kind, Millis, Policy, Preference, ReplicaIndex, Seen, State, Value, Version};

fn recalled(known: &Known, order: &[usize], policy: &Policy) -> Merged {
    let mut digester = digester();
    let mut memory = |state: &Option<State>| {
        let state = state.as_ref();
        state.map(|state| remember(state, known.limit, |_| AGREED, &mut digester))
    };
    let agreed = memory(&known.agreed);
    let pasts: Vec<_> = known
        .pasts
        .iter()
        .map(|past| {
            past.as_ref()
                .map(|(base, seen, back)| (memory(base), *seen, *back))
        })
        .collect();
    let names = datacenters(known.states.len());
    let siblings: Vec<_> = order
        .iter()
        .map(|&index| Sibling {
            base: pasts[index].as_ref().map(|(memory, seen, back)| Base {
                memory: memory.as_ref(),
                seen: Seen::all(Version(*seen)),
                standing: if *back {
                    Standing::RolledBack
                } else {
                    Standing::Ordinary
                },
            }),
            ..Sibling::unknown(
                ReplicaIndex(index),
                &names[index],
                known.states[index].as_ref(),
            )
        })
        .collect();
    let agreed = Agreed {
        version: AGREED,
        memory: agreed.as_ref(),
        removed: &BTreeMap::new(),
        everybody: false,
    };
    let (agreed, now) = (Some(&agreed), Millis(0));
    let input = MergeInput {
        siblings: &siblings,
        agreed,
        policy,
        now,
        shown: None,
    };
    merge(&input, &mut digester)
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(count - 1) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, count - 1);
            all.push(longer);
        }
    }
    all
}

fn merged_in(order: &[usize], states: &States, policy: &Policy) -> Merged {
    let names = datacenters(states.len());
    let sibling = |&index: &usize| {
        Sibling::unknown(ReplicaIndex(index), &names[index], states[index].as_ref())
    };
    let siblings: Vec<_> = order.iter().map(sibling).collect();
    merge(
        &MergeInput::without_memory(&siblings, policy, Millis(0)),
        &mut digester(),
    )
}

fn target_of(merged: &Merged) -> Option<&Target> {
    match &merged.outcome {
        Outcome::Target(target) => Some(target),
        Outcome::Unresolved(_) => None,
    }
}

/// Elements with what they hold, as comparable text; a register is one element.
fn elements(value: &Value) -> Vec<(Bytes, String)> {
    let shown = |name: &Bytes, item: &dyn std::fmt::Debug| (name.clone(), format!("{item:?}"));
    match value {
        Value::Set(members) => members.iter().map(|name| shown(name, &())).collect(),
        Value::Hash(fields) => fields
            .iter()
            .map(|(name, f)| shown(name, &f.value))
            .collect(),
        Value::SortedSet(members) => members.iter().map(|(name, s)| shown(name, s)).collect(),
        Value::Stream(stream) => stream
            .entries
            .iter()
            .map(|(id, e)| shown(&id.to_string().into(), e))
            .collect(),
        other => vec![shown(&Bytes::new(), other)],
    }
}

fn is_register(kind: Kind) -> bool {
    matches!(kind, Kind::String | Kind::List | Kind::Module)
}

fn same(a: &Option<State>, b: &Option<State>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.expiry == b.expiry && alike(&a.value, &b.value),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

proptest! {
    #[test]
    fn the_order_of_siblings_does_not_matter(states in all_siblings(), policy in policies()) {
        let expected = plain(&states, &policy);
        for order in permutations(states.len()) {
            assert_eq!(merged_in(&order, &states, &policy), expected);
        }
    }

    #[test]
    fn the_order_of_siblings_does_not_matter_with_memory(known in known(), policy in policies()) {
        let mut orders = permutations(known.states.len());
        let expected = recalled(&known, &orders.remove(0), &policy);
        for order in orders {
            assert_eq!(recalled(&known, &order, &policy), expected);
        }
    }

    #[test]
    fn resolving_what_is_resolved_writes_nothing(states in all_siblings(), policy in policies()) {
        let merged = plain(&states, &policy);
        let target = target_of(&merged).expect("nothing is skipped");
        let written: States = states.iter().map(|state| target.at(state.as_ref())).collect();
        let again = plain(&written, &policy);
        let again = target_of(&again).expect("nothing is skipped");
        for state in &written {
            assert_eq!(again.at(state.as_ref()), *state);
        }
    }

    #[test]
    fn resolving_what_is_agreed_changes_nothing(known in known(), policy in policies()) {
        let merged = recalled(&known, &(0..known.states.len()).collect::<Vec<_>>(), &policy);
        let Some(target) = target_of(&merged).filter(|target| target.untouched.is_empty()) else {
            return Ok(());
        };
        let agreed = target.at(None);
        let states: States = known.states.iter().map(|state| target.at(state.as_ref())).collect();
        let past = |state: &Option<State>| Some((state.clone(), AGREED.0, false));
        let pasts = states.iter().map(past).collect();
        let known = Known { pasts, agreed, states, limit: known.limit };
        let again = recalled(&known, &(0..known.states.len()).collect::<Vec<_>>(), &policy);
        assert!(!again.changes.key, "{again:?}");
        let target = target_of(&again).expect("all hold the agreed value");
        for state in &known.states {
            assert_eq!(target.at(state.as_ref()), *state);
        }
    }

    #[test]
    fn siblings_can_be_merged_in_any_groups((states, policy) in associative()) {
        let together = plain(&states, &policy);
        let together = target_of(&together).expect("greatest decides").at(None);
        for order in permutations(states.len()) {
            let mut sum: Option<State> = None;
            for index in order {
                let pair = plain(&[sum, states[index].clone()], &policy);
                sum = target_of(&pair).expect("greatest decides").at(None);
            }
            assert!(same(&sum, &together), "{sum:?} is not {together:?}");
        }
    }

    #[test]
    fn every_value_came_from_a_sibling(states in all_siblings(), policy in policies()) {
        let merged = plain(&states, &policy);
        let Some(state) = target_of(&merged).expect("nothing is skipped").at(None) else {
            assert!(states.iter().all(Option::is_none));
            return Ok(());
        };
        let held = || states.iter().flatten();
        assert!(held().any(|sibling| sibling.expiry == state.expiry));
        let known: Vec<_> = held().flat_map(|sibling| elements(&sibling.value)).collect();
        if !is_joined_string(&state.value, &policy) {
            for element in elements(&state.value) {
                assert!(known.contains(&element), "{element:?} was invented");
            }
        }
    }

    #[test]
    fn nothing_that_anyone_added_is_lost_but_to_a_register(
        states in all_siblings(), policy in policies()
    ) {
        let merged = plain(&states, &policy);
        let Some(state) = target_of(&merged).expect("nothing is skipped").at(None) else {
            return Ok(());
        };
        let kind = state.value.kind();
        let names: Vec<Bytes> = elements(&state.value).into_iter().map(|(name, _)| name).collect();
        let alike_kinds = states.iter().flatten().filter(|sibling| sibling.value.kind() == kind);
        for sibling in alike_kinds.filter(|_| !is_register(kind)) {
            for (name, _) in elements(&sibling.value) {
                assert!(names.contains(&name), "{name:?} was lost");
            }
        }
    }

    #[test]
    fn an_absent_sibling_without_a_past_changes_nothing(
        states in all_siblings(), mut policy in policies()
    ) {
        policy.prefer.retain(|step| *step != Preference::Majority);
        let mut more = states.clone();
        more.push(None);
        assert_eq!(plain(&more, &policy), plain(&states, &policy));
    }

    #[test]
    fn what_all_deleted_stays_deleted(known in known(), policy in policies()) {
        let agreed = known.agreed.clone();
        let Some(deleted) = agreed.clone() else { return Ok(()) };
        let seen = |state: &Option<State>| Some((state.clone(), AGREED.0, false));
        let pasts = vec![seen(&agreed), seen(&agreed), None, seen(&agreed)];
        // One deleted it, one has not heard of that yet, a newcomer never had it, one deleted it as well.
        let states = vec![None, Some(deleted), None, None];
        let known = Known { states, pasts, agreed, limit: known.limit };
        let merged = recalled(&known, &[0, 1, 2, 3], &policy);
        assert_eq!(target_of(&merged).expect("it is gone").at(None), None);
    }

    #[test]
    fn values_are_alike_exactly_when_their_digests_are_equal(a in value(), b in value()) {
        let mut digester = digester();
        assert_eq!(alike(&a, &b), digester.value(&a) == digester.value(&b));
    }
}
