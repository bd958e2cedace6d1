//! The laws of the merge as properties, over all permutations of two to four siblings of every type under every
//! rule, from alphabets so small that siblings collide.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection, option};

use super::table::{datacenters, digester, plain};
use super::{
    Agreed, Base, Memory, MergeInput, Merged, Outcome, Seen, Sibling, Standing, Target, Version,
    alike, merge,
};
use crate::model::{
    Datacenter, Expiry, ExpiryRule, Field, HashRule, HllRule, Kind, ListRule, Millis,
    OnDeleteConflict, Opaque, Policy, Preference, Registers, ReplicaIndex, Rules, Score, State,
    Stream, StreamId, StringRule, Value, ZsetRule,
};

type States = Vec<Option<State>>;

fn name() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(Bytes::from)
}

fn number() -> impl Strategy<Value = Bytes> {
    (-2_i64..12).prop_map(|number| number.to_string().into())
}

fn text() -> impl Strategy<Value = Bytes> {
    prop_oneof![name(), number(), Just(Bytes::from("007"))]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        Just(Expiry::Never),
        (1_i64..4).prop_map(|at| Expiry::At(Millis(at * 60_000)))
    ]
}

/// A dense HyperLogLog of a few registers, with any cached cardinality.
fn hyperloglog() -> impl Strategy<Value = Bytes> {
    (collection::vec((0_usize..3, 1_u8..5), 0..3), any::<u8>()).prop_map(|(registers, cached)| {
        let mut bytes = vec![0; 16 + 16_384 * 6 / 8];
        bytes[..4].copy_from_slice(b"HYLL");
        bytes[8] = cached;
        registers
            .into_iter()
            .for_each(|(at, value)| bytes[16 + 3 * at] = value);
        bytes.into()
    })
}

fn stream() -> impl Strategy<Value = Value> {
    let ids = collection::btree_set(1_u64..5, 0..4);
    (ids, 0_u64..6, collection::btree_map(name(), 0_u64..3, 0..3)).prop_map(
        |(ids, last, groups)| {
            let id = |ms| StreamId { ms, seq: 0 };
            let entry = |ms: u64| (id(ms), vec![("f".into(), ms.to_string().into())]);
            Value::Stream(Stream {
                last_id: id(ids.iter().copied().chain([last]).max().unwrap_or(0)),
                entries: ids.into_iter().map(entry).collect(),
                groups: groups
                    .into_iter()
                    .map(|(name, at)| (name, id(at)))
                    .collect(),
            })
        },
    )
}

fn hash(value: impl Strategy<Value = Bytes> + Clone) -> impl Strategy<Value = Value> {
    let field = (value, expiry()).prop_map(|(value, expiry)| Field { value, expiry });
    collection::btree_map(name(), field, 1..4).prop_map(Value::Hash)
}

fn zset() -> impl Strategy<Value = Value> {
    let score = (-2_i8..3).prop_filter_map("a number", |score| Score::new(f64::from(score)));
    collection::btree_map(name(), score, 1..4).prop_map(Value::SortedSet)
}

