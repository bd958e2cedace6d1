//! The README's quick start is run as it is written, but on free ports, and prints what it says.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::process::Command;

use support::reknit::Reknit;
use support::server::RedisServer;
use support::transcript::steady;

const README: &str = include_str!("../README.md");

/// A fenced block of the README: its language, and its text.
struct Block {
    language: String,
    text: String,
}

/// The blocks of the section with this heading.
fn blocks(heading: &str) -> Vec<Block> {
    let section = README.split("\n## ").find(|part| part.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let fenced = section.split("```").skip(1).step_by(2);
    let block = |text: &str| {
        let (language, text) = text.split_once('\n').unwrap();
        Block {
            language: language.to_owned(),
            text: text.to_owned(),
        }
    };
    fenced.map(block).collect()
}

/// What a line prints in bash, with the binary under test in the path. Exit codes are told by what is printed.
fn run(line: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_reknit");
    let script = format!("reknit() {{ {binary} \"$@\"; }}; {line}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_quick_start_prints_what_it_says() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let mut printed = Vec::new();
    let mut shown = 0;
    for block in blocks("Quick start") {
        if block.language == "text" {
            let expected = steady(&block.text);
            let found: &String = printed.last().unwrap();
            assert!(steady(found).starts_with(&expected), "{found}\n{expected}");
            shown += 1;
            continue;
        }
        for line in block.text.lines() {
            let is_ours = ["make ", "export ", "redis-server "].iter();
            if is_ours.clone().any(|start| line.starts_with(start)) || line.contains("SHUTDOWN") {
                continue;
            }
            let ports = servers.each_ref().map(|server| server.port().to_string());
            let line = line.replace("7001", &ports[0]).replace("7002", &ports[1]);
            printed.push(run(&line));
        }
    }
    assert_eq!(shown, 2, "a diff and a repair are shown");
    assert!(printed.last().unwrap().contains("all verified"));
}

#[test]
fn the_acl_rules_are_those_that_check_prints() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let outcome = Reknit::over("check", &[&servers[0], &servers[1]])
        .args(["--format", "json"])
        .run();
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    for name in ["acl_rule", "acl_rule_diff"] {
        let rule = document["replicas"][0][name].as_str().unwrap();
        assert!(README.contains(rule), "{rule}");
    }
}

#[test]
fn every_command_and_option_of_the_readme_exists() {
    let mut help = Reknit::new(["--help"]).run().stdout;
    for command in [
        "diff",
        "repair",
        "check",
        "explain",
        "functions",
        "import",
        "clean",
        "run",
        "status",
        "pause",
        "resume",
        "cancel",
        "limits",
        "run-now",
        "reload",
        "demo",
        "completions",
    ] {
        help += &Reknit::new([command, "--help"]).run().stdout;
        assert!(
            README.contains(&format!("`reknit {command}")),
            "{command} is not in the README"
        );
    }
    for part in ["install", "show"] {
        help += &Reknit::new(["functions", part, "--help"]).run().stdout;
    }
    let words = README.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let options = words.filter(|word| word.starts_with("--") && !word.ends_with('-'));
    // Of redis-server and curl.
    let others = [
        "--port",
        "--save",
        "--daemonize",
        "--retry",
        "--retry-connrefused",
    ];
    for option in options.filter(|option| !others.contains(option)) {
        assert!(help.contains(option), "{option} is not an option");
    }
    let targets = include_str!("../Makefile");
    for target in README.split("`make ").skip(1) {
        let target: String = target
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        assert!(targets.contains(&format!("\n{target}:")), "{target}");
    }
}

#[test]
fn the_page_about_operating_is_followed_word_by_word() {
    let servers = [RedisServer::start(), RedisServer::start()];
    servers[0].cmd(["SET", "key", "value"]);
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let local = |text: &str| {
        let us = text.replace("7001", &servers[0].port().to_string());
        let eu = us.replace("7002", &servers[1].port().to_string());
        eu.replace("9310", &port)
    };
    let mut script = format!(
        "set -e\nreknit() {{ {} \"$@\"; }}\n",
        env!("CARGO_BIN_EXE_reknit")
    );
    // In the background it is the service itself that is told to end, not a shell around it.
    let service = format!("{} run", env!("CARGO_BIN_EXE_reknit"));
    for block in blocks("Operating the service") {
        match block.language.as_str() {
            "yaml" => std::fs::write(dir.path().join("reknit.yaml"), local(&block.text)).unwrap(),
            _ => script
                .push_str(&local(&block.text).replace("reknit run &", &format!("{service} &"))),
        }
    }
    let mut bash = Command::new("bash");
    let output = bash
        .args(["-c", &script])
        .current_dir(&dir)
        .output()
        .unwrap();
    let (said, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{log}");
    for part in [
        "ready\n",
        "last full success",
        "of schedule hourly is done",
        "limits: 5,000 keys/s, 10.0 MiB/s, intensity 0.5",
        "the configuration says",
        "schedule hourly is paused",
        "schedule hourly goes on",
        "was read anew",
        "\"key\" at eu: absent → added",
        "1 of 1 write of run 1 would be put back",
        "found no key that differs",
        "`reknit undo RUN` puts it back",
    ] {
        assert!(said.contains(part), "{part}\n{said}\n{log}");
    }
    assert_eq!(
        servers[1].cmd(["GET", "key"]),
        servers[0].cmd(["GET", "key"])
    );
}
