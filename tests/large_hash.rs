//! A large hash that differs in one field is repaired without a command that holds the server for long.
//!
//! `REKNIT_FIELDS` says how many fields it has, `REKNIT_SLOW_MS` how long a command may take: by default few, and longer
//! than any of them takes, because the log counts also the time in which a busy machine gave the server no processor.
//! `make soak` asks for five million fields and 10 ms.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(clippy::disallowed_methods)] // a real run is measured by the wall clock
#![allow(clippy::print_stderr)] // figures for those who ask with --nocapture

mod support;

use std::time::{Duration, Instant};

use support::generate::fill_hash;
use support::judge::{assert_equal, query};
use support::reknit::Reknit;
use support::server::RedisServer;

const DEFAULT_FIELDS: usize = 200_000;
const DEFAULT_SLOW_MS: u64 = 100;

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn calls(server: &RedisServer, command: &str) -> bool {
    let stats: String = query(&mut server.client(), &[b"INFO", b"commandstats"]);
    stats.contains(&format!("cmdstat_{command}:"))
}

/// The slowest commands, each with its microseconds.
fn slowest(server: &RedisServer) -> Vec<(u64, String)> {
    type Entry = (u64, u64, u64, Vec<String>, String, String);
    let entries: Vec<Entry> = query(&mut server.client(), &[b"SLOWLOG", b"GET", b"128"]);
    let mut found: Vec<(u64, String)> = entries
        .into_iter()
        .map(|(_, _, micros, words, _, _)| (micros, words.first().cloned().unwrap_or_default()))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found
}

#[test]
fn a_large_hash_that_differs_in_one_field_is_repaired_without_a_long_command() {
    let fields = number("REKNIT_FIELDS", DEFAULT_FIELDS);
    let bound = Duration::from_millis(number("REKNIT_SLOW_MS", DEFAULT_SLOW_MS));
    let watched = || {
        RedisServer::builder()
            .args(["--slowlog-log-slower-than", "1000"])
            .start()
    };
    let (one, other) = (watched(), watched());
    for server in [&one, &other] {
        fill_hash(server, "big", fields);
        server.cmd(["CONFIG", "RESETSTAT"]);
    }
    other.cmd(["HSET", "big", "field:77", "stale"]);
    other.cmd(["HDEL", "big", "field:78"]);
    for server in [&one, &other] {
        server.cmd(["SLOWLOG", "RESET"]);
    }
    let begun = Instant::now();
    let outcome = Reknit::over("repair", &[&one, &other])
        .args(["--settle", "10ms"])
        .limit(Duration::from_secs(600))
        .run();
    let took = begun.elapsed();
    outcome.assert_code(0);
    for server in [&one, &other] {
        let slow = slowest(server);
        eprintln!(
            "{fields} fields in {took:?}: slowest {:?}",
            slow.iter().take(5).collect::<Vec<_>>()
        );
        assert!(!calls(server, "hgetall"), "read in one command");
        let longest = slow.first().map_or(0, |(micros, _)| *micros);
        assert!(Duration::from_micros(longest) <= bound, "{slow:?}");
        let value: String = query(&mut server.client(), &[b"HGET", b"big", b"field:77"]);
        assert_eq!(value, "value:77");
    }
    assert_equal(&[&one, &other]);
}
