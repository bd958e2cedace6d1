//! A key on its way to a verdict, in the words of a report. Pure.

use crate::model::{ReplicaIndex, ReplicaName, State, Write};
use crate::store::Observed;

use super::details::details;
use super::finding::{Change, Detail, DifferenceKind, Fate, Finding, Held, Holding, Verdict};
use super::look::{Look, difference};
use super::reading::{is_large, state};
use super::resolve::{Resolution, describe_op};
use super::round::Candidate;
use super::run::{Participant, Shared};

/// What is said of a stream that is built aside because it lacks older entries.
pub(super) const REBUILD: &str = "rebuild the stream";

pub(super) fn explain_into(shared: &Shared<'_>, resolution: &Resolution, finding: &mut Finding) {
    finding.rule = Some(resolution.merged.rule);
    finding.evidence = Some(resolution.merged.evidence);
    finding.decided = resolution.merged.decided.as_ref().map(ToString::to_string);
    finding.notes = resolution
        .merged
        .notes
        .iter()
        .map(ToString::to_string)
        .collect();
    finding.changes = planned(shared, resolution);
}

/// What a resolution would write.
pub(super) fn planned(shared: &Shared<'_>, resolution: &Resolution) -> Vec<Change> {
    let participants = &shared.run.participants;
    let change = |(ReplicaIndex(replica), write): &(ReplicaIndex, Write)| Change {
        replica: participants[*replica].replica.name().clone(),
        ops: write.ops.iter().map(describe_op).collect(),
        fate: Fate::Planned,
    };
    let rebuild = |ReplicaIndex(replica): &ReplicaIndex| Change {
        replica: participants[*replica].replica.name().clone(),
        ops: vec![REBUILD.into()],
        fate: Fate::Planned,
    };
    let rebuilds = resolution.rebuilds.iter().map(rebuild);
    resolution
        .writes
        .iter()
        .map(change)
        .chain(rebuilds)
        .collect()
}

/// Keeps what earlier rounds wrote, and what they failed to write to replicas that this one does not write to; in
/// datacenter order.
pub(super) fn keep_changes(shared: &Shared<'_>, earlier: Vec<Change>, finding: &mut Finding) {
    let later = std::mem::take(&mut finding.changes);
    let replaced: Vec<ReplicaName> = later.iter().map(|one| one.replica.clone()).collect();
    let stands = |change: &Change| match change.fate {
        Fate::Applied | Fate::Unknown => true,
        Fate::Planned | Fate::Superseded | Fate::Refused => !replaced.contains(&change.replica),
    };
    for change in earlier.into_iter().filter(stands).chain(later) {
        let alike =
            |other: &&mut Change| other.replica == change.replica && other.fate == change.fate;
        match finding.changes.iter_mut().find(alike) {
            Some(known) => known.ops.extend(change.ops),
            None => finding.changes.push(change),
        }
    }
    finding.changes.sort_by_key(|change| {
        let is_it = |one: &Participant| *one.replica.name() == change.replica;
        shared.run.participants.iter().position(is_it)
    });
}

/// Says what became of the change to a replica that was planned last.
pub(super) fn settle_change(finding: &mut Finding, replica: &ReplicaName, fate: Fate) {
    let is_it = |change: &Change, fate: Fate| change.replica == *replica && change.fate == fate;
    let changes = &mut finding.changes;
    let Some(planned) = changes.iter().position(|one| is_it(one, Fate::Planned)) else {
        return;
    };
    match changes.iter().position(|one| is_it(one, fate)) {
        Some(same) if same != planned => {
            let ops = std::mem::take(&mut changes[planned].ops);
            changes[same].ops.extend(ops);
            changes.remove(planned);
        }
        Some(_) | None => changes[planned].fate = fate,
    }
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
        difference: difference(&present, expiry).unwrap_or(DifferenceKind::Value),
        holdings: observed
            .iter()
            .map(|one| one.as_ref().map(holding))
            .collect(),
        details: spread(shown, observed),
        rule: None,
        evidence: None,
        decided: None,
        notes: Vec::new(),
        changes: Vec::new(),
        verdict: Verdict::Diverged,
    }
}

/// Details are found between the siblings that take part; reports have a column for every replica.
fn spread(details: Vec<Detail>, observed: &[Option<Observed>]) -> Vec<Detail> {
    let widen = |values: Vec<Option<bytes::Bytes>>| {
        let mut values = values.into_iter();
        observed
            .iter()
            .map(|one| one.as_ref().and_then(|_| values.next().flatten()))
            .collect()
    };
    details
        .into_iter()
        .map(|detail| Detail {
            values: widen(detail.values),
            ..detail
        })
        .collect()
}

pub(super) fn holding(observed: &Observed) -> Holding {
    match observed {
        Observed::Absent => Holding::Absent,
        Observed::Unreadable(_) => Holding::Unreadable,
        Observed::Large(large) => Holding::Held(Held {
            kind: large.kind,
            expiry: large.expiry,
            length: large.length,
        }),
        Observed::Whole(state) => Holding::Held(Held {
            kind: state.value.kind(),
            expiry: state.expiry,
            length: state.value.length(),
        }),
    }
}

/// The verdict on a key that is left as it is at some replica: refused by its server, or open.
pub(super) fn left_open(shared: &Shared<'_>, resolution: &Resolution) -> Option<Verdict> {
    let reason = resolution.unresolved()?;
    Some(match resolution.refused.first() {
        Some((ReplicaIndex(replica), _)) => {
            let name = shared.run.participants[*replica].replica.name();
            Verdict::Refused(name.clone(), reason)
        }
        None => Verdict::Unresolved(reason),
    })
}
