//! What Prometheus and Grafana get to see: rules, dashboard and docs against a real service and a real Prometheus.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::prometheus::{Prometheus, wait};
use support::reknit::{Reknit, Running};
use support::server::{RedisServer, free_port};
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef-token";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

fn alerts() -> Vec<serde_yaml::Value> {
    let rules: serde_yaml::Value = serde_yaml::from_str(&read("config/alerts.yaml")).unwrap();
    rules["groups"][0]["rules"].as_sequence().unwrap().clone()
}

fn promtool(words: &[&str]) {
    let output = Command::new("promtool")
        .current_dir(file(""))
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("promtool ({error}): make prometheus installs it"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "promtool {words:?}:\n{said}");
}

#[test]
fn promtool_takes_the_rules_and_their_tests() {
    promtool(&["check", "rules", "config/alerts.yaml"]);
    promtool(&["check", "config", "config/prometheus.yaml"]);
    promtool(&["test", "rules", "tests/alerts/reknit.yaml"]);
}

#[test]
fn every_alert_is_tested_and_says_what_to_do() {
    let tests = read("tests/alerts/reknit.yaml");
    let runbook = read("docs/runbook.md");
    let anchors: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}");
        for annotation in ["summary", "description"] {
            assert!(alert["annotations"][annotation].is_string(), "{name}");
        }
        let anchor = alert["annotations"]["runbook"].as_str().unwrap();
        let anchor = anchor.strip_prefix("docs/runbook.md#").unwrap();
        assert!(anchors.contains(anchor), "{name}: {anchor}");
        let fires = format!("alertname: {name}\n");
        assert!(tests.contains(&fires), "{name} is not shown to fire");
    }
}

/// The expressions of the dashboard, with its variables filled in as for "all".
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("dashboards/reknit.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let filled = |target: &Value| {
        let mut filled = target["expr"].as_str().unwrap().to_owned();
        for (variable, value) in [
            ("$__rate_interval", "2m"),
            ("$__range", "5m"),
            ("$schedule", ".*"),
            ("$replica", ".*"),
            ("$job", ".*"),
        ] {
            filled = filled.replace(variable, value);
        }
        assert!(!filled.contains('$'), "{filled}");
        filled
    };
    targets.flatten().map(filled).collect()
}

/// A service over three servers.
struct Stage {
    servers: Vec<RedisServer>,
    dir: TempDir,
    port: u16,
    service: Option<Running>,
}

impl Stage {
    fn start() -> Self {
        let mut stage = Self {
            servers: (0..3).map(|_| RedisServer::start()).collect(),
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            service: None,
        };
        std::fs::write(stage.token_file(), TOKEN).unwrap();
        stage.configure(0);
        let config = stage.dir.path().join("reknit.yaml");
        let args = ["run".into(), "-c".into(), config.into_os_string()];
        stage.service = Some(Reknit::new(args).spawn());
        wait("the service is ready", || {
            let url = format!("http://127.0.0.1:{}/readyz", stage.port);
            ureq::get(&url).call().is_ok().then_some(())
        });
        stage
    }

    fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    fn configure(&self, keys_per_second: u64) {
        let replica = |(place, server): (usize, &RedisServer)| {
            let url = server.url();
            format!("- {{ name: r{place}, datacenter: dc{place}, url: \"{url}\" }}\n")
        };
        let replicas: String = self.servers.iter().enumerate().map(replica).collect();
        let yaml = format!(
            "replicas:\n{replicas}\
             state: {{ dir: state }}\n\
             guards: {{ settle: 10ms, max_overwrite_ratio: 1.0 }}\n\
             limits: {{ keys_per_second: {keys_per_second} }}\n\
             http: {{ listen: \"127.0.0.1:{}\", token_file: token }}\n\
             schedules: [{{ name: often, every: 10s }}]\n",
            self.port
        );
        std::fs::write(self.dir.path().join("reknit.yaml"), yaml).unwrap();
    }

    /// Each server lacks some keys, holds some otherwise, and has members of its own.
    fn diverge(&self, round: usize) {
        for (place, server) in self.servers.iter().enumerate() {
            let mut client = server.client();
            let mut pipe = redis::pipe();
            for key in 0..100 {
                pipe.cmd("SET").arg(format!("{round}:same:{key}")).arg("v");
            }
            for key in 0..10 {
                let own = format!("{round}:alone:{place}:{key}");
                pipe.cmd("SET").arg(own).arg("v");
                let other = format!("{round}:other:{key}");
                pipe.cmd("SET").arg(other).arg(place);
                let set = format!("{round}:set:{key}");
                pipe.cmd("SADD").arg(set).arg("all").arg(place);
            }
            pipe.query::<()>(&mut client).unwrap();
        }
    }

