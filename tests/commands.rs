//! The commands around a run: `check`, `explain`, `clean`, and what must hold before `diff` and `repair` begin.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::io::Write;
use std::net::TcpStream;

use redis::Value;
use support::generate;
use support::judge::{assert_equal, query};
use support::reknit::{Outcome, Reknit};
use support::resp::{RawClient, command};
use support::server::RedisServer;

/// Stands in no other word of any output.
const PASSWORD: &str = "hunter2-s3cret";
/// Fields of the hash that is too big to be read at once.
const FIELDS: usize = 10_000;

fn pair() -> [RedisServer; 2] {
    [RedisServer::start(), RedisServer::start()]
}

/// Gives every server the user `app` with this rule.
fn give_user(servers: &[&RedisServer], rule: &str) {
    for server in servers {
        let words = ["ACL", "SETUSER", "app", "on", ">hunter2-s3cret"];
        server.cmd(words.into_iter().chain(rule.split(' ')));
    }
}

/// A server's URL with the user `app` and a password.
fn url(server: &RedisServer, password: &str) -> String {
    format!("redis://app:{password}@127.0.0.1:{}", server.port())
}

/// `reknit SUBCOMMAND` over these URLs, named r1, r2, ...
fn over(subcommand: &str, urls: &[String]) -> Reknit {
    let replicas = urls.iter().enumerate();
    let replicas = replicas.map(|(index, url)| format!("--replica=r{}={url}", index + 1));
    Reknit::new([subcommand.to_owned()]).args(replicas)
}

/// The one JSON document on standard output.
#[track_caller]
fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

#[track_caller]
fn assert_says(outcome: &Outcome, parts: &[&str]) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing\n{outcome}");
    }
}

fn exists(server: &RedisServer, key: &str) -> bool {
    server.cmd(["EXISTS", key]) == Value::Int(1)
}

#[test]
fn check_is_content_with_two_open_servers_and_writes_nothing() {
    let [left, right] = pair();
    left.cmd(["SET", "a", "1"]);
    let outcome = Reknit::over("check", &[&left, &right]).run();
    outcome.assert_code(0);
    assert_says(&outcome, &["ready: 2 replicas", "-@all +ping"]);
    assert_eq!(left.cmd(["DBSIZE"]), Value::Int(1));
    assert_eq!(right.cmd(["DBSIZE"]), Value::Int(0));
}

#[test]
fn check_says_that_a_password_is_wrong() {
    let [left, right] = pair();
    give_user(&[&right], "~* +@all");
    let outcome = over("check", &[left.url(), url(&right, "another")]).run();
    outcome.assert_code(2);
    assert_says(&outcome, &["WRONGPASS", "check the user and the password"]);
}

#[test]
fn a_missing_permission_is_named_and_stops_repair_before_the_first_write() {
    let [left, right] = pair();
    left.cmd(["SET", "a", "1"]);
    right.cmd(["SET", "b", "2"]);
    give_user(&[&right], "~* +@all -xadd");
    let urls = [left.url(), url(&right, PASSWORD)];
    let named = ["+xadd", "ACL SETUSER app +xadd"];
    for command in ["check", "repair"] {
        let outcome = over(command, &urls).run();
        outcome.assert_code(2);
        assert_says(&outcome, &named);
    }
    assert!(!exists(&left, "b") && !exists(&right, "a"));
    over("diff", &urls).run().assert_code(1);
}

#[test]
fn a_user_without_transactions_is_not_tried_outside_of_one() {
    let [left, right] = pair();
    left.cmd(["SET", "a", "1"]);
    give_user(&[&right], "~* +@all -multi");
    let urls = [left.url(), url(&right, PASSWORD)];
    for command in ["check", "repair"] {
        let outcome = over(command, &urls).run();
        outcome.assert_code(2);
        assert_says(&outcome, &["+multi"]);
    }
    assert_eq!(right.cmd(["DBSIZE"]), Value::Int(0));
}

#[test]
fn a_read_only_replica_can_be_compared_and_not_repaired() {
    let [left, right] = pair();
    // Its master is not there: it stays empty and read-only.
    right.cmd(["REPLICAOF", "127.0.0.1", "1"]);
    left.cmd(["SET", "a", "1"]);
    for command in ["check", "repair"] {
        let outcome = Reknit::over(command, &[&left, &right]).run();
        outcome.assert_code(2);
        assert_says(&outcome, &["read-only replica", "name its master instead"]);
    }
    let outcome = Reknit::over("diff", &[&left, &right]).run();
    outcome.assert_code(1);
}

