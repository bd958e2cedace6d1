//! Large collections with stamps on real servers: merged, copied and removed a few elements at a time.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::time::Duration;

use redis::Value;

use support::cluster::wait;
use support::proxy::Proxy;
use support::racks::Racks;
use support::reknit::Reknit;

/// When all that is stamped was written.
const THEN: i64 = 1_700_000_000_000;

/// A large set, each member with its stamp, at some racks.
fn fill(racks: &Racks, at: &[usize]) {
    let members: Vec<String> = (0..6000).map(|number| format!("m{number}")).collect();
    for (rack, some) in at
        .iter()
        .flat_map(|rack| members.chunks(1000).map(move |some| (*rack, some)))
    {
        let words = |head: &[&str], rest: &mut dyn Iterator<Item = String>| {
            let head = head.iter().map(|word| (*word).to_owned());
            head.chain(rest).collect::<Vec<String>>()
        };
        racks.servers[rack].cmd(words(&["SADD", "big"], &mut some.iter().cloned()));
        let mut stamped = some
            .iter()
            .flat_map(|name| [THEN.to_string(), name.clone()]);
        racks.servers[rack].cmd(words(&["ZADD", "._add-set_big"], &mut stamped));
    }
    at.iter().for_each(|rack| racks.stamp(*rack, "big", THEN));
}

#[test]
fn a_large_collection_is_merged_by_its_stamps_a_few_elements_at_a_time() {
    for racks in [Racks::new(2), Racks::new(2).remembering()] {
        fill(&racks, &[0, 1]);
        // One rack missed a removal, the other an addition.
        racks.at(0, "SREM big m7");
        racks.at(0, "ZREM ._add-set_big m7");
        racks.at(0, &format!("ZADD ._rem-set_big {} m7", THEN + 5));
        racks.at(1, "SADD big new");
        racks.at(1, &format!("ZADD ._add-set_big {} new", THEN + 6));
        racks.stamp(1, "big", THEN + 6);
        racks.repair();
        for rack in 0..2 {
            assert_eq!(racks.at(rack, "SCARD big"), Value::Int(6000));
            assert_eq!(racks.at(rack, "SISMEMBER big m7"), Value::Int(0));
            let stamps = racks.stamps(rack);
            assert_eq!(stamps["._add-set"]["big"], THEN + 6);
            assert_eq!(stamps["._add-set_big"]["new"], THEN + 6);
            assert_eq!(stamps["._rem-set_big"]["m7"], THEN + 5);
            assert!(!stamps["._add-set_big"].contains_key("m7"));
        }
    }
}

#[test]
fn a_large_collection_comes_back_to_a_rack_that_was_emptied_with_its_stamps() {
    let racks = Racks::new(3);
    fill(&racks, &[0, 1]);
    racks.at(0, "PEXPIREAT big 4000000000000");
    racks.at(1, "PEXPIREAT big 4000000000000");
    let plan = racks.reknit("repair").args(["--dry-run"]).run();
    plan.assert_code(1);
    assert_eq!(racks.at(2, "EXISTS big"), Value::Int(0));
    racks.repair();
    assert_eq!(racks.at(2, "SCARD big"), Value::Int(6000));
    assert_eq!(
        racks.at(2, "PEXPIRETIME big"),
        Value::Int(4_000_000_000_000)
    );
    assert_eq!(racks.stamps(2), racks.stamps(0));
    assert_eq!(racks.stamps(2)["._add-set_big"].len(), 6000);
}

#[test]
fn a_large_collection_that_was_removed_as_a_whole_goes_everywhere_but_for_what_was_added_since() {
    let racks = Racks::new(3);
    fill(&racks, &[0, 1]);
    // The third rack had it, and was told to remove it; at the second one a client added a member later.
    racks.at(2, &format!("ZADD ._rem-set {} big", THEN + 5));
    racks.at(1, "SADD big later");
    racks.at(1, &format!("ZADD ._add-set_big {} later", THEN + 9));
    racks.stamp(1, "big", THEN + 9);
    racks.repair();
    for rack in 0..3 {
        assert_eq!(racks.at(rack, "SCARD big"), Value::Int(1));
        assert_eq!(racks.at(rack, "SISMEMBER big later"), Value::Int(1));
        assert_eq!(racks.stamps(rack), racks.stamps(0));
    }
}

#[test]
fn a_large_collection_beside_another_type_is_told_and_left_alone() {
    let racks = Racks::new(2);
    fill(&racks, &[0]);
    racks.at(1, "SET big text");
    racks.stamp(1, "big", THEN + 5);
    let outcome = racks.reknit("repair").run();
    outcome.assert_code(1);
    assert!(
        outcome.stdout.contains("together with its stamps"),
        "{outcome}"
    );
    assert_eq!(racks.at(0, "SCARD big"), Value::Int(6000));
}

