//! The service on a state directory that it cannot use: locked, full in the middle of a run, or with damaged notes.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use redis::Value;
use reknit::model::Millis;
use reknit::state::{Opening, State};
use support::disk::Disk;
use support::reknit::Reknit;
use support::site::{Site, assert_says, text};

/// A service that says nothing for so long hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// The configuration of a site with a schedule of every second.
fn config(site: &Site) -> PathBuf {
    let path = site.config(site.servers.len());
    let written = fs::read_to_string(&path).unwrap();
    let mut written = written.replace("settle: 50ms", "settle: 50ms, max_overwrite_ratio: 1.0");
    written
        .push_str("schedules: [{ name: often, every: 1s }]\nhttp: { listen: \"127.0.0.1:0\" }\n");
    let path = site.dir.path().join("service.yaml");
    fs::write(&path, written).unwrap();
    path
}

/// A service under way, and what it says; killed when dropped.
struct Service {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Service {
    /// Starts one, run by these words if there are any.
    fn start(site: &Site, within: &[String]) -> Self {
        let reknit = env!("CARGO_BIN_EXE_reknit").to_owned();
        let words: Vec<String> = within.iter().cloned().chain([reknit]).collect();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["run", "--log-format", "human", "-c"])
            .arg(config(site))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            // Nobody listens any more when the test has ended.
            let mut lines = stderr.lines().map_while(Result::ok);
            lines.all(|line| send.send(line).is_ok())
        });
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// Waits until it says this, and answers the line.
    #[track_caller]
    fn says(&mut self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(error) => panic!("`{words}`: {error}\n{}", self.said.join("\n")),
            }
        }
    }

    /// Tells it to end; it does, with this exit.
    #[track_caller]
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.said.join("\n"));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // After `stop` it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_directory_that_another_process_works_on_is_refused_by_its_name() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    let mut service = Service::start(&site, &[]);
    service.says("is done");
    let holder = format!(
        "in use by process {} (run at http://127.0.0.1:",
        service.child.id()
    );
    for command in ["run", "repair", "diff"] {
        let outcome = Reknit::new([command])
            .args(["-c".into(), config(&site)])
            .run();
        outcome.assert_code(4);
        assert_says(&outcome, &[&holder, "wait for it to end"]);
    }
    service.says("is done");
    service.stop();
    site.assert_all("GET k", &text("v"));
    site.repair();
}

/// Keys that are counted at both sides.
const COUNTED: usize = 300;

fn diverge(site: &Site) {
    for number in 0..COUNTED {
        site.cmd(0, &format!("INCRBY n{number} 1"));
        site.cmd(1, &format!("INCRBY n{number} 2"));
        site.cmd(1, &format!("HSET h{number} f w"));
    }
    site.cmd(1, "DEL gone");
}

fn is_settled(site: &Site) -> bool {
    let holds = |server, words: String, value: &str| site.cmd(server, &words) == text(value);
    (0..2).all(|server| {
        site.cmd(server, "EXISTS gone") == Value::Int(0)
            && (0..COUNTED).all(|number| {
                holds(server, format!("GET n{number}"), "103")
                    && holds(server, format!("HGET h{number} f"), "w")
            })
    })
}

#[test]
fn a_disk_that_becomes_full_fails_the_run_and_the_service_recovers_when_there_is_room() {
    let site = Site::counting(2);
    let disk = Disk::mount(&site.state(), "96m");
    for number in 0..COUNTED {
        site.cmd(0, &format!("SET n{number} 100"));
        site.cmd(0, &format!("HSET h{number} f {}", "v".repeat(2_000)));
    }
    site.cmd(0, "SET gone v");
    let mut service = Service::start(&site, &disk.within());
    service.says("is done");
    disk.fill_but(160);
    diverge(&site);
    let line = service.says("no space left on the disk");
    assert!(line.contains("/state"), "{line}");
    // It lives on, and says again what is in the way.
    service.says("no space left on the disk");
    assert!(!is_settled(&site), "there was no room for all of it");
    disk.make_room();
    service.says("is done");
    // That one may have begun before.
    service.says("is done");
    assert!(is_settled(&site), "{}", service.said.join("\n"));
    service.stop();
    let runs = Reknit::new(["runs"])
        .env("REKNIT_CONFIG", &config(&site).display().to_string())
        .within(&disk.within())
        .run();
    runs.assert_code(0);
}

#[test]
fn notes_on_schedules_that_cannot_be_read_begin_anew_and_it_is_said() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    site.cmd(1, "DEL k");
    let note = |change: Option<&[u8]>| {
        let state = State::open(Opening {
            dir: &site.state(),
            now: Millis(0),
            purpose: "test",
            random: [1; 64],
        });
        let state = state.unwrap();
        if let Some(bytes) = change {
            state.put_note("planner", bytes).unwrap();
        }
        state.note("planner").unwrap().unwrap()
    };
    note(Some(b"{\"schedules\": 7"));
    let mut service = Service::start(&site, &[]);
    let line = service.says("what was remembered of schedules cannot be read");
    assert!(line.contains("they begin anew"), "{line}");
    service.says("is done");
    service.stop();
    site.assert_all("EXISTS k", &Value::Int(0));
    let kept: serde_json::Value = serde_json::from_slice(&note(None)).unwrap();
    assert!(kept["schedules"]["often"].is_object(), "{kept}");
}
