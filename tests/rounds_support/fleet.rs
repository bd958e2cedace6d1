//! Three servers behind gates, the configuration and the state directory; what the servers hold, asked of themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use redis::{Connection, FromRedisValue, Value, cmd, pipe};
use tempfile::TempDir;

use super::clients::Command;
use super::gate::Gates;
use super::spec::Contents;
use crate::support::reknit::{Outcome, Reknit};
use crate::support::server::RedisServer;

pub(crate) const SERVERS: usize = 3;

/// What a server holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) contents: Contents,
    /// Streams without entries, which the specification says nothing of: only that all have them.
    pub(crate) empty: Vec<String>,
}

/// Servers, gates, a configuration, a state directory.
pub(crate) struct Fleet {
    servers: Vec<RedisServer>,
    pub(crate) gates: Gates,
    dir: TempDir,
}

impl Fleet {
    /// Servers that acknowledge nothing that is not on disk, or that keep what they are told to save.
    pub(crate) fn start(is_synced: bool) -> Self {
        let start = |_| match is_synced {
            true => RedisServer::builder()
                .args(["--appendonly", "yes", "--appendfsync", "always"])
                .start(),
            false => RedisServer::start(),
        };
        let servers: Vec<RedisServer> = (0..SERVERS).map(start).collect();
        let fleet = Self {
            gates: Gates::before(servers.iter().map(RedisServer::port)),
            servers,
            dir: fast_dir(),
        };
        fs::write(fleet.config(), fleet.yaml()).expect("the configuration can be written");
        fleet
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("reknit.yaml")
    }

    fn yaml(&self) -> String {
        let replica = |(index, port): (usize, &u16)| {
            let name = index + 1;
            format!("  - {{ name: r{name}, url: \"redis://127.0.0.1:{port}\" }}\n")
        };
        let replicas: String = self.gates.ports.iter().enumerate().map(replica).collect();
        format!(
            "replicas:\n{replicas}keyspaces:\n\
             \x20 - {{ name: counters, match: \"count*\", rules: {{ string: counter }} }}\n\
             \x20 - {{ name: rest }}\n\
             guards: {{ settle: 0s, max_delete_ratio: 0.9, max_overwrite_ratio: 1 }}\n\
             state: {{ dir: state }}\n"
        )
    }

    /// A command of reknit over the whole fleet.
    pub(crate) fn reknit(&self, command: &str) -> Reknit {
        Reknit::new([command]).args(["-c".into(), self.config()])
    }

    /// The number of the last run in the log, which the state directory opens to tell.
    pub(crate) fn last_run(&self) -> u64 {
        let runs = Reknit::new(["runs", "--format", "json"])
            .env("REKNIT_CONFIG", &self.config().display().to_string());
        let outcome = runs.run();
        outcome.assert_code(0);
        let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let runs = told["runs"].as_array().unwrap().iter();
        let numbers = runs.map(|run| run["number"].as_u64().unwrap());
        numbers.max().unwrap()
    }

    pub(crate) fn send(&self, server: usize, commands: &[Command]) {
        let mut pipeline = pipe();
        for words in commands {
            let mut command = cmd(&words[0]);
            words[1..].iter().for_each(|word| _ = command.arg(word));
            pipeline.add_command(command).ignore();
        }
        if pipeline.is_empty() {
            return;
        }
        let done: redis::RedisResult<()> = pipeline.query(&mut self.servers[server].client());
        done.unwrap_or_else(|error| panic!("server {server}: {commands:?}: {error}"));
    }

    pub(crate) fn kill(&mut self, server: usize) {
        self.servers[server].kill();
    }

    pub(crate) fn restart(&mut self, server: usize) {
        self.servers[server].restart();
    }

    /// Saves what a server holds in a file of this name.
    pub(crate) fn save(&self, server: usize, name: &str) -> PathBuf {
        self.servers[server].cmd(["SAVE"]);
        let file = self.dir.path().join(name);
        fs::copy(self.dump(server), &file).expect("the server saved it");
        file
    }

