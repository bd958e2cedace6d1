//! Counters are not overwritten but increased, so that what clients count meanwhile is kept. Pure.
//!
//! In a hash or sorted set that counts, whatever else is to be written goes along, each element if it is as it was
//! read: such a key is always moving, so that nothing gets through that compares all of it.
//!
//! Only far from overflow, because inside a transaction an increase can fail alone. Scores beyond what a double holds
//! exactly, and those that are no integers, are written absolutely: an increase would round on each replica otherwise.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::crdt::integer;
use crate::model::{
    Expect, Expiry, Field, HashRule, Op, Rules, Score, State, StringRule, Value, ZsetRule,
};

/// Counters beyond are overwritten instead of increased.
pub(super) const FAR_FROM_OVERFLOW: u64 = 1 << 62;

/// Fields beyond are overwritten: the script of the store looks at their digits.
const FIELDS_BELOW: u64 = 10_u64.pow(16);

/// Scores beyond are overwritten: so far a double holds integers and their sums exactly, as digits alone.
const SCORES_BELOW: f64 = 1e14;

/// How many elements of a key one script writes.
const MOST_ELEMENTS: usize = 1_000;

/// How a key that counts is brought from what a replica holds to what it should hold; nothing where it does not count,
/// need not be written, or has to be overwritten.
pub(crate) fn increase(
    held: Option<&State>,
    wanted: Option<&State>,
    rules: &Rules,
) -> Option<(Expect, Vec<Op>)> {
    let (held, wanted) = (held?, wanted?);
    if held.expiry > wanted.expiry {
        return None;
    }
    let expiry = held.expiry;
    let (expect, mut ops) = match (&held.value, &wanted.value) {
        (Value::String(from), Value::String(to)) if rules.string == StringRule::Counter => {
            let ops = vec![Op::IncreaseBy(string(from, to)?)];
            (Expect::Counter { expiry }, ops)
        }
        (Value::Hash(from), Value::Hash(to)) if rules.hash == HashRule::Counter => {
            let (held, ops) = fields(from, to)?;
            let held = Value::Hash(held);
            (Expect::Counters { held, expiry }, ops)
        }
        (Value::SortedSet(from), Value::SortedSet(to)) if rules.zset == ZsetRule::Counter => {
            let (held, ops) = scores(from, to);
            let held = Value::SortedSet(held);
            (Expect::Counters { held, expiry }, ops)
        }
        _ => return None,
    };
    let elements: usize = ops
        .iter()
        .map(|op| super::ops::weight(std::slice::from_ref(op)).elements)
        .sum();
    if ops.is_empty() || elements > MOST_ELEMENTS {
        return None;
    }
    if held.expiry != wanted.expiry {
        ops.push(Op::Expire(wanted.expiry));
    }
    Some((expect, ops))
}

fn string(from: &[u8], to: &[u8]) -> Option<i64> {
    let (from, to) = (integer(from)?, integer(to)?);
    let far = |number: i64| number.unsigned_abs() < FAR_FROM_OVERFLOW;
    (from != to && far(from) && far(to)).then(|| to - from)
}

type Elements<V> = BTreeMap<Bytes, V>;

/// The elements that must be as they were read, and the operations. Nothing where a field ends by itself: a script
/// could not tell for how long.
fn fields(from: &Elements<Field>, to: &Elements<Field>) -> Option<(Elements<Field>, Vec<Op>)> {
    let mut held = BTreeMap::new();
    let (mut set, mut removed, mut increased) = (Vec::new(), Vec::new(), Vec::new());
    for name in differing(from, to) {
        let (was, will) = (from.get(name), to.get(name));
        if [was, will]
            .into_iter()
            .flatten()
            .any(|field| field.expiry != Expiry::Never)
        {
            return None;
        }
        if let Some(delta) = was.zip(will).and_then(|(was, will)| far_fields(was, will)) {
            increased.push((name.clone(), delta));
            continue;
        }
        held.extend(was.map(|was| (name.clone(), was.clone())));
        match will {
            Some(will) => set.push((name.clone(), will.value.clone())),
            None => removed.push(name.clone()),
        }
    }
    let ops = [
        Op::SetFields(set),
        Op::RemoveFields(removed),
        Op::IncreaseFields(increased),
    ];
    Some((held, some(ops)))
}

