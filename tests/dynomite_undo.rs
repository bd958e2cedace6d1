//! Undoing a run on racks, on real servers: what it wrote goes, with its stamps, and what stood there comes back with its own.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::BTreeMap;

use redis::{FromRedisValue, Value};

use support::racks::Racks;

/// When all that is stamped was written first.
const THEN: i64 = 1_700_000_000_000;

/// What a rack holds, with its stamps.
type Held = (Vec<Value>, BTreeMap<String, BTreeMap<String, i64>>);

const KEYS: [&str; 6] = ["k", "h", "gone", "added", "stale", "bare"];

fn held(racks: &Racks, rack: usize) -> Held {
    let read = |command: &&str| racks.at(rack, command);
    let commands = [
        "GET k",
        "HMGET h f g new",
        "SMISMEMBER gone a b",
        "ZSCORE added m",
        "GET stale",
        "PEXPIRETIME k",
        "GET bare",
    ];
    (commands.iter().map(read).collect(), racks.stamps(rack))
}

fn text(value: Value) -> Option<String> {
    Option::from_redis_value(value).unwrap()
}

/// Two racks that agreed, of which the second then missed what clients did at the first.
fn parted(racks: &Racks) {
    let stamp = |rack: usize, key: &str, name: &str, at: i64| {
        racks.at(rack, &format!("ZADD ._add-set_{key} {at} {name}"));
        racks.stamp(rack, key, at);
    };
    for rack in 0..2 {
        racks.at(rack, "SET k old PXAT 4000000000000");
        racks.at(rack, "SET stale old");
        racks.at(rack, "SET bare v");
        racks.stamp(rack, "k", THEN);
        racks.stamp(rack, "stale", THEN);
        racks.at(rack, "HSET h f 1 g 1");
        racks.at(rack, "SADD gone a b");
        for (key, name) in [("h", "f"), ("h", "g"), ("gone", "a"), ("gone", "b")] {
            stamp(rack, key, name, THEN);
        }
    }
    racks.repair();
    racks.at(0, "SET k new PXAT 4000000000001");
    racks.stamp(0, "k", THEN + 5);
    racks.at(0, "SET stale new");
    racks.stamp(0, "stale", THEN + 5);
    racks.at(0, "HDEL h f");
    racks.at(0, "ZREM ._add-set_h f");
    racks.at(0, &format!("ZADD ._rem-set_h {} f", THEN + 5));
    for (key, name, at) in [("h", "g", 6), ("h", "new", 7)] {
        racks.at(0, &format!("HSET {key} {name} 2"));
        stamp(0, key, name, THEN + at);
    }
    racks.at(0, "DEL gone ._add-set_gone");
    racks.at(0, "ZREM ._add-set gone");
    racks.at(0, &format!("ZADD ._rem-set {} gone", THEN + 5));
    racks.at(0, "DEL bare");
    racks.at(0, &format!("ZADD ._rem-set {} bare", THEN + 5));
    racks.at(0, "ZADD added 3 m");
    stamp(0, "added", "m", THEN + 5);
}

#[test]
fn what_a_run_wrote_goes_with_its_stamps_and_the_former_ones_come_back() {
    let racks = Racks::new(2).remembering();
    parted(&racks);
    let (first, second) = (held(&racks, 0), held(&racks, 1));
    racks.repair();
    assert_eq!(held(&racks, 0), first);
    assert_eq!(held(&racks, 1), first);
    racks.reknit("undo").args(["2"]).run().assert_code(0);
    assert_eq!(held(&racks, 1), second);
    assert_eq!(held(&racks, 0), first);
    // Held: reported, and not resolved again, nor is any removal carried over to it.
    racks.reknit("repair").run().assert_code(1);
    assert_eq!(held(&racks, 1), second);
    // The undo was a run, too: so it can be undone, and undone again.
    racks.reknit("undo").args(["3"]).run().assert_code(0);
    assert_eq!(held(&racks, 1), first);
    racks.reknit("diff").run().assert_code(0);
}

#[test]
fn a_key_that_is_named_after_its_undo_is_decided_by_the_same_stamps_again() {
    let racks = Racks::new(2).remembering();
    parted(&racks);
    let (first, second) = (held(&racks, 0), held(&racks, 1));
    racks.repair();
    racks.reknit("undo").args(["2"]).run().assert_code(0);
    assert_eq!(held(&racks, 1), second);
    let named = KEYS.map(|key| format!("--key={key}"));
    racks.reknit("repair").args(named).run().assert_code(0);
    assert_eq!(held(&racks, 1), first);
    assert_eq!(held(&racks, 0), first);
    racks.repair();
}

#[test]
fn what_clients_stamped_since_stays() {
    let racks = Racks::new(2).remembering();
    parted(&racks);
    racks.repair();
    // The same value, written again: the stamp alone tells.
    racks.at(1, "SET stale new");
    racks.stamp(1, "stale", THEN + 9);
    let undone = racks.reknit("undo").args(["2", "--key=stale"]).run();
    undone.assert_code(1);
    assert!(
        undone.stdout.contains("kept: it was written since"),
        "{undone}"
    );
    assert_eq!(text(racks.at(1, "GET stale")).as_deref(), Some("new"));
    assert_eq!(racks.stamps(1)["._add-set"]["stale"], THEN + 9);
}

#[test]
fn a_run_without_memory_takes_its_stamps_back_from_its_file() {
    let racks = Racks::new(2);
    parted(&racks);
    // Without memory, a value without a stamp would come back.
    racks.at(1, "DEL bare");
    racks.at(1, &format!("ZADD ._rem-set {} bare", THEN + 5));
    let (first, second) = (held(&racks, 0), held(&racks, 1));
    let file = racks.dir.path().join("journal");
    let kept = ["--journal".to_owned(), file.display().to_string()];
    racks.reknit("repair").args(&kept).run().assert_code(0);
    assert_eq!(held(&racks, 1), first);
    racks.reknit("undo").args(&kept).run().assert_code(0);
    assert_eq!(held(&racks, 1), second);
    assert_eq!(held(&racks, 0), first);
}

