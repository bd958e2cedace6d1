//! Operations as Redis commands, each command bounded.

use bytes::Bytes;

use crate::model::{
    Counts, Expiry, Field, Key, Op, Stamp, StampSet, Stamped, Stamps, Stream, StreamId, Value,
};

use super::Piece;
use super::resp::{pack, pack_arg, pack_start};

/// How many elements one writing command carries at the most.
pub(crate) const ELEMENTS_PER_COMMAND: usize = 256;

/// Packs the commands of an operation; answers how many.
pub(crate) fn pack_op(out: &mut Vec<u8>, key: &[u8], op: &Op) -> usize {
    match op {
        Op::Remove => one(out, &[b"UNLINK", key]),
        Op::Put(value) => pack_put(out, key, value),
        Op::SetFields(fields) => pack_pairs(out, b"HSET", key, fields),
        Op::RemoveFields(names) => pack_many(out, b"HDEL", key, names.iter()),
        Op::ExpireField(name, Expiry::At(at)) => one(
            out,
            &[
                b"HPEXPIREAT",
                key,
                at.0.to_string().as_bytes(),
                b"FIELDS",
                b"1",
                name,
            ],
        ),
        Op::ExpireField(name, Expiry::Never) => {
            one(out, &[b"HPERSIST", key, b"FIELDS", b"1", name])
        }
        Op::AddMembers(members) => pack_many(out, b"SADD", key, members.iter()),
        Op::RemoveMembers(members) => pack_many(out, b"SREM", key, members.iter()),
        Op::SetScores(members) => {
            let pairs: Vec<(Bytes, Bytes)> = members
                .iter()
                .map(|(member, score)| (score.to_text().into(), member.clone()))
                .collect();
            pack_pairs(out, b"ZADD", key, &pairs)
        }
        Op::RemoveScored(members) => pack_many(out, b"ZREM", key, members.iter()),
        // LPUSH puts its arguments in one after the other: the last one becomes the head.
        Op::Prepend(elements) => pack_many(out, b"LPUSH", key, elements.iter().rev()),
        Op::Append(elements) => pack_many(out, b"RPUSH", key, elements.iter()),
        Op::AppendEntries(entries) => entries
            .iter()
            .map(|(id, fields)| pack_entry(out, key, *id, fields))
            .sum(),
        Op::RemoveEntries(ids) => {
            let ids: Vec<Bytes> = ids.iter().map(|id| id.to_string().into()).collect();
            pack_many(out, b"XDEL", key, ids.iter())
        }
        Op::RaiseLastId(id) => one(out, &[b"XSETID", key, id.to_string().as_bytes()]),
        Op::CreateGroup(name, from) => pack_group(out, key, name, *from),
        Op::IncreaseBy(delta) => one(out, &[b"INCRBY", key, delta.to_string().as_bytes()]),
        Op::IncreaseFields(fields) => fields
            .iter()
            .map(|(name, delta)| one(out, &[b"HINCRBY", key, name, delta.to_string().as_bytes()]))
            .sum(),
        Op::IncreaseScores(members) => members
            .iter()
            .map(|(member, delta)| {
                one(
                    out,
                    &[b"ZINCRBY", key, delta.to_string().as_bytes(), member],
                )
            })
            .sum(),
        Op::Expire(expiry) => pack_expiry(out, key, *expiry),
        Op::Restore(payload) => pack_restore(out, key, payload),
        Op::Stamp(stamps) => pack_stamps(out, &Key::copied(key), stamps),
        Op::Uncount => one(
            out,
            &[b"UNLINK", Counts::of_key(&Key::copied(key)).as_bytes()],
        ),
        Op::TakeAside(aside) => {
            one(out, &[b"UNLINK", key])
                + one(out, &[b"RENAME", aside.as_bytes(), key])
                + one(out, &[b"PERSIST", key])
        }
    }
}

