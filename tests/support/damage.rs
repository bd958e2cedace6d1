//! Makes a copy of some data differ, in the ways in which replicas do: missed writes, missed removals, both sides
//! written. The same data and salt are damaged in the same way.
//!
//! Deliberately absent: entries removed from the middle of a stream that has groups, which reknit only reports.

use std::collections::BTreeSet;

use redis::Connection;

use super::judge::{databases, names, query, stream};
use super::server::{RedisServer, run};

/// The kinds of damage; the last is none. Keys in order of their names suffer them in turn.
pub(crate) const KINDS: usize = 7;
/// An expiry no test lives to see: the first moment of 2100.
const EXPIRY_MS: &[u8] = b"4102444800000";

/// Damages every database of a server; every key is either left alone or differs in one way.
///
/// The salt says with which kind it begins. Returns how many keys were changed, added or removed.
pub(crate) fn damage(server: &RedisServer, salt: usize) -> usize {
    let found = databases(server);
    let databases = if found.is_empty() {
        BTreeSet::from([0])
    } else {
        found
    };
    databases
        .into_iter()
        .map(|db| damage_database(&mut server.client_db(db), salt))
        .sum()
}

fn damage_database(connection: &mut Connection, salt: usize) -> usize {
    let mut changed = 0;
    for (index, key) in names(connection).iter().enumerate() {
        match (index + salt) % KINDS {
            0 => unlink(connection, key),
            1 => change(connection, key),
            2 => remove_element(connection, key),
            3 => change_expiry(connection, key),
            4 => add_element(connection, key),
            5 => change_type(connection, key),
            _ => continue,
        }
        changed += 1;
    }
    changed + add_keys(connection)
}

fn unlink(connection: &mut Connection, key: &[u8]) {
    act(connection, &[b"UNLINK", key]);
}

fn change(connection: &mut Connection, key: &[u8]) {
    match kind(connection, key).as_str() {
        "string" => act(
            connection,
            &[b"SET", key, b"damaged \r\n\0\xff", b"KEEPTTL"],
        ),
        "list" => act(connection, &[b"LSET", key, b"-1", b"damaged"]),
        "hash" => {
            let field = first(connection, &[b"HKEYS", key]);
            act(connection, &[b"HSET", key, &field, b"damaged"]);
        }
        "zset" => {
            let member = first(connection, &[b"ZRANGE", key, b"0", b"0"]);
            act(connection, &[b"ZADD", key, b"-17.25", &member]);
        }
        _ => add_element(connection, key),
    }
}

fn remove_element(connection: &mut Connection, key: &[u8]) {
    match kind(connection, key).as_str() {
        "string" => act(connection, &[b"SETRANGE", key, b"0", b"x"]),
        "list" => act(connection, &[b"RPOP", key]),
        "hash" => {
            let field = first(connection, &[b"HKEYS", key]);
            act(connection, &[b"HDEL", key, &field]);
        }
        "set" => {
            let member = members(connection, key);
            act(connection, &[b"SREM", key, &member[0]]);
        }
        "zset" => act(connection, &[b"ZREMRANGEBYRANK", key, b"0", b"0"]),
        _ => add_element(connection, key),
    }
}

fn change_expiry(connection: &mut Connection, key: &[u8]) {
    let before: i64 = query(connection, &[b"PEXPIRETIME", key]);
    match before {
        -1 => act(connection, &[b"PEXPIREAT", key, EXPIRY_MS]),
        _ => act(connection, &[b"PERSIST", key]),
    }
}

fn change_type(connection: &mut Connection, key: &[u8]) {
    let was_list = kind(connection, key) == "list";
    act(connection, &[b"UNLINK", key]);
    match was_list {
        true => act(connection, &[b"SADD", key, b"damaged"]),
        false => act(connection, &[b"RPUSH", key, b"damaged", b"damaged"]),
    }
}

fn add_element(connection: &mut Connection, key: &[u8]) {
    match kind(connection, key).as_str() {
        "string" => act(connection, &[b"APPEND", key, b" and more"]),
        "list" => act(connection, &[b"RPUSH", key, b"added", b""]),
        "hash" => act(connection, &[b"HSET", key, b"added \xfe", b"1", b"", b""]),
        "set" => act(connection, &[b"SADD", key, b"added \xfe", b"", b"12"]),
        "zset" => act(
            connection,
            &[b"ZADD", key, b"inf", b"added \xfe", b"0.1", b""],
        ),
        "stream" => {
            let next = next_id(connection, key);
            act(
                connection,
                &[b"XADD", key, next.as_bytes(), b"added", b"\xfe"],
            );
            act(
                connection,
                &[b"XGROUP", b"CREATE", key, b"added \xfe", b"$"],
            );
        }
        other => panic!("no fixture holds a {other}"),
    }
}

/// Adds a key of every type.
fn add_keys(connection: &mut Connection) -> usize {
    let commands: [&[&[u8]]; 8] = [
        &[b"SET", b"extra:string \r\n\xff", b"", b"PXAT", EXPIRY_MS],
        &[b"SET", b"extra:counter", b"17"],
        &[b"RPUSH", b"extra:list", b"a", b"", b"a"],
        &[b"HSET", b"extra:hash", b"f", b"1", b"\0", b"2"],
        &[b"SADD", b"extra:set", b"1", b"2", b"x"],
        &[
            b"ZADD",
            b"extra:zset",
            b"1e300",
            b"a",
            b"-inf",
            b"b",
            b"-0",
            b"c",
        ],
        &[b"XADD", b"extra:stream", b"1-1", b"f", b"v", b"f", b"v"],
        &[b"PFADD", b"extra:hyperloglog", b"a", b"b"],
    ];
    commands.iter().for_each(|command| act(connection, command));
    commands.len()
}

/// An ID that the stream has not had, which does not hang on the clock.
fn next_id(connection: &mut Connection, key: &[u8]) -> String {
    let last = stream(connection, key).0;
    let ms: u64 = last
        .split('-')
        .next()
        .and_then(|ms| ms.parse().ok())
        .expect("an ID is MS-SEQ");
    format!("{}-0", ms + 1)
}

fn kind(connection: &mut Connection, key: &[u8]) -> String {
    query(connection, &[b"TYPE", key])
}

/// The least of the answers, so that the choice does not hang on the server's order.
fn first(connection: &mut Connection, command: &[&[u8]]) -> Vec<u8> {
    let all: Vec<Vec<u8>> = query(connection, command);
    all.into_iter().min().expect("a collection is never empty")
}

fn members(connection: &mut Connection, key: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = query(connection, &[b"SMEMBERS", key]);
    all.sort();
    all
}

fn act(connection: &mut Connection, command: &[&[u8]]) {
    run(connection, command);
}
