//! A run that was cut off is taken up: the segments that it finished are not read again, where that is still right.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::BTreeMap;

use redis::Value;
use support::reknit::{Outcome, Reknit, Running};
use support::server::RedisServer;
use support::site::json;
use tempfile::TempDir;

/// Keys of the database that is finished before the run is killed, and of the one it is killed in.
const SMALL: usize = 300;
const LARGE: usize = 4000;

struct Pair {
    servers: [RedisServer; 2],
    dir: TempDir,
}

impl Pair {
    /// Two servers with two databases each, alike but for two keys in each; they have been repaired once.
    fn new() -> Self {
        let servers = [(); 2].map(|()| RedisServer::start());
        let dir = tempfile::tempdir().unwrap();
        let replicas: Vec<String> = servers
            .iter()
            .enumerate()
            .map(|(index, server)| format!("  - {{ name: r{index}, url: \"{}\" }}", server.url()))
            .collect();
        let config = format!(
            "replicas:\n{}\nkeyspaces:\n  - {{ name: small, db: 0 }}\n  - {{ name: large, db: 1 }}\nstate: {{ dir: {} }}\n",
            replicas.join("\n"),
            dir.path().join("state").display()
        );
        std::fs::write(dir.path().join("reknit.yaml"), config).unwrap();
        let pair = Self { servers, dir };
        for server in &pair.servers {
            fill(server, 0, SMALL);
            fill(server, 1, LARGE);
        }
        pair.repair(&["--settle", "0s"]).assert_code(0);
        pair.diverge();
        pair
    }

    /// From now on a segment takes a second.
    fn divide(&self) {
        let path = self.dir.path().join("reknit.yaml");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{config}limits: {{ segment: 1s }}\n")).unwrap();
    }

    /// In both databases one server deletes a key and adds another.
    fn diverge(&self) {
        for db in [0, 1] {
            let mut client = self.servers[0].client_db(db);
            redis::cmd("DEL").arg("k:7").exec(&mut client).unwrap();
            let set = redis::cmd("SET").arg("new").arg("v").exec(&mut client);
            set.unwrap();
        }
    }

    fn command(&self, args: &[&str]) -> Reknit {
        let config = self.dir.path().join("reknit.yaml");
        let command = Reknit::new(["repair", "--format", "json", "--config"]).args([config]);
        command.args(args.iter().copied())
    }

    /// The log of runs.
    fn log(&self) -> Outcome {
        let config = self.dir.path().join("reknit.yaml");
        Reknit::new(["runs", "--config"]).args([config]).run()
    }

    fn repair(&self, args: &[&str]) -> Outcome {
        self.command(args).run()
    }

    /// A slow run, in the middle of the second database: it has finished what there was to do in the first.
    fn begun(&self) -> Running {
        self.reset();
        let slow = self.command(&["--settle", "0s", "--keys-per-second", "1000"]);
        let running = slow.spawn();
        while self.reads() < SMALL + 50 {
            std::thread::yield_now();
        }
        running
    }

    fn reset(&self) {
        for server in &self.servers {
            server.cmd(["CONFIG", "RESETSTAT"]);
        }
    }

    /// How many strings have been read of the second server since.
    fn reads(&self) -> usize {
        let Value::VerbatimString { text, .. } = self.servers[1].cmd(["INFO", "commandstats"])
        else {
            let told = self.servers[1].cmd(["INFO", "commandstats"]);
            let text: String = redis::from_redis_value(told).unwrap();
            return calls(&text);
        };
        calls(&text)
    }

    /// Both servers hold what a run that was never disturbed brings them to: the deleted key is gone, the new one there.
    #[track_caller]
    fn assert_in_sync(&self) {
        for (db, keys) in [(0, SMALL), (1, LARGE)] {
            let all = (0..keys).map(|number| (format!("k:{number}"), number.to_string()));
            let mut expected: BTreeMap<String, String> = all.collect();
            expected.remove("k:7");
            expected.insert("new".into(), "v".into());
            for server in &self.servers {
                assert!(
                    held(server, db) == expected,
                    "database {db} of {}",
                    server.url()
                );
            }
        }
    }
}

