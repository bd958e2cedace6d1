//! What an operator does beside a service that holds the state directory: by commands alone, and with the same reports.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod api_support;
mod support;

use serde_json::{Value, json};

use api_support::daemon::Daemon;
use api_support::http::Request;
use support::reknit::Outcome;
use support::site::{assert_says, json as document};

fn set(daemon: &Daemon, server: usize, key: &str, value: &str) {
    let mut client = daemon.servers[server].client();
    redis::cmd("SET")
        .arg(key)
        .arg(value)
        .exec(&mut client)
        .unwrap();
}

fn get(daemon: &Daemon, server: usize, key: &str) -> Option<String> {
    let mut client = daemon.servers[server].client();
    redis::cmd("GET").arg(key).query(&mut client).unwrap()
}

/// A run of the service that overwrites `user:1` and `user:2` at eu and adds `new:1` there.
fn with_repair(daemon: &Daemon) -> u64 {
    daemon.until_idle();
    for key in ["user:1", "user:2"] {
        set(daemon, 0, key, "right");
        set(daemon, 1, key, "wrong");
    }
    set(daemon, 0, "new:1", "added");
    let run = daemon
        .ask(&["run-now", "--all", "--wait", "--format", "json"])
        .run();
    run.assert_code(0);
    assert_eq!(get(daemon, 1, "user:1").as_deref(), Some("right"));
    document(&run)["run"].as_u64().unwrap()
}

#[test]
fn the_log_and_the_writes_read_the_same_beside_the_service_and_without_it() {
    let mut daemon = Daemon::start();
    let run = with_repair(&daemon).to_string();
    let commands = [
        vec!["runs"],
        vec!["runs", "--limit", "1", "--format", "json"],
        vec!["runs", "show", &run],
        vec!["runs", "show", &run, "--format", "ndjson"],
        vec![
            "runs",
            "show",
            &run,
            "--key",
            "user:2",
            "--replica",
            "eu",
            "--format",
            "json",
        ],
        vec!["runs", "show", &run, "--limit", "1"],
    ];
    let said = |daemon: &Daemon| -> Vec<String> {
        let outcomes = commands.iter().map(|words| daemon.beside(words).run());
        let text = |outcome: Outcome| outcome.assert_code(0).stdout.clone();
        outcomes.map(text).collect()
    };
    let beside = said(&daemon);
    assert!(beside[2].contains("3 writes"), "{}", beside[2]);
    for (words, code) in [
        (["runs", "show", "99"], 2),
        (["runs", "divergences", "99"], 2),
    ] {
        let unknown = daemon.ask(&words).run();
        unknown.assert_code(code);
        assert_says(&unknown, &["the service refuses", "99"]);
    }
    assert!(daemon.stop().success());
    assert_eq!(beside, said(&daemon));
}

#[test]
fn a_run_is_undone_beside_the_service() {
    let daemon = Daemon::start();
    let run = with_repair(&daemon).to_string();
    set(&daemon, 1, "user:2", "newer");
    let preview = daemon.beside(&["undo", &run, "--dry-run"]).run();
    preview.assert_code(1);
    assert_says(
        &preview,
        &[
            "2 of 3 writes of run",
            "would be put back",
            "\"user:2\" at eu: kept: it was written since",
        ],
    );
    assert_eq!(get(&daemon, 1, "user:1").as_deref(), Some("right"));
    let stranger = daemon.beside(&["undo", &run, "--replica", "nobody"]).run();
    stranger.assert_code(2);
    assert_says(&stranger, &["no replica `nobody` is remembered"]);
    let undone = daemon
        .beside(&[
            "undo", &run, "--key", "user:1", "--key", "user:2", "--format", "json",
        ])
        .run();
    undone.assert_code(1);
    let undone = document(&undone);
    assert_eq!(undone["fates"], json!({ "changed": 1, "undone": 1 }));
    assert_eq!(undone["writes"].as_array().unwrap().len(), 2);
    assert_eq!(get(&daemon, 1, "user:1").as_deref(), Some("wrong"));
    assert_eq!(get(&daemon, 1, "new:1").as_deref(), Some("added"));
    let status = daemon.get("/api/v1/status");
    let undo = &status["last"];
    assert_eq!(undo["counts"], json!({ "changed": 1, "undone": 1 }));
    assert_eq!(undo["undoes"].to_string(), run);
    // Three keys by the repair, one by the undo.
    let metrics = daemon
        .request("GET", "/metrics")
        .send(daemon.address)
        .text();
    let written = "reknit_keys_written_total{datacenter=\"eu\",replica=\"eu\"} 4\n";
    assert!(metrics.contains(written), "{metrics}");
}

