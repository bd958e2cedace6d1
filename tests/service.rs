//! The service on real servers: it keeps replicas in sync, obeys, and survives what happens to it.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(clippy::disallowed_methods)] // it measures how long a process takes

mod service_support;
mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use service_support::Place;

const OFTEN: &str = "schedules: [{ name: often, every: 1s }]";

/// Slow enough to be met on its way.
const SLOW: &str = "limits: { keys_per_second: 2000 }";

#[test]
fn replicas_are_kept_in_sync_and_a_signal_ends_it_within_seconds() {
    let place = Place::new(3, OFTEN);
    place.servers[0].cmd(["SET", "k", "v"]);
    place.servers[1].cmd(["SADD", "s", "a"]);
    let daemon = place.start();
    daemon.until("the key is everywhere", |_| place.get(2, "k"));
    // Deleted at one of them, it is deleted by a later run.
    place.servers[2].cmd(["DEL", "k"]);
    daemon.until("the key is gone", |_| {
        place.get(0, "k").is_none().then_some(())
    });
    let status = daemon.until("a run has succeeded", |daemon| {
        let status = daemon.json("/api/v1/status");
        let succeeded = status["schedules"][0]["last_success_ms"].is_i64();
        succeeded.then_some(status)
    });
    let often = &status["schedules"][0];
    assert_eq!(often["overdue"], false, "{status}");
    assert!(often["next_run_ms"].is_i64(), "{status}");
    assert_eq!(status["memory"], true);
    let asked = Instant::now();
    daemon.process.signal("TERM");
    let outcome = daemon.process.finish();
    outcome.assert_code(0);
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_run_is_paused_resumed_and_cancelled_while_it_works() {
    let place = Place::new(2, SLOW);
    place.fill(0, 20_000);
    let daemon = place.start();
    let id = daemon.begin("{}");
    let scanned = |at_least: u64| {
        daemon.until("keys are read", |daemon| {
            let scanned = daemon.run(id)["work"]["scanned"].as_u64().unwrap();
            (scanned > at_least).then_some(scanned)
        })
    };
    scanned(0);
    let (status, text) = daemon.post("/api/v1/runs", "{}");
    assert_eq!(status, 409, "one at a time: {text}");
    let control = |what: &str| daemon.post(&format!("/api/v1/runs/{id}/{what}"), "").0;
    assert_eq!(control("pause"), 204);
    assert_eq!(daemon.run(id)["state"], "paused");
    // What was let through before may still be counted; after that nothing is.
    let (mut before, mut still) = (scanned(0), 0);
    while still < 50 {
        let now = daemon.run(id)["work"]["scanned"].as_u64().unwrap();
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    assert_eq!(control("resume"), 204);
    scanned(before);
    assert_eq!(control("cancel"), 204);
    let run = daemon.ended(id);
    assert_eq!(
        (&run["state"], &run["note"]),
        (&"stopped".into(), &"cancelled by an operator".into())
    );
    assert_eq!(control("pause"), 409);
    assert_eq!(daemon.post("/api/v1/runs/999/pause", "").0, 404);
}

#[test]
fn killed_in_the_middle_of_a_run_it_goes_on_when_it_is_back() {
    let rest = "schedules: [{ name: daily, every: 1d }]\nkeyspaces: [{ name: small, db: 0 }, { name: large, db: 1 }]\n";
    let place = Place::new(2, &format!("{rest}{SLOW}"));
    place.fill(0, 50);
    place.fill(1, 4000);
    place.servers[0].cmd(["SET", "only", "here"]);
    let daemon = place.start();
    daemon.until("the second database is read", |daemon| {
        let run = daemon.run(1);
        let second =
            run["work"]["segment"] == "database 1" && run["work"]["scanned"].as_u64() > Some(100);
        second.then_some(())
    });
    assert_eq!(
        place.get(1, "only").as_deref(),
        Some("here"),
        "the first is done"
    );
    daemon.process.signal("KILL");
    daemon.process.finish();
    let daemon = place.start();
    let run = daemon.ended(2);
    assert_eq!(run["state"], "done", "{run}");
    assert_eq!(run["schedule"], "daily");
    // The first run is in the log, and not taken for one that ended.
    let first = daemon.run(1);
    assert_eq!(
        (&first["state"], &first["ended_ms"]),
        (&"failed".into(), &serde_json::Value::Null)
    );
    assert_eq!(first["taken_up_by"], 2, "{first}");
    // It is not due again.
    let status = daemon.json("/api/v1/status");
    assert!(status["current"].is_null(), "{status}");
    assert!(
        status["schedules"][0]["last_success_ms"].is_i64(),
        "{status}"
    );
}

#[test]
fn a_hangup_reads_the_configuration_anew_and_a_bad_one_is_refused() {
    let place = Place::new(2, "schedules: [{ name: daily, every: 1d }]");
    let daemon = place.start();
    let names = || {
        let schedules = daemon.json("/api/v1/schedules");
        let all = schedules["schedules"].as_array().unwrap().clone();
        all.iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["daily"]);
    place.configure("schedules: [{ name: weekly, every: 7d }]");
    daemon.process.signal("HUP");
    daemon.until("the new schedule is there", |_| {
        (names() == ["weekly"]).then_some(())
    });
    place.configure("schedules: [{ name: broken, every: 0s }]");
    let (status, text) = daemon.post("/api/v1/reload", "");
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("every 0 never rests"), "{text}");
    place.configure("state: none");
    let (status, _) = daemon.post("/api/v1/reload", "");
    assert_eq!(status, 400);
    assert_eq!(names(), ["weekly"]);
    daemon.process.signal("TERM");
    daemon.process.finish().assert_code(0);
}

#[test]
fn a_deadline_ends_a_run_and_a_run_is_undone() {
    let place = Place::new(
        2,
        &format!("schedules: [{{ name: short, every: 1d, deadline: 1s }}]\n{SLOW}"),
    );
    place.fill(0, 20_000);
    let daemon = place.start();
    let run = daemon.ended(1);
    assert_eq!(run["note"], "it took longer than its deadline", "{run}");
    place.servers[0].cmd(["SET", "k:1", "newer"]);
    let id = daemon.begin(r#"{"selection": {"keys": ["k:1"]}, "reason": "a try"}"#);
    let run = daemon.ended(id);
    assert_eq!(
        (&run["state"], &run["counts"]["written"]),
        (&"done".into(), &1.into()),
        "{run}"
    );
    assert_eq!(place.get(1, "k:1").as_deref(), Some("newer"));
    let (status, text) = daemon.post(&format!("/api/v1/runs/{id}/undo"), "{}");
    assert_eq!(status, 202, "{text}");
    let undone = daemon.ended(id + 1);
    assert_eq!(undone["purpose"], format!("undo {id}"), "{undone}");
    assert_eq!(place.get(1, "k:1").as_deref(), Some("1"));
    assert_eq!(daemon.post("/api/v1/runs/999/undo", "{}").0, 404);
}

#[test]
fn people_are_told_of_a_run_that_missed_a_replica_and_it_is_not_taken_for_a_success() {
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", hook.local_addr().unwrap());
    let rest = format!("{OFTEN}\nnotifications: {{ webhook: {{ url: \"{url}\" }} }}");
    let mut place = Place::new(3, &rest);
    place.servers[2].kill();
    place.servers[0].cmd(["SET", "k", "v"]);
    let daemon = place.start();
    let run = daemon.ended(1);
    assert_eq!(run["state"], "partial", "{run}");
    assert_eq!(
        place.get(1, "k").as_deref(),
        Some("v"),
        "the others are repaired"
    );
    // That the schedule is overdue may be told before.
    while !heard(&hook).contains("\"event\":\"partial\"") {}
    let status = daemon.json("/api/v1/status");
    assert!(
        status["schedules"][0]["last_success_ms"].is_null(),
        "{status}"
    );
    place.servers[2].restart();
    daemon.until("all are in sync", |_| place.get(2, "k"));
    daemon.until("that is a success", |daemon| {
        daemon.json("/api/v1/schedules")["schedules"][0]["last_success_ms"].as_i64()
    });
}

/// What the next message to a webhook says; it is taken.
fn heard(hook: &TcpListener) -> String {
    let (mut told, _) = hook.accept().unwrap();
    let mut body = String::new();
    while !body.ends_with('}') {
        let mut bytes = [0; 4096];
        let read = told.read(&mut bytes).unwrap();
        assert!(read > 0, "{body}");
        body.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    told.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        .unwrap();
    body
}

#[test]
fn two_services_do_not_work_on_one_state_directory() {
    let place = Place::new(2, OFTEN);
    let daemon = place.start();
    let yaml = place.yaml(OFTEN).replace("http: {", "# http: {");
    let other = place.dir.path().join("other.yaml");
    let free = service_support::free_port();
    std::fs::write(
        &other,
        format!("{yaml}http: {{ listen: \"127.0.0.1:{free}\" }}\n"),
    )
    .unwrap();
    let second = support::reknit::Reknit::new(["run", "--config"])
        .args([other])
        .run();
    second.assert_code(4);
    assert!(
        second.stderr.contains(&daemon.process.pid().to_string()),
        "{second}"
    );
}
