//! What `explain KEY` says: who holds what, what should be there, and why.

use std::io::{self, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Datacenter, DbIndex, Expiry, Key, KeyspaceName, Kind, Millis, ReplicaName};
use crate::repair::Holding;

use super::{Shape, document, human, json};

/// The schema of the report.
const SCHEMA: &str = "reknit.explain/1";

/// How a replica stands to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It holds the key.
    Held,
    /// It lacks the key.
    Absent,
    /// It cannot read the key, which is not the same as lacking it.
    Unreadable,
    /// It takes no part, so nothing is known.
    Unknown,
}

impl Standing {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
        }
    }

    /// How a replica stands to the key of a finding.
    pub(super) fn of(holding: Option<&Holding>) -> Self {
        match holding {
            None => Self::Unknown,
            Some(Holding::Unreadable) => Self::Unreadable,
            Some(Holding::Absent) => Self::Absent,
            Some(Holding::Held(_)) => Self::Held,
        }
    }
}

/// Everything that is known about one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainReport {
    /// The key.
    #[serde(serialize_with = "json::key")]
    pub key: Key,
    /// The database.
    #[serde(serialize_with = "json::db")]
    pub db: DbIndex,
    /// The keyspace that owns it.
    #[serde(serialize_with = "json::shown")]
    pub keyspace: KeyspaceName,
    /// The cluster slot of the key.
    pub slot: u16,
    /// Its position, in hexadecimal.
    pub position: String,
    /// Whether all replicas hold the same.
    pub equal: bool,
    /// In what way they differ: `missing`, `type`, `value` or `expiry`.
    pub difference: Option<&'static str>,
    /// What each replica holds, in datacenter order.
    pub siblings: Vec<ExplainedSibling>,
    /// What stands in the value, element by element: those that differ first.
    pub elements: Vec<ExplainedElement>,
    /// Elements that are not listed.
    pub elements_left_out: u64,
    /// The merge rule.
    pub rule: String,
    /// The evidence that was used: recorded, agreed, or neither.
    pub evidence: String,
    /// How it was decided, where a preference decided it.
    pub decided: Option<String>,
    /// What every replica should hold; nothing where that is open.
    pub result: Option<ExplainedResult>,
    /// Why it is open, where it is.
    pub unresolved: Option<String>,
    /// What a repair would write.
    pub writes: Vec<ExplainedWrite>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What is remembered of it; nothing without memory.
    pub memory: Option<ExplainedMemory>,
}

/// What is remembered of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedMemory {
    /// The latest version; nothing if nothing was ever agreed.
    pub agreed: Option<ExplainedVersion>,
    /// The run that put the key back: it waits until the operator names it.
    pub held_by: Option<u64>,
    /// Each replica, in datacenter order.
    pub replicas: Vec<ExplainedPast>,
}

/// The latest version of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedVersion {
    /// Its number.
    pub version: u64,
    /// Since when.
    #[serde(rename = "since_ms", serialize_with = "json::millis")]
    pub since: Millis,
    /// The type; nothing if it was agreed that the key is gone.
    #[serde(rename = "type", serialize_with = "json::kind")]
    pub kind: Option<Kind>,
    /// When the key ends.
    #[serde(rename = "expires_at_ms", serialize_with = "json::expiry")]
    pub expiry: Expiry,
    /// How many elements are remembered one by one; nothing where it is remembered as a whole.
    pub elements: Option<u64>,
    /// The number of a counter.
    pub number: Option<i64>,
}

/// What a replica did since it last took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedPast {
    /// The replica.
    #[serde(serialize_with = "json::shown")]
    pub replica: ReplicaName,
    /// What it did: `unchanged`, `added`, `changed`, `removed`, `newcomer`, `evicted`, `unknown`.
    pub did: &'static str,
    /// Whether it was not yet brought to the latest version.
    pub lags: bool,
    /// Whether it lost some of the last writes.
    pub rolled_back: bool,
}

/// One replica's state of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedSibling {
    /// The replica.
    #[serde(serialize_with = "json::shown")]
    pub replica: ReplicaName,
    /// Its datacenter.
    #[serde(serialize_with = "json::shown")]
    pub datacenter: Datacenter,
    /// How it stands to the key.
    pub state: Standing,
    /// The type, where the key is held.
    #[serde(rename = "type", serialize_with = "json::kind")]
    pub kind: Option<Kind>,
    /// Elements of a collection, bytes of a string.
    pub length: u64,
    /// When the key ends; milliseconds in JSON, null for never.
    #[serde(rename = "expires_at_ms", serialize_with = "json::expiry")]
    pub expiry: Expiry,
    /// Why nothing is known or could be read.
    pub problem: Option<String>,
}

/// One element of the value, side by side; the value itself, of a string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedElement {
    /// What it is: `value`, `field`, `member`, `score`, `index`, `entry`, `group`, `last-id`, `expiry`; of what stands
    /// beside the key, `added`, `removed`, `counted`, `counted-since`, `counted-from`.
    pub what: String,
    /// Its name, where it has one.
    #[serde(serialize_with = "json::blob")]
    pub name: Option<Bytes>,
    /// What each replica holds there, in datacenter order; nothing where it is absent or unknown.
    #[serde(serialize_with = "json::blobs")]
    pub values: Vec<Option<Bytes>>,
    /// What should be there; nothing if it should be absent.
    #[serde(serialize_with = "json::blob")]
    pub result: Option<Bytes>,
    /// Whether the replicas differ in it.
    pub differs: bool,
    /// What each replica did with it since it last took part, in datacenter order; empty where that is not remembered.
    pub since: Vec<Option<&'static str>>,
}

/// What every replica should hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedResult {
    /// The type; nothing if the key should be absent.
    #[serde(rename = "type", serialize_with = "json::kind")]
    pub kind: Option<Kind>,
    /// Elements of a collection, bytes of a string.
    pub length: u64,
    /// When the key ends; milliseconds in JSON, null for never.
    #[serde(rename = "expires_at_ms", serialize_with = "json::expiry")]
    pub expiry: Expiry,
}

/// What a repair would write to one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedWrite {
    /// The replica.
    #[serde(serialize_with = "json::shown")]
    pub replica: ReplicaName,
    /// The operations, in words.
    pub operations: Vec<String>,
}

/// The report of a service on one key: what it says is passed on.
#[derive(Debug, Clone, Deserialize)]
pub struct ExplainedThere {
    /// The exit code.
    pub exit_code: u8,
    page: String,
    report: Value,
}

impl ExplainedThere {
    /// Reads what the service says.
    ///
    /// # Errors
    /// When something is missing: it is another version.
    pub fn read(body: Value) -> serde_json::Result<Self> {
        serde_json::from_value(body)
    }

    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, out: &mut dyn Write) -> io::Result<()> {
        let page = || self.page.clone();
        document::write(shape, SCHEMA, &self.report, page, self.exit_code, out)
    }
}

impl ExplainReport {
    /// The report for people, without colours.
    pub fn page(&self) -> String {
        human::explain(&Shape::page(), self)
    }

    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        let page = || human::explain(shape, self);
        document::write(shape, SCHEMA, self, page, exit_code, out)
    }
}