#[test]
fn a_guard_that_stops_an_undo_is_told_and_counted() {
    let daemon = Daemon::start();
    daemon.until_idle();
    for index in 0..150 {
        set(&daemon, 0, &format!("key:{index}"), "value");
    }
    let run = daemon
        .ask(&["run-now", "--all", "--wait", "--format", "json"])
        .run();
    let run = document(&run)["run"].to_string();
    // What the run added, the undo would delete: far more than a hundredth of what eu holds.
    let stopped = daemon.beside(&["undo", &run]).run();
    stopped.assert_code(4);
    assert_says(&stopped, &["STOPPED: 150 of the 15", "--force-deletes N"]);
    let last = daemon.get("/api/v1/status")["last"].clone();
    assert_eq!(last["state"], "stopped");
    assert!(
        last["note"].as_str().unwrap().contains("eu: deletes 150"),
        "{last:#}"
    );
    let metrics = daemon
        .request("GET", "/metrics")
        .send(daemon.address)
        .text();
    let tripped = "reknit_guard_trips_total{datacenter=\"eu\",guard=\"delete\",replica=\"eu\"} 1";
    assert!(metrics.contains(tripped), "{metrics}");
    let why = ["--force-deletes", "150", "--reason", "of the wrong day"];
    let forced = daemon.beside(&["undo", &run]).args(why).run();
    forced.assert_code(0);
    assert_says(&forced, &["put back 150 of 150 writes"]);
    assert_eq!(get(&daemon, 1, "key:7"), None);
    assert_says(&daemon.beside(&["runs"]).run(), &["of the wrong day"]);
}

#[test]
fn a_key_is_explained_beside_the_service_as_without_it() {
    let mut daemon = Daemon::start();
    with_repair(&daemon);
    set(&daemon, 1, "user:1", "else");
    let commands = [
        (vec!["explain", "user:1"], 1),
        (vec!["explain", "user:1", "--format", "json"], 1),
        (vec!["explain", "user:2"], 0),
    ];
    let said = |daemon: &Daemon| -> Vec<String> {
        let explained = commands.iter().map(|(words, code)| {
            let outcome = daemon.beside(words).run();
            outcome.assert_code(*code);
            // The order of members means nothing.
            match words.contains(&"json") {
                true => document(&outcome).to_string(),
                false => outcome.stdout,
            }
        });
        explained.collect()
    };
    let beside = said(&daemon);
    let own = daemon.beside(&["explain", "reknit:marker:0"]).run();
    own.assert_code(2);
    assert!(daemon.stop().success());
    assert_eq!(beside, said(&daemon));
}

