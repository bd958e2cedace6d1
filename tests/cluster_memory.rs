//! What runs remember of a cluster: deletes, masters that lost writes, slots that moved, runs that died.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::path::Path;

use redis::Value;

use support::cluster::{Cluster, wait};
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

/// A single server, a cluster of three masters, and what is remembered of both.
struct Ground {
    single: RedisServer,
    cluster: Cluster,
    state: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        Self {
            single: RedisServer::start(),
            cluster: Cluster::without_replicas(3),
            state: tempfile::tempdir().unwrap(),
        }
    }

    fn over(&self, command: &str) -> Reknit {
        let dir = |path: &Path| path.display().to_string();
        let replicas = [
            format!("us={}", self.single.url()),
            format!("eu={}", self.cluster.url()),
        ];
        let [us, eu] = &replicas;
        Reknit::new([command, "--replica", us, "--replica", eu])
            .args(["--state-dir", &dir(self.state.path())])
            .env("REKNIT_LOG", "info")
    }

    fn repair(&self) -> Outcome {
        self.over("repair").run()
    }

    /// Sets keys in many slots at both, and has them agreed.
    fn agree(&self) {
        for number in 0..60 {
            let key = format!("key:{number}");
            self.single.cmd(["SET", &key, "v"]);
            if number % 2 == 0 {
                self.cluster.cmd(&["SET", &key, "v"]);
            }
        }
        self.repair().assert_code(0);
    }

    fn has(&self, key: &str) -> [bool; 2] {
        let is_there = |value: Value| value == Value::Int(1);
        [
            is_there(self.single.cmd(["EXISTS", key])),
            is_there(self.cluster.cmd(&["EXISTS", key])),
        ]
    }
}

/// A key whose slot a master held at the beginning.
fn key_at(master: u16, name: &str) -> String {
    let tags = [(0, "{3}"), (1, "{2}"), (2, "{0}")];
    let tag = tags.iter().find(|(one, _)| *one == master).unwrap().1;
    format!("{tag}{name}")
}

#[test]
fn what_was_deleted_at_either_stays_deleted_also_after_slots_moved() {
    let ground = Ground::new();
    ground.agree();
    ground.single.cmd(["DEL", "key:1"]);
    ground.cluster.cmd(&["DEL", "key:2"]);
    ground.repair().assert_code(0);
    assert_eq!([ground.has("key:1"), ground.has("key:2")], [[false; 2]; 2]);
    // The first slots, and with them a marker that proves the first master, are another's from now on.
    ground.cluster.move_slots(0, 1, 0..40);
    ground.single.cmd(["DEL", "key:3"]);
    ground.cluster.cmd(&["DEL", "key:4"]);
    let outcome = ground.repair();
    outcome.assert_code(0);
    assert_eq!(
        [ground.has("key:3"), ground.has("key:4")],
        [[false; 2]; 2],
        "{outcome}"
    );
    ground.over("check").run().assert_code(0);
    ground.cluster.cmd(&["DEL", "key:6"]);
    ground.repair().assert_code(0);
    assert_eq!(ground.has("key:6"), [false; 2]);
}

#[test]
fn a_master_that_lost_its_last_writes_has_deleted_nothing() {
    let mut ground = Ground::new();
    let (early, late) = (key_at(0, "early"), key_at(0, "late"));
    ground.single.cmd(["SET", &early, "v"]);
    ground.agree();
    ground.cluster.nodes[0].cmd(["SAVE"]);
    ground.single.cmd(["SET", &late, "v"]);
    ground.repair().assert_code(0);
    assert_eq!(ground.has(&late), [true; 2]);
    ground.cluster.nodes[0].restart();
    ground.cluster.await_whole();
    assert_eq!(ground.has(&late), [true, false]);
    ground
        .cluster
        .cmd(&["DEL", &key_at(1, "other"), &key_at(1, "more")]);
    let outcome = ground.repair();
    outcome.assert_code(0);
    assert_eq!(ground.has(&late), [true; 2], "{outcome}");
    assert!(
        outcome.stdout.contains("was rolled back to step"),
        "{outcome}"
    );
    // It is trusted again from here on.
    ground.cluster.cmd(&["DEL", &early]);
    ground.repair().assert_code(0);
    assert_eq!(ground.has(&early), [false; 2]);
}

#[test]
fn a_master_that_was_emptied_stops_the_run_until_the_cluster_is_taken_over() {
    let mut ground = Ground::new();
    ground.agree();
    ground.cluster.nodes[1].restart();
    ground.cluster.await_whole();
    let outcome = ground.repair();
    let words = "a master of the cluster was emptied";
    assert!(outcome.assert_code(2).stderr.contains(words), "{outcome}");
    assert_eq!(ground.single.cmd(["DBSIZE"]), Value::Int(62));
    let adopted = ground.over("repair").args(["--adopt"]).run();
    adopted.assert_code(0);
    assert_eq!(ground.cluster.strings().len(), 60);
}

#[test]
fn a_run_that_was_killed_is_taken_up_and_nothing_is_written_twice() {
    let ground = Ground::new();
    for number in 0..2000 {
        let key = format!("count:{}", number % 400);
        ground.single.cmd(["SADD", &key, &number.to_string()]);
    }
    let running = ground
        .over("repair")
        .args(["--keys-per-second", "400"])
        .spawn();
    wait("it has begun to write", || {
        ground.cluster.strings_len() > 40
    });
    running.signal("KILL");
    running.finish();
    ground.repair().assert_code(0);
    ground.over("diff").run().assert_code(0);
    ground.cluster.cmd(&["DEL", "count:7"]);
    ground.repair().assert_code(0);
    assert_eq!(ground.has("count:7"), [false; 2]);
}

#[test]
fn slots_that_move_while_a_run_writes_leave_its_proofs_whole() {
    let ground = Ground::new();
    ground.agree();
    for number in 0..1500 {
        ground.single.cmd(["SET", &format!("more:{number}"), "v"]);
    }
    let running = ground
        .over("repair")
        .args(["--keys-per-second", "800"])
        .spawn();
    wait("it has begun to write", || {
        ground.cluster.strings_len() > 200
    });
    ground.cluster.move_slots(0, 1, 0..60);
    let outcome = running.finish();
    assert!(matches!(outcome.code(), Some(0 | 1)), "{outcome}");
    ground.repair().assert_code(0);
    ground.cluster.cmd(&["DEL", "more:7"]);
    ground.single.cmd(["DEL", "more:8"]);
    let outcome = ground.repair();
    outcome.assert_code(0);
    assert!(!outcome.stdout.contains("FORGOT"), "{outcome}");
    assert_eq!(
        [ground.has("more:7"), ground.has("more:8")],
        [[false; 2]; 2]
    );
    ground
        .over("clean")
        .args(["--markers"])
        .run()
        .assert_code(0);
    assert_eq!(ground.cluster.strings_len(), 60 + 1500 - 2);
}
