//! Where records stand: the keys of the store, so that their order is the order they are read in.
//!
//! ```text
//! place    db 4 | position 8 | key             agreements; then, behind a place:
//!          replica 8                           lags
//!          commit 8                            superseded agreements, oldest first
//!          replica 8 | commit 8                ended lags, and states that were written over, oldest first
//! journal  run 8 | step 8 | replica 8 | place
//! book     a letter | what it is about
//! ```
//!
//! Numbers are big-endian, so that bytes order them.

use std::ops::Bound;

use crate::model::{DbIndex, Key, Position, PositionRange, ReplicaId, RunNumber, Sequence};

use super::codec::{Read, Reader, Unreadable, put_bytes};

/// Of a longer key, so many bytes and the key's digest are its name in a place: the store takes keys of 65,535 bytes.
pub(super) const LONGEST_NAME: usize = 60_000;

/// Bytes of the digest that ends a long key's name.
const DIGEST: usize = blake3::OUT_LEN;

/// Bytes of a place before the name.
const HEAD: usize = 12;

/// Bytes of a replica's id.
pub(super) const REPLICA: usize = 8;

/// Bytes of a commit's number.
pub(super) const COMMIT: usize = 8;

/// Begins the record of a long key, in place of a format: the key itself follows.
const LONG_KEY: u8 = 0xff;

/// The book's counters.
pub(super) const COMMITS: &[u8] = b"c";
/// The end of the block of steps that is reserved.
pub(super) const RESERVED: &[u8] = b"s";
/// The number of the last run.
pub(super) const LAST_RUN: &[u8] = b"r";
/// Whose store it is.
pub(super) const OWNER: &[u8] = b"o";

/// What the book is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chapter {
    Replicas,
    Lanes,
    Voids,
    Intents,
    Runs,
    Held,
    Outcomes,
    JournalSizes,
    Tombstones,
    Coverage,
    Evictions,
    Notes,
    Segments,
}

impl Chapter {
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Replicas => b'R',
            Self::Lanes => b'L',
            Self::Voids => b'V',
            Self::Intents => b'I',
            Self::Runs => b'N',
            Self::Held => b'H',
            Self::Outcomes => b'O',
            Self::JournalSizes => b'J',
            Self::Tombstones => b'T',
            Self::Coverage => b'K',
            Self::Evictions => b'E',
            Self::Notes => b'D',
            Self::Segments => b'S',
        }
    }

    /// The key of what is about this.
    pub(super) fn about(self, what: &[u8]) -> Vec<u8> {
        [&[self.letter()], what].concat()
    }

    pub(super) fn lane(self, replica: ReplicaId, db: DbIndex) -> Vec<u8> {
        self.about(&[&replica.0[..], &db.0.to_be_bytes()].concat())
    }

    pub(super) fn run(self, run: RunNumber) -> Vec<u8> {
        self.about(&run.0.to_be_bytes())
    }

    pub(super) fn step(self, sequence: Sequence) -> Vec<u8> {
        self.about(&sequence.0.to_be_bytes())
    }

    pub(super) fn place(self, db: DbIndex, key: &Key) -> Vec<u8> {
        self.about(&place(db, key.as_bytes()))
    }
}

/// Where a key stands.
pub(super) fn place(db: DbIndex, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + key.len().min(LONGEST_NAME + DIGEST) + COMMIT);
    out.extend_from_slice(&db.0.to_be_bytes());
    out.extend_from_slice(&Position::of(key).bits().to_be_bytes());
    if key.len() > LONGEST_NAME {
        out.extend_from_slice(&key[..LONGEST_NAME]);
        out.extend_from_slice(blake3::hash(key).as_bytes());
    } else {
        out.extend_from_slice(key);
    }
    out
}

/// Where a replica's lag stands.
pub(super) fn lag_place(db: DbIndex, key: &[u8], replica: ReplicaId) -> Vec<u8> {
    let mut out = place(db, key);
    out.extend_from_slice(&replica.0);
    out
}

/// Where what this commit superseded stands.
pub(super) fn ended_place(place: &[u8], commit: u64) -> Vec<u8> {
    [place, &commit.to_be_bytes()].concat()
}

/// Where a write stands in the journal.
pub(super) fn journal_place(
    run: RunNumber,
    sequence: Sequence,
    replica: ReplicaId,
    db: DbIndex,
    key: &Key,
) -> Vec<u8> {
    [
        &run.0.to_be_bytes()[..],
        &sequence.0.to_be_bytes(),
        &replica.0,
        &place(db, key.as_bytes()),
    ]
    .concat()
}

/// The places of a range of positions.
pub(super) fn places(db: DbIndex, range: PositionRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let at =
        |position: Position| [&db.0.to_be_bytes()[..], &position.bits().to_be_bytes()].concat();
    let end = match range.end {
        Some(end) => Bound::Excluded(at(end)),
        None => behind(&db.0.to_be_bytes()),
    };
    (Bound::Included(at(range.start)), end)
}

