//! What runs remember of racks of several nodes: deletes and counters without stamps, nodes that lost writes, nodes
//! that were emptied, steps that only some nodes took.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use redis::Value;

use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

/// Two racks of two nodes, with a memory.
struct Ground {
    nodes: Vec<RedisServer>,
    dir: tempfile::TempDir,
}

/// By their tokens, these keys are at the first node of a rack.
const LOW: [&str; 2] = ["foo", "key:1"];
/// And these at the second.
const HIGH: [&str; 2] = ["user1", "bar"];

impl Ground {
    fn new() -> Self {
        let ground = Self {
            nodes: (0..4).map(|_| RedisServer::start()).collect(),
            dir: tempfile::tempdir().unwrap(),
        };
        let rack = |name: &str, nodes: &[RedisServer]| {
            let node = |(token, node): (u32, &RedisServer)| {
                format!(
                    "      - {{ url: \"{}\", tokens: \"{token}\" }}\n",
                    node.url()
                )
            };
            let nodes: String = [100, 2_147_483_747]
                .into_iter()
                .zip(nodes)
                .map(node)
                .collect();
            format!("  - name: {name}\n    layout: dynomite\n    nodes:\n{nodes}")
        };
        let racks = [
            rack("one", &ground.nodes[..2]),
            rack("two", &ground.nodes[2..]),
        ]
        .concat();
        let state = ground.dir.path().join("state");
        let text = format!(
            "replicas:\n{racks}guards: {{ settle: 10ms }}\nstate: {{ dir: {} }}\nkeyspaces:\n  - {{ name: all, rules: {{ string: counter }} }}\n",
            state.display()
        );
        std::fs::write(ground.config(), text).unwrap();
        ground
    }

    fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("reknit.yaml")
    }

    fn reknit(&self, command: &str) -> Reknit {
        Reknit::new([command])
            .arg_pair("-c", &self.config())
            .env("REKNIT_LOG", "info")
    }

    fn repair(&self) -> Outcome {
        let outcome = self.reknit("repair").run();
        outcome.assert_code(0);
        outcome
    }

    /// One command at the node of a rack that owns its key.
    fn at(&self, rack: usize, command: &str) -> Value {
        let key = command.split(' ').nth(1).unwrap();
        let node = 2 * rack + usize::from(HIGH.contains(&key));
        self.nodes[node].cmd(command.split(' '))
    }

    /// How many elements each rack has in a list.
    fn lengths(&self, key: &str) -> [i64; 2] {
        [0, 1].map(|rack| match self.at(rack, &format!("LLEN {key}")) {
            Value::Int(length) => length,
            other => panic!("{other:?}"),
        })
    }

    fn texts(&self, key: &str) -> [Value; 2] {
        [0, 1].map(|rack| self.at(rack, &format!("GET {key}")))
    }
}

fn text(value: &str) -> Value {
    Value::BulkString(value.into())
}

#[test]
fn what_has_no_stamps_is_remembered_at_every_node() {
    let ground = Ground::new();
    for key in [LOW[0], HIGH[0]] {
        ground.at(0, &format!("RPUSH {key} a b"));
    }
    for key in [LOW[1], HIGH[1]] {
        ground.at(1, &format!("INCRBY {key} 10"));
    }
    ground.repair();
    for (rack, key) in [LOW[0], HIGH[0]].into_iter().enumerate() {
        assert_eq!(ground.lengths(key), [2, 2]);
        ground.at(rack, &format!("DEL {key}"));
    }
    for key in [LOW[1], HIGH[1]] {
        ground.at(0, &format!("INCRBY {key} 5"));
        ground.at(1, &format!("INCRBY {key} 2"));
    }
    ground.repair();
    for key in [LOW[0], HIGH[0]] {
        assert_eq!(ground.lengths(key), [0, 0], "{key} stays deleted");
    }
    for key in [LOW[1], HIGH[1]] {
        assert_eq!(
            ground.texts(key),
            [text("17"), text("17")],
            "{key} is the sum"
        );
    }
    ground.reknit("diff").run().assert_code(0);
    ground.reknit("check").run().assert_code(0);
}

#[test]
fn a_node_that_lost_its_last_writes_has_deleted_nothing() {
    let mut ground = Ground::new();
    ground.at(0, &format!("RPUSH {} a", HIGH[0]));
    ground.repair();
    ground.nodes[3].cmd(["SAVE"]);
    ground.at(0, &format!("RPUSH {} a", HIGH[1]));
    ground.repair();
    assert_eq!(ground.lengths(HIGH[1]), [1, 1]);
    ground.nodes[3].restart();
    assert_eq!(ground.lengths(HIGH[1]), [1, 0]);
    // At the other node of that rack a delete is one.
    ground.at(1, &format!("DEL {}", HIGH[0]));
    let outcome = ground.repair();
    assert_eq!(ground.lengths(HIGH[1]), [1, 1], "{outcome}");
    assert_eq!(ground.lengths(HIGH[0]), [0, 0], "{outcome}");
    assert!(
        outcome.stdout.contains("was rolled back to step"),
        "{outcome}"
    );
}

#[test]
fn a_node_that_was_emptied_makes_its_rack_a_newcomer() {
    let ground = Ground::new();
    for key in [LOW[0], HIGH[0]] {
        ground.at(0, &format!("RPUSH {key} a"));
    }
    ground.repair();
    ground.nodes[2].cmd(["FLUSHALL"]);
    let outcome = ground.repair();
    assert_eq!(ground.lengths(LOW[0]), [1, 1], "{outcome}");
    assert_eq!(ground.lengths(HIGH[0]), [1, 1]);
    assert!(outcome.stdout.contains("FORGOT"), "{outcome}");
    // From then on it is one as any other.
    ground.at(1, &format!("DEL {}", LOW[0]));
    ground.repair();
    assert_eq!(ground.lengths(LOW[0]), [0, 0]);
}

#[test]
fn a_step_that_one_node_refused_counts_nothing_twice() {
    let ground = Ground::new();
    for key in [LOW[0], HIGH[0]] {
        ground.at(0, &format!("SET {key} 1"));
    }
    ground.repair();
    for key in [LOW[0], HIGH[0]] {
        ground.at(0, &format!("INCRBY {key} 5"));
        ground.at(1, &format!("INCRBY {key} 2"));
    }
    // What is written at the first node of the rack stays written.
    ground.nodes[3].cmd(["CONFIG", "SET", "maxmemory", "1"]);
    ground.reknit("repair").run();
    ground.nodes[3].cmd(["CONFIG", "SET", "maxmemory", "0"]);
    ground.repair();
    for key in [LOW[0], HIGH[0]] {
        assert_eq!(ground.texts(key), [text("8"), text("8")], "{key}");
    }
}
