//! The service as the shipped unit starts it: by its command line, told to a service manager, over three servers that
//! clients write to, steered by the command line meanwhile.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(clippy::disallowed_methods)] // a process is waited for, by the clock

mod service_support;
mod support;

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use redis::Connection;
use service_support::{Daemon, Place};
use support::reknit::{Outcome, Reknit};

/// How long anything that the service tells may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How many names clients write to.
const NAMES: u64 = 400;

/// The arguments of the unit's command line.
fn arguments(place: &Place) -> Vec<String> {
    let unit = include_str!("../config/systemd/reknit.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let mut words = line.unwrap().split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/reknit"));
    let config = place.config().display().to_string();
    words
        .map(|word| word.replace("/etc/reknit/reknit.yaml", &config))
        .collect()
}

/// A client that writes without pause until it is told to stop.
fn write(mut client: Connection, seed: u64, stop: &AtomicBool, written: &AtomicU64) {
    let mut number = seed;
    while !stop.load(Ordering::Relaxed) {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let name = (number >> 33) % NAMES;
        let mut command = redis::cmd(match name % 4 {
            0 => "SADD",
            1 => "SREM",
            2 if number >> 60 == 0 => "DEL",
            _ => "SET",
        });
        match name % 4 {
            0 | 1 => command
                .arg(format!("set:{}", name / 4))
                .arg((number >> 50) % 8),
            2 if number >> 60 == 0 => command.arg(format!("text:{name}")),
            _ => command.arg(format!("text:{name}")).arg(number >> 40),
        };
        command.exec(&mut client).unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }
}

/// All that clients wrote to a server.
fn held(place: &Place, server: usize) -> BTreeMap<String, Vec<String>> {
    let mut client = place.servers[server].client();
    let names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client).unwrap();
    let own = names
        .into_iter()
        .filter(|name| !name.starts_with("reknit:"));
    let mut value = |name: &String| match name.starts_with("set:") {
        true => {
            let mut members: Vec<String> =
                redis::cmd("SMEMBERS").arg(name).query(&mut client).unwrap();
            members.sort();
            members
        }
        false => {
            let text: Option<String> = redis::cmd("GET").arg(name).query(&mut client).unwrap();
            text.into_iter().collect()
        }
    };
    own.map(|name| (name.clone(), value(&name))).collect()
}

fn ask(place: &Place, words: &[&str]) -> Outcome {
    let outcome = Reknit::new(words.iter().copied())
        .args(["-c".into(), place.config()])
        .run();
    outcome.assert_code(0);
    outcome
}

/// Takes what the service tells as it is told: a manager that does not listen gets no more than a few messages.
fn listen(manager: UnixDatagram) -> Receiver<String> {
    let (told, heard) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = manager.recv(&mut bytes) {
            for line in String::from_utf8_lossy(&bytes[..length]).lines() {
                if told.send(line.to_owned()).is_err() {
                    return;
                }
            }
        }
    });
    heard
}

/// Hears what the service tells until it has told this.
fn hear(heard: &Receiver<String>, expected: &str) {
    while heard.recv_timeout(LIMIT).expect(expected) != expected {}
}

/// The number of a run that is under way.
fn under_way(daemon: &Daemon) -> u64 {
    daemon.until("a run is under way", |daemon| {
        daemon.json("/api/v1/status")["current"]["id"].as_u64()
    })
}

#[test]
fn it_keeps_servers_under_load_in_sync_on_its_schedule_and_obeys_meanwhile() {
    let place = Place::new(
        3,
        "schedules: [{ name: often, every: 1s }]\nlimits: { keys_per_second: 400 }",
    );
    let manager = listen(UnixDatagram::bind(place.dir.path().join("notify")).unwrap());
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let daemon = std::thread::scope(|scope| {
        for (seed, server) in place.servers.iter().enumerate() {
            let client = server.client();
            let (stop, written) = (&stop, &written);
            scope.spawn(move || write(client, seed as u64 + 1, stop, written));
        }
        let command = Reknit::new(arguments(&place))
            .env(
                "NOTIFY_SOCKET",
                &place.dir.path().join("notify").display().to_string(),
            )
            .env("WATCHDOG_USEC", "1000000");
        let daemon = place.watch(command.spawn());
        hear(&manager, "READY=1");
        hear(&manager, "WATCHDOG=1");
        let id = under_way(&daemon);
        ask(&place, &["pause"]);
        assert_eq!(daemon.run(id)["state"], "paused");
        ask(&place, &["resume"]);
        ask(&place, &["limits", "--keys-per-second", "0"]);
        assert_eq!(daemon.ended(id)["state"], "done", "unlimited, it soon ends");
        // Some more of them, while clients write.
        daemon.until("more runs have ended", |daemon| {
            let last = daemon.json("/api/v1/status")["last"]["id"].as_u64();
            last.filter(|last| *last > id + 2)
        });
        stop.store(true, Ordering::Relaxed);
        daemon
    });
    assert!(written.into_inner() > 1000, "clients wrote meanwhile");
    let all = daemon.until("all servers hold the same", |_| {
        let first = held(&place, 0);
        (first == held(&place, 1) && first == held(&place, 2)).then_some(first)
    });
    assert!(!all.is_empty());
    daemon.process.signal("TERM");
    hear(&manager, "STOPPING=1");
    daemon.process.finish().assert_code(0);
}
