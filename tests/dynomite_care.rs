//! What stamps cannot tell, or tell wrongly: keys are left alone, or judged by other evidence.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(
    clippy::disallowed_methods,
    reason = "stamps from the future are told by the wall clock"
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::{FromRedisValue, Value};
use reknit::model::{
    DbIndex, DigestKey, Expect, Field, Key, Op, ReplicaName, Stamp, Stamped, Stamps, State,
    Witness, Write,
};
use reknit::store::{Connecting, Endpoint, RedisReplica, Replica, WriteOutcome};
use support::judge::assert_equal;
use support::racks::Racks;

/// A time that is long past.
const THEN: i64 = 1_700_000_000_000;

fn text(value: Value) -> Option<String> {
    Option::from_redis_value(value).unwrap()
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as i64
}

/// A hash with stamped fields at one rack.
fn hash(racks: &Racks, rack: usize, key: &str, fields: &[(&str, &str, i64)]) {
    for (name, value, time) in fields {
        racks.at(rack, &format!("HSET {key} {name} {value}"));
        racks.at(rack, &format!("ZADD ._add-set_{key} {time} {name}"));
        racks.at(rack, &format!("ZADD ._add-set GT {time} {key}"));
    }
}

#[test]
fn a_stamp_from_the_future_is_quarantined_and_told() {
    let racks = Racks {
        max_skew: "5m",
        ..Racks::new(2)
    };
    for (rack, value, time) in [(0, "a", now() + 3_600_000), (1, "b", THEN)] {
        racks.at(rack, &format!("SET k {value}"));
        racks.stamp(rack, "k", time);
    }
    // A little ahead is a clock's affair.
    racks.at(0, "SET near new");
    racks.stamp(0, "near", now() + 60_000);
    racks.at(1, "SET near old");
    racks.stamp(1, "near", THEN);
    let outcome = racks.reknit("repair").run();
    outcome.assert_code(1);
    assert!(
        outcome
            .stdout
            .contains("quarantined: replica rack1 has a stamp of the key from the future"),
        "{outcome}"
    );
    assert_eq!(text(racks.at(1, "GET near")).as_deref(), Some("new"));
    for (rack, value) in [(0, "a"), (1, "b")] {
        assert_eq!(text(racks.at(rack, "GET k")).as_deref(), Some(value));
    }
    let explained = racks.reknit("explain").args(["k"]).run();
    explained.assert_code(1);
    assert!(explained.stdout.contains("quarantined"), "{explained}");
}

#[test]
fn a_set_of_stamps_that_is_none_is_told_and_its_key_left_alone() {
    let racks = Racks::new(2);
    hash(&racks, 0, "h", &[("f", "new", THEN + 5)]);
    hash(&racks, 1, "h", &[("f", "old", THEN)]);
    hash(&racks, 0, "other", &[("f", "new", THEN + 5)]);
    racks.at(1, "DEL ._add-set_h");
    racks.at(1, "SET ._add-set_h nonsense");
    let outcome = racks.reknit("repair").run();
    outcome.assert_code(3);
    assert!(
        outcome.stdout.contains("._add-set_h holds no stamps"),
        "{outcome}"
    );
    assert_eq!(text(racks.at(1, "HGET h f")).as_deref(), Some("old"));
    assert_eq!(text(racks.at(1, "HGET other f")).as_deref(), Some("new"));
    assert_eq!(
        text(racks.at(1, "GET ._add-set_h")).as_deref(),
        Some("nonsense")
    );
}

#[test]
fn what_has_no_stamps_falls_back_to_the_agreement() {
    let racks = Racks::new(2)
        .remembering()
        .with("keyspaces: [{ name: all, rules: { string: counter } }]\n");
    racks.everywhere("RPUSH list a b");
    racks.everywhere("SET cnt 10");
    for rack in 0..2 {
        racks.stamp(rack, "cnt", THEN);
        racks.stamp(rack, "gone", THEN);
        racks.at(rack, "SADD gone x");
        racks.at(rack, &format!("ZADD ._add-set_gone {THEN} x"));
    }
    racks.repair();
    racks.at(0, "RPUSH list c");
    racks.at(0, "INCRBY cnt 5");
    racks.at(1, "INCRBY cnt 7");
    // SPOP leaves no tombstone: the stamp says that the member is there, the agreement that it was removed.
    racks.at(0, "SPOP gone");
    racks.repair();
    for rack in 0..2 {
        assert_eq!(text(racks.at(rack, "LINDEX list -1")).as_deref(), Some("c"));
        assert_eq!(text(racks.at(rack, "GET cnt")).as_deref(), Some("22"));
        assert_eq!(racks.at(rack, "EXISTS gone"), Value::Int(0));
    }
}

