//! Are two servers equal? Asked of the servers themselves, never of reknit.
//!
//! `DEBUG DIGEST-VALUE` says whether values are equal. What it leaves out is asked by plain commands: expiries, the
//! last ID and the groups of streams. Where it differs although the values are equal (the cached count of a
//! HyperLogLog, its sparse and dense form, -0 as a score), the values are looked at. Nothing is written to the
//! servers that are judged.
//!
//! Deliberately absent: the expiry of hash fields, which Redis 7.0 does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::{Connection, FromRedisValue, Value, cmd};

use super::server::{RedisServer, run};

/// Keys asked about in one pipeline.
const BATCH_KEYS: usize = 500;
/// How a HyperLogLog begins.
const HLL_MAGIC: &[u8] = b"HYLL";

/// Fails the test with all differences, unless all servers are equal to the first, expiries to the millisecond.
#[track_caller]
pub(crate) fn assert_equal(servers: &[&RedisServer]) {
    for (index, server) in servers.iter().enumerate().skip(1) {
        let found = differences(servers[0], server, Duration::ZERO);
        assert!(
            found.is_empty(),
            "server {index} differs from 0:\n{}",
            found.join("\n")
        );
    }
}

/// In what two servers differ: one readable line for each difference; none if they are equal.
///
/// Expiries may differ by `tolerance`, but a missing one never equals a present one.
pub(crate) fn differences(
    left: &RedisServer,
    right: &RedisServer,
    tolerance: Duration,
) -> Vec<String> {
    let databases: BTreeSet<u32> = databases(left)
        .into_iter()
        .chain(databases(right))
        .collect();
    let found = databases.into_iter().flat_map(|db| {
        let mut judge = Judge {
            sides: [left.client_db(db), right.client_db(db)],
            scratch: None,
            tolerance,
            found: Vec::new(),
        };
        judge.compare();
        judge
            .found
            .into_iter()
            .map(move |line| format!("db {db}: {line}"))
    });
    found.collect()
}

/// The databases of a server that hold keys.
pub(crate) fn databases(server: &RedisServer) -> BTreeSet<u32> {
    let info: String = query(&mut server.client(), &[b"INFO", b"keyspace"]);
    let number = |line: &str| line.strip_prefix("db")?.split(':').next()?.parse().ok();
    info.lines().filter_map(number).collect()
}

/// The names of all keys of the connection's database.
pub(crate) fn names(connection: &mut Connection) -> BTreeSet<Vec<u8>> {
    query::<Vec<Vec<u8>>>(connection, &[b"KEYS", b"*"])
        .into_iter()
        .collect()
}

/// What the server says about one key.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: String,
    digest: String,
    expiry_ms: i64,
}

struct Judge {
    sides: [Connection; 2],
    scratch: Option<RedisServer>,
    tolerance: Duration,
    found: Vec<String>,
}

impl Judge {
    fn compare(&mut self) {
        let [left, right] = [names(&mut self.sides[0]), names(&mut self.sides[1])];
        for (only, side) in [
            (left.difference(&right), "left"),
            (right.difference(&left), "right"),
        ] {
            self.found
                .extend(only.map(|key| format!("{} only {side}", key.escape_ascii())));
        }
        let both: Vec<Vec<u8>> = left.intersection(&right).cloned().collect();
        for batch in both.chunks(BATCH_KEYS) {
            let [left, right] = [
                look(&mut self.sides[0], batch),
                look(&mut self.sides[1], batch),
            ];
            for (key, (left, right)) in batch.iter().zip(left.iter().zip(&right)) {
                self.compare_key(key, left, right);
            }
        }
    }

    fn compare_key(&mut self, key: &[u8], left: &Seen, right: &Seen) {
        if left.kind != right.kind {
            return self.report(key, "type", &left.kind, &right.kind);
        }
        if !self.expiries_agree(left.expiry_ms, right.expiry_ms) {
            self.report(key, "expiry", &left.expiry_ms, &right.expiry_ms);
        }
        // The digest changes with the presence of an expiry: then it says nothing about the value.
        let comparable = (left.expiry_ms < 0) == (right.expiry_ms < 0);
        if comparable && left.digest != right.digest && !self.equal_all_the_same(key, &left.kind) {
            self.report(key, "value", &left.digest, &right.digest);
        }
        if left.kind == "stream" {
            let [left, right] = [
                stream(&mut self.sides[0], key),
                stream(&mut self.sides[1], key),
            ];
            if left != right {
                self.report(key, "last ID and groups", &left, &right);
            }
        }
    }

