//! Hashes: a field's presence is a set's, its value a register or a counter.
//!
//! # Convergence
//! Commutative and idempotent per field; associative under `greatest` and `counter-max`. A change of value, and of a
//! field's own expiry, counts as an addition; a winning value brings its expiry, the longest of its holders.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Merged;
use super::case::Case;
use super::counter::integer;
use super::decide::{count, extreme, prefer};
use super::element::{self, Collection, Decide, Element};
use crate::model::{
    Amount, Digester, ElementMemory, ElementRef, Expiry, Field, HashRule, Kind, Value, ValueDigest,
};

/// The fields of a hash.
#[derive(Debug)]
pub(super) struct Fields;

/// Merges the hash siblings of a key.
pub(super) fn merge(case: &Case<'_>, digester: &mut Digester) -> Merged {
    let decide: Decide<Fields> = match case.policy.rules.hash {
        HashRule::Lww => |question, _| prefer(question),
        HashRule::CounterMax => |question, notes| extreme(question, |a, b| a > b, notes),
        HashRule::Counter => |question, notes| count(question, written, notes),
    };
    let rule = case.policy.rules.name_for(Kind::Hash);
    element::merge::<Fields>(case, rule, decide, digester)
}

fn written(amount: Amount) -> Bytes {
    match amount {
        Amount::Integer(number) => number.to_string().into(),
        Amount::Score(score) => score.to_text().into(),
    }
}

fn fields(value: &Value) -> Option<&BTreeMap<Bytes, Field>> {
    match value {
        Value::Hash(fields) => Some(fields),
        _ => None,
    }
}

impl Collection for Fields {
    type Name = Bytes;
    type Item = Bytes;
    const KIND: Kind = Kind::Hash;

    fn names(value: &Value) -> Vec<Bytes> {
        fields(value)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect()
    }

    fn get(value: &Value, name: &Bytes) -> Option<(Bytes, Expiry)> {
        let field = fields(value)?.get(name)?;
        Some((field.value.clone(), field.expiry))
    }

    fn build(elements: Vec<Element<Self>>) -> Value {
        let field = |element: Element<Self>| {
            (
                element.name,
                Field {
                    value: element.item,
                    expiry: element.expiry,
                },
            )
        };
        Value::Hash(elements.into_iter().map(field).collect())
    }

    fn digest(digester: &mut Digester, name: &Bytes, value: &Bytes, expiry: Expiry) -> ValueDigest {
        digester.lone(&ElementRef::Field(name, value, expiry))
    }

    fn to_bytes(name: &Bytes) -> Bytes {
        name.clone()
    }

    fn from_bytes(name: &Bytes) -> Option<Bytes> {
        Some(name.clone())
    }

    fn amount(value: &Bytes) -> Option<Amount> {
        integer(value).map(Amount::Integer)
    }

    /// A field's expiry is not remembered, so its number is not enough.
    fn recall(_: &ElementMemory) -> Option<Bytes> {
        None
    }
}