/// Packs the commands that add a piece to a value that is built aside; answers how many.
pub(crate) fn pack_piece(out: &mut Vec<u8>, aside: &[u8], piece: &Piece) -> usize {
    match piece {
        Piece::Bytes(bytes) => one(out, &[b"APPEND", aside, bytes]),
        Piece::Elements(elements) => pack_many(out, b"RPUSH", aside, elements.iter()),
        Piece::Fields(fields) => {
            pack_fields(out, aside, fields.iter().map(|(name, field)| (name, field)))
        }
        Piece::Members(members) => pack_many(out, b"SADD", aside, members.iter()),
        Piece::Scored(members) => pack_op(out, aside, &Op::SetScores(members.clone())),
        Piece::Entries(entries) => entries
            .iter()
            .map(|(id, fields)| pack_entry(out, aside, *id, fields))
            .sum(),
        Piece::StreamEnd { last_id, groups } => {
            let raised = one(out, &[b"XSETID", aside, last_id.to_string().as_bytes()]);
            raised
                + groups
                    .iter()
                    .map(|(name, from)| pack_group(out, aside, name, *from))
                    .sum::<usize>()
        }
    }
}

/// Packs the command that gives a key this expiry.
pub(crate) fn pack_expiry(out: &mut Vec<u8>, key: &[u8], expiry: Expiry) -> usize {
    match expiry {
        Expiry::At(at) => one(out, &[b"PEXPIREAT", key, at.0.to_string().as_bytes()]),
        Expiry::Never => one(out, &[b"PERSIST", key]),
    }
}

/// The value takes the key's place. What stood there is unlinked first: overwriting a big collection blocks.
fn pack_put(out: &mut Vec<u8>, key: &[u8], value: &Value) -> usize {
    if let Value::Module(opaque) = value {
        return pack_restore(out, key, &opaque.payload);
    }
    let removed = one(out, &[b"UNLINK", key]);
    removed
        + match value {
            Value::String(bytes) => one(out, &[b"SET", key, bytes]),
            Value::List(elements) => pack_many(out, b"RPUSH", key, elements.iter()),
            Value::Set(members) => pack_many(out, b"SADD", key, members.iter()),
            Value::Hash(fields) => pack_fields(out, key, fields.iter()),
            Value::SortedSet(members) => {
                let members = members
                    .iter()
                    .map(|(member, score)| (member.clone(), *score))
                    .collect();
                pack_op(out, key, &Op::SetScores(members))
            }
            Value::Stream(stream) => pack_stream(out, key, stream),
            Value::Module(_) => 0,
        }
}

/// Sets fields, and then the ends of those that have one.
fn pack_fields<'a>(
    out: &mut Vec<u8>,
    key: &[u8],
    fields: impl Iterator<Item = (&'a Bytes, &'a Field)> + Clone,
) -> usize {
    let pairs: Vec<(Bytes, Bytes)> = fields
        .clone()
        .map(|(name, field)| (name.clone(), field.value.clone()))
        .collect();
    let set = pack_pairs(out, b"HSET", key, &pairs);
    let ending = fields.filter(|(_, field)| field.expiry != Expiry::Never);
    let ended =
        ending.map(|(name, field)| pack_op(out, key, &Op::ExpireField(name.clone(), field.expiry)));
    set + ended.sum::<usize>()
}

/// What each of the two sets gets, and what is taken out of it. GT: the time of the key's last write is never lowered.
fn pack_stamps(out: &mut Vec<u8>, key: &Key, stamps: &Stamps) -> usize {
    let mut count = 0;
    for set in StampSet::ALL {
        let of = |stamped: &Stamped| stamped.of(set);
        let (of_keys, of_elements) = (set.of_keys(), set.of_elements(key));
        count += match (of(&stamps.key), set) {
            (None, _) => one(out, &[b"ZREM", of_keys.as_bytes(), key.as_bytes()]),
            (Some(Stamp(at)), StampSet::Added) => {
                let at = at.to_text();
                let words = [
                    b"ZADD",
                    of_keys.as_bytes(),
                    b"GT",
                    at.as_bytes(),
                    key.as_bytes(),
                ];
                one(out, &words)
            }
            (Some(Stamp(at)), StampSet::Removed) => {
                let at = at.to_text();
                one(
                    out,
                    &[b"ZADD", of_keys.as_bytes(), at.as_bytes(), key.as_bytes()],
                )
            }
        };
        let elements = || stamps.elements.iter();
        let listed = elements().filter_map(|(name, one)| Some((name.clone(), of(one)?.0)));
        let left = elements().filter(|(_, one)| of(one).is_none());
        let left = left.map(|(name, _)| name.clone()).collect();
        let of_elements = of_elements.as_bytes();
        count += pack_op(out, of_elements, &Op::SetScores(listed.collect()));
        count += pack_op(out, of_elements, &Op::RemoveScored(left));
    }
    count + pack_counts(out, key, stamps)
}

