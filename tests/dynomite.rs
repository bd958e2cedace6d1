//! Racks of a real Dynomite cluster, repaired by the stamps that Dynomite kept beside the data.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use support::judge::{assert_equal, query};
use support::racks::{Racks, fixtures};
use support::reknit::Reknit;
use support::server::RedisServer;

fn all(racks: &Racks) -> Vec<&RedisServer> {
    racks.servers.iter().collect()
}

/// What the recording says that the racks should hold: by key, what JSON tells of it.
fn expected() -> serde_json::Map<String, serde_json::Value> {
    let text = std::fs::read_to_string(fixtures().join("exp3-expected-merge.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    whole["merged"].as_object().unwrap().clone()
}

/// A key as the recording tells it.
fn told(server: &RedisServer, key: &str) -> serde_json::Value {
    let client = &mut server.client();
    let kind: String = query(client, &[b"TYPE", key.as_bytes()]);
    let ask = |client: &mut redis::Connection, words: &[&str]| -> Vec<String> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        query(client, &words)
    };
    let value = match kind.as_str() {
        "none" => return serde_json::Value::Null,
        "string" => serde_json::json!(query::<String>(client, &[b"GET", key.as_bytes()])),
        "hash" => ask(client, &["HGETALL", key])
            .chunks(2)
            .map(|pair| (pair[0].clone(), serde_json::json!(pair[1])))
            .collect(),
        "set" => ask(client, &["SMEMBERS", key])
            .into_iter()
            .map(|member| (member, serde_json::json!(true)))
            .collect(),
        "zset" => ask(client, &["ZRANGE", key, "0", "-1", "WITHSCORES"])
            .chunks(2)
            .map(|pair| {
                (
                    pair[0].clone(),
                    serde_json::json!(pair[1].parse::<f64>().unwrap()),
                )
            })
            .collect(),
        other => panic!("{key} is a {other}"),
    };
    serde_json::json!({ "type": kind, "value": value })
}

fn is_as_expected(racks: &Racks) {
    for server in &racks.servers {
        for (key, merged) in expected() {
            assert_eq!(told(server, &key), merged, "{key}");
        }
    }
}

/// The stamps that follow from the recorded ones: the latest of each, and in no two sets the same name.
fn expected_stamps() -> BTreeMap<String, BTreeMap<String, i64>> {
    let set = |pairs: &[(&str, i64)]| {
        let pairs = pairs
            .iter()
            .map(|(name, at)| ((*name).to_owned(), 1_795_461_000_000 + at));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let sets = [
        (
            "._add-set",
            set(&[
                ("s", 892_799),
                ("k1", 905_800),
                ("h", 905_817),
                ("z", 905_824),
                ("knew", 905_830),
            ]),
        ),
        ("._rem-set", set(&[("gone", 905_837)])),
        ("._add-set_h", set(&[("f1", 905_808), ("f3", 905_817)])),
        ("._rem-set_h", set(&[("f2", 905_843)])),
        ("._add-set_s", set(&[("c", 892_799)])),
        ("._rem-set_s", set(&[("a", 905_850)])),
        ("._add-set_z", set(&[("a", 905_824)])),
    ];
    sets.into_iter()
        .map(|(name, set)| (name.to_owned(), set))
        .collect()
}

const ORDERS: [&[u8]; 4] = [&[1, 2, 3, 4], &[2, 1, 3, 4], &[4, 3, 2, 1], &[2, 4]];

#[test]
fn racks_become_what_their_stamps_say_whatever_their_order() {
    for order in ORDERS {
        let racks = Racks::load("exp3-1-diverged", order);
        racks.reknit("diff").run().assert_code(1);
        racks.repair();
        is_as_expected(&racks);
        for rack in 0..racks.servers.len() {
            assert_eq!(
                racks.stamps(rack),
                expected_stamps(),
                "rack {rack} of {order:?}"
            );
        }
        assert_equal(&all(&racks));
    }
}

#[test]
fn racks_with_a_memory_become_the_same() {
    for order in ORDERS {
        let racks = Racks::load("exp3-1-diverged", order).remembering();
        racks.repair();
        is_as_expected(&racks);
        for rack in 0..racks.servers.len() {
            assert_eq!(
                racks.stamps(rack),
                expected_stamps(),
                "rack {rack} of {order:?}"
            );
        }
        // What is agreed now does not overrule what stamps say later.
        racks.at(0, "HSET h f1 v3");
        racks.at(0, "ZADD ._add-set_h 1795461905900 f1");
        racks.stamp(0, "h", 1_795_461_905_900);
        racks.repair();
        for server in &racks.servers {
            assert_eq!(
                query::<String>(&mut server.client(), &[b"HGET", b"h", b"f1"]),
                "v3"
            );
        }
    }
}

#[test]
fn an_emptied_rack_is_brought_back_with_all_its_stamps() {
    for order in [&[1, 2, 3, 4][..], &[2, 1, 3], &[4, 2]] {
        let whole = Racks::load("exp2-3-diverged", &[1]);
        let racks = Racks::load("exp2-3-diverged", order);
        racks.repair();
        for (rack, server) in racks.servers.iter().enumerate() {
            assert_equal(&[&whole.servers[0], server]);
            assert_eq!(racks.stamps(rack), whole.stamps(0));
        }
    }
}

#[test]
fn racks_in_sync_are_left_alone() {
    for set in ["exp1-1-written", "exp1-2-deleted", "exp1-3-reborn"] {
        let (racks, untouched) = (Racks::load(set, &[1, 2]), Racks::load(set, &[1]));
        racks.reknit("diff").run().assert_code(0);
        racks.repair();
        racks
            .servers
            .iter()
            .for_each(|server| assert_equal(&[&untouched.servers[0], server]));
    }
}

/// Imports these nodes' own files, and has the addresses in them stand for servers.
fn imported(racks: &Racks, prefix: &str, network: u8) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixtures().join("configs"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| {
            file.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .collect();
    files.sort();
    let path = racks.dir.path().join("imported.yaml");
    let import = || {
        Reknit::new(["import", "dynomite"])
            .args(&files)
            .arg_pair("-o", &path)
    };
    let outcome = import().run();
    outcome.assert_code(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    // What is there already is left as it is.
    import().run().assert_code(2);
    let mut text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        Reknit::new(["import", "dynomite"])
            .args(&files)
            .run()
            .stdout,
        text
    );
    for (index, server) in racks.servers.iter().enumerate() {
        let told = format!("redis://127.0.{network}.{}:24379", index + 1);
        assert!(text.contains(&told), "{told} in {text}");
        text = text.replace(&told, &server.url());
    }
    text.push_str("guards: { settle: 10ms }\nclock: { max_skew: 36500d }\ndynomite: { tombstone_grace: 36500d }\nstate: none\n");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn racks_are_repaired_as_their_nodes_own_files_name_them() {
    // Of the last two racks there is no recording: they are like their neighbour.
    let racks = Racks::load("exp3-1-diverged", &[1, 2, 3, 4, 4, 4]);
    let config = imported(&racks, "b231", 20);
    let run = |command: &str| Reknit::new([command]).arg_pair("-c", &config).run();
    run("diff").assert_code(1);
    run("repair").assert_code(0);
    run("diff").assert_code(0);
    is_as_expected(&racks);
    for rack in 0..6 {
        assert_eq!(racks.stamps(rack), expected_stamps());
    }
    let racks = Racks::load("exp1-1-written", &[1, 2]);
    let config = imported(&racks, "a211", 10);
    Reknit::new(["diff"])
        .arg_pair("-c", &config)
        .run()
        .assert_code(0);
}

#[test]
fn files_that_make_no_configuration_are_refused_and_nothing_is_written() {
    let racks = Racks::new(0);
    let path = racks.dir.path().join("reknit.yaml");
    let node = fixtures().join("configs/e212-dc1r1n1.yml");
    for file in [
        node,
        fixtures().join("tokens.log"),
        fixtures().join("no-such-file.yml"),
    ] {
        let outcome = Reknit::new(["import", "dynomite"])
            .arg_pair("-o", &path)
            .args([&file])
            .run();
        outcome.assert_code(2);
        assert_eq!(outcome.stdout, "");
        assert!(
            outcome.stderr.contains(file.to_str().unwrap()) || outcome.stderr.contains("not whole")
        );
        assert!(!path.exists());
    }
}

/// Commands at a node, one a line.
fn tell(server: &RedisServer, commands: &str) {
    for command in commands
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        server.cmd(command.split(' '));
    }
}

#[test]
fn racks_of_several_nodes_are_repaired_key_by_key_where_the_ring_says() {
    // By their tokens, foo and key:1 are at the node with 100, user1 and bar at that with 2147483747.
    let racks = Racks::new(4);
    let config = imported(&racks, "e212", 50);
    let [one_low, one_high, two_low, two_high] = &racks.servers[..] else {
        panic!("two racks of two nodes");
    };
    tell(
        one_low,
        "SET foo new\nZADD ._add-set 20 foo\nZADD ._rem-set 30 key:1",
    );
    tell(
        two_low,
        "SET foo old\nZADD ._add-set 10 foo\nSET key:1 x\nZADD ._add-set 10 key:1",
    );
    tell(
        one_high,
        "HSET user1 f v\nZADD ._add-set 7 user1\nZADD ._add-set_user1 7 f\nSET {user1}mail x",
    );
    // Left here by another ring: it does not count, and is not touched.
    tell(one_high, "SET foo stray");
    let run = |command: &str| Reknit::new([command]).arg_pair("-c", &config).run();
    run("diff").assert_code(1);
    run("repair").assert_code(0);
    run("diff").assert_code(0);
    run("check").assert_code(0);
    let get = |server: &RedisServer, key: &str| {
        query::<Option<String>>(&mut server.client(), &[b"GET", key.as_bytes()])
    };
    assert_eq!(get(two_low, "foo").as_deref(), Some("new"));
    assert_eq!(get(two_low, "key:1"), None);
    assert_eq!(get(two_high, "{user1}mail").as_deref(), Some("x"));
    assert_eq!(
        query::<String>(&mut two_high.client(), &[b"HGET", b"user1", b"f"]),
        "v"
    );
    assert_eq!(get(one_high, "foo").as_deref(), Some("stray"));
    assert_eq!((get(two_high, "foo"), get(one_low, "user1")), (None, None));
    for (left, right) in [(0, 2), (1, 3)] {
        assert_eq!(racks.stamps(left), racks.stamps(right));
    }
    let stamps = racks.stamps(2);
    assert_eq!(stamps["._add-set"], [("foo".to_owned(), 20)].into());
    assert_eq!(stamps["._rem-set"], [("key:1".to_owned(), 30)].into());
}
