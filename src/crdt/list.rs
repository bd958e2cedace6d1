//! Lists: appends and prepends to a common base are joined, anything else is a register.
//!
//! ```text
//! A   1 2 | G G G |            B         | G G G | 3
//! →   1 2 | G G G | 3          prepends + G + appends, in datacenter order
//! ```
//!
//! The base is found again inside each list by its length, a rolling sum of its elements' digests, and its digest.
//! Without memory there is no base, and a list is a register.
//!
//! # Convergence
//! Commutative and idempotent, not associative: the order of concurrent appends is that of the replicas.

use bytes::Bytes;

use super::Merged;
use super::case::{Case, Side};
use super::contest::{Account, Candidates, Contest, contest};
use super::order::Whole;
use super::register;
use crate::model::{Body, Digester, ElementRef, ListRule, Memory, Sum, Value, ValueDigest};

/// What the changed lists have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Common {
    length: usize,
    sum: Sum,
    digest: Option<ValueDigest>,
}

/// Merges the list siblings of a key.
pub(super) fn merge(case: &Case<'_>, digester: &mut Digester) -> Merged {
    let contest = contest(
        &case.voices(),
        case.agreed_value(),
        case.policy.on_delete_conflict,
    );
    if case.policy.rules.list == ListRule::Append
        && let Contest::Among(candidates) = &contest
        && candidates.known.len() > 1
        && !candidates.agreed_elsewhere
        && let Some(elements) = join(case, candidates, digester)
    {
        return register::joined(case, Value::List(elements), true, "append", Vec::new());
    }
    register::settle(case, &contest, "lww", Vec::new())
}

fn join(
    case: &Case<'_>,
    candidates: &Candidates<'_, Whole<'_>>,
    digester: &mut Digester,
) -> Option<Vec<Bytes>> {
    let common = common_base(case)?;
    let mut lists = Vec::new();
    // The agreed list, if it is one of them, lies innermost: it was there first.
    let (agreed, changed): (Vec<_>, Vec<_>) = candidates
        .known
        .iter()
        .partition(|candidate| !candidate.changed);
    for candidate in changed.into_iter().chain(agreed.iter().copied()) {
        let list = elements(candidate.value.0)?;
        lists.push((list, find(list, &common, digester)?));
    }
    let (first, at) = *lists.first()?;
    let innermost = agreed.len();
    let split = lists.len() - innermost;
    let prepends = lists.iter().flat_map(|(list, at)| &list[..*at]);
    let appended = lists[split..].iter().chain(&lists[..split]);
    let appends = appended.flat_map(|(list, at)| &list[at + common.length..]);
    let base = &first[at..at + common.length];
    Some(prepends.chain(base).chain(appends).cloned().collect())
}

/// The base that all changed lists started from, if it is one.
fn common_base(case: &Case<'_>) -> Option<Common> {
    let changers = case.sides.iter().filter(|side| {
        side.state.is_some() && matches!(case.account(side), Account::Changed { .. })
    });
    let mut bases = changers.map(common_of);
    let first = bases.next()??;
    bases.all(|base| base == Some(first)).then_some(first)
}

fn common_of(side: &Side<'_>) -> Option<Common> {
    match side.base?.memory {
        None => Some(Common {
            length: 0,
            sum: Sum::EMPTY,
            digest: None,
        }),
        Some(Memory {
            digest,
            body: Body::List { length, sum },
            ..
        }) => Some(Common {
            length: *length,
            sum: *sum,
            digest: Some(*digest),
        }),
        Some(_) => None,
    }
}

fn elements(value: &Value) -> Option<&[Bytes]> {
    match value {
        Value::List(elements) => Some(elements),
        _ => None,
    }
}

/// Where the base lies in a list: at its head if it can, else at its tail, else as near to the head as possible.
///
/// # Cost
/// One digest per element, and one of the base per place where the same elements stand in any order.
fn find(list: &[Bytes], base: &Common, digester: &mut Digester) -> Option<usize> {
    let Some(expected) = base.digest else {
        return Some(0);
    };
    let last = list.len().checked_sub(base.length)?;
    let sums: Vec<Sum> = list
        .iter()
        .map(|element| {
            let mut sum = Sum::EMPTY;
            digester.add_to_sum(&mut sum, &ElementRef::Member(element));
            sum
        })
        .collect();
    let mut window = sums[..base.length]
        .iter()
        .fold(Sum::EMPTY, |sum, element| sum.plus(element));
    let mut places = Vec::new();
    for at in 0..=last {
        if window == base.sum {
            places.push(at);
        }
        if let Some(next) = sums.get(at + base.length) {
            window = window.minus(&sums[at]).plus(next);
        }
    }
    places.sort_by_key(|at| (*at != 0, *at != last, *at));
    places.into_iter().find(|at| {
        let mut digest = digester.list();
        list[*at..at + base.length]
            .iter()
            .for_each(|element| digest.push(element));
        digest.finish() == expected
    })
}
