//! Applications stamp what they write through functions in the server, and repairs go by those stamps.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod functions_support;
mod support;

use redis::Value;

use functions_support::{Writers, install};
use support::cluster::Cluster;
use support::judge::{assert_equal, query};
use support::racks::Racks;
use support::reknit::Reknit;
use support::server::RedisServer;

/// What each function is called with, and the plain command that it stands for; in this order they find something,
/// find nothing, and find another type.
const CALLS: &[(&str, &str, &str)] = &[
    ("set", "k", "v"),
    ("set", "k", "w PX 100000000"),
    ("set", "k", "w KEEPTTL"),
    ("set", "k", "w EXAT 33333333333"),
    ("incrby", "k", "1"),
    ("incrby", "c", "5"),
    ("incrby", "c", "-7"),
    ("incrby", "c", "05"),
    ("set", "c", "9223372036854775807"),
    ("incrby", "c", "1"),
    ("incrby", "c", "x"),
    ("set", "c", "41"),
    ("incrby", "c", "1"),
    ("hset", "h", "f v g w"),
    ("hset", "h", "f v2 i x"),
    ("hset", "h", "f"),
    ("hset", "k", "f v"),
    ("hdel", "h", "f nothing"),
    ("hdel", "none", "f"),
    ("sadd", "s", "a b a"),
    ("sadd", "s", "b c"),
    ("srem", "s", "a nothing"),
    ("srem", "h", "a"),
    ("zadd", "z", "1 a 2.5 b"),
    ("zadd", "z", "-inf a 3 c"),
    ("zadd", "z", "nan a"),
    ("zadd", "z", "1 a 2"),
    ("zrem", "z", "a nothing"),
    ("del", "h", ""),
    ("del", "h", ""),
    ("set", "s", "a string over a set"),
    ("srem", "z", "b"),
    ("hset", "h", "again 1"),
    ("hdel", "h", "again"),
    ("del", "z", ""),
];

fn words(text: &str) -> Vec<&str> {
    text.split(' ').filter(|word| !word.is_empty()).collect()
}

/// An answer without the words that only a script adds.
fn told(answer: redis::RedisResult<Value>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.code().unwrap_or("an error").to_owned(),
    }
}

#[test]
fn every_function_answers_and_leaves_what_the_plain_command_does_by_either_route() {
    let mut stamped = Writers::new(2);
    let plain = RedisServer::start();
    let client = &mut plain.client();
    for &(function, key, args) in CALLS {
        let args = words(args);
        let expected = told(redis::cmd(function).arg(key).arg(&args).query(client));
        let answer = stamped.try_call(0, function, key, &args);
        assert_eq!(told(answer), expected, "{function} {key} {args:?}");
        let script = Reknit::new(["functions", "show", "rack2", "--script", function]).run();
        script.assert_code(0);
        let mut eval = redis::cmd("EVAL");
        eval.arg(script.stdout).arg(1).arg(key).arg(&args);
        let answer = eval.query(&mut stamped.clients[1]);
        assert_eq!(told(answer), expected, "EVAL {function} {key} {args:?}");
    }
    // All that is there beside the stamps is alike.
    let sets = |racks: &Racks, rack: usize| {
        let stamps = racks.stamps(rack);
        let names =
            |set: &std::collections::BTreeMap<String, i64>| set.keys().cloned().collect::<Vec<_>>();
        stamps
            .iter()
            .map(|(set, all)| (set.clone(), names(all)))
            .collect::<Vec<_>>()
    };
    assert_eq!(sets(&stamped.racks, 0), sets(&stamped.racks, 1));
    for server in &stamped.racks.servers {
        let client = &mut server.client();
        let pattern: Vec<String> = query(client, &[b"KEYS", b"._*"]);
        for name in pattern {
            query::<i64>(client, &[b"DEL", name.as_bytes()]);
        }
    }
    let [first, second] = &stamped.racks.servers[..] else {
        panic!("there are two")
    };
    assert_equal(&[&plain, first, second]);
}

