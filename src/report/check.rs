//! What `check` says: whether a run could be made, what stands in its way, and what it would take.

use std::io::{self, Write};

use serde::Serialize;

use crate::model::{Datacenter, DbIndex, KeyspaceName, ReplicaName};

use super::{Shape, document, human, json};

/// How grave a remark is; the greatest is the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// A run is possible, and the operator should know this.
    Warn,
    /// A run would fail, or must not be made.
    Error,
}

/// Something that was tried or seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// How grave it is.
    pub severity: Severity,
    /// What it is.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// The keys of one keyspace on one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyspaceKeys {
    /// The database.
    #[serde(serialize_with = "json::db")]
    pub db: DbIndex,
    /// The keyspace.
    #[serde(serialize_with = "json::shown")]
    pub keyspace: KeyspaceName,
    /// About how many keys it has there.
    pub keys: u64,
}

/// What a server can do that not every server can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedCapabilities {
    /// The names of those that it has.
    pub has: Vec<&'static str>,
    /// The names of those that it lacks.
    pub lacks: Vec<&'static str>,
    /// What each of those that it lacks comes to.
    #[serde(skip)]
    pub instead: Vec<&'static str>,
    /// How that was found out: `COMMAND INFO`, `its version` or `nothing`.
    pub told_by: &'static str,
}

/// One replica as it was found. What could not be learned is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedReplica {
    /// Its name.
    #[serde(serialize_with = "json::shown")]
    pub name: ReplicaName,
    /// Its datacenter.
    #[serde(serialize_with = "json::shown")]
    pub datacenter: Datacenter,
    /// Its address, without user and password.
    pub endpoint: String,
    /// The server's name and version, `redis 7.0.15`.
    pub version: Option<String>,
    /// Its role, `master` or `replica of …`.
    pub role: Option<String>,
    /// Bytes of memory in use.
    pub memory_bytes: Option<u64>,
    /// Bytes of memory at the most; nothing also where there is no limit.
    pub memory_limit_bytes: Option<u64>,
    /// About how many keys it has, by keyspace.
    pub keyspaces: Vec<KeyspaceKeys>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// What it can do that not every server can.
    pub capabilities: Option<CheckedCapabilities>,
    /// The smallest ACL rule that reknit needs on this version.
    pub acl_rule: Option<String>,
    /// The part of it that `diff` alone needs.
    pub acl_rule_diff: Option<String>,
    /// What was tried and seen.
    pub remarks: Vec<Remark>,
}

/// What a run would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Keys to read, on all replicas together.
    pub keys: u64,
    /// Bytes to read, on all replicas together.
    pub bytes: u64,
    /// Milliseconds, at the configured limits.
    pub duration_ms: u64,
    /// Bytes of memory that reknit would use at the most.
    pub memory_bytes: u64,
}

/// Whether a run could be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Every replica, in datacenter order.
    pub replicas: Vec<CheckedReplica>,
    /// What concerns all of them, or the configuration.
    pub remarks: Vec<Remark>,
    /// What a run would take, where that can be told.
    pub estimate: Option<Estimate>,
}

/// The exit code of a check after which a run could be made, without all replicas.
const PARTIAL: u8 = 3;

impl CheckReport {
    /// How many remarks are of this severity.
    pub fn count(&self, severity: Severity) -> u64 {
        let replicas = self.replicas.iter().flat_map(|replica| &replica.remarks);
        let all = self.remarks.iter().chain(replicas);
        all.filter(|remark| remark.severity == severity).count() as u64
    }

    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        let page = || human::check(shape, self, exit_code == PARTIAL);
        document::write(shape, "reknit.check/1", self, page, exit_code, out)
    }
}
