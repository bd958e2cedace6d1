//! Undo by the command line, on real servers: there and back, conditionally, and what comes after.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use redis::Value;
use support::site::{Site, assert_says, json, text};

#[test]
fn an_undo_puts_everything_back_and_the_next_run_does_not_repeat_it() {
    let site = Site::new(3);
    for key in ["kept", "gone"] {
        site.cmd(0, &format!("SET {key} v"));
    }
    site.cmd(1, "SADD s x y");
    site.cmd(2, "HSET h f 1");
    site.repair();
    site.cmd(1, "DEL gone");
    site.cmd(0, "SREM s x");
    site.cmd(0, "SADD s z");
    site.cmd(2, "HSET h f 2 g 3");
    site.cmd(1, "SET new v");
    site.cmd(1, "PEXPIREAT kept 4000000000000");
    site.repair();
    site.assert_all("EXISTS gone", &Value::Int(0));
    let dry = site.with("undo").args(["2", "--dry-run"]).run();
    dry.assert_code(0);
    assert_says(&dry, &["10 of 10 writes of run 2 would be put back"]);
    let undone = site.with("undo").args(["2", "--format", "json"]).run();
    undone.assert_code(0);
    let told = json(&undone);
    assert_eq!(told["fates"]["undone"], 10, "{undone}");
    let exists = |key: &str| -> Vec<Value> {
        let ask = |server| site.cmd(server, &format!("EXISTS {key}"));
        (0..3).map(ask).collect()
    };
    let ints = |numbers: [i64; 3]| numbers.map(Value::Int).to_vec();
    assert_eq!(exists("gone"), ints([1, 0, 1]));
    assert_eq!(exists("new"), ints([0, 1, 0]));
    assert_eq!(site.cmd(0, "SISMEMBER s x"), Value::Int(0));
    assert_eq!(site.cmd(2, "SISMEMBER s x"), Value::Int(1));
    assert_eq!(site.cmd(2, "SISMEMBER s z"), Value::Int(0));
    assert_eq!(site.cmd(0, "HGET h f"), text("1"));
    assert_eq!(site.cmd(2, "HGET h f"), text("2"));
    assert_eq!(site.cmd(0, "PTTL kept"), Value::Int(-1));
    // Held: reported, and not resolved again.
    let next = site.with("repair").args(["--format", "json"]).run();
    next.assert_code(1);
    assert_eq!(
        json(&next)["summary"]["verdicts"]["unresolved"],
        5,
        "{next}"
    );
    assert_eq!(exists("gone"), ints([1, 0, 1]));
    // Named: resolved again, as if the run had never been.
    let named = ["kept", "gone", "s", "h", "new"].map(|key| format!("--key={key}"));
    site.with("repair").args(named).run().assert_code(0);
    site.assert_all("EXISTS gone", &Value::Int(0));
    site.assert_all("EXISTS new", &Value::Int(1));
    site.assert_all("SISMEMBER s x", &Value::Int(0));
    site.assert_all("SCARD s", &Value::Int(2));
    site.assert_all("HGET h f", &text("2"));
    site.assert_all("PEXPIRETIME kept", &Value::Int(4_000_000_000_000));
    site.with("repair").run().assert_code(0);
}

#[test]
fn what_was_written_since_stays() {
    let site = Site::new(2);
    site.cmd(0, "MSET a 1 b 1");
    site.repair();
    site.cmd(0, "MSET a 2 b 2");
    site.repair();
    site.cmd(1, "SET a mine");
    let undone = site.with("undo").args(["2"]).run();
    undone.assert_code(1);
    assert_says(
        &undone,
        &["put back 1 of 2 writes", "kept: it was written since"],
    );
    assert_eq!(site.cmd(1, "GET a"), text("mine"));
    assert_eq!(site.cmd(1, "GET b"), text("1"));
    let again = site.with("undo").args(["2"]).run();
    again.assert_code(1);
    assert_says(
        &again,
        &[
            "\"a\" at r2: kept: it was written since",
            "\"b\" at r2: kept: it holds already what stood there before",
        ],
    );
}

