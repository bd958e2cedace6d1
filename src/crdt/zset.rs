//! Sorted sets: a member's presence is a set's, its score a register, the greatest, the least, or a counter.
//!
//! # Convergence
//! Commutative and idempotent per member; associative under `max`, `min` and `greatest`. The memory keeps scores, so
//! an agreed score that only an absent replica holds is written all the same. Counters of floating point are summed
//! in the order of the replicas, so that all agree on the rounding.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Merged;
use super::case::Case;
use super::decide::{count, extreme, prefer};
use super::element::{self, Collection, Decide, Element};
use crate::model::{
    Amount, Digester, ElementMemory, ElementRef, Expiry, Kind, Score, Value, ValueDigest, ZsetRule,
};

/// The members of a sorted set.
#[derive(Debug)]
pub(super) struct Scores;

/// Merges the sorted-set siblings of a key.
pub(super) fn merge(case: &Case<'_>, digester: &mut Digester) -> Merged {
    let decide: Decide<Scores> = match case.policy.rules.zset {
        ZsetRule::Lww => |question, _| prefer(question),
        ZsetRule::Max => |question, notes| extreme(question, |a, b| a > b, notes),
        ZsetRule::Min => |question, notes| extreme(question, |a, b| a < b, notes),
        ZsetRule::Counter => |question, notes| count(question, scored, notes),
    };
    let rule = case.policy.rules.name_for(Kind::SortedSet);
    element::merge::<Scores>(case, rule, decide, digester)
}

fn scored(amount: Amount) -> Score {
    match amount {
        Amount::Score(score) => score,
        Amount::Integer(number) => {
            Score::new(number as f64).expect("an integer is a number as a double, too")
        }
    }
}

fn members(value: &Value) -> Option<&BTreeMap<Bytes, Score>> {
    match value {
        Value::SortedSet(members) => Some(members),
        _ => None,
    }
}

impl Collection for Scores {
    type Name = Bytes;
    type Item = Score;
    const KIND: Kind = Kind::SortedSet;

    fn names(value: &Value) -> Vec<Bytes> {
        members(value)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect()
    }

    fn get(value: &Value, name: &Bytes) -> Option<(Score, Expiry)> {
        members(value)?
            .get(name)
            .map(|score| (*score, Expiry::Never))
    }

    fn build(elements: Vec<Element<Self>>) -> Value {
        let member = |element: Element<Self>| (element.name, element.item);
        Value::SortedSet(elements.into_iter().map(member).collect())
    }

    fn digest(digester: &mut Digester, name: &Bytes, score: &Score, _: Expiry) -> ValueDigest {
        digester.lone(&ElementRef::Scored(name, *score))
    }

    fn to_bytes(name: &Bytes) -> Bytes {
        name.clone()
    }

    fn from_bytes(name: &Bytes) -> Option<Bytes> {
        Some(name.clone())
    }

    fn amount(score: &Score) -> Option<Amount> {
        Some(Amount::Score(*score))
    }

    fn recall(memory: &ElementMemory) -> Option<Score> {
        match memory.amount? {
            Amount::Score(score) => Some(score),
            Amount::Integer(_) => None,
        }
    }
}
