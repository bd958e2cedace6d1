//! Values that do not stand in memory whole: read, digested and copied piece by piece.

use bytes::Bytes;

use crate::model::{Expiry, Kind, Score, StreamId, ValueDigest};

/// What is known of a large value after it was read in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeState {
    /// Its kind.
    pub kind: Kind,
    /// Digest of the whole value.
    pub digest: ValueDigest,
    /// When the key ends.
    pub expiry: Expiry,
    /// Elements of a collection, bytes of a string.
    pub length: u64,
}

/// Where the next piece of a value begins; opaque but for its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceCursor {
    /// At the beginning.
    Start,
    /// At a byte of a string, or an index of a list.
    Offset(u64),
    /// At a cursor of HSCAN, SSCAN or ZSCAN.
    Scan(u64),
    /// At a stream ID.
    Id(StreamId),
    /// Behind a stream's entries: its last ID and groups.
    End,
}

/// A bounded piece of a value. Elements of sets, hashes and sorted sets can come twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of a string, to be appended.
    Bytes(Bytes),
    /// Elements of a list, to be appended.
    Elements(Vec<Bytes>),
    /// Hash fields with their values.
    Fields(Vec<(Bytes, Bytes)>),
    /// Set members.
    Members(Vec<Bytes>),
    /// Sorted-set members with their scores.
    Scored(Vec<(Bytes, Score)>),
    /// Stream entries in ascending order.
    Entries(Vec<(StreamId, Vec<(Bytes, Bytes)>)>),
    /// The end of a stream: its last ID and its groups.
    StreamEnd {
        /// The last ID it ever gave.
        last_id: StreamId,
        /// Groups with the ID they start behind.
        groups: Vec<(Bytes, StreamId)>,
    },
}
