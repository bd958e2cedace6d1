//! Hash fields that end by themselves: between servers that have that, and beside one that has not.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::path::Path;

use redis::Value;
use support::disguise::{Disguise, Looks};
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

const SOON: i64 = 4_102_444_800_123;
const LATER: i64 = 4_102_444_900_456;

/// A server whose fields can end, told by its commands.
struct Newer {
    server: RedisServer,
    front: Disguise,
}

impl Newer {
    fn start() -> Self {
        let server = RedisServer::start();
        let looks = Looks {
            info: vec![("redis_version", "7.4.1")],
            ending_fields: true,
            ..Looks::default()
        };
        let front = Disguise::before(&server, looks);
        Self { server, front }
    }

    fn set(&self, key: &str, field: &str, value: &str) {
        self.front.cmd(&["HSET", key, field, value]);
    }

    fn end(&self, key: &str, field: &str, at: i64) {
        let answer = self
            .front
            .cmd(&["HPEXPIREAT", key, &at.to_string(), "FIELDS", "1", field]);
        assert_eq!(answer, "*1\r\n:1\r\n");
    }

    /// When a field ends; -1 never, -2 where it is not there.
    fn ends(&self, key: &str, field: &str) -> i64 {
        let answer = self.front.cmd(&["HPEXPIRETIME", key, "FIELDS", "1", field]);
        let number = answer.strip_prefix("*1\r\n:").unwrap();
        number.trim_end().parse().unwrap()
    }
}

fn text(server: &RedisServer, key: &str, field: &str) -> Option<String> {
    redis::from_redis_value(server.cmd(["HGET", key, field])).unwrap()
}

fn over(command: &str, urls: [String; 2]) -> Reknit {
    let [us, eu] = urls;
    let reknit = Reknit::new([
        command.to_owned(),
        "--replica".into(),
        format!("us={us}"),
        "--replica".into(),
        format!("eu={eu}"),
    ]);
    reknit.args(["--settle", "10ms"])
}

fn remembering(urls: [String; 2], state: &Path) -> Outcome {
    over("repair", urls).arg_pair("--state-dir", state).run()
}

fn both(us: &Newer, eu: &Newer) -> [String; 2] {
    [us.front.url(), eu.front.url()]
}

#[test]
fn the_ends_of_fields_are_compared_and_the_longest_wins() {
    let (us, eu) = (Newer::start(), Newer::start());
    for one in [&us, &eu] {
        for field in ["never", "later", "same"] {
            one.set("hash", field, "v");
        }
        one.end("hash", "same", SOON);
    }
    us.end("hash", "never", SOON);
    us.end("hash", "later", SOON);
    eu.end("hash", "later", LATER);
    us.set("hash", "missing", "v");
    us.end("hash", "missing", SOON);
    us.set("other", "ends", "v");
    us.end("other", "ends", SOON);
    let outcome = over("diff", both(&us, &eu)).run();
    outcome.assert_code(1);
    assert!(
        outcome.stdout.contains("end of field \"later\""),
        "{outcome}"
    );
    over("repair", both(&us, &eu)).run().assert_code(0);
    for one in [&us, &eu] {
        assert_eq!(one.ends("hash", "never"), -1);
        assert_eq!(one.ends("hash", "later"), LATER);
        assert_eq!(one.ends("hash", "same"), SOON);
        assert_eq!(one.ends("hash", "missing"), SOON);
        assert_eq!(one.ends("other", "ends"), SOON);
    }
    over("diff", both(&us, &eu)).run().assert_code(0);
}

#[test]
fn with_memory_the_side_that_changed_an_end_decides_it() {
    let (us, eu) = (Newer::start(), Newer::start());
    let state = tempfile::tempdir().unwrap();
    for one in [&us, &eu] {
        for field in ["shorter", "removed", "kept"] {
            one.set("hash", field, "v");
            one.end("hash", field, LATER);
        }
    }
    remembering(both(&us, &eu), state.path()).assert_code(0);
    eu.end("hash", "shorter", SOON);
    us.front.cmd(&["HDEL", "hash", "removed"]);
    remembering(both(&us, &eu), state.path()).assert_code(0);
    for one in [&us, &eu] {
        assert_eq!(one.ends("hash", "shorter"), SOON);
        assert_eq!(one.ends("hash", "removed"), -2);
        assert_eq!(one.ends("hash", "kept"), LATER);
    }
    over("diff", both(&us, &eu)).run().assert_code(0);
}

#[test]
fn large_hashes_keep_the_ends_of_their_fields() {
    let (us, eu) = (Newer::start(), Newer::start());
    let names: Vec<String> = (0..5_000).map(|number| format!("field:{number}")).collect();
    for (server, key) in [(&us, "both"), (&eu, "both"), (&us, "missing")] {
        for chunk in names.chunks(500) {
            let pairs = chunk.iter().flat_map(|name| [name.as_str(), "v"]);
            server.server.cmd(["HSET", key].into_iter().chain(pairs));
        }
    }
    us.end("both", "field:7", SOON);
    eu.end("both", "field:7", LATER);
    us.set("both", "more", "v");
    us.end("both", "more", SOON);
    us.end("missing", "field:9", SOON);
    over("repair", both(&us, &eu)).run().assert_code(0);
    for one in [&us, &eu] {
        assert_eq!(one.ends("both", "field:7"), LATER);
        assert_eq!(one.ends("both", "more"), SOON);
        assert_eq!(one.ends("missing", "field:9"), SOON);
        assert_eq!(one.ends("missing", "field:8"), -1);
    }
    over("diff", both(&us, &eu)).run().assert_code(0);
}