/// All that begins with these bytes.
pub(super) fn beginning(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (Bound::Included(prefix.to_vec()), behind(prefix))
}

/// The end of all that begins with these bytes.
fn behind(prefix: &[u8]) -> Bound<Vec<u8>> {
    let Some(last) = prefix.iter().rposition(|&byte| byte != u8::MAX) else {
        return Bound::Unbounded;
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Bound::Excluded(end)
}

/// A record with, for a long key, the key before it.
pub(super) fn named(key: &[u8], record: Vec<u8>) -> Vec<u8> {
    if key.len() <= LONGEST_NAME {
        return record;
    }
    let mut out = vec![LONG_KEY];
    put_bytes(&mut out, key);
    out.extend_from_slice(&record);
    out
}

/// The record itself.
pub(super) fn record_of(value: &[u8]) -> Read<&[u8]> {
    split_name(value).map(|(_, record)| record)
}

fn split_name(value: &[u8]) -> Read<(Option<&[u8]>, &[u8])> {
    if value.first() != Some(&LONG_KEY) {
        return Ok((None, value));
    }
    let mut reader = Reader::new(&value[1..]);
    let name = reader.slice()?;
    Ok((Some(name), reader.rest()))
}

/// A row whose key is a place: position, key and record.
pub(super) fn row<'a>(place: &'a [u8], value: &'a [u8]) -> Read<(Position, &'a [u8], &'a [u8])> {
    let name = place.get(HEAD..).ok_or(SHORT)?;
    let mut position = [0; 8];
    position.copy_from_slice(&place[4..HEAD]);
    let (long, record) = split_name(value)?;
    let position = Position::from_bits(u64::from_be_bytes(position));
    Ok((position, long.unwrap_or(name), record))
}

/// A place and the replica behind it.
pub(super) fn split_replica(bytes: &[u8]) -> Read<(&[u8], ReplicaId)> {
    let (place, replica) = bytes.split_last_chunk::<REPLICA>().ok_or(SHORT)?;
    Ok((place, ReplicaId(*replica)))
}

/// A place and the commit behind it.
pub(super) fn split_commit(bytes: &[u8]) -> Read<(&[u8], u64)> {
    let (place, commit) = bytes.split_last_chunk::<COMMIT>().ok_or(SHORT)?;
    Ok((place, u64::from_be_bytes(*commit)))
}

const SHORT: Unreadable = Unreadable::Broken("its place is cut off");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SlotRange;

    #[test]
    fn places_are_frozen_and_ordered_by_database_position_and_key() {
        let foo = place(DbIndex(1), b"foo");
        assert_eq!(
            foo,
            [
                0, 0, 0, 1, 0xbe, 0x58, 0x13, 0x82, 0xec, 0xe7, 0xcc, 0x2c, b'f', b'o', b'o'
            ]
        );
        assert!(place(DbIndex(1), b"bar") < foo, "its position is lower");
        assert!(place(DbIndex(0), b"foo") < place(DbIndex(1), b"bar"));
        let (position, key, record) = row(&foo, b"record").unwrap();
        assert_eq!(
            (position, key, record),
            (Position::of(b"foo"), &b"foo"[..], &b"record"[..])
        );
    }

    #[test]
    fn a_long_key_has_a_place_of_its_own_and_comes_back_whole() {
        let key = vec![b'k'; LONGEST_NAME + 1];
        let mut other = key.clone();
        other.push(b'k');
        let at = place(DbIndex(0), &key);
        assert!(at.len() < usize::from(u16::MAX) - COMMIT - REPLICA);
        assert_ne!(at, place(DbIndex(0), &other));
        let value = named(&key, b"\x01record".to_vec());
        let (_, name, record) = row(&at, &value).unwrap();
        assert_eq!((name, record), (&key[..], &b"\x01record"[..]));
        assert_eq!(record_of(b"\x01short"), Ok(&b"\x01short"[..]));
    }

    #[test]
    fn a_range_ends_before_the_next_database() {
        let (start, end) = places(DbIndex(7), PositionRange::all());
        assert_eq!(
            start,
            Bound::Included([&[0, 0, 0, 7][..], &[0; 8]].concat())
        );
        assert_eq!(end, Bound::Excluded(vec![0, 0, 0, 8]));
        assert_eq!(
            places(DbIndex(u32::MAX), PositionRange::all()).1,
            Bound::Unbounded
        );
        let slots: SlotRange = "0-0".parse().unwrap();
        let (_, end) = places(DbIndex(0), slots.positions());
        assert_eq!(
            end,
            Bound::Excluded(vec![0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(behind(&[1, 0xff]), Bound::Excluded(vec![2]));
    }
}
