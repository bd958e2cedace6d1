use bytes::Bytes;
use proptest::prelude::{prop_assert, prop_assume, proptest};

use super::{Loss, continues, loss};
use crate::model::arbitrary::pair;
use crate::model::{Expiry, Millis, Op, Score, State, Stream, StreamId, Value};
use crate::repair::ops::ops_to_reach;
use crate::store::apply;

fn text(text: &'static str) -> Bytes {
    Bytes::from(text)
}

fn string(value: &'static str) -> State {
    State::lasting(Value::String(text(value)))
}

fn at(millis: i64) -> Expiry {
    Expiry::At(Millis(millis))
}

fn of(now: &State, op: Op) -> Option<Loss> {
    loss(Some(now), &[op])
}

#[test]
fn what_is_created_takes_nothing() {
    let put = Op::Put(Value::String(text("x")));
    assert_eq!(loss(None, &[put, Op::Expire(at(1))]), None);
}

#[test]
fn a_register_that_is_put_over_another_is_overwritten_and_a_removed_key_deleted() {
    let put = Op::Put(Value::String(text("x")));
    assert_eq!(of(&string("y"), put), Some(Loss::Overwritten));
    assert_eq!(of(&string("y"), Op::Remove), Some(Loss::Deleted));
    let both = [Op::Expire(at(1)), Op::Remove];
    assert_eq!(loss(Some(&string("y")), &both), Some(Loss::Deleted));
    let aside = Op::TakeAside("reknit:aside:1".into());
    assert_eq!(of(&string("y"), aside), Some(Loss::Overwritten));
}

#[test]
fn a_longer_life_takes_nothing_and_a_shorter_one_does() {
    let mut held = string("x");
    held.expiry = at(10);
    assert_eq!(of(&held, Op::Expire(at(11))), None);
    assert_eq!(of(&held, Op::Expire(Expiry::Never)), None);
    assert_eq!(of(&held, Op::Expire(at(9))), Some(Loss::Overwritten));
}

#[test]
fn new_elements_take_nothing_and_changed_or_removed_ones_do() {
    let field = crate::model::Field::lasting(text("1"));
    let hash = State::lasting(Value::Hash([(text("a"), field)].into()));
    let set = |name, value| Op::SetFields(vec![(text(name), text(value))]);
    assert_eq!(of(&hash, set("b", "2")), None);
    assert_eq!(of(&hash, set("a", "1")), None);
    assert_eq!(of(&hash, set("a", "2")), Some(Loss::Overwritten));
    let remove = Op::RemoveFields(vec![text("a")]);
    assert_eq!(of(&hash, remove), Some(Loss::Overwritten));
    let score = |number| Score::new(number).unwrap();
    let board = State::lasting(Value::SortedSet([(text("a"), score(1.0))].into()));
    let set = |name, number| Op::SetScores(vec![(text(name), score(number))]);
    assert_eq!(of(&board, set("b", 2.0)), None);
    assert_eq!(of(&board, set("a", 2.0)), Some(Loss::Overwritten));
    let append = Op::Append(vec![text("b")]);
    let list = State::lasting(Value::List(vec![text("a")]));
    assert_eq!(of(&list, append), None);
}

#[test]
fn a_rebuilt_stream_that_has_every_entry_takes_nothing() {
    let stream = |ids: &[u64], last: u64| {
        let id = |ms| StreamId { ms, seq: 0 };
        let entry = |&ms: &u64| (id(ms), vec![(text("f"), text("v"))]);
        Stream {
            entries: ids.iter().map(entry).collect(),
            last_id: id(last),
            ..Stream::default()
        }
    };
    assert!(continues(&stream(&[1, 2, 3], 3), &stream(&[2], 2)));
    assert!(!continues(&stream(&[1, 3], 3), &stream(&[2], 2)));
    assert!(!continues(&stream(&[1, 2], 2), &stream(&[2], 3)));
    let put = Op::Put(Value::Stream(stream(&[1, 2], 2)));
    let held = State::lasting(Value::Stream(stream(&[2], 2)));
    assert_eq!(of(&held, put), None);
}

/// Whether everything that `now` says is still said by `then`, which may say more.
fn keeps(now: &State, then: &State) -> bool {
    let lives = then.expiry >= now.expiry;
    lives
        && match (&now.value, &then.value) {
            (Value::Set(now), Value::Set(then)) => then.is_superset(now),
            (Value::Hash(now), Value::Hash(then)) => now.iter().all(|(name, field)| {
                let kept = then.get(name);
                kept.is_some_and(|kept| kept.value == field.value && kept.expiry >= field.expiry)
            }),
            (Value::SortedSet(now), Value::SortedSet(then)) => now
                .iter()
                .all(|(member, score)| then.get(member) == Some(score)),
            (Value::List(now), Value::List(then)) => {
                now.is_empty() || then.windows(now.len()).any(|part| part == now)
            }
            (Value::Stream(now), Value::Stream(then)) => continues(then, now),
            (now, then) => crate::crdt::alike(now, then) || super::contains(then, now),
        }
}

proptest! {
    /// Nothing is called an addition that takes something: what the writes lead to has all that was there.
    #[test]
    fn what_takes_nothing_leaves_everything((now, target) in pair()) {
        let ops = ops_to_reach(now.as_ref(), target.as_ref(), false);
        prop_assume!(ops.is_ok());
        let ops = ops.unwrap();
        let Some(before) = now.as_ref().filter(|now| !now.value.is_void()) else {
            prop_assert!(loss(now.as_ref(), &ops).is_none());
            return Ok(());
        };
        let mut reached = now.clone();
        for op in &ops {
            reached = apply(reached, op, Millis(0)).unwrap();
        }
        let kept = reached.as_ref().is_some_and(|reached| keeps(before, reached));
        if loss(now.as_ref(), &ops).is_none() {
            prop_assert!(kept, "{before:?} became {reached:?} by {ops:?}");
        }
        if reached.is_none() {
            prop_assert!(loss(now.as_ref(), &ops) == Some(Loss::Deleted));
        }
    }
}
