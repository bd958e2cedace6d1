//! What a directory may hold, who may work on it, and what is said otherwise.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::state::Holder;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// All files below a directory with their bytes.
pub(super) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_missing_directory_and_an_empty_one_are_filled() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("var/lib/reknit");
    drop(open(&dir));
    assert_eq!(names(&dir), ["committed", "identity", "lock", "store"]);
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir(empty.path().join("lost+found")).unwrap();
    drop(open(empty.path()));
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_enter_a_directory_that_was_created() {
    use std::os::unix::fs::PermissionsExt;
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("state");
    drop(open(&dir));
    let mode = fs::metadata(&dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn two_directories_have_two_identities_if_their_entropy_differs() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = Opening {
        random: [8; 64],
        ..opening(two.path())
    };
    assert_ne!(open(one.path()).id(), State::open(other).unwrap().id());
}

#[test]
fn whoever_meets_the_lock_is_told_who_holds_it() {
    let fixture = Fixture::new();
    let told = refused(fixture.dir.path());
    let StateError::Locked { holder, .. } = &told else {
        panic!("{told}");
    };
    let expected = Holder::Process {
        pid: std::process::id(),
        purpose: "test".into(),
        since: NOW,
    };
    assert_eq!(*holder, expected);
    let text = told.to_string();
    let pid = std::process::id();
    assert!(
        text.contains(&format!("process {pid} (test) since 2023-11-14T22:13:20Z")),
        "{text}"
    );
    let told = State::set_aside(fixture.dir.path(), NOW).expect_err("somebody works on it");
    assert!(matches!(told, StateError::Locked { .. }));
}

#[test]
fn the_lock_is_gone_when_the_last_clone_is() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = first.clone();
    drop(first);
    assert!(matches!(refused(dir.path()), StateError::Locked { .. }));
    drop(second);
    drop(open(dir.path()));
}

#[test]
fn a_holder_that_did_not_say_who_it_is_is_another_process() {
    let fixture = Fixture::new();
    fs::write(fixture.dir.path().join("lock"), "{\"pid\":").unwrap();
    let told = refused(fixture.dir.path()).to_string();
    assert!(told.contains("in use by another process"), "{told}");
}

#[test]
fn what_is_not_reknits_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("dump.rdb"), "data").unwrap();
    let told = refused(dir.path()).to_string();
    assert!(
        told.contains("`dump.rdb`") && told.contains("--adopt"),
        "{told}"
    );
    assert_eq!(
        names(dir.path()),
        ["dump.rdb"],
        "not even a lock is put there"
    );
    let file = dir.path().join("dump.rdb");
    let told = refused(&file).to_string();
    assert!(told.contains("is not a directory"), "{told}");
}

#[test]
fn a_lost_part_is_named_and_nothing_is_written() {
    for (part, told) in [
        ("identity", "the identity beside the store is missing"),
        ("store", "the store beside the identity is missing"),
        ("committed", "committed: is missing"),
        ("store/version", "`version` is missing"),
        (
            "store/keyspaces/1/current",
            "keyspaces/1/current: is missing",
        ),
        ("store/keyspaces/6", "keyspaces/6/current: is missing"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let path = dir.path().join(part);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let before = contents(dir.path());
        let error = refused(dir.path());
        assert!(
            matches!(error, StateError::Damaged { .. }),
            "{part}: {error}"
        );
        assert!(error.to_string().contains(told), "{part}: {error}");
        assert!(error.to_string().contains("--adopt"), "{part}: {error}");
        let mut after = contents(dir.path());
        after.extend(
            before
                .get_key_value(&dir.path().join("lock"))
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        assert!(after == before, "{part}: nothing but the lock is written");
    }
}

#[test]
fn an_identity_beside_the_store_of_another_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(one.path()));
    let other = Opening {
        random: [8; 64],
        ..opening(two.path())
    };
    drop(State::open(other).unwrap());
    fs::copy(two.path().join("identity"), one.path().join("identity")).unwrap();
    let told = refused(one.path()).to_string();
    assert!(told.contains("do not belong together"), "{told}");
}

