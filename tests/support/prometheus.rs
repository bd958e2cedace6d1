//! A Prometheus as a child process, on a free port and in a directory of its own, and what it answers.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::server::free_port;

/// How long anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(90);
/// The pause between two questions.
const POLL: Duration = Duration::from_millis(100);

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes this port five times a second, with a token, and evaluates rules as often.
    pub(crate) fn start(target: u16, token_file: &Path, rules: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("rules.yaml"), rules).expect("room for the rules");
        let config = format!(
            "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n\
             - job_name: reknit\n  \
               authorization: {{ type: Bearer, credentials_file: {} }}\n  \
               static_configs: [{{ targets: [\"127.0.0.1:{target}\"] }}]\n",
            token_file.display()
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("room for it");
        let port = free_port();
        let log = std::fs::File::create(dir.path().join("log")).expect("room for the log");
        let child = Command::new("prometheus")
            .current_dir(dir.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus ({error}): make prometheus installs it"));
        let prometheus = Self {
            child,
            port,
            _dir: dir,
        };
        wait("Prometheus is ready", || {
            let url = format!("http://127.0.0.1:{port}/-/ready");
            ureq::get(&url).call().is_ok().then_some(())
        });
        prometheus
    }

    /// What an expression comes to now.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let answer = ureq::get(&url)
            .query("query", expression)
            .config()
            .http_status_as_error(false)
            .build()
            .call();
        let mut answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let answer: Value = answer.body_mut().read_json().expect("JSON");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let result = answer["data"]["result"].as_array();
        result.expect("a vector").clone()
    }

    /// Waits until an expression comes to something.
    pub(crate) fn wait_for(&self, expression: &str) {
        wait(expression, || {
            (!self.query(expression).is_empty()).then_some(())
        });
    }

    /// Waits until an alert fires, or none of that name does.
    pub(crate) fn wait_for_alert(&self, name: &str, fires: bool) {
        let alert = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
        let what = format!("{name} fires: {fires}");
        wait(&what, || {
            (self.query(&alert).is_empty() != fires).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks until there is an answer.
pub(crate) fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(POLL);
    }
    panic!("in vain, after {LIMIT:?}: {what}");
}
