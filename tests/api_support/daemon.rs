//! `reknit run` over two redis-servers, its log, its end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, Request};
use crate::support::reknit::Reknit;
use crate::support::server::RedisServer;

/// How long anything of a service may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two looks.
const POLL: Duration = Duration::from_millis(10);

/// A service; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) dir: TempDir,
    pub(crate) token: Option<String>,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// A service with one schedule, `often`, that is due once a day and after the start.
    pub(crate) fn start() -> Self {
        Self::with("", None)
    }

    /// The same, with more in `http`, such as `, token_file: token`; what is in that file is the token.
    pub(crate) fn with(http: &str, token: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::in_dir(dir, http, token)
    }

    /// The same, in a directory that holds the files that `http` names.
    pub(crate) fn in_dir(dir: TempDir, http: &str, token: Option<&str>) -> Self {
        let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
        if let Some(token) = token {
            std::fs::write(dir.path().join("token"), format!("{token}\n")).unwrap();
        }
        let config = dir.path().join("reknit.yaml");
        std::fs::write(&config, yaml(&servers, http, "")).unwrap();
        let (child, address, log) = launch(&config);
        Self {
            child,
            address,
            servers,
            dir,
            token: token.map(str::to_owned),
            log,
        }
    }

    /// Ends it, and starts it again over the same servers.
    pub(crate) fn restart(&mut self) {
        assert!(self.stop().success(), "{}", self.log());
        (self.child, self.address, self.log) = launch(&self.config());
    }

    /// Changes the configuration.
    pub(crate) fn rewrite(&self, change: impl Fn(&str) -> String) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), change(&text)).unwrap();
    }

    /// A command with its configuration: what it holds the state directory of.
    pub(crate) fn beside(&self, words: &[&str]) -> Reknit {
        let config = self.config().display().to_string();
        Reknit::new(words.iter().copied()).args(["-c", &config])
    }

    /// Writes the configuration anew, with these limits.
    pub(crate) fn write_limits(&self, limits: &str) {
        std::fs::write(self.config(), yaml(&self.servers, "", limits)).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("reknit.yaml")
    }

    /// A request with the token.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        let request = Request::new(method, path);
        match &self.token {
            Some(token) => request.header("Authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path).send(self.address);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str) -> Answer {
        self.request("POST", path).send(self.address)
    }

    /// A command that speaks to it.
    pub(crate) fn ask(&self, words: &[&str]) -> Reknit {
        let url = format!("http://{}", self.address);
        let asked = Reknit::new(words.iter().copied()).args(["--url", &url]);
        match &self.token {
            Some(_) => asked.args(["--token-file".into(), self.dir.path().join("token")]),
            None => asked,
        }
    }

    /// Waits until what it says of itself is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.get("/api/v1/status");
            if holds(&status) {
                return status;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "never: {what}\n{status:#}\n{}",
                self.log()
            );
            thread::sleep(POLL);
        }
    }

    /// Waits until no run is under way, and one of the schedule has succeeded.
    #[track_caller]
    pub(crate) fn until_idle(&self) -> Value {
        self.until("idle", |status| {
            status["current"].is_null() && status["last"]["ended_ms"].is_i64()
        })
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Ends it as systemd does, and answers how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "it does not end\n{}", self.log());
            thread::sleep(POLL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a service, and waits until it listens.
fn launch(config: &Path) -> (Child, SocketAddr, Arc<Mutex<String>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reknit"))
        .args(["run", "--log-format", "human", "-c"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let log = Arc::new(Mutex::new(String::new()));
    let heard = listen(child.stderr.take().unwrap(), log.clone());
    let address = heard.recv_timeout(LIMIT);
    let address = address.unwrap_or_else(|_| panic!("it does not start: {}", log.lock().unwrap()));
    (child, address, log)
}

fn yaml(servers: &[RedisServer], http: &str, limits: &str) -> String {
    let mut text = String::from("replicas:\n");
    for (name, server) in ["us", "eu"].iter().zip(servers) {
        text.push_str(&format!(
            "  - {{ name: {name}, url: \"{}\" }}\n",
            server.url()
        ));
    }
    text.push_str("keyspaces: [{ name: all }]\nguards: { settle: 20ms }\nstate: { dir: state }\n");
    text.push_str("schedules: [{ name: often, every: 1d }]\n");
    text.push_str(&format!("http: {{ listen: \"127.0.0.1:0\"{http} }}\n"));
    text.push_str(&format!("limits: {{ {limits} }}\n"));
    text
}

/// Keeps the log, and tells where it listens.
fn listen(stderr: std::process::ChildStderr, log: Arc<Mutex<String>>) -> Receiver<SocketAddr> {
    let (told, heard) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let address = line.split("listening on ").nth(1);
            if let Some(address) = address.and_then(|word| word.trim().parse().ok()) {
                // Who asked may have gone.
                let _ = told.send(address);
            }
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    heard
}
