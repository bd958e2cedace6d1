//! TLS to real servers: who is believed, who is not, and what is said then.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use support::authority::{Authority, Identity};
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

/// Compares a plain server with what is behind a URL.
fn diff(plain: &RedisServer, url: &str) -> Outcome {
    let replicas = [format!("us={}", plain.url()), format!("eu={url}")];
    let [us, eu] = &replicas;
    Reknit::new(["diff", "--replica", us, "--replica", eu]).run()
}

/// Fails the test unless the run was refused with these words.
#[track_caller]
fn refused(outcome: &Outcome, words: &str) {
    outcome.assert_code(2);
    assert!(outcome.stderr.contains(words), "{words}\n{outcome}");
}

#[test]
fn a_server_is_repaired_over_tls_and_proves_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let plain = RedisServer::start();
    let identity = authority.sign("server", &["localhost", "127.0.0.1"], 2100);
    let (server, port) = authority.serve(RedisServer::builder(), &identity, false);
    plain.cmd(["SET", "a", "1"]);
    server.cmd(["SET", "b", "2"]);
    let ca = authority.ca.display();
    let url = format!("rediss://localhost:{port}?ca={ca}");
    let replicas = [format!("us={}", plain.url()), format!("eu={url}")];
    let [us, eu] = &replicas;
    Reknit::new(["repair", "--replica", us, "--replica", eu])
        .run()
        .assert_code(0);
    diff(&plain, &format!("rediss://127.0.0.1:{port}?ca={ca}")).assert_code(0);
    assert_eq!(server.cmd(["DBSIZE"]), redis::Value::Int(2));
}

#[test]
fn a_server_that_proves_nothing_is_not_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let stranger = Authority::new(dir.path(), "stranger");
    let plain = RedisServer::start();
    let identity = authority.sign("server", &["redis.example"], 2100);
    let (_server, port) = authority.serve(RedisServer::builder(), &identity, false);
    let ca = authority.ca.display();
    let url = format!("rediss://localhost:{port}");

    refused(
        &diff(&plain, &format!("{url}?ca={ca}")),
        "set tls.server_name",
    );
    let named = format!("{url}?ca={ca}&server_name=redis.example");
    diff(&plain, &named).assert_code(0);
    let other = stranger.ca.display();
    refused(&diff(&plain, &format!("{url}?ca={other}")), "UnknownIssuer");
    refused(
        &diff(&plain, &url),
        "name the authority that signed its certificate",
    );
    let missing = format!("{url}?ca={ca}.gone");
    refused(&diff(&plain, &missing), "no certificate in");
}

#[test]
fn an_expired_certificate_is_told_and_one_that_was_replaced_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let plain = RedisServer::start();
    let expired = authority.sign("server", &["localhost"], 2021);
    let (server, port) = authority.serve(RedisServer::builder(), &expired, false);
    let url = format!("rediss://localhost:{port}?ca={}", authority.ca.display());
    refused(
        &diff(&plain, &url),
        "has expired, or this machine's clock is wrong",
    );
    let renewed = authority.sign("renewed", &["localhost"], 2100);
    use_identity(&server, &renewed);
    diff(&plain, &url).assert_code(0);
}

#[test]
fn a_server_that_asks_who_we_are_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let stranger = Authority::new(dir.path(), "stranger");
    let plain = RedisServer::start();
    let identity = authority.sign("server", &["localhost"], 2100);
    let user = "user reknit on >secret ~* +@all";
    let builder = RedisServer::builder().line(user);
    let (_server, port) = authority.serve(builder, &identity, true);
    let url = |ours: &Identity| {
        let (ca, certificate, key) = (&authority.ca, &ours.certificate, &ours.key);
        format!(
            "rediss://reknit:secret@localhost:{port}?ca={}&cert={}&key={}",
            ca.display(),
            certificate.display(),
            key.display()
        )
    };
    let ours = authority.sign("client", &["reknit"], 2100);
    diff(&plain, &url(&ours)).assert_code(0);
    let theirs = stranger.sign("other", &["reknit"], 2100);
    refused(&diff(&plain, &url(&theirs)), "TLS refused");
    let nobody = format!("rediss://localhost:{port}?ca={}", authority.ca.display());
    refused(&diff(&plain, &nobody), "give tls.certificate and tls.key");
    let mixed = Identity {
        key: identity.key.clone(),
        ..ours
    };
    refused(&diff(&plain, &url(&mixed)), "do not belong together");
}

/// The server shows another certificate from now on.
fn use_identity(server: &RedisServer, identity: &Identity) {
    let path = |path: &std::path::Path| path.display().to_string();
    server.cmd([
        "CONFIG",
        "SET",
        "tls-cert-file",
        &path(&identity.certificate),
        "tls-key-file",
        &path(&identity.key),
    ]);
}
