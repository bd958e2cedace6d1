//! A key on its way to a verdict, in the words of a report. Pure.

use crate::model::{ReplicaIndex, State};
use crate::store::Observed;

use super::details::details;
use super::finding::{Change, Finding, Holding, Verdict};
use super::look::{Look, difference};
use super::resolve::{Resolution, describe_op};
use super::round::{Candidate, is_large, state};
use super::run::Shared;

pub(super) fn explain_into(shared: &Shared<'_>, resolution: &Resolution, finding: &mut Finding) {
    finding.rule = Some(resolution.merged.rule);
    finding.decided = resolution.merged.decided.as_ref().map(ToString::to_string);
    finding.notes = resolution
        .merged
        .notes
        .iter()
        .map(ToString::to_string)
        .collect();
    finding.changes = resolution
        .writes
        .iter()
        .map(|(ReplicaIndex(replica), write)| Change {
            replica: shared.run.participants[*replica].replica.name().clone(),
            ops: write.ops.iter().map(describe_op).collect(),
        })
        .collect();
}

/// Keeps what earlier rounds wrote to replicas that this one does not write to, in datacenter order.
pub(super) fn keep_changes(shared: &Shared<'_>, earlier: Vec<Change>, finding: &mut Finding) {
    for change in earlier {
        let is_same = |other: &Change| other.replica == change.replica;
        if !finding.changes.iter().any(is_same) {
            finding.changes.push(change);
        }
    }
    let participants = &shared.run.participants;
    finding.changes.sort_by_key(|change| {
        participants
            .iter()
            .position(|one| *one.replica.name() == change.replica)
    });
}

pub(super) fn describe(
    shared: &Shared<'_>,
    candidate: &Candidate<'_>,
    observed: &[Option<Observed>],
    looks: &[Option<Look>],
) -> Finding {
    let present: Vec<Look> = looks.iter().flatten().copied().collect();
    let expiry = &candidate.keyspace.policy.expiry;
    let states: Vec<Option<&State>> = observed
        .iter()
        .filter(|one| one.is_some())
        .map(state)
        .collect();
    let shown = if is_large(observed) {
        Vec::new()
    } else {
        details(&states)
    };
    Finding {
        db: shared.db_index(candidate.keyspace.db),
        keyspace: candidate.keyspace.name.clone(),
        key: candidate.key.clone(),
        difference: difference(&present, expiry).unwrap_or(super::finding::DifferenceKind::Value),
        holdings: observed
            .iter()
            .map(|one| one.as_ref().map(holding))
            .collect(),
        details: spread(shown, observed),
        rule: None,
        decided: None,
        notes: Vec::new(),
        changes: Vec::new(),
        verdict: Verdict::Diverged,
    }
}

/// Details are found between the siblings that take part; reports have a column for every replica.
fn spread(
    details: Vec<super::finding::Detail>,
    observed: &[Option<Observed>],
) -> Vec<super::finding::Detail> {
    let widen = |values: Vec<Option<bytes::Bytes>>| {
        let mut values = values.into_iter();
        observed
            .iter()
            .map(|one| one.as_ref().and_then(|_| values.next().flatten()))
            .collect()
    };
    details
        .into_iter()
        .map(|detail| super::finding::Detail {
            values: widen(detail.values),
            ..detail
        })
        .collect()
}

pub(super) fn holding(observed: &Observed) -> Holding {
    use crate::model::{Expiry, Value};
    match observed {
        Observed::Absent | Observed::Unreadable(_) => Holding {
            kind: None,
            expiry: Expiry::Never,
            length: 0,
        },
        Observed::Large(large) => Holding {
            kind: Some(large.kind),
            expiry: large.expiry,
            length: large.length,
        },
        Observed::Whole(state) => Holding {
            kind: Some(state.value.kind()),
            expiry: state.expiry,
            length: match &state.value {
                Value::String(bytes) => bytes.len() as u64,
                Value::Module(opaque) => opaque.payload.len() as u64,
                value => value.element_count() as u64,
            },
        },
    }
}