#[test]
fn selected_keys_are_compared_and_repaired_by_the_service() {
    let daemon = Daemon::start();
    daemon.until_idle();
    for key in ["a:1", "a:2", "b:1"] {
        set(&daemon, 0, key, "x");
    }
    // What it does itself where nobody holds the state directory, a command tells how to have done.
    let refused = daemon
        .beside(&["repair", "--match", "a:*", "--type", "string"])
        .run();
    refused.assert_code(4);
    let instead = "reknit run-now --wait --match 'a:*' --type string";
    assert_says(&refused, &[instead, "in use by process"]);
    let refused = daemon.beside(&["diff"]).run();
    refused.assert_code(4);
    assert_says(&refused, &["reknit run-now --wait --diff --all"]);
    let looked = daemon
        .ask(&["run-now", "--wait", "--diff", "--match", "a:*"])
        .run();
    looked.assert_code(1);
    assert_says(
        &looked,
        &["is done", "2 keys differed, `reknit runs divergences"],
    );
    assert_eq!(get(&daemon, 1, "a:1"), None);
    let run = daemon.get("/api/v1/status")["last"]["id"].to_string();
    let shown = daemon.ask(&["runs", "divergences", &run]).run();
    assert_says(
        &shown,
        &["2 keys differed", "\"a:1\": string, missing, diverged"],
    );
    let shown = daemon
        .ask(&["runs", "divergences", &run, "--format", "json"])
        .run();
    assert_eq!(document(&shown)["total"], 2);
    daemon
        .ask(&["run-now", "--wait", "--key", "a:1"])
        .run()
        .assert_code(0);
    assert_eq!(get(&daemon, 1, "a:1").as_deref(), Some("x"));
    assert_eq!(
        (get(&daemon, 1, "a:2"), get(&daemon, 1, "b:1")),
        (None, None)
    );
    for words in [
        &["run-now"][..],
        &["run-now", "often", "--key", "a"],
        &["run-now", "often", "--diff"],
    ] {
        daemon.ask(words).run().assert_code(2);
    }
    let forgotten = daemon.beside(&["forget", "eu", "--yes"]).run();
    forgotten.assert_code(4);
    assert_says(&forgotten, &["systemctl stop reknit"]);
}

#[test]
fn a_token_is_taken_from_the_configuration_beside_the_service() {
    let daemon = Daemon::with(", token_file: token", Some("a token that nobody guesses"));
    let run = with_repair(&daemon).to_string();
    daemon.beside(&["runs", "show", &run]).run().assert_code(0);
    let dir = daemon.dir.path().join("state").display().to_string();
    let without = support::reknit::Reknit::new(["runs", "--state-dir", &dir]).run();
    without.assert_code(2);
    assert_says(&without, &["the token is missing or wrong"]);
}

/// Limits under which a run takes long, with enough keys for that.
fn slow(daemon: &Daemon) {
    daemon.until_idle();
    for index in 0..300 {
        set(daemon, 0, &format!("key:{index}"), "value");
    }
    daemon.rewrite(|text| text.replace("limits: {  }", "limits: { keys_per_second: 1 }"));
    daemon.ask(&["reload"]).run().assert_code(0);
}

#[test]
fn a_paused_run_is_paused_after_a_restart() {
    let mut daemon = Daemon::start();
    slow(&daemon);
    daemon.ask(&["run-now", "often"]).run().assert_code(0);
    let is = |state: &'static str| move |status: &Value| status["current"]["state"] == state;
    daemon.until("a run works", is("running"));
    daemon.ask(&["pause"]).run().assert_code(0);
    daemon.restart();
    daemon.until("it is paused again", is("paused"));
    // What only looks is not held up by it.
    daemon.beside(&["explain", "key:1"]).run().assert_code(1);
    daemon.beside(&["runs"]).run().assert_code(0);
    assert!(daemon.log().contains("`reknit resume`"), "{}", daemon.log());
    daemon.ask(&["resume"]).run().assert_code(0);
    daemon.restart();
    let run = daemon.until("it goes on", is("running"))["current"]["id"].to_string();
    daemon.ask(&["cancel"]).run().assert_code(0);
    daemon.until_idle();
    // One that no schedule takes up says so.
    daemon.ask(&["run-now", "--all"]).run().assert_code(0);
    daemon.restart();
    let log = daemon.beside(&["runs"]).run();
    assert_says(&log, &[&run, "ask for it again when that is back"]);
}

