//! Bytes that were flipped, files that were cut off: found or harmless, and never a panic or another's data.

use std::fs;

use super::directory::contents;
use super::*;
use crate::model::PositionRange;

const KEYS: u8 = 60;

/// How often a file is damaged, each time at another place.
const PLACES: usize = 8;

fn name(number: u8) -> Key {
    key(&format!("key:{number}"))
}

/// A closed directory with some of everything, half of it in files and half in the log.
fn closed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path());
    for number in 0..KEYS {
        let mut changes = Changes::new(NOW);
        changes
            .put_agreement(DB, name(number), version(1))
            .put_agreement(DB, name(number), version(number))
            .put_lag(DB, name(number), A, behind(number));
        state.commit(changes).unwrap();
        if number == KEYS / 2 {
            state.0.store.write_out().unwrap();
        }
    }
    drop(state);
    dir
}

/// Whether the directory opens and holds exactly what was put.
fn is_whole(dir: &Path) -> Result<bool, StateError> {
    let state = State::open(opening(dir))?;
    state.check()?;
    let (mut listed, mut whole) = (0, true);
    state.listed(DB, PositionRange::all(), &mut |_, _| listed += 1)?;
    for number in 0..KEYS {
        whole &= state.agreement(DB, &name(number))? == Some(version(number));
        whole &= state.lags(DB, &name(number))?.get(&A) == Some(&behind(number));
    }
    Ok(whole && listed == KEYS)
}

/// Tables that nothing was put into are like each other, and what is in a lock does not matter.
fn counts(path: &Path) -> bool {
    let is_empty_table = ["keyspaces/4", "keyspaces/5"]
        .iter()
        .any(|empty| path.to_string_lossy().contains(empty));
    !path.ends_with("lock") && !is_empty_table
}

/// Damages every file at some places, and sees that this is found, or that it was of no account.
fn found_or_harmless(damage: impl Fn(&[u8], usize) -> Vec<u8>) -> usize {
    let dir = closed();
    assert!(is_whole(dir.path()).unwrap());
    let files = contents(dir.path());
    let mut found = 0;
    for (path, bytes) in files.iter().filter(|(path, _)| counts(path)) {
        let step = bytes.len().div_ceil(PLACES).max(1);
        for at in (0..bytes.len()).step_by(step) {
            fs::write(path, damage(bytes, at)).unwrap();
            match is_whole(dir.path()) {
                Ok(whole) => assert!(whole, "{} damaged at {at}, unnoticed", path.display()),
                Err(StateError::Damaged { .. } | StateError::Newer { .. }) => found += 1,
                Err(other) => panic!("{} damaged at {at}: {other}", path.display()),
            }
            restore(dir.path(), &files);
        }
    }
    found
}

fn restore(dir: &Path, files: &BTreeMap<std::path::PathBuf, Vec<u8>>) {
    for path in contents(dir)
        .keys()
        .filter(|path| !files.contains_key(*path))
    {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().expect("a file is in a folder")).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_flipped_byte_is_found_or_harmless() {
    let found = found_or_harmless(|bytes, at| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0x55;
        flipped
    });
    assert!(found > 20, "found {found}");
}

#[test]
fn a_file_that_is_cut_off_is_found_or_harmless() {
    let found = found_or_harmless(|bytes, at| bytes[..at].to_vec());
    assert!(found > 20, "found {found}");
}

#[test]
fn a_log_that_lost_its_end_is_found() {
    let dir = closed();
    let files = contents(dir.path());
    let (path, bytes) = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|it| it == "jnl"))
        .max_by_key(|(path, _)| (*path).clone())
        .expect("there is a log");
    fs::write(path, &bytes[..bytes.len() - 200]).unwrap();
    let told = refused(dir.path()).to_string();
    assert!(told.contains("commits of the store are missing"), "{told}");
}
