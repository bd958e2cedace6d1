//! `reknit run` on real servers, as an operator meets it: a file, a process, HTTP and signals.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::reknit::{Reknit, Running};
use crate::support::server::RedisServer;

/// What takes longer than this never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Servers, a configuration over them, and where the service listens.
pub(crate) struct Place {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) dir: TempDir,
    port: u16,
}

/// A service under way; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) process: Running,
    url: String,
}

impl Place {
    /// So many servers; the service is configured by what follows the replicas.
    pub(crate) fn new(servers: usize, rest: &str) -> Self {
        let place = Self {
            servers: (0..servers).map(|_| RedisServer::start()).collect(),
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
        };
        place.configure(rest);
        place
    }

    /// Where its configuration stands.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("reknit.yaml")
    }

    /// The configuration with what follows the replicas.
    pub(crate) fn yaml(&self, rest: &str) -> String {
        let replica = |(index, server): (usize, &RedisServer)| {
            format!("  - {{ name: r{index}, url: \"{}\" }}\n", server.url())
        };
        let replicas: String = self.servers.iter().enumerate().map(replica).collect();
        let (dir, port) = (self.dir.path().display(), self.port);
        format!(
            "replicas:\n{replicas}state: {{ dir: {dir}/state }}\nguards: {{ settle: 50ms, max_overwrite_ratio: 1.0, max_delete_ratio: 1.0 }}\n\
             http: {{ listen: \"127.0.0.1:{port}\" }}\n{rest}\n"
        )
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, rest: &str) {
        std::fs::write(self.config(), self.yaml(rest)).unwrap();
    }

    /// Starts the service, and waits until it answers.
    pub(crate) fn start(&self) -> Daemon {
        let command = Reknit::new(["run", "-v", "--config"]).args([self.config()]);
        self.watch(command.spawn())
    }

    /// A service that was started over this place, once it answers.
    pub(crate) fn watch(&self, process: Running) -> Daemon {
        let daemon = Daemon {
            process,
            url: format!("http://127.0.0.1:{}", self.port),
        };
        daemon.until("it is ready", |daemon| daemon.get("/readyz").ok());
        daemon
    }

    /// Fills every server with the same strings.
    pub(crate) fn fill(&self, db: u32, keys: usize) {
        for server in &self.servers {
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
    }

    /// What a server holds under a key of a string.
    pub(crate) fn get(&self, server: usize, key: &str) -> Option<String> {
        redis::cmd("GET")
            .arg(key)
            .query(&mut self.servers[server].client())
            .unwrap()
    }
}

impl Daemon {
    /// The body of a GET.
    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        let answer = agent().get(format!("{}{path}", self.url)).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        answer
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())
    }

    /// The JSON of a GET.
    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).unwrap()).unwrap()
    }

    /// The status and body of a POST.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = agent().post(format!("{}{path}", self.url));
        let mut answer = request.content_type("application/json").send(body).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    }

    /// Begins a run. Answers its number.
    pub(crate) fn begin(&self, body: &str) -> u64 {
        let (status, text) = self.post("/api/v1/runs", body);
        assert_eq!(status, 202, "{text}");
        let started: Value = serde_json::from_str(&text).unwrap();
        started["id"].as_u64().unwrap()
    }

    /// A run.
    pub(crate) fn run(&self, id: u64) -> Value {
        self.json(&format!("/api/v1/runs/{id}"))
    }

    /// A run that has ended.
    pub(crate) fn ended(&self, id: u64) -> Value {
        self.until("the run ends", |daemon| {
            let run = daemon.run(id);
            (!run["ended_ms"].is_null()).then_some(run)
        })
    }

    /// Asks again and again until there is an answer.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = ask(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "in vain waited until {what}");
            std::thread::yield_now();
        }
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build();
    config.into()
}

/// A port that nobody listens on: of the system's choice, and given back.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
