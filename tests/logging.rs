//! The log: its forms, and that no password ever gets into it.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;

const PASSWORD: &str = "hunter2-s3cret";

/// A comparison that logs everything it can, and tells that nothing is selected; or that is refused, for the second
/// password is wrong.
fn diff(format: &str, wrong: &str) -> Outcome {
    let servers = [RedisServer::start(), RedisServer::start()];
    let rule = "ACL SETUSER app on >hunter2-s3cret ~* +@all";
    for server in &servers {
        server.cmd(rule.split(' '));
    }
    let url = |index: usize, more: &str| {
        let port = servers[index].port();
        format!("--replica=r{index}=redis://app:{PASSWORD}{more}@127.0.0.1:{port}")
    };
    let args = [
        "diff".to_owned(),
        "-vvv".into(),
        "--match=nothing".into(),
        format!("--log-format={format}"),
        url(0, ""),
        url(1, wrong),
    ];
    Reknit::new(args).run()
}

#[test]
fn no_form_of_the_log_has_a_password() {
    for format in ["human", "json", "auto"] {
        for (wrong, told) in [("", "no replica has a key"), ("-wrong", "WRONGPASS")] {
            let outcome = diff(format, wrong);
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(!said.contains("hunter2"), "{format}");
            assert!(outcome.stderr.contains(told), "{outcome}");
        }
    }
}

#[test]
fn a_log_in_json_has_one_document_per_line_with_level_and_message() {
    let outcome = diff("json", "");
    let mut documents = 0;
    // What the command itself says at the end is for whoever called it.
    for line in outcome
        .stderr
        .lines()
        .filter(|line| !line.starts_with("reknit: "))
    {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
        documents += 1;
    }
    assert!(documents > 0, "{outcome}");
}
