//! Servers, a configuration and a state directory: runs with memory by the command line.

use std::fs;
use std::path::PathBuf;

use redis::Value;
use tempfile::TempDir;

use super::reknit::{Outcome, Reknit};
use super::server::RedisServer;

/// Servers, a configuration and a state directory.
pub(crate) struct Site {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) dir: TempDir,
    pub(crate) rules: &'static str,
    /// More of what stands in `state`.
    pub(crate) more: &'static str,
}

impl Site {
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            servers: (0..servers).map(|_| RedisServer::start()).collect(),
            dir: tempfile::tempdir().expect("a temporary directory"),
            rules: "",
            more: "",
        }
    }

    pub(crate) fn counting(servers: usize) -> Self {
        Self {
            rules: "{ string: counter }",
            ..Self::new(servers)
        }
    }

    /// Everything that can be counted is.
    pub(crate) fn counting_all(servers: usize) -> Self {
        Self {
            rules: "{ string: counter, hash: counter, zset: counter }",
            ..Self::new(servers)
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Names the first so many servers r1, r2, ...
    pub(crate) fn config(&self, servers: usize) -> PathBuf {
        self.config_of((1..=servers).map(|number| (format!("r{number}"), number - 1)))
    }

    pub(crate) fn config_of(&self, replicas: impl IntoIterator<Item = (String, usize)>) -> PathBuf {
        let mut text = String::from("replicas:\n");
        for (name, index) in replicas {
            let url = self.servers[index].url();
            text.push_str(&format!("  - {{ name: {name}, url: \"{url}\" }}\n"));
        }
        let rules = if self.rules.is_empty() {
            "{}"
        } else {
            self.rules
        };
        text.push_str(&format!("keyspaces: [{{ name: all, rules: {rules} }}]\n"));
        text.push_str("guards: { settle: 50ms }\n");
        text.push_str(&format!("state: {{ dir: state{} }}\n", self.more));
        let path = self.dir.path().join("reknit.yaml");
        fs::write(&path, text).expect("the configuration can be written");
        path
    }

    pub(crate) fn with(&self, command: &str) -> Reknit {
        let config = self.config(self.servers.len());
        Reknit::new([command]).args(["-c".into(), config])
    }

    /// A command that is about the state directory alone.
    pub(crate) fn with_state(&self, command: &str) -> Reknit {
        Reknit::new([command]).env(
            "REKNIT_CONFIG",
            &self.config(self.servers.len()).display().to_string(),
        )
    }

    pub(crate) fn repair(&self) -> Outcome {
        let outcome = self.with("repair").run();
        outcome.assert_code(0);
        outcome
    }

    pub(crate) fn cmd(&self, server: usize, words: &str) -> Value {
        self.servers[server].cmd(words.split(' '))
    }

    #[track_caller]
    pub(crate) fn assert_all(&self, words: &str, expected: &Value) {
        for (index, server) in self.servers.iter().enumerate() {
            let found = server.cmd(words.split(' '));
            assert_eq!(found, *expected, "{words} on r{}", index + 1);
        }
    }
}

pub(crate) fn text(value: &str) -> Value {
    Value::BulkString(value.as_bytes().to_vec())
}

#[track_caller]
pub(crate) fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

#[track_caller]
pub(crate) fn assert_says(outcome: &Outcome, parts: &[&str]) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing\n{outcome}");
    }
}
