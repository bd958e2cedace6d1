//! Counters of the functions at their edges: as great as they can be, beside what is no number, when they end, and
//! beside what another value has left.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod functions_support;
mod support;

use std::collections::BTreeMap;

use redis::Value;

use functions_support::Writers;
use support::judge::query;
use support::racks::Racks;

/// A stamp that is no whole millisecond.
const STAMP: &str = "1732800000123.5";

/// Repairs, and finds nothing more to do.
#[track_caller]
fn settle(writers: &Writers) {
    writers.racks.repair();
    let again = writers.racks.reknit("repair").run();
    again.assert_code(0);
    assert!(again.stdout.contains("in sync: "), "{}", again.stdout);
}

/// All that a server holds, as DUMP tells it.
fn all(writers: &mut Writers, replica: usize) -> BTreeMap<String, Vec<u8>> {
    let client = &mut writers.clients[replica];
    let names: Vec<String> = query(client, &[b"KEYS", b"*"]);
    let dump = |name: String| {
        let payload = query(client, &[b"DUMP", name.as_bytes()]);
        (name, payload)
    };
    names.into_iter().map(dump).collect()
}

/// A call that is refused in these words, and writes nothing.
#[track_caller]
fn refused(writers: &mut Writers, (function, key, args): (&str, &str, &[&str]), words: &str) {
    let before = all(writers, 0);
    let refusal = writers.try_call(0, function, key, args).unwrap_err();
    assert!(refusal.to_string().contains(words), "{refusal}");
    assert!(all(writers, 0) == before, "{function} {key} wrote");
}

#[test]
fn a_number_that_does_not_fit_is_refused_before_anything_is_written() {
    let mut two = Writers::new(2);
    let overflow = "increment or decrement would overflow";
    two.call(0, "set", "c", &["9223372036854775806"]);
    two.call(0, "incrby", "c", &["1"]);
    assert_eq!(two.get(0, "c").as_deref(), Some("9223372036854775807"));
    refused(&mut two, ("incrby", "c", &["1"]), overflow);
    two.call(0, "set", "low", &["-9223372036854775807"]);
    refused(&mut two, ("incrby", "low", &["-2"]), overflow);
    // A lifetime's sum, although the number itself is small.
    for _ in 0..2 {
        two.call(0, "incrby", "life", &["4500000000000000000"]);
        two.call(0, "incrby", "life", &["-4500000000000000000"]);
    }
    let words = "would overflow what this replica has counted";
    refused(&mut two, ("incrby", "life", &["200000000000000000"]), words);
    refused(
        &mut two,
        ("incrby", "life", &["-200000000000000000"]),
        words,
    );
    refused(
        &mut two,
        ("incrby", "new", &["-9223372036854775808"]),
        words,
    );
    two.call(1, "incrby", "life", &["7"]);
    settle(&two);
    for replica in 0..2 {
        assert_eq!(two.get(replica, "life").as_deref(), Some("7"));
        assert_eq!(
            two.get(replica, "c").as_deref(),
            Some("9223372036854775807")
        );
    }
}

#[test]
fn sums_that_no_number_holds_are_reported_and_added_up_when_it_does() {
    let mut two = Writers::new(2);
    let great = "9100000000000000000";
    two.call(0, "incrby", "c", &[great]);
    two.call(1, "incrby", "c", &[great]);
    let outcome = two.racks.reknit("repair").run();
    outcome.assert_code(1);
    assert!(
        outcome.stdout.contains("more than an integer holds"),
        "{}",
        outcome.stdout
    );
    for replica in 0..2 {
        assert_eq!(two.get(replica, "c").as_deref(), Some(great));
    }
    two.call(1, "incrby", "c", &["-9000000000000000000"]);
    settle(&two);
    for replica in 0..2 {
        assert_eq!(
            two.get(replica, "c").as_deref(),
            Some("9200000000000000000")
        );
    }
    two.call(0, "incrby", "c", &["-8000000000000000000"]);
    two.call(1, "incrby", "c", &["1"]);
    settle(&two);
    for replica in 0..2 {
        assert_eq!(
            two.get(replica, "c").as_deref(),
            Some("1200000000000000001")
        );
    }
}

