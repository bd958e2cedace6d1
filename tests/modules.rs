//! Values of a module: compared, explained and repaired as a whole, and refused where the peer lacks the module.
//!
//! The module is the tests' own, built from `support/module/tally.c` by the compiler that links Rust programs.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use redis::Value;
use support::reknit::Reknit;
use support::server::RedisServer;

fn build(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/module/tally.c");
    let library = dir.join("tally.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    library
}

fn with_module(library: &Path) -> RedisServer {
    RedisServer::builder()
        .line(&format!("loadmodule {}", library.display()))
        .start()
}

fn over(command: &str, servers: &[&RedisServer; 2]) -> Reknit {
    Reknit::over(command, servers)
}

#[test]
fn module_values_are_registers_that_are_copied_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let library = build(dir.path());
    let servers = [with_module(&library), with_module(&library)];
    let [one, other] = &servers;
    for (server, key, number) in [
        (one, "same", "1"),
        (other, "same", "1"),
        (one, "differs", "5"),
        (other, "differs", "7"),
        (one, "missing", "9"),
    ] {
        server.cmd(["TALLY.SET", key, number]);
    }
    one.cmd(["PEXPIREAT", "missing", "4102444800000"]);
    let both = [one, other];
    let outcome = over("diff", &both).args(["--settle", "10ms"]).run();
    outcome.assert_code(1);
    assert!(
        outcome.stdout.starts_with("2 of 3 keys differ\n"),
        "{outcome}"
    );
    let outcome = over("explain", &both).args(["differs"]).run();
    outcome.assert_code(1);
    assert!(outcome.stdout.contains("module of 23 bytes"), "{outcome}");
    let outcome = over("diff", &both)
        .args(["--settle", "10ms", "--type", "string"])
        .run();
    outcome.assert_code(0);
    over("repair", &both)
        .args(["--settle", "10ms"])
        .run()
        .assert_code(0);
    for (key, number) in [("same", 1), ("differs", 5), ("missing", 9)] {
        assert_eq!(other.cmd(["TALLY.GET", key]), Value::Int(number), "{key}");
    }
    let ends = Value::Int(4_102_444_800_000);
    assert_eq!(other.cmd(["PEXPIRETIME", "missing"]), ends);
    over("diff", &both).run().assert_code(0);
}

#[test]
fn a_peer_without_the_module_refuses_and_is_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let library = build(dir.path());
    let (one, other) = (with_module(&library), RedisServer::start());
    one.cmd(["TALLY.SET", "tally", "5"]);
    one.cmd(["SET", "plain", "1"]);
    let outcome = over("repair", &[&one, &other])
        .args(["--settle", "10ms"])
        .run();
    outcome.assert_code(1);
    assert!(
        outcome.stdout.contains("does the server have the module"),
        "{outcome}"
    );
    assert_eq!(
        other.cmd(["KEYS", "*"]),
        Value::Array(vec![Value::BulkString(b"plain".to_vec())])
    );
    assert_eq!(one.cmd(["TALLY.GET", "tally"]), Value::Int(5));
}
