//! State directories that cannot be used, and replica lists that are not what they were: by the command line, on real
//! servers. Each is named with what to do, ends with exit 2, and nothing is deleted on weak evidence.
//!
//! Elsewhere: a damaged identity, a newer directory, a foreign one, one of another set, names that were all exchanged
//! (`remembering.rs`); every byte of a store (`state/tests/damage.rs`); a full disk below the store (`state_crash.rs`).

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fjall::{Database, KeyspaceCreateOptions};
use redis::Value;
use support::disk::{Disk, read_only};
use support::reknit::Reknit;
use support::server::RedisServer;
use support::site::{Site, assert_says, text};

/// Does something to a state directory.
type Damage = fn(&Path);

/// A site that agreed on `k`, `l` and `m`, of which `k` was deleted at r2 since.
fn with_a_delete(servers: usize) -> Site {
    let site = Site::new(servers);
    site.cmd(0, "MSET k v l v m v");
    site.repair();
    site.cmd(1, "DEL k");
    site
}

/// All that a server holds but for the markers.
fn held(server: &RedisServer) -> Vec<(String, Value)> {
    let Value::Array(keys) = server.cmd(["KEYS", "*"]) else {
        panic!("no keys");
    };
    let keys = keys.into_iter().map(|key| match key {
        Value::BulkString(key) => String::from_utf8(key).unwrap(),
        other => panic!("{other:?}"),
    });
    let mut all: Vec<_> = keys
        .map(|key| (key.clone(), server.cmd(["DUMP", &key])))
        .collect();
    all.sort_by(|left, right| left.0.cmp(&right.0));
    all
}

fn all_held(site: &Site) -> Vec<Vec<(String, Value)>> {
    site.servers.iter().map(held).collect()
}

/// Refused with these words, and nothing was written to any replica.
#[track_caller]
fn assert_refused(site: &Site, command: Reknit, words: &[&str]) {
    let before = all_held(site);
    let outcome = command.run();
    outcome.assert_code(2);
    assert_says(&outcome, words);
    assert!(all_held(site) == before, "something was written\n{outcome}");
}

fn copy(from: &Path, to: &Path) {
    let words = ["-a".as_ref(), from.as_os_str(), to.as_os_str()];
    assert!(Command::new("cp").args(words).status().unwrap().success());
}

#[test]
fn a_directory_that_cannot_be_written_is_named_and_nothing_is_written() {
    let site = with_a_delete(2);
    let words = [
        "cannot be written",
        "make it writable",
        "another state directory",
    ];
    for command in ["repair", "diff"] {
        let within = read_only(&site.state());
        assert_refused(&site, site.with(command).within(&within), &words);
    }
    // Where nothing is yet, nothing can be made.
    let fresh = Site::new(2);
    fresh.cmd(0, "SET k v");
    let within = read_only(fresh.dir.path());
    fresh.config(2);
    assert_refused(&fresh, fresh.with("repair").within(&within), &words);
    assert_eq!(fresh.cmd(1, "DBSIZE"), Value::Int(0));
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
}

#[test]
fn a_disk_without_room_for_a_directory_is_named_and_nothing_is_written() {
    let site = Site::new(2);
    site.cmd(0, "SET k v");
    let disk = Disk::mount(&site.state(), "64k");
    let repair = site.with("repair").within(&disk.within());
    assert_refused(&site, repair, &["no space left on the disk", "free some"]);
}

/// Keys that were counted at both sides.
const COUNTED: usize = 300;

