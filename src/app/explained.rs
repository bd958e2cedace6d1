//! The report on one key.

use crate::crdt::Evidence;
use crate::model::{Datacenter, Expiry, Position, ReplicaName};
use crate::repair::{Change, Element, Explanation, Holding, Recalled, RecalledReplica, Stand};
use crate::report::{
    ExplainReport, ExplainedElement, ExplainedMemory, ExplainedPast, ExplainedResult,
    ExplainedSibling, ExplainedVersion, ExplainedWrite, Standing,
};

/// The report on a key that was explained, over these replicas.
pub fn explained(found: Explanation, columns: &[(ReplicaName, Datacenter)]) -> ExplainReport {
    let position = Position::of(found.key.as_bytes());
    let stands = columns.iter().zip(found.stands);
    ExplainReport {
        key: found.key,
        db: found.db,
        keyspace: found.keyspace,
        slot: position.slot().number(),
        position: format!("{:016x}", position.bits()),
        equal: found.difference.is_none(),
        difference: found.difference.map(|difference| difference.name()),
        siblings: stands
            .map(|(column, stand)| sibling(column, stand))
            .collect(),
        elements: found.elements.into_iter().map(element).collect(),
        elements_left_out: found.elements_left_out,
        rule: found.rule.unwrap_or("none").into(),
        evidence: evidence(found.evidence).into(),
        decided: found.decided,
        result: found.result.map(result),
        unresolved: found.unresolved,
        writes: found.changes.into_iter().map(write).collect(),
        notes: found.notes,
        memory: found.memory.map(|memory| remembered(memory, columns)),
    }
}

fn remembered(memory: Recalled, columns: &[(ReplicaName, Datacenter)]) -> ExplainedMemory {
    let past =
        |((name, _), replica): (&(ReplicaName, Datacenter), RecalledReplica)| ExplainedPast {
            replica: name.clone(),
            did: replica.did.name(),
            lags: replica.lags,
            rolled_back: replica.rolled_back,
        };
    ExplainedMemory {
        agreed: memory.agreed.map(|agreed| ExplainedVersion {
            version: agreed.version.0,
            since: agreed.since,
            kind: agreed.held.map(|(kind, _)| kind),
            expiry: agreed.held.map_or(Expiry::Never, |(_, expiry)| expiry),
            elements: agreed.elements,
            number: agreed.number,
        }),
        held_by: memory.held_by.map(|run| run.0),
        replicas: columns.iter().zip(memory.replicas).map(past).collect(),
    }
}

fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Recorded => "recorded",
        Evidence::Agreed => "agreed",
        Evidence::None => {
            "neither recorded nor agreed: nothing is removed, collections are united, registers follow prefer"
        }
    }
}

fn sibling((replica, datacenter): &(ReplicaName, Datacenter), stand: Stand) -> ExplainedSibling {
    let expiry = Explanation::expiry(&stand);
    let (state, kind, length, problem) = match stand {
        Stand::Holds(held) => (Standing::Held, Some(held.kind), held.length, None),
        Stand::Absent => (Standing::Absent, None, 0, None),
        Stand::Unreadable(words) => (Standing::Unreadable, None, 0, Some(words)),
        Stand::Unknown(why) => (Standing::Unknown, None, 0, Some(why)),
    };
    ExplainedSibling {
        replica: replica.clone(),
        datacenter: datacenter.clone(),
        state,
        kind,
        length,
        expiry,
        problem,
    }
}

fn element(element: Element) -> ExplainedElement {
    ExplainedElement {
        what: element.what.into(),
        name: element.name,
        values: element.values,
        result: element.result,
        differs: element.differs,
        since: element
            .since
            .iter()
            .map(|did| did.map(|did| did.name()))
            .collect(),
    }
}

fn result(wanted: Holding) -> ExplainedResult {
    let held = wanted.held();
    ExplainedResult {
        kind: held.map(|held| held.kind),
        length: held.map_or(0, |held| held.length),
        expiry: held.map_or(Expiry::Never, |held| held.expiry),
    }
}

fn write(change: Change) -> ExplainedWrite {
    ExplainedWrite {
        replica: change.replica,
        operations: change.ops,
    }
}
