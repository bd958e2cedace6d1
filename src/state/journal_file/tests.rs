//! What is kept comes back; what is not a whole journal is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::model::{DbIndex, Millis, ReplicaName, State as KeyState, Value};
use crate::state::{JournalEntry, Post, PreImage};

use super::*;

const SECRET: [u8; 32] = [7; 32];

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("pre-images");
    (dir, path)
}

fn start() -> RunStart {
    RunStart {
        at: Millis(1),
        purpose: "repair".into(),
        replicas: vec![(
            JournalFile::id_of(&ReplicaName("us".into())),
            ReplicaName("us".into()),
        )],
        undoes: None,
    }
}

fn entry(run: RunNumber, key: &str) -> JournalEntry {
    JournalEntry {
        sequence: Sequence(0),
        run,
        replica: JournalFile::id_of(&ReplicaName("us".into())),
        db: DbIndex(0),
        key: key.into(),
        before: PreImage::Whole(KeyState::lasting(Value::String("old".into()))),
        wrote: Post::Absent,
        rule: "lww".into(),
        evidence: "none".into(),
        agreement_before: None,
        lags_before: BTreeMap::new(),
        stamps: None,
        outcome: None,
    }
}

/// A file with a run of two writes, of which the first happened.
fn filled(path: &Path) {
    let file = JournalFile::open(path, SECRET).expect("a new file");
    let run = file.begin_run(start()).expect("a run");
    let entries = vec![entry(run, "a"), entry(run, "b")];
    let numbers = file.add(entries, true).expect("writes");
    file.outcomes(&[(numbers[0], true)]).expect("an outcome");
}

fn keys(file: &JournalFile, run: u64) -> Vec<(String, Option<bool>)> {
    let mut found = Vec::new();
    file.journal(RunNumber(run), &mut |entry| {
        found.push((entry.key.to_string(), entry.outcome));
    })
    .expect("it is readable");
    found
}

#[test]
fn what_was_kept_comes_back_and_more_is_added_behind_it() {
    let (_dir, path) = place();
    filled(&path);
    let file = JournalFile::open(&path, [8; 32]).expect("it opens again");
    assert_eq!(file.secret, SECRET, "the secret stays that of the file");
    let run = file.begin_run(start()).expect("a second run");
    assert_eq!(run, RunNumber(2));
    let numbers = file.add(vec![entry(run, "c")], false).expect("a write");
    assert_eq!(numbers, [Sequence(3)]);
    drop(file);
    let file = JournalFile::open_existing(&path, false).expect("it opens to be read");
    assert_eq!(
        keys(&file, 1),
        [("a".into(), Some(true)), ("b".into(), None)]
    );
    assert_eq!(keys(&file, 2), [("c".into(), None)]);
    assert_eq!(file.entry(Sequence(4)).expect("it is readable"), None);
}

#[test]
fn two_processes_do_not_write_one_file() {
    let (_dir, path) = place();
    let _first = JournalFile::open(&path, SECRET).expect("a new file");
    let second = JournalFile::open(&path, SECRET).err().expect("it is taken");
    assert!(matches!(second, StateError::Locked { .. }), "{second}");
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_alone() {
    let (dir, path) = place();
    for text in [
        "replicas: []\n",
        "reknit journal",
        "a text that is longer than the head",
    ] {
        fs::write(&path, text).expect("it can be written");
        let error = JournalFile::open(&path, SECRET)
            .err()
            .expect("it is refused");
        assert!(
            error.to_string().contains("is no journal of reknit"),
            "{error}"
        );
        assert!(error.to_string().contains("pre-images"), "{error}");
        assert_eq!(fs::read(&path).expect("it is there"), text.as_bytes());
    }
    fs::write(&path, b"reknit journal\x02 and more").expect("it can be written");
    let error = JournalFile::open(&path, SECRET).err().expect("it is newer");
    assert!(
        matches!(error, StateError::Newer { found: 2, .. }),
        "{error}"
    );
    let error = JournalFile::open(dir.path(), SECRET)
        .err()
        .expect("a folder");
    assert!(error.to_string().contains("is no file"), "{error}");
}

#[test]
fn a_cut_off_end_is_refused_to_add_to_and_left_out_to_undo() {
    let (_dir, path) = place();
    filled(&path);
    let whole = fs::read(&path).expect("it is there");
    let head = HEAD.len() + frame::framed(frame::SECRET, &SECRET).len();
    for length in 1..whole.len() {
        fs::write(&path, &whole[..length]).expect("it can be written");
        let added = JournalFile::open(&path, SECRET).map(drop);
        let undone = JournalFile::open_existing(&path, true);
        if length < head {
            assert!(added.is_err() && undone.is_err(), "{length} bytes");
            continue;
        }
        let file = undone.expect("what is whole of it can be undone");
        let Some(torn) = file.torn() else {
            // It ends behind a frame: nothing tells that there was more.
            continue;
        };
        let error = added.expect_err("its end is cut off");
        assert!(error.to_string().contains("is cut off at byte"), "{error}");
        assert!(torn.at < length as u64);
        file.begin_run(start()).expect("the rest is cut away");
        drop(file);
        JournalFile::open(&path, SECRET).expect("and it is whole again");
    }
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let (_dir, path) = place();
    filled(&path);
    let whole = fs::read(&path).expect("it is there");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).expect("it can be written");
        let refused = JournalFile::open(&path, SECRET).err();
        let error = refused.unwrap_or_else(|| panic!("byte {at} is not looked at"));
        assert!(error.to_string().contains("pre-images"), "{error}");
    }
}

#[test]
fn the_head_and_the_frames_are_frozen() {
    assert_eq!(&HEAD, b"reknit journal\x01");
    let outcome = frame::framed(frame::OUTCOME, &frame::outcome(Sequence(5), true));
    let digest = blake3::hash(b"O\x01\x05\x01");
    let check = blake3::hash(&[0, 0, 0, 4]);
    let expected = [
        &[0, 0, 0, 4][..],
        &check.as_bytes()[..4],
        &digest.as_bytes()[..8],
        b"O\x01\x05\x01",
    ]
    .concat();
    assert_eq!(outcome, expected);
}
