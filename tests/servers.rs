//! Servers that can do less, or more, than another: older ones, forks, and newer ones with fields that end.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use redis::Value;
use support::disguise::{Disguise, Looks, NOT_IN_5, lacking};
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

/// Far in the future, and no whole second.
const LATER: &str = "4102444800123";

fn over(command: &str, urls: &[&str]) -> Reknit {
    let names = ["us", "eu", "ap"];
    let mut args = vec![command.to_owned()];
    for (name, url) in names.into_iter().zip(urls) {
        args.extend(["--replica".to_owned(), format!("{name}={url}")]);
    }
    if command == "diff" || command == "repair" {
        args.extend(["--settle".to_owned(), "10ms".to_owned()]);
    }
    Reknit::new(args)
}

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Keys of every type, some with an end.
fn fill(server: &RedisServer, value: &str) {
    server.cmd(["SET", "string", value]);
    server.cmd(["SET", "ending", "same"]);
    server.cmd(["PEXPIREAT", "ending", LATER]);
    server.cmd(["HSET", "hash", "field", value, "same", "1"]);
    server.cmd(["SADD", "set", value, "same"]);
    server.cmd(["ZADD", "zset", "1", value, "2.5", "same"]);
    server.cmd(["RPUSH", "list", value]);
    server.cmd(["XADD", "stream", "1-1", "field", "same"]);
    server.cmd(["XGROUP", "CREATE", "stream", "group", "0"]);
    server.cmd(["PEXPIREAT", "stream", LATER]);
}

fn redis_5() -> Looks {
    Looks {
        info: vec![("redis_version", "5.0.14")],
        without_full: true,
        ..Looks::default()
    }
}

#[test]
fn an_older_server_has_the_same_digests_and_is_repaired() {
    let (older, newer) = (lacking(&NOT_IN_5), RedisServer::start());
    let disguise = Disguise::before(&older, redis_5());
    let urls = [disguise.url(), newer.url()];
    let urls = [&*urls[0], &*urls[1]];
    for server in [&older, &newer] {
        fill(server, "1");
        for number in 0..200 {
            let key = format!("ends:{number}");
            server.cmd(["SET", &key, "x"]);
            server.cmd(["PEXPIREAT", &key, &format!("41024448{number:05}")]);
        }
    }
    over("diff", &urls).run().assert_code(0);
    older.cmd(["SET", "string", "2"]);
    older.cmd(["HSET", "hash", "field", "2"]);
    older.cmd(["ZADD", "zset", "3", "same"]);
    older.cmd(["PEXPIREAT", "ends:7", "4102444900123"]);
    newer.cmd(["XADD", "stream", "2-1", "field", "more"]);
    over("repair", &urls).run().assert_code(0);
    let ends = Value::Int(4_102_444_900_123);
    assert_eq!(newer.cmd(["PEXPIRETIME", "ends:7"]), ends);
    assert_eq!(older.cmd(["XLEN", "stream"]), Value::Int(2));
    over("diff", &urls).run().assert_code(0);
}

#[test]
fn counters_and_large_collections_are_repaired_on_an_older_server() {
    let (older, newer) = (lacking(&NOT_IN_5), RedisServer::start());
    let disguise = Disguise::before(&older, redis_5());
    let state = tempfile::tempdir().unwrap();
    let fill = |server: &RedisServer, extra: &str| {
        let numbers: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        for chunk in numbers.chunks(500) {
            let members = chunk.iter().map(String::as_str);
            server.cmd(["SADD", "set"].into_iter().chain(members.clone()));
            let scored = members.flat_map(|member| [member, member]);
            server.cmd(["ZADD", "zset"].into_iter().chain(scored));
        }
        server.cmd(["SADD", "set", extra]);
        server.cmd(["ZADD", "zset", "1", extra]);
        server.cmd(["SET", "counter", "5"]);
        server.cmd(["PEXPIREAT", "counter", LATER]);
        server.cmd(["ZADD", "scores", "5", "score"]);
    };
    fill(&older, "older");
    fill(&newer, "newer");
    let run = || {
        let urls = [disguise.url(), newer.url()];
        over("repair", &[&urls[0], &urls[1]])
            .args(["--rule", "string=counter", "--rule", "zset=counter"])
            .arg_pair("--state-dir", state.path())
            .run()
    };
    run().assert_code(0);
    for server in [&older, &newer] {
        server.cmd(["INCRBY", "counter", "5"]);
        server.cmd(["ZINCRBY", "scores", "5", "score"]);
        assert_eq!(server.cmd(["SCARD", "set"]), Value::Int(5_002));
        assert_eq!(server.cmd(["ZCARD", "zset"]), Value::Int(5_002));
    }
    run().assert_code(0);
    for server in [&older, &newer] {
        assert_eq!(
            server.cmd(["GET", "counter"]),
            Value::BulkString(b"15".to_vec())
        );
        let score = server.cmd(["ZSCORE", "scores", "score"]);
        assert_eq!(score, Value::BulkString(b"15".to_vec()));
    }
}

