//! Runs with memory by the command line, on real servers: what they remember, whom they recognise, what they refuse.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::fs;

use redis::Value;
use support::judge::assert_equal;
use support::reknit::Reknit;
use support::server::RedisServer;
use support::site::{Site, assert_says, json, text};

/// Replaces a server by one that starts with its data of some time ago.
fn restore(site: &mut Site, index: usize, rdb: &std::path::Path) {
    let port_config = RedisServer::with_rdb(rdb);
    site.servers[index] = port_config;
}

#[test]
fn a_delete_propagates_and_is_told_from_a_missing_key() {
    let site = Site::new(3);
    site.cmd(0, "SET k v");
    site.cmd(1, "SADD s x y");
    let first = site.repair();
    assert_says(
        &first,
        &[
            "r1 (database 0) takes part for the first time",
            "run 1 in the log",
        ],
    );
    site.assert_all("GET k", &text("v"));
    site.cmd(2, "DEL k");
    site.cmd(0, "SREM s x");
    site.cmd(1, "SET new v");
    let diff = site.with("diff").run();
    diff.assert_code(1);
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
    site.assert_all("SCARD s", &Value::Int(1));
    site.assert_all("GET new", &text("v"));
    site.with("diff").run().assert_code(0);
    let idle = site.with("repair").args(["--format", "json"]).run();
    let told = json(&idle);
    assert_eq!(told["summary"]["run"], 3);
    assert_eq!(told["summary"]["forgetful"].as_array().unwrap().len(), 0);
    assert_eq!(told["summary"]["learned"], 0);
    assert_eq!(told["summary"]["markers_seen"], false);
}

#[test]
fn counters_are_summed_and_a_diff_says_that_equal_ones_still_have_to_be() {
    let site = Site::counting(3);
    site.cmd(0, "SET hits 10");
    site.repair();
    for server in 0..3 {
        site.cmd(server, "INCRBY hits 2");
    }
    let before = fs::read(site.state().join("committed")).unwrap();
    site.with("diff").run().assert_code(1);
    let dry = site.with("repair").args(["--dry-run"]).run();
    dry.assert_code(1);
    site.assert_all("GET hits", &text("12"));
    assert_eq!(fs::read(site.state().join("committed")).unwrap(), before);
    site.repair();
    site.assert_all("GET hits", &text("16"));
    site.with("diff").run().assert_code(0);
}

#[test]
fn a_flushed_replica_is_filled_again_and_told_in_one_line() {
    let site = Site::new(3);
    site.cmd(0, "MSET a 1 b 2 c 3");
    site.repair();
    site.cmd(1, "FLUSHALL");
    let outcome = site.repair();
    assert_says(&outcome, &["FORGOT: r2 (database 0) lost its marker"]);
    assert_eq!(outcome.stdout.matches("FORGOT").count(), 1, "{outcome}");
    site.assert_all("DBSIZE", &site.cmd(0, "DBSIZE"));
    site.assert_all("GET c", &text("3"));
}

#[test]
fn a_replica_restored_from_a_backup_brings_nothing_back() {
    let mut site = Site::new(2);
    site.cmd(0, "SET gone v");
    site.cmd(0, "SET stays v");
    site.repair();
    site.cmd(1, "SAVE");
    let backup = site.dir.path().join("backup.rdb");
    fs::copy(site.servers[1].dir().join("dump.rdb"), &backup).unwrap();
    site.cmd(0, "DEL gone");
    site.cmd(0, "SET later v");
    site.repair();
    restore(&mut site, 1, &backup);
    assert_eq!(site.cmd(1, "EXISTS gone"), Value::Int(1));
    let outcome = site.repair();
    assert_says(
        &outcome,
        &["FORGOT: r2 (database 0) was rolled back to step"],
    );
    site.assert_all("EXISTS gone", &Value::Int(0));
    site.assert_all("GET later", &text("v"));
    let servers: Vec<&RedisServer> = site.servers.iter().collect();
    assert_equal_but_markers(&servers);
}

