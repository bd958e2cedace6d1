//! The commands that speak to the service, and whom it lets in.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod api_support;
mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use api_support::daemon::Daemon;
use api_support::http::Request;
use support::reknit::Reknit;
use support::site::{assert_says, json};

const TOKEN: &str = "a token that nobody guesses";

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

fn guarded() -> Daemon {
    Daemon::with(", token_file: token", Some(TOKEN))
}

/// Makes a certificate for 127.0.0.1 that signs itself.
fn self_signed(dir: &Path) {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=reknit"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args([
            "-out".as_ref(),
            certificate.as_os_str(),
            "-keyout".as_ref(),
            key.as_os_str(),
        ])
        .output()
        .expect("openssl runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// A run that works until it is told otherwise: it may read a key a second.
fn with_long_run(daemon: &Daemon) -> u64 {
    daemon.until_idle();
    let mut client = daemon.servers[0].client();
    for index in 0..500 {
        redis::cmd("SET")
            .arg(format!("key:{index}"))
            .arg("value")
            .exec(&mut client)
            .unwrap();
    }
    daemon
        .ask(&["limits", "--keys-per-second", "1"])
        .run()
        .assert_code(0);
    daemon.ask(&["run-now", "often"]).run().assert_code(0);
    let working = |status: &Value| status["current"]["state"] == "running";
    daemon.until("a run works", working)["current"]["id"]
        .as_u64()
        .unwrap()
}

#[test]
fn who_has_no_token_is_let_in_nowhere_but_to_the_health_of_the_service() {
    let daemon = guarded();
    let send = |request: Request| request.send(daemon.address);
    for path in ["/api/v1/status", "/api/v1/openapi.json", "/api/v1/limits"] {
        let with = |header: &str| Request::new("GET", path).header("Authorization", header);
        let wrong = [
            Request::new("GET", path),
            with("Bearer a token that somebody guessed"),
            with(TOKEN),
            with(&format!("Basic {TOKEN}")),
            with("Bearer "),
            with(&format!("Bearer {TOKEN}x")),
        ];
        for request in wrong {
            let answer = send(request.clone());
            assert_eq!(answer.status, 401, "{request:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.json()["error"]["code"], "unauthorized");
        }
        let right = send(with(&format!("bearer {TOKEN}")));
        assert_eq!(right.status, 200, "{path}");
    }
    for (path, says) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = send(Request::new("GET", path));
        assert_eq!((answer.status, answer.text().as_str()), (200, says));
    }
    assert!(!daemon.log().contains(TOKEN), "{}", daemon.log());
}

#[test]
fn a_web_page_changes_nothing() {
    for daemon in [guarded(), Daemon::start()] {
        let from_page = |method: &str, path: &str| {
            let request = daemon
                .request(method, path)
                .header("Origin", "http://evil.example");
            request.send(daemon.address)
        };
        for path in [
            "/api/v1/schedules/often/pause",
            "/api/v1/reload",
            "/api/v1/runs",
        ] {
            let answer = from_page("POST", path);
            assert_eq!(answer.status, 403, "{path}");
            assert_eq!(answer.json()["error"]["code"], "forbidden");
        }
        assert_eq!(from_page("PUT", "/api/v1/limits").status, 403);
        assert_eq!(
            daemon.get("/api/v1/schedules")["schedules"][0]["paused"],
            false
        );
        // What it may read it cannot see: nothing tells the browser to show it.
        let read = from_page("GET", "/api/v1/status");
        assert_eq!(read.status, 200);
        assert_eq!(read.header("access-control-allow-origin"), None);
    }
}

#[test]
fn over_tls_the_certificate_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    self_signed(dir.path());
    let tls = ", token_file: token, tls: { certificate: cert.pem, key: key.pem }";
    let daemon = Daemon::in_dir(dir, tls, Some(TOKEN));
    let url = format!("https://{}", daemon.address);
    let file = |name: &str| daemon.dir.path().join(name).display().to_string();
    let ask = |more: &[&str]| {
        let asked = Reknit::new(["status", "--url", &url]).args(["--token-file", &file("token")]);
        asked.args(more.iter().copied()).run()
    };
    let status = ask(&["--ca-file", &file("cert.pem"), "--format", "json"]);
    status.assert_code(0);
    assert_eq!(json(&status)["schema"], "reknit.status/1");
    let unknown = ask(&[]);
    unknown.assert_code(2);
    assert_says(&unknown, &["cannot be reached", "UnknownIssuer"]);
    let empty = ask(&["--ca-file", &file("token")]);
    empty.assert_code(2);
    assert_says(&empty, &["there is none in it"]);
    // The configuration names both files itself, and the address but for its port, which is any here.
    let by_config = Reknit::new(["status", "--config", &file("reknit.yaml"), "--url", &url]).run();
    by_config.assert_code(0);
    let plain = Reknit::new(["status", "--url", &url.replace("https", "http")]).run();
    plain.assert_code(2);
}

