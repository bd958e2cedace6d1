//! A large hash that differs in one field is repaired without a command that holds the server for long.
//!
//! `REKNIT_FIELDS` says how many fields it has, `REKNIT_SLOW_MS` how long a command may take: by default few, and longer
//! than any of them takes, because the log counts also the time in which a busy machine gave the server no processor.
//! `make soak` asks for five million fields and 10 ms, and allows one command in ten thousand to take longer.

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
const DEFAULT_SLOW_MS: u64 = 200;

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn calls(server: &RedisServer, command: &str) -> bool {
    info(server, "commandstats").contains(&format!("cmdstat_{command}:"))
}

/// A number of a section of INFO.
fn figure(info: &str, name: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.strip_prefix(':'));
    value.expect("the figure").trim().parse().unwrap()
}

fn info(server: &RedisServer, section: &str) -> String {
    query(&mut server.client(), &[b"INFO", section.as_bytes()])
}

#[test]
fn a_large_hash_that_differs_in_one_field_is_repaired_without_a_long_command() {
    let fields = number("REKNIT_FIELDS", DEFAULT_FIELDS);
    let bound = Duration::from_millis(number("REKNIT_SLOW_MS", DEFAULT_SLOW_MS));
    let micros = bound.as_micros().to_string();
    let watched = || {
        RedisServer::builder()
            .args(["--slowlog-log-slower-than", &micros])
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
        let latencies = info(server, "latencystats");
        let scans = latencies.lines().find(|line| line.contains("_hscan:"));
        let slow: u64 = query(&mut server.client(), &[b"SLOWLOG", b"LEN"]);
        let commands = figure(&info(server, "stats"), "total_commands_processed");
        eprintln!(
            "{fields} fields in {took:?}: {slow} of {commands} commands over {bound:?}; {scans:?}"
        );
        assert!(!calls(server, "hgetall"), "read in one command");
        // One in ten thousand may have lost its processor to another process.
        let log: Vec<redis::Value> = query(&mut server.client(), &[b"SLOWLOG", b"GET"]);
        assert!(
            slow <= commands / 10_000,
            "{slow} of {commands} commands: {log:?}"
        );
        let value: String = query(&mut server.client(), &[b"HGET", b"big", b"field:77"]);
        assert_eq!(value, "value:77");
    }
    assert_equal(&[&one, &other]);
}