/// What is written to the server counts from here on.
fn writes(server: &RedisServer) -> u64 {
    let info: String = redis::from_redis_value(server.cmd(["INFO", "commandstats"])).unwrap();
    let of = |name: &str| -> u64 {
        let line = info
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{name}:")));
        let calls = line.and_then(|line| line.split("calls=").nth(1)?.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    };
    ["hset", "hdel", "unlink"].map(of).iter().sum()
}

#[test]
fn beside_a_server_without_ends_lasting_fields_are_kept_equal_and_ending_ones_refused() {
    let (us, eu) = (Newer::start(), RedisServer::start());
    let urls = || [us.front.url(), eu.url()];
    us.set("hash", "lasting", "new");
    us.set("hash", "ends", "v");
    us.end("hash", "ends", SOON);
    eu.cmd(["HSET", "hash", "own", "v"]);
    eu.cmd(["HSET", "mixed", "f", "theirs"]);
    us.set("mixed", "f", "ours");
    us.end("mixed", "f", SOON);
    us.set("alone", "ends", "v");
    us.end("alone", "ends", SOON);
    let outcome = over("repair", urls()).run();
    outcome.assert_code(1);
    let words = "eu refused the write: it cannot hold hash fields that end by themselves";
    assert!(outcome.stdout.contains(words), "{outcome}");
    assert_eq!(text(&eu, "hash", "lasting").as_deref(), Some("new"));
    assert_eq!(text(&eu, "hash", "ends"), None, "it would not end there");
    assert_eq!(us.ends("hash", "own"), -1);
    assert_eq!(us.ends("hash", "ends"), SOON);
    // Neither side's value of an ending field wins over the other's.
    assert_eq!(text(&eu, "mixed", "f").as_deref(), Some("theirs"));
    assert_eq!(text(&us.server, "mixed", "f").as_deref(), Some("ours"));
    assert_eq!(us.ends("mixed", "f"), SOON);
    assert_eq!(eu.cmd(["EXISTS", "alone"]), Value::Int(0));
    // No endless repair: the next run finds the same, and writes nothing.
    let before = [writes(&us.server), writes(&eu)];
    over("repair", urls()).run().assert_code(1);
    assert_eq!([writes(&us.server), writes(&eu)], before);
}

#[test]
fn with_memory_a_field_that_ended_stays_gone_and_the_rest_is_followed() {
    let (us, eu) = (Newer::start(), RedisServer::start());
    let urls = || [us.front.url(), eu.url()];
    let state = tempfile::tempdir().unwrap();
    for field in ["ends", "lasting", "was"] {
        us.set("hash", field, "v");
    }
    eu.cmd(["HSET", "hash", "was", "v"]);
    us.end("hash", "ends", SOON);
    remembering(urls(), state.path()).assert_code(1);
    assert_eq!(text(&eu, "hash", "lasting").as_deref(), Some("v"));
    // A field that both had ends on one side from now on, another changes.
    us.end("hash", "was", SOON);
    us.set("hash", "lasting", "newer");
    remembering(urls(), state.path()).assert_code(1);
    assert_eq!(text(&eu, "hash", "lasting").as_deref(), Some("newer"));
    assert_eq!(text(&eu, "hash", "was").as_deref(), Some("v"));
    assert_eq!(
        us.ends("hash", "was"),
        SOON,
        "whoever cannot hold an end has no say"
    );
    // Both end: what had never been there stays away, what was there goes.
    us.front.cmd(&["HDEL", "hash", "ends", "was"]);
    remembering(urls(), state.path()).assert_code(0);
    assert_eq!(text(&us.server, "hash", "was"), None);
    assert_eq!(text(&eu, "hash", "was"), None);
    assert_eq!(text(&eu, "hash", "ends"), None);
    assert_eq!(text(&eu, "hash", "lasting").as_deref(), Some("newer"));
    over("diff", urls()).run().assert_code(0);
}

#[test]
fn a_large_hash_with_an_ending_field_is_refused_where_it_would_not_end() {
    let (us, eu) = (Newer::start(), RedisServer::start());
    let names: Vec<String> = (0..5_000).map(|number| format!("field:{number}")).collect();
    for (server, key) in [(&us.server, "both"), (&eu, "both"), (&us.server, "missing")] {
        for chunk in names.chunks(500) {
            let pairs = chunk.iter().flat_map(|name| [name.as_str(), "v"]);
            server.cmd(["HSET", key].into_iter().chain(pairs));
        }
    }
    us.end("both", "field:7", SOON);
    us.end("missing", "field:7", SOON);
    us.set("both", "more", "v");
    let repair = || over("repair", [us.front.url(), eu.url()]);
    // A run that only plans foresees it.
    let plan = repair().args(["--dry-run"]).run();
    plan.assert_code(1);
    let words = "eu refused the write: it cannot hold hash fields that end by themselves";
    assert_eq!(plan.stdout.matches(words).count(), 2, "{plan}");
    let outcome = repair().run();
    outcome.assert_code(1);
    assert_eq!(outcome.stdout.matches(words).count(), 2, "{outcome}");
    assert_eq!(text(&eu, "both", "more").as_deref(), Some("v"));
    assert_eq!(text(&eu, "both", "field:7").as_deref(), Some("v"));
    assert_eq!(us.ends("both", "field:7"), SOON);
    let keys: Vec<String> = redis::from_redis_value(eu.cmd(["KEYS", "*"])).unwrap();
    assert_eq!(keys, ["both"]);
}