#[test]
fn a_check_says_what_each_server_can_do() {
    let (older, newer) = (lacking(&NOT_IN_5), RedisServer::start());
    let disguise = Disguise::before(&older, redis_5());
    let urls = [disguise.url(), newer.url()];
    let outcome = over("check", &[&urls[0], &urls[1]])
        .args(["--format", "json"])
        .run();
    outcome.assert_code(0);
    let report = json(&outcome);
    let of = |place: usize, name: &str| {
        let found = &report["replicas"][place]["capabilities"];
        let listed = found[name].as_array().unwrap().iter();
        let names: Vec<&str> = listed.map(|one| one.as_str().unwrap()).collect();
        names.join(" ")
    };
    assert_eq!(of(0, "has"), "streams payloads scripts");
    assert_eq!(
        of(0, "lacks"),
        "expire-time field-expiry members scores stream-full no-touch"
    );
    assert_eq!(of(1, "lacks"), "field-expiry no-touch");
    let told = &report["replicas"][0]["capabilities"]["told_by"];
    assert_eq!(told, "COMMAND INFO");
    let rule = report["replicas"][0]["acl_rule"].as_str().unwrap();
    assert!(
        rule.contains("+pttl") && !rule.contains("+pexpiretime"),
        "{rule}"
    );
    let outcome = over("check", &[&urls[0], &urls[1]]).run();
    let words = "expiries are read by TIME and PTTL";
    assert!(outcome.stdout.contains(words), "{outcome}");
}

#[test]
fn where_commands_are_hidden_the_version_tells() {
    let (older, newer) = (lacking(&NOT_IN_5), RedisServer::start());
    let hiding = |info: Vec<(&'static str, &'static str)>| Looks {
        info,
        hides_commands: true,
        ..redis_5()
    };
    let looks = [
        hiding(vec![("redis_version", "6.0.16")]),
        hiding(vec![("redis_version", "255.255.255")]),
        hiding(vec![
            ("redis_version", "7.2.4"),
            ("valkey_version", "8.1.0"),
        ]),
    ];
    let expected = [
        "expire-time field-expiry members scores stream-full no-touch",
        "",
        "field-expiry",
    ];
    for (looks, expected) in looks.into_iter().zip(expected) {
        let disguise = Disguise::before(&older, looks);
        let urls = [disguise.url(), newer.url()];
        let outcome = over("check", &[&urls[0], &urls[1]])
            .args(["--format", "json"])
            .run();
        let report = json(&outcome);
        let found = &report["replicas"][0]["capabilities"];
        let lacks: Vec<&str> = found["lacks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap())
            .collect();
        assert_eq!(lacks.join(" "), expected);
        assert_eq!(found["told_by"], "its version");
    }
}

#[test]
fn forks_are_known_by_what_they_can_do_and_not_by_their_name() {
    let without = |more: &[&str]| lacking(&[&NOT_IN_5, more].concat());
    let quiet = vec![
        "run_id",
        "loading",
        "rdb_bgsave_in_progress",
        "evicted_keys",
        "master_failover_state",
    ];
    let forks = [
        (
            without(&[]),
            Looks {
                info: vec![("redis_version", "6.3.4")],
                ..Looks::default()
            },
        ),
        (
            without(&["DUMP", "RESTORE", "WAIT", "OBJECT"]),
            Looks {
                info: vec![
                    ("redis_version", "7.4.0"),
                    ("dragonfly_version", "df-v1.30.0"),
                ],
                silent_on: quiet,
                leaves_out: true,
                ..Looks::default()
            },
        ),
        (
            RedisServer::start(),
            Looks {
                info: vec![("redis_version", "7.2.4"), ("valkey_version", "8.0.1")],
                ..Looks::default()
            },
        ),
    ];
    for (fork, looks) in forks {
        let (newer, shown) = (RedisServer::start(), format!("{looks:?}"));
        let disguise = Disguise::before(&fork, looks);
        let urls = [disguise.url(), newer.url()];
        fill(&fork, "1");
        fill(&newer, "2");
        let outcome = over("repair", &[&urls[0], &urls[1]]).run();
        assert_eq!(outcome.code(), Some(0), "{shown}: {outcome}");
        over("diff", &[&urls[0], &urls[1]]).run().assert_code(0);
    }
}

#[test]
fn a_type_that_a_server_cannot_hold_is_refused_key_by_key_and_the_run_goes_on() {
    let streamless = lacking(&[
        "XADD",
        "XDEL",
        "XRANGE",
        "XINFO",
        "XSETID",
        "XGROUP",
        "XAUTOCLAIM",
    ]);
    let newer = RedisServer::start();
    newer.cmd(["XADD", "stream", "1-1", "field", "value"]);
    newer.cmd(["XADD", "other", "1-1", "field", "value"]);
    newer.cmd(["SET", "string", "x"]);
    streamless.cmd(["SET", "other", "kept"]);
    let urls = [newer.url(), streamless.url()];
    let outcome = over("repair", &[&urls[0], &urls[1]])
        .args(["--format", "json"])
        .run();
    outcome.assert_code(1);
    let report = json(&outcome);
    let findings = report["findings"].as_array().unwrap();
    let verdict = |key: &str| {
        let found = findings
            .iter()
            .find(|one| one["key"]["text"] == key)
            .unwrap();
        let reason = found["reason"].as_str().unwrap_or_default();
        format!("{} {reason}", found["verdict"].as_str().unwrap())
    };
    assert!(
        verdict("stream").starts_with("refused eu: it cannot hold a stream"),
        "{outcome}"
    );
    assert!(
        verdict("other").starts_with("refused eu: it cannot hold a stream"),
        "{outcome}"
    );
    assert!(verdict("string").starts_with("repaired"), "{outcome}");
    let kept = Value::BulkString(b"kept".to_vec());
    assert_eq!(streamless.cmd(["GET", "other"]), kept);
    assert_eq!(streamless.cmd(["EXISTS", "stream"]), Value::Int(0));
}