fn far_fields(from: &Field, to: &Field) -> Option<i64> {
    let (from, to) = (integer(&from.value)?, integer(&to.value)?);
    let far = |number: i64| number.unsigned_abs() < FIELDS_BELOW;
    (far(from) && far(to)).then(|| to - from)
}

fn scores(from: &Elements<Score>, to: &Elements<Score>) -> (Elements<Score>, Vec<Op>) {
    let mut held = BTreeMap::new();
    let (mut set, mut removed, mut increased) = (Vec::new(), Vec::new(), Vec::new());
    for name in differing(from, to) {
        let (was, will) = (from.get(name), to.get(name));
        if let Some(delta) = was
            .zip(will)
            .and_then(|(was, will)| far_scores(*was, *will))
        {
            increased.push((name.clone(), delta));
            continue;
        }
        held.extend(was.map(|was| (name.clone(), *was)));
        match will {
            Some(will) => set.push((name.clone(), *will)),
            None => removed.push(name.clone()),
        }
    }
    let ops = [
        Op::SetScores(set),
        Op::RemoveScored(removed),
        Op::IncreaseScores(increased),
    ];
    (held, some(ops))
}

fn far_scores(from: Score, to: Score) -> Option<i64> {
    let far = |score: Score| score.get().fract() == 0.0 && score.get().abs() < SCORES_BELOW;
    (far(from) && far(to)).then(|| to.get() as i64 - from.get() as i64)
}

/// The names of the elements that are not the same on both sides, in order.
fn differing<'a, V: PartialEq>(from: &'a Elements<V>, to: &'a Elements<V>) -> BTreeSet<&'a Bytes> {
    let names = from.keys().chain(to.keys());
    names
        .filter(|name| from.get(*name) != to.get(*name))
        .collect()
}

fn some(ops: [Op; 3]) -> Vec<Op> {
    let is_any = |op: &Op| match op {
        Op::SetFields(pairs) => !pairs.is_empty(),
        Op::SetScores(pairs) => !pairs.is_empty(),
        Op::RemoveFields(names) | Op::RemoveScored(names) => !names.is_empty(),
        Op::IncreaseFields(pairs) | Op::IncreaseScores(pairs) => !pairs.is_empty(),
        _ => false,
    };
    ops.into_iter().filter(is_any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: i64) -> State {
        State::lasting(Value::String(number.to_string().into()))
    }

    fn scored(score: f64) -> State {
        let score = Score::new(score).expect("a number");
        State::lasting(Value::SortedSet([("m".into(), score)].into()))
    }

    fn ops(from: &State, to: &State) -> Option<Vec<Op>> {
        let rules = Rules {
            string: StringRule::Counter,
            zset: ZsetRule::Counter,
            ..Rules::default()
        };
        increase(Some(from), Some(to), &rules).map(|(_, ops)| ops)
    }

    #[test]
    fn only_far_from_overflow_is_a_counter_increased() {
        assert_eq!(ops(&text(5), &text(2)), Some(vec![Op::IncreaseBy(-3)]));
        assert_eq!(ops(&text(5), &text(i64::MAX)), None);
        assert_eq!(ops(&text(i64::MIN), &text(5)), None);
        assert_eq!(ops(&text(5), &text(5)), None);
    }

    #[test]
    fn scores_that_a_double_does_not_hold_exactly_are_written_absolutely() {
        let increased = Op::IncreaseScores(vec![("m".into(), 3)]);
        assert_eq!(ops(&scored(1.0), &scored(4.0)), Some(vec![increased]));
        for to in [4.5, 1e15] {
            let score = Score::new(to).expect("a number");
            let set = Op::SetScores(vec![("m".into(), score)]);
            assert_eq!(ops(&scored(1.0), &scored(to)), Some(vec![set]));
        }
    }
}