/// The counters as they are at a server.
fn counts(site: &Site, server: usize) -> Vec<Value> {
    let keys = (0..COUNTED).map(|number| format!("n{number}"));
    let words = std::iter::once("MGET".to_owned()).chain(keys);
    match site.servers[server].cmd(words) {
        Value::Array(values) => values,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_disk_that_becomes_full_stops_the_run_and_the_next_comes_to_the_same() {
    let site = Site::counting(2);
    let disk = Disk::mount(&site.state(), "96m");
    let repair = || site.with("repair").within(&disk.within());
    for number in 0..COUNTED {
        site.cmd(0, &format!("SET n{number} 100"));
        site.cmd(0, &format!("HSET h{number} f {}", "v".repeat(2_000)));
    }
    site.cmd(0, "SET gone v");
    repair().run().assert_code(0);
    for number in 0..COUNTED {
        site.cmd(0, &format!("INCRBY n{number} 1"));
        site.cmd(1, &format!("INCRBY n{number} 2"));
        site.cmd(1, &format!("HSET h{number} f w"));
    }
    site.cmd(1, "DEL gone");
    disk.fill_but(160);
    let forced =
        |command: Reknit| command.args(["--force-overwrites", "1000", "--reason", "a test"]);
    let outcome = forced(repair()).run();
    outcome.assert_code(2);
    assert_says(
        &outcome,
        &["no space left on the disk", "free some and run again"],
    );
    let done = summed(&counts(&site, 0));
    assert!(done < COUNTED, "it did not come to its end: {done}");
    let again = forced(repair()).run();
    again.assert_code(2);
    assert_says(&again, &["no space left on the disk"]);
    disk.make_room();
    let outcome = forced(repair()).run();
    outcome.assert_code(0);
    for server in 0..2 {
        assert_eq!(summed(&counts(&site, server)), COUNTED, "r{}", server + 1);
        for number in 0..COUNTED {
            assert_eq!(site.cmd(server, &format!("HGET h{number} f")), text("w"));
        }
    }
    site.assert_all("EXISTS gone", &Value::Int(0));
    repair().run().assert_code(0);
}

/// How many are the sum of what both sides counted; each is that or one side's.
fn summed(counts: &[Value]) -> usize {
    let sides = [text("101"), text("102"), text("103")];
    assert!(
        counts.iter().all(|count| sides.contains(count)),
        "{counts:?}"
    );
    counts.iter().filter(|count| **count == text("103")).count()
}

#[test]
fn a_record_of_a_newer_version_is_named_and_nothing_is_written() {
    let site = with_a_delete(2);
    let database = Database::builder(site.state().join("store"))
        .open()
        .unwrap();
    let agreed = database
        .keyspace("agreed", KeyspaceCreateOptions::default)
        .unwrap();
    let rows: Vec<(Vec<u8>, Vec<u8>)> = agreed
        .iter()
        .map(|row| row.into_inner().unwrap())
        .map(|(at, value)| (at.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(rows.len(), 3);
    for (at, mut value) in rows {
        value[0] = 2;
        agreed.insert(at, value).unwrap();
    }
    database.persist(fjall::PersistMode::SyncAll).unwrap();
    drop(agreed);
    drop(database);
    let words = ["written by a newer reknit (format 2", "use that version"];
    for command in ["repair", "diff"] {
        let outcome = site.with(command).run();
        outcome.assert_code(2);
        assert_says(&outcome, &words);
        assert_eq!(site.cmd(0, "EXISTS k"), Value::Int(1), "{command}");
        assert_eq!(site.cmd(1, "EXISTS k"), Value::Int(0), "{command}");
    }
}

/// The log of a store, of which the last is written to.
fn log_of(state: &Path) -> PathBuf {
    let files = fs::read_dir(state.join("store")).unwrap();
    let logs = files.map(|file| file.unwrap().path());
    let mut logs: Vec<PathBuf> = logs
        .filter(|path| path.extension().is_some_and(|it| it == "jnl"))
        .collect();
    logs.sort();
    logs.pop().unwrap()
}

fn cut_to(path: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

#[test]
fn a_directory_that_is_half_there_is_named_by_its_part_and_nothing_is_written() {
    let site = with_a_delete(2);
    let damages: [(&str, Damage); 9] = [
        ("identity", |state| {
            fs::remove_file(state.join("identity")).unwrap()
        }),
        ("identity", |state| cut_to(&state.join("identity"), 60)),
        ("store", |state| {
            fs::remove_dir_all(state.join("store")).unwrap()
        }),
        ("committed", |state| {
            fs::remove_file(state.join("committed")).unwrap()
        }),
        ("committed", |state| cut_to(&state.join("committed"), 0)),
        ("version", |state| {
            fs::remove_file(state.join("store/version")).unwrap()
        }),
        ("log", |state| fs::remove_file(log_of(state)).unwrap()),
        ("its log was cut off", |state| cut_to(&log_of(state), 100)),
        ("current", |state| {
            fs::remove_file(state.join("store/keyspaces/1/current")).unwrap();
        }),
    ];
    for (number, (part, damage)) in damages.into_iter().enumerate() {
        let damaged = site.dir.path().join(format!("damaged{number}"));
        copy(&site.state(), &damaged);
        damage(&damaged);
        let repair = site
            .with("repair")
            .args(["--state-dir".as_ref(), damaged.as_os_str()]);
        let words = [part, "restore the directory from a backup", "--adopt"];
        assert_refused(&site, repair, &words);
    }
    // What a killed process leaves is no damage.
    fs::write(site.state().join("identity.new"), "{").unwrap();
    fs::write(site.state().join("committed.new"), "").unwrap();
    fs::remove_file(site.state().join("lock")).unwrap();
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
}

/// A repair of servers under names, by the state directory of the site.
fn repair_of(site: &Site, replicas: &[(&str, usize)]) -> Reknit {
    let named = replicas
        .iter()
        .map(|(name, server)| ((*name).into(), *server));
    Reknit::new(["repair"]).args(["-c".into(), site.config_of(named)])
}

#[test]
fn a_server_of_another_set_is_refused_and_one_of_nobody_is_a_newcomer() {
    let mut site = with_a_delete(2);
    let mut other = Site::new(2);
    other.cmd(0, "SET theirs v");
    other.repair();
    // r2 leads to a server that another reknit looks after.
    site.servers.push(other.servers.remove(1));
    let before = held(&site.servers[2]);
    let swapped = [("r1", 0), ("r2", 2)];
    assert_refused(
        &site,
        repair_of(&site, &swapped),
        &["r2", "another state directory", "--adopt"],
    );
    assert_eq!(held(&site.servers[2]), before);
    // One that nobody looks after: what it lacks is no delete, what it has joins.
    site.servers.push(RedisServer::start());
    site.cmd(3, "SET own v");
    let swapped = [("r1", 0), ("r2", 3)];
    let outcome = repair_of(&site, &swapped).run();
    outcome.assert_code(0);
    assert_says(&outcome, &["FORGOT: r2 (database 0) lost its marker"]);
    for key in ["k", "l", "m", "own"] {
        for server in [0, 3] {
            assert_eq!(
                site.cmd(server, &format!("EXISTS {key}")),
                Value::Int(1),
                "{key}"
            );
        }
    }
}

#[test]
fn a_name_that_is_missing_counts_as_absent_and_its_deletes_count_when_it_is_back() {
    let site = Site::new(3);
    site.cmd(0, "MSET k v l v m v");
    site.repair();
    site.cmd(0, "DEL k");
    site.cmd(2, "DEL l");
    let outcome = repair_of(&site, &[("r1", 0), ("r2", 1)]).run();
    outcome.assert_code(0);
    assert_says(
        &outcome,
        &[
            "replica r3 is remembered and not configured",
            "reknit forget r3",
            "reknit rename r3 NEW",
        ],
    );
    site.cmd(1, "SET new v");
    assert_eq!(site.cmd(1, "EXISTS k"), Value::Int(0));
    assert_eq!(
        site.cmd(1, "EXISTS l"),
        Value::Int(1),
        "nobody here deleted it"
    );
    assert_eq!(site.cmd(2, "EXISTS k"), Value::Int(1), "it was not there");
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
    site.assert_all("EXISTS l", &Value::Int(0));
    site.assert_all("EXISTS m", &Value::Int(1));
    site.assert_all("EXISTS new", &Value::Int(1));
}

#[test]
fn two_names_of_three_that_were_exchanged_are_named_and_nothing_is_written() {
    let site = with_a_delete(3);
    let swapped = repair_of(&site, &[("r1", 0), ("r2", 2), ("r3", 1)]);
    assert_refused(&site, swapped, &["r2", "r3", "exchanged"]);
    // One name twice is refused before anything is asked; one server under two names, too.
    assert_refused(&site, repair_of(&site, &[("r1", 0), ("r1", 1)]), &["r1"]);
    assert_refused(&site, repair_of(&site, &[("r1", 0), ("r2", 0)]), &["same"]);
    site.repair();
    site.assert_all("EXISTS k", &Value::Int(0));
}