#[test]
fn a_stale_stamp_is_no_tie_where_it_is_known_who_changed() {
    let racks = Racks::new(2).remembering();
    for rack in 0..2 {
        racks.at(rack, "SET k 9");
        racks.stamp(rack, "k", THEN);
    }
    racks.repair();
    // INCRBY leaves the stamp of the SET. Of two values under one stamp the greater by bytes would be 9.
    racks.at(1, "INCRBY k 1");
    racks.repair();
    assert_eq!(text(racks.at(0, "GET k")).as_deref(), Some("10"));
    let forgetful = Racks::new(2);
    for (rack, value) in [(0, "10"), (1, "9")] {
        forgetful.at(rack, &format!("SET k {value}"));
        forgetful.stamp(rack, "k", THEN);
    }
    forgetful.repair();
    assert_eq!(text(forgetful.at(0, "GET k")).as_deref(), Some("9"));
}

#[test]
fn a_deleted_key_stays_deleted_and_one_that_was_written_later_comes_back() {
    let racks = Racks::new(3);
    for (key, removed) in [("dead", 9), ("alive", 3)] {
        hash(
            &racks,
            0,
            key,
            &[("f", "v", THEN + 5), ("g", "v", THEN + 2)],
        );
        racks.at(1, &format!("ZADD ._rem-set {} {key}", THEN + removed));
    }
    racks.repair();
    for rack in 0..3 {
        assert_eq!(racks.at(rack, "EXISTS dead"), Value::Int(0));
        // What is older than the removal stays removed.
        assert_eq!(text(racks.at(rack, "HGET alive f")).as_deref(), Some("v"));
        assert_eq!(racks.at(rack, "HEXISTS alive g"), Value::Int(0));
        let stamps = racks.stamps(rack);
        assert_eq!(stamps["._rem-set"], [("dead".to_owned(), THEN + 9)].into());
        assert_eq!(stamps["._add-set"], [("alive".to_owned(), THEN + 5)].into());
        assert_eq!(
            stamps["._rem-set_alive"],
            [("g".to_owned(), THEN + 3)].into()
        );
        assert!(!stamps.contains_key("._add-set_dead"), "{stamps:?}");
    }
    assert_equal(&[&racks.servers[0], &racks.servers[1]]);
}

#[test]
fn explain_shows_the_stamps_as_evidence() {
    let racks = Racks::load("exp3-1-diverged", &[1, 2]);
    let outcome = racks.reknit("explain").args(["h"]).run();
    outcome.assert_code(1);
    for words in [
        "evidence  recorded",
        "removed \"f2\"",
        "1795461905843",
        "added \"f1\"",
        "1795461892767",
    ] {
        assert!(outcome.stdout.contains(words), "{words}:\n{outcome}");
    }
    let outcome = racks
        .reknit("explain")
        .args(["h", "--format", "json"])
        .run();
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["evidence"], "recorded");
    let whats: Vec<&str> = report["elements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    assert!(
        whats.contains(&"added") && whats.contains(&"removed"),
        "{whats:?}"
    );
}

#[test]
fn tombstones_are_carried_over_and_dropped_once_every_rack_has_had_them_for_long_enough() {
    let racks = Racks {
        grace: "1d",
        ..Racks::new(3)
    };
    let recent = now() - 3_600_000;
    for (rack, name, time) in [
        (0, "old", THEN),
        (1, "old", THEN),
        (0, "recent", recent),
        (2, "missed", THEN),
    ] {
        racks.at(rack, &format!("ZADD ._rem-set {time} {name}"));
    }
    for rack in 0..3 {
        hash(&racks, rack, "h", &[("f", "v", THEN)]);
        racks.at(rack, &format!("ZADD ._rem-set_h {THEN} g"));
    }
    racks.at(2, "DEL ._rem-set_h");
    racks.reknit("repair").run().assert_code(0);
    // Whoever lacked one has it now, and nothing was dropped before all had it.
    for rack in 0..3 {
        let stamps = racks.stamps(rack);
        let all = [("old", THEN), ("recent", recent), ("missed", THEN)]
            .map(|(name, at)| (name.to_owned(), at));
        assert_eq!(stamps["._rem-set"], all.into());
        assert_eq!(stamps["._rem-set_h"], [("g".to_owned(), THEN)].into());
    }
    racks.reknit("diff").run().assert_code(0);
    racks.reknit("repair").run().assert_code(0);
    for rack in 0..3 {
        let stamps = racks.stamps(rack);
        assert_eq!(stamps["._rem-set"], [("recent".to_owned(), recent)].into());
        assert!(!stamps.contains_key("._rem-set_h"));
        assert_eq!(stamps["._add-set_h"], [("f".to_owned(), THEN)].into());
    }
}

#[test]
fn tombstones_are_kept_by_runs_that_do_not_see_everything() {
    let mut racks = Racks {
        grace: "0s",
        ..Racks::new(3)
    };
    racks.everywhere(&format!("ZADD ._rem-set {THEN} k"));
    racks
        .reknit("repair")
        .args(["--match", "x*"])
        .run()
        .assert_code(0);
    racks
        .reknit("repair")
        .args(["--dry-run"])
        .run()
        .assert_code(0);
    let config = racks.config();
    let gone = racks.servers.pop().unwrap();
    drop(gone);
    support::reknit::Reknit::new(["repair"])
        .arg_pair("-c", &config)
        .run()
        .assert_code(3);
    for rack in 0..2 {
        assert_eq!(racks.stamps(rack)["._rem-set"].len(), 1);
    }
}

