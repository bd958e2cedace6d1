//! The page about what a replica can be is followed command by command, over real servers of each kind.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::authority::Authority;
use support::cluster::Cluster;
use support::reknit::Reknit;
use support::sentinel::{Guarded, Watched};
use support::server::RedisServer;

const PAGE: &str = include_str!("../docs/topologies.md");

/// The one fenced block of a language below a heading.
fn block(heading: &str, language: &str) -> &'static str {
    let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    let of = |block: &'static str| block.strip_prefix(language)?.strip_prefix('\n');
    fenced.filter_map(of).next().unwrap()
}

/// Replaces what the page writes, all of which must be there.
fn with(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (page, real)| {
        assert!(text.contains(page), "{page} in {text}");
        text.replace(page, real)
    })
}

fn bash(dir: &Path, command: &str) -> Output {
    let script = format!(
        "reknit() {{ {} \"$@\"; }}; {command}",
        env!("CARGO_BIN_EXE_reknit")
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(dir);
    bash.env("XDG_STATE_HOME", dir).output().unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

#[test]
fn the_commands_about_tls_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let plain = RedisServer::start();
    let identity = authority.sign("server", &["localhost", "redis.internal"], 2100);
    let user = "user reknit on >secret ~* &* +@all";
    let builder = RedisServer::builder().line(user);
    let (server, port) = authority.serve(builder, &identity, true);
    let ours = authority.sign("client", &["reknit"], 2100);
    for (from, to) in [
        (&authority.ca, "ca.pem"),
        (&authority.ca, "redis-ca.pem"),
        (&ours.certificate, "reknit.pem"),
        (&ours.key, "reknit.key"),
    ] {
        if *from != dir.path().join(to) {
            std::fs::copy(from, dir.path().join(to)).unwrap();
        }
    }
    let command = with(
        block("TLS", "sh"),
        &[
            ("redis://127.0.0.1:7001", &plain.url()),
            ("localhost:7002", &format!("localhost:{port}")),
        ],
    );
    ends(&bash(dir.path(), &command), 0);
    server.cmd(["SET", "a", "1"]);
    ends(&bash(dir.path(), &command), 1);

    std::fs::write(dir.path().join("us.password"), "secret\n").unwrap();
    let page = with(
        block("TLS", "yaml"),
        &[("redis.us.example:6380", &format!("localhost:{port}"))],
    );
    let config = dir.path().join("reknit.yaml");
    let text = format!(
        "{page}  - {{ name: eu, url: \"{}\" }}\nguards: {{ settle: 10ms }}\n",
        plain.url()
    );
    std::fs::write(&config, text).unwrap();
    let run = |command: &str| Reknit::new([command]).arg_pair("-c", &config).run();
    run("repair").assert_code(0);
    run("diff").assert_code(0);
    assert_eq!(plain.cmd(["DBSIZE"]), server.cmd(["DBSIZE"]));
}

#[test]
fn the_command_about_sentinels_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, watched) = (RedisServer::start(), Watched::start());
    plain.cmd(["SET", "a", "1"]);
    let command = with(
        block("Sentinel", "sh"),
        &[
            ("redis://10.0.0.1:6379", &plain.url()),
            (
                "10.1.0.1:26379,10.1.0.2:26379,10.1.0.3:26379",
                &watched.sentinels(),
            ),
        ],
    );
    ends(&bash(dir.path(), &command), 0);
    assert_eq!(watched.servers[0].cmd(["DBSIZE"]), redis::Value::Int(1));
}

/// What a user of sentinels needs, as the page says it.
fn rules_of_watcher() -> String {
    let (_, rest) = PAGE.split_once("A user of sentinels needs `").unwrap();
    let (first, rest) = rest.split_once("` and `").unwrap();
    let (second, _) = rest.split_once('`').unwrap();
    format!("{first} {second}")
}

#[test]
fn sentinels_have_a_user_and_a_password_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let plain = RedisServer::start();
    let guarded = Guarded::start(&rules_of_watcher());
    plain.cmd(["SET", "a", "1"]);
    let page = with(
        block("Sentinel", "yaml"),
        &[(
            "redis+sentinel://10.1.0.1:26379,10.1.0.2:26379,10.1.0.3:26379/main",
            &guarded.url(),
        )],
    );
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("eu.password", "of-data\n");
    let config = dir.path().join("reknit.yaml");
    let run = |page: &str, command: &str| {
        let plain = plain.url();
        let text = format!(
            "{page}  - {{ name: us, url: \"{plain}\" }}\nguards: {{ settle: 10ms }}\nstate: none\n"
        );
        std::fs::write(&config, text).unwrap();
        Reknit::new([command]).arg_pair("-c", &config).run()
    };
    // The user that the page names.
    write("eu-sentinels.password", "of-watcher\n");
    run(&page, "repair").assert_code(0);
    assert_eq!(guarded.master.cmd(["DBSIZE"]), redis::Value::Int(1));
    // Without it, the sentinels' requirepass; from a variable as well.
    let lines = page.lines().filter(|line| !line.contains("watcher"));
    let anybody = lines.map(|line| format!("{line}\n")).collect::<String>();
    write("eu-sentinels.password", "of-sentinels\n");
    run(&anybody, "diff").assert_code(0);
    let (before, _) = anybody.split_once("password_file: eu-sentinels").unwrap();
    let of_env = format!("{before}password_env: PATH\n");
    let refused = run(&of_env, "diff");
    assert!(
        refused.assert_code(2).stderr.contains("WRONGPASS"),
        "{refused}"
    );
    // A wrong one, and that of the servers, are refused by name.
    write("eu-sentinels.password", "of-data\n");
    let refused = run(&anybody, "diff");
    assert!(
        refused.assert_code(2).stderr.contains("sentinel"),
        "{refused}"
    );
    let (before, _) = anybody.split_once("    sentinel:").unwrap();
    let refused = run(before, "diff");
    assert!(
        refused.assert_code(2).stderr.contains("sentinel"),
        "{refused}"
    );
}

#[test]
fn the_commands_about_clusters_and_followers_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, cluster) = (RedisServer::start(), Cluster::start(3));
    plain.cmd(["SET", "a", "1"]);
    let seeds = cluster.url();
    let command = with(
        block("Redis Cluster", "sh"),
        &[
            ("redis://10.0.0.1:6379", &plain.url()),
            (
                "redis+cluster://10.1.0.1:7000,10.1.0.2:7000,10.1.0.3:7000",
                &seeds,
            ),
        ],
    );
    ends(&bash(dir.path(), &command), 0);
    assert_eq!(cluster.strings_len(), 1);
    let page = with(
        block("Reading from a server that follows", "yaml"),
        &[("redis://10.0.0.1:6379", &seeds)],
    );
    let config = dir.path().join("reknit.yaml");
    let text = format!("{page}  - {{ name: eu, url: \"{}\" }}\n", plain.url());
    std::fs::write(&config, text).unwrap();
    let run = |command: &str| Reknit::new([command]).arg_pair("-c", &config).run();
    run("diff").assert_code(0);
    run("check").assert_code(0);
}
