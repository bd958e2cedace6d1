//! The command line as scripts and people meet it: help texts, outputs and exit codes, from the real binary.
//!
//! A transcript is a golden file below `tests/golden/cli`: each command line, its exit code, and what it printed. What
//! differs from run to run is left out or named: ports, times, server identities, and the table of what was moved.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::generate;
use support::golden::check_golden;
use support::judge::query;
use support::reknit::{Outcome, Reknit};
use support::server::RedisServer;
use support::transcript::steady;

/// Replicas that nobody connects to: the command line is wrong before that.
const NAMED: [&str; 2] = [
    "--replica=us=redis://10.0.0.1:6379",
    "--replica=eu=redis://10.1.0.1:6379",
];
/// A port where nothing listens.
const NOBODY: &str = "redis://127.0.0.1:1";

/// Command lines, their exit codes and what they printed.
#[derive(Default)]
struct Transcript {
    text: String,
    /// What stands for words that differ from run to run.
    names: Vec<(String, String)>,
}

impl Transcript {
    /// A transcript in which these servers are called S1, S2, ...
    fn over(servers: &[&RedisServer]) -> Self {
        let name = |(index, server): (usize, &&RedisServer)| {
            let port = format!("127.0.0.1:{}", server.port());
            (port, format!("S{}", index + 1))
        };
        Self {
            text: String::new(),
            names: servers.iter().enumerate().map(name).collect(),
        }
    }

    /// Runs it, shown as these words, and expects this exit code.
    #[track_caller]
    fn add(&mut self, code: i32, shown: &str, reknit: Reknit) -> Outcome {
        let outcome = reknit.run();
        outcome.assert_code(code);
        writeln!(self.text, "$ reknit {shown}\n-> {code}").unwrap();
        for (stream, text) in [("1", &outcome.stdout), ("2", &outcome.stderr)] {
            for line in self.steady(text).lines() {
                writeln!(self.text, "{}", format!("{stream}| {line}").trim_end()).unwrap();
            }
        }
        self.text.push('\n');
        outcome
    }

