//! The tools of the tests are tested themselves: a judge that finds nothing proves nothing.

mod support;

use std::path::Path;
use std::time::Duration;

use support::damage::damage;
use support::generate;
use support::judge::{assert_equal, differences};
use support::server::RedisServer;

fn found(left: &RedisServer, right: &RedisServer) -> String {
    differences(left, right, Duration::from_millis(10)).join("\n")
}

fn both(servers: [&RedisServer; 2], command: &[&str]) {
    for server in servers {
        server.cmd(command);
    }
}

#[test]
fn the_judge_finds_missing_keys_types_and_values_in_every_database() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    left.cmd(["SET", "only-left", "1"]);
    right.cmd(["RPUSH", "only-right", "1"]);
    left.cmd(["SET", "type", "1"]);
    right.cmd(["RPUSH", "type", "1"]);
    left.cmd(["HSET", "value", "f", "1"]);
    right.cmd(["HSET", "value", "f", "2"]);
    redis::cmd("SET")
        .arg("other")
        .arg("1")
        .exec(&mut left.client_db(9))
        .unwrap();
    let found = found(&left, &right);
    assert_eq!(found.lines().count(), 5, "{found}");
    for part in [
        "only-left only left",
        "only-right only right",
        "type: type",
        "value: value",
    ] {
        assert!(found.contains(part), "{part} is missing:\n{found}");
    }
    assert!(found.contains("db 9: other only left"), "{found}");
}

#[test]
fn the_judge_finds_expiries_within_a_tolerance() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    both(
        [&left, &right],
        &["MSET", "near", "1", "far", "1", "none", "1"],
    );
    for (key, at) in [
        ("near", "4102444800000"),
        ("far", "4102444800000"),
        ("none", "1"),
    ] {
        if key != "none" {
            left.cmd(["PEXPIREAT", key, at]);
        }
    }
    right.cmd(["PEXPIREAT", "near", "4102444800010"]);
    right.cmd(["PEXPIREAT", "far", "4102444800011"]);
    right.cmd(["PEXPIREAT", "none", "4102444800000"]);
    let found = found(&left, &right);
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(
        found.contains("far: expiry") && found.contains("none: expiry"),
        "{found}"
    );
}

#[test]
fn the_judge_finds_last_ids_and_groups_of_streams() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    for stream in ["alike", "last", "groups"] {
        both([&left, &right], &["XADD", stream, "1-1", "f", "v"]);
    }
    left.cmd(["XADD", "last", "2-1", "f", "v"]);
    left.cmd(["XDEL", "last", "2-1"]);
    right.cmd(["XGROUP", "CREATE", "groups", "g", "0"]);
    let found = found(&left, &right);
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(
        found.contains("last: last ID") && found.contains("groups: last ID"),
        "{found}"
    );
}

#[test]
fn the_judge_takes_equal_values_of_different_form_for_equal() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    both([&left, &right], &["PFADD", "counted", "a", "b", "c"]);
    both([&left, &right], &["PFADD", "dense", "a", "b", "c"]);
    left.cmd(["PFCOUNT", "counted"]);
    right.cmd(["PFDEBUG", "TODENSE", "dense"]);
    left.cmd(["ZADD", "zero", "-0", "a"]);
    right.cmd(["ZADD", "zero", "0", "a"]);
    right.cmd(["CONFIG", "SET", "hash-max-listpack-entries", "0"]);
    both([&left, &right], &["HSET", "hash", "a", "1", "b", "2"]);
    let digests = |key| {
        [&left, &right].map(|server| format!("{:?}", server.cmd(["DEBUG", "DIGEST-VALUE", key])))
    };
    for key in ["counted", "dense"] {
        let [left, right] = digests(key);
        assert_ne!(left, right, "the server's digests of {key} should differ");
    }
    assert_equal(&[&left, &right]);
    right.cmd(["PFADD", "dense", "d"]);
    assert!(found(&left, &right).contains("dense: value"));
}

#[test]
fn generated_servers_are_equal_and_differ_in_as_many_keys_as_asked() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    let ports = [left.port(), right.port()];
    for port in ports {
        generate::load(port, 2000).unwrap();
    }
    assert_equal(&[&left, &right]);
    for round in 0..2 {
        both([&left, &right], &["FLUSHALL"]);
        for port in ports {
            generate::load(port, 2000).unwrap();
        }
        generate::diverge(ports, 2000, 101, round).unwrap();
        let found = differences(&left, &right, Duration::ZERO);
        assert_eq!(found.len(), 101, "{}", found.join("\n"));
    }
}

#[test]
fn generated_keys_have_the_promised_shares() {
    let count = |shape| {
        (0..1000)
            .filter(|&index| generate::shape(index) == shape)
            .count()
    };
    assert_eq!(count(generate::Shape::String), 500);
    assert_eq!(count(generate::Shape::Hash), 200);
    assert_eq!(
        count(generate::Shape::Set) + count(generate::Shape::SortedSet),
        300
    );
}

#[test]
fn damage_is_found_and_always_the_same() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rdb/parser_filters.rdb");
    let servers = [(); 3].map(|()| RedisServer::with_rdb(&file));
    let changed = damage(&servers[1], 0);
    assert_eq!(damage(&servers[2], 0), changed);
    assert!(differences(&servers[0], &servers[1], Duration::ZERO).len() >= changed);
    assert_equal(&[&servers[1], &servers[2]]);
}

#[test]
fn a_killed_server_comes_back_empty_and_a_saved_one_with_its_data() {
    let mut server = RedisServer::builder()
        .unix_socket()
        .line("maxclients 50")
        .start();
    assert!(server.socket_path().exists());
    server.cmd(["SET", "a", "1"]);
    server.restart();
    assert_eq!(server.cmd(["DBSIZE"]), redis::Value::Int(0));
    server.cmd(["SET", "a", "1"]);
    server.cmd(["SAVE"]);
    server.kill();
    server.restart();
    assert_eq!(server.cmd(["DBSIZE"]), redis::Value::Int(1));
}
