//! The edge to Redis: what reknit asks of a replica, in memory and over a connection.
//!
//! ```text
//! scan ──▶ entries (digests)      where to look
//! fetch ─▶ observed states        what is there
//! write ─▶ one outcome per key    compare, then write, beside the replica
//! ```
//!
//! Deliberately absent: any idea of other replicas, of merging, of retrying a superseded write.

mod acl;
mod apply;
mod bulk;
mod capabilities;
mod cluster;
mod commands;
mod compare;
mod counter;
mod deployment;
mod dump;
mod elements;
mod error;
mod expiries;
mod facts;
mod fields;
mod functions;
mod health;
mod large;
mod markers;
mod memory;
mod multi;
mod observe;
mod outcome;
mod page;
mod pieces;
mod rack;
mod reading;
mod redis;
mod rehearsal;
mod resp;
mod sample;
mod seal;
mod sentinel;
mod server_info;
mod slots;
mod spread;
mod stamped;
mod stamps;
mod stream_end;
mod tls;
mod transaction;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::{
    DbIndex, DigestKey, EntryRef, Expiry, Glob, Key, Kind, Marker, Millis, OwnerToken, ReplicaName,
    RunNumber, Stamp, State, Write,
};

pub use acl::{Access, CLUSTER_ACL, acl_rule};
pub use apply::{ApplyError, apply, is_live, live};
pub use capabilities::{Capabilities, Capability, Told, refusal_of};
pub use cluster::ClusterReplica;
pub use deployment::{Deployment, Shard, SharedDeployment, Topology};
pub use error::StoreError;
pub use facts::{Facts, Product, Role, Usage};
pub use functions::{
    FUNCTION_LIBRARY, FUNCTIONS, FunctionOrder, Installed, Library, function_library,
    function_script,
};
pub use health::Health;
pub use large::{LargeState, Piece, PieceCursor, alone, only};
pub use memory::{Client, Data, Fault, Faults, MemoryReplica, Portions, Snapshot, Step};
pub use outcome::{Sealing, WriteOutcome, Written};
pub use rack::RackReplica;
pub use redis::RedisReplica;
pub use rehearsal::{Cause, Refusal};
pub use sample::Sample;
pub use seal::Seal;
pub use stamps::{Beside, StampQuery, StampReading};
pub use wire::{Connecting, Endpoint};

/// A whole value is held in memory up to this many elements; above, a key is large.
pub const WHOLE_ELEMENTS: usize = 4096;

/// A whole value is held in memory up to this many bytes of payload; above, a key is large.
pub const WHOLE_BYTES: usize = 1 << 20;

/// How many elements one command reads at the most.
pub const PAGE_ELEMENTS: usize = 1000;

/// How many bytes of one string a single command reads at the most.
pub const PAGE_BYTES: usize = 64 << 10;

/// How many keys one transaction writes at the most: WATCH is quadratic in the server.
pub const BATCH_KEYS: usize = 64;

/// Which keys a scan reads.
pub struct ScanRequest<'a> {
    /// The database; nothing means the replica's default.
    pub db: Option<DbIndex>,
    /// A pattern that all wanted keys match, for the server to leave out the others; nothing means all.
    pub pattern: Option<Glob>,
    /// Whether a key is wanted; asked before its value is read.
    pub wanted: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// The secret with which values are digested.
    pub digest_key: &'a DigestKey,
}

/// Receives what a scan finds, in any order; a key may come twice.
pub trait EntrySink: Send {
    /// A key that was read.
    fn entry(&mut self, entry: EntryRef<'_>);

    /// A key that is there and could not be read; it is not absent.
    fn unreadable(&mut self, key: &[u8], reason: &str);
}

/// What a scan did besides finding entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanReport {
    /// Names that the server listed, duplicates and unwanted ones included.
    pub names_seen: u64,
    /// Keys whose values were read.
    pub keys_read: u64,
    /// Whether markers of a reknit with a memory were seen.
    pub markers_seen: bool,
}