fn module() -> impl Strategy<Value = Value> {
    (any::<bool>(), 0_u8..3, any::<u8>()).prop_map(|(named, body, footer)| {
        let mut payload = vec![body];
        payload.extend_from_slice(&[footer; Opaque::FOOTER]);
        let type_name = if named { "ReJSON-RL" } else { "MBbloom--" };
        Value::Module(Opaque {
            type_name: type_name.into(),
            payload: payload.into(),
        })
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => text().prop_map(Value::String),
        1 => hyperloglog().prop_map(Value::String),
        6 => collection::vec(name(), 1..4).prop_map(Value::List),
        6 => hash(prop_oneof![name(), number()].boxed()),
        6 => collection::btree_set(name(), 1..4).prop_map(Value::Set),
        6 => zset(),
        6 => stream(),
        3 => module(),
    ]
}

fn state_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = State> {
    (value, expiry()).prop_map(|(value, expiry)| State { value, expiry })
}

fn siblings(value: impl Strategy<Value = Value>) -> impl Strategy<Value = States> {
    collection::vec(option::weighted(0.8, state_of(value)), 2..5)
}

/// Siblings of one type, and of any types.
fn all_siblings() -> impl Strategy<Value = States> {
    prop_oneof![
        siblings(value()),
        siblings(text().prop_map(Value::String)),
        siblings(hash(text().boxed())),
        siblings(collection::btree_set(name(), 1..4).prop_map(Value::Set)),
        siblings(zset()),
        siblings(stream()),
        siblings(collection::vec(name(), 1..4).prop_map(Value::List)),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let strings = prop_oneof![
        Just(StringRule::Lww),
        Just(StringRule::Counter),
        Just(StringRule::CounterMax),
        Just(StringRule::BitmapOr)
    ];
    let hashes = prop_oneof![
        Just(HashRule::Lww),
        Just(HashRule::Counter),
        Just(HashRule::CounterMax)
    ];
    let zsets = prop_oneof![
        Just(ZsetRule::Lww),
        Just(ZsetRule::Max),
        Just(ZsetRule::Min),
        Just(ZsetRule::Counter)
    ];
    let lists = prop_oneof![Just(ListRule::Append), Just(ListRule::Lww)];
    let hlls = prop_oneof![Just(HllRule::Merge), Just(HllRule::Lww)];
    (strings, hashes, zsets, lists, hlls).prop_map(|(string, hash, zset, list, hyperloglog)| {
        Rules {
            string,
            hash,
            zset,
            list,
            hyperloglog,
            ..Rules::default()
        }
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let step = prop_oneof![
        Just(Preference::Greatest),
        Just(Preference::Majority),
        Just(Preference::Datacenter(Datacenter("dc1".into()))),
    ];
    let deletes = prop_oneof![
        Just(OnDeleteConflict::UpdateWins),
        Just(OnDeleteConflict::DeleteWins)
    ];
    (rules(), collection::vec(step, 0..3), any::<bool>(), deletes).prop_map(
        |(rules, prefer, ignore, on_delete_conflict)| {
            let mut policy = Policy {
                rules,
                prefer,
                on_delete_conflict,
                ..Policy::default()
            };
            if ignore {
                policy.expiry.rule = ExpiryRule::Ignore;
            }
            policy
        },
    )
}

/// A past: its base, the version seen, and whether it was rolled back; or a newcomer.
type Past = Option<(Option<State>, u64, bool)>;

#[derive(Debug, Clone)]
struct Known {
    states: States,
    pasts: Vec<Past>,
    agreed: Option<State>,
    limit: usize,
}

const AGREED: Version = Version(3);

fn known() -> impl Strategy<Value = Known> {
    let past = || option::weighted(0.85, (any::<u8>(), 0_u64..4, any::<bool>()));
    (
        all_siblings(),
        collection::vec(past(), 4),
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(|(states, pasts, agreed, large)| {
            // Bases and the agreement are states that some sibling holds, so that much is unchanged.
            let pick = |index: u8| states[usize::from(index) % states.len()].clone();
            Known {
                agreed: pick(agreed),
                pasts: pasts
                    .into_iter()
                    .map(|past| past.map(|(b, v, r)| (pick(b), v, r)))
                    .collect(),
                limit: if large { 1 } else { 100 },
                states,
            }
        })
}

fn recalled(known: &Known, order: &[usize], policy: &Policy) -> Merged {
    let mut digester = digester();
    let mut memory = |state: &Option<State>| {
        let state = state.as_ref();
        state.map(|state| Memory::of(state, known.limit, |_| AGREED, &mut digester))
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

fn is_joined_string(value: &Value, policy: &Policy) -> bool {
    let Value::String(bytes) = value else {
        return false;
    };
    policy.rules.string == StringRule::BitmapOr || Registers::parse(bytes).is_some()
}

fn is_register(kind: Kind) -> bool {
    matches!(kind, Kind::String | Kind::List | Kind::Module)
}

/// Values under rules and preference that are associative: `greatest`, and one form on all sides.
fn associative() -> impl Strategy<Value = (States, Policy)> {
    let bitmap = name().prop_map(Value::String);
    let forms = prop_oneof![
        4 => (
            Just(StringRule::Lww),
            siblings(value().prop_filter("no HyperLogLog", |value| {
                !is_joined_string(value, &Policy::default())
            }))
            .boxed()
        ),
        4 => (Just(StringRule::BitmapOr), siblings(bitmap).boxed()),
        4 => (
            Just(StringRule::CounterMax),
            siblings(number().prop_map(Value::String)).boxed()
        ),
        1 => (
            Just(StringRule::Counter),
            siblings(hyperloglog().prop_map(Value::String)).boxed()
        ),
        4 => (
            Just(StringRule::Counter),
            siblings(hash(number().boxed())).boxed()
        ),
        4 => (Just(StringRule::Lww), siblings(stream()).boxed()),
        4 => (Just(StringRule::Lww), siblings(zset()).boxed()),
    ];
    (forms, policies()).prop_map(|((rule, states), mut policy)| {
        policy.rules.string = rule;
        if rule == StringRule::Lww {
            policy.rules.hash = HashRule::Lww;
        }
        policy.prefer = vec![Preference::Greatest];
        policy.expiry.rule = ExpiryRule::Longest;
        (states, policy)
    })
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
                let pair = plain(&vec![sum, states[index].clone()], &policy);
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
