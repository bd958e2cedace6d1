//! What goes wrong on real servers: values in pieces, servers that vanish, interruption, two passes, odd input.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::time::Duration;

use support::generate::{self, fill_hash};
use support::judge::{assert_equal, query};
use support::reknit::Reknit;
use support::server::RedisServer;

const SETTLE: [&str; 2] = ["--settle", "10ms"];

fn calls(server: &RedisServer, command: &str) -> bool {
    let stats: String = query(&mut server.client(), &[b"INFO", b"commandstats"]);
    stats.contains(&format!("cmdstat_{command}:"))
}

fn pair() -> (RedisServer, RedisServer) {
    (RedisServer::start(), RedisServer::start())
}

#[test]
fn large_values_are_copied_piece_by_piece_and_nothing_is_left_aside() {
    let (one, other) = pair();
    fill_hash(&one, "big", 20_000);
    let mut connection = one.client();
    let long = "x".repeat(3_000_000);
    redis::cmd("SET")
        .arg("text")
        .arg(&long)
        .query::<()>(&mut connection)
        .unwrap();
    redis::cmd("PEXPIREAT")
        .arg("text")
        .arg(4_000_000_000_000_i64)
        .query::<()>(&mut connection)
        .unwrap();
    for index in 0..10_000 {
        redis::cmd("RPUSH")
            .arg("list")
            .arg(index)
            .query::<()>(&mut connection)
            .unwrap();
    }
    other.cmd(["SET", "list", "another type"]);
    other.cmd(["SET", "text", "short"]);
    for server in [&one, &other] {
        server.cmd(["CONFIG", "RESETSTAT"]);
    }
    Reknit::over("repair", &[&one, &other])
        .args(SETTLE)
        .limit(Duration::from_secs(120))
        .run()
        .assert_code(0);
    assert_equal(&[&one, &other]);
    let left: Vec<String> = query(&mut other.client(), &[b"KEYS", b"reknit:*"]);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn bits_of_large_strings_are_united() {
    let (one, other) = pair();
    one.cmd(["SETBIT", "bits", "40000000", "1"]);
    other.cmd(["SETBIT", "bits", "7", "1"]);
    Reknit::over("repair", &[&one, &other])
        .args(SETTLE)
        .args(["--rule", "string=bitmap-or"])
        .run()
        .assert_code(0);
    for server in [&one, &other] {
        let count: i64 = query(&mut server.client(), &[b"BITCOUNT", b"bits"]);
        assert_eq!(count, 2);
    }
    assert_equal(&[&one, &other]);
}

#[test]
fn beyond_the_memory_limit_the_work_is_done_in_two_passes_with_the_same_result() {
    let (one, other) = pair();
    for server in [&one, &other] {
        generate::load(server.port(), 20_000).unwrap();
    }
    generate::diverge([one.port(), other.port()], 20_000, 300, 1).unwrap();
    let found = |args: &[&str]| {
        let outcome = Reknit::over("diff", &[&one, &other])
            .args(SETTLE)
            .args(args.iter().copied())
            .run();
        outcome.assert_code(1);
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let mut keys: Vec<String> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["key"].to_string())
            .collect();
        keys.sort();
        keys
    };
    let whole = found(&["--format", "json"]);
    assert_eq!(whole.len(), 300);
    assert_eq!(found(&["--format", "json", "--memory", "1MiB"]), whole);
}

#[test]
fn a_replica_that_vanishes_halfway_ends_the_run_as_partial_or_trouble_and_writes_nothing_unconfirmed()
 {
    let (one, mut other) = pair();
    for server in [&one, &other] {
        generate::load(server.port(), 20_000).unwrap();
    }
    generate::diverge([one.port(), other.port()], 20_000, 300, 1).unwrap();
    let before: String = query(&mut one.client(), &[b"DEBUG", b"DIGEST"]);
    let running = Reknit::over("repair", &[&one, &other])
        .args(["--keys-per-second", "4000"])
        .spawn();
    while !calls(&other, "getrange") {
        std::thread::yield_now();
    }
    other.kill();
    let outcome = running.finish();
    assert!(
        matches!(outcome.code(), Some(2 | 3)),
        "{:?}",
        outcome.code()
    );
    assert!(outcome.stderr.contains("r2"), "the replica is named");
    let after: String = query(&mut one.client(), &[b"DEBUG", b"DIGEST"]);
    assert_eq!(before, after);
}

#[test]
fn a_signal_stops_a_run_within_two_seconds() {
    let (one, other) = pair();
    for server in [&one, &other] {
        generate::load(server.port(), 20_000).unwrap();
    }
    for name in ["INT", "TERM"] {
        let running = Reknit::over("repair", &[&one, &other])
            .args(["--keys-per-second", "1000"])
            .limit(Duration::from_secs(20))
            .spawn();
        while !calls(&other, "getrange") {
            std::thread::yield_now();
        }
        running.signal(name);
        running.finish().assert_code(130);
        for server in [&one, &other] {
            server.cmd(["CONFIG", "RESETSTAT"]);
        }
    }
}

#[test]
fn an_unknown_keyspace_and_the_same_server_twice_are_refused() {
    let (one, other) = pair();
    let outcome = Reknit::over("diff", &[&one, &other])
        .args(["--keyspace", "nosuch"])
        .run();
    outcome.assert_code(2);
    assert!(outcome.stderr.contains("nosuch"));
    let outcome = Reknit::over("diff", &[&one, &one]).run();
    outcome.assert_code(2);
    assert!(outcome.stderr.contains("same server"));
}

#[test]
fn keys_per_second_are_kept() {
    let (one, other) = pair();
    for server in [&one, &other] {
        generate::load(server.port(), 3_000).unwrap();
    }
    let outcome = Reknit::over("diff", &[&one, &other])
        .args([
            "--keys-per-second",
            "1500",
            "--settle",
            "0s",
            "--format",
            "json",
        ])
        .run();
    outcome.assert_code(0);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let millis = report["summary"]["duration_ms"]
        .as_i64()
        .unwrap_or_default();
    assert!(
        (1_850..=3_500).contains(&millis),
        "{millis} ms for 3000 keys at 1500/s; {}",
        report["summary"]
    );
}
