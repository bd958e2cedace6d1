use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::model::{Expiry, FEW_ELEMENTS, Millis, Score};

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
            "3c70b3df86569a1ff2dc8cf50d1904fdb1020313e6a79520",
        ),
        (
            Value::String(vec![b'x'; 5000].into()),
            "8ca5fc801deed2ab045552fc26744bdc76420c2dabdecc8f",
        ),
        (
            Value::String(hyperloglog),
            "d934f274ee5209f9b3b1dbb1a63e0e0fbad91055a6ffe37d",
        ),
        (
            Value::List(vec![a, bb]),
            "663fe6ed84098790912632a6db4e363353019f0a5220b746",
        ),
        (
            Value::Set(BTreeSet::from([bytes("a"), bytes("b")])),
            "a8abc04c4b50e83985c516bed17bca3cb63847c7848fd123",
        ),
        (
            small_hash(),
            "2d88b228136da1e705bf9380dca20fd6f22f174111cb5e0c",
        ),
        (
            small_sorted_set(),
            "4c6aeda91cb77bea0751327533d21d653e6025b99f2c262e",
        ),
        (
            Value::Stream(small_stream()),
            "06f70346253a2fa27ed2f1782736b60aeea4c6927ee922f9",
        ),
        (
            Value::Module(module),
            "4c4033c76dd5342506977233f49d78ea943a58b8bec2ad89",
        ),
    ];
    for (value, expected) in table {
        assert_eq!(hex(digester().value(&value)), expected, "{}", value.kind());
    }
}

/// The names 0, 1, 2, ... as text.
fn numbered(count: usize) -> impl Iterator<Item = Bytes> {
    (0..count).map(|number| Bytes::from(number.to_string()))
}

/// Frozen, and checked in Python: where few end and many begin, by number and by size.
#[test]
fn digests_of_few_and_of_many_are_frozen() {
    let wide = |byte: u8, score| Some((Bytes::from(vec![byte; 4000]), Score::new(score)?));
    let long = || Field::lasting(vec![b'v'; 200]);
    let table = [
        (
            Value::Set(numbered(FEW_ELEMENTS).collect()),
            "907caeeb1c959ade7f8ae115b0cafb47387b4aa5a1379d21",
        ),
        (
            Value::Set(numbered(FEW_ELEMENTS + 1).collect()),
            "7059f58bcaec6c3ac2516be3693295da9d8ad1c754718532",
        ),
        (
            Value::Hash(numbered(65).map(|name| (name, long())).collect()),
            "ba9aaa67c96ebccd76d37d5011572316217ae7f30487e210",
        ),
        (
            Value::SortedSet(
                [wide(b'x', 1.5), wide(b'y', -2.0)]
                    .into_iter()
                    .flatten()
                    .collect(),
            ),
            "0a1b251ef30925022589f3745aea8d503dd081f5ff0a1d62",
        ),
    ];
    for (value, expected) in table {
        assert_eq!(hex(digester().value(&value)), expected, "{}", value.kind());
    }
}

/// The formulas for few elements, spelled out.
#[test]
fn few_elements_are_digested_in_one_go() {
    let spelled = |bytes: &[u8]| hex(ValueDigest::truncated(&blake3::keyed_hash(&[7; 32], bytes)));
    let set = Value::Set(BTreeSet::from([bytes("bb"), bytes("a")]));
    assert_eq!(hex(digester().value(&set)), spelled(b"\x02T\x01a\x02bb"));
    let hash = b"\x02H\x01f\x02v\x01g\x03w\xd2\x04\0\0\0\0\0\0";
    assert_eq!(hex(digester().value(&small_hash())), spelled(hash));
    let scored = b"\x02Z\x01a\0\0\0\0\0\0\xf8\x3f\x01b\0\0\0\0\0\0\0\0";
    assert_eq!(hex(digester().value(&small_sorted_set())), spelled(scored));
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
    let [zero, minus] = [0.0, -0.0]
        .map(|score| digester().lone(&ElementRef::Scored(b"m", Score::new(score).unwrap())));
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

/// Fields in any order: few, many, and around where the one becomes the other.
fn shuffled_fields() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let short = btree_map(vec(any::<u8>(), 0..8), vec(any::<u8>(), 0..8), 0..20);
    let number = btree_map(vec(any::<u8>(), 2..12), Just(Vec::new()), 60..70);
    let size = btree_map(vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..800), 0..20);
    prop_oneof![short, number, size].prop_flat_map(|fields| {
        let fields: Vec<_> = fields.into_iter().collect();
        Just(fields).prop_shuffle()
    })
}

proptest! {
    #[test]
    fn the_order_of_reading_does_not_count(fields in shuffled_fields()) {
        let mut digester = digester();
        let mut set = digester.elements(Shape::Set);
        let mut hash = digester.elements(Shape::Hash);
        for (name, value) in &fields {
            digester.add(&mut set, &ElementRef::Member(name));
            digester.add(&mut hash, &ElementRef::Field(name, value, Expiry::Never));
        }
        let fields = fields.into_iter().map(|(name, value)| (Bytes::from(name), value));
        let whole: BTreeMap<_, _> = fields
            .map(|(name, value)| (name, Field::lasting(value)))
            .collect();
        let members = whole.keys().cloned().collect();
        let (set, hash) = (digester.finish(set), digester.finish(hash));
        prop_assert_eq!(set, digester.value(&Value::Set(members)));
        prop_assert_eq!(hash, digester.value(&Value::Hash(whole)));
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
