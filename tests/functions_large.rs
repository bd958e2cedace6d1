//! Strings that are too large to be held in memory whole, and their stamps: the latest write or removal wins, as with
//! small ones, and its stamps go with it.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod functions_support;
mod support;

use functions_support::Writers;
use support::cluster::wait;
use support::racks::Racks;

/// Of a value that is large, the length.
const LARGE: usize = 1_500_000;

fn large(letter: char) -> String {
    letter.to_string().repeat(LARGE)
}

/// The first letter of a key's value at each rack, and its length.
fn held(all: &mut Writers, key: &str) -> Vec<Option<(char, usize)>> {
    let racks = all.racks.servers.len();
    let of = |text: String| (text.chars().next().unwrap(), text.len());
    (0..racks).map(|at| all.get(at, key).map(of)).collect()
}

#[track_caller]
fn assert_stamps_are_alike(all: &Writers) {
    for at in 1..all.racks.servers.len() {
        assert_eq!(all.racks.stamps(0), all.racks.stamps(at));
    }
}

fn both() -> [Writers; 2] {
    [Writers::new(2), Writers::of(Racks::new(2).remembering())]
}

#[test]
fn the_later_of_two_large_strings_wins_whichever_side_it_is_at() {
    for mut two in both() {
        for (first, second) in [(0, 1), (1, 0)] {
            let (key, old, new) = (format!("k{first}"), large('o'), large('n'));
            two.call(first, "set", &key, &[&old]);
            two.call(second, "set", &key, &[&new]);
            two.racks.repair();
            assert_eq!(held(&mut two, &key), [Some(('n', LARGE)); 2]);
            assert_stamps_are_alike(&two);
            // A small one behind it, and a large one behind that.
            two.call(first, "set", &key, &["small"]);
            two.racks.repair();
            assert_eq!(held(&mut two, &key), [Some(('s', 5)); 2]);
            two.call(second, "set", &key, &[&old, "PX", "100000000"]);
            two.racks.repair();
            assert_eq!(held(&mut two, &key), [Some(('o', LARGE)); 2]);
            let ends = [0, 1].map(|at| two.plain(at, &format!("PEXPIRETIME {key}")));
            assert_eq!(ends[0], ends[1]);
            assert_stamps_are_alike(&two);
        }
    }
}

#[test]
fn a_large_string_that_was_removed_stays_removed_and_one_that_was_written_after_comes_back() {
    for mut two in both() {
        two.call(0, "set", "k", &[&large('o')]);
        two.racks.repair();
        two.call(1, "del", "k", &[]);
        two.racks.repair();
        assert_eq!(held(&mut two, "k"), [None, None]);
        assert_stamps_are_alike(&two);
        two.call(0, "set", "k", &[&large('n')]);
        two.racks.repair();
        assert_eq!(held(&mut two, "k"), [Some(('n', LARGE)); 2]);
        assert_stamps_are_alike(&two);
    }
}

#[test]
fn an_emptied_rack_gets_large_strings_back_with_their_stamps() {
    let mut three = Writers::new(3);
    three.call(0, "set", "k", &[&large('v')]);
    three.racks.repair();
    three.plain(2, "FLUSHALL");
    three.racks.repair();
    assert_eq!(held(&mut three, "k"), [Some(('v', LARGE)); 3]);
    assert_stamps_are_alike(&three);
    // Older than what the others hold, and lacking its time.
    three.plain(1, "ZADD ._add-set 1000 k");
    three.plain(1, "SETRANGE k 0 x");
    three.racks.repair();
    assert_eq!(held(&mut three, "k"), [Some(('v', LARGE)); 3]);
    assert_stamps_are_alike(&three);
}

#[test]
fn a_dry_run_and_an_explanation_say_what_a_repair_does_with_a_large_string() {
    let mut two = Writers::new(2);
    two.call(0, "set", "k", &[&large('o')]);
    two.call(1, "set", "k", &["small"]);
    for reknit in [
        two.racks.reknit("repair").args(["--dry-run"]),
        two.racks.reknit("explain").args(["k"]),
    ] {
        let said = reknit.run();
        said.assert_code(1);
        assert!(said.stdout.contains("rack1"), "{}", said.stdout);
        assert!(said.stdout.contains("stamp"), "{}", said.stdout);
        assert_eq!(held(&mut two, "k"), [Some(('o', LARGE)), Some(('s', 5))]);
    }
}

#[test]
fn what_clients_write_while_a_large_string_is_copied_is_not_lost() {
    let mut two = Writers::new(2);
    let (old, new) = (large('o'), large('n'));
    for function in ["set", "del"] {
        two.call(0, "set", "k", &[&old]);
        two.call(1, "set", "k", &[&new]);
        let running = two.racks.reknit("repair").spawn();
        // The copy is built aside by now, or in its place already.
        wait("a copy", || {
            two.racks.at(0, "KEYS reknit:aside:*") != redis::Value::Array(Vec::new())
                || held(&mut two, "k")[0] == Some(('n', LARGE))
        });
        let (words, left): (&[&str], _) = match function {
            "set" => (&["last"], Some(('l', 4))),
            _ => (&[], None),
        };
        two.call(0, function, "k", words);
        let code = running.finish().code();
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
        two.racks.repair();
        assert_eq!(held(&mut two, "k"), [left; 2], "{function}");
    }
}

#[test]
fn an_undo_takes_large_strings_back_together_with_their_stamps() {
    let mut two = Writers::of(Racks::new(2).remembering());
    let (old, new) = (large('o'), large('n'));
    for key in ["over", "gone", "ends"] {
        two.call(0, "set", key, &[&old]);
    }
    two.racks.repair();
    two.call(1, "set", "over", &[&new]);
    two.call(1, "del", "gone", &[]);
    two.call(1, "set", "ends", &[&old, "PX", "100000000"]);
    two.call(1, "set", "new", &[&new]);
    let keys = ["over", "gone", "ends", "new"];
    let before: Vec<_> = keys.iter().map(|key| held(&mut two, key)).collect();
    let stamps = [0, 1].map(|at| two.racks.stamps(at));
    two.racks.repair();
    for key in ["over", "new"] {
        assert_eq!(held(&mut two, key), [Some(('n', LARGE)); 2], "{key}");
    }
    let dry = two.racks.reknit("undo").args(["2", "--dry-run"]).run();
    assert!(
        dry.stdout.contains("put back the large value"),
        "{}",
        dry.stdout
    );
    two.racks.reknit("undo").args(["2"]).run().assert_code(0);
    let after: Vec<_> = keys.iter().map(|key| held(&mut two, key)).collect();
    assert_eq!(after, before);
    assert_eq!([0, 1].map(|at| two.racks.stamps(at)), stamps);
    assert_eq!(two.plain(0, "TTL ends"), redis::Value::Int(-1));
    for key in keys {
        two.racks
            .reknit("repair")
            .args(["--key", key])
            .run()
            .assert_code(0);
    }
    let again: Vec<_> = keys.iter().map(|key| held(&mut two, key)).collect();
    assert_eq!(again[0], [Some(('n', LARGE)); 2]);
    assert_eq!(again[1], [None, None]);
    assert_eq!(again[3], [Some(('n', LARGE)); 2]);
    assert_stamps_are_alike(&two);
}