#[test]
fn a_server_that_loads_its_data_is_not_taken_for_an_empty_one() {
    let left = RedisServer::start();
    let right = RedisServer::builder()
        .args(["--loading-process-events-interval-bytes", "1024"])
        .start();
    generate::load(left.port(), 100).unwrap();
    generate::load(right.port(), 20_000).unwrap();
    // So slow that it loads until it is stopped: 20 s.
    right.cmd(["CONFIG", "SET", "key-load-delay", "1000"]);
    let mut reloading = Vec::new();
    command(&mut reloading, &[b"DEBUG", b"RELOAD"]);
    let mut connection = TcpStream::connect(("127.0.0.1", right.port())).unwrap();
    connection.write_all(&reloading).unwrap();
    while !info(&right, "persistence").contains("loading:1") {
        std::thread::yield_now();
    }
    for line in ["check", "diff", "repair"] {
        let outcome = Reknit::over(line, &[&left, &right]).run();
        outcome.assert_code(2);
        assert_says(&outcome, &["it is loading its data", "try again"]);
    }
    let outcome = Reknit::over("clean", &[&left, &right]).run();
    outcome.assert_code(3);
    assert_says(&outcome, &["LOADING"]);
    assert!(info(&right, "persistence").contains("loading:1"));
}

fn info(server: &RedisServer, section: &str) -> String {
    query(&mut server.client(), &[b"INFO", section.as_bytes()])
}

#[test]
fn the_same_server_under_two_addresses_is_refused() {
    let server = RedisServer::builder().unix_socket().start();
    let socket = format!("unix://{}", server.socket_path().display());
    let urls = [server.url(), socket];
    for command in ["check", "diff", "repair"] {
        let outcome = over(command, &urls).run();
        outcome.assert_code(2);
        assert_says(
            &outcome,
            &["same server and database", "check their addresses"],
        );
    }
    let twice = [server.url(), server.url()];
    over("check", &twice).run().assert_code(2);
    // Two databases of one server are two replicas.
    let other = format!("{}/1", server.url());
    over("check", &[server.url(), other]).run().assert_code(0);
}

#[test]
fn an_unreachable_replica_makes_a_check_partial_beside_two_others() {
    let [left, right] = pair();
    let nobody = "redis://127.0.0.1:1".to_owned();
    let outcome = over("check", &[left.url(), right.url(), nobody.clone()]).run();
    outcome.assert_code(3);
    assert_says(&outcome, &["cannot be reached"]);
    let outcome = over("check", &[left.url(), nobody]).run();
    outcome.assert_code(2);
    assert_says(&outcome, &["fewer than two replicas"]);
}

#[test]
fn explain_shows_an_equal_and_a_differing_key() {
    let [left, right] = pair();
    for server in [&left, &right] {
        server.cmd(["SET", "same", "1"]);
        server.cmd(["HSET", "cart", "apples", "1"]);
    }
    left.cmd(["HSET", "cart", "pears", "2"]);
    let explain = |key: &str| Reknit::over("explain", &[&left, &right]).args([key]);
    let outcome = explain("same").run();
    outcome.assert_code(0);
    assert_says(&outcome, &["equal on every replica", "write nothing"]);
    let outcome = explain("cart").run();
    outcome.assert_code(1);
    assert_says(&outcome, &["≠ field \"pears\"", "r2: set 1 field"]);
    let outcome = explain("cart").args(["--format", "json"]).run();
    outcome.assert_code(1);
    let found = json(&outcome);
    assert_eq!(found["schema"], "reknit.explain/1");
    assert_eq!(found["equal"], false);
    assert_eq!(found["writes"][0]["replica"], "r2");
    let outcome = explain("same").args(["--format", "json"]).run();
    assert_eq!(json(&outcome)["equal"], true);
    assert_eq!(right.cmd(["HLEN", "cart"]), Value::Int(1));
}

#[test]
fn clean_removes_keys_of_its_own_and_no_others() {
    let [left, right] = pair();
    for key in ["reknit:aside:x", "reknit", "other"] {
        left.cmd(["SET", key, "1"]);
    }
    let clean = || Reknit::over("clean", &[&left, &right]);
    let outcome = clean().args(["--dry-run"]).run();
    outcome.assert_code(0);
    assert_says(&outcome, &["would be removed"]);
    assert!(exists(&left, "reknit:aside:x"));
    let outcome = clean().run();
    outcome.assert_code(0);
    assert_says(&outcome, &["removed 1 of 1 key"]);
    assert!(!exists(&left, "reknit:aside:x"));
    assert!(exists(&left, "reknit") && exists(&left, "other"));
}

