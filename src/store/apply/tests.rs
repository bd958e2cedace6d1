use super::{ApplyError, apply, live};
use crate::model::{Expiry, Field, Millis, Op, Score, State, Stream, StreamId, Value};
use bytes::Bytes;

const NOW: Millis = Millis(1_000);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn string(text: &str) -> Option<State> {
    Some(State::lasting(Value::String(bytes(text))))
}

fn set(members: &[&str]) -> Option<State> {
    let members = members.iter().map(|member| bytes(member)).collect();
    Some(State::lasting(Value::Set(members)))
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

fn entry(ms: u64) -> (StreamId, Vec<(Bytes, Bytes)>) {
    (id(ms), vec![(bytes("f"), bytes("v"))])
}

fn until(state: Option<State>, at: i64) -> Option<State> {
    state.map(|state| State {
        expiry: Expiry::At(Millis(at)),
        ..state
    })
}

#[test]
fn every_typed_operation_refuses_another_kind() {
    let score = Score::new(1.0).unwrap();
    let ops = [
        Op::SetFields(vec![(bytes("f"), bytes("v"))]),
        Op::RemoveFields(vec![bytes("f")]),
        Op::ExpireField(bytes("f"), Expiry::Never),
        Op::AddMembers(vec![bytes("m")]),
        Op::RemoveMembers(vec![bytes("m")]),
        Op::SetScores(vec![(bytes("m"), score)]),
        Op::RemoveScored(vec![bytes("m")]),
        Op::Prepend(vec![bytes("e")]),
        Op::Append(vec![bytes("e")]),
        Op::AppendEntries(vec![entry(1)]),
        Op::RemoveEntries(vec![id(1)]),
        Op::RaiseLastId(id(1)),
        Op::CreateGroup(bytes("g"), id(0)),
    ];
    for op in ops {
        let outcome = apply(string("x"), &op, NOW);
        assert_eq!(outcome, Err(ApplyError::WrongType), "{op:?}");
    }
    let outcome = apply(set(&["m"]), &Op::IncreaseBy(1), NOW);
    assert_eq!(outcome, Err(ApplyError::WrongType));
}

#[test]
fn what_only_takes_away_does_nothing_to_an_absent_key() {
    let ops = [
        Op::Remove,
        Op::RemoveFields(vec![bytes("f")]),
        Op::ExpireField(bytes("f"), Expiry::Never),
        Op::RemoveMembers(vec![bytes("m")]),
        Op::RemoveScored(vec![bytes("m")]),
        Op::RemoveEntries(vec![id(1)]),
        Op::Expire(Expiry::At(Millis(5_000))),
    ];
    for op in ops {
        assert_eq!(apply(None, &op, NOW), Ok(None), "{op:?}");
    }
}

#[test]
fn a_collection_without_elements_is_absent_but_an_empty_string_or_stream_is_not() {
    let emptied = apply(set(&["a"]), &Op::RemoveMembers(vec![bytes("a")]), NOW);
    assert_eq!(emptied, Ok(None));
    assert_eq!(apply(None, &Op::AddMembers(Vec::new()), NOW), Ok(None));
    let put = Op::Put(Value::String(Bytes::new()));
    assert_eq!(apply(None, &put, NOW), Ok(string("")));
    let stream = apply(None, &Op::AppendEntries(vec![entry(1)]), NOW).unwrap();
    let emptied = apply(stream, &Op::RemoveEntries(vec![id(1)]), NOW).unwrap();
    assert_eq!(
        emptied.unwrap().value,
        Value::Stream(Stream {
            last_id: id(1),
            ..Stream::default()
        })
    );
}

#[test]
fn counters_are_canonical_integers_and_do_not_overflow() {
    for text in [
        "05",
        "+5",
        " 5",
        "-0",
        "",
        "5 ",
        "1.0",
        "9223372036854775808",
    ] {
        let outcome = apply(string(text), &Op::IncreaseBy(1), NOW);
        assert_eq!(outcome, Err(ApplyError::NotAnInteger), "{text:?}");
    }
    let most = string(&i64::MAX.to_string());
    assert_eq!(
        apply(most, &Op::IncreaseBy(1), NOW),
        Err(ApplyError::Overflow)
    );
    assert_eq!(apply(None, &Op::IncreaseBy(-2), NOW), Ok(string("-2")));
    let expiring = until(string("40"), 9_000);
    assert_eq!(
        apply(expiring, &Op::IncreaseBy(2), NOW),
        Ok(until(string("42"), 9_000))
    );
}

#[test]
fn a_past_expiry_removes_and_an_expired_key_is_absent() {
    let gone = apply(string("x"), &Op::Expire(Expiry::At(NOW)), NOW);
    assert_eq!(gone, Ok(None));
    let expired = until(set(&["a"]), 999);
    assert_eq!(live(expired.clone(), NOW), None);
    assert_eq!(
        apply(expired, &Op::AddMembers(vec![bytes("b")]), NOW),
        Ok(set(&["b"]))
    );
}

#[test]
fn a_put_takes_the_expiry_away_and_an_added_element_keeps_it() {
    let put = Op::Put(Value::String(bytes("y")));
    assert_eq!(apply(until(string("x"), 9_000), &put, NOW), Ok(string("y")));
    let added = apply(
        until(set(&["a"]), 9_000),
        &Op::AddMembers(vec![bytes("b")]),
        NOW,
    );
    assert_eq!(added, Ok(until(set(&["a", "b"]), 9_000)));
}

#[test]
fn setting_a_field_clears_its_expiry_and_a_past_one_removes_it() {
    let set = |value| Op::SetFields(vec![(bytes("f"), bytes(value))]);
    let hash = apply(None, &set("1"), NOW).unwrap();
    let ending = Op::ExpireField(bytes("f"), Expiry::At(Millis(5_000)));
    let hash = apply(hash, &ending, NOW).unwrap();
    let again = apply(hash.clone(), &set("2"), NOW).unwrap().unwrap();
    let lasting = Value::Hash([(bytes("f"), Field::lasting(bytes("2")))].into());
    assert_eq!(again.value, lasting);
    assert_eq!(
        apply(hash.clone(), &Op::RemoveFields(Vec::new()), Millis(5_000)),
        Ok(None)
    );
    let past = Op::ExpireField(bytes("f"), Expiry::At(NOW));
    assert_eq!(apply(hash, &past, NOW), Ok(None));
}

#[test]
fn stream_ids_only_rise_and_groups_are_created_once() {
    let stream = apply(None, &Op::AppendEntries(vec![entry(5)]), NOW).unwrap();
    let refused = [
        (Op::AppendEntries(vec![entry(5)]), ApplyError::IdNotAbove),
        (
            Op::AppendEntries(vec![entry(7), entry(6)]),
            ApplyError::IdNotAbove,
        ),
        (
            Op::AppendEntries(vec![(id(9), Vec::new())]),
            ApplyError::EmptyEntry,
        ),
        (Op::RaiseLastId(id(4)), ApplyError::IdLowered),
    ];
    for (op, error) in refused {
        assert_eq!(apply(stream.clone(), &op, NOW), Err(error), "{op:?}");
    }
    assert_eq!(
        apply(None, &Op::RaiseLastId(id(1)), NOW),
        Err(ApplyError::NoSuchKey)
    );
    let lowest = Op::AppendEntries(vec![(StreamId::MIN, entry(1).1)]);
    assert_eq!(apply(None, &lowest, NOW), Err(ApplyError::IdNotAbove));
    let group = Op::CreateGroup(bytes("g"), id(0));
    let grouped = apply(None, &group, NOW).unwrap();
    assert_eq!(apply(grouped, &group, NOW), Err(ApplyError::GroupExists));
}

#[test]
fn elements_are_prepended_and_appended_in_their_order() {
    let list = apply(None, &Op::Append(vec![bytes("c"), bytes("d")]), NOW).unwrap();
    let list = apply(list, &Op::Prepend(vec![bytes("a"), bytes("b")]), NOW).unwrap();
    let expected = ["a", "b", "c", "d"].map(bytes).to_vec();
    assert_eq!(list.unwrap().value, Value::List(expected));
}
