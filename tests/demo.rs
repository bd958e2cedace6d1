//! The demo as its users see it: it proves equality by itself, and leaves nothing behind.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(
    clippy::disallowed_methods,
    reason = "a test watches real processes against the wall clock"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::reknit::{Outcome, Reknit, Running};

/// Every port that the demo named.
fn ports(outcome: &Outcome) -> BTreeSet<u16> {
    let after = outcome.stdout.split("redis://127.0.0.1:").skip(1);
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    after
        .map(|text| digits(text).parse().expect("a port"))
        .collect()
}

fn assert_gone(outcome: &Outcome) {
    let ports = ports(outcome);
    assert_eq!(ports.len(), 3, "{outcome}");
    for port in ports {
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "{port} is still open\n{outcome}"
        );
    }
}

#[test]
fn the_demo_repairs_its_servers_proves_them_equal_and_stops_them() {
    let outcome = Reknit::new(["demo", "--keys", "2000"]).run();
    outcome.assert_code(0);
    for phrase in [
        "eu is cut off",
        "FLUSHALL",
        "all verified",
        "in sync",
        "Equal on all three",
    ] {
        assert!(
            outcome.stdout.contains(phrase),
            "{phrase} is missing\n{outcome}"
        );
    }
    assert_gone(&outcome);
}

/// A demo that is far from its end, in a temporary directory of its own, with its servers up.
fn under_way(dir: &Path) -> Running {
    let running = Reknit::new(["demo", "--keys", "200000"])
        .env("TMPDIR", &dir.display().to_string())
        .spawn();
    let logs = || {
        let folders = fs::read_dir(dir).unwrap().flatten();
        let servers = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
        let logs = servers.flatten().map(|server| server.path().join("log"));
        logs.filter_map(|log| fs::read_to_string(log).ok())
            .collect::<Vec<_>>()
    };
    while logs()
        .iter()
        .filter(|log| log.contains("Ready to accept"))
        .count()
        < 3
    {
        thread::yield_now();
    }
    running
}

/// Fails the test unless soon nothing of the demo is left: no file in the directory, and no process below it.
fn assert_gone_soon(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_dir(dir).unwrap().next().is_some() || !processes_below(dir).is_empty() {
        assert!(Instant::now() < deadline, "{}", dir.display());
        thread::yield_now();
    }
}

/// Every process whose working directory is below this one.
fn processes_below(dir: &Path) -> Vec<String> {
    let dir = fs::canonicalize(dir).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let below = processes.filter(|process| {
        fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&dir))
    });
    let names = below.map(|process| process.file_name().to_string_lossy().into_owned());
    names.collect()
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let running = under_way(dir.path());
    running.signal("INT");
    let outcome = running.finish();
    outcome.assert_code(130);
    assert!(outcome.stdout.contains("Stopped."), "{outcome}");
    assert_gone_soon(dir.path());
}

#[test]
fn a_demo_that_is_killed_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let running = under_way(dir.path());
    assert!(processes_below(dir.path()).len() >= 3);
    running.signal("KILL");
    let outcome = running.finish();
    assert_eq!(outcome.code(), None, "{outcome}");
    assert_gone_soon(dir.path());
}

#[test]
fn kept_servers_live_on_and_are_stopped_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = Reknit::new(["demo", "--keys", "100", "--keep"])
        .env("TMPDIR", &dir.path().display().to_string())
        .run();
    outcome.assert_code(0);
    for port in ports(&outcome) {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "{outcome}");
    }
    // Its servers and nobody else: the watchers go.
    while processes_below(dir.path()).len() > 3 {
        thread::yield_now();
    }
    assert_eq!(processes_below(dir.path()).len(), 3);
    let advice = outcome.stdout.split("Stop them:").nth(1).unwrap();
    for line in advice.lines().filter(|line| !line.is_empty()) {
        let status = Command::new("sh").args(["-c", line]).status().unwrap();
        assert!(status.success(), "{line}");
    }
    assert_gone_soon(dir.path());
}

#[test]
fn a_machine_without_redis_server_or_with_an_old_one_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let outcome = Reknit::new(["demo"]).env("PATH", &path).run();
    outcome.assert_code(2);
    assert!(
        outcome.stderr.contains("apt-get install redis-server"),
        "{outcome}"
    );
    let old = dir.path().join("redis-server");
    fs::write(&old, "#!/bin/sh\necho 'Redis server v=6.2.1 sha=0'\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = Reknit::new(["demo"]).env("PATH", &path).run();
    outcome.assert_code(2);
    assert!(
        outcome.stderr.contains("too old: Redis server v=6.2.1"),
        "{outcome}"
    );
}

#[test]
fn a_demo_without_room_for_its_files_says_where_it_looked() {
    let outcome = Reknit::new(["demo"]).env("TMPDIR", "/nowhere/at/all").run();
    outcome.assert_code(2);
    assert!(outcome.stderr.contains("/nowhere/at/all"), "{outcome}");
    assert!(outcome.stderr.contains("TMPDIR"), "{outcome}");
}

#[test]
fn a_demo_whose_reader_leaves_plays_on_and_stops_its_servers() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("{} demo --keys 100 | head -1", env!("CARGO_BIN_EXE_reknit"));
    let status = Command::new("bash")
        .args(["-c", &format!("set -o pipefail; {line}")])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    assert_gone_soon(dir.path());
}
