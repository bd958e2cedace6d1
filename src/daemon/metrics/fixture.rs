//! A finding for tests.

use crate::crdt::Evidence;
use crate::model::{DbIndex, Expiry, Key, KeyspaceName, Kind, ReplicaName};
use crate::repair::{Change, DifferenceKind, Fate, Finding, Held, Holding, Verdict};

/// A string of two replicas, `us` and `eu`, of which the first so many were written.
pub(super) fn finding(changed: usize, verdict: Verdict) -> Finding {
    let held = Holding::Held(Held {
        kind: Kind::String,
        expiry: Expiry::Never,
        length: 1,
    });
    let change = |replica: &str| Change {
        replica: ReplicaName(replica.into()),
        ops: vec!["put a string of 1 byte".into()],
        fate: Fate::Applied,
    };
    Finding {
        db: DbIndex(0),
        keyspace: KeyspaceName("default".into()),
        key: Key::new("key"),
        difference: DifferenceKind::Value,
        holdings: vec![Some(held.clone()), Some(held)],
        details: Vec::new(),
        rule: Some("lww"),
        evidence: Some(Evidence::Agreed),
        decided: None,
        notes: Vec::new(),
        changes: ["us", "eu"].into_iter().take(changed).map(change).collect(),
        verdict,
    }
}
