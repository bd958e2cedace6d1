//! Racks of a Dynomite cluster: their Redis servers, each a whole copy of the data with the stamps beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use redis::Value;
use tempfile::TempDir;

use super::judge::query;
use super::reknit::Reknit;
use super::server::RedisServer;

/// The folder of recorded racks.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dynomite")
}

/// Racks with one node each, and a configuration of them.
pub(crate) struct Racks {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) dir: TempDir,
    /// What else stands in the configuration.
    pub(crate) more: String,
    /// How far in the future a stamp may lie: recordings are good on machines whose clocks are behind.
    pub(crate) max_skew: &'static str,
    /// How old a tombstone is before it is dropped: recordings get older.
    pub(crate) grace: &'static str,
}

impl Racks {
    /// Empty racks, without memory.
    pub(crate) fn new(racks: usize) -> Self {
        Self::of((0..racks).map(|_| RedisServer::start()).collect())
    }

    /// Racks as a fixture has them, in this order.
    pub(crate) fn load(set: &str, nodes: &[u8]) -> Self {
        let network = if set.starts_with("exp1") { 10 } else { 20 };
        let start = |node: &u8| {
            let file = format!("{set}-127.0.{network}.{node}.rdb");
            RedisServer::with_rdb(&fixtures().join(file))
        };
        Self::of(nodes.iter().map(start).collect())
    }

    fn of(servers: Vec<RedisServer>) -> Self {
        Self {
            servers,
            dir: tempfile::tempdir().expect("a temporary directory"),
            more: "state: none\n".into(),
            max_skew: "36500d",
            grace: "36500d",
        }
    }

    /// With a memory of its own.
    pub(crate) fn remembering(self) -> Self {
        let state = self.dir.path().join("state");
        Self {
            more: format!("state: {{ dir: {} }}\n", state.display()),
            ..self
        }
    }

    /// With these lines in the configuration.
    pub(crate) fn with(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self
    }

    /// The configuration that names all racks rack1, rack2, ...
    pub(crate) fn config(&self) -> PathBuf {
        let rack = |(index, server): (usize, &RedisServer)| {
            let (number, url) = (index + 1, server.url());
            format!("  - {{ name: rack{number}, url: \"{url}\", layout: dynomite }}\n")
        };
        let racks: String = self.servers.iter().enumerate().map(rack).collect();
        let (skew, grace) = (self.max_skew, self.grace);
        let guards = format!(
            "guards: {{ settle: 10ms }}\nclock: {{ max_skew: {skew} }}\ndynomite: {{ tombstone_grace: {grace} }}\n"
        );
        let path = self.dir.path().join("reknit.yaml");
        fs::write(&path, format!("replicas:\n{racks}{guards}{}", self.more)).expect("a file");
        path
    }

    /// `reknit SUBCOMMAND` over all racks.
    pub(crate) fn reknit(&self, subcommand: &str) -> Reknit {
        let config = self.config();
        Reknit::new([subcommand]).args([Path::new("-c"), &config])
    }

    /// Repairs, and finds nothing more to repair.
    #[track_caller]
    pub(crate) fn repair(&self) {
        self.reknit("repair").run().assert_code(0);
        self.reknit("diff").run().assert_code(0);
    }

    /// One command at one rack.
    pub(crate) fn at(&self, rack: usize, command: &str) -> Value {
        self.servers[rack].cmd(command.split(' '))
    }

    /// The same command at every rack.
    pub(crate) fn everywhere(&self, command: &str) {
        for rack in 0..self.servers.len() {
            self.at(rack, command);
        }
    }

    /// What SET, HSET and the like leave of a key at a rack where Dynomite accepted them at this time.
    pub(crate) fn stamp(&self, rack: usize, key: &str, time: i64) {
        self.at(rack, &format!("ZADD ._add-set {time} {key}"));
    }

    /// The stamps of a rack: by the name of their set, members with their scores.
    pub(crate) fn stamps(&self, rack: usize) -> BTreeMap<String, BTreeMap<String, i64>> {
        let client = &mut self.servers[rack].client();
        let sets: BTreeSet<String> = ["._add-set*", "._rem-set*"]
            .iter()
            .flat_map(|pattern| query::<Vec<String>>(client, &[b"KEYS", pattern.as_bytes()]))
            .collect();
        let scored = |set: String| {
            let words: [&[u8]; 5] = [b"ZRANGE", set.as_bytes(), b"0", b"-1", b"WITHSCORES"];
            let pairs: Vec<(String, f64)> = query(client, &words);
            let pairs = pairs.into_iter().map(|(name, at)| (name, at as i64));
            (set, pairs.collect())
        };
        sets.into_iter().map(scored).collect()
    }
}
