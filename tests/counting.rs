//! Fields and scores that count: increased by script, beside clients that never stop counting.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod seal_support;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use reknit::model::{Expect, Expiry, Field, Key, Marker, Op, Score, Value, Write};
use reknit::store::{Observed, Sealing, WriteOutcome};

use seal_support::{
    Befalls, END, Ground, Memory, Server, after, count, first, found, marker, put, run, secret,
    write, write_all,
};
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;
use support::site::{Site, assert_says, json, text};

use WriteOutcome::{Applied, Superseded, Unknown};

/// Each case becomes two tests.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[test] fn $name() { super::$name(&super::Memory::new()); })*
        }
        mod on_a_server {
            $(#[test] fn $name() { super::$name(&super::Server::new()); })*
        }
    };
}

cases! {
    fields_are_increased_or_declined_each_key_whole_or_not_at_all,
    scores_are_increased_while_they_are_integers,
    what_does_not_count_is_written_if_it_is_as_it_was_read,
    the_mask_names_only_keys_whose_elements_were_increased,
    a_key_that_ends_otherwise_than_expected_is_declined,
}

fn hash(pairs: &[(&str, &str)]) -> Value {
    let field = |(name, value): &(&str, &str)| {
        let name = Bytes::copy_from_slice(name.as_bytes());
        (
            name,
            Field::lasting(Bytes::copy_from_slice(value.as_bytes())),
        )
    };
    Value::Hash(pairs.iter().map(field).collect())
}

fn scored(pairs: &[(&str, f64)]) -> Value {
    let member = |(name, score): &(&str, f64)| {
        let name = Bytes::copy_from_slice(name.as_bytes());
        (name, Score::new(*score).unwrap())
    };
    Value::SortedSet(pairs.iter().map(member).collect())
}

