//! Where the datacenters replicate to each other as well: an old write that arrives late is no change, and nothing is
//! counted or appended twice.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::fs;

use redis::Value;
use support::reknit::{Outcome, Reknit};
use support::site::{Site, assert_says, text};

/// Runs over all servers; `more` stands in the configuration.
fn repair(site: &Site, more: &str, rules: &str) -> Outcome {
    let mut config = String::from("replicas:\n");
    for (number, server) in site.servers.iter().enumerate() {
        config += &format!("  - {{ name: r{number}, url: \"{}\" }}\n", server.url());
    }
    config += &format!("keyspaces: [{{ name: all, rules: {rules} }}]\n{more}\n");
    config += "guards: { settle: 10ms }\nstate: { dir: state }\n";
    let path = site.dir.path().join("late.yaml");
    fs::write(&path, config).unwrap();
    Reknit::new(["repair"]).args(["-c".into(), path]).run()
}

const REPLICATES: &str = "replicates: { lag: 10ms }";

fn settled(site: &Site, rules: &str) {
    repair(site, REPLICATES, rules).assert_code(0);
}

#[test]
fn a_value_that_an_earlier_version_had_arrives_late_and_is_no_change() {
    for (more, expected) in [(REPLICATES, "b"), ("", "a")] {
        let site = Site::new(3);
        site.cmd(0, "SET k a");
        repair(&site, more, "{}").assert_code(0);
        site.cmd(0, "SET k b");
        repair(&site, more, "{}").assert_code(0);
        site.cmd(1, "SET k a");
        repair(&site, more, "{}").assert_code(0);
        site.assert_all("GET k", &text(expected));
    }
}

#[test]
fn what_was_never_agreed_is_a_change_also_where_datacenters_replicate() {
    let site = Site::new(3);
    site.cmd(0, "SET k a");
    settled(&site, "{}");
    site.cmd(1, "SET k c");
    site.cmd(2, "SET new d");
    settled(&site, "{}");
    site.assert_all("GET k", &text("c"));
    site.assert_all("GET new", &text("d"));
    site.cmd(2, "DEL k");
    settled(&site, "{}");
    site.assert_all("EXISTS k", &Value::Int(0));
}

#[test]
fn a_write_that_arrives_behind_its_delete_does_not_bring_the_key_back() {
    for (more, left) in [(REPLICATES, 0), ("", 1)] {
        let site = Site::new(3);
        site.cmd(0, "SET k a");
        repair(&site, more, "{}").assert_code(0);
        site.cmd(0, "DEL k");
        repair(&site, more, "{}").assert_code(0);
        site.cmd(1, "SET k a");
        repair(&site, more, "{}").assert_code(0);
        site.assert_all("EXISTS k", &Value::Int(left));
    }
}

#[test]
fn of_a_collection_single_elements_arrive_late() {
    let site = Site::new(3);
    site.cmd(0, "HSET h f 1 g 1");
    site.cmd(0, "SADD s x y");
    settled(&site, "{}");
    site.cmd(0, "HSET h f 2");
    site.cmd(0, "SREM s x");
    settled(&site, "{}");
    // The old field and the old member come by, beside something new.
    site.cmd(1, "HSET h f 1 g 3");
    site.cmd(1, "SADD s x z");
    settled(&site, "{}");
    site.assert_all("HGET h f", &text("2"));
    site.assert_all("HGET h g", &text("3"));
    site.assert_all("SISMEMBER s x", &Value::Int(0));
    site.assert_all("SISMEMBER s z", &Value::Int(1));
    // The removal of z is a client's: no version was without it since it was removed.
    site.cmd(2, "SREM s z");
    settled(&site, "{}");
    site.assert_all("SISMEMBER s z", &Value::Int(0));
    // It is added again, which the datacenters replicate, and the old removal comes by.
    for server in 0..3 {
        site.cmd(server, "SADD s z");
    }
    settled(&site, "{}");
    site.cmd(1, "SREM s z");
    settled(&site, "{}");
    site.assert_all("SISMEMBER s z", &Value::Int(1));
}

#[test]
fn where_all_went_back_their_clients_did_that() {
    let site = Site::new(3);
    for value in ["a", "b"] {
        site.cmd(0, &format!("SET k {value}"));
        settled(&site, "{}");
    }
    for server in 0..3 {
        site.cmd(server, "SET k a");
    }
    settled(&site, "{}");
    site.assert_all("GET k", &text("a"));
    // From here on that is what is agreed.
    site.cmd(1, "SET k b");
    settled(&site, "{}");
    site.assert_all("GET k", &text("a"));
}

#[test]
fn the_greatest_counts_and_an_older_number_takes_nothing_away() {
    let rules = "{ string: counter-max, hash: counter-max, zset: max }";
    let site = Site::new(3);
    for (server, number) in [5, 7, 6].into_iter().enumerate() {
        site.cmd(server, &format!("SET n {number}"));
        site.cmd(server, &format!("HSET h f {number}"));
        site.cmd(server, &format!("ZADD z {number} m"));
    }
    settled(&site, rules);
    let assert_all = |number: &str| {
        site.assert_all("GET n", &text(number));
        site.assert_all("HGET h f", &text(number));
        site.assert_all("ZSCORE z m", &text(number));
    };
    assert_all("7");
    for words in ["INCRBY n 2", "HINCRBY h f 2", "ZINCRBY z 2 m"] {
        site.cmd(0, words);
    }
    settled(&site, rules);
    assert_all("9");
    for words in ["SET n 7", "HSET h f 7", "ZADD z 7 m"] {
        site.cmd(1, words);
    }
    settled(&site, rules);
    assert_all("9");
}

#[test]
fn what_would_count_twice_is_refused() {
    let site = Site::new(2);
    let table = [
        ("string: counter", "counter-max"),
        ("hash: counter", "counter-max"),
        ("zset: counter", "max"),
        ("list: append", "lww"),
    ];
    for (rule, instead) in table {
        let refused = repair(&site, REPLICATES, &format!("{{ {rule} }}"));
        refused.assert_code(2);
        let advice = format!("use `{instead}` or remove `replicates`");
        assert_says(&refused, &["counts twice", &advice]);
    }
}