#[test]
fn a_first_run_is_undone_without_losing_what_was_there_before() {
    let site = Site::new(2);
    site.cmd(0, "SET left v");
    site.cmd(1, "SET right v");
    site.cmd(0, "SET both l");
    site.cmd(1, "SET both r");
    site.repair();
    site.with("undo").args(["1"]).run().assert_code(0);
    let held = |server: usize| site.cmd(server, "MGET left right both");
    assert_eq!(
        held(0),
        Value::Array(vec![text("v"), Value::Nil, text("l")])
    );
    assert_eq!(
        held(1),
        Value::Array(vec![Value::Nil, text("v"), text("r")])
    );
    let named = ["--key=left", "--key=right", "--key=both"];
    site.with("repair").args(named).run().assert_code(0);
    let all = Value::Array(vec![text("v"), text("v"), text("l")]);
    site.assert_all("MGET left right both", &all);
}

#[test]
fn counters_that_were_summed_are_taken_apart_and_summed_again() {
    let site = Site::counting(3);
    site.cmd(0, "SET hits 10");
    site.cmd(1, "SET hits 4");
    site.repair();
    site.assert_all("GET hits", &text("10"));
    for (server, by) in [(0, 1), (1, 2), (2, 3)] {
        site.cmd(server, &format!("INCRBY hits {by}"));
    }
    site.repair();
    site.assert_all("GET hits", &text("16"));
    site.cmd(1, "INCRBY hits 100");
    let undone = site.with("undo").args(["2"]).run();
    undone.assert_code(1);
    let gets: Vec<Value> = (0..3).map(|server| site.cmd(server, "GET hits")).collect();
    assert_eq!(gets, ["11", "116", "13"].map(text));
    site.with("repair")
        .args(["--key=hits"])
        .run()
        .assert_code(0);
    site.assert_all("GET hits", &text("116"));
    // The first agreement took the greatest; undone, it is the greatest again, not a sum.
    let site = Site::counting(2);
    site.cmd(0, "SET hits 10");
    site.cmd(1, "SET hits 4");
    site.repair();
    site.with("undo").args(["1"]).run().assert_code(0);
    assert_eq!(site.cmd(1, "GET hits"), text("4"));
    site.with("repair")
        .args(["--key=hits"])
        .run()
        .assert_code(0);
    site.assert_all("GET hits", &text("10"));
}

#[test]
fn an_undo_at_one_replica_leaves_the_others() {
    let site = Site::new(3);
    site.cmd(0, "SET k old");
    site.repair();
    site.cmd(0, "SET k new");
    site.repair();
    let undone = site.with("undo").args(["2", "--replica", "r3"]).run();
    undone.assert_code(0);
    assert_says(&undone, &["left out by --replica"]);
    let gets: Vec<Value> = (0..3).map(|server| site.cmd(server, "GET k")).collect();
    assert_eq!(gets, ["new", "new", "old"].map(text));
    site.with("repair").args(["--key=k"]).run().assert_code(0);
    site.assert_all("GET k", &text("new"));
}

#[test]
fn an_undo_can_be_undone() {
    let site = Site::new(2);
    site.cmd(0, "SET k old");
    site.repair();
    site.cmd(0, "SET k new");
    site.repair();
    site.with("undo").args(["2"]).run().assert_code(0);
    assert_eq!(site.cmd(1, "GET k"), text("old"));
    site.with("undo").args(["3"]).run().assert_code(0);
    assert_eq!(site.cmd(1, "GET k"), text("new"));
    site.with("undo").args(["99"]).run().assert_code(2);
}

#[test]
fn what_an_undo_took_back_everywhere_is_not_undone_at_one_replica_alone() {
    let site = Site::new(3);
    site.cmd(0, "SET k old");
    site.repair();
    site.cmd(0, "SET k new");
    site.repair();
    site.with("undo").args(["2"]).run().assert_code(0);
    let alone = site.with("undo").args(["3", "--replica", "r2"]).run();
    alone.assert_code(1);
    assert_says(&alone, &["this undo took it back everywhere"]);
    assert_eq!(site.cmd(1, "GET k"), text("old"));
    site.with("undo").args(["3"]).run().assert_code(0);
    site.assert_all("GET k", &text("new"));
}

#[test]
fn a_large_value_is_taken_back_everywhere_or_nowhere() {
    let site = Site::new(3);
    fill(&site, 0, "s");
    site.repair();
    site.cmd(0, "SREM s m1-1");
    site.repair();
    let alone = site.with("undo").args(["2", "--replica", "r2"]).run();
    alone.assert_code(1);
    assert_says(&alone, &["at all replicas that the run wrote, or at none"]);
    site.assert_all("SISMEMBER s m1-1", &Value::Int(0));
    site.with("undo").args(["2"]).run().assert_code(0);
    assert_eq!(site.cmd(1, "SISMEMBER s m1-1"), Value::Int(1));
    assert_eq!(site.cmd(2, "SISMEMBER s m1-1"), Value::Int(1));
}