#[test]
fn what_is_written_later_at_a_server_is_stamped_later_whatever_its_clock_says() {
    let mut one = Writers::new(2);
    let ahead = 2_000_000_000_000.0;
    one.plain(0, "ZADD ._add-set 2000000000000 k");
    one.plain(0, "SET k v");
    one.call(0, "set", "k", &["w"]);
    let first = one.score(0, "._add-set", "k").unwrap();
    assert!(first > ahead && first < ahead + 1.0, "{first}");
    one.call(0, "del", "k", &[]);
    let removed = one.score(0, "._rem-set", "k").unwrap();
    assert!(removed > first);
    one.call(0, "hset", "k", &["f", "v"]);
    let added = one.score(0, "._add-set_k", "f").unwrap();
    assert!(added > removed);
    one.call(0, "hdel", "k", &["f"]);
    let gone = one.score(0, "._rem-set_k", "f").unwrap();
    assert!(gone > added);
    one.call(0, "sadd", "k", &["f"]);
    assert!(one.score(0, "._add-set_k", "f").unwrap() > gone);
    // What was emptied element by element is listed nowhere but among its removed elements.
    for (add, remove, words) in [
        ("hset", "hdel", vec!["f", "v"]),
        ("sadd", "srem", vec!["f"]),
        ("zadd", "zrem", vec!["1", "f"]),
    ] {
        one.plain(0, &format!("ZADD ._add-set 2000000000000 {add}"));
        one.call(0, add, add, &words);
        one.call(0, remove, add, &["f"]);
        assert_eq!(one.score(0, "._add-set", add), None);
        one.call(0, "set", add, &["v"]);
        assert!(one.score(0, "._add-set", add).unwrap() > ahead, "{add}");
    }
    one.plain(0, "ZADD ._add-set 2000000000000 s");
    one.call(0, "sadd", "s", &["f"]);
    one.call(0, "srem", "s", &["f"]);
    one.call(0, "incrby", "s", &["1"]);
    assert!(one.score(0, "._add-set", "s").unwrap() > ahead);
    // Nothing is later than this: it is refused, and nothing is written.
    one.plain(0, "ZADD ._add-set inf never");
    let refusal = one.try_call(0, "set", "never", &["v"]).unwrap_err();
    assert!(
        refusal.to_string().contains("too far in the future"),
        "{refusal}"
    );
    assert_eq!(one.get(0, "never"), None);
}

#[test]
fn an_installation_is_done_once_and_never_overwrites_another_unasked() {
    let racks = Racks::new(2);
    let dry = install(&racks).args(["--dry-run"]).run();
    dry.assert_code(0);
    assert!(dry.stdout.contains("would load reknit_1"), "{}", dry.stdout);
    let function_list = |server: &RedisServer| format!("{:?}", server.cmd(["FUNCTION", "LIST"]));
    assert!(!function_list(&racks.servers[0]).contains("reknit"));
    for said in ["loaded reknit_1", "reknit_1 is there already"] {
        let outcome = install(&racks).run();
        outcome.assert_code(0);
        assert_eq!(
            outcome.stdout.matches(said).count(),
            2,
            "{}",
            outcome.stdout
        );
    }
    // It counts under another name there: somebody seeded it from a copy.
    let other = Reknit::new(["functions", "show", "other"]).run().stdout;
    racks.servers[1].cmd(["FUNCTION", "LOAD", "REPLACE", &other]);
    let refused = install(&racks).run();
    refused.assert_code(3);
    assert!(refused.stdout.contains("rack2 at "), "{}", refused.stdout);
    assert!(
        refused.stdout.contains("--replace replaces it"),
        "{}",
        refused.stdout
    );
    install(&racks).args(["--replace"]).run().assert_code(0);
    let version = racks.servers[1].cmd(["FCALL", "reknit_version", "0"]);
    assert!(format!("{version:?}").contains("rack2"), "{version:?}");
}

#[test]
fn a_server_without_functions_gets_scripts() {
    let server = RedisServer::builder()
        .line("rename-command FUNCTION \"\"")
        .start();
    let other = RedisServer::start();
    let outcome = Reknit::new(["functions", "install"])
        .args([
            format!("--replica=a={}", server.url()),
            format!("--replica=b={}", other.url()),
        ])
        .run();
    outcome.assert_code(0);
    assert!(
        outcome.stderr.contains("layout: dynomite"),
        "{}",
        outcome.stderr
    );
    let line = outcome
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with("incrby"));
    let sha = line.unwrap().split_whitespace().last().unwrap();
    assert_eq!(server.cmd(["EVALSHA", sha, "1", "c", "5"]), Value::Int(5));
    let field: String = query(&mut server.client(), &[b"HGET", b"._counts_c", b"+a"]);
    assert_eq!(field, "5");
    assert!(outcome.stdout.contains("b at "), "{}", outcome.stdout);
}

