//! What a server says of itself, and what talking to it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::DbIndex;

use super::Capabilities;

/// Whether a server takes writes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It does.
    Master,
    /// It follows another server; named as `host:port`.
    ReplicaOf(String),
    /// Neither, or unknown; in the server's words.
    Other(String),
}

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Redis, or one that cannot be told from it.
    Redis,
    /// Valkey.
    Valkey,
    /// Another that speaks the protocol.
    Other,
}

impl Product {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
            Self::Other => "compatible with redis",
        }
    }
}

/// What a server says of itself (INFO, TIME).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The identity of the server process.
    pub run_id: String,
    /// The database that is meant without a choice.
    pub default_db: DbIndex,
    /// Whose server it is.
    pub product: Product,
    /// Its version, as it prints it.
    pub version: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether it takes writes.
    pub role: Role,
    /// Whether it refuses writes because it is a read-only replica.
    pub read_only: bool,
    /// Whether it is a node of a Redis Cluster, which holds some of the slots only.
    pub clustered: bool,
    /// Whether it is still loading its data.
    pub loading: bool,
    /// Bytes in use.
    pub used_memory: u64,
    /// Bytes it may use; 0 is unlimited.
    pub max_memory: u64,
    /// What it does when memory is full, such as `noeviction`.
    pub max_memory_policy: String,
    /// Keys evicted since it started.
    pub evicted_keys: u64,
    /// Whether it is saving or rewriting in a child process.
    pub saving: bool,
    /// The identity of its history: another one after a failover, and after most restarts.
    pub replication_id: String,
    /// For how long the process has been running.
    pub uptime: Duration,
    /// Keys per database.
    pub keys: BTreeMap<DbIndex, u64>,
}

impl Facts {
    /// Major and minor version, as far as they can be read.
    pub fn release(&self) -> Option<(u32, u32)> {
        release_of(&self.version)
    }
}

/// Major and minor of a version, as far as they can be read.
pub(crate) fn release_of(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

/// What talking to a replica has moved so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Keys whose values were read, every reading counted.
    pub keys_read: u64,
    /// Keys that were written.
    pub keys_written: u64,
    /// Commands sent.
    pub commands: u64,
    /// Times that an answer was waited for.
    pub round_trips: u64,
    /// Bytes received.
    pub bytes_read: u64,
    /// Bytes sent.
    pub bytes_written: u64,
}

impl Usage {
    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            keys_read: self.keys_read + other.keys_read,
            keys_written: self.keys_written + other.keys_written,
            commands: self.commands + other.commands,
            round_trips: self.round_trips + other.round_trips,
            bytes_read: self.bytes_read + other.bytes_read,
            bytes_written: self.bytes_written + other.bytes_written,
        }
    }

    /// What was moved since an earlier count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            keys_read: self.keys_read - earlier.keys_read,
            keys_written: self.keys_written - earlier.keys_written,
            commands: self.commands - earlier.commands,
            round_trips: self.round_trips - earlier.round_trips,
            bytes_read: self.bytes_read - earlier.bytes_read,
            bytes_written: self.bytes_written - earlier.bytes_written,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server with which everything is well.
    pub(crate) fn healthy() -> Facts {
        Facts {
            run_id: "r1".into(),
            default_db: DbIndex(0),
            product: Product::Redis,
            version: "7.0.15".into(),
            capabilities: Capabilities::ALL,
            role: Role::Master,
            read_only: false,
            clustered: false,
            loading: false,
            used_memory: 0,
            max_memory: 0,
            max_memory_policy: "noeviction".into(),
            evicted_keys: 0,
            saving: false,
            replication_id: "h1".into(),
            uptime: Duration::from_secs(60),
            keys: BTreeMap::new(),
        }
    }

    #[test]
    fn releases_are_read_as_far_as_they_go() {
        let table = [
            ("7.0.15", Some((7, 0))),
            ("8", Some((8, 0))),
            ("255.255.255", Some((255, 255))),
            ("", None),
            ("next", None),
        ];
        for (version, expected) in table {
            let facts = Facts {
                version: version.into(),
                ..healthy()
            };
            assert_eq!(facts.release(), expected, "{version}");
        }
    }
}
