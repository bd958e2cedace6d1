//! The Redis backends of a real three-rack Dynomite cluster, made equal by union.
//!
//! Dynomite's own stamps are data like any other here: what they say about removals is not asked yet, so a removal
//! that one rack missed comes back, and nothing that any rack held is lost.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::judge::{assert_equal, names, query};
use support::reknit::Reknit;
use support::server::RedisServer;

const SETTLE: [&str; 2] = ["--settle", "10ms"];

fn load(set: &str, nodes: &[u8]) -> Vec<RedisServer> {
    let network = if set.starts_with("exp1") { 10 } else { 20 };
    let start = |&node| {
        let name = format!("tests/fixtures/dynomite/{set}-127.0.{network}.{node}.rdb");
        RedisServer::with_rdb(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
    };
    nodes.iter().map(start).collect()
}

/// Repairs the servers in this order and returns any of them: they are equal.
fn united(servers: Vec<RedisServer>) -> RedisServer {
    let all: Vec<&RedisServer> = servers.iter().collect();
    let before: BTreeSet<Vec<u8>> = all
        .iter()
        .flat_map(|server| names(&mut server.client()))
        .collect();
    Reknit::over("diff", &all).args(SETTLE).run().assert_code(1);
    Reknit::over("repair", &all)
        .args(SETTLE)
        .run()
        .assert_code(0);
    Reknit::over("diff", &all).args(SETTLE).run().assert_code(0);
    assert_equal(&all);
    assert_eq!(names(&mut all[0].client()), before, "the union of all keys");
    servers.into_iter().next_back().expect("there are servers")
}

fn strings(server: &RedisServer, command: &[&str]) -> BTreeSet<String> {
    let command: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
    query(&mut server.client(), &command)
}

fn set<const N: usize>(members: [&str; N]) -> BTreeSet<String> {
    members.map(str::to_owned).into()
}

#[test]
fn an_emptied_rack_is_filled_from_the_others() {
    for nodes in [&[1, 2, 3][..], &[2, 1, 3], &[1, 2, 3, 4], &[2, 4, 3, 1]] {
        let whole = load("exp2-3-diverged", &[1]).remove(0);
        let repaired = united(load("exp2-3-diverged", nodes));
        assert_equal(&[&whole, &repaired]);
    }
}

#[test]
fn a_rack_with_old_data_and_the_others_become_their_union() {
    for nodes in [&[1, 2, 3][..], &[2, 3, 1], &[1, 2, 3, 4], &[4, 3, 2, 1]] {
        let repaired = united(load("exp3-1-diverged", nodes));
        assert_eq!(strings(&repaired, &["SMEMBERS", "s"]), set(["a", "c"]));
        assert_eq!(strings(&repaired, &["HKEYS", "h"]), set(["f1", "f2", "f3"]));
        assert_eq!(strings(&repaired, &["ZRANGE", "z", "0", "-1"]), set(["a"]));
        let stamped = strings(&repaired, &["ZRANGE", "._add-set", "0", "-1"]);
        assert_eq!(stamped, set(["gone", "h", "k1", "knew", "s", "z"]));
        assert_eq!(
            strings(&repaired, &["MGET", "gone", "knew"]),
            set(["fresh", "v1"])
        );
    }
}

#[test]
fn where_racks_differ_in_a_register_the_first_is_preferred() {
    let new_first = united(load("exp3-1-diverged", &[1, 2, 3]));
    assert_eq!(strings(&new_first, &["MGET", "k1"]), set(["v2"]));
    assert_eq!(
        strings(&new_first, &["HMGET", "h", "f1", "f2"]),
        set(["v1", "v2"])
    );
    let old_first = united(load("exp3-1-diverged", &[2, 1, 3]));
    assert_eq!(strings(&old_first, &["MGET", "k1"]), set(["v1"]));
}

#[test]
fn racks_in_sync_are_left_alone() {
    let servers = load("exp1-1-written", &[1, 2]);
    let all: Vec<&RedisServer> = servers.iter().collect();
    Reknit::over("diff", &all).args(SETTLE).run().assert_code(0);
    Reknit::over("repair", &all)
        .args(SETTLE)
        .run()
        .assert_code(0);
    assert_equal(&all);
}