/// A second way to the last rack, on which something happens to what reknit writes of the set.
fn with_proxy(racks: &Racks) -> (Proxy, String) {
    let last = racks.servers.last().unwrap();
    let proxy = Proxy::before(last.port());
    let text = std::fs::read_to_string(racks.config()).unwrap();
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    assert!(text.contains(&last.url()));
    (proxy, text.replace(&last.url(), &url))
}

/// `reknit repair`, to the last rack by the proxy.
fn repair_through(racks: &Racks, text: &str) -> Reknit {
    let path = racks.dir.path().join("proxied.yaml");
    std::fs::write(&path, text).unwrap();
    Reknit::new(["repair"]).arg_pair("-c", &path)
}

fn size(racks: &Racks, rack: usize) -> i64 {
    redis::from_redis_value(racks.at(rack, "SCARD big")).unwrap()
}

#[test]
fn a_copy_that_was_killed_on_its_way_is_finished_by_the_next_run() {
    for racks in [Racks::new(3), Racks::new(3).remembering()] {
        fill(&racks, &[0, 1]);
        racks.everywhere("SET other v");
        let (proxy, text) = with_proxy(&racks);
        proxy.delay(Duration::from_millis(20));
        let running = repair_through(&racks, &text).spawn();
        wait("a part of it is there", || size(&racks, 2) > 0);
        running.signal("KILL");
        running.finish();
        let copied = size(&racks, 2);
        assert!((1..6000).contains(&copied), "{copied}");
        // Every member that is there has its stamp, and no other has one.
        let stamped = racks.stamps(2)["._add-set_big"].len();
        assert_eq!(i64::try_from(stamped).unwrap(), copied);
        racks.repair();
        assert_eq!(size(&racks, 2), 6000);
        for rack in 1..3 {
            assert!(racks.stamps(rack) == racks.stamps(0));
        }
    }
}

#[test]
fn what_clients_remove_while_it_is_copied_does_not_come_back() {
    // A member goes, everywhere or where it came from; the key goes, as Dynomite removes it, on all racks or on one.
    let plain = || Racks::new(3);
    let removals: [(&str, &[usize], Racks); 4] = [
        ("member", &[0, 1, 2], plain().remembering()),
        ("member", &[0], plain()),
        ("key", &[0, 1, 2], plain()),
        ("key", &[0], plain().remembering()),
    ];
    for (what, at, racks) in removals {
        fill(&racks, &[0, 1]);
        let (proxy, text) = with_proxy(&racks);
        proxy.delay(Duration::from_millis(20));
        let running = repair_through(&racks, &text)
            .args([
                "--force-deletes",
                "3",
                "--force-overwrites",
                "3",
                "--reason",
                "meant",
            ])
            .spawn();
        wait("a part of it is there", || size(&racks, 2) > 0);
        for &rack in at {
            match what {
                "member" => {
                    for member in ["m7", "m3000", "m5999"] {
                        racks.at(rack, &format!("SREM big {member}"));
                        racks.at(rack, &format!("ZREM ._add-set_big {member}"));
                        racks.at(rack, &format!("ZADD ._rem-set_big {} {member}", THEN + 5));
                    }
                }
                _ => {
                    racks.at(rack, "DEL big ._add-set_big ._rem-set_big");
                    racks.at(rack, "ZREM ._add-set big");
                    racks.at(rack, &format!("ZADD ._rem-set {} big", THEN + 5));
                }
            }
        }
        let outcome = running.finish();
        assert!(matches!(outcome.code(), Some(0 | 1)), "{outcome}");
        let again = racks
            .reknit("repair")
            .args([
                "--force-deletes",
                "3",
                "--force-overwrites",
                "3",
                "--reason",
                "meant",
            ])
            .run();
        again.assert_code(0);
        racks.reknit("diff").run().assert_code(0);
        for rack in 0..3 {
            let left = if what == "member" { 5997 } else { 0 };
            assert_eq!(size(&racks, rack), left, "{what} at {at:?}, rack {rack}");
            assert_eq!(racks.at(rack, "SISMEMBER big m7"), Value::Int(0));
            let stamps = [racks.stamps(rack), racks.stamps(0)];
            let of_key = stamps.each_ref().map(|all| {
                let of_set = |set: &str| all.get(set).and_then(|set| set.get("big")).copied();
                ["._add-set", "._rem-set"].map(of_set)
            });
            assert_eq!(of_key[0], of_key[1], "{what} at {at:?}, rack {rack}");
            assert!(stamps[0] == stamps[1], "{what} at {at:?}, rack {rack}");
        }
    }
}
