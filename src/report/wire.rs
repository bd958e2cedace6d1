//! Findings and summaries as JSON has them. `docs/json.md` describes every field.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Datacenter, ReplicaName};
use crate::repair::{
    Change, Detail, Finding, Forgetful, Holding, Reason, ReplicaSummary, Summary, Tally, Tripped,
};
use crate::store::Usage;

use super::json::{Blob, ByReplica, expiry_millis};
use super::text::union_of_keys;

#[derive(Serialize)]
pub(super) struct FindingJson<'a> {
    /// Only where the finding is a document of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema: Option<&'static str>,
    key: Blob<'a>,
    db: u32,
    keyspace: &'a str,
    r#type: Option<&'static str>,
    difference: &'static str,
    verdict: &'static str,
    reason: Option<String>,
    holdings: ByReplica<'a, HoldingJson>,
    details: Vec<DetailJson<'a>>,
    rule: Option<&'static str>,
    decided: Option<&'a str>,
    notes: &'a [String],
    changes: Vec<ChangeJson<'a>>,
}

#[derive(Serialize)]
struct HoldingJson {
    state: &'static str,
    r#type: Option<&'static str>,
    length: Option<u64>,
    expires_at_ms: Option<i64>,
}

#[derive(Serialize)]
struct DetailJson<'a> {
    what: &'static str,
    name: Option<Blob<'a>>,
    values: ByReplica<'a, Option<Blob<'a>>>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    replica: &'a str,
    operations: &'a [String],
    fate: &'static str,
}

impl<'a> FindingJson<'a> {
    pub(super) fn new(finding: &'a Finding, replicas: &'a [(ReplicaName, Datacenter)]) -> Self {
        let holding = |(name, holding): (&'a ReplicaName, &Option<Holding>)| {
            (name.0.as_str(), HoldingJson::new(holding.as_ref()))
        };
        let names = || replicas.iter().map(|(name, _)| name);
        Self {
            schema: None,
            key: Blob(finding.key.as_bytes()),
            db: finding.db.0,
            keyspace: &finding.keyspace.0,
            r#type: finding.kind().map(|kind| kind.name()),
            difference: finding.difference.name(),
            verdict: finding.verdict.name(),
            reason: finding.verdict.reason(),
            holdings: ByReplica(names().zip(&finding.holdings).map(holding).collect()),
            details: finding
                .details
                .iter()
                .map(|detail| DetailJson::new(detail, names()))
                .collect(),
            rule: finding.rule,
            decided: finding.decided.as_deref(),
            notes: &finding.notes,
            changes: finding.changes.iter().map(ChangeJson::new).collect(),
        }
    }
}

impl HoldingJson {
    fn new(holding: Option<&Holding>) -> Self {
        let held = holding.and_then(Holding::held);
        Self {
            state: super::Standing::of(holding).name(),
            r#type: held.map(|held| held.kind.name()),
            length: held.map(|held| held.length),
            expires_at_ms: held.and_then(|held| expiry_millis(held.expiry)),
        }
    }
}

impl<'a> DetailJson<'a> {
    fn new(detail: &'a Detail, names: impl Iterator<Item = &'a ReplicaName>) -> Self {
        let values = names.zip(&detail.values);
        let values = values.map(|(name, value)| (name.0.as_str(), value.as_deref().map(Blob)));
        Self {
            what: detail.what,
            name: detail.name.as_deref().map(Blob),
            values: ByReplica(values.collect()),
        }
    }
}

impl<'a> ChangeJson<'a> {
    fn new(change: &'a Change) -> Self {
        Self {
            replica: &change.replica.0,
            operations: &change.ops,
            fate: change.fate.name(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct SummaryJson<'a> {
    started_ms: i64,
    ended_ms: i64,
    duration_ms: i64,
    passes: u64,
    interrupted: bool,
    limit_reached: bool,
    partial: bool,
    markers_seen: bool,
    run: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<ResumedJson>,
    learned: u64,
    forgetful: Vec<ForgetfulJson<'a>>,
    tripped: Vec<TrippedJson<'a>>,
    keys: u64,
    differing: u64,
    repaired: u64,
    left: u64,
    in_flight: u64,
    expiring: u64,
    verdicts: &'a BTreeMap<&'static str, u64>,
    keyspaces: Vec<TallyJson<'a>>,
    replicas: Vec<ReplicaJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits: Vec<WaitJson<'a>>,
}

#[derive(Serialize)]
struct WaitJson<'a> {
    replica: &'a str,
    reason: &'static str,
    waited_ms: u64,
}

#[derive(Serialize)]
struct ResumedJson {
    run: u64,
    finished: usize,
    segments: usize,
    left: u64,
}

#[derive(Serialize)]
struct ForgetfulJson<'a> {
    replica: &'a str,
    db: u32,
    known: bool,
    remembers_step: Option<u64>,
    text: String,
}

#[derive(Serialize)]
struct TrippedJson<'a> {
    replica: &'a str,
    what: &'static str,
    keys: u64,
    held: u64,
    limit: u64,
}