/// What a replica holds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Nothing.
    Absent,
    /// A value that fits into memory.
    Whole(State),
    /// A value that does not; it was read in pieces and digested.
    Large(LargeState),
    /// Something that could not be read, and why. Never taken for absent.
    Unreadable(String),
}

/// Waits until work may go on: what keeps a repair from being felt.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Waits until so many more keys may be read.
    async fn keys(&self, count: u64);

    /// Waits until so many bytes, already moved, are paid for.
    async fn bytes(&self, count: u64);
}

/// One complete copy of the data.
///
/// Every method may be called at the same time as others.
#[async_trait]
pub trait Replica: Send + Sync {
    /// The replica's configured name.
    fn name(&self) -> &ReplicaName;

    /// What its servers can do, as far as connections told so far. Of several servers: what all of them can.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    /// The same replica with connections of its own, to be used on a thread of its own; nothing where a thread gains
    /// nothing. What it moves is counted here.
    fn detached(&self) -> Option<Arc<dyn Replica>> {
        None
    }

    /// Reads every wanted key once and digests it. Keys written meanwhile may be missing or stand twice.
    ///
    /// # Errors
    /// When the replica cannot be read on; what the sink got until then is not a whole account.
    async fn scan(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError>;

    /// Reads and digests the named keys; absent ones are left out.
    ///
    /// # Errors
    /// When the replica cannot be read.
    async fn scan_keys(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError>;

    /// Reads keys afresh, one answer per key in the same order.
    ///
    /// # Errors
    /// When the replica cannot be read; a single unreadable key is [`Observed::Unreadable`] instead.
    async fn fetch(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError>;

    /// Lists the elements of a large set, hash, sorted set or stream as entries: the element's name as the key, at
    /// [`crate::model::Position::of_element`], with the digest of a collection that holds this element alone, as
    /// [`alone`] makes it. An element's entry has no expiry: that of a hash field is in its digest.
    ///
    /// Answers the collection's state, or nothing if it is gone or no longer of that kind.
    ///
    /// # Errors
    /// When the replica cannot be read.
    async fn elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError>;

    /// Reads the named elements of a large collection: a collection of only those that are there, which may be void.
    /// Nothing if the key is gone or of another kind. Streams: names are IDs as text; last ID and groups are whole.
    ///
    /// # Errors
    /// When the replica cannot be read.
    async fn fetch_elements(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError>;

    /// Reads the next piece of a value of any size.
    ///
    /// # Errors
    /// When the replica cannot be read; [`StoreError::Changed`] when the key is no longer of that kind.
    async fn read_piece(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), StoreError>;

    /// Adds a piece to a value that is being built aside, under a key below [`crate::model::ASIDE_PREFIX`].
    ///
    /// # Errors
    /// When the replica cannot be written.
    async fn build_aside(
        &self,
        db: Option<DbIndex>,
        aside: &Key,
        piece: Piece,
    ) -> Result<(), StoreError>;

    /// Removes a value that was built aside.
    ///
    /// # Errors
    /// When the replica cannot be written.
    async fn drop_aside(&self, db: Option<DbIndex>, aside: &Key) -> Result<(), StoreError>;

    /// Compares and writes: each key is watched, read again, compared with what is expected, and only then written,
    /// all its operations or none. One outcome per write, in the same order. A counter is compared and increased in
    /// one step instead, and not watched.
    ///
    /// At most [`BATCH_KEYS`] writes; they may be executed in one transaction or several.
    ///
    /// With a seal there is exactly one transaction, also of no writes: it happens only where the marker says what is
    /// expected, and sets it. What is superseded is left out. Where EXEC was sent and its answer lost, everything is
    /// unknown and nothing is tried again: the lane is to be fenced before anything else is written through it.
    ///
    /// # Errors
    /// When the replica could not be reached before anything was written. With a seal: [`StoreError::Fenced`] where
    /// the marker says something else, [`StoreError::Marker`] where it cannot be read; nothing was written then.
    async fn write(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError>;

    /// The named markers as they stand, one answer per name: those of this replica, and those that a tool may have
    /// copied from another.
    ///
    /// # Errors
    /// When the replica cannot be read; [`StoreError::Marker`] where one of the keys is no string.
    async fn markers(
        &self,
        db: Option<DbIndex>,
        names: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// One marker as it stands.
    ///
    /// # Errors
    /// As [`Replica::markers`].
    async fn marker(&self, db: Option<DbIndex>, lane: &Key) -> Result<Option<Bytes>, StoreError> {
        let found = self.markers(db, std::slice::from_ref(lane)).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// The state directories that ever wrote to this database, with the id that each has given the replica.
    ///
    /// # Errors
    /// When the replica cannot be read; [`StoreError::Marker`] where the list is none.
    async fn states(&self, db: Option<DbIndex>) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Takes a lane over: its marker gets this owner and run, and keeps the rest. Every transaction that was sent under
    /// the old marker and has not arrived yet will be aborted. Answers the marker that was found; where there is none,
    /// nothing is written.
    ///
    /// # Errors
    /// When the replica cannot be reached; the lane may have been taken over, and can be again.
    /// [`StoreError::Fenced`] where somebody else keeps writing the marker.
    async fn fence(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError>;

    /// The stamps that stand beside keys, one answer per query; at most [`BATCH_KEYS`]. A replica that keeps none says
    /// so of each.
    ///
    /// # Errors
    /// When the replica cannot be read.
    async fn stamps(
        &self,
        _db: Option<DbIndex>,
        queries: &[StampQuery],
    ) -> Result<Vec<StampReading>, StoreError> {
        let none = |_| Err("the replica keeps no stamps".to_owned());
        Ok(queries.iter().map(none).collect())
    }

    /// One page of the removals that stand beside the data: of keys, where no set is named, else of that key's elements;
    /// and where the next page begins, 0 behind the last. A removal may come twice.
    ///
    /// # Errors
    /// When the replica cannot be read, or the set holds no stamps.
    async fn removals(
        &self,
        _db: Option<DbIndex>,
        _of: Option<&Key>,
        _cursor: u64,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        Ok((Vec::new(), 0))
    }

    /// One page of the keys that have this beside them, and where the next begins. A key may come twice.
    ///
    /// # Errors
    /// When the replica cannot be read.
    async fn keys_beside(
        &self,
        _db: Option<DbIndex>,
        _what: Beside,
        _cursor: u64,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        Ok((Vec::new(), 0))
    }

    /// The names under which the functions of its servers count; nothing where none are installed.
    ///
    /// # Errors
    /// When the replica cannot be asked, or its user may not.
    async fn counting_names(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Values as the server itself writes them, with their expiry, one answer per key: for [`crate::model::Op::Restore`].
    /// Not for large ones.
    ///
    /// # Errors
    /// When the replica cannot be read.
    async fn dump(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
    ) -> Result<Vec<Option<(Bytes, Expiry)>>, StoreError>;

    /// Names of the keys that reknit itself left in the database.
    ///
    /// # Errors
    /// When the replica cannot be read.
    async fn own_keys(&self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError>;

    /// What the server says of itself.
    ///
    /// # Errors
    /// When the replica cannot be asked.
    async fn facts(&self) -> Result<Facts, StoreError>;

    /// How the server is right now, asked on a connection of its own and within a bounded time. What that moves is not
    /// part of [`Replica::usage`].
    ///
    /// # Errors
    /// When the replica does not answer in time.
    async fn health(&self) -> Result<Health, StoreError>;

    /// What was moved so far, over all connections.
    fn usage(&self) -> Usage;

    /// The replica's own clock.
    ///
    /// # Errors
    /// When the replica cannot be asked.
    async fn now(&self) -> Result<Millis, StoreError>;
}
