//! Streams that lack entries older than their last, on real servers: rebuilt aside, or reported.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use support::judge::{assert_equal, query};
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

/// Adds entries with these IDs, in this order.
fn add(server: &RedisServer, key: &str, ids: impl Iterator<Item = u64>) {
    let mut pipe = redis::pipe();
    for id in ids {
        let value = format!("value {id}");
        pipe.cmd("XADD").arg(key).arg(format!("{id}-0"));
        pipe.arg("field").arg(value).ignore();
    }
    pipe.query::<()>(&mut server.client()).unwrap();
}

fn length(server: &RedisServer, key: &str) -> i64 {
    query(&mut server.client(), &[b"XLEN", key.as_bytes()])
}

fn repair(servers: [&RedisServer; 2]) -> Outcome {
    Reknit::over("repair", &servers)
        .args(["--settle", "10ms", "--format", "json"])
        .run()
}

fn pair() -> [RedisServer; 2] {
    [RedisServer::start(), RedisServer::start()]
}

#[test]
fn large_and_long_streams_that_lack_older_entries_are_rebuilt() {
    let [one, other] = pair();
    for (key, entries) in [("large", 7_000), ("long", 1_500)] {
        add(&one, key, (1..entries).filter(|id| id % 3 != 0));
        add(&other, key, (1..entries).filter(|id| id % 5 != 0));
    }
    one.cmd(["PEXPIREAT", "large", "4000000000000"]);
    other.cmd(["PEXPIREAT", "large", "4000000000000"]);
    repair([&one, &other]).assert_code(0);
    let union = (1..7_000).filter(|id| id % 15 != 0).count() as i64;
    assert_eq!(length(&one, "large"), union);
    assert_equal(&[&one, &other]);
    let left: Vec<String> = query(&mut one.client(), &[b"KEYS", b"reknit:*"]);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn many_newer_entries_are_appended_without_a_rebuild() {
    let [one, other] = pair();
    add(&one, "events", 1..9_000);
    add(&other, "events", 1..5_000);
    other.cmd(["XGROUP", "CREATE", "events", "workers", "0"]);
    one.cmd(["XGROUP", "CREATE", "events", "workers", "0"]);
    // With a group, a rebuild would be refused.
    repair([&one, &other]).assert_code(0);
    assert_eq!(length(&other, "events"), 8_999);
    assert_equal(&[&one, &other]);
}

#[test]
fn a_large_stream_with_groups_is_left_as_it_is_with_the_reason() {
    let [one, other] = pair();
    add(&one, "events", (1..6_000).filter(|id| *id != 77));
    add(&other, "events", 1..6_000);
    one.cmd(["XGROUP", "CREATE", "events", "workers", "0"]);
    let outcome = repair([&one, &other]);
    outcome.assert_code(1);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(finding["verdict"], "unresolved");
    let reason = finding["reason"].as_str().unwrap();
    assert!(reason.contains("consumer groups"), "{reason}");
    assert_eq!(length(&one, "events"), 5_998);
    // The group itself is no obstacle: the other gets it.
    let groups: Vec<redis::Value> = query(&mut other.client(), &[b"XINFO", b"GROUPS", b"events"]);
    assert_eq!(groups.len(), 1);
}
