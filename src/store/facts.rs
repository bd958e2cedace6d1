//! What a server says of itself, and what talking to it cost.

use std::collections::BTreeMap;

use crate::model::DbIndex;

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

/// What a server says of itself (INFO, TIME).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The identity of the server process.
    pub run_id: String,
    /// The database that is meant without a choice.
    pub default_db: DbIndex,
    /// Its version, as it prints it.
    pub version: String,
    /// Whether it takes writes.
    pub role: Role,
    /// Whether it refuses writes because it is a read-only replica.
    pub read_only: bool,
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
    /// Keys per database.
    pub keys: BTreeMap<DbIndex, u64>,
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
