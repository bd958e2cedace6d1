//! What the API shows: its own shapes, so that the inside can change without them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::daemon::desk::ScheduleView;
use crate::model::{Expiry, Millis, escape};
use crate::repair::{Finding, Holding};

/// A schedule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due: String,
    /// Its keyspaces; empty means all.
    pub keyspaces: Vec<String>,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it had no full success for too long.
    pub overdue: bool,
    /// Whether it may work now.
    pub open: bool,
    /// Whether a run of it is under way.
    pub running: bool,
    /// Whether an operator asked for a run that has not begun.
    pub asked: bool,
    /// When it runs next, in milliseconds since 1970.
    pub next_run_ms: Option<i64>,
    /// When a run of it last began.
    pub last_started_ms: Option<i64>,
    /// When a run of it last ended.
    pub last_ended_ms: Option<i64>,
    /// When a run of it last ended that missed nothing.
    pub last_success_ms: Option<i64>,
}

/// A key that differs, or did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Divergence {
    /// The key, escaped as redis-cli shows it.
    pub key: String,
    /// The database.
    pub db: u32,
    /// The keyspace.
    pub keyspace: String,
    /// The type; null if it could not be read.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<&'static str>,
    /// In what way: `missing`, `type`, `value` or `expiry`.
    #[schema(value_type = String)]
    pub difference: &'static str,
    /// What became of it.
    #[schema(value_type = String)]
    pub verdict: &'static str,
    /// What there is to say beyond that.
    pub reason: Option<String>,
    /// The merge rule that was applied.
    #[schema(value_type = Option<String>)]
    pub rule: Option<&'static str>,
    /// How it was decided, where a preference decided it.
    pub decided: Option<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What each replica held.
    pub holdings: BTreeMap<String, Held>,
    /// What was written, or was to be.
    pub changes: Vec<Change>,
}

/// What a replica held.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Held {
    /// `held`, `absent`, `unreadable`, or `away` if it took no part.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// The type.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<&'static str>,
    /// Elements of a collection, bytes of a string.
    pub length: Option<u64>,
    /// When the key ends, in milliseconds since 1970; null means never.
    pub expires_at_ms: Option<i64>,
}

/// A change to a key of one replica.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Change {
    /// Where.
    pub replica: String,
    /// What.
    pub operations: Vec<String>,
    /// `planned`, `applied`, `superseded`, `refused` or `unknown`.
    #[schema(value_type = String)]
    pub fate: &'static str,
}

/// When a key ends; nothing means never.
pub(super) fn expires_at(expiry: Expiry) -> Option<i64> {
    match expiry {
        Expiry::At(at) => Some(at.0),
        Expiry::Never => None,
    }
}

impl From<ScheduleView> for Schedule {
    fn from(view: ScheduleView) -> Self {
        let millis = |at: Option<Millis>| at.map(|at| at.0);
        let ScheduleView {
            due,
            keyspaces,
            status,
        } = view;
        Self {
            name: status.name,
            due,
            keyspaces,
            paused: status.memory.paused,
            overdue: status.overdue,
            open: status.open,
            running: status.running,
            asked: status.memory.asked.is_some(),
            next_run_ms: millis(status.next_run),
            last_started_ms: millis(status.memory.last_started),
            last_ended_ms: millis(status.memory.last_ended),
            last_success_ms: millis(status.memory.last_success),
        }
    }
}

impl Divergence {
    /// A finding of a run over these replicas.
    pub fn of(
        finding: &Finding,
        replicas: &[(crate::model::ReplicaName, crate::model::Datacenter)],
    ) -> Self {
        let names = replicas.iter().map(|(name, _)| name.0.clone());
        let holdings = finding.holdings.iter().map(|one| Held::of(one.as_ref()));
        Self {
            key: escape(finding.key.as_bytes()),
            db: finding.db.0,
            keyspace: finding.keyspace.0.clone(),
            kind: finding.kind().map(|kind| kind.name()),
            difference: finding.difference.name(),
            verdict: finding.verdict.name(),
            reason: finding.verdict.reason(),
            rule: finding.rule,
            decided: finding.decided.clone(),
            notes: finding.notes.clone(),
            holdings: names.zip(holdings).collect(),
            changes: finding
                .changes
                .iter()
                .map(|change| Change {
                    replica: change.replica.0.clone(),
                    operations: change.ops.clone(),
                    fate: change.fate.name(),
                })
                .collect(),
        }
    }
}

impl Held {
    fn of(holding: Option<&Holding>) -> Self {
        let held = holding.and_then(Holding::held);
        Self {
            state: match holding {
                None => "away",
                Some(Holding::Absent) => "absent",
                Some(Holding::Unreadable) => "unreadable",
                Some(Holding::Held(_)) => "held",
            },
            kind: held.map(|held| held.kind.name()),
            length: held.map(|held| held.length),
            expires_at_ms: held.and_then(|held| expires_at(held.expiry)),
        }
    }
}