    /// The text without what differs from run to run.
    fn steady(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, name) in &self.names {
            text = text.replace(word, name);
        }
        steady(&text)
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn pair() -> [RedisServer; 2] {
    [RedisServer::start(), RedisServer::start()]
}

/// Two servers: equal ones, and a missing, a different and an odd key.
fn differing() -> [RedisServer; 2] {
    let servers = pair();
    for server in &servers {
        server.cmd(["MSET", "same", "1", "nick", "ada"]);
        server.cmd(["SADD", "tags", "red"]);
    }
    servers[1].cmd(["SET", "nick", "grace"]);
    servers[0].cmd(["SADD", "tags", "blue"]);
    servers[0].cmd([&b"SET"[..], b"bin\x00\xff\n", b"\x01"]);
    servers
}

fn over(subcommand: &str, servers: &[&RedisServer]) -> Reknit {
    let reknit = Reknit::over(subcommand, servers);
    match subcommand {
        "diff" | "repair" => reknit.args(["--settle", "10ms"]),
        _ => reknit,
    }
}

#[test]
fn every_help_text_is_as_in_its_golden_file() {
    let commands = [
        "diff",
        "repair",
        "run",
        "status",
        "pause",
        "resume",
        "cancel",
        "limits",
        "run-now",
        "reload",
        "check",
        "explain",
        "functions",
        "import",
        "clean",
        "runs",
        "undo",
        "forget",
        "rename",
        "demo",
        "completions",
    ];
    let whole = Reknit::new(["--help"]).run();
    whole.assert_code(0);
    check_golden("cli/help", &whole.stdout);
    for command in commands {
        assert!(
            whole.stdout.contains(&format!("\n  {command} ")),
            "{command}"
        );
        let outcome = Reknit::new([command, "--help"]).run();
        outcome.assert_code(0);
        assert_eq!(outcome.stderr, "");
        check_golden(&format!("cli/help_{command}"), &outcome.stdout);
        Reknit::new([command, "-h"]).run().assert_code(0);
        Reknit::new(["help", command]).run().assert_code(0);
    }
    Reknit::new(["--version"]).run().assert_code(0);
}

#[test]
fn a_mistyped_command_line_is_trouble_and_says_what_to_write() {
    let mut transcript = Transcript::default();
    for line in [
        "",
        "dif",
        "diff",
        "explain",
        "diff --nosuch",
        "demo --keys 5",
    ] {
        transcript.add(2, line, Reknit::new(words(line)));
    }
    for line in [
        "diff --replica us=redis://10.0.0.1:6379",
        "diff --replica us=redis://10.0.0.1 --replica us=redis://10.1.0.1",
        "diff --replica us=redis://10.0.0.1 --replica eu=redis://10.0.0.1:6379/0",
    ] {
        transcript.add(2, line, Reknit::new(words(line)));
    }
    for line in [
        "repair --limit 0",
        "repair --limit -1",
        "diff --slots 9-3",
        "diff --slots 0-20000",
        "diff --slots -5",
        "diff --from b --to a",
        "diff --key a\\q",
        "diff --keys-from -",
        "diff --keys-from /nowhere",
        "diff --keyspace users",
        "diff --type blob",
        "diff --match=",
        "diff --db x",
        "diff --db -1",
        "diff --prefer mars",
        "diff --rule string=conter",
        "diff --pipeline 0",
        "diff --memory 0",
        "diff --settle 5",
        "diff --keys-per-second many",
        "diff --show -1",
        "diff --format xml",
        "diff --password-env ap=PASSWORD",
        "diff --password-file us",
        "diff --password-file us=/nowhere",
    ] {
        let reknit = Reknit::new(words(line)).args(NAMED);
        transcript.add(2, &format!("{line} (two replicas)"), reknit);
    }
    check_golden("cli/usage", &transcript.text);
}

#[test]
fn a_url_that_is_none_is_trouble_and_says_what_to_write() {
    let mut transcript = Transcript::default();
    for url in [
        "redis://10.0.0.1:6379",
        "us=10.0.0.1:6379",
        "us=http://10.0.0.1:6379",
        "us=rediss://10.0.0.1:6379?tls=1",
        "us=redis+cluster://10.0.0.1,10.0.0.2/1",
        "us=redis+sentinel://10.0.0.1,10.0.0.2",
        "us=redis://10.0.0.1,10.0.0.2",
        "us=redis://10.0.0.1:99999",
        "us=redis://10.0.0.1/zero",
        "us=redis://",
        "us=unix://run/redis.sock",
        "u/s=redis://10.0.0.1",
    ] {
        let shown = format!("diff --replica {url} --replica eu=redis://10.1.0.1:6379");
        transcript.add(2, &shown, Reknit::new(words(&shown)));
    }
    check_golden("cli/urls", &transcript.text);
}

#[test]
fn a_wrong_configuration_is_trouble_and_says_where_and_what_to_write() {
    let replicas = "replicas:\n- { name: us, url: \"redis://10.0.0.1\" }\n- { name: eu, url: \"redis://10.1.0.1\" }\n";
    let files = [
        ("a tab", "replicas:\n\t- name: us\n".to_owned()),
        ("nothing", String::new()),
        ("no map", "hello\n".into()),
        ("two documents", format!("{replicas}---\n{replicas}")),
        ("an unknown key", format!("{replicas}limts: {{}}\n")),
        ("another", format!("{replicas}limits: {{ pipline: 3 }}\n")),
        (
            "a number out of range",
            format!("{replicas}limits: {{ pipeline: 0 }}\n"),
        ),
        (
            "no number",
            format!("{replicas}limits: {{ pipeline: ten }}\n"),
        ),
        (
            "a duration without a unit",
            format!("{replicas}guards: {{ settle: 5 }}\n"),
        ),
        (
            "an unknown rule",
            format!("{replicas}keyspaces:\n- name: a\n  rules: {{ string: conter }}\n"),
        ),
        (
            "an open asterisk",
            format!("{replicas}keyspaces:\n- name: a\n  match: *\n"),
        ),
        (
            "one name twice",
            format!("{replicas}keyspaces:\n- name: a\n- name: a\n"),
        ),
        (
            "a keyspace without keys",
            format!("{replicas}keyspaces:\n- name: a\n- name: b\n  match: \"b*\"\n"),
        ),
        (
            "values that contradict each other",
            format!(
                "{replicas}keyspaces:\n- name: a\n  rules: {{ string: counter }}\nreplicates: {{ lag: 5s }}\n"
            ),
        ),
        (
            "two passwords for one",
            replicas.replacen("//10.0.0.1\"", "//:hunter2@10.0.0.1\", password_env: P", 1),
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reknit.yaml");
    let mut transcript = Transcript {
        names: vec![(path.display().to_string(), "reknit.yaml".into())],
        ..Transcript::default()
    };
    for (what, text) in files {
        std::fs::write(&path, text).unwrap();
        let reknit = Reknit::new(["diff", "-c"]).args([&path]);
        transcript.add(2, &format!("diff -c reknit.yaml   ({what})"), reknit);
    }
    let reknit = Reknit::new(["check", "-c", "/nowhere/reknit.yaml"]);
    transcript.add(2, "check -c /nowhere/reknit.yaml", reknit);
    let reknit = Reknit::new(["check"]).env("REKNIT_CONFIG", "/nowhere/reknit.yaml");
    transcript.add(2, "check   (REKNIT_CONFIG=/nowhere/reknit.yaml)", reknit);
    assert!(!transcript.text.contains("hunter2"));
    check_golden("cli/configuration", &transcript.text);
}

#[test]
fn the_example_configuration_works_with_real_servers() {
    let servers = pair();
    for server in &servers {
        let user = "ACL SETUSER reknit on >hunter2 ~* +@all";
        server.cmd(words(user));
        server.cmd(["SET", "key", "1"]);
    }
    let dir = tempfile::tempdir().unwrap();
    let address = |server: &RedisServer| format!("127.0.0.1:{}", server.port());
    let example = include_str!("../config/reknit.yaml")
        .replace("10.0.0.1:6379", &address(&servers[0]))
        .replace("10.1.0.1:6379", &address(&servers[1]));
    let path = dir.path().join("reknit.yaml");
    std::fs::write(&path, example).unwrap();
    std::fs::write(dir.path().join("us.password"), "hunter2\n").unwrap();
    for command in ["check", "diff", "repair"] {
        let outcome = Reknit::new([command, "-c"])
            .args([&path])
            .env("REKNIT_EU_PASSWORD", "hunter2")
            .run();
        outcome.assert_code(0);
        let told = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!told.contains("hunter2"));
        assert!(outcome.stderr.lines().count() <= 1, "{outcome}");
    }
}

#[test]
fn differing_servers_are_diffed_explained_and_repaired() {
    let servers = differing();
    let servers = [&servers[0], &servers[1]];
    let mut transcript = Transcript::over(&servers);
    let mut add = |code, line: &str| {
        let words = words(line);
        let reknit = over(words[0], &servers).args(words[1..].iter().copied());
        transcript.add(code, line, reknit)
    };
    add(1, "diff");
    add(1, "diff --show 0");
    add(0, "diff --key same");
    add(0, "diff --key nosuch");
    add(0, "diff --match cart:*");
    add(1, r#"diff --key "bin\x00\xff\n""#);
    add(1, r"explain bin\x00\xff\n");
    add(1, "explain tags");
    add(0, "explain same");
    add(0, "explain nosuch");
    add(2, "explain reknit:aside:x");
    add(1, "repair --dry-run");
    add(1, "repair --prefer skip --key nick");
    add(1, "repair --limit 1");
    add(0, "repair");
    add(0, "repair");
    add(0, "diff");
    add(0, "clean");
    check_golden("cli/differing", &transcript.text);
}

#[test]
fn what_keeps_a_server_out_of_a_run_is_named_with_what_to_do() {
    let [left, right] = pair();
    let servers = [&left, &right];
    let mut transcript = Transcript::over(&servers);
    let mut add = |what: &str, codes: [i32; 3]| {
        for (command, code) in ["check", "diff", "repair"].into_iter().zip(codes) {
            let shown = format!("{command}   ({what})");
            transcript.add(code, &shown, over(command, &servers));
        }
    };
    let set = |name: &str, value: &str| right.cmd(["CONFIG", "SET", name, value]);
    add("all is well", [0, 0, 0]);
    set("min-replicas-to-write", "1");
    add("too few good replicas", [2, 0, 2]);
    set("min-replicas-to-write", "0");
    right.cmd(["ACL", "SETUSER", "default", "-xadd", "-hset"]);
    add("missing permissions", [2, 0, 2]);
    right.cmd(["ACL", "SETUSER", "default", "-scan"]);
    add("more of them", [2, 2, 2]);
    right.cmd(["ACL", "SETUSER", "default", "+@all"]);
    set("requirepass", "hunter2");
    add("no password", [2, 2, 2]);
    assert!(!transcript.text.contains("hunter2"));
    check_golden("cli/unfit", &transcript.text);
}

#[test]
fn a_server_that_cannot_be_used_at_all_is_refused_with_its_reason() {
    let left = RedisServer::start();
    let cluster = RedisServer::builder()
        .args(["--cluster-enabled", "yes"])
        .start();
    let poor = RedisServer::builder()
        .line("rename-command GETRANGE \"\"")
        .line("rename-command HSCAN \"\"")
        .start();
    let full = RedisServer::builder()
        .args(["--maxmemory", "500kb"])
        .start();
    let mut transcript = Transcript::over(&[&left, &cluster, &poor]);
    for (what, server, codes) in [
        ("a node of a cluster", &cluster, [2, 2, 2]),
        ("without GETRANGE and HSCAN", &poor, [2, 2, 2]),
    ] {
        for (command, code) in ["check", "diff", "repair"].into_iter().zip(codes) {
            let shown = format!("{command}   ({what})");
            transcript.add(code, &shown, over(command, &[&left, server]));
        }
    }
    let shown = "diff --db 99";
    transcript.add(2, shown, over("diff", &[&left, &poor]).args(["--db", "99"]));
    check_golden("cli/unusable", &transcript.text);
    let outcome = over("repair", &[&left, &full]).run();
    outcome.assert_code(2);
    assert!(
        outcome.stderr.contains("raise maxmemory first"),
        "{outcome}"
    );
}

#[test]
fn replicas_that_cannot_be_reached_make_it_partial_or_trouble() {
    let [left, right] = differing();
    let mut transcript = Transcript::over(&[&left, &right]);
    let with_nobody =
        |command| over(command, &[&left, &right]).args(["--replica", &format!("ap={NOBODY}")]);
    let shown = |command: &str| format!("{command} (ap cannot be reached)");
    for command in ["diff", "repair", "clean", "check"] {
        transcript.add(3, &shown(command), with_nobody(command));
    }
    let explain = with_nobody("explain").args(["nick"]);
    transcript.add(3, "explain nick (ap cannot be reached)", explain);
    for command in ["diff", "repair", "clean", "check"] {
        let reknit = Reknit::new([command])
            .args([format!("--replica=us={NOBODY}")])
            .args(["--replica=eu=unix:///nowhere/redis.sock"]);
        transcript.add(2, &format!("{command} (nobody can be reached)"), reknit);
    }
    let json = Reknit::new(["diff", "--format", "json"]).args([
        format!("--replica=us={NOBODY}"),
        format!("--replica=eu={}", left.url()),
    ]);
    let outcome = transcript.add(2, "diff --format json (one can be reached)", json);
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["exit_code"], 2);
    assert!(
        document["error"]
            .as_str()
            .unwrap()
            .contains("fewer than two")
    );
    check_golden("cli/unreachable", &transcript.text);
}

#[test]
fn markers_of_another_reknit_stop_a_repair_unless_it_is_forced() {
    let [left, right] = differing();
    right.cmd(["SET", "reknit:marker:1", "x"]);
    right.cmd(["SET", "reknit:aside:1", "x"]);
    let servers = [&left, &right];
    let mut transcript = Transcript::over(&servers);
    let mut add = |code, line: &str| {
        let words = words(line);
        let reknit = over(words[0], &servers).args(words[1..].iter().copied());
        transcript.add(code, line, reknit);
    };
    add(4, "repair");
    add(1, "diff --show 0");
    add(0, "repair --force-markers --show 0");
    add(0, "clean --dry-run");
    add(0, "clean");
    add(0, "clean --markers");
    add(0, "clean");
    check_golden("cli/markers", &transcript.text);
    assert_eq!(right.cmd(["DBSIZE"]), left.cmd(["DBSIZE"]));
}

#[test]
fn a_signal_ends_a_run_and_tells_what_was_done() {
    let [left, right] = pair();
    for server in [&left, &right] {
        generate::load(server.port(), 20_000).unwrap();
    }
    for (command, signal) in [("diff", "INT"), ("repair", "TERM")] {
        let running = over(command, &[&left, &right])
            .args(["--keys-per-second", "1000"])
            .spawn();
        // Checking permissions asks once for a type: the run is under way when many were asked for.
        while calls(&left, "type") < 100 {
            std::thread::yield_now();
        }
        running.signal(signal);
        let outcome = running.finish();
        outcome.assert_code(130);
        assert!(outcome.stdout.contains("INTERRUPTED"), "{outcome}");
        left.cmd(["CONFIG", "RESETSTAT"]);
    }
}

/// How often a command was sent to a server.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats: String = query(&mut server.client(), &[b"INFO", b"commandstats"]);
    let start = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&start));
    let count = line.and_then(|rest| rest.split(',').next()?.parse().ok());
    count.unwrap_or(0)
}

