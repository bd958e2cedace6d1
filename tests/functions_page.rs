//! The page about functions is followed command by command, and its programs call by call.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod functions_support;
mod support;

use std::process::{Command, Output};

use functions_support::Writers;
use support::server::RedisServer;

const PAGE: &str = include_str!("../docs/functions.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    let of = |block: &'static str| block.strip_prefix(language)?.strip_prefix('\n');
    fenced.filter_map(of).collect()
}

/// The same text for servers of this test.
fn here(text: &str, servers: &[RedisServer]) -> String {
    let text = text.replace("7001", &servers[0].port().to_string());
    text.replace("7002", &servers[1].port().to_string())
}

#[test]
fn the_page_about_functions_is_followed_word_by_word() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let dir = tempfile::tempdir().unwrap();
    let config = here(blocks("yaml")[0], &servers);
    std::fs::write(dir.path().join("reknit.yaml"), config).unwrap();
    let mut printed = Vec::new();
    for block in blocks("sh") {
        for line in here(block, &servers).lines() {
            let binary = env!("CARGO_BIN_EXE_reknit");
            let script = format!("reknit() {{ {binary} \"$@\"; }}; {line}");
            let mut bash = Command::new("bash");
            bash.args(["-c", &script]).current_dir(&dir);
            let output = bash.env("XDG_STATE_HOME", dir.path()).output().unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
            printed.push(String::from_utf8(output.stdout).unwrap());
        }
        if block.contains("reknit repair") {
            let said = printed[printed.len() - 2..].concat();
            assert_eq!(said, blocks("text")[0]);
        }
    }
    // The script counted on.
    assert!(printed.contains(&"3\n".to_owned()), "{printed:?}");
}

/// The calls of a program: the words between the brackets, which are written alike in both languages.
fn calls(program: &str) -> Vec<Vec<String>> {
    let lines = program
        .lines()
        .filter_map(|line| line.split_once(".fcall("));
    let words = |(_, rest): (&str, &str)| {
        let end = rest.rfind(')').unwrap();
        let list: Vec<serde_json::Value> =
            serde_json::from_str(&format!("[{}]", &rest[..end])).unwrap();
        let word =
            |one: &serde_json::Value| one.as_str().map_or_else(|| one.to_string(), str::to_owned);
        list.iter().map(word).collect()
    };
    lines.map(words).collect()
}

/// Whether a program of the page runs; nothing where its language or its client is not there.
fn run(writers: &Writers, (program, language): (&str, &str), present: [&str; 3]) -> Option<Output> {
    let has_client = Command::new(present[0]).args(&present[1..]).output();
    if !has_client.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let program = here(program, &writers.racks.servers);
    let option = if language == "python" { "-c" } else { "-e" };
    let mut command = Command::new(present[0]);
    Some(command.args([option, &program]).output().unwrap())
}

#[test]
fn the_programs_of_the_page_call_what_there_is() {
    let present = [
        ("python", ["python3", "-c", "import redis"]),
        ("javascript", ["node", "-e", "require('ioredis')"]),
    ];
    let mut called = 0;
    for (language, present) in present {
        let program = blocks(language)[0];
        let mut writers = Writers::new(2);
        for words in calls(program) {
            let mut command = redis::cmd("FCALL");
            let answer = command
                .arg(&words)
                .query::<redis::Value>(&mut writers.clients[0]);
            assert!(answer.is_ok(), "{words:?}: {answer:?}");
            called += 1;
        }
        if let Some(output) = run(&writers, (program, language), present) {
            assert!(output.status.success(), "{output:?}");
        }
    }
    assert_eq!(called, program_lines());
}

fn program_lines() -> usize {
    let all = [blocks("python"), blocks("javascript")].concat().concat();
    all.matches(".fcall(").count()
}

#[test]
fn every_function_stands_on_the_page() {
    for function in reknit::store::FUNCTIONS {
        assert!(
            PAGE.contains(&format!("FCALL reknit_{function} ")),
            "{function}"
        );
    }
}