#[test]
fn an_edited_secret_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("identity");
    let text = fs::read_to_string(&path).unwrap();
    let edited = text.replacen("\"digest_secret\": \"07", "\"digest_secret\": \"17", 1);
    assert_ne!(edited, text);
    fs::write(&path, edited).unwrap();
    assert!(
        refused(dir.path())
            .to_string()
            .contains("do not belong together")
    );
}

#[test]
fn a_newer_directory_is_told_from_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("identity");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let told = refused(dir.path());
    assert!(
        matches!(
            told,
            StateError::Newer {
                found: 2,
                ours: 1,
                ..
            }
        ),
        "{told}"
    );
}

#[test]
fn a_newer_record_is_told_from_a_damaged_one() {
    let fixture = Fixture::new();
    let row = |bytes: &[u8]| {
        let place = crate::state::layout::place(DB, b"k");
        let row = (
            crate::state::store::Table::Agreed,
            place,
            Some(bytes.to_vec()),
        );
        fixture.state().0.store.write([row], true).unwrap();
        fixture
            .state()
            .agreement(DB, &key("k"))
            .expect_err("it is unreadable")
    };
    assert!(matches!(
        row(&[9]),
        StateError::Newer {
            found: 9,
            ours: 1,
            ..
        }
    ));
    let damaged = row(&[1, 0x55]).to_string();
    assert!(
        damaged.contains("the agreement on key k is unreadable: unknown tags"),
        "{damaged}"
    );
    assert!(fixture.state().check().is_err());
}

#[test]
fn a_creation_that_was_killed_is_begun_again_or_finished() {
    let whole = tempfile::tempdir().unwrap();
    let id = open(whole.path()).id();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // Killed while the store was created.
    fs::create_dir_all(at("store.new/keyspaces")).unwrap();
    fs::write(at("committed.new"), "").unwrap();
    fs::write(at("identity.new"), "{").unwrap();
    drop(open(dir.path()));
    assert_eq!(
        names(dir.path()),
        ["committed", "identity", "lock", "store"]
    );
    // Killed before the store took its name.
    fs::rename(at("store"), at("store.new")).unwrap();
    assert_eq!(
        open(dir.path()).id(),
        id,
        "the same entropy makes the same id"
    );
    assert_eq!(
        names(dir.path()),
        ["committed", "identity", "lock", "store"]
    );
}

#[test]
fn what_is_set_aside_is_kept_whole_and_the_next_opening_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path());
    let mut changes = Changes::new(NOW);
    changes.put_agreement(DB, key("k"), version(1));
    state.commit(changes).unwrap();
    drop(state);
    let aside = State::set_aside(dir.path(), NOW)
        .unwrap()
        .expect("there was something");
    assert_eq!(aside, dir.path().join("aside-2023-11-14T221320Z"));
    assert_eq!(names(&aside), ["committed", "identity", "store"]);
    let state = State::open(Opening {
        random: [9; 64],
        ..opening(dir.path())
    });
    assert_eq!(state.unwrap().agreement(DB, &key("k")).unwrap(), None);
    let again = State::set_aside(dir.path(), NOW)
        .unwrap()
        .expect("there was something");
    assert_eq!(again, dir.path().join("aside-2023-11-14T221320Z-2"));
    assert_eq!(State::set_aside(dir.path(), NOW).unwrap(), None);
    assert_eq!(
        open(&aside).agreement(DB, &key("k")).unwrap(),
        Some(version(1))
    );
}

#[test]
fn what_is_foreign_or_damaged_can_be_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        State::set_aside(&dir.path().join("missing"), NOW).unwrap(),
        None
    );
    fs::write(dir.path().join("dump.rdb"), "data").unwrap();
    fs::create_dir(dir.path().join("store")).unwrap();
    let aside = State::set_aside(dir.path(), NOW)
        .unwrap()
        .expect("there was something");
    assert_eq!(names(&aside), ["dump.rdb", "store"]);
    drop(open(dir.path()));
}
