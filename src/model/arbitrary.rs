//! Random states for property tests: small alphabets, so that two states often share elements.

use bytes::Bytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};

use super::{Expiry, Field, Millis, Opaque, Score, State, Stream, StreamId, Value};

/// Names and values: few and short, empty and binary ones among them.
pub(crate) fn text() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => "[a-d]{1,2}".prop_map(Bytes::from),
        1 => Just(Bytes::new()),
        1 => vec(any::<u8>(), 0..4).prop_map(Bytes::from),
    ]
}

/// Expiries that have not passed at time 0.
pub(crate) fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        2 => Just(Expiry::Never),
        1 => (1_i64..5).prop_map(|at| Expiry::At(Millis(at * 1_000))),
    ]
}

fn score() -> impl Strategy<Value = Score> {
    let numbers = [-1.5, 0.0, 1.0, 2.0, f64::INFINITY];
    (0..numbers.len()).prop_map(move |at| Score::new(numbers[at]).expect("not NaN"))
}

fn field() -> impl Strategy<Value = Field> {
    (text(), expiry()).prop_map(|(value, expiry)| Field { value, expiry })
}

fn stream_id() -> impl Strategy<Value = StreamId> {
    (1_u64..6, 0_u64..2).prop_map(|(ms, seq)| StreamId { ms, seq })
}

fn stream() -> impl Strategy<Value = Stream> {
    let pairs = vec((text(), text()), 1..3);
    let entries = btree_map(stream_id(), pairs, 0..5);
    let groups = btree_map("[g-h]".prop_map(Bytes::from), stream_id(), 0..2);
    (entries, stream_id(), groups).prop_map(|(entries, above, groups)| {
        let top = entries.keys().next_back().copied().unwrap_or_default();
        Stream {
            last_id: above.max(top),
            entries,
            groups,
        }
    })
}

fn opaque() -> impl Strategy<Value = Opaque> {
    (text(), vec(any::<u8>(), Opaque::FOOTER)).prop_map(|(body, footer)| Opaque {
        type_name: Bytes::from_static(b"ReJSON-RL"),
        payload: [&body[..], &footer].concat().into(),
    })
}

/// Values of every kind that Redis would keep.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::String),
        vec(text(), 1..6).prop_map(Value::List),
        btree_map(text(), field(), 1..5).prop_map(Value::Hash),
        btree_set(text(), 1..5).prop_map(Value::Set),
        btree_map(text(), score(), 1..5).prop_map(Value::SortedSet),
        stream().prop_map(Value::Stream),
        opaque().prop_map(Value::Module),
    ]
}

/// States of every kind.
pub(crate) fn state() -> impl Strategy<Value = State> {
    (value(), expiry()).prop_map(|(value, expiry)| State { value, expiry })
}

/// A state, or absent.
pub(crate) fn observed() -> impl Strategy<Value = Option<State>> {
    option::weighted(0.9, state())
}

/// Two states, of the same kind more often than chance would have it.
pub(crate) fn pair() -> impl Strategy<Value = (Option<State>, Option<State>)> {
    let same_kind = prop_oneof![
        both(vec(text(), 1..6).prop_map(Value::List)),
        both(btree_map(text(), field(), 1..5).prop_map(Value::Hash)),
        both(btree_set(text(), 1..5).prop_map(Value::Set)),
        both(btree_map(text(), score(), 1..5).prop_map(Value::SortedSet)),
        both(stream().prop_map(Value::Stream)),
        both(opaque().prop_map(Value::Module)),
    ];
    prop_oneof![1 => (observed(), observed()), 3 => same_kind]
}

fn both(
    values: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<(Option<State>, Option<State>)> {
    let values = values.boxed();
    let with_expiry = |value, expiry| Some(State { value, expiry });
    (values.clone(), expiry(), values, expiry())
        .prop_map(move |(a, until, b, then)| (with_expiry(a, until), with_expiry(b, then)))
        .boxed()
}