#[test]
fn an_undo_passes_the_guards_and_can_be_forced_with_a_reason() {
    let site = Site::new(2);
    let keys: Vec<String> = (0..150).map(|number| format!("k{number} v")).collect();
    site.cmd(0, &format!("MSET {}", keys.join(" ")));
    site.repair();
    let dry = site.with("undo").args(["1", "--dry-run"]).run();
    dry.assert_code(0);
    assert_says(
        &dry,
        &["the undo would STOP: 150 of the 152 keys that r2 holds"],
    );
    let stopped = site.with("undo").args(["1", "--format", "json"]).run();
    stopped.assert_code(4);
    let told = json(&stopped);
    assert_eq!(told["fates"]["kept"], 150, "{stopped}");
    let words = told["tripped"][0].as_str().unwrap();
    assert!(words.contains("r2: deletes 150 of the 152 keys"), "{words}");
    site.assert_all("DBSIZE", &Value::Int(152));
    let forced = ["1", "--force-deletes", "200"];
    site.with("undo").args(forced).run().assert_code(2);
    let undone = site.with("undo").args(forced).args(["--reason", "test"]);
    undone.run().assert_code(0);
    assert_eq!(site.cmd(1, "EXISTS k7"), Value::Int(0));
    assert_eq!(site.cmd(0, "EXISTS k7"), Value::Int(1));
}

#[test]
fn what_was_undone_is_let_go_when_the_policy_of_its_keyspace_changes() {
    let mut site = Site::new(2);
    site.cmd(0, "SET k 3");
    site.cmd(1, "SET k 5");
    site.repair();
    site.assert_all("GET k", &text("3"));
    site.with("undo").args(["1"]).run().assert_code(0);
    assert_eq!(site.cmd(1, "GET k"), text("5"));
    site.with("repair").run().assert_code(1);
    site.rules = "{ string: counter-max }";
    site.repair();
    site.assert_all("GET k", &text("5"));
    // It is let go for good: the old policy takes nothing back.
    site.rules = "";
    site.repair();
    site.cmd(0, "SET k 7");
    site.repair();
    site.assert_all("GET k", &text("7"));
}

/// Adds 5,000 members to a set.
fn fill(site: &Site, server: usize, key: &str) {
    for thousand in 0..5 {
        let members: Vec<String> = (0..1_000).map(|n| format!("m{thousand}-{n}")).collect();
        site.cmd(server, &format!("SADD {key} {}", members.join(" ")));
    }
}

#[test]
fn large_values_come_back_and_the_run_is_repeated_when_they_are_named() {
    let site = Site::new(3);
    for key in ["changed", "gone"] {
        fill(&site, 0, key);
    }
    site.cmd(0, &format!("SET long {}", "a".repeat(2 << 20)));
    site.repair();
    site.cmd(0, "SREM changed m1-1 m2-2");
    site.cmd(0, "SADD changed new");
    site.cmd(1, "DEL gone");
    site.cmd(2, &format!("SET long {}", "b".repeat(2 << 20)));
    site.repair();
    let changed = || -> Vec<Value> {
        let ask = |server| site.cmd(server, "SMISMEMBER changed m1-1 m2-2 new");
        (0..3).map(ask).collect()
    };
    let flags = |numbers: [i64; 3]| Value::Array(numbers.map(Value::Int).to_vec());
    let exists = || -> Vec<Value> { (0..3).map(|at| site.cmd(at, "SCARD gone")).collect() };
    let first = || -> Vec<Value> { (0..3).map(|at| site.cmd(at, "GETRANGE long 0 0")).collect() };
    assert_eq!(changed(), vec![flags([0, 0, 1]); 3]);
    assert_eq!(exists(), vec![Value::Int(0); 3]);
    assert_eq!(first(), vec![text("b"); 3]);
    let undone = site.with("undo").args(["2"]).run();
    undone.assert_code(0);
    let former = || {
        assert_eq!(
            changed(),
            [flags([0, 0, 1]), flags([1, 1, 0]), flags([1, 1, 0])]
        );
        assert_eq!(exists(), [5_000, 0, 5_000].map(Value::Int));
        assert_eq!(first(), ["a", "a", "b"].map(text));
    };
    former();
    // Held: reported, and not resolved again.
    site.with("repair").run().assert_code(1);
    former();
    // Named: what clients did before the run counts again, as if the run had never been.
    let named = ["changed", "gone", "long"].map(|key| format!("--key={key}"));
    site.with("repair").args(named).run().assert_code(0);
    assert_eq!(changed(), vec![flags([0, 0, 1]); 3]);
    assert_eq!(exists(), vec![Value::Int(0); 3]);
    assert_eq!(first(), vec![text("b"); 3]);
    site.with("repair").run().assert_code(0);
}