/// The rack's Redis as a run writes to it.
fn replica(racks: &Racks, rack: usize) -> RedisReplica {
    let connecting = Connecting {
        endpoint: Endpoint::Tcp {
            host: "127.0.0.1".into(),
            port: racks.servers[rack].port(),
        },
        username: None,
        password: None,
        tls: None,
        asking: false,
        read_follower: false,
        follower: false,
        db: DbIndex(0),
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(30),
    };
    RedisReplica::new(ReplicaName("rack".into()), connecting, 10)
}

fn stamped(added: i64, removed: i64) -> Stamped {
    let time = |time: i64| (time > 0).then(|| Stamp::millis(time));
    Stamped {
        added: time(added),
        removed: time(removed),
    }
}

/// Removes field f of hash h, which was v under the stamp 5, for a removal at 9, if all is still as in the witness.
fn removal() -> Write {
    let name = bytes::Bytes::from("f");
    let stamps = |added, removed| Stamps {
        key: stamped(7, 0),
        elements: [(name.clone(), stamped(added, removed))].into(),
        counts: None,
    };
    let held = reknit::model::Value::Hash([(name.clone(), Field::lasting("v"))].into());
    Write {
        key: Key::from("h"),
        expect: Expect::Stamped(Box::new(Witness {
            held: Some(State::lasting(held)),
            touched: Some([name.clone()].into()),
            stamps: stamps(5, 0),
            only_stamps: false,
            watched: None,
            is_unraised: false,
        })),
        ops: vec![
            Op::RemoveFields(vec![name.clone()]),
            Op::Stamp(stamps(0, 9)),
        ],
    }
}

#[tokio::test]
async fn data_and_stamps_are_written_together_only_where_both_are_as_they_were() {
    // What a client does between the read and the write, and whether the write still happens.
    let table = [
        ("PING", true),
        // Another field of the same hash is kept, and so is the later time of the key.
        (
            "HSET h other x\nZADD ._add-set_h 8 other\nZADD ._add-set 8 h",
            true,
        ),
        ("HSET h f w", false),
        ("HDEL h f", false),
        ("ZADD ._add-set_h 6 f", false),
        ("ZADD ._rem-set_h 6 f", false),
        ("ZADD ._rem-set 6 h", false),
        ("PEXPIREAT h 4000000000000", false),
        ("DEL h\nSADD h f", false),
        ("DEL h", false),
    ];
    for (meanwhile, happens) in table {
        let racks = Racks::new(1);
        hash(&racks, 0, "h", &[("f", "v", 5), ("g", "v", 7)]);
        meanwhile
            .lines()
            .for_each(|command| drop(racks.at(0, command)));
        let before = racks.stamps(0);
        let (key, write) = (DigestKey::new([7; 32]), removal());
        let written = replica(&racks, 0)
            .write(None, &[write], &key, None)
            .await
            .unwrap();
        let wanted = if happens {
            WriteOutcome::Applied
        } else {
            WriteOutcome::Superseded
        };
        assert_eq!(written.outcomes, [wanted], "{meanwhile}");
        let stamps = racks.stamps(0);
        if happens {
            assert_eq!(racks.at(0, "HEXISTS h f"), Value::Int(0));
            assert_eq!(stamps["._rem-set_h"], [("f".to_owned(), 9)].into());
            assert!(!stamps["._add-set_h"].contains_key("f"));
            assert_eq!(stamps["._add-set"], before["._add-set"]);
        } else {
            assert_eq!(stamps, before, "{meanwhile}");
        }
    }
}

#[test]
fn a_collection_that_clients_write_all_the_time_is_repaired_all_the_same() {
    let racks = Racks::new(2);
    for rack in 0..2 {
        hash(&racks, rack, "h", &[("f", "old", THEN), ("g", "old", THEN)]);
    }
    hash(&racks, 0, "h", &[("f", "new", THEN + 5)]);
    let (stop, url) = (AtomicBool::new(false), racks.servers[0].url());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = redis::Client::open(url.as_str())
                .unwrap()
                .get_connection()
                .unwrap();
            let mut time = THEN + 10;
            while !stop.load(Ordering::Relaxed) {
                time += 1;
                let mut write = redis::pipe();
                write.atomic().cmd("HSET").arg("h").arg("busy").arg(time);
                write.cmd("ZADD").arg("._add-set_h").arg(time).arg("busy");
                write.cmd("ZADD").arg("._add-set").arg(time).arg("h");
                write.exec(&mut client).unwrap();
            }
        });
        let outcome = racks.reknit("repair").run();
        stop.store(true, Ordering::Relaxed);
        outcome.assert_code(0);
    });
    assert_eq!(text(racks.at(1, "HGET h f")).as_deref(), Some("new"));
    assert_eq!(racks.stamps(1)["._add-set_h"]["f"], THEN + 5);
    racks.repair();
    assert_equal(&[&racks.servers[0], &racks.servers[1]]);
}
