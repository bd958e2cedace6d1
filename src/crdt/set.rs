//! Sets: add-wins.
//!
//! # Convergence
//! An observed-remove set. Without memory a union: commutative, associative, idempotent. With memory G plus the
//! additions, minus removals that had seen the element's last change. A member is its own value, so none waits for
//! an absent replica.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Merged;
use super::case::Case;
use super::decide::prefer;
use super::element::{self, Collection, Element};
use crate::model::{
    Amount, Digester, ElementMemory, ElementRef, Expiry, Kind, SetRule, Value, ValueDigest,
};

/// The members of a set.
#[derive(Debug)]
pub(super) struct Members;

/// Merges the set siblings of a key.
pub(super) fn merge(case: &Case<'_>, digester: &mut Digester) -> Merged {
    match case.policy.rules.set {
        SetRule::AddWins => {
            element::merge::<Members>(case, "add-wins", |question, _| prefer(question), digester)
        }
    }
}

fn members(value: &Value) -> Option<&BTreeSet<Bytes>> {
    match value {
        Value::Set(members) => Some(members),
        _ => None,
    }
}

impl Collection for Members {
    type Name = Bytes;
    type Item = ();
    const KIND: Kind = Kind::Set;

    fn names(value: &Value) -> Vec<Bytes> {
        members(value).into_iter().flatten().cloned().collect()
    }

    fn get(value: &Value, name: &Bytes) -> Option<((), Expiry)> {
        members(value)?
            .contains(name)
            .then_some(((), Expiry::Never))
    }

    fn build(elements: Vec<Element<Self>>) -> Value {
        Value::Set(elements.into_iter().map(|element| element.name).collect())
    }

    fn digest(digester: &mut Digester, name: &Bytes, (): &(), _: Expiry) -> ValueDigest {
        digester.lone(&ElementRef::Member(name))
    }

    fn to_bytes(name: &Bytes) -> Bytes {
        name.clone()
    }

    fn from_bytes(name: &Bytes) -> Option<Bytes> {
        Some(name.clone())
    }

    fn amount((): &()) -> Option<Amount> {
        None
    }

    fn recall(_: &ElementMemory) -> Option<()> {
        Some(())
    }
}
