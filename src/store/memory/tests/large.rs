use super::*;
use crate::model::{Score, Stream, StreamId};
use crate::store::{Piece, alone};

fn small_portions(replica: &MemoryReplica) {
    replica.set_portions(Portions {
        whole_elements: 4,
        whole_bytes: 64,
        page_elements: 3,
        page_bytes: 10,
        ..Portions::default()
    });
}

fn numbered(count: u64) -> impl Iterator<Item = Bytes> {
    (0..count).map(|number| Bytes::from(format!("e{number}")))
}

/// A large value of each kind that is read in pieces.
fn large_values() -> Vec<Value> {
    let pairs = vec![(bytes("f"), bytes("v"))];
    let ids = (1..=7).map(|ms| StreamId { ms, seq: 0 });
    let stream = Stream {
        entries: ids.map(|id| (id, pairs.clone())).collect(),
        last_id: StreamId { ms: 9, seq: 0 },
        groups: [(bytes("g"), StreamId { ms: 2, seq: 0 })].into(),
    };
    let score = Score::new(1.5).unwrap();
    let field = |name: Bytes| (name.clone(), crate::model::Field::lasting(name));
    vec![
        Value::String(Bytes::from(vec![b'x'; 95])),
        Value::List(numbered(8).collect()),
        Value::Hash(numbered(8).map(field).collect()),
        Value::Set(numbered(8).collect()),
        Value::SortedSet(numbered(8).map(|member| (member, score)).collect()),
        Value::Stream(stream),
    ]
}

fn held(value: &Value) -> (MemoryReplica, Key) {
    let replica = MemoryReplica::new("us", 1);
    small_portions(&replica);
    let key = Key::from("big");
    replica
        .client()
        .set_state(&key, Some(State::lasting(value.clone())));
    (replica, key)
}

fn copied_aside(replica: &MemoryReplica, key: &Key, kind: Kind, aside: &Key) {
    let mut cursor = Some(PieceCursor::Start);
    while let Some(at) = cursor {
        let (piece, next) = run(replica.read_piece(None, key, kind, at)).unwrap();
        run(replica.build_aside(None, aside, piece)).unwrap();
        cursor = next;
    }
}

#[test]
fn values_above_the_portions_are_large() {
    for value in large_values() {
        let (replica, key) = held(&value);
        let observed = run(replica.fetch(None, &[key], &secret())).unwrap();
        let Observed::Large(large) = &observed[0] else {
            panic!("{observed:?}");
        };
        assert_eq!(large.kind, value.kind());
        assert_eq!(large.digest, Digester::new(secret()).value(&value));
    }
    let (replica, key) = held(&Value::List(numbered(4).collect()));
    let observed = run(replica.fetch(None, &[key], &secret())).unwrap();
    assert!(matches!(observed[0], Observed::Whole(_)));
}

#[test]
fn a_value_read_in_pieces_and_built_aside_takes_the_keys_place() {
    let aside = Key::from("reknit:aside:1");
    for value in large_values() {
        let (replica, key) = held(&value);
        copied_aside(&replica, &key, value.kind(), &aside);
        let write = Write {
            key: Key::from("copy"),
            expect: Expect::Absent,
            ops: vec![Op::TakeAside(aside.clone())],
        };
        let outcomes = run(replica.write(None, &[write], &secret(), None))
            .unwrap()
            .outcomes;
        assert_eq!(outcomes, [WriteOutcome::Applied], "{}", value.kind());
        assert_eq!(
            replica.client().get(&Key::from("copy")),
            Some(State::lasting(value))
        );
        assert!(run(replica.own_keys(None)).unwrap().is_empty());
    }
}

#[test]
fn taking_an_absent_value_aside_is_refused_and_leaves_the_key() {
    let replica = replica_of(["a".into()]);
    let write = Write {
        key: Key::from("a"),
        expect: exactly(&string("x")),
        ops: vec![Op::TakeAside(Key::from("reknit:aside:1"))],
    };
    let outcomes = run(replica.write(None, &[write], &secret(), None))
        .unwrap()
        .outcomes;
    assert_eq!(outcomes, [WriteOutcome::Refused("ERR no such key".into())]);
    assert_eq!(replica.client().get(&Key::from("a")), Some(string("x")));
}

#[test]
fn a_value_built_aside_can_be_dropped() {
    let replica = replica_of([]);
    let aside = Key::from("reknit:aside:1");
    run(replica.build_aside(None, &aside, Piece::Bytes(bytes("x")))).unwrap();
    let other_kind = run(replica.build_aside(None, &aside, Piece::Members(Vec::new())));
    assert!(matches!(other_kind, Err(StoreError::Refused { .. })));
    run(replica.drop_aside(None, &aside)).unwrap();
    assert!(replica.client().keys().is_empty());
}

#[test]
fn elements_are_listed_with_the_digest_of_each_alone() {
    for value in large_values().into_iter().skip(2) {
        let (replica, key) = held(&value);
        let mut seen = Seen::default();
        let digest_key = secret();
        let listed = replica.elements(None, &key, value.kind(), &digest_key, &mut seen);
        let state = run(listed).unwrap().unwrap();
        assert_eq!(state.length, value.element_count() as u64);
        assert_eq!(seen.entries.len(), value.element_count());
        let all_there = seen
            .entries
            .iter()
            .all(|(name, _)| alone(&value, name).is_some());
        assert!(all_there, "{}", value.kind());
        let fetched = run(replica.fetch_elements(None, &key, value.kind(), &[])).unwrap();
        assert_eq!(fetched.unwrap().value.element_count(), 0);
    }
}

#[test]
fn an_entry_alone_digests_the_same_whatever_its_streams_last_id_and_groups() {
    let Some(Value::Stream(stream)) = large_values().pop() else {
        panic!("the last is a stream");
    };
    let other = Stream {
        last_id: StreamId { ms: 99, seq: 0 },
        ..Stream::default()
    };
    let other = Stream {
        entries: stream.entries.clone(),
        ..other
    };
    let [one, two] = [stream, other].map(|stream| alone(&Value::Stream(stream), b"3-0"));
    assert!(one.is_some());
    assert_eq!(one, two);
}

#[test]
fn a_key_of_another_kind_has_changed() {
    let (replica, key) = held(&large_values()[3]);
    let piece = run(replica.read_piece(None, &key, Kind::Hash, PieceCursor::Start));
    assert!(matches!(piece, Err(StoreError::Changed { .. })));
    let fetched = run(replica.fetch_elements(None, &key, Kind::Hash, &[])).unwrap();
    assert_eq!(fetched, None);
}

#[test]
fn pieces_never_miss_an_element_that_stays_while_others_go() {
    let (replica, key) = held(&large_values()[3]);
    let mut cursor = Some(PieceCursor::Start);
    let mut found = BTreeSet::new();
    let stays = |name: &Bytes| name != &bytes("e0") && name != &bytes("e1");
    while let Some(at) = cursor {
        let (piece, next) = run(replica.read_piece(None, &key, Kind::Set, at)).unwrap();
        let Piece::Members(members) = piece else {
            panic!("a set's pieces are members");
        };
        found.extend(members);
        let gone = Op::RemoveMembers(vec![bytes("e0"), bytes("e1")]);
        replica.client().apply(&key, &gone).unwrap();
        cursor = next;
    }
    assert!(numbered(8).filter(stays).all(|name| found.contains(&name)));
}
