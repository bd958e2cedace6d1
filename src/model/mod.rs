//! The nouns of reknit: keys, positions, values, digests, expiries, policies.
//!
//! Pure: no I/O, clock, randomness, logging or async anywhere below. Every other room speaks in these words, and
//! this room uses none of the others.

mod address;
mod agreement;
#[cfg(test)]
pub(crate) mod arbitrary;
mod counts;
mod digest;
mod elements;
mod entry;
mod expiry;
mod glob;
mod hyperloglog;
mod key;
mod keyspace;
mod limits;
mod md5;
mod memory;
mod op;
mod policy;
mod position;
mod range;
mod replica;
mod restamping;
mod ring;
mod selection;
mod stamp;
mod token_hash;
mod value;
mod value_digest;

pub use address::{Address, Credentials, HostPort, Secret, Tls};
pub use agreement::{
    Agreement, Lag, LagBase, Lane, Marker, OwnerToken, ReplicaId, RunNumber, Sequence, StateId,
    Voids,
};
pub use counts::Counts;
pub use digest::{DIGEST_FORMAT, DigestKey, Sum, ValueDigest};
pub use elements::{ElementRef, Elements, FEW_BYTES, FEW_ELEMENTS, Shape};
pub use entry::{Entry, EntryRef};
pub use expiry::{Expiry, Millis};
pub use glob::Glob;
pub use hyperloglog::{REGISTER_COUNT, Registers};
pub use key::{Key, escape, unescape};
pub use keyspace::{DbIndex, Keyspace, KeyspaceName, Keyspaces};
pub use limits::{
    AgreementBounds, Guards, Intensity, JournalBounds, Limits, Ratio, StampBounds, StateDir,
};
pub use memory::{Amount, Body, ElementMemory, Memory, Seen, Version};
pub use op::{Expect, Op, Witness, Write};
pub use policy::{
    ExpiryPolicy, ExpiryRule, HashRule, HllRule, ListRule, OnDeleteConflict, Policy, PolicyMark,
    Preference, Rules, SetRule, StreamRule, StringRule, ZsetRule,
};
pub use position::{Position, Slot, key_slot, slot_tag};
pub use range::{PositionRange, SlotRange};
pub use replica::{Datacenter, ReplicaIndex, ReplicaName};
pub use restamping::Restamping;
pub use ring::{Placement, Ring, RingError};
pub use selection::Selection;
pub use stamp::{Layout, Stamp, StampSet, Stamped, Stamps, holds_stamps};
pub use token_hash::TokenHash;
pub use value::{Field, Kind, Opaque, Score, State, Stream, StreamId, Value};
pub use value_digest::{Digester, ListDigest, StringDigest};

/// The prefix of every key that reknit itself writes into a replica (markers, values being built aside).
///
/// Keys below it are never compared, copied or repaired.
pub const OWN_PREFIX: &[u8] = b"reknit:";

/// The prefix of values that are built aside before they take a key's place; what a killed run left of them is
/// removed by `reknit clean`.
pub const ASIDE_PREFIX: &[u8] = b"reknit:aside:";

/// The prefix of markers, by which a replica shows that it forgot nothing.
pub const MARKER_PREFIX: &[u8] = b"reknit:marker:";

/// The hash that names the state directories that write to a database: by state id, the replica's id in it.
pub const STATES_KEY: &[u8] = b"reknit:states";
