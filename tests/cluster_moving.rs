//! A slot of a real cluster that stays on its way for a whole run, with keys at both of its ends.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{FromRedisValue, Value};

use support::cluster::Cluster;
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

/// The tag of the slot.
const TAG: &str = "{7}";

/// A single server and a cluster whose slot of [`TAG`] is on its way, and stays so.
struct Halfway {
    single: RedisServer,
    cluster: Cluster,
    slot: u16,
    ends: (usize, usize),
    state: tempfile::TempDir,
}

/// Keys at the end where the slot comes from, and where it goes to.
const KEYS: [&str; 2] = ["stays", "went"];

impl Halfway {
    /// What is filled is on both sides; then one half of it is moved.
    fn start(fill: impl Fn(&dyn Fn(&[&str]), &str)) -> Self {
        let (single, cluster) = (RedisServer::start(), Cluster::without_replicas(3));
        let slot = cluster.nodes[0].cmd(["CLUSTER", "KEYSLOT", "7"]);
        let slot = u16::try_from(i64::from_redis_value(slot).unwrap()).unwrap();
        let from = usize::from(slot) / 5461;
        let ends = (from, (from + 1) % 3);
        let both = |words: &[&str]| {
            single.cmd(words);
            cluster.cmd(words);
        };
        // What is there first is moved: the other half comes later.
        cluster.begin_move(ends.0, ends.1, slot);
        let source = &cluster.nodes[ends.0];
        source.cmd(["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
        fill(&both, KEYS[1]);
        cluster.begin_move(ends.0, ends.1, slot);
        cluster.move_keys(ends.0, ends.1, slot, usize::MAX);
        source.cmd(["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
        fill(&both, KEYS[0]);
        cluster.begin_move(ends.0, ends.1, slot);
        let listed = |node: usize| -> BTreeSet<String> {
            let words = ["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "1000"];
            Vec::from_redis_value(cluster.nodes[node].cmd(words))
                .unwrap()
                .into_iter()
                .collect()
        };
        let is_of = |name: &'static str| move |key: &String| key.contains(name);
        assert!(listed(ends.0).iter().all(is_of("stays")) && !listed(ends.0).is_empty());
        assert!(listed(ends.1).iter().all(is_of("went")) && !listed(ends.1).is_empty());
        Self {
            single,
            cluster,
            slot,
            ends,
            state: tempfile::tempdir().unwrap(),
        }
    }

    fn over(&self, command: &str) -> Reknit {
        let us = format!("us={}", self.single.url());
        let eu = format!("eu={}", self.cluster.url());
        let settle = ["--settle", "10ms"];
        Reknit::new([command, "--replica", &us, "--replica", &eu]).args(settle)
    }

    fn remembering(&self, command: &str) -> Reknit {
        self.over(command)
            .arg_pair("--state-dir", self.state.path())
    }

    /// The rest of the slot arrives.
    fn arrive(&self) {
        self.cluster
            .move_keys(self.ends.0, self.ends.1, self.slot, usize::MAX);
        self.cluster.end_move(self.ends.0, self.ends.1, self.slot);
    }
}

fn big(of: &str) -> String {
    format!("{TAG}:{of}:set")
}

/// Large values of each way of reading: by elements, by portions, and by DUMP.
fn large(both: &dyn Fn(&[&str]), name: &str) {
    let names: Vec<String> = (0..6000).map(|number| format!("m{number}")).collect();
    for some in names.chunks(1000) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        both(&[&["SADD", big(name).as_str()][..], &some].concat());
        both(&[&["RPUSH", &format!("{TAG}:{name}:list")][..], &some].concat());
    }
    let text = "x".repeat(3 << 20);
    both(&["SET", &format!("{TAG}:{name}:text"), &text]);
}

#[track_caller]
fn assert_told(outcome: &Outcome, names: &[String]) {
    let told = |name: &&String| outcome.stdout.contains(name.as_str());
    let missing: Vec<&String> = names.iter().filter(|name| !told(name)).collect();
    assert!(missing.is_empty(), "{missing:?} {outcome}");
}

#[test]
fn large_values_are_read_at_the_end_where_they_are() {
    let halfway = Halfway::start(large);
    halfway.over("diff").run().assert_code(0);
    let single = &halfway.single;
    for name in KEYS {
        single.cmd(["SREM", &big(name), "m17", "m5000"]);
        single.cmd([
            "DEL",
            &format!("{TAG}:{name}:list"),
            &format!("{TAG}:{name}:text"),
        ]);
    }
    single.cmd(["SET", "elsewhere", "v"]);
    let diff = halfway.over("diff").run();
    diff.assert_code(1);
    assert_told(&diff, &KEYS.map(big));
    let repair = halfway.over("repair").run();
    repair.assert_code(0);
    for name in KEYS {
        assert_eq!(single.cmd(["SCARD", &big(name)]), Value::Int(6000));
        assert_eq!(
            single.cmd(["LLEN", &format!("{TAG}:{name}:list")]),
            Value::Int(6000)
        );
        let length = single.cmd(["STRLEN", &format!("{TAG}:{name}:text")]);
        assert_eq!(length, Value::Int(3 << 20));
    }
    let written = halfway.cluster.cmd(&["GET", "elsewhere"]);
    assert_eq!(written, Value::BulkString(b"v".to_vec()));
    halfway.over("diff").run().assert_code(0);
    halfway.arrive();
    halfway.over("diff").run().assert_code(0);
}

#[test]
fn what_cannot_be_written_on_its_way_waits_and_the_rest_of_the_run_goes_on() {
    let halfway = Halfway::start(|both, name| {
        both(&["SET", &format!("{TAG}:{name}:text"), "old"]);
        both(&["XADD", &format!("{TAG}:{name}:stream"), "1-1", "f", "v"]);
        both(&[
            "XGROUP",
            "CREATE",
            &format!("{TAG}:{name}:stream"),
            "g",
            "0",
        ]);
        let members: Vec<String> = (0..5000).map(|number| format!("m{number}")).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        both(&[&["SADD", big(name).as_str()][..], &members].concat());
    });
    halfway.remembering("repair").run().assert_code(0);
    let single = &halfway.single;
    for name in KEYS {
        single.cmd(["SET", &format!("{TAG}:{name}:text"), "new"]);
        single.cmd(["DEL", &format!("{TAG}:{name}:stream")]);
        single.cmd(["SREM", &big(name), "m17"]);
        single.cmd(["SADD", &big(name), "more"]);
    }
    single.cmd(["SET", "elsewhere", "v"]);
    let repair = halfway.remembering("repair").run();
    assert!(matches!(repair.code(), Some(0 | 1 | 3)), "{repair}");
    let at = |words: &[&str]| halfway.cluster.cmd(words);
    assert_eq!(
        at(&["GET", "elsewhere"]),
        Value::BulkString(b"v".to_vec()),
        "{repair}"
    );
    halfway.arrive();
    halfway.remembering("repair").run().assert_code(0);
    for name in KEYS {
        let text = at(&["GET", &format!("{TAG}:{name}:text")]);
        assert_eq!(text, Value::BulkString(b"new".to_vec()));
        assert_eq!(
            at(&["EXISTS", &format!("{TAG}:{name}:stream")]),
            Value::Int(0)
        );
        assert_eq!(at(&["SISMEMBER", &big(name), "m17"]), Value::Int(0));
        assert_eq!(at(&["SCARD", &big(name)]), Value::Int(5000));
    }
    halfway.remembering("diff").run().assert_code(0);
}

#[test]
fn a_resharding_that_goes_on_through_all_of_a_run_does_not_end_it() {
    let (single, cluster) = (RedisServer::start(), Cluster::without_replicas(3));
    for number in 0..600 {
        let key = format!("key:{number}");
        single.cmd(["SET", &key, "v"]);
        if number % 3 > 0 {
            cluster.cmd(&["SET", &key, "v"]);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| {
            let mut moved = 0;
            for slot in (0..5000).take_while(|_| !done.load(Ordering::Relaxed)) {
                cluster.move_slots(0, 1, slot..slot + 1);
                moved += 1;
            }
            moved
        });
        let state = tempfile::tempdir().unwrap();
        let run = |subcommand: &str| {
            let (single, cluster) = (single.url(), cluster.url());
            let config = format!("state: {{ dir: {}/state }}\n", state.path().display());
            let file = state.path().join("reknit.yaml");
            let replicas = format!(
                "replicas:\n  - {{ name: one, url: \"{single}\" }}\n  - {{ name: clu, url: \"{cluster}\" }}\n"
            );
            std::fs::write(&file, replicas + &config).unwrap();
            Reknit::new([subcommand]).arg_pair("-c", &file).run()
        };
        for subcommand in ["diff", "repair", "diff", "diff"] {
            let outcome = run(subcommand);
            assert!(matches!(outcome.code(), Some(0 | 1)), "{outcome}");
        }
        done.store(true, Ordering::Relaxed);
        assert!(moving.join().unwrap() > 16, "slots moved all the time");
        run("repair").assert_code(0);
        run("diff").assert_code(0);
    });
}
