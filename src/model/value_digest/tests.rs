use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, proptest};

use super::*;
use crate::model::Millis;

fn digester() -> Digester {
    Digester::new(DigestKey::new([7; 32]))
}

fn hex(digest: ValueDigest) -> String {
    let bytes = digest.as_bytes().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// 100 zeros, the value 3 twice, zeros to the end, as runs.
fn sparse_hyperloglog() -> Vec<u8> {
    let rest = super::super::REGISTER_COUNT - 102 - 1;
    let runs = [
        0x40,
        99,
        0x80 | 2 << 2 | 1,
        0x40 | (rest >> 8) as u8,
        rest as u8,
    ];
    [&b"HYLL\x01\0\0\0"[..], &[0; 8], &runs].concat()
}

fn small_stream() -> Stream {
    let entries = [
        (StreamId { ms: 1, seq: 0 }, vec![(bytes("k"), bytes("v"))]),
        (
            StreamId { ms: 1, seq: 1 },
            vec![(bytes("k"), bytes("")), (bytes("l"), bytes("m"))],
        ),
    ];
    Stream {
        entries: entries.into_iter().collect(),
        last_id: StreamId { ms: 2, seq: 3 },
        groups: BTreeMap::from([(bytes("group"), StreamId::MIN)]),
    }
}

fn small_hash() -> Value {
    let until = Field {
        value: bytes("w"),
        expiry: Expiry::At(Millis(1234)),
    };
    let fields = [(bytes("f"), Field::lasting("v")), (bytes("g"), until)];
    Value::Hash(fields.into_iter().collect())
}

fn small_sorted_set() -> Value {
    let members = [("a", 1.5), ("b", -0.0)];
    let scored = |(member, score)| Some((bytes(member), Score::new(score)?));
    Value::SortedSet(members.into_iter().filter_map(scored).collect())
}

/// Frozen: a change here makes every kept digest stale. Checked against the formulas above, in Python.
#[test]
fn digests_of_every_type_are_frozen() {
    let module = Opaque {
        type_name: bytes("ReJSON-RL"),
        payload: bytes("body0123456789"),
    };
    let hyperloglog = sparse_hyperloglog().into();
    let (a, bb) = (bytes("a"), bytes("bb"));
    let table = [
        (
            Value::String(bytes("hello")),
            "ee0464bb35d507cb21cd94ed318e7662e9a73e825a4d42bf",
        ),
        (
            Value::String(vec![b'x'; 5000].into()),
            "e722a55c40ec11376b4a9249499613317477c7f2508b19d0",
        ),
        (
            Value::String(hyperloglog),
            "4792e7e1b840639fa7f5d6d1d72e9b0060108a009013c0f7",
        ),
        (
            Value::List(vec![a, bb]),
            "e010679d0737b7e2995217b3d801246a479be0cbf6b62d19",
        ),
        (
            Value::Set(BTreeSet::from([bytes("a"), bytes("b")])),
            "0defc529f1a9b562bf140b3e91a7e29f235d4e46b551aef8",
        ),
        (
            small_hash(),
            "c7a11fcf9bdee6c2a7f5b0b80f44092a0ddc9c01f842e5a2",
        ),
        (
            small_sorted_set(),
            "c16ae410dc573f37b95e293c2d481a3d560614d122e5e971",
        ),
        (
            Value::Stream(small_stream()),
            "f786bd436773f2e74f1e3a5eb31bb068d1b22f32df50a549",
        ),
        (
            Value::Module(module),
            "394dc430df5f6fe42bea9de890bdd79c6fcd71d2c2c9aac9",
        ),
    ];
    for (value, expected) in table {
        assert_eq!(hex(digester().value(&value)), expected, "{}", value.kind());
    }
}

#[test]
fn a_hyperloglog_is_digested_by_its_registers() {
    let sparse = sparse_hyperloglog();
    let mut dense = Registers::parse(&sparse).unwrap().to_dense();
    let digest = digester().string(&sparse);
    assert_eq!(digester().string(&dense), digest);
    dense[8] ^= 0xff;
    assert_eq!(
        digester().string(&dense),
        digest,
        "the cached cardinality does not count"
    );
    dense[20] ^= 1;
    assert_ne!(digester().string(&dense), digest);
}

#[test]
fn minus_zero_is_zero() {
    let [zero, minus] = [0.0, -0.0].map(|score| {
        let mut sum = Sum::EMPTY;
        digester().add_scored(&mut sum, b"m", Score::new(score).unwrap());
        digester().sorted_set(&sum)
    });
    assert_eq!(zero, minus);
}

#[test]
fn empty_values_of_different_types_differ() {
    let values = [
        Value::String(Bytes::new()),
        Value::List(Vec::new()),
        Value::Set(BTreeSet::new()),
        Value::Hash(BTreeMap::new()),
        Value::SortedSet(BTreeMap::new()),
        Value::Stream(Stream::default()),
    ];
    let digests: BTreeSet<_> = values.iter().map(|value| digester().value(value)).collect();
    assert_eq!(digests.len(), values.len());
}

#[test]
fn where_a_group_stands_does_not_count_but_its_name_does() {
    let whole = small_stream();
    let digest = |stream: &Stream| digester().value(&Value::Stream(stream.clone()));
    let mut moved = whole.clone();
    moved
        .groups
        .insert(bytes("group"), StreamId { ms: 1, seq: 1 });
    assert_eq!(digest(&moved), digest(&whole));
    moved.groups.insert(bytes("other"), StreamId::MIN);
    assert_ne!(digest(&moved), digest(&whole));
}

fn shuffled_fields() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let fields = btree_map(vec(any::<u8>(), 0..8), vec(any::<u8>(), 0..8), 0..20);
    fields.prop_flat_map(|fields| Just(fields.into_iter().collect::<Vec<_>>()).prop_shuffle())
}

