//! Pre-images in a file, for runs without memory: kept before anything is overwritten, and put back from there.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use redis::Value;
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;
use support::site::{assert_says, json, text};
use tempfile::TempDir;

/// Two servers, and a place for a journal.
struct Pair {
    servers: [RedisServer; 2],
    dir: TempDir,
}

impl Pair {
    fn new() -> Self {
        Self {
            servers: [RedisServer::start(), RedisServer::start()],
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("pre-images")
    }

    fn cmd(&self, server: usize, words: &str) -> Value {
        self.servers[server].cmd(words.split(' '))
    }

    fn with(&self, command: &str) -> Reknit {
        let [left, right] = &self.servers;
        Reknit::over(command, &[left, right])
    }

    fn repair_with(&self, journal: &Path) -> Reknit {
        self.with("repair")
            .args(["--settle", "50ms", "--journal"])
            .args([journal])
    }

    fn repair(&self) -> Outcome {
        self.repair_with(&self.journal()).run()
    }

    fn undo(&self) -> Reknit {
        self.with("undo").args(["--journal".into(), self.journal()])
    }
}

/// What server 1 holds of everything, as commands tell it.
fn held(pair: &Pair, server: usize) -> Vec<Value> {
    [
        "GET s",
        "SMEMBERS set",
        "HGETALL h",
        "ZRANGE z 0 -1 WITHSCORES",
        "LRANGE l 0 -1",
        "GET ends",
        "PEXPIRETIME ends",
        "EXISTS missing",
        "TYPE typed",
    ]
    .iter()
    .map(|words| pair.cmd(server, words))
    .collect()
}

fn diverge(pair: &Pair) {
    for (server, mark) in [(0, "a"), (1, "b")] {
        pair.cmd(server, &format!("SET s {mark}"));
        pair.cmd(server, &format!("SADD set both {mark}"));
        pair.cmd(server, &format!("HSET h both {mark}"));
        pair.cmd(server, &format!("ZADD z {} m", server + 1));
        pair.cmd(server, &format!("RPUSH l {mark} {mark}"));
    }
    pair.cmd(0, "SET missing v");
    pair.cmd(0, "SET ends v PXAT 4000000000000");
    pair.cmd(1, "SET ends v PXAT 4000000900000");
    pair.cmd(0, "SET typed v");
    pair.cmd(1, "RPUSH typed v");
}

#[test]
fn what_a_run_without_memory_overwrote_is_put_back_from_its_file() {
    let pair = Pair::new();
    diverge(&pair);
    let before = held(&pair, 1);
    pair.repair().assert_code(0);
    let after = held(&pair, 1);
    assert_ne!(before, after);
    let dry = pair.undo().args(["--dry-run"]).run();
    dry.assert_code(0);
    assert_says(&dry, &["of run 1 would be put back"]);
    assert_eq!(held(&pair, 1), after);
    let undone = pair.undo().args(["--format", "json"]).run();
    undone.assert_code(0);
    let told = json(&undone);
    assert_eq!(told["undoes"], 1, "{undone}");
    assert_eq!(held(&pair, 1), before);
    assert_eq!(pair.cmd(0, "SISMEMBER set b"), Value::Int(0));
    // Nothing is held: without memory the same run does the same again, and the file keeps both.
    pair.repair().assert_code(0);
    assert_eq!(held(&pair, 1), after);
    // The undo is a run of its own in the file, which can be undone by its number: of what it put back, nothing stands.
    let again = pair.undo().args(["2"]).run();
    again.assert_code(1);
    pair.undo().args(["9"]).run().assert_code(2);
    pair.undo().run().assert_code(0);
    assert_eq!(held(&pair, 1), before);
}

#[test]
fn what_was_written_since_stays_and_one_replica_or_key_can_be_chosen() {
    let pair = Pair::new();
    for key in ["k", "l", "m"] {
        pair.cmd(0, &format!("SET {key} new"));
        pair.cmd(1, &format!("SET {key} old"));
    }
    pair.cmd(1, "SADD set x");
    pair.cmd(0, "SADD set y");
    pair.repair().assert_code(0);
    pair.cmd(1, "SET k mine");
    let one = pair.undo().args(["--key", "l"]).run();
    one.assert_code(0);
    assert_eq!(pair.cmd(1, "GET l"), text("old"));
    assert_eq!(pair.cmd(1, "GET m"), text("new"));
    let names = pair.servers.each_ref().map(RedisServer::url);
    let there = pair.undo().args(["--replica", "r2"]).run();
    assert_says(
        &there,
        &["kept: it was written since", "left out by --replica"],
    );
    there.assert_code(1);
    assert_eq!(pair.cmd(1, "GET k"), text("mine"));
    assert_eq!(pair.cmd(1, "GET m"), text("old"));
    assert_eq!(pair.cmd(0, "SCARD set"), Value::Int(2), "{names:?}");
    assert_eq!(pair.cmd(1, "SCARD set"), Value::Int(1));
}

#[test]
fn a_stream_comes_back_with_what_its_groups_have_pending() {
    let pair = Pair::new();
    pair.cmd(0, "SET s string");
    pair.cmd(1, "XADD s 1-1 f v");
    pair.cmd(1, "XADD s 2-1 f w");
    pair.cmd(1, "XGROUP CREATE s g 0");
    pair.cmd(1, "XREADGROUP GROUP g me COUNT 1 STREAMS s >");
    let pending = pair.cmd(1, "XPENDING s g");
    pair.repair().assert_code(0);
    assert_eq!(pair.cmd(1, "GET s"), text("string"));
    pair.undo().run().assert_code(0);
    assert_eq!(pair.cmd(1, "XPENDING s g"), pending);
    assert_eq!(pair.cmd(1, "XLEN s"), Value::Int(2));
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_nothing_is_written() {
    let pair = Pair::new();
    pair.cmd(0, "SET k new");
    pair.cmd(1, "SET k old");
    for content in ["replicas: []\n", "reknit journal\u{2}what comes later"] {
        fs::write(pair.journal(), content).unwrap();
        let refused = pair.repair();
        refused.assert_code(2);
        assert_says(&refused, &["pre-images"]);
        assert_eq!(fs::read_to_string(pair.journal()).unwrap(), content);
        pair.undo().run().assert_code(2);
    }
    assert_eq!(pair.cmd(1, "GET k"), text("old"));
    fs::remove_file(pair.journal()).unwrap();
    let missing = pair.undo().run();
    missing.assert_code(2);
    assert_says(&missing, &["is missing"]);
    let device = pair.repair_with(Path::new("/dev/full")).run();
    device.assert_code(2);
    assert_says(&device, &["/dev/full", "is no file"]);
    assert_eq!(pair.cmd(1, "GET k"), text("old"));
}

#[test]
fn a_damaged_file_is_refused_and_one_that_is_cut_off_gives_back_what_is_whole() {
    let pair = Pair::new();
    pair.cmd(0, "SET k new");
    pair.cmd(1, "SET k old");
    pair.repair().assert_code(0);
    let whole = fs::read(pair.journal()).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(pair.journal(), &damaged).unwrap();
    for outcome in [pair.repair(), pair.undo().run()] {
        outcome.assert_code(2);
        assert_says(&outcome, &["pre-images", "is damaged at byte"]);
    }
    // The last frame says that the write happened: without it, the write is whole all the same.
    fs::write(pair.journal(), &whole[..whole.len() - 3]).unwrap();
    let refused = pair.repair();
    refused.assert_code(2);
    assert_says(&refused, &["its end is cut off at byte"]);
    let undone = pair.undo().run();
    undone.assert_code(0);
    assert_says(&undone, &["its end is cut off", "put back 1 of 1 write"]);
    assert_eq!(pair.cmd(1, "GET k"), text("old"));
    pair.repair().assert_code(0);
}

#[test]
fn a_full_disk_stops_the_run_before_the_next_write() {
    let pair = Pair::new();
    let value = "v".repeat(2_000);
    for key in 0..300 {
        pair.cmd(0, &format!("SET k{key} new"));
        pair.cmd(1, &format!("SET k{key} {value}"));
    }
    let [left, right] = &pair.servers;
    // A file of this process and below grows to 200 KiB at the most: after some steps there is no room.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    let mut command = Command::new("bash");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_reknit"), "repair"])
        .args(["--replica", &format!("r1={}", left.url())])
        .args(["--replica", &format!("r2={}", right.url())])
        .args([
            "--settle",
            "50ms",
            "--force-overwrites",
            "1000",
            "--journal",
        ])
        .arg(pair.journal());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no space left on the disk"), "{said}");
    assert!(said.contains("pre-images"), "{said}");
    let overwritten = (0..300)
        .filter(|key| pair.cmd(1, &format!("GET k{key}")) == text("new"))
        .count();
    assert!((1..200).contains(&overwritten), "{overwritten} of 300");
    // All that was overwritten is in the file.
    let undone = pair.undo().args(["--format", "json"]).run();
    undone.assert_code(0);
    assert_eq!(json(&undone)["fates"]["undone"], overwritten, "{undone}");
    for key in 0..300 {
        assert_eq!(pair.cmd(1, &format!("GET k{key}")), text(&value));
    }
}

#[test]
fn a_run_with_memory_needs_no_file() {
    let pair = Pair::new();
    let state = pair.dir.path().join("state");
    let refused = pair
        .repair_with(&pair.journal())
        .args(["--state-dir".into(), state.clone()])
        .run();
    refused.assert_code(2);
    assert_says(&refused, &["keeps pre-images already", "state: none"]);
    assert!(!state.exists() && !pair.journal().exists());
    let unnamed = pair.with("undo").run();
    unnamed.assert_code(2);
}

#[test]
fn what_a_reknit_with_memory_repairs_is_not_undone_from_a_file() {
    let pair = Pair::new();
    pair.cmd(0, "SET k new");
    pair.cmd(1, "SET k old");
    pair.repair().assert_code(0);
    let state = pair.dir.path().join("state");
    let with_memory = pair
        .with("repair")
        .args(["--settle", "50ms", "--state-dir"]);
    with_memory.args([state]).run().assert_code(0);
    let refused = pair.undo().run();
    refused.assert_code(4);
    assert_says(&refused, &["markers"]);
    assert_eq!(pair.cmd(1, "GET k"), text("new"));
    pair.undo().args(["--force-markers"]).run().assert_code(0);
    assert_eq!(pair.cmd(1, "GET k"), text("old"));
}

/// Fills a key of 5,000 elements on a server; `extra` are words behind them.
fn fill(pair: &Pair, server: usize, command: &str, extra: &str) {
    let numbers = (0..5_000).map(|number| match command {
        "HSET big-h" => format!("f{number} v"),
        "ZADD big-z" => format!("{number} m{number}"),
        _ => format!("m{number}"),
    });
    let words: Vec<String> = numbers.collect();
    for chunk in words.chunks(1_000) {
        pair.cmd(server, &format!("{command} {}", chunk.join(" ")));
    }
    pair.cmd(server, &format!("{command} {extra}"));
}

fn sorted(value: Value) -> Vec<Value> {
    let Value::Array(mut values) = value else {
        panic!("{value:?} is no array");
    };
    values.sort_by_key(|value| format!("{value:?}"));
    values
}

/// What a server holds of the large values.
fn large(pair: &Pair, server: usize) -> Vec<Vec<Value>> {
    vec![
        sorted(pair.cmd(server, "SMEMBERS big-s")),
        sorted(pair.cmd(server, "HGETALL big-h")),
        sorted(pair.cmd(server, "ZRANGE big-z 0 -1 WITHSCORES")),
        vec![pair.cmd(server, "LRANGE big-l 0 -1")],
        vec![pair.cmd(server, "GET big")],
        vec![pair.cmd(server, "PEXPIRETIME big")],
        vec![pair.cmd(server, "TYPE typed")],
        vec![pair.cmd(server, "EXISTS lacking")],
    ]
}

#[test]
fn parts_of_large_values_and_large_values_that_were_replaced_come_back() {
    let pair = Pair::new();
    for (server, mark) in [(0, "a"), (1, "b")] {
        fill(&pair, server, "SADD big-s", &format!("only-{mark}"));
        fill(
            &pair,
            server,
            "HSET big-h",
            &format!("f7 {mark} only-{mark} x"),
        );
        fill(&pair, server, "ZADD big-z", &format!("9{server} m7"));
        fill(&pair, server, "RPUSH big-l", mark);
        let value = mark.repeat(3 << 20);
        pair.cmd(
            server,
            &format!("SET big {value} PXAT 400000000000{server}"),
        );
    }
    pair.cmd(0, "SET typed v");
    fill(&pair, 1, "SADD typed", "x");
    fill(&pair, 0, "SADD lacking", "x");
    let before = [large(&pair, 0), large(&pair, 1)];
    let repaired = pair.repair();
    repaired.assert_code(0);
    let after = large(&pair, 0);
    assert_eq!(large(&pair, 1), after);
    assert_ne!(before[1], after);
    let dry = pair.undo().args(["--dry-run", "--format", "json"]).run();
    dry.assert_code(0);
    assert_eq!(large(&pair, 1), after);
    // A client writes to one large value: only what the run wrote there stays.
    pair.cmd(1, "SADD big-s mine");
    let undone = pair.undo().args(["--format", "json"]).run();
    undone.assert_code(0);
    assert_eq!(
        json(&dry)["fates"]["planned"],
        json(&undone)["fates"]["undone"],
        "{undone}"
    );
    assert_eq!(pair.cmd(1, "SREM big-s mine"), Value::Int(1));
    for (server, before) in before.iter().enumerate() {
        for (found, expected) in large(&pair, server).iter().zip(before) {
            assert!(found == expected, "{:?}", found.first());
        }
        assert_eq!(pair.cmd(server, "KEYS reknit:*"), Value::Array(vec![]));
    }
    // What the undo replaced was kept in its turn.
    pair.undo().args(["2"]).run().assert_code(0);
    for server in 0..2 {
        assert!(large(&pair, server) == after, "server {server}");
    }
}

#[test]
fn an_element_of_a_large_value_that_was_written_since_stays() {
    let pair = Pair::new();
    for (server, mark) in [(0, "a"), (1, "b")] {
        fill(&pair, server, "HSET big-h", &format!("f7 {mark}"));
    }
    pair.repair().assert_code(0);
    pair.cmd(1, "HSET big-h f7 mine f8 mine");
    pair.undo().run().assert_code(1);
    assert_eq!(
        pair.cmd(1, "HMGET big-h f7 f8"),
        Value::Array(vec![text("mine"), text("mine")])
    );
}
