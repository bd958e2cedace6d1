//! Agreements and lags.
//!
//! ```text
//! agreement   tags | version | proved | since | memory? | removed?     tags: 1 there, 2 elements were removed
//! lag         tags | proved | since | seen | memory?                       tags: base in the low half, 0x10 evicted
//! ended       when it ended | the record as it stood
//! ```

use std::collections::BTreeMap;

use crate::model::{Agreement, Expiry, Kind, Lag, LagBase, Millis, Sequence, ValueDigest, Version};

use super::super::codec::{Read, Reader, Unreadable, put_number, put_signed};
use super::memory::{
    put_memory, put_seen, put_versions, read_memory, read_seen, read_summary, read_versions,
};
use super::{FORMAT, Record};

const THERE: u8 = 1;
const REMOVED: u8 = 2;

const BASE_BITS: u8 = 0x0f;
const EVICTED: u8 = 0x10;

const AGREED: u8 = 1;
const HELD_NOTHING: u8 = 2;
const HELD: u8 = 3;
const UNKNOWN: u8 = 4;

impl Record for Agreement {
    fn put(&self, out: &mut Vec<u8>) {
        let there = if self.memory.is_some() { THERE } else { 0 };
        let removed = if self.removed.is_empty() { 0 } else { REMOVED };
        out.push(there | removed);
        put_number(out, self.version.0);
        put_number(out, self.proved.0);
        put_signed(out, self.since.0);
        if let Some(memory) = &self.memory {
            put_memory(out, memory);
        }
        if !self.removed.is_empty() {
            put_versions(out, &self.removed);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let head = AgreementHead::read(reader)?;
        Ok(Self {
            version: head.version,
            memory: if head.there {
                Some(read_memory(reader)?)
            } else {
                None
            },
            removed: if head.has_removed {
                read_versions(reader)?
            } else {
                BTreeMap::new()
            },
            proved: head.proved,
            since: head.since,
        })
    }
}

/// The beginning of an agreement.
struct AgreementHead {
    there: bool,
    has_removed: bool,
    version: Version,
    proved: Sequence,
    since: Millis,
}

impl AgreementHead {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let tags = reader.byte()?;
        if tags & !(THERE | REMOVED) != 0 {
            return Err(Unreadable::Broken("unknown tags"));
        }
        Ok(Self {
            there: tags & THERE != 0,
            has_removed: tags & REMOVED != 0,
            version: Version(reader.number()?),
            proved: Sequence(reader.number()?),
            since: Millis(reader.signed()?),
        })
    }
}

/// What a listing shows of an agreement, read without its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::state) enum Head {
    /// The key was removed.
    Tombstone,
    /// The key is there, since a step proved it.
    There(Kind, Expiry, ValueDigest, Sequence),
}

impl Head {
    pub(in crate::state) fn of(record: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(record);
        reader.format(FORMAT)?;
        let head = AgreementHead::read(&mut reader)?;
        if !head.there {
            return Ok(Self::Tombstone);
        }
        let (kind, expiry, digest) = read_summary(&mut reader)?;
        Ok(Self::There(kind, expiry, digest, head.proved))
    }

    /// Whether the record of an agreement holds tombstones: its own, or those of elements.
    pub(in crate::state) fn has_tombstones(record: &[u8]) -> Read<bool> {
        let mut reader = Reader::new(record);
        reader.format(FORMAT)?;
        let head = AgreementHead::read(&mut reader)?;
        Ok(!head.there || head.has_removed)
    }
}

impl Record for Lag {
    fn put(&self, out: &mut Vec<u8>) {
        let base = match &self.base {
            LagBase::Agreed => AGREED,
            LagBase::Held(None) => HELD_NOTHING,
            LagBase::Held(Some(_)) => HELD,
            LagBase::Unknown => UNKNOWN,
        };
        out.push(if self.evicted { base | EVICTED } else { base });
        put_number(out, self.proved.0);
        put_number(out, self.since.0);
        put_seen(out, &self.seen);
        if let LagBase::Held(Some(memory)) = &self.base {
            put_memory(out, memory);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let tags = reader.byte()?;
        let proved = Sequence(reader.number()?);
        let since = Sequence(reader.number()?);
        let seen = read_seen(reader)?;
        Ok(Self {
            base: read_base(tags, reader)?,
            seen,
            proved,
            since,
            evicted: tags & EVICTED != 0,
        })
    }
}

fn read_base(tags: u8, reader: &mut Reader<'_>) -> Read<LagBase> {
    if tags & !(BASE_BITS | EVICTED) != 0 {
        return Err(Unreadable::Broken("unknown tags"));
    }
    Ok(match tags & BASE_BITS {
        AGREED => LagBase::Agreed,
        HELD_NOTHING => LagBase::Held(None),
        HELD => LagBase::Held(Some(read_memory(reader)?)),
        UNKNOWN => LagBase::Unknown,
        _ => return Err(Unreadable::Broken("an unknown base")),
    })
}

/// What the first bytes of a lag tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::state) enum Standing {
    /// It has everything, only its proof is another.
    AtVersion,
    /// It lags, or its key is missing there because it evicts.
    Behind,
}

pub(in crate::state) fn standing(record: &[u8]) -> Read<(Standing, Sequence)> {
    let mut reader = Reader::new(record);
    reader.format(FORMAT)?;
    let standing = match reader.byte()? {
        AGREED => Standing::AtVersion,
        _ => Standing::Behind,
    };
    Ok((standing, Sequence(reader.number()?)))
}

/// A record that was superseded, as it stood, with when that was.
pub(in crate::state) fn put_ended(at: Millis, record: &[u8]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_signed(&mut out, at.0);
    out.extend_from_slice(record);
    out
}

pub(in crate::state) fn ended(bytes: &[u8]) -> Read<(Millis, &[u8])> {
    let mut reader = Reader::new(bytes);
    reader.format(FORMAT)?;
    let at = Millis(reader.signed()?);
    Ok((at, reader.rest()))
}
