//! Redis Clusters of real servers: against a single server, while slots move and masters die.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use support::cluster::{Cluster, wait};
use support::reknit::Reknit;
use support::server::RedisServer;

/// `reknit COMMAND` over a single server and a cluster.
fn over(command: &str, single: &RedisServer, cluster: &Cluster) -> Reknit {
    let replicas = [
        format!("us={}", single.url()),
        format!("eu={}", cluster.url()),
    ];
    let [us, eu] = &replicas;
    Reknit::new([command, "--replica", us, "--replica", eu])
}

fn strings(server: &RedisServer) -> BTreeMap<String, String> {
    let mut client = server.client();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client).unwrap();
    let value = |key: String| {
        let value: String = redis::cmd("GET").arg(&key).query(&mut client).unwrap();
        (key, value)
    };
    keys.into_iter().map(value).collect()
}

/// Keys that only one side has, on each of the sides, and some that differ.
fn diverge(single: &RedisServer, cluster: &Cluster, keys: usize) {
    let mut client = single.client();
    for number in 0..keys {
        let key = format!("key:{number}");
        if number % 3 != 0 {
            redis::cmd("SET")
                .arg(&key)
                .arg("us")
                .exec(&mut client)
                .unwrap();
        }
        if number % 3 != 1 {
            let value = if number % 30 == 2 { "eu" } else { "us" };
            cluster.cmd(&["SET", &key, value]);
        }
    }
}

#[test]
fn a_cluster_and_a_single_server_are_made_equal() {
    let (single, cluster) = (RedisServer::start(), Cluster::start(3));
    diverge(&single, &cluster, 120);
    cluster.cmd(&["SADD", "{tag}set", "a", "b"]);
    single.cmd(["SADD", "{tag}set", "b", "c"]);
    // A value that is built aside, in the slot of its key.
    let big: Vec<String> = (0..6000).map(|number| format!("member:{number}")).collect();
    for part in big.chunks(1000) {
        let words = ["SADD", "a{big}one"]
            .into_iter()
            .chain(part.iter().map(String::as_str));
        single.cmd(words);
    }
    over("diff", &single, &cluster).run().assert_code(1);
    over("repair", &single, &cluster).run().assert_code(0);
    over("diff", &single, &cluster).run().assert_code(0);
    let count = |value: redis::Value| redis::from_redis_value::<i64>(value).unwrap();
    assert_eq!(count(cluster.cmd(&["SCARD", "{tag}set"])), 3);
    assert_eq!(count(cluster.cmd(&["SCARD", "a{big}one"])), 6000);
    single.cmd(["DEL", "{tag}set", "a{big}one"]);
    cluster.cmd(&["DEL", "{tag}set"]);
    cluster.cmd(&["DEL", "a{big}one"]);
    assert_eq!(cluster.strings(), strings(&single));
    assert_eq!(strings(&single).len(), 120);
}

#[test]
fn a_slot_that_is_on_its_way_is_read_at_both_ends() {
    let (single, cluster) = (RedisServer::start(), Cluster::without_replicas(2));
    for number in 0..20 {
        let key = format!("{{7}}:{number}");
        single.cmd(["SET", &key, "v"]);
        cluster.cmd(&["SET", &key, "v"]);
    }
    let slot: i64 =
        redis::from_redis_value(cluster.nodes[0].cmd(["CLUSTER", "KEYSLOT", "7"])).unwrap();
    let slot = u16::try_from(slot).unwrap();
    let (from, to) = if slot < 8192 { (0, 1) } else { (1, 0) };
    cluster.begin_move(from, to, slot);
    cluster.move_keys(from, to, slot, 10);
    over("diff", &single, &cluster).run().assert_code(0);
    single.cmd(["DEL", "{7}:3"]);
    let outcome = over("diff", &single, &cluster).run();
    assert!(outcome.assert_code(1).stdout.contains("{7}:3"), "{outcome}");
    cluster.move_keys(from, to, slot, usize::MAX);
    cluster.end_move(from, to, slot);
    over("repair", &single, &cluster).run().assert_code(0);
    assert_eq!(cluster.strings(), strings(&single));
}

#[test]
fn check_shows_masters_slots_and_replicas_and_its_rule_suffices() {
    let (single, cluster) = (RedisServer::start(), Cluster::start(3));
    diverge(&single, &cluster, 30);
    let outcome = over("check", &single, &cluster).run();
    let out = &outcome.assert_code(0).stdout;
    let (first, follower) = (cluster.nodes[0].port(), cluster.nodes[3].port());
    let line = format!("master 127.0.0.1:{first}: slots 0-5460, replicas 127.0.0.1:{follower}");
    assert!(out.contains(&line), "{outcome}");
    let rule = out.lines().find(|line| line.contains("+asking")).unwrap();
    for node in &cluster.nodes {
        let words = ["ACL", "SETUSER", "reknit", "on", ">secret"].into_iter();
        node.cmd(words.chain(rule.split_ascii_whitespace()));
    }
    let url = cluster.url().replace("://", "://reknit:secret@");
    let replicas = [format!("us={}", single.url()), format!("eu={url}")];
    let [us, eu] = &replicas;
    Reknit::new(["repair", "--replica", us, "--replica", eu])
        .run()
        .assert_code(0);
    assert_eq!(cluster.strings(), strings(&single));
}

#[test]
fn slots_that_nobody_holds_are_named_and_nothing_is_written() {
    let (single, other) = (RedisServer::start(), RedisServer::start());
    let mut cluster = Cluster::without_replicas(3);
    single.cmd(["SET", "a", "1"]);
    cluster.nodes[1].kill();
    wait("the others notice", || {
        let info = cluster.nodes[0].cmd(["CLUSTER", "NODES"]);
        let text: String = redis::from_redis_value(info).unwrap();
        text.contains("master,fail ")
    });
    let outcome = over("repair", &single, &cluster).run();
    assert!(
        outcome
            .assert_code(2)
            .stderr
            .contains("slots 5461-10921 are held by no master"),
        "{outcome}"
    );
    let third = format!("ap={}", other.url());
    over("repair", &single, &cluster)
        .args(["--replica", &third])
        .run()
        .assert_code(3);
    assert!(cluster.nodes[0].cmd(["DBSIZE"]) == redis::Value::Int(0));
}

#[test]
fn a_repair_outlives_resharding_and_a_failover_while_clients_write() {
    let (single, mut cluster) = (RedisServer::start(), Cluster::start(3));
    diverge(&single, &cluster, 3000);
    let running = over("repair", &single, &cluster)
        .args(["--keys-per-second", "1500"])
        .spawn();
    let done = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                single.cmd(["SET", &format!("client:{}", number % 50), "both"]);
                number += 1;
            }
            number
        });
        cluster.move_slots(0, 1, 0..150);
        done.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(written > 0);
    cluster.nodes[2].kill();
    cluster.await_whole();
    let outcome = running.finish();
    assert!(matches!(outcome.code(), Some(0 | 1)), "{outcome}");
    over("repair", &single, &cluster).run().assert_code(0);
    over("diff", &single, &cluster).run().assert_code(0);
    assert_eq!(cluster.strings(), strings(&single));
}