/// All strings of a database but reknit's own.
fn held(server: &RedisServer, db: u32) -> BTreeMap<String, String> {
    let mut client = server.client_db(db);
    let mut names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client).unwrap();
    names.retain(|name| !name.starts_with("reknit:"));
    let values: Vec<String> = redis::cmd("MGET").arg(&names).query(&mut client).unwrap();
    names.into_iter().zip(values).collect()
}

fn calls(stats: &str) -> usize {
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_getrange:calls="));
    let number = line.and_then(|line| line.split(',').next());
    number.map_or(0, |number| number.parse().unwrap())
}

fn fill(server: &RedisServer, db: u32, keys: usize) {
    let mut client = server.client_db(db);
    let mut pipe = redis::pipe();
    for number in 0..keys {
        pipe.cmd("SET")
            .arg(format!("k:{number}"))
            .arg(number)
            .ignore();
    }
    pipe.exec(&mut client).unwrap();
}

#[test]
fn a_run_that_was_killed_is_taken_up_where_its_first_database_was_finished() {
    let pair = Pair::new();
    // What is destructive waits for the end of a run: then a database is not finished. So only additions are left in
    // the first one.
    pair.repair(&["--settle", "0s", "--keyspace", "small"])
        .assert_code(0);
    let running = pair.begun();
    running.signal("KILL");
    assert_eq!(running.finish().code(), None);
    pair.reset();
    let told = pair.repair(&["--settle", "0s", "--resume"]);
    told.assert_code(0);
    let summary = &json(&told)["summary"];
    assert_eq!(summary["resumed"]["run"], 3);
    assert_eq!(summary["resumed"]["finished"], 1);
    assert_eq!(summary["resumed"]["segments"], 2);
    let log = pair.log();
    log.assert_code(0);
    assert!(
        log.stdout.contains("killed: taken up by run 4"),
        "{}",
        log.stdout
    );
    let reads = pair.reads();
    assert!((LARGE..LARGE + SMALL / 2).contains(&reads), "{reads} reads");
    pair.assert_in_sync();
    // It ended: there is nothing left to take up.
    pair.reset();
    let whole = pair.repair(&["--settle", "0s", "--resume"]);
    whole.assert_code(0);
    assert!(json(&whole)["summary"].get("resumed").is_none());
    assert!(pair.reads() >= LARGE + SMALL - 2);
}

#[test]
fn what_was_finished_is_read_again_where_a_replica_has_forgotten_it() {
    let pair = Pair::new();
    pair.repair(&["--settle", "0s", "--keyspace", "small"])
        .assert_code(0);
    let running = pair.begun();
    running.signal("KILL");
    running.finish();
    let mut client = pair.servers[1].client_db(0);
    redis::cmd("FLUSHDB").exec(&mut client).unwrap();
    let told = pair.repair(&["--settle", "0s", "--resume"]);
    told.assert_code(0);
    assert_eq!(json(&told)["summary"]["resumed"]["finished"], 0);
    pair.assert_in_sync();
}

#[test]
fn a_run_that_was_killed_is_taken_up_in_the_middle_of_a_large_database() {
    let pair = Pair::new();
    pair.repair(&["--settle", "0s"]).assert_code(0);
    pair.divide();
    pair.reset();
    let running = pair
        .command(&["--settle", "0s", "--keys-per-second", "1000"])
        .spawn();
    while pair.reads() < SMALL + LARGE * 5 / 8 {
        std::thread::yield_now();
    }
    running.signal("KILL");
    running.finish();
    pair.reset();
    let told = pair.repair(&["--settle", "0s", "--resume"]);
    told.assert_code(0);
    let resumed = &json(&told)["summary"]["resumed"];
    // The small database, and of the large one at least two of four segments.
    let finished = resumed["finished"].as_u64().unwrap();
    assert!((3..5).contains(&finished), "{resumed}");
    let reads = pair.reads();
    assert!(reads < LARGE * 5 / 8, "{reads} reads");
    pair.assert_in_sync();
}