proptest! {
    #[test]
    fn the_order_of_reading_does_not_count(fields in shuffled_fields()) {
        let mut digester = digester();
        let [mut set, mut hash] = [Sum::EMPTY; 2];
        for (name, value) in &fields {
            digester.add_member(&mut set, name);
            digester.add_field(&mut hash, name, value, Expiry::Never);
        }
        let fields = fields.into_iter().map(|(name, value)| (Bytes::from(name), value));
        let whole: BTreeMap<_, _> = fields
            .map(|(name, value)| (name, Field::lasting(value)))
            .collect();
        let members = whole.keys().cloned().collect();
        prop_assert_eq!(digester.set(&set), digester.value(&Value::Set(members)));
        prop_assert_eq!(digester.hash(&hash), digester.value(&Value::Hash(whole)));
    }

    #[test]
    fn a_string_in_pieces_is_the_whole(
        content in vec(any::<u8>(), 0..10_000), piece in 1..5000usize
    ) {
        let mut digester = digester();
        let mut long = digester.long_string();
        content.chunks(piece).for_each(|piece| long.push(piece));
        prop_assert_eq!(long.finish(), digester.string(&content));
    }

    #[test]
    fn a_list_element_by_element_is_the_whole(
        elements in vec(vec(any::<u8>(), 0..200), 0..50)
    ) {
        let mut digester = digester();
        let mut list = digester.list();
        elements.iter().for_each(|element| list.push(element));
        let whole = Value::List(elements.into_iter().map(Bytes::from).collect());
        prop_assert_eq!(list.finish(), digester.value(&whole));
    }

    #[test]
    fn the_cut_between_elements_counts(joined in vec(any::<u8>(), 2..20)) {
        let halves = |at: usize| {
            let mut list = digester().list();
            list.push(&joined[..at]);
            list.push(&joined[at..]);
            list.finish()
        };
        prop_assert_eq!(halves(0) == halves(1), false);
    }
}