#[test]
fn a_copy_that_comes_home_is_a_newcomer_whatever_marker_it_carries() {
    let mut site = Site::counting(3);
    site.cmd(0, "SET hits 10");
    site.repair();
    let backup = |site: &Site, index: usize| {
        site.cmd(index, "SAVE");
        let backup = site.dir.path().join(format!("backup{index}.rdb"));
        fs::copy(site.servers[index].dir().join("dump.rdb"), &backup).unwrap();
        backup
    };
    // r2 is seeded from r3, lives on, and what it is then becomes r3's: with r3's own marker of long ago in it.
    let of_r3 = backup(&site, 2);
    restore(&mut site, 1, &of_r3);
    site.repair();
    site.cmd(0, "INCRBY hits 5");
    site.repair();
    site.cmd(1, "INCRBY hits 100");
    let of_r2 = backup(&site, 1);
    restore(&mut site, 2, &of_r2);
    let checked = site.with("check").run();
    assert_says(&checked, &["it was seeded from another replica"]);
    let outcome = site.repair();
    assert_says(&outcome, &["FORGOT: r3 (database 0) lost its marker"]);
    assert_eq!(outcome.stdout.matches("FORGOT").count(), 1, "{outcome}");
    site.assert_all("GET hits", &text("115"));
}

/// Equal in every key but reknit's own.
fn assert_equal_but_markers(servers: &[&RedisServer]) {
    let replicas = servers.iter().enumerate();
    let replicas = replicas.map(|(index, one)| format!("--replica=r{index}={}", one.url()));
    let outcome = Reknit::new(["clean".to_owned(), "--markers".to_owned()])
        .args(replicas)
        .run();
    outcome.assert_code(0);
    assert_equal(servers);
}

#[test]
fn two_runs_never_overlap() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    let lock = fs::File::options()
        .write(true)
        .open(site.state().join("lock"))
        .unwrap();
    lock.lock().unwrap();
    for command in ["repair", "diff"] {
        let outcome = site.with(command).run();
        outcome.assert_code(4);
        assert_says(&outcome, &["in use by process", "(repair) since"]);
    }
    drop(lock);
    site.repair();
}

#[test]
fn a_damaged_state_is_named_and_set_aside_by_adopt_alone() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    site.cmd(1, "DEL k");
    fs::write(site.state().join("identity"), "{}").unwrap();
    let outcome = site.with("repair").run();
    outcome.assert_code(2);
    assert_says(&outcome, &["identity", "--adopt"]);
    assert_eq!(site.cmd(0, "EXISTS k"), Value::Int(1));
    let outcome = site.with("repair").args(["--adopt"]).run();
    outcome.assert_code(0);
    assert_says(&outcome, &["is set aside in", "this is a first run"]);
    // Nobody remembers that it was deleted: a first run fills in.
    site.assert_all("EXISTS k", &Value::Int(1));
    site.cmd(1, "DEL k");
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
}

#[test]
fn another_state_directory_is_refused_until_it_adopts() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    let other = site.dir.path().join("other");
    let elsewhere = || {
        site.with("repair")
            .args(["--state-dir".into(), other.clone()])
    };
    let outcome = elsewhere().run();
    outcome.assert_code(2);
    assert_says(&outcome, &["another state directory", "--adopt"]);
    elsewhere().args(["--adopt"]).run().assert_code(0);
    site.with("repair").run().assert_code(2);
    elsewhere().run().assert_code(0);
}

#[test]
fn a_run_without_memory_still_refuses_markers_and_an_ad_hoc_run_can_have_memory() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    let servers: Vec<&RedisServer> = site.servers.iter().collect();
    let ad_hoc = || Reknit::over("repair", &servers).args(["--settle", "50ms"]);
    ad_hoc().run().assert_code(0);
    assert_eq!(
        site.cmd(0, "DBSIZE"),
        Value::Int(1),
        "no marker without memory"
    );
    let dir = site.state();
    ad_hoc()
        .args(["--state-dir".into(), dir.clone()])
        .run()
        .assert_code(0);
    site.cmd(1, "DEL k");
    ad_hoc().run().assert_code(4);
    ad_hoc()
        .args(["--state-dir".into(), dir])
        .run()
        .assert_code(0);
    site.assert_all("EXISTS k", &Value::Int(0));
}