#[test]
fn a_cluster_is_refused_with_the_reason() {
    let cluster = Cluster::start(1);
    let server = RedisServer::start();
    let outcome = Reknit::new(["functions", "install"])
        .args([
            format!("--replica=a={}", server.url()),
            format!("--replica=b={}", cluster.url()),
        ])
        .run();
    outcome.assert_code(3);
    assert!(
        outcome
            .stdout
            .contains("replica b: FUNCTION refused: the stamps of all keys"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn the_latest_write_wins_and_a_removal_over_all_that_is_older() {
    let mut two = Writers::new(2);
    two.call(0, "set", "k", &["first"]);
    two.call(1, "set", "k", &["second"]);
    two.call(0, "hset", "h", &["f", "old", "g", "old"]);
    two.racks.repair();
    two.call(1, "hset", "h", &["f", "new"]);
    two.call(0, "hdel", "h", &["g"]);
    two.call(1, "sadd", "gone", &["a"]);
    two.call(0, "del", "gone", &[]);
    two.racks.repair();
    for replica in 0..2 {
        assert_eq!(two.get(replica, "k").as_deref(), Some("second"));
        let fields = two.plain(replica, "HGETALL h");
        assert_eq!(fields, two.plain(0, "HGETALL h"));
        assert!(format!("{fields:?}").contains("new") && !format!("{fields:?}").contains("old"));
        assert_eq!(two.plain(replica, "EXISTS gone"), Value::Int(0));
    }
    // A removal that is forgotten before an addition is merged would let older elements come back.
    two.call(0, "del", "h", &[]);
    two.call(0, "hset", "h", &["n", "1"]);
    two.racks.repair();
    assert_eq!(
        two.plain(1, "HKEYS h"),
        Value::Array(vec![Value::BulkString(b"n".to_vec())])
    );
}

/// Repairs, and finds nothing more to do.
fn settle(writers: &Writers) {
    writers.racks.repair();
    let again = writers.racks.reknit("repair").run();
    again.assert_code(0);
    assert!(again.stdout.contains("in sync: "), "{}", again.stdout);
}

fn counts(writers: &mut Writers, replica: usize, key: &str) -> Option<i64> {
    writers.get(replica, key).map(|text| text.parse().unwrap())
}

#[test]
fn counters_add_up_without_any_memory_also_where_they_stand_alike() {
    let mut three = Writers::new(3);
    // Both counted one: that is two.
    three.call(0, "incrby", "hits", &["1"]);
    three.call(1, "incrby", "hits", &["1"]);
    three.call(2, "incrby", "hits", &["1"]);
    three.racks.reknit("diff").run().assert_code(1);
    settle(&three);
    for replica in 0..3 {
        assert_eq!(counts(&mut three, replica, "hits"), Some(3));
    }
    three.call(0, "incrby", "hits", &["-5"]);
    three.call(2, "incrby", "hits", &["7"]);
    three.call(1, "set", "stock", &["100"]);
    settle(&three);
    three.call(0, "incrby", "stock", &["-30"]);
    three.call(2, "incrby", "stock", &["-10"]);
    three.call(2, "incrby", "stock", &["1"]);
    settle(&three);
    for replica in 0..3 {
        assert_eq!(counts(&mut three, replica, "hits"), Some(5));
        assert_eq!(counts(&mut three, replica, "stock"), Some(61));
    }
}

#[test]
fn a_write_or_removal_of_the_whole_key_begins_a_counter_anew() {
    let mut two = Writers::new(2);
    two.call(0, "incrby", "c", &["10"]);
    settle(&two);
    // What was counted without having seen the removal goes with what it removed; what comes after counts.
    two.call(0, "del", "c", &[]);
    two.call(1, "incrby", "c", &["5"]);
    settle(&two);
    assert_eq!(
        (counts(&mut two, 0, "c"), counts(&mut two, 1, "c")),
        (None, None)
    );
    two.call(0, "incrby", "c", &["2"]);
    two.call(1, "incrby", "c", &["3"]);
    settle(&two);
    assert_eq!(counts(&mut two, 0, "c"), Some(5));
    two.call(1, "set", "c", &["40"]);
    two.call(0, "incrby", "c", &["1"]);
    settle(&two);
    assert_eq!(
        (counts(&mut two, 0, "c"), counts(&mut two, 1, "c")),
        (Some(40), Some(40))
    );
    two.call(1, "set", "c", &["no number"]);
    settle(&two);
    assert_eq!(two.get(0, "c").as_deref(), Some("no number"));
    assert_eq!(two.plain(0, "EXISTS ._counts_c"), Value::Int(0));
}

#[test]
fn a_counter_that_is_counted_all_the_time_is_repaired() {
    let mut two = Writers::new(2);
    two.call(0, "incrby", "c", &["1"]);
    settle(&two);
    two.call(1, "incrby", "c", &["1000"]);
    let port = two.racks.servers[0].url();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = stop.clone();
    let counting = std::thread::spawn(move || {
        let client = &mut redis::Client::open(port).unwrap().get_connection().unwrap();
        let mut count = 0;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            let words: [&[u8]; 5] = [b"FCALL", b"reknit_incrby", b"1", b"c", b"1"];
            query::<i64>(client, &words);
            count += 1;
        }
        count
    });
    two.racks.reknit("repair").run().assert_code(0);
    assert!(counts(&mut two, 0, "c").unwrap() > 1000);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let counted: i64 = counting.join().unwrap();
    settle(&two);
    for replica in 0..2 {
        assert_eq!(counts(&mut two, replica, "c"), Some(1001 + counted));
    }
}

#[test]
fn a_counter_that_a_plain_command_changed_is_reported_and_not_overwritten() {
    let mut two = Writers::new(2);
    two.call(0, "incrby", "c", &["1"]);
    settle(&two);
    two.plain(1, "INCRBY c 5");
    let outcome = two.racks.reknit("repair").run();
    outcome.assert_code(1);
    assert!(
        outcome.stdout.contains("set it anew with reknit_set"),
        "{}",
        outcome.stdout
    );
    assert_eq!(
        (counts(&mut two, 0, "c"), counts(&mut two, 1, "c")),
        (Some(1), Some(6))
    );
    two.call(1, "set", "c", &["6"]);
    settle(&two);
    assert_eq!(counts(&mut two, 0, "c"), Some(6));
}

#[test]
fn with_a_memory_counters_add_up_to_the_same() {
    let mut two = Writers::of(Racks::new(2).remembering());
    for round in 1..4 {
        two.call(0, "incrby", "c", &["1"]);
        two.call(1, "incrby", "c", &["1"]);
        two.racks.repair();
        for replica in 0..2 {
            assert_eq!(counts(&mut two, replica, "c"), Some(2 * round));
        }
    }
    two.call(0, "del", "c", &[]);
    two.racks.repair();
    assert_eq!(counts(&mut two, 1, "c"), None);
}

#[test]
fn a_removal_of_a_whole_collection_waits_for_replicas_that_were_missing() {
    let mut three = Writers::new(3);
    three.call(0, "hset", "h", &["old", "1"]);
    three.racks.repair();
    three.call(1, "hset", "h", &["unseen", "2"]);
    three.call(2, "del", "h", &[]);
    three.call(2, "hset", "h", &["new", "x"]);
    let mut dead = RedisServer::start();
    dead.kill();
    let away = std::mem::replace(&mut three.racks.servers[1], dead);
    three.racks.reknit("repair").run().assert_code(3);
    assert_eq!(three.plain(0, "HLEN h"), Value::Int(1));
    assert!(three.score(0, "._rem-set", "h").is_some());
    // Those that are there are in sync, and nothing is written.
    let stamps = three.racks.stamps(0);
    three.racks.reknit("repair").run().assert_code(3);
    assert_eq!(three.racks.stamps(0), stamps);
    three.racks.servers[1] = away;
    three.racks.repair();
    for at in 0..3 {
        assert_eq!(three.plain(at, "HKEYS h"), three.plain(2, "HKEYS h"));
        assert_eq!(three.plain(at, "HLEN h"), Value::Int(1));
        assert_eq!(three.score(at, "._rem-set", "h"), None);
        assert!(three.score(at, "._rem-set_h", "unseen").is_some());
    }
}