#[test]
fn more_words_than_a_call_takes_are_refused_before_anything_is_written() {
    let mut one = Writers::new(2);
    let words: Vec<String> = (0..3002).map(|word| word.to_string()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for function in ["sadd", "srem", "hset", "hdel", "zadd", "zrem"] {
        let most = "at most 3000 words at a time";
        refused(&mut one, (function, function, &words), most);
        one.call(0, function, function, &words[..3000]);
    }
    assert_eq!(one.plain(0, "SCARD sadd"), Value::Int(3000));
    assert_eq!(one.plain(0, "ZCARD ._rem-set_srem"), Value::Int(3000));
    assert_eq!(one.plain(0, "ZCARD ._add-set_zadd"), Value::Int(1500));
}

#[test]
fn what_is_no_number_is_not_counted() {
    let mut one = Writers::new(2);
    let (no_number, wrong_type) = ("not an integer", "WRONGTYPE");
    one.call(0, "set", "text", &["seven"]);
    one.call(0, "set", "zeros", &["007"]);
    one.call(0, "hset", "h", &["f", "1"]);
    one.plain(0, "SET ._counts_odd x");
    refused(&mut one, ("incrby", "text", &["1"]), no_number);
    refused(&mut one, ("incrby", "zeros", &["1"]), no_number);
    refused(&mut one, ("incrby", "h", &["1"]), wrong_type);
    refused(&mut one, ("incrby", "odd", &["1"]), wrong_type);
    for by in ["", "x", "1.5", "1e3", "0x10", "--5", "+5", " 5", "05"] {
        refused(&mut one, ("incrby", "c", &[by]), no_number);
    }
    refused(&mut one, ("incrby", "c", &[]), "one key and one number");
    refused(
        &mut one,
        ("incrby", "c", &["1", "2"]),
        "one key and one number",
    );
}

/// The key ends by itself, as its expiry says.
fn end(writers: &mut Writers, replica: usize, key: &str) {
    writers.plain(replica, &format!("PEXPIREAT {key} 1"));
    assert_eq!(writers.get(replica, key), None);
}

#[test]
fn a_counter_that_ended_does_not_come_back_beside_one_that_begins() {
    let mut two = Writers::new(2);
    for by in ["7", "1000"] {
        two.call(0, "incrby", "c", &[by]);
        end(&mut two, 0, "c");
    }
    two.call(1, "incrby", "c", &["1"]);
    settle(&two);
    for replica in 0..2 {
        assert_eq!(two.get(replica, "c").as_deref(), Some("1"));
    }
}

#[test]
fn what_is_left_of_a_counter_that_ended_stays_so_that_all_begin_anew_together() {
    let mut three = Writers::new(3);
    three.call(0, "set", "c", &["40"]);
    three.call(0, "incrby", "c", &["1"]);
    settle(&three);
    for replica in 0..3 {
        three.call(replica, "incrby", "c", &["5"]);
        end(&mut three, replica, "c");
    }
    // Counts that differ beside no key are nothing to repair.
    settle(&three);
    for replica in 0..3 {
        assert_eq!(three.plain(replica, "EXISTS ._counts_c"), Value::Int(1));
        three.call(replica, "incrby", "c", &["2"]);
    }
    settle(&three);
    assert_eq!(three.get(1, "c").as_deref(), Some("6"));
    // A removal clears what is left, where it is called.
    for replica in 0..3 {
        end(&mut three, replica, "c");
        three.call(replica, "del", "c", &[]);
    }
    settle(&three);
    for replica in 0..3 {
        assert_eq!(three.plain(replica, "EXISTS ._counts_c"), Value::Int(0));
        assert_eq!(three.score(replica, "._add-set", "c"), None);
    }
}

#[test]
fn counts_outlive_the_tombstones_of_elements_that_the_key_once_had() {
    for grace in ["36500d", "0s"] {
        let racks = Racks {
            grace,
            ..Racks::new(2)
        };
        let mut two = Writers::of(racks);
        two.call(0, "hset", "m", &["f", "v"]);
        two.call(0, "hdel", "m", &["f"]);
        two.call(0, "incrby", "m", &["5"]);
        two.call(1, "incrby", "m", &["2"]);
        // Carried over by the first run, dropped by a later one, or not.
        for _ in 0..3 {
            two.racks.repair();
        }
        for (replica, name) in [(0, "+rack1"), (1, "+rack1"), (1, "+rack2")] {
            let part = two.plain(replica, &format!("HGET ._counts_m {name}"));
            assert_ne!(part, Value::Nil, "{grace}: {name} at {replica}");
        }
        two.call(0, "incrby", "m", &["1"]);
        two.call(1, "incrby", "m", &["1"]);
        settle(&two);
        for replica in 0..2 {
            assert_eq!(two.get(replica, "m").as_deref(), Some("9"), "{grace}");
        }
    }
}

#[test]
fn explain_shows_what_each_replica_counted_and_stamps_whole() {
    let mut four = Writers::new(4);
    for replica in 0..4 {
        four.plain(replica, "SET c 100");
        four.plain(replica, &format!("ZADD ._add-set {STAMP} c"));
    }
    four.call(0, "incrby", "c", &["8"]);
    four.call(1, "incrby", "c", &["-3"]);
    let explain = |more: &[&str]| four.racks.reknit("explain").args(["c"]).args(more).run();
    let page = explain(&[]).stdout;
    let row = |label: &str| -> Vec<String> {
        let line = page.lines().find_map(|line| line.trim().split_once(label));
        let (_, cells) = line.unwrap_or_else(|| panic!("no {label}:\n{page}"));
        cells.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("≠ counted since"), [STAMP, STAMP, "–", "–", STAMP]);
    assert_eq!(row("≠ counted from"), ["100", "100", "–", "–", "100"]);
    assert_eq!(row("≠ counted +rack1"), ["8", "–", "–", "–", "8"]);
    assert_eq!(row("≠ counted -rack2"), ["–", "3", "–", "–", "3"]);
    assert_eq!(row("≠ added")[2..4], [STAMP, STAMP]);
    let report: serde_json::Value =
        serde_json::from_str(&explain(&["--format", "json"]).stdout).unwrap();
    let elements = report["elements"].as_array().unwrap();
    let find = |what: &str| elements.iter().find(|one| one["what"] == what).unwrap();
    assert_eq!(find("counted")["name"]["text"], "+rack1");
    assert_eq!(find("counted")["values"][0]["text"], "8");
    assert_eq!(find("counted-from")["result"]["text"], "100");
    assert_eq!(find("counted-since")["values"][1]["text"], STAMP);
}