#[test]
fn other_replicas_than_those_that_are_remembered_are_refused() {
    let mut site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    let config = site.config_of([("x".into(), 0), ("y".into(), 1)]);
    let renamed = Reknit::new(["repair"]).args(["-c".into(), config]).run();
    renamed.assert_code(2);
    assert_says(
        &renamed,
        &["remembers the replicas", "reknit rename OLD NEW"],
    );
    // The same names, and other servers behind them.
    let strangers = Site::new(2);
    site.servers = strangers.servers;
    let outcome = site.with("repair").run();
    outcome.assert_code(2);
    assert_says(&outcome, &["none of the replicas carries its marker"]);
}

#[test]
fn exchanged_names_are_found_out() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    let config = site.config_of([("r1".into(), 1), ("r2".into(), 0)]);
    let outcome = Reknit::new(["repair"]).args(["-c".into(), config]).run();
    outcome.assert_code(2);
    assert_says(&outcome, &["exchanged"]);
}

#[test]
fn a_forced_run_says_why_and_the_log_keeps_it() {
    let site = Site::new(2);
    for number in 0..300 {
        site.cmd(0, &format!("SET k{number} v"));
    }
    site.repair();
    for number in 0..200 {
        site.cmd(1, &format!("DEL k{number}"));
    }
    site.with("repair").run().assert_code(4);
    let forced = ["--force-deletes", "200"];
    let outcome = site.with("repair").args(forced).run();
    outcome.assert_code(2);
    assert_says(&outcome, &["--reason"]);
    let reason = ["--reason", "the import was wrong"];
    site.with("repair")
        .args(forced)
        .args(reason)
        .run()
        .assert_code(0);
    site.assert_all("EXISTS k1", &Value::Int(0));
    site.assert_all("EXISTS k299", &Value::Int(1));
}

#[test]
fn explain_tells_what_was_agreed_and_what_each_replica_did_since() {
    let site = Site::new(3);
    site.cmd(0, "SADD s x y");
    site.repair();
    site.cmd(1, "SREM s x");
    site.cmd(2, "SADD s z");
    let explain = |key: &str, more: &[&str]| site.with("explain").args([key]).args(more).run();
    let outcome = explain("s", &[]);
    outcome.assert_code(1);
    assert_says(
        &outcome,
        &[
            "version 1: set of 2 members",
            "r1 unchanged; r2 changed; r3 changed",
            "member \"x\": r1 unchanged, r2 removed, r3 unchanged",
            "member \"z\": r1 unchanged, r2 unchanged, r3 added",
            "evidence  agreed",
            "r1: add 1 member, remove 1 member",
        ],
    );
    let told = json(&explain("s", &["--format", "json"]));
    assert_eq!(told["memory"]["agreed"]["version"], 1);
    assert_eq!(told["memory"]["replicas"][1]["did"], "changed");
    site.cmd(1, "FLUSHALL");
    let told = json(&explain("s", &["--format", "json"]));
    assert_eq!(told["memory"]["replicas"][1]["did"], "newcomer");
    let unknown = explain("nobody", &[]);
    unknown.assert_code(0);
    assert_says(&unknown, &["agreed    nothing yet"]);
}

#[test]
fn explain_says_that_equal_counters_still_have_to_be_summed() {
    let site = Site::counting(2);
    site.cmd(0, "SET hits 10");
    site.repair();
    for server in 0..2 {
        site.cmd(server, "INCRBY hits 5");
    }
    let outcome = site.with("explain").args(["hits"]).run();
    assert_says(&outcome, &["the number 10", "r1: increase by 5"]);
    site.assert_all("GET hits", &text("15"));
}

#[test]
fn check_says_where_the_state_is_and_whose_markers_are_intact() {
    let site = Site::new(3);
    let check = || site.with("check").run();
    let before = check();
    before.assert_code(0);
    assert_says(&before, &["none yet, the first repair makes it"]);
    assert!(!site.state().exists(), "a check makes no state directory");
    site.cmd(0, "SET k v");
    site.repair();
    site.cmd(2, "FLUSHALL");
    let outcome = check();
    outcome.assert_code(0);
    assert_says(
        &outcome,
        &[
            "opens: 3 enrolled (r1, r2, r3), last run 1",
            "database 0: its marker is intact",
            "database 0: its marker is missing",
        ],
    );
}