#[test]
fn a_run_is_paused_resumed_and_cancelled() {
    let daemon = guarded();
    let run = with_long_run(&daemon);
    let is = |state: &'static str| move |status: &Value| status["current"]["state"] == state;
    let paused = daemon.ask(&["pause"]).run();
    paused.assert_code(0);
    assert_eq!(paused.stdout, format!("run {run} is paused\n"));
    daemon.until("paused", is("paused"));
    let status = daemon.ask(&["status"]).run();
    assert_says(
        &status,
        &[
            "is paused",
            "by schedule often",
            "1 keys/s",
            "paused for",
            " %, ",
        ],
    );
    let resumed = daemon
        .ask(&["resume", &run.to_string(), "--format", "json"])
        .run();
    resumed.assert_code(0);
    assert_eq!(
        (&json(&resumed)["run"], &json(&resumed)["schema"]),
        (&run.into(), &"reknit.asked/1".into())
    );
    daemon.until("running", is("running"));
    daemon.ask(&["cancel"]).run().assert_code(0);
    let ended = daemon.until_idle();
    assert_eq!(ended["last"]["state"], "stopped", "{ended:#}");
    // There is none any more, and one that has ended takes nothing.
    for words in [vec!["pause"], vec!["cancel"], vec!["cancel", "999"]] {
        daemon.ask(&words).run().assert_code(2);
    }
    let late = daemon.ask(&["resume", &run.to_string()]).run();
    late.assert_code(2);
    assert_says(&late, &["refuses", "has ended"]);
}

#[test]
fn a_schedule_is_paused_and_run_at_once() {
    let daemon = guarded();
    daemon.until_idle();
    let paused = daemon.ask(&["pause", "--schedule", "often"]).run();
    paused.assert_code(0);
    let status = daemon.ask(&["status"]).run();
    assert_says(
        &status,
        &["no run is under way", "paused", "when it is resumed"],
    );
    let run = daemon
        .ask(&["run-now", "often", "--wait", "--format", "json"])
        .run();
    run.assert_code(0);
    assert_eq!(
        (&json(&run)["state"], &json(&run)["schedule"]),
        (&"done".into(), &"often".into())
    );
    daemon
        .ask(&["resume", "--schedule", "often"])
        .run()
        .assert_code(0);
    assert_eq!(
        daemon.get("/api/v1/schedules")["schedules"][0]["paused"],
        false
    );
    for words in [
        vec!["pause", "--schedule", "a/b c"],
        vec!["run-now", "nobody", "--wait"],
    ] {
        let unknown = daemon.ask(&words).run();
        unknown.assert_code(2);
        assert_says(&unknown, &["the service refuses: there is no schedule"]);
    }
}

#[test]
fn a_run_that_is_waited_for_says_how_it_ended() {
    let mut daemon = guarded();
    daemon.until_idle();
    daemon.servers[1].kill();
    let failed = daemon.ask(&["run-now", "often", "--wait"]).run();
    assert_ne!(failed.code(), Some(0), "{failed}");
    assert_says(&failed, &["of schedule often is"]);
}

