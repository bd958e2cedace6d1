//! Siblings, pasts and policies for properties, from alphabets so small that siblings collide.

use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, option};

use crate::model::{
    Datacenter, Expiry, ExpiryRule, Field, HashRule, HllRule, ListRule, Millis, OnDeleteConflict,
    Opaque, Policy, Preference, Registers, Rules, Score, State, Stream, StreamId, StringRule,
    Value, Version, ZsetRule,
};

pub(super) type States = Vec<Option<State>>;

pub(super) fn name() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(Bytes::from)
}

pub(super) fn number() -> impl Strategy<Value = Bytes> {
    (-2_i64..12).prop_map(|number| number.to_string().into())
}

pub(super) fn text() -> impl Strategy<Value = Bytes> {
    prop_oneof![name(), number(), Just(Bytes::from("007"))]
}

pub(super) fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        Just(Expiry::Never),
        (1_i64..4).prop_map(|at| Expiry::At(Millis(at * 60_000)))
    ]
}

/// A dense HyperLogLog of a few registers, with any cached cardinality.
pub(super) fn hyperloglog() -> impl Strategy<Value = Bytes> {
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

pub(super) fn stream() -> impl Strategy<Value = Value> {
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

pub(super) fn hash(value: impl Strategy<Value = Bytes> + Clone) -> impl Strategy<Value = Value> {
    let field = (value, expiry()).prop_map(|(value, expiry)| Field { value, expiry });
    collection::btree_map(name(), field, 1..4).prop_map(Value::Hash)
}

pub(super) fn zset() -> impl Strategy<Value = Value> {
    let score = (-2_i8..3).prop_filter_map("a number", |score| Score::new(f64::from(score)));
    collection::btree_map(name(), score, 1..4).prop_map(Value::SortedSet)
}

pub(super) fn module() -> impl Strategy<Value = Value> {
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

pub(super) fn value() -> impl Strategy<Value = Value> {
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

pub(super) fn state_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = State> {
    (value, expiry()).prop_map(|(value, expiry)| State { value, expiry })
}

pub(super) fn siblings(value: impl Strategy<Value = Value>) -> impl Strategy<Value = States> {
    collection::vec(option::weighted(0.8, state_of(value)), 2..5)
}

/// Siblings of one type, and of any types.
pub(super) fn all_siblings() -> impl Strategy<Value = States> {
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

pub(super) fn rules() -> impl Strategy<Value = Rules> {
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

pub(super) fn policies() -> impl Strategy<Value = Policy> {
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
pub(super) type Past = Option<(Option<State>, u64, bool)>;

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) states: States,
    pub(super) pasts: Vec<Past>,
    pub(super) agreed: Option<State>,
    pub(super) limit: usize,
}

pub(super) const AGREED: Version = Version(3);

pub(super) fn known() -> impl Strategy<Value = Known> {
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

pub(super) fn is_joined_string(value: &Value, policy: &Policy) -> bool {
    let Value::String(bytes) = value else {
        return false;
    };
    policy.rules.string == StringRule::BitmapOr || Registers::parse(bytes).is_some()
}

/// Values under rules and preference that are associative: `greatest`, and one form on all sides.
pub(super) fn associative() -> impl Strategy<Value = (States, Policy)> {
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