#[test]
fn a_signal_ends_every_command_also_where_a_server_is_silent() {
    let left = RedisServer::start();
    // It takes connections and never answers: reknit would wait for it much longer than the limit below.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for line in ["diff", "repair", "check", "clean", "explain key"] {
        let running = Reknit::new(words(line))
            .args([
                format!("--replica=us={}", left.url()),
                format!("--replica=eu=redis://{}", silent.local_addr().unwrap()),
            ])
            .limit(Duration::from_secs(10))
            .spawn();
        let connection = silent.accept().unwrap();
        running.signal("INT");
        running.finish().assert_code(130);
        drop(connection);
    }
}

#[test]
fn a_signal_ends_a_run_that_waits_for_keys_to_be_typed() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reknit"))
        .args(["-vv", "diff", "--keys-from=-"])
        .args(NAMED)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("reading keys from standard input"), "{line}");
    let kill = format!("kill -INT {}", child.id());
    let killed = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
}

#[test]
fn an_output_that_goes_away_is_success_and_one_that_is_full_is_trouble() {
    let [left, right] = pair();
    generate::load(left.port(), 3_000).unwrap();
    let replicas = format!(
        "--replica us={} --replica eu={} --settle 1ms",
        left.url(),
        right.url()
    );
    let shell = |line: &str| {
        let script = format!(
            "set -o pipefail; reknit() {{ {} \"$@\"; }}; {line}",
            env!("CARGO_BIN_EXE_reknit")
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            stderr,
        )
    };
    for format in ["human", "json", "ndjson"] {
        let (code, out, err) = shell(&format!(
            "reknit diff {replicas} --format {format} --show 3000 | head -1"
        ));
        assert_eq!(
            code,
            Some(1),
            "keys differ, and that nobody reads on is no trouble: {err}"
        );
        assert_eq!(out.lines().count(), 1);
        assert_eq!(err, "", "{format}");
        let (code, _, err) = shell(&format!(
            "reknit diff {replicas} --format {format} > /dev/full"
        ));
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("cannot write to standard output"), "{err}");
    }
    for line in ["--help", "completions bash"] {
        let (code, out, err) = shell(&format!("reknit {line} | head -1"));
        assert_eq!(
            (code, out.lines().count(), err.as_str()),
            (Some(0), 1, ""),
            "{line}"
        );
        let (code, _, err) = shell(&format!("reknit {line} > /dev/full"));
        assert_eq!(code, Some(2), "{line}");
        assert!(
            err.contains("cannot write to standard output"),
            "{line}: {err}"
        );
    }
    let (code, _, err) = shell(&format!("reknit repair {replicas} --show 3000 | head -1"));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        right.cmd(["DBSIZE"]),
        left.cmd(["DBSIZE"]),
        "a repair goes on unread"
    );
}

#[test]
fn keys_come_from_what_redis_cli_prints() {
    let [left, right] = differing();
    let listed = Command::new("redis-cli")
        .args(["-p", &left.port().to_string(), "--no-raw", "--scan"])
        .output()
        .unwrap();
    assert_eq!(
        listed.stdout.iter().filter(|byte| **byte == b'\n').count(),
        4
    );
    let outcome = over("repair", &[&left, &right])
        .args(["--keys-from", "-", "--format", "json"])
        .stdin(listed.stdout)
        .run();
    outcome.assert_code(0);
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["summary"]["keys"], 4);
    assert_eq!(document["summary"]["repaired"], 3);
}
