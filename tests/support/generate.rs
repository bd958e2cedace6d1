//! Mixed data, the same at every run: half strings of 100 bytes, a fifth hashes of 10 fields, the rest sets and
//! sorted sets of 10; and differences among it.
//!
//! Everything follows from a key's index, so any part can be written at any time, and nothing is kept.

use std::io;

use super::resp::{RawClient, command};
use super::server::RedisServer;

const STRING_BYTES: usize = 100;
const ELEMENTS: u64 = 10;
/// Keys sent before their answers are read.
const BATCH_KEYS: u64 = 1000;
/// Fields that one command sets.
const FIELDS_AT_A_TIME: usize = 500;
/// The expiry that a difference in expiry gives a key: the first moment of 2100.
const EXPIRY_MS: &[u8] = b"4102444800000";

/// The type of a generated key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A string of 100 bytes.
    String,
    /// A hash of 10 fields.
    Hash,
    /// A set of 10 members.
    Set,
    /// A sorted set of 10 members.
    SortedSet,
}

/// The type of the key with this index.
pub(crate) fn shape(index: u64) -> Shape {
    match index % 20 {
        0..10 => Shape::String,
        10..14 => Shape::Hash,
        14..17 => Shape::Set,
        _ => Shape::SortedSet,
    }
}

/// The name of the key with this index.
pub(crate) fn name(index: u64) -> String {
    match shape(index) {
        Shape::String => format!("page:{index}"),
        Shape::Hash => format!("user:{index}"),
        Shape::Set => format!("tags:{index}"),
        Shape::SortedSet => format!("rank:{index}"),
    }
}

/// Appends the one command that writes the key with this index.
pub(crate) fn write_key(out: &mut Vec<u8>, index: u64) {
    let verb: &[u8] = match shape(index) {
        Shape::String => b"SET",
        Shape::Hash => b"HSET",
        Shape::Set => b"SADD",
        Shape::SortedSet => b"ZADD",
    };
    let mut args = vec![verb.to_vec(), name(index).into_bytes()];
    match shape(index) {
        Shape::String => args.push(text(index, STRING_BYTES)),
        Shape::Hash => args.extend((0..ELEMENTS).flat_map(|n| [field(n), value(index, n, 0)])),
        Shape::Set => args.extend((0..ELEMENTS).map(|n| value(index, n, 0))),
        Shape::SortedSet => args.extend((0..ELEMENTS).flat_map(|n| [score(index, n), member(n)])),
    }
    command(out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

/// Writes the keys `0..keys` into a server.
pub(crate) fn load(port: u16, keys: u64) -> io::Result<()> {
    let mut client = RawClient::connect(port)?;
    let mut out = Vec::new();
    for first in (0..keys).step_by(BATCH_KEYS as usize) {
        let last = keys.min(first + BATCH_KEYS);
        out.clear();
        (first..last).for_each(|index| write_key(&mut out, index));
        client.exchange(&out, (last - first) as usize)?;
    }
    Ok(())
}

/// The sum of the lengths of the names of the keys `0..keys`.
pub(crate) fn name_bytes(keys: u64) -> u64 {
    (0..keys).map(|index| name(index).len() as u64).sum()
}

/// Which of two servers a difference is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first server.
    Left,
    /// The second server.
    Right,
}

/// In what way a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is gone on this side.
    Missing,
    /// A string's value, a hash's field, a sorted set's score is another; a set lacks a member.
    Changed,
    /// A collection has one element more; a string is longer.
    Added,
    /// It has an expiry on this side alone.
    Expiry,
}

/// One key that differs between two servers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Difference {
    /// The key's index.
    pub(crate) index: u64,
    /// Where it is written.
    pub(crate) side: Side,
    /// In what way.
    pub(crate) change: Change,
    round: u64,
}