#[test]
fn what_a_killed_repair_was_building_is_removed_by_clean() {
    let [left, right] = pair();
    left.cmd([&b"SET"[..], b"big", &vec![b'x'; 40_000_000]]);
    let running = Reknit::over("repair", &[&left, &right])
        .args(["--settle", "1ms"])
        .spawn();
    let mut client = right.client();
    let mut own = || -> Vec<String> { query(&mut client, &[b"KEYS", b"reknit:*"]) };
    while own().is_empty() {
        std::thread::yield_now();
    }
    running.signal("KILL");
    assert_eq!(running.finish().code(), None);
    assert!(own()[0].starts_with("reknit:aside:"), "{:?}", own());
    assert!(!exists(&right, "big"), "half a value is never seen");
    let clean = || Reknit::over("clean", &[&left, &right]);
    assert_says(
        &clean().args(["--dry-run"]).run(),
        &["1 key of reknit's own would be removed"],
    );
    assert_eq!(own().len(), 1);
    assert_says(&clean().run(), &["removed 1 of 1 key"]);
    assert!(own().is_empty());
    Reknit::over("repair", &[&left, &right])
        .args(["--settle", "1ms"])
        .run()
        .assert_code(0);
    assert_equal(&[&left, &right]);
}

#[test]
fn clean_names_the_replica_that_refuses_and_cleans_the_other() {
    let [left, right] = pair();
    for server in [&left, &right] {
        server.cmd(["SET", "reknit:aside:x", "1"]);
    }
    give_user(&[&left], "~* +@all -unlink");
    let outcome = over("clean", &[url(&left, PASSWORD), right.url()]).run();
    outcome.assert_code(3);
    assert_says(&outcome, &["r1", "UNLINK", "NOPERM"]);
    assert!(exists(&left, "reknit:aside:x") && !exists(&right, "reknit:aside:x"));
}

#[test]
fn clean_removes_the_keys_of_every_database() {
    let [left, right] = pair();
    let mut other = right.client_db(5);
    redis::cmd("SET")
        .arg("reknit:aside:y")
        .arg("1")
        .exec(&mut other)
        .unwrap();
    let outcome = Reknit::over("clean", &[&left, &right]).run();
    outcome.assert_code(0);
    let left_over: u64 = redis::cmd("DBSIZE").query(&mut other).unwrap();
    assert_eq!(left_over, 0, "{outcome}");
}

#[test]
fn no_password_is_ever_printed_or_logged() {
    let [left, right] = pair();
    left.cmd(["SET", "a", "1"]);
    give_user(&[&left], "~* +@all");
    let good = [url(&left, PASSWORD), right.url()];
    let nobody = format!("redis://app:{PASSWORD}@127.0.0.1:1");
    let bad = [nobody, right.url()];
    let refused = [right.url(), url(&left, &format!("{PASSWORD}-not"))];
    for command in ["check", "diff", "repair", "clean"] {
        for urls in [&good, &bad, &refused] {
            for format in ["human", "json", "ndjson"] {
                let outcome = over(command, urls).args(["-vvv", "--format", format]).run();
                assert_ne!(outcome.code(), None, "{outcome}");
                assert!(!outcome.stderr.contains("invalid value"), "{outcome}");
                let said = format!("{}{}", outcome.stdout, outcome.stderr);
                assert!(!said.contains(PASSWORD), "{command}: {said}");
            }
        }
    }
}

#[test]
fn a_password_comes_from_a_file_or_the_environment() {
    let [left, right] = pair();
    give_user(&[&left, &right], "~* +@all");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let urls = [&left, &right].map(|server| format!("redis://app@127.0.0.1:{}", server.port()));
    let outcome = over("check", &urls)
        .args([format!("--password-file=r1={}", file.display())])
        .args(["--password-env=r2=REKNIT_TEST_PASSWORD"])
        .env("REKNIT_TEST_PASSWORD", PASSWORD)
        .run();
    outcome.assert_code(0);
    assert_says(&outcome, &["lets user app in"]);
}

#[test]
fn a_unix_socket_is_as_good_as_a_port() {
    let left = RedisServer::builder().unix_socket().start();
    let right = RedisServer::start();
    left.cmd(["SET", "a", "1"]);
    let urls = [
        format!("unix://{}", left.socket_path().display()),
        right.url(),
    ];
    over("check", &urls).run().assert_code(0);
    over("repair", &urls).run().assert_code(0);
    assert_equal(&[&left, &right]);
}