#[test]
fn what_others_counted_is_taken_back() {
    let racks = Racks::new(2)
        .remembering()
        .with("keyspaces: [{ name: all, rules: { string: counter } }]\n");
    for (rack, name, part) in [(0, "rack1", 3), (1, "rack2", 2)] {
        racks.at(rack, &format!("SET c {}", 1 + part));
        racks.at(
            rack,
            &format!("HSET ._counts_c since {THEN}.0 base 1 +{name} {part}"),
        );
        racks.stamp(rack, "c", THEN);
    }
    let counts = |rack| {
        let all = racks.at(rack, "HGETALL ._counts_c");
        let all: BTreeMap<String, String> = redis::from_redis_value(all).unwrap();
        (text(racks.at(rack, "GET c")).unwrap(), all)
    };
    let before = [counts(0), counts(1)];
    racks.repair();
    assert_eq!((counts(0).0, counts(1).0), ("6".into(), "6".into()));
    racks.reknit("undo").args(["1"]).run().assert_code(0);
    assert_eq!([counts(0), counts(1)], before);
    racks
        .reknit("repair")
        .args(["--key=c"])
        .run()
        .assert_code(0);
    assert_eq!((counts(0).0, counts(1).0), ("6".into(), "6".into()));
}

/// A large set, each member with its stamp, at some racks.
fn fill(racks: &Racks, at: &[usize]) {
    for rack in at {
        for thousand in 0..6 {
            let names = || (0..1000).map(|number| format!("m{thousand}-{number}"));
            let members: Vec<String> = names().collect();
            racks.at(*rack, &format!("SADD big {}", members.join(" ")));
            let stamped: Vec<String> = names().map(|name| format!("{THEN} {name}")).collect();
            racks.at(*rack, &format!("ZADD ._add-set_big {}", stamped.join(" ")));
        }
        racks.at(*rack, "PEXPIREAT big 4000000000000");
        racks.stamp(*rack, "big", THEN);
    }
}

/// The members of the set, their end and their stamps.
fn big(
    racks: &Racks,
    rack: usize,
) -> (Vec<String>, Value, BTreeMap<String, BTreeMap<String, i64>>) {
    let mut members: Vec<String> = Vec::from_redis_value(racks.at(rack, "SMEMBERS big")).unwrap();
    members.sort();
    let ends = racks.at(rack, "PEXPIRETIME big");
    (members, ends, racks.stamps(rack))
}

#[test]
fn a_large_collection_is_taken_back_with_its_stamps() {
    for of_file in [false, true] {
        let racks = match of_file {
            true => Racks::new(3),
            false => Racks::new(3).remembering(),
        };
        fill(&racks, &[0, 1]);
        // One rack missed a removal, another an addition, the third everything.
        racks.at(0, "SREM big m1-7");
        racks.at(0, "ZREM ._add-set_big m1-7");
        racks.at(0, &format!("ZADD ._rem-set_big {} m1-7", THEN + 5));
        racks.at(1, "SADD big new");
        racks.at(1, &format!("ZADD ._add-set_big {} new", THEN + 6));
        racks.stamp(1, "big", THEN + 6);
        let before = [0, 1, 2].map(|rack| big(&racks, rack));
        let journal = racks.dir.path().join("journal").display().to_string();
        let kept = match of_file {
            true => vec!["--journal".to_owned(), journal],
            false => vec![],
        };
        racks.reknit("repair").args(&kept).run().assert_code(0);
        racks.reknit("diff").run().assert_code(0);
        let repaired = big(&racks, 2);
        assert_eq!(repaired.0.len(), 6000);
        let undo = || racks.reknit("undo").args(&kept).args(["1"]);
        undo().args(["--dry-run"]).run().assert_code(0);
        assert_eq!(big(&racks, 2), repaired);
        undo().run().assert_code(0);
        assert_eq!([0, 1, 2].map(|rack| big(&racks, rack)), before);
        if !of_file {
            racks.reknit("repair").run().assert_code(1);
            assert_eq!([0, 1, 2].map(|rack| big(&racks, rack)), before);
        }
        racks
            .reknit("repair")
            .args(["--key=big"])
            .run()
            .assert_code(0);
        assert_eq!(
            [0, 1, 2].map(|rack| big(&racks, rack)),
            [(); 3].map(|()| repaired.clone())
        );
    }
}

#[test]
fn a_large_collection_that_a_run_removed_comes_back_with_its_stamps_and_its_end() {
    let racks = Racks::new(2).remembering();
    fill(&racks, &[0, 1]);
    racks.repair();
    racks.at(0, "DEL big ._add-set_big");
    racks.at(0, "ZREM ._add-set big");
    racks.at(0, &format!("ZADD ._rem-set {} big", THEN + 5));
    let before = [0, 1].map(|rack| big(&racks, rack));
    racks
        .reknit("repair")
        .args(["--force-deletes", "1", "--reason", "meant"])
        .run()
        .assert_code(0);
    assert_eq!(racks.at(1, "EXISTS big"), Value::Int(0));
    assert_eq!(racks.at(1, "ZSCORE ._add-set big"), Value::Nil);
    assert_eq!(racks.stamps(1)["._rem-set"]["big"], THEN + 5);
    racks.reknit("undo").args(["2"]).run().assert_code(0);
    assert_eq!([0, 1].map(|rack| big(&racks, rack)), before);
}