/// `count` distinct keys of `0..keys`, evenly spread, each to be made different on one side.
///
/// Another `round` chooses other keys and values, so that servers which were repaired differ again.
pub(crate) fn differences(keys: u64, count: u64, round: u64) -> impl Iterator<Item = Difference> {
    assert!(count <= keys, "no more differences than keys");
    (0..count).map(move |n| {
        let (from, to) = (n * keys / count, (n + 1) * keys / count);
        let index = from + mix(n ^ mix(round)) % (to - from);
        let side = if mix(index).is_multiple_of(2) {
            Side::Left
        } else {
            Side::Right
        };
        let change = match n % 4 {
            0 => Change::Missing,
            1 => Change::Changed,
            2 => Change::Added,
            _ => Change::Expiry,
        };
        Difference {
            index,
            side,
            change,
            round,
        }
    })
}

/// Makes `count` keys differ between two servers that hold the keys `0..keys`.
pub(crate) fn diverge(ports: [u16; 2], keys: u64, count: u64, round: u64) -> io::Result<()> {
    for (side, port) in [(Side::Left, ports[0]), (Side::Right, ports[1])] {
        let mut client = RawClient::connect(port)?;
        let here = differences(keys, count, round).filter(|difference| difference.side == side);
        let here: Vec<Difference> = here.collect();
        for batch in here.chunks(BATCH_KEYS as usize) {
            let mut out = Vec::new();
            batch
                .iter()
                .for_each(|difference| difference.write(&mut out));
            client.exchange(&out, batch.len())?;
        }
    }
    Ok(())
}

impl Difference {
    /// Appends the one command that makes the key differ.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let name = name(self.index).into_bytes();
        match self.change {
            Change::Missing => command(out, &[b"UNLINK", &name]),
            Change::Expiry => command(out, &[b"PEXPIREAT", &name, EXPIRY_MS]),
            Change::Changed => self.write_changed(out, &name),
            Change::Added => self.write_added(out, &name),
        }
    }

    fn write_changed(&self, out: &mut Vec<u8>, name: &[u8]) {
        let n = self.round % ELEMENTS;
        let other = value(self.index, n, self.round + 1);
        match shape(self.index) {
            Shape::String => command(out, &[b"SETRANGE", name, b"20", &other]),
            Shape::Hash => command(out, &[b"HSET", name, &field(n), &other]),
            Shape::Set => command(out, &[b"SREM", name, &value(self.index, n, 0)]),
            Shape::SortedSet => command(out, &[b"ZINCRBY", name, b"0.5", &member(n)]),
        }
    }

    fn write_added(&self, out: &mut Vec<u8>, name: &[u8]) {
        let added = value(self.index, ELEMENTS, self.round + 1);
        match shape(self.index) {
            Shape::String => command(out, &[b"APPEND", name, &added]),
            Shape::Hash => command(out, &[b"HSET", name, &added, b"added"]),
            Shape::Set => command(out, &[b"SADD", name, &added]),
            Shape::SortedSet => command(out, &[b"ZADD", name, b"-1", &added]),
        }
    }
}

fn field(n: u64) -> Vec<u8> {
    format!("field{n}").into_bytes()
}

fn member(n: u64) -> Vec<u8> {
    format!("member{n}").into_bytes()
}

fn value(index: u64, n: u64, round: u64) -> Vec<u8> {
    text(mix(index) ^ mix(n) ^ mix(round << 32), 12)
}

fn score(index: u64, n: u64) -> Vec<u8> {
    format!("{}", (mix(index ^ mix(n)) % 1_000_000) as f64 / 4.0).into_bytes()
}

fn text(seed: u64, length: usize) -> Vec<u8> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
    let letter = |at: usize| LETTERS[(mix(seed.wrapping_add(at as u64)) % 32) as usize];
    (0..length).map(letter).collect()
}

/// SplitMix64's finaliser: every bit of the answer depends on every bit of the question.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Sets so many fields of one hash, a few at a time.
pub(crate) fn fill_hash(server: &RedisServer, key: &str, fields: usize) {
    let mut connection = server.client();
    for start in (0..fields).step_by(FIELDS_AT_A_TIME) {
        let mut command = redis::cmd("HSET");
        command.arg(key);
        for field in start..fields.min(start + FIELDS_AT_A_TIME) {
            command
                .arg(format!("field:{field}"))
                .arg(format!("value:{field}"));
        }
        command
            .query::<()>(&mut connection)
            .expect("fields that are set");
    }
}