#[test]
fn the_log_counts_what_a_run_came_to() {
    let daemon = Daemon::start();
    let run = with_repair(&daemon);
    let log = daemon.log();
    let line = log
        .lines()
        .find(|line| line.contains(&format!("run {run} is done")));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for field in [
        &format!(
            " run={run} outcome=done keys=3 differing=3 repaired=3 left=0 overwrites=2 deletes=0 "
        ),
        " duration_ms=",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    // Of an undo, what became of the writes.
    daemon
        .beside(&["undo", &run.to_string()])
        .run()
        .assert_code(0);
    let log = daemon.log();
    assert!(log.contains("outcome=done undone=3 duration_ms="), "{log}");
}

#[test]
fn a_run_that_cannot_begin_is_one_that_failed() {
    let daemon = Daemon::start();
    daemon.until_idle();
    let secret = daemon.dir.path().join("secret");
    std::fs::write(&secret, "any will do").unwrap();
    let user = ", username: default, password_file: secret }";
    daemon.rewrite(|text| text.replacen(" }\n", &format!("{user}\n"), 1));
    daemon.ask(&["reload"]).run().assert_code(0);
    daemon
        .ask(&["run-now", "often", "--wait"])
        .run()
        .assert_code(0);
    std::fs::remove_file(&secret).unwrap();
    let failed = daemon.ask(&["run-now", "often", "--wait"]).run();
    failed.assert_code(2);
    assert_says(&failed, &["failed: it could not begin", "secret"]);
    let runs = daemon.beside(&["runs", "--limit", "1"]).run();
    assert_says(&runs, &["failed", "could not begin"]);
    // Nor one that an operator asks for: who asked is told, and so is who looks later.
    let asked = daemon.ask(&["run-now", "--all"]).run();
    asked.assert_code(2);
    assert_says(&asked, &["could not begin", "secret"]);
    let runs = daemon
        .beside(&["runs", "--limit", "1", "--format", "json"])
        .run();
    let last = &document(&runs)["runs"][0];
    assert_eq!(last["result"], "failed", "{last}");
    assert!(
        asked.stderr.contains(&format!("run {} ", last["number"])),
        "{last}"
    );
    let status = daemon.get("/api/v1/status");
    assert_eq!(status["last"]["id"], last["number"]);
    assert_eq!(status["last"]["schedule"], Value::Null);
    let metrics = daemon.request("GET", "/metrics").send(daemon.address);
    let counted = "reknit_runs_total{schedule=\"often\",state=\"failed\"} 1";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    // The next one has a number of its own.
    std::fs::write(&secret, "any will do").unwrap();
    daemon
        .ask(&["run-now", "often", "--wait"])
        .run()
        .assert_code(0);
}

#[test]
fn a_paused_schedule_that_leaves_the_configuration_comes_back_paused() {
    let mut daemon = Daemon::start();
    daemon.until_idle();
    daemon
        .ask(&["pause", "--schedule", "often"])
        .run()
        .assert_code(0);
    let named = |from: &'static str, to: &'static str| move |text: &str| text.replace(from, to);
    daemon.rewrite(named("name: often", "name: seldom"));
    daemon.ask(&["reload"]).run().assert_code(0);
    daemon.restart();
    daemon.rewrite(named("name: seldom", "name: often"));
    daemon.ask(&["reload"]).run().assert_code(0);
    let schedules = daemon.get("/api/v1/schedules");
    assert_eq!(schedules["schedules"][0]["name"], "often");
    assert_eq!(schedules["schedules"][0]["paused"], true);
}

#[test]
fn a_run_that_waits_for_its_window_is_taken_back() {
    let daemon = Daemon::start();
    daemon.until_idle();
    // Open for a minute half a day from now.
    let now = daemon.get("/api/v1/status")["now_ms"].as_i64().unwrap();
    let hour = (now / 3_600_000 + 12) % 24;
    let window = format!("every: 1d, window: \"{hour:02}:30-{hour:02}:31\"");
    daemon.rewrite(|text| text.replace("every: 1d", &window));
    daemon.ask(&["reload"]).run().assert_code(0);
    daemon.ask(&["run-now", "often"]).run().assert_code(0);
    assert_eq!(
        daemon.get("/api/v1/schedules")["schedules"][0]["asked"],
        true
    );
    let cancelled = daemon.ask(&["cancel", "--schedule", "often"]).run();
    cancelled.assert_code(0);
    assert_says(&cancelled, &["is taken back"]);
    assert_eq!(
        daemon.get("/api/v1/schedules")["schedules"][0]["asked"],
        false
    );
    let again = daemon.ask(&["cancel", "--schedule", "often"]).run();
    again.assert_code(2);
    assert_says(
        &again,
        &["no run of schedule often that was asked for waits"],
    );
    daemon
        .ask(&["cancel", "--schedule", "nobody"])
        .run()
        .assert_code(2);
}

#[test]
fn without_a_token_the_host_is_this_machine() {
    let daemon = Daemon::start();
    let guarded = Daemon::with(", token_file: token", Some("a token that nobody guesses"));
    let sent = |daemon: &Daemon, host: &str, method: &str, path: &str| {
        let request = daemon.request(method, path);
        let text = String::from_utf8(request.bytes()).unwrap();
        let bytes = text.replace("Host: localhost", &format!("Host: {host}"));
        api_support::http::send_bytes(daemon.address, bytes.as_bytes(), false).unwrap()
    };
    let address = daemon.address.to_string();
    for host in ["localhost:9310", &address, "[::1]:1"] {
        assert_eq!(
            sent(&daemon, host, "GET", "/api/v1/status").status,
            200,
            "{host}"
        );
    }
    for (method, path) in [
        ("GET", "/api/v1/status"),
        ("POST", "/api/v1/reload"),
        ("GET", "/metrics"),
    ] {
        let refused = sent(&daemon, "evil.example:9310", method, path);
        assert_eq!(refused.status, 403, "{path}");
        assert!(
            refused.text().contains("http.token_file"),
            "{}",
            refused.text()
        );
        assert_ne!(
            sent(&guarded, "reknit.example", method, path).status,
            403,
            "{path}"
        );
    }
}

#[test]
fn requests_that_mean_two_things_or_are_too_large_are_refused() {
    let daemon = Daemon::start();
    daemon.until_idle();
    let body = |text: &str| {
        let request = daemon.request("POST", "/api/v1/runs").body(text.into());
        request
            .header("Content-Type", "application/json")
            .send(daemon.address)
    };
    for (text, says) in [
        (
            r#"{"mode": "diff", "mode": "repair"}"#,
            "`mode` is there twice",
        ),
        (
            r#"{"selection": {"match": "a", "match": "*"}}"#,
            "`match` is there twice",
        ),
        (
            r#"{"reason": "line\u001b[2Jline"}"#,
            "without control characters",
        ),
        ("[]", "not an object"),
    ] {
        let answer = body(text);
        assert_eq!(answer.status, 400, "{text}: {}", answer.text());
        assert!(answer.text().contains(says), "{}", answer.text());
    }
    let long = body(&json!({ "reason": "x".repeat(1025) }).to_string());
    assert_eq!(long.status, 400);
    let slow = daemon
        .request("PUT", "/api/v1/limits")
        .json(&json!({ "intensity": 1e-8 }));
    assert_eq!(slow.send(daemon.address).status, 400);
    let head = |bytes: usize| {
        let request = Request::new("GET", "/api/v1/status").header("X-Long", &"a".repeat(bytes));
        request.send(daemon.address).status
    };
    assert_eq!((head(60_000), head(70_000)), (200, 431));
}
