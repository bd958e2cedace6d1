//! Servers whose applications write through the functions.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use redis::{Connection, Value};

use super::support::racks::Racks;
use super::support::reknit::Reknit;

/// Replicas rack1, rack2, ... with the functions, each under its name, and a connection to each.
pub(crate) struct Writers {
    pub(crate) racks: Racks,
    pub(crate) clients: Vec<Connection>,
}

impl Writers {
    pub(crate) fn new(replicas: usize) -> Self {
        Self::of(Racks::new(replicas))
    }

    pub(crate) fn of(racks: Racks) -> Self {
        install(&racks).run().assert_code(0);
        let clients = racks.servers.iter().map(|server| server.client()).collect();
        Self { racks, clients }
    }

    /// `reknit_NAME` over this key, with these words.
    pub(crate) fn call(
        &mut self,
        replica: usize,
        function: &str,
        key: &str,
        args: &[&str],
    ) -> Value {
        self.try_call(replica, function, key, args)
            .unwrap_or_else(|error| panic!("{function} {key} {args:?}: {error}"))
    }

    pub(crate) fn try_call(
        &mut self,
        replica: usize,
        function: &str,
        key: &str,
        args: &[&str],
    ) -> redis::RedisResult<Value> {
        let mut command = redis::cmd("FCALL");
        command
            .arg(format!("reknit_{function}"))
            .arg(1)
            .arg(key)
            .arg(args);
        command.query(&mut self.clients[replica])
    }

    /// A plain command, word by word.
    pub(crate) fn plain(&mut self, replica: usize, command: &str) -> Value {
        let words: Vec<&str> = command.split(' ').collect();
        redis::cmd(words[0])
            .arg(&words[1..])
            .query(&mut self.clients[replica])
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The score of a member, as exact as the server prints it.
    pub(crate) fn score(&mut self, replica: usize, set: &str, member: &str) -> Option<f64> {
        let mut command = redis::cmd("ZSCORE");
        command.arg(set).arg(member);
        command
            .query(&mut self.clients[replica])
            .expect("a score, or none")
    }

    /// A string, where there is one.
    pub(crate) fn get(&mut self, replica: usize, key: &str) -> Option<String> {
        let mut command = redis::cmd("GET");
        command
            .arg(key)
            .query(&mut self.clients[replica])
            .expect("a string, or none")
    }
}

/// `reknit functions install` over these.
pub(crate) fn install(racks: &Racks) -> Reknit {
    let config = racks.config();
    Reknit::new(["functions", "install"]).arg_pair("-c", &config)
}