/// What was counted is put over what stands there, for it only rises.
fn pack_counts(out: &mut Vec<u8>, key: &Key, stamps: &Stamps) -> usize {
    let name = Counts::of_key(key);
    match &stamps.counts {
        Some(counts) => pack_pairs(out, b"HSET", name.as_bytes(), &counts.fields()),
        None => 0,
    }
}

/// RESTORE REPLACE alone: behind an UNLINK, a payload that the server refuses would lose the key.
fn pack_restore(out: &mut Vec<u8>, key: &[u8], payload: &[u8]) -> usize {
    one(out, &[b"RESTORE", key, b"0", payload, b"REPLACE"])
}

fn pack_stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) -> usize {
    let mut count = 0;
    for (id, fields) in &stream.entries {
        count += pack_entry(out, key, *id, fields);
    }
    let greatest = stream.entries.last_key_value().map(|(id, _)| *id);
    if greatest.is_none() && stream.last_id > StreamId::MIN {
        // An empty stream that has given IDs: only an entry that was added and removed leaves that.
        let id = stream.last_id.to_string();
        count += one(out, &[b"XADD", key, id.as_bytes(), b"x", b"x"])
            + one(out, &[b"XDEL", key, id.as_bytes()]);
    } else if greatest != Some(stream.last_id) && greatest.is_some() {
        count += one(
            out,
            &[b"XSETID", key, stream.last_id.to_string().as_bytes()],
        );
    }
    count
        + stream
            .groups
            .iter()
            .map(|(name, from)| pack_group(out, key, name, *from))
            .sum::<usize>()
}

fn pack_group(out: &mut Vec<u8>, key: &[u8], name: &[u8], from: StreamId) -> usize {
    one(
        out,
        &[
            b"XGROUP",
            b"CREATE",
            key,
            name,
            from.to_string().as_bytes(),
            b"MKSTREAM",
        ],
    )
}

fn pack_entry(out: &mut Vec<u8>, key: &[u8], id: StreamId, fields: &[(Bytes, Bytes)]) -> usize {
    pack_start(out, 3 + 2 * fields.len());
    pack_arg(out, b"XADD");
    pack_arg(out, key);
    pack_arg(out, id.to_string().as_bytes());
    for (name, value) in fields {
        pack_arg(out, name);
        pack_arg(out, value);
    }
    1
}

fn one(out: &mut Vec<u8>, args: &[&[u8]]) -> usize {
    pack(out, args);
    1
}

fn pack_pairs(out: &mut Vec<u8>, command: &[u8], key: &[u8], pairs: &[(Bytes, Bytes)]) -> usize {
    for chunk in pairs.chunks(ELEMENTS_PER_COMMAND) {
        pack_start(out, 2 + 2 * chunk.len());
        pack_arg(out, command);
        pack_arg(out, key);
        for (first, second) in chunk {
            pack_arg(out, first);
            pack_arg(out, second);
        }
    }
    pairs.len().div_ceil(ELEMENTS_PER_COMMAND)
}

fn pack_many<'a>(
    out: &mut Vec<u8>,
    command: &[u8],
    key: &[u8],
    elements: impl ExactSizeIterator<Item = &'a Bytes>,
) -> usize {
    let mut left = elements.len();
    let commands = left.div_ceil(ELEMENTS_PER_COMMAND);
    let mut in_command = 0;
    for element in elements {
        if in_command == 0 {
            in_command = left.min(ELEMENTS_PER_COMMAND);
            pack_start(out, 2 + in_command);
            pack_arg(out, command);
            pack_arg(out, key);
        }
        pack_arg(out, element);
        in_command -= 1;
        left -= 1;
    }
    commands
}