#[derive(Serialize)]
struct TallyJson<'a> {
    db: u32,
    keyspace: &'a str,
    r#type: Option<&'static str>,
    keys: u64,
    missing: u64,
    types: u64,
    values: u64,
    expiries: u64,
    repaired: u64,
    left: u64,
}

#[derive(Serialize)]
struct ReplicaJson<'a> {
    name: &'a str,
    datacenter: Option<&'a str>,
    lost: Option<&'a str>,
    keys: u64,
    missing: u64,
    alone: u64,
    differing: u64,
    written: u64,
    overwrites: u64,
    deletes: u64,
    usage: UsageJson,
}

#[derive(Serialize)]
struct UsageJson {
    keys_read: u64,
    keys_written: u64,
    commands: u64,
    round_trips: u64,
    bytes_read: u64,
    bytes_written: u64,
}

impl<'a> WaitJson<'a> {
    fn new((replica, reason, waited): &'a (ReplicaName, Reason, Duration)) -> Self {
        Self {
            replica: &replica.0,
            reason: reason.name(),
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl<'a> SummaryJson<'a> {
    pub(super) fn new(summary: &'a Summary, replicas: &'a [(ReplicaName, Datacenter)]) -> Self {
        let total = summary.total();
        let datacenters = replicas.iter().map(|(_, datacenter)| Some(datacenter));
        let datacenters = datacenters.chain(std::iter::repeat(None));
        Self {
            started_ms: summary.started.0,
            ended_ms: summary.ended.0,
            duration_ms: summary.ended.0 - summary.started.0,
            passes: summary.passes,
            interrupted: summary.interrupted,
            limit_reached: summary.limit_reached,
            partial: summary.is_partial(),
            markers_seen: summary.markers_seen,
            run: summary.run.map(|run| run.0),
            resumed: summary.resumed.map(|resumed| ResumedJson {
                run: resumed.run.0,
                finished: resumed.finished,
                segments: resumed.segments,
                left: resumed.left,
            }),
            learned: summary.learned,
            forgetful: summary.forgetful.iter().map(ForgetfulJson::new).collect(),
            tripped: summary.tripped.iter().map(TrippedJson::new).collect(),
            keys: union_of_keys(summary),
            differing: total.differing(),
            repaired: total.repaired,
            left: total.left,
            in_flight: summary.in_flight,
            expiring: summary.expiring,
            verdicts: &summary.verdicts,
            keyspaces: tallies(summary),
            replicas: summary
                .replicas
                .iter()
                .zip(datacenters)
                .map(|(replica, datacenter)| ReplicaJson::new(replica, datacenter))
                .collect(),
            waits: summary.waits.iter().map(WaitJson::new).collect(),
        }
    }
}

fn tallies(summary: &Summary) -> Vec<TallyJson<'_>> {
    let rows = summary.tallies.iter().flat_map(|((db, keyspace), kinds)| {
        kinds.iter().map(move |(kind, tally)| {
            let Tally {
                keys,
                missing,
                types,
                values,
                expiries,
                repaired,
                left,
            } = *tally;
            TallyJson {
                db: db.0,
                keyspace: &keyspace.0,
                r#type: kind.map(|kind| kind.name()),
                keys,
                missing,
                types,
                values,
                expiries,
                repaired,
                left,
            }
        })
    });
    rows.collect()
}

impl<'a> ForgetfulJson<'a> {
    fn new(forgetful: &'a Forgetful) -> Self {
        Self {
            replica: &forgetful.replica.0,
            db: forgetful.db.0,
            known: forgetful.known,
            remembers_step: forgetful.remembers.map(|step| step.0),
            text: forgetful.to_string(),
        }
    }
}

impl<'a> TrippedJson<'a> {
    fn new(tripped: &'a Tripped) -> Self {
        Self {
            replica: &tripped.replica.0,
            what: tripped.what.name(),
            keys: tripped.keys,
            held: tripped.held,
            limit: tripped.limit,
        }
    }
}

impl<'a> ReplicaJson<'a> {
    fn new(replica: &'a ReplicaSummary, datacenter: Option<&'a Datacenter>) -> Self {
        Self {
            name: &replica.name.0,
            datacenter: datacenter.map(|datacenter| datacenter.0.as_str()),
            lost: replica.lost.as_deref(),
            keys: replica.keys,
            missing: replica.missing,
            alone: replica.alone,
            differing: replica.differing,
            written: replica.written,
            overwrites: replica.overwrites,
            deletes: replica.deletes,
            usage: UsageJson::new(&replica.usage),
        }
    }
}

impl UsageJson {
    fn new(usage: &Usage) -> Self {
        let Usage {
            keys_read,
            keys_written,
            commands,
            round_trips,
            bytes_read,
            bytes_written,
        } = *usage;
        Self {
            keys_read,
            keys_written,
            commands,
            round_trips,
            bytes_read,
            bytes_written,
        }
    }
}