    /// Starts a server with what was saved once.
    pub(crate) fn restore(&mut self, server: usize, file: &Path) {
        self.servers[server].kill();
        fs::copy(file, self.dump(server)).expect("it was saved");
        self.servers[server].restart();
        fs::remove_file(self.dump(server)).expect("it was loaded");
    }

    fn dump(&self, server: usize) -> PathBuf {
        self.servers[server].dir().join("dump.rdb")
    }

    pub(crate) fn flush(&self, server: usize) {
        self.servers[server].cmd(["FLUSHALL"]);
    }

    /// What every server holds.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.servers.iter().map(held).collect()
    }
}

/// Where directories cost nothing: no test here takes the disk away.
fn fast_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a temporary directory")
}

fn held(server: &RedisServer) -> Held {
    let mut connection = server.client();
    let keys: Vec<String> = cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let keys: Vec<String> = keys
        .into_iter()
        .filter(|key| !key.starts_with("reknit:"))
        .collect();
    let kinds: Vec<String> = ask(&mut connection, keys.iter().map(|key| vec!["TYPE", key]));
    let questions = keys.iter().zip(&kinds);
    let questions = questions.map(|(key, kind)| question(key, kind));
    let values: Vec<Value> = ask(&mut connection, questions);
    let expiries = keys.iter().map(|key| vec!["PEXPIRETIME", key]);
    let expiries: Vec<i64> = ask(&mut connection, expiries);
    let mut held = Held::default();
    for (index, key) in keys.iter().enumerate() {
        let mut elements = elements(&kinds[index], &values[index]);
        if elements.is_empty() {
            held.empty.push(key.clone());
        }
        if expiries[index] >= 0 {
            let all = elements.values_mut();
            all.for_each(|item| *item = format!("{item} until {}", expiries[index]));
        }
        let named = elements.into_iter();
        let named = named.map(|(name, item)| ((key.clone(), name), item));
        held.contents.extend(named);
    }
    held.empty.sort();
    held
}

fn ask<'a, T: FromRedisValue>(
    connection: &mut Connection,
    commands: impl Iterator<Item = Vec<&'a str>>,
) -> Vec<T> {
    let mut pipeline = pipe();
    for words in commands {
        let mut command = cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        pipeline.add_command(command);
    }
    match pipeline.is_empty() {
        true => Vec::new(),
        false => pipeline.query(connection).unwrap(),
    }
}

fn question<'a>(key: &'a str, kind: &str) -> Vec<&'a str> {
    match kind {
        "set" => vec!["SMEMBERS", key],
        "hash" => vec!["HGETALL", key],
        "zset" => vec!["ZRANGE", key, "0", "-1", "WITHSCORES"],
        "stream" => vec!["XRANGE", key, "-", "+"],
        "list" => vec!["LRANGE", key, "0", "-1"],
        "string" => vec!["GET", key],
        _ => panic!("{key} is a {kind}"),
    }
}

fn elements(kind: &str, value: &Value) -> BTreeMap<String, String> {
    let texts = || Vec::<String>::from_redis_value_ref(value).unwrap();
    let alone = |item: String| BTreeMap::from([(String::new(), item)]);
    match kind {
        "set" => texts()
            .into_iter()
            .map(|one| (one, String::new()))
            .collect(),
        "list" => alone(texts().join(",")),
        "string" => alone(String::from_redis_value_ref(value).unwrap()),
        "stream" => entries(value),
        _ => {
            let flat = texts();
            let pairs = flat.chunks(2);
            pairs
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect()
        }
    }
}

/// The IDs of a stream, each of which must stand in its own entry.
fn entries(value: &Value) -> BTreeMap<String, String> {
    let all: Vec<(String, Vec<String>)> = FromRedisValue::from_redis_value_ref(value).unwrap();
    all.into_iter()
        .map(|(id, fields)| {
            assert_eq!(fields, ["id", &id], "an entry with another's fields");
            (id, String::new())
        })
        .collect()
}

/// Fails unless the run ended so.
#[track_caller]
pub(crate) fn assert_one_of(outcome: &Outcome, codes: &[i32]) {
    let is_one = outcome.code().is_some_and(|code| codes.contains(&code));
    assert!(
        is_one,
        "expected one of the exit codes {codes:?}\n{outcome}"
    );
}