    fn expiries_agree(&self, left: i64, right: i64) -> bool {
        let both_present = left >= 0 && right >= 0;
        let apart = Duration::from_millis(left.abs_diff(right));
        left == right || (both_present && apart <= self.tolerance)
    }

    /// Whether values are equal although their digests differ.
    fn equal_all_the_same(&mut self, key: &[u8], kind: &str) -> bool {
        match kind {
            "string" => self.registers_equal(key),
            "zset" => scores(&mut self.sides[0], key) == scores(&mut self.sides[1], key),
            _ => false,
        }
    }

    /// Compares HyperLogLogs by their registers, which a scratch server reads from copies of them.
    fn registers_equal(&mut self, key: &[u8]) -> bool {
        let [left, right] = [0, 1].map(|side| {
            let bytes: Vec<u8> = query(&mut self.sides[side], &[b"GET", key]);
            bytes
        });
        if !left.starts_with(HLL_MAGIC) || !right.starts_with(HLL_MAGIC) {
            return false;
        }
        let scratch = self.scratch.get_or_insert_with(RedisServer::start);
        let mut client = scratch.client();
        let [left, right] = [left, right].map(|bytes| {
            let copy: [&[u8]; 3] = [b"SET", b"copy", &bytes];
            run(&mut client, copy);
            cmd("PFDEBUG")
                .arg("GETREG")
                .arg("copy")
                .query::<Vec<u8>>(&mut client)
                .ok()
        });
        left.is_some() && left == right
    }

    fn report(
        &mut self,
        key: &[u8],
        what: &str,
        left: &dyn std::fmt::Debug,
        right: &dyn std::fmt::Debug,
    ) {
        self.found.push(format!(
            "{}: {what}: {left:?} and {right:?}",
            key.escape_ascii()
        ));
    }
}

fn look(connection: &mut Connection, keys: &[Vec<u8>]) -> Vec<Seen> {
    let mut pipeline = redis::pipe();
    for key in keys {
        pipeline
            .cmd("TYPE")
            .arg(key)
            .cmd("DEBUG")
            .arg("DIGEST-VALUE")
            .arg(key);
        pipeline.cmd("PEXPIRETIME").arg(key);
    }
    let answers: Vec<Value> = pipeline
        .query(connection)
        .expect("TYPE, DIGEST-VALUE, PEXPIRETIME");
    answers.chunks(3).map(seen).collect()
}

fn seen(answers: &[Value]) -> Seen {
    let digests: Vec<String> = convert(&answers[1]);
    Seen {
        kind: convert(&answers[0]),
        digest: digests.concat(),
        expiry_ms: convert(&answers[2]),
    }
}

/// Members and scores; -0 equals 0 as numbers do.
fn scores(connection: &mut Connection, key: &[u8]) -> Vec<(Vec<u8>, f64)> {
    let flat: Vec<Vec<u8>> = query(connection, &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]);
    let number = |text: &[u8]| {
        String::from_utf8_lossy(text)
            .parse()
            .expect("a score is a number")
    };
    flat.chunks(2)
        .map(|pair| (pair[0].clone(), number(&pair[1])))
        .collect()
}

/// The last ID of a stream and the names of its groups.
pub(crate) fn stream(connection: &mut Connection, key: &[u8]) -> (String, BTreeSet<Vec<u8>>) {
    let info: BTreeMap<String, Value> = query(connection, &[b"XINFO", b"STREAM", key]);
    let groups: Vec<BTreeMap<String, Value>> = query(connection, &[b"XINFO", b"GROUPS", key]);
    let names = groups.iter().map(|group| convert(&group["name"])).collect();
    (convert(&info["last-generated-id"]), names)
}

/// One command on a connection, its answer converted; an error is a failed test.
pub(crate) fn query<T: FromRedisValue>(connection: &mut Connection, args: &[&[u8]]) -> T {
    convert(&run(connection, args))
}

fn convert<T: FromRedisValue>(value: &Value) -> T {
    T::from_redis_value_ref(value).unwrap_or_else(|error| panic!("unexpected answer: {error}"))
}