#[test]
fn limits_are_shown_beside_those_of_the_configuration() {
    let daemon = guarded();
    let asked = [
        "limits",
        "--keys-per-second",
        "5000",
        "--bytes-per-second",
        "10MiB",
        "--intensity",
        "0.25",
    ];
    daemon.ask(&asked).run().assert_code(0);
    let shown = daemon.ask(&["limits"]).run();
    let expected = "limits: 5,000 keys/s, 10.0 MiB/s, intensity 0.25\n        the configuration says unlimited \
                    keys/s, unlimited bytes/s, intensity 1; `reknit reload` goes back to it\n";
    assert_eq!(shown.stdout, expected);
    daemon.ask(&["reload"]).run().assert_code(0);
    let shown = daemon.ask(&["limits", "--format", "json"]).run();
    assert_eq!(
        (&json(&shown)["schema"], &json(&shown)["changed"]),
        (&"reknit.limits/1".into(), &false.into())
    );
    daemon
        .ask(&["limits", "--intensity", "0"])
        .run()
        .assert_code(2);
}

#[test]
fn who_does_not_reach_the_service_is_told_what_to_do() {
    let daemon = guarded();
    let unreachable = Reknit::new(["status", "--url", NOBODY]).run();
    unreachable.assert_code(2);
    assert_says(
        &unreachable,
        &["cannot be reached", "start it with `reknit run`", "--url"],
    );
    let url = format!("http://{}", daemon.address);
    let stranger = Reknit::new(["cancel", "1", "--url", &url]).run();
    stranger.assert_code(2);
    assert_says(
        &stranger,
        &["the token is missing or wrong", "--token-file"],
    );
    let other = Reknit::new(["status", "--url", &format!("{url}/somewhere")]).run();
    other.assert_code(2);
}

#[test]
fn a_reload_takes_a_rotated_token_and_certificate_and_says_in_the_log_what_it_refuses() {
    let dir = tempfile::tempdir().unwrap();
    self_signed(dir.path());
    let tls = ", token_file: token, tls: { certificate: cert.pem, key: key.pem }";
    let daemon = Daemon::in_dir(dir, tls, Some(TOKEN));
    let url = format!("https://{}", daemon.address);
    let file = |name: &str| daemon.dir.path().join(name).display().to_string();
    std::fs::copy(file("token"), file("old")).unwrap();
    std::fs::copy(file("cert.pem"), file("old.pem")).unwrap();
    let ask = |command: &str, token: &str, ca: &str| {
        let asked = Reknit::new([command, "--url", &url]);
        let asked = asked.args(["--token-file", &file(token), "--ca-file", &file(ca)]);
        asked.run()
    };
    // What cannot be taken over: the old ones stay.
    std::fs::write(file("token"), "short\n").unwrap();
    ask("reload", "old", "old.pem").assert_code(2);
    assert!(daemon.log().contains("not taken over"), "{}", daemon.log());
    ask("status", "old", "old.pem").assert_code(0);
    let checked = daemon.beside(&["check"]).run();
    assert!(
        !checked.stdout.contains("does not start"),
        "{}",
        checked.stdout
    );
    // What can.
    std::fs::write(file("token"), "another that nobody guesses\n").unwrap();
    self_signed(daemon.dir.path());
    ask("reload", "old", "old.pem").assert_code(0);
    ask("status", "token", "cert.pem").assert_code(0);
    ask("status", "old", "cert.pem").assert_code(2);
    ask("status", "token", "old.pem").assert_code(2);
    // What the service would stumble over is found before it starts.
    std::fs::remove_file(file("key.pem")).unwrap();
    let checked = daemon.beside(&["check"]).run();
    assert!(
        checked.stdout.contains("http.tls.key"),
        "{}",
        checked.stdout
    );
}
