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
        "clean",
        "demo",
        "completions",
    ] {
        help += &Reknit::new([command, "--help"]).run().stdout;
        assert!(
            README.contains(&format!("`reknit {command}")),
            "{command} is not in the README"
        );
    }
    let words = README.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let options = words.filter(|word| word.starts_with("--") && !word.ends_with('-'));
    // Of redis-server and git.
    let others = ["--port", "--save", "--daemonize"];
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