#[test]
fn the_smallest_users_that_check_prints_can_diff_and_repair_every_type() {
    let [left, right] = pair();
    fill(&left, &right);
    let checked = Reknit::over("check", &[&left, &right])
        .args(["--format", "json"])
        .run();
    checked.assert_code(0);
    let found = json(&checked);
    let rule = |name: &str| found["replicas"][0][name].as_str().unwrap().to_owned();
    let urls = [&left, &right].map(|server| url(server, PASSWORD));
    give_user(&[&left, &right], &rule("acl_rule_diff"));
    let outcome = over("diff", &urls).run();
    outcome.assert_code(1);
    assert_complete(&outcome);
    for key in ["hash:differs", "stream:missing", "list:missing"] {
        over("explain", &urls).args([key]).run().assert_code(1);
    }
    over("clean", &urls)
        .args(["--dry-run"])
        .run()
        .assert_code(0);
    assert_nothing_denied(&[&left, &right]);
    let outcome = over("repair", &urls).run();
    outcome.assert_code(2);
    assert_says(&outcome, &["give it: ACL SETUSER app"]);
    for server in [&left, &right] {
        server.cmd(["ACL", "LOG", "RESET"]);
    }
    give_user(
        &[&left, &right],
        &format!("reset on >{PASSWORD} {}", rule("acl_rule")),
    );
    over("check", &urls).run().assert_code(0);
    let outcome = over("repair", &urls).run();
    outcome.assert_code(0);
    assert_complete(&outcome);
    assert_equal(&[&left, &right]);
    over("diff", &urls).run().assert_code(0);
    assert_nothing_denied(&[&left, &right]);
}

/// Fails the test if the ACL refused anything, courtesies that may be refused included.
#[track_caller]
fn assert_nothing_denied(servers: &[&RedisServer]) {
    for server in servers {
        assert_eq!(server.cmd(["ACL", "LOG"]), Value::Array(Vec::new()));
    }
}

#[track_caller]
fn assert_complete(outcome: &Outcome) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(!said.contains("NOPERM"), "{outcome}");
}

/// Differences of every type: keys that only one server has, and keys that differ within.
fn fill(left: &RedisServer, right: &RedisServer) {
    for server in [left, right] {
        elements(server, "hash:differs", &["HSET"], true);
        elements(server, "set:differs", &["SADD"], false);
        server.cmd(["SET", "string:differs", "old"]);
        server.cmd(["SET", "expiry:differs", "1"]);
        server.cmd(["ZADD", "zset:differs", "1", "a", "2", "b"]);
        server.cmd(["RPUSH", "list:differs", "a", "b"]);
        server.cmd(["XADD", "stream:differs", "1-1", "f", "v"]);
    }
    left.cmd(["HSET", "hash:differs", "more", "1"]);
    left.cmd(["SADD", "set:differs", "more"]);
    left.cmd(["SET", "string:differs", "new"]);
    left.cmd(["PEXPIREAT", "expiry:differs", "4102444800000"]);
    left.cmd(["ZADD", "zset:differs", "3", "c"]);
    left.cmd(["RPUSH", "list:differs", "c"]);
    left.cmd(["XADD", "stream:differs", "2-1", "f", "v"]);
    for (key, words) in [
        ("hash", &["HSET"][..]),
        ("set", &["SADD"]),
        ("list", &["RPUSH"]),
    ] {
        elements(left, &format!("{key}:missing"), words, key == "hash");
    }
    right.cmd(["SET", "string:missing", "1", "PXAT", "4102444800000"]);
    right.cmd(["ZADD", "zset:missing", "1", "a"]);
    right.cmd(["PFADD", "hyperloglog:missing", "a", "b"]);
    for id in ["1-1", "2-1", "3-1"] {
        left.cmd(["XADD", "stream:missing", id, "f", "v"]);
    }
    left.cmd(["XGROUP", "CREATE", "stream:missing", "workers", "0"]);
    let read = [
        "XREADGROUP",
        "GROUP",
        "workers",
        "ann",
        "COUNT",
        "2",
        "STREAMS",
        "stream:missing",
    ];
    left.cmd(read.into_iter().chain([">"]));
}

/// Writes a collection too big to be read at once, its elements with a value each or without.
fn elements(server: &RedisServer, key: &str, words: &[&str], with_values: bool) {
    let names: Vec<String> = (0..FIELDS).map(|index| format!("field:{index}")).collect();
    let mut args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    args.push(key.as_bytes());
    for name in &names {
        args.push(name.as_bytes());
        args.extend(with_values.then_some(&b"value"[..]));
    }
    let mut pipeline = Vec::new();
    command(&mut pipeline, &args);
    let mut client = RawClient::connect(server.port()).unwrap();
    client.exchange(&pipeline, 1).unwrap();
}
