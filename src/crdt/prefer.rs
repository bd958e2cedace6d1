//! One winner among the candidates for a register.
//!
//! The steps of the policy are asked in order, the first that decides ends it; then the datacenters' order does. Only
//! `greatest` is independent of which runs happened first. A tie never keeps "mine".

use super::contest::{Candidate, Candidates};
use super::outcome::{Decided, Reason};
use crate::model::{Datacenter, Preference};

/// Who won a register.
#[derive(Debug)]
pub(super) enum Choice<'c, 'a, V> {
    /// This candidate, by this step.
    Winner(&'c Candidate<'a, V>, Decided),
    /// Nobody, for now.
    Open(Reason),
}

/// Chooses among the candidates; `siblings` is how many replicas take part, for `majority`.
pub(super) fn choose<'c, 'a, V: Ord>(
    candidates: &'c Candidates<'a, V>,
    prefer: &[Preference],
    siblings: usize,
) -> Choice<'c, 'a, V> {
    let known = &candidates.known;
    let Some(first) = known.first() else {
        return Choice::Open(Reason::Waits);
    };
    if known.len() == 1 && !candidates.agreed_elsewhere {
        return Choice::Winner(first, Decided::Unopposed);
    }
    for step in prefer {
        let winner = match step {
            Preference::Datacenter(datacenter) => held_in(known, datacenter),
            Preference::Majority => known
                .iter()
                .find(|candidate| candidate.holders.len() * 2 > siblings),
            // What is not there cannot be compared.
            Preference::Greatest if candidates.agreed_elsewhere => {
                return Choice::Open(Reason::Waits);
            }
            Preference::Greatest => known.iter().max_by(|a, b| a.value.cmp(&b.value)),
            Preference::Skip => return Choice::Open(Reason::Skipped),
        };
        if let Some(winner) = winner {
            return Choice::Winner(winner, Decided::By(step.clone()));
        }
    }
    // The replica that holds the agreed value is absent, and may be the first in order.
    if candidates.agreed_elsewhere || known.iter().any(|candidate| candidate.holders.is_empty()) {
        return Choice::Open(Reason::Waits);
    }
    Choice::Winner(first, Decided::Order)
}

/// The value that a replica of this datacenter holds; of several such replicas, the first in order.
fn held_in<'c, 'a, V>(
    known: &'c [Candidate<'a, V>],
    datacenter: &Datacenter,
) -> Option<&'c Candidate<'a, V>> {
    known
        .iter()
        .filter_map(|candidate| {
            let holder = candidate
                .holders
                .iter()
                .find(|(_, held_in)| *held_in == datacenter)?;
            Some((holder.0, candidate))
        })
        .min_by_key(|(replica, _)| *replica)
        .map(|(_, candidate)| candidate)
}
