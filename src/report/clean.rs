//! What `clean` says: which of reknit's own keys were found in the replicas, and which were removed.

use std::io::{self, Write};

use serde::Serialize;

use crate::model::{DbIndex, ReplicaName};

use super::{Shape, document, human, json};

/// One database of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CleanedDatabase {
    /// Its number.
    #[serde(serialize_with = "json::db")]
    pub db: DbIndex,
    /// Keys of reknit's own that were found.
    pub found: u64,
    /// Those of them that were removed.
    pub removed: u64,
    /// Those of them that are markers, which are kept unless they are asked for.
    pub kept: u64,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CleanedReplica {
    /// Its name.
    #[serde(serialize_with = "json::shown")]
    pub name: ReplicaName,
    /// The databases that were looked through.
    pub databases: Vec<CleanedDatabase>,
    /// Why it was not looked through, or not to the end.
    pub lost: Option<String>,
}

/// What was found and removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CleanReport {
    /// Whether keys were only counted.
    pub dry_run: bool,
    /// Every replica, in datacenter order.
    pub replicas: Vec<CleanedReplica>,
}

impl CleanReport {
    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        let page = || human::clean(shape, self);
        document::write(shape, "reknit.clean/1", self, page, exit_code, out)
    }
}