#[test]
fn the_journal_is_kept_no_longer_than_it_is_asked_for() {
    let mut site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    let shown = site.with_state("runs").args(["show", "1"]).run();
    assert_says(&shown, &["\"k\" at r2: absent → added"]);
    site.more = ", journal_size: 1B";
    site.cmd(0, "SET k w");
    site.repair();
    assert_says(
        &site.with_state("runs").args(["show", "1"]).run(),
        &["nothing is in the journal"],
    );
    let latest = site.with_state("runs").args(["show", "2"]).run();
    assert_says(&latest, &["\"k\" at r2: string of 1 byte → overwritten"]);
    let undone = site.with("undo").args(["1"]).run();
    undone.assert_code(0);
    assert_says(&undone, &["run 1 wrote nothing that is in the journal"]);
}

#[test]
fn a_state_directory_that_is_not_the_right_one_is_named_and_nothing_is_written() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    let copy = site.dir.path().join("copy");
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        let words = ["-a".as_ref(), from.as_os_str(), to.as_os_str()];
        let status = std::process::Command::new("cp").args(words).status();
        assert!(status.unwrap().success());
    };
    copied(&site.state(), &copy);
    site.cmd(0, "SET k w");
    site.repair();
    site.cmd(1, "DEL k");
    let refused = |dir: &std::path::Path, words: &[&str]| {
        let outcome = site
            .with("repair")
            .args(["--state-dir".as_ref(), dir.as_os_str()])
            .run();
        outcome.assert_code(2);
        assert_says(&outcome, words);
        assert_eq!(site.cmd(0, "GET k"), text("w"));
    };
    refused(
        &copy,
        &["r1", "which this state directory never took", "--adopt"],
    );
    let newer = site.dir.path().join("newer");
    copied(&site.state(), &newer);
    let identity = fs::read_to_string(newer.join("identity")).unwrap();
    fs::write(
        newer.join("identity"),
        identity.replace("\"format\": 1", "\"format\": 9"),
    )
    .unwrap();
    refused(&newer, &["written by a newer reknit", "use that version"]);
    let foreign = site.dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("notes.txt"), "mine").unwrap();
    refused(&foreign, &["notes.txt", "not reknit's"]);
    assert_eq!(
        fs::read_to_string(foreign.join("notes.txt")).unwrap(),
        "mine"
    );
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
}

#[test]
fn a_new_name_for_a_known_server_is_refused_until_it_is_told() {
    let site = Site::counting(2);
    site.cmd(0, "SET hits 18");
    site.repair();
    site.cmd(0, "INCRBY hits 10");
    let config = site.config_of([("new".into(), 0), ("r2".into(), 1)]);
    let repair = || {
        Reknit::new(["repair"])
            .args(["-c".into(), config.clone()])
            .run()
    };
    let refused = repair();
    refused.assert_code(2);
    assert_says(
        &refused,
        &["carries the marker of r1", "reknit rename r1 new"],
    );
    assert_eq!(site.cmd(1, "GET hits"), text("18"));
    let renamed = Reknit::new(["rename", "r1", "new", "-c"])
        .args([config.clone()])
        .run();
    renamed.assert_code(0);
    repair().assert_code(0);
    site.assert_all("GET hits", &text("28"));
    let bad = Reknit::new(["rename", "new", "a b", "-c"])
        .args([config])
        .run();
    bad.assert_code(2);
    assert_says(&bad, &["`a b` is no name for a replica"]);
}

#[test]
fn what_contradicts_itself_on_the_command_line_is_refused_before_anything_is_touched() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    site.repair();
    site.cmd(0, "DEL k");
    for (words, said) in [
        (&["--adopt", "--dry-run"][..], "cannot be used with"),
        (&["--adopt", "--resume"], "cannot be used with"),
        (&["--prefer", "r2,greatest"], "--prefer is about --replica"),
        (
            &["--rule", "string=counter-max"],
            "--rule is about --replica",
        ),
    ] {
        let refused = site.with("repair").args(words.iter().copied()).run();
        refused.assert_code(2);
        assert_says(&refused, &[said]);
    }
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
}
