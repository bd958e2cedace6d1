//! Sides for the tests of this room: keys spread out, in one slot, at one position, and at neighbouring positions.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, prop_oneof};

use super::{Entries, EntryDigester, Listed};
use crate::model::{DigestKey, EntryRef, Expiry, ExpiryRule, Kind, Millis, Position, ValueDigest};

/// A value and an expiry; nothing for what cannot be read.
pub(super) type Held = Option<(u8, i64)>;

/// What one side holds.
pub(super) type Keys = BTreeMap<Vec<u8>, Held>;

pub(super) fn digester(side: u32) -> EntryDigester {
    EntryDigester::new(DigestKey::new([7; 32]), ExpiryRule::Longest, side)
}

pub(super) fn digester_ignoring_expiry(side: u32) -> EntryDigester {
    EntryDigester::new(DigestKey::new([7; 32]), ExpiryRule::Ignore, side)
}

/// `same:` keys all lie at one position, `near:` keys at four that only the last bits tell apart.
pub(super) fn position_of(key: &[u8]) -> Position {
    let nearby = 0x1234_5678_9abc_def0;
    if key.starts_with(b"same:") {
        Position::from_bits(nearby)
    } else if key.starts_with(b"near:") {
        Position::from_bits(nearby | u64::from(key[key.len() - 1]) & 3)
    } else {
        Position::of(key)
    }
}

pub(super) fn listed(key: &[u8], held: Held) -> Listed<'_> {
    let position = position_of(key);
    let Some((value, expiry)) = held else {
        return Listed::Unreadable { position, key };
    };
    Listed::Readable(EntryRef {
        position,
        key,
        kind: Kind::ALL[usize::from(value) % Kind::ALL.len()],
        digest: ValueDigest::from_bytes([value; 24]),
        expiry: Expiry::At(Millis(expiry)),
    })
}

pub(super) fn push(entries: &mut Entries, key: &[u8], held: Held) {
    match listed(key, held) {
        Listed::Readable(entry) => entries.push(entry),
        Listed::Unreadable { position, key } => entries.push_unreadable(position, key),
    }
}

pub(super) fn entries_of(keys: &Keys) -> Entries {
    let mut entries = Entries::new();
    for (key, held) in keys {
        push(&mut entries, key, *held);
    }
    entries
}

/// `count` readable keys with this prefix and the numbers from 0.
pub(super) fn numbered(prefix: &str, count: usize) -> Keys {
    (0..count)
        .map(|number| (format!("{prefix}{number}").into_bytes(), Some((1, 1))))
        .collect()
}

/// Sides that mostly agree.
pub(super) fn sides(count: usize) -> impl Strategy<Value = Vec<Keys>> {
    let deviation = prop_oneof![
        20 => Just(None),
        1 => Just(Some(None)),
        1 => Just(Some(Some(None))),
        1 => Just(Some(Some(Some((2, 1))))),
        1 => Just(Some(Some(Some((1, 2))))),
    ];
    btree_map(key(), vec(deviation, count), 0..300).prop_map(move |keys| {
        let held = |key: &Vec<u8>, deviation: &Option<Option<Held>>| {
            deviation
                .unwrap_or(Some(Some((1, 1))))
                .map(|held| (key.clone(), held))
        };
        (0..count)
            .map(|side| {
                let all = keys.iter();
                all.filter_map(|(key, deviations)| held(key, &deviations[side]))
                    .collect()
            })
            .collect()
    })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let class = prop_oneof![Just(""), Just("{tag}"), Just("same:"), Just("near:")];
    (class, 0..150u8).prop_map(|(class, number)| [class.as_bytes(), &[number]].concat())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