fn named<V: Copy>(pairs: &[(&'static str, V)]) -> Vec<(Bytes, V)> {
    let name = |(name, value): &(&'static str, V)| (Bytes::from_static(name.as_bytes()), *value);
    pairs.iter().map(name).collect()
}

fn texts(pairs: &[(&'static str, &'static str)]) -> Vec<(Bytes, Bytes)> {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    pairs.iter().map(|(a, b)| (text(a), text(b))).collect()
}

/// A write to a key that counts.
fn counts(key: &str, held: Value, ops: &[Op]) -> Write {
    let expiry = Expiry::Never;
    Write {
        key: Key::from(key),
        expect: Expect::Counters { held, expiry },
        ops: ops.to_vec(),
    }
}

fn increase(key: &str, fields: &[(&'static str, i64)]) -> Write {
    counts(key, hash(&[]), &[Op::IncreaseFields(named(fields))])
}

fn raise(key: &str, members: &[(&'static str, i64)]) -> Write {
    counts(key, scored(&[]), &[Op::IncreaseScores(named(members))])
}

/// Puts a value where nothing is.
fn fill(ground: &dyn Ground, key: &str, value: Value) {
    let fill = Write {
        key: Key::from(key),
        expect: Expect::Absent,
        ops: vec![Op::Put(value)],
    };
    let written = run(ground.replica().write(None, &[fill], &secret(), None)).unwrap();
    assert_eq!(written.outcomes, [Applied]);
}

fn held(ground: &dyn Ground, key: &str) -> Value {
    let keys = [Key::from(key)];
    match run(ground.replica().fetch(None, &keys, &secret()))
        .unwrap()
        .remove(0)
    {
        Observed::Whole(state) => state.value,
        other => panic!("{key} holds {other:?}"),
    }
}

fn fields_are_increased_or_declined_each_key_whole_or_not_at_all(ground: &dyn Ground) {
    fill(ground, "h", hash(&[("a", "1"), ("b", "-7"), ("x", "text")]));
    fill(
        ground,
        "full",
        hash(&[("a", "1"), ("most", "9223372036854775807")]),
    );
    fill(ground, "zeros", hash(&[("a", "1"), ("b", "007")]));
    fill(ground, "z", scored(&[("a", 1.0)]));
    let writes = [
        increase("h", &[("a", 10), ("b", -3)]),
        increase("h", &[("a", 1), ("gone", 1)]),
        increase("h", &[("a", 1), ("x", 1)]),
        increase("full", &[("a", 1), ("most", 1)]),
        increase("zeros", &[("a", 1), ("b", 1)]),
        increase("z", &[("a", 1)]),
        increase("absent", &[("a", 1)]),
    ];
    let written = write(ground, &writes, &first(5)).unwrap();
    let mut expected = vec![Superseded; 7];
    expected[0] = Applied;
    assert_eq!(written.outcomes, expected);
    let set = Marker {
        written: 1,
        ..marker(5)
    };
    assert_eq!(written.sealing, Sealing::Set(set));
    assert_eq!(found(ground), Some(set));
    assert_eq!(
        held(ground, "h"),
        hash(&[("a", "11"), ("b", "-10"), ("x", "text")])
    );
    assert_eq!(
        held(ground, "full"),
        hash(&[("a", "1"), ("most", "9223372036854775807")])
    );
    assert_eq!(held(ground, "zeros"), hash(&[("a", "1"), ("b", "007")]));
}

fn scores_are_increased_while_they_are_integers(ground: &dyn Ground) {
    fill(
        ground,
        "z",
        scored(&[("a", 3.0), ("half", 0.5), ("zero", 0.0)]),
    );
    fill(ground, "h", hash(&[("a", "1")]));
    let writes = [
        raise("z", &[("a", -5), ("zero", 2)]),
        raise("z", &[("a", 1), ("half", 1)]),
        raise("z", &[("gone", 1)]),
        raise("h", &[("a", 1)]),
    ];
    let written = write(ground, &writes, &first(5)).unwrap();
    assert_eq!(
        written.outcomes,
        [Applied, Superseded, Superseded, Superseded]
    );
    assert_eq!(
        held(ground, "z"),
        scored(&[("a", -2.0), ("half", 0.5), ("zero", 2.0)])
    );
}

fn what_does_not_count_is_written_if_it_is_as_it_was_read(ground: &dyn Ground) {
    fill(
        ground,
        "h",
        hash(&[("n", "1"), ("name", "old"), ("gone", "x")]),
    );
    fill(
        ground,
        "z",
        scored(&[("n", 1.0), ("half", 0.5), ("gone", 9.0)]),
    );
    let fields = [
        Op::SetFields(texts(&[("name", "new"), ("added", "7")])),
        Op::RemoveFields(vec!["gone".into()]),
        Op::IncreaseFields(named(&[("n", 4)])),
    ];
    let scores = [
        Op::SetScores(vec![("half".into(), Score::new(0.75).unwrap())]),
        Op::RemoveScored(vec!["gone".into()]),
        Op::IncreaseScores(named(&[("n", 4)])),
    ];
    let moved = [
        counts("h", hash(&[("name", "other"), ("gone", "x")]), &fields),
        counts("h", hash(&[("name", "old")]), &fields),
        counts(
            "h",
            hash(&[("name", "old"), ("gone", "x"), ("added", "6")]),
            &fields,
        ),
        counts("z", scored(&[("half", 0.25), ("gone", 9.0)]), &scores),
        counts("z", scored(&[("half", 0.5)]), &scores),
    ];
    let written = write(ground, &moved, &first(5)).unwrap();
    assert_eq!(written.outcomes, vec![Superseded; 5]);
    let Sealing::Set(set) = written.sealing else {
        panic!("{written:?}");
    };
    let writes = [
        counts("h", hash(&[("name", "old"), ("gone", "x")]), &fields),
        counts("z", scored(&[("half", 0.5), ("gone", 9.0)]), &scores),
    ];
    write_all(ground, &writes, &after(set, 6));
    assert_eq!(
        held(ground, "h"),
        hash(&[("n", "5"), ("name", "new"), ("added", "7")])
    );
    assert_eq!(held(ground, "z"), scored(&[("n", 5.0), ("half", 0.75)]));
}

fn the_mask_names_only_keys_whose_elements_were_increased(ground: &dyn Ground) {
    fill(ground, "h", hash(&[("a", "1")]));
    fill(ground, "z", scored(&[("a", 0.5)]));
    ground.set(0, "n", "1");
    let set = write_all(ground, &[], &first(5));
    ground.arm(Befalls::LostAnswer);
    let writes = [
        raise("z", &[("a", 1)]),
        increase("h", &[("a", 1)]),
        put("p", None, "1"),
        count("n", 2, Expiry::Never),
    ];
    let written = write(ground, &writes, &after(set, 6)).unwrap();
    assert_eq!(written.outcomes, vec![Unknown; 4]);
    assert_eq!(found(ground).unwrap().written, 0b1110);
    assert_eq!(held(ground, "h"), hash(&[("a", "2")]));
}

fn a_key_that_ends_otherwise_than_expected_is_declined(ground: &dyn Ground) {
    fill(ground, "h", hash(&[("a", "1")]));
    ground.expire("h", END);
    let written = write(ground, &[increase("h", &[("a", 1)])], &first(5)).unwrap();
    assert_eq!(written.outcomes, [Superseded]);
    let mut ends = increase("h", &[("a", 1)]);
    ends.expect = Expect::Counters {
        held: hash(&[]),
        expiry: END,
    };
    ends.ops.push(Op::Expire(Expiry::Never));
    let Sealing::Set(set) = written.sealing else {
        panic!("{written:?}");
    };
    write_all(ground, &[ends], &after(set, 6));
    assert_eq!(held(ground, "h"), hash(&[("a", "2")]));
    assert_eq!(ground.ends("h"), Expiry::Never);
}

/// What a client counts in, over and over.
const COUNTING: [&str; 4] = ["INCR n", "HINCRBY h f 1", "HINCRBY h g 2", "ZINCRBY z 3 m"];

fn command(words: &str) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    command.arg(words.split(' ').collect::<Vec<_>>());
    command
}

/// Counts until told to stop; answers how many rounds.
fn hammer(server: &RedisServer, stop: &Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    let (mut client, stop) = (server.client(), Arc::clone(stop));
    thread::spawn(move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            for words in COUNTING {
                command(words).exec(&mut client).unwrap();
            }
            rounds += 1;
        }
        rounds
    })
}

fn number(server: &RedisServer, words: &str) -> u64 {
    let mut client = server.client();
    command(words).query(&mut client).unwrap()
}

#[test]
fn what_clients_count_without_pause_gets_through_and_ends_at_the_exact_sum() {
    let site = Site::counting_all(2);
    for words in ["SET n 1000", "HSET h f 1000 g 1000", "ZADD z 1000 m"] {
        site.cmd(0, words);
    }
    site.repair();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = site.servers.iter().map(|one| hammer(one, &stop)).collect();
    let runs: Vec<_> = (0..3)
        .map(|_| site.with("repair").args(["--format", "json"]).run())
        .collect();
    stop.store(true, Ordering::Relaxed);
    let rounds: u64 = clients.into_iter().map(|one| one.join().unwrap()).sum();
    for run in runs {
        run.assert_code(0);
        let told = json(&run);
        let repaired = told["findings"].as_array().unwrap().iter();
        let verdicts: BTreeMap<String, String> = repaired
            .map(|key| (key["key"]["text"].to_string(), key["verdict"].to_string()))
            .collect();
        let all: BTreeMap<String, String> = ["h", "n", "z"]
            .map(|key| (format!("\"{key}\""), "\"repaired\"".to_owned()))
            .into();
        assert_eq!(verdicts, all, "{run}");
    }
    site.repair();
    for server in &site.servers {
        assert_eq!(number(server, "GET n"), 1000 + rounds);
        assert_eq!(number(server, "HGET h f"), 1000 + rounds);
        assert_eq!(number(server, "HGET h g"), 1000 + 2 * rounds);
        assert_eq!(number(server, "ZSCORE z m"), 1000 + 3 * rounds);
    }
}

const PASSWORD: &str = "secret";

/// A configuration of two servers and a user, in which one keyspace counts, or none.
fn configured(site: &Site, counts: bool) -> std::path::PathBuf {
    let mut text = String::from("replicas:\n");
    for (number, server) in site.servers.iter().enumerate() {
        let address = format!("repairer:{PASSWORD}@127.0.0.1:{}", server.port());
        text += &format!("  - {{ name: r{number}, url: \"redis://{address}\" }}\n");
    }
    let rules = match counts {
        true => "{ string: counter, hash: counter, zset: counter }",
        false => "{}",
    };
    text += &format!(
        "keyspaces: [{{ name: counts, match: \"c:*\", rules: {rules} }}, {{ name: rest }}]\n"
    );
    text += "guards: { settle: 10ms }\nstate: { dir: state }\n";
    let path = site.dir.path().join(format!("{counts}.yaml"));
    std::fs::write(&path, text).unwrap();
    path
}

fn give(site: &Site, rule: &str) {
    for server in &site.servers {
        let line = format!("ACL SETUSER repairer reset on >{PASSWORD} {rule}");
        server.cmd(line.split(' '));
        server.cmd(["ACL", "LOG", "RESET"]);
    }
}

fn as_user(command: &str, config: &std::path::Path, more: &[&str]) -> Outcome {
    Reknit::new([command])
        .args(["-c".as_ref(), config.as_os_str()])
        .args(more)
        .run()
}

fn printed_rule(config: &std::path::Path) -> String {
    let checked = as_user("check", config, &["--format", "json"]);
    json(&checked)["replicas"][0]["acl_rule"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn scripts_are_asked_for_where_a_keyspace_counts_and_nowhere_else() {
    let site = Site::new(2);
    give(&site, "~* +@all");
    let (counting, plain) = (configured(&site, true), configured(&site, false));
    let (with, without) = (printed_rule(&counting), printed_rule(&plain));
    assert_eq!(with, format!("{without} +eval"));
    give(&site, &without);
    as_user("check", &plain, &[]).assert_code(0);
    as_user("repair", &plain, &[]).assert_code(0);
    for command in ["check", "repair"] {
        let refused = as_user(command, &counting, &[]);
        refused.assert_code(2);
        assert_says(
            &refused,
            &["repair of counters", "give it: ACL SETUSER repairer +eval"],
        );
    }
    as_user("diff", &counting, &[]).assert_code(0);
    as_user("repair", &counting, &["--keyspace", "rest"]).assert_code(0);
    give(&site, &with);
    as_user("check", &counting, &[]).assert_code(0);
    for words in ["SET c:n 1", "HSET c:h f 1", "ZADD c:z 1 m"] {
        site.cmd(0, words);
    }
    as_user("repair", &counting, &[]).assert_code(0);
    for server in 0..2 {
        for words in [
            "INCR c:n",
            "HINCRBY c:h f 1",
            "HSET c:h new 5",
            "ZINCRBY c:z 1 m",
        ] {
            site.cmd(server, words);
        }
    }
    as_user("repair", &counting, &[]).assert_code(0);
    site.assert_all("GET c:n", &text("3"));
    site.assert_all("HGET c:h f", &text("3"));
    site.assert_all("ZSCORE c:z m", &text("3"));
    for server in &site.servers {
        assert_eq!(server.cmd(["ACL", "LOG"]), redis::Value::Array(Vec::new()));
    }
}
