//! An entry: key, digest of its value, and expiry, as one replica holds it.

use super::{Expiry, Key, Kind, Position, ValueDigest};

/// One replica's account of a key, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the key lies.
    pub position: Position,
    /// The key.
    pub key: Key,
    /// The value's type.
    pub kind: Kind,
    /// The value's digest.
    pub digest: ValueDigest,
    /// When the key ends.
    pub expiry: Expiry,
}

/// An entry that borrows its key, as it comes out of a read buffer or an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Where the key lies.
    pub position: Position,
    /// The key's bytes.
    pub key: &'a [u8],
    /// The value's type.
    pub kind: Kind,
    /// The value's digest.
    pub digest: ValueDigest,
    /// When the key ends.
    pub expiry: Expiry,
}

impl EntryRef<'_> {
    /// A copy that owns its key.
    pub fn to_owned(&self) -> Entry {
        Entry {
            position: self.position,
            key: Key::copied(self.key),
            kind: self.kind,
            digest: self.digest,
            expiry: self.expiry,
        }
    }
}

impl Entry {
    /// The same entry, borrowing the key.
    pub fn as_ref(&self) -> EntryRef<'_> {
        EntryRef {
            position: self.position,
            key: self.key.as_bytes(),
            kind: self.kind,
            digest: self.digest,
            expiry: self.expiry,
        }
    }
}