    fn post(&self, path: &str) {
        let url = format!("http://127.0.0.1:{}/api/v1{path}", self.port);
        let bearer = format!("Bearer {TOKEN}");
        let answer = ureq::post(&url)
            .header("Authorization", bearer)
            .send_empty();
        answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn get(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let bearer = format!("Bearer {TOKEN}");
        let answer = ureq::get(&url).header("Authorization", bearer).call();
        let mut answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        answer.body_mut().read_to_string().unwrap()
    }

    fn current(&self) -> Option<u64> {
        let status: Value = serde_json::from_str(&self.get("/api/v1/status")).unwrap();
        let current = &status["current"];
        current["id"].as_u64()
    }

    /// Starts a run of the schedule and pauses it while it works; answers its number.
    fn pause_in_a_run(&self) -> u64 {
        self.post("/schedules/often/run");
        let run = wait("a run works", || self.current());
        self.post(&format!("/runs/{run}/pause"));
        run
    }
}

/// Name, type and labels of what is published; histograms without their own label.
fn published(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    let mut help = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, words)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        {
            help.insert(name.to_owned(), words.to_owned());
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let entry = (kind.to_owned(), help[name].clone(), BTreeSet::new());
            families.insert(name.to_owned(), entry);
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let bare = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|bare| families.contains_key(*bare));
            let entry = families.get_mut(bare.unwrap_or(name)).unwrap();
            let labels = line.split_once('{').map_or("", |(_, rest)| rest);
            let labels = labels.split("\",").filter_map(|one| one.split_once("=\""));
            let labels = labels.map(|(label, _)| label.to_owned());
            entry.2.extend(labels.filter(|label| label != "le"));
        }
    }
    families
}

/// The same, as the docs say it.
fn documented() -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let docs = read("docs/metrics.md");
    let rows = docs.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, words] = cells[..] else {
            panic!("{line}");
        };
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(str::to_owned).collect();
        let described = (kind.to_owned(), words.to_owned(), labels);
        (name.trim_matches('`').to_owned(), described)
    };
    rows.map(row).collect()
}

fn value(prometheus: &Prometheus, expression: &str) -> f64 {
    let found = prometheus.query(expression);
    assert_eq!(found.len(), 1, "{expression}: {found:?}");
    found[0]["value"][1].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_real_prometheus_sees_a_real_run() {
    let stage = Stage::start();
    // The first run is due at once: it finds nothing.
    stage.post("/schedules/often/pause");
    wait("no run works", || stage.current().is_none().then_some(()));
    stage.diverge(0);
    // As they are shipped, but nobody waits for minutes.
    let rules = read("config/alerts.yaml");
    let rules: Vec<&str> = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with("for: "))
        .collect();
    let prometheus = Prometheus::start(stage.port, &stage.token_file(), &rules.join("\n"));
    prometheus.wait_for("up{job=\"reknit\"} == 1");

    // A schedule that does not run becomes overdue, and is no more when it has succeeded.
    prometheus.wait_for_alert("ReknitOverdue", true);
    stage.post("/schedules/often/run");
    stage.post("/schedules/often/resume");
    prometheus.wait_for_alert("ReknitOverdue", false);
    stage.post("/schedules/often/pause");
    prometheus.wait_for("reknit_run_state{state=\"idle\"} == 1");

    // What it found and did: 30 keys that one server had alone, 10 that were set otherwise, 10 sets.
    let found = |kind: &str| {
        value(
            &prometheus,
            &format!("reknit_divergences_total{{kind=\"{kind}\"}}"),
        )
    };
    assert_eq!(found("missing"), 30.0);
    assert_eq!(found("conflict") + found("stale"), 20.0);
    let repaired = value(&prometheus, "sum(reknit_repaired_keys_total)");
    assert_eq!(repaired, 50.0);
    let sets = "sum(reknit_repaired_keys_total{type=\"set\",rule=\"add-wins\"})";
    assert_eq!(value(&prometheus, sets), 10.0);
    assert_eq!(value(&prometheus, "reknit_keyspace_divergent_keys"), 0.0);
    assert_eq!(prometheus.query("reknit_read_bytes_total > 1000").len(), 3);
    let gone = prometheus.query("reknit_run_progress_ratio or reknit_node_latency_seconds");
    assert!(gone.is_empty(), "{gone:?}");

    // A run that lasts, and is paused: everything there is can be seen.
    stage.configure(20);
    stage.post("/reload");
    stage.diverge(1);
    let run = stage.pause_in_a_run();
    stage.post("/schedules/often/resume");
    prometheus.wait_for("reknit_schedule_next_run_timestamp_seconds > 0");
    prometheus.wait_for("reknit_run_state{state=\"paused\"} == 1");
    prometheus.wait_for("reknit_node_latency_seconds");
    prometheus.wait_for("reknit_pacing_waiting{reason=\"paused\"} == 1");
    assert_eq!(published(&stage.get("/metrics")), documented());
    for expression in expressions() {
        let data = prometheus.query(&expression);
        assert!(!data.is_empty(), "no data: {expression}");
    }
    for alert in alerts() {
        prometheus.query(alert["expr"].as_str().unwrap());
    }
    stage.post(&format!("/runs/{run}/cancel"));
    prometheus.wait_for("reknit_run_state{state=\"idle\"} == 1");
    let service = stage.service.as_ref().unwrap();
    service.signal("TERM");
    prometheus.wait_for_alert("ReknitDown", true);
}

#[test]
fn without_the_token_nothing_is_shown() {
    let stage = Stage::start();
    let url = format!("http://127.0.0.1:{}/metrics", stage.port);
    let refused = ureq::get(&url).call();
    assert!(
        matches!(refused, Err(ureq::Error::StatusCode(401))),
        "{refused:?}"
    );
    let text = stage.get("/metrics");
    for series in [
        "reknit_schedule_overdue{schedule=\"often\"} 0",
        "reknit_runs_total{schedule=\"often\",state=\"partial\"} 0",
        "reknit_guard_trips_total{datacenter=\"dc0\",guard=\"delete\",replica=\"r0\"} 0",
        "reknit_divergences_total{keyspace=\"default\",kind=\"conflict\"} 0",
        "reknit_pacing_wait_seconds_total{datacenter=\"dc2\",reason=\"latency\",replica=\"r2\"} 0",
        "reknit_run_state{state=\"paused\"} 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series}\n{text}");
    }
}
