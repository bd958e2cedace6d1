//! Stamps and counts where a server is not set up as it should be: said, and nothing half written.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod functions_support;
mod support;

use functions_support::{Writers, install};
use redis::{Connection, Value};
use support::judge::query;
use support::racks::Racks;
use support::reknit::Reknit;

#[test]
fn a_server_that_counts_under_the_name_of_another_is_told_of_and_its_counters_are_left_alone() {
    let mut two = Writers::new(2);
    // The second was seeded from the first, and has its functions.
    let library = Reknit::new(["functions", "show", "rack1"]).run().stdout;
    two.racks.servers[1].cmd(["FUNCTION", "LOAD", "REPLACE", &library]);
    two.call(0, "incrby", "same", &["10"]);
    two.racks.repair();
    let checked = two.racks.reknit("check").run();
    let words = "its functions count under the name rack1, not rack2";
    assert!(checked.stdout.contains(words), "{}", checked.stdout);
    assert!(
        checked.stdout.contains("its functions count as rack1"),
        "{}",
        checked.stdout
    );

    two.call(0, "incrby", "same", &["2"]);
    two.call(1, "incrby", "same", &["3"]);
    two.call(0, "set", "other", &["v"]);
    let repaired = two.racks.reknit("repair").run();
    repaired.assert_code(1);
    let words = "rack1 and rack2 count under the same name rack1";
    assert!(repaired.stdout.contains(words), "{}", repaired.stdout);
    assert!(repaired.stderr.contains(words), "{}", repaired.stderr);
    let numbers: Vec<_> = (0..2).map(|at| two.get(at, "same").unwrap()).collect();
    assert_eq!(numbers, ["12", "13"]);
    assert_eq!(two.get(1, "other").as_deref(), Some("v"));
    let explained = two.racks.reknit("explain").args(["same"]).run();
    assert!(explained.stdout.contains(words), "{}", explained.stdout);

    install(&two.racks).args(["--replace"]).run().assert_code(0);
    two.call(1, "incrby", "same", &["1"]);
    two.racks.repair();
    // What both counted as rack1 is taken for the same, as the page says: 10 and the greater of 2 and 3.
    assert_eq!(two.get(0, "same").as_deref(), Some("14"));
    assert_eq!(two.get(1, "same").as_deref(), Some("14"));
}

/// The second server's user gets this rule. Answers a connection that may do everything.
fn restrict(two: &Writers, rule: &str) -> Connection {
    let server = &two.racks.servers[1];
    server.cmd(["ACL", "SETUSER", "admin", "on", ">admin", "~*", "+@all"]);
    let address = server.url().replace("redis://", "redis://admin:admin@");
    let mut admin = redis::Client::open(address)
        .unwrap()
        .get_connection()
        .unwrap();
    let line = format!("ACL SETUSER default reset on nopass {rule}");
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    query::<Value>(&mut admin, &words);
    admin
}

/// Something of every kind that differs by its stamps.
fn diverge(two: &mut Writers) {
    two.call(0, "set", "text", &["1 old"]);
    two.call(1, "set", "text", &["2 new"]);
    two.call(0, "sadd", "set", &["a", "b"]);
    two.racks.repair();
    two.call(0, "srem", "set", &["a"]);
    two.call(0, "set", "text", &["3 newest"]);
    two.call(0, "hset", "hash", &["f", "v"]);
    two.call(0, "incrby", "count", &["5"]);
    two.call(1, "incrby", "count", &["7"]);
}

#[test]
fn the_printed_rule_is_all_that_a_repair_with_stamps_needs() {
    let mut two = Writers::new(2);
    diverge(&mut two);
    let checked = two.racks.reknit("check").args(["--format", "json"]).run();
    let report: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let rule = report["replicas"][1]["acl_rule"].as_str().unwrap();
    let mut admin = restrict(&two, rule);
    query::<Value>(&mut admin, &[b"ACL", b"LOG", b"RESET"]);
    two.racks.repair();
    let log: Value = query(&mut admin, &[b"ACL", b"LOG"]);
    let log = format!("{log:?}");
    // It is asked under which name the functions count, and that may be refused.
    let refused: Vec<_> = log.match_indices("\"object\"").collect();
    assert!(
        refused
            .iter()
            .all(|(at, _)| log[*at..].contains("function|list")),
        "{log}"
    );
    let count: String = query(&mut admin, &[b"GET", b"count"]);
    assert_eq!(count, "12");
}