#[test]
fn a_stream_that_was_removed_comes_back_with_what_its_groups_have_pending() {
    let site = Site::new(2);
    for server in 0..2 {
        site.cmd(server, "XADD s 1-1 f v");
        site.cmd(server, "XGROUP CREATE s g 0");
    }
    site.repair();
    site.cmd(1, "XREADGROUP GROUP g me COUNT 1 STREAMS s >");
    let pending = site.cmd(1, "XPENDING s g");
    site.cmd(0, "DEL s");
    site.repair();
    site.assert_all("EXISTS s", &Value::Int(0));
    site.with("undo").args(["2"]).run().assert_code(0);
    assert_eq!(site.cmd(1, "XPENDING s g"), pending);
    site.with("repair").args(["--key=s"]).run().assert_code(0);
    site.assert_all("EXISTS s", &Value::Int(0));
}

#[test]
fn the_log_tells_what_was_written_where_and_why() {
    let site = Site::new(2);
    site.cmd(0, "MSET a 1 b 22");
    site.repair();
    site.cmd(1, "DEL a");
    site.cmd(0, "SET b 333");
    site.repair();
    let runs = site.with_state("runs").run();
    runs.assert_code(0);
    assert_says(&runs, &["repair", "2 repaired", "done"]);
    let told = json(&site.with_state("runs").args(["--format", "json"]).run());
    assert_eq!(told["runs"].as_array().unwrap().len(), 2);
    assert_eq!(told["runs"][1]["result"], "done");
    let show = |more: &[&str]| {
        let words = ["show", "2"].iter().chain(more);
        site.with_state("runs").args(words)
    };
    let shown = show(&[]).run();
    shown.assert_code(0);
    assert_says(
        &shown,
        &[
            "\"a\" at r1: string of 1 byte → removed",
            "\"b\" at r2: string of 2 bytes → overwritten",
        ],
    );
    let lines = show(&["--format", "ndjson"]).run();
    let lines: Vec<serde_json::Value> = lines
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["applied"], true);
    assert_eq!(lines[0]["evidence"], "agreed");
    assert_eq!(lines[2]["run"]["number"], 2);
    let one = json(&show(&["--format", "json", "--limit", "1"]).run());
    assert_eq!(
        (one["writes"].as_array().unwrap().len(), &one["left_out"]),
        (1, &1.into())
    );
}

#[test]
fn a_replica_that_never_returns_is_forgotten_and_one_is_renamed() {
    let mut site = Site::new(3);
    site.cmd(0, "SET k v");
    site.repair();
    site.servers.pop();
    let outcome = site.with("repair").run();
    outcome.assert_code(0);
    assert_says(
        &outcome,
        &[
            "replica r3 is remembered and not configured",
            "reknit forget r3",
        ],
    );
    let asked = site.with_state("forget").args(["r3"]).run();
    asked.assert_code(2);
    assert_says(&asked, &["--yes"]);
    site.with_state("forget")
        .args(["r3", "--yes"])
        .run()
        .assert_code(0);
    let outcome = site.repair();
    assert!(!outcome.stderr.contains("r3"), "{outcome}");
    site.with_state("forget")
        .args(["r3", "--yes"])
        .run()
        .assert_code(2);
    site.with_state("rename")
        .args(["r1", "r2"])
        .run()
        .assert_code(2);
    site.with_state("rename")
        .args(["r1", "first"])
        .run()
        .assert_code(0);
    site.cmd(1, "DEL k");
    let config = site.config_of([("first".into(), 0), ("r2".into(), 1)]);
    let renamed = support::reknit::Reknit::new(["repair"])
        .args(["-c".into(), config])
        .run();
    renamed.assert_code(0);
    assert!(!renamed.stdout.contains("first time"), "{renamed}");
    site.assert_all("EXISTS k", &Value::Int(0));
}