#[test]
fn where_stamps_may_not_be_written_no_data_is_written_either() {
    for keys in ["%R~* ~text ~set ~hash ~count ~reknit:*", "~[^.]* %R~._*"] {
        let mut two = Writers::new(2);
        diverge(&mut two);
        let held = |admin: &mut Connection| {
            let words: [&[&[u8]]; 4] = [
                &[b"GET", b"text"],
                &[b"SMEMBERS", b"set"],
                &[b"HGETALL", b"hash"],
                &[b"GET", b"count"],
            ];
            words.map(|words| format!("{:?}", query::<Value>(admin, words)))
        };
        let mut admin = restrict(&two, &format!("{keys} +@all"));
        let before = held(&mut admin);
        for _ in 0..2 {
            let repaired = two.racks.reknit("repair").run();
            repaired.assert_code(1);
            assert!(repaired.stdout.contains("NOPERM"), "{}", repaired.stdout);
            assert_eq!(held(&mut admin), before, "{keys}");
        }
        query::<Value>(&mut admin, &[b"ACL", b"SETUSER", b"default", b"allkeys"]);
        two.racks.repair();
        let count: String = query(&mut admin, &[b"GET", b"count"]);
        assert_eq!(count, "12");
    }
}

#[test]
fn a_server_without_scripts_is_refused_before_anything_is_written() {
    let mut two = Writers::new(2);
    diverge(&mut two);
    let mut admin = restrict(&two, "~* +@all -eval");
    let repaired = two.racks.reknit("repair").run();
    repaired.assert_code(2);
    assert!(
        repaired.stderr.contains("it lacks +eval"),
        "{}",
        repaired.stderr
    );
    let text: String = query(&mut admin, &[b"GET", b"text"]);
    assert_eq!(text, "2 new");
    let checked = two.racks.reknit("check").run();
    checked.assert_code(2);
    assert!(checked.stdout.contains("+eval"), "{}", checked.stdout);
}

#[test]
fn a_server_that_hides_zscore_is_repaired_like_any_other() {
    let racks = Racks::new(2);
    let hidden = support::server::RedisServer::builder()
        .line("rename-command ZSCORE \"\"")
        .start();
    let mut racks = racks;
    racks.servers[1] = hidden;
    racks.at(0, "SET text v");
    racks.stamp(0, "text", 1_000);
    racks.at(0, "SADD set a");
    racks.at(0, "ZADD ._add-set_set 1000 a");
    racks.stamp(0, "set", 1_000);
    racks.at(1, "SADD set b");
    racks.at(1, "ZADD ._add-set_set 1000 b");
    racks.stamp(1, "set", 1_000);
    racks.repair();
    assert_eq!(racks.at(1, "SCARD set"), Value::Int(2));
    assert_eq!(racks.stamps(0), racks.stamps(1));
}

#[test]
fn a_function_that_cannot_stamp_writes_no_data() {
    let calls: [(&str, &[&str]); 9] = [
        ("set", &["v"]),
        ("del", &[]),
        ("hset", &["f", "v"]),
        ("hdel", &["f"]),
        ("sadd", &["m"]),
        ("srem", &["m"]),
        ("zadd", &["1", "m"]),
        ("zrem", &["m"]),
        ("incrby", &["1"]),
    ];
    for (function, args) in calls {
        for set in ["._add-set_k", "._rem-set_k", "._add-set", "._rem-set"] {
            let mut one = Writers::new(2);
            let fill = match function {
                "hset" | "hdel" => "HSET k f w",
                "sadd" | "srem" => "SADD k m n",
                "zadd" | "zrem" => "ZADD k 5 m",
                _ => "SET k 7",
            };
            one.plain(0, fill);
            one.plain(0, &format!("RPUSH {set} no-stamps"));
            let before = one.plain(0, "DUMP k");
            let of_string = matches!(function, "set" | "incrby") && set.ends_with("_k");
            let answer = one.try_call(0, function, "k", args);
            match answer {
                Ok(_) => assert!(of_string || set == "._rem-set", "{function} beside {set}"),
                Err(_) => assert_eq!(one.plain(0, "DUMP k"), before, "{function} beside {set}"),
            }
        }
        let mut one = Writers::new(2);
        for key in ["._add-set", "._rem-set_k", "._counts_k", "reknit:marker:x"] {
            let refused = one.try_call(0, function, key, args).unwrap_err();
            assert!(
                refused.to_string().contains(key),
                "{function} {key}: {refused}"
            );
            assert_eq!(one.plain(0, &format!("EXISTS {key}")), Value::Int(0));
        }
        one.plain(0, "ACL SETUSER default -zadd");
        one.try_call(0, function, "k", args).unwrap_err();
        assert_eq!(one.plain(0, "EXISTS k"), Value::Int(0), "{function}");
    }
}
