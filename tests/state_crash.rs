//! The state directory under SIGKILL, a full disk and a disk that cannot be written.
//!
//! Each test starts this binary again with its own name and a directory in the environment; that child works on the
//! directory until it is killed or refused.
#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch real processes against the wall clock"
)]

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use reknit::model::{
    Agreement, Body, DbIndex, Expiry, Key, Kind, Lag, LagBase, Memory, Millis, PositionRange,
    ReplicaId, Seen, Sequence, ValueDigest, Version,
};
use reknit::state::{Changes, Opening, State, StateError};

/// Names the directory to a child.
const DIRECTORY: &str = "REKNIT_TEST_STATE";

const DB: DbIndex = DbIndex(0);
const NOW: Millis = Millis(1_700_000_000_000);
const REPLICA: ReplicaId = ReplicaId([1; 8]);

/// Keys of one commit: all of them are to have the same version.
const KEYS: u64 = 20;

fn open(dir: &Path) -> Result<State, StateError> {
    State::open(Opening {
        dir,
        now: NOW,
        purpose: "crash test",
        random: [7; 64],
    })
}

fn key(number: u64) -> Key {
    Key::new(format!("key:{number}"))
}

fn agreement(round: u64) -> Agreement {
    let memory = Memory {
        kind: Kind::String,
        digest: ValueDigest::from_bytes([round as u8; ValueDigest::LENGTH]),
        expiry: Expiry::Never,
        body: Body::Counter(round as i64),
    };
    Agreement {
        version: Version(round),
        memory: Some(memory),
        removed: BTreeMap::new(),
        proved: Sequence(round),
        since: NOW,
    }
}

/// One round: every key gets a new version, and one replica lags by it; all or nothing.
fn round(number: u64) -> Changes {
    let mut changes = Changes::new(NOW);
    for key_number in 0..KEYS {
        let lag = Lag {
            base: LagBase::Held(None),
            seen: Seen::all(Version(number)),
            proved: Sequence(number),
            since: Sequence(number),
            evicted: false,
        };
        changes
            .put_agreement(DB, key(key_number), agreement(number))
            .put_lag(DB, key(key_number), REPLICA, lag);
    }
    changes
}

/// The round that a directory holds, having seen that it holds all of it and nothing of another.
fn round_held(state: &State) -> u64 {
    let held = |number| {
        let agreement = state.agreement(DB, &key(number)).expect("it is readable");
        agreement.map_or(0, |it| it.version.0)
    };
    let round = held(0);
    for number in 0..KEYS {
        assert_eq!(held(number), round, "key {number}");
        let lags = state.lags(DB, &key(number)).expect("they are readable");
        let seen = lags.get(&REPLICA).map_or(0, |it| it.seen.key.0);
        assert_eq!(seen, round, "the lag of key {number}");
        let history = state.history(DB, &key(number)).expect("it is readable");
        let versions: Vec<u64> = history.iter().map(|it| it.version.0).collect();
        let expected: Vec<u64> = (1..round).rev().collect();
        assert_eq!(versions, expected, "the history of key {number}");
    }
    round
}

/// A child that runs the test of this name on this directory.
fn child(test: &str, dir: &Path, prefix: &[&str]) -> Child {
    let this = env::current_exe().expect("this test has a binary");
    let mut words: Vec<PathBuf> = prefix.iter().map(PathBuf::from).collect();
    words.push(this);
    Command::new(&words[0])
        .args(&words[1..])
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

fn directory_of_child() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// What a child says, each on a line of its own: `#WORD NUMBER`.
fn say(word: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone wants to hear nothing.
    let _ = writeln!(out, "\n#{word} {number}").and_then(|()| out.flush());
}

fn hear(out: &mut BufReader<ChildStdout>) -> Option<(String, u64)> {
    let mut line = String::new();
    while out.read_line(&mut line).expect("the child is heard") > 0 {
        if let Some((word, number)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|it| it.split_once(' '))
        {
            return Some((word.to_owned(), number.parse().expect("a number")));
        }
        line.clear();
    }
    None
}

/// Lets a moment pass.
fn idle(turns: u64) {
    for turn in 0..turns {
        std::hint::black_box(turn);
    }
}

/// Commits rounds, and says of each that it begins and that it is done.
fn commit_until_killed(dir: &Path) {
    let state = open(dir).expect("the directory opens");
    let mut number = round_held(&state);
    loop {
        number += 1;
        let step = state.next_sequence().expect("a step is reserved");
        say("step", step.0);
        say("begins", number);
        state.commit(round(number)).expect("it is written");
        say("done", number);
    }
}

#[test]
fn a_killed_process_leaves_whole_commits_and_all_that_were_done() {
    if let Some(dir) = directory_of_child() {
        return commit_until_killed(&dir);
    }
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut done, mut last_step) = (0, 0);
    for life in 0..12_u64 {
        let name = "a_killed_process_leaves_whole_commits_and_all_that_were_done";
        let mut child = child(name, dir.path(), &[]);
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        // Killed at a word or, where the life is odd, some thousand turns of a loop after it.
        let mut words = 1 + (life * 7) % 23;
        let mut begun = done;
        while words > 0 {
            let (word, number) = hear(&mut out).expect("the child lives");
            match word.as_str() {
                "begins" => begun = number,
                "done" => done = number,
                _ => {
                    assert!(number > last_step, "step {number} was numbered twice");
                    last_step = number;
                }
            }
            words -= 1;
        }
        idle(life % 2 * life * 20_000);
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        while let Some((word, number)) = hear(&mut out) {
            match word.as_str() {
                "begins" => begun = number,
                "done" => done = number,
                _ => last_step = number,
            }
        }
        let state = open(dir.path()).expect("a killed directory opens");
        let held = round_held(&state);
        assert!(
            held == done || held == begun,
            "{held}: {done} was done, {begun} begun"
        );
        state.check().expect("every record is readable");
        done = held;
    }
    assert!(done > 20, "the children worked: {done} rounds");
}

#[test]
fn a_process_that_is_killed_while_it_creates_leaves_a_directory_that_opens() {
    if let Some(dir) = directory_of_child() {
        say("begins", 0);
        let state = open(&dir).expect("the directory opens");
        say("done", 0);
        return commit_until_killed_by(&state);
    }
    for turns in [0, 1, 2, 4, 8, 16, 32] {
        let _alone = alone();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = "a_process_that_is_killed_while_it_creates_leaves_a_directory_that_opens";
        let mut child = child(name, dir.path(), &[]);
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        assert!(hear(&mut out).is_some(), "the child lives");
        idle(turns * 200_000);
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        let state = open(dir.path()).expect("a killed directory opens");
        state.commit(round(1)).expect("it can be written");
        assert_eq!(round_held(&state), 1);
    }
}

/// Only one test at a time starts processes: between its birth and its program a child holds the locks of its parent.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits for the end, working.
fn commit_until_killed_by(state: &State) {
    loop {
        state.next_sequence().expect("a step is reserved");
    }
}

#[test]
fn two_processes_never_work_on_one_directory() {
    if let Some(dir) = directory_of_child() {
        return commit_until_killed(&dir);
    }
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut child = child("two_processes_never_work_on_one_directory", dir.path(), &[]);
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    assert!(hear(&mut out).is_some(), "the child works");
    let told = open(dir.path()).expect_err("it is locked").to_string();
    let holder = format!("process {} (crash test)", child.id());
    assert!(told.contains(&holder), "{told}");
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    open(dir.path()).expect("the lock is gone with its holder");
}

/// Commits rounds until one is refused, then sees that the rest is refused as well.
fn commit_until_full(dir: &Path) {
    let state = match open(dir) {
        Ok(state) => state,
        Err(StateError::Full { .. }) => return say("full", 0),
        Err(other) => panic!("{other}"),
    };
    let first = round_held(&state) + 1;
    for number in first.. {
        match state.commit(round(number)) {
            Ok(()) => say("done", number),
            Err(StateError::Full { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        state.commit(round(u64::MAX)).is_err(),
        "nothing more is written"
    );
    assert!(state.sync().is_err(), "nor called safe");
    say("full", 0);
}

/// Lets a child fill its disk; answers the last round that it was told is on it.
fn filled(test: &str, dir: &Path, prefix: &[&str]) -> u64 {
    let mut child = child(test, dir, prefix);
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let (mut done, mut full) = (0, false);
    while let Some((word, number)) = hear(&mut out) {
        match word.as_str() {
            "done" => done = number,
            _ => full = true,
        }
    }
    assert!(child.wait().expect("it ends").success());
    assert!(full, "the child met the limit");
    done
}

#[test]
fn a_file_that_may_not_grow_is_a_full_disk_and_loses_nothing() {
    if let Some(dir) = directory_of_child() {
        return commit_until_full(&dir);
    }
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a temporary directory");
    // The log is made longer than the limit at once when it is created, and cut to its length when it is opened.
    for _ in 0..2 {
        drop(open(dir.path()).expect("it opens"));
    }
    let test = "a_file_that_may_not_grow_is_a_full_disk_and_loses_nothing";
    // The system's signal would kill the child before it is told.
    let limited = [
        "sh",
        "-c",
        "trap '' XFSZ; ulimit -f 600; exec \"$0\" \"$@\"",
    ];
    let done = filled(test, dir.path(), &limited);
    assert!(done > 3, "some rounds fit: {done}");
    let state = open(dir.path()).expect("it opens where there is room");
    assert_eq!(round_held(&state), done);
    state.commit(round(done + 1)).expect("and is written again");
    assert_eq!(round_held(&state), done + 1);
}

/// A small file system of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one; nothing where that is not allowed.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).expect("a folder is made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn enlarge(&self) {
        let enlarged = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(enlarged.expect("it was mounted").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The folder above is removed next, which fails and tells if this did.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    if let Some(dir) = directory_of_child() {
        return commit_until_full(&dir);
    }
    let _alone = alone();
    let above = tempfile::tempdir().expect("a temporary directory");
    let Some(disk) = SmallDisk::mount(&above.path().join("disk")) else {
        eprintln!("not allowed to mount: the limit of file sizes stands for it");
        return;
    };
    let dir = disk.0.join("state");
    let test = "a_full_disk_loses_nothing_and_goes_on_when_there_is_room";
    let done = filled(test, &dir, &[]);
    assert!(done > 3, "some rounds fit: {done}");
    assert!(
        filled(test, &dir, &[]) <= done + 1,
        "a full disk stays full"
    );
    disk.enlarge();
    let state = open(&dir).expect("it opens where there is room");
    let held = round_held(&state);
    assert!(held == done || held == done + 1, "{held} of {done}");
    state.commit(round(held + 1)).expect("and is written again");
    let mut listed = 0;
    let all = PositionRange::all();
    state
        .listed(DB, all, &mut |_, _| listed += 1)
        .expect("it is readable");
    assert_eq!(listed, KEYS);
}

/// Tells what a directory is refused with.
fn tell_read_only(dir: &Path) {
    match open(dir) {
        Err(error @ StateError::ReadOnly { .. }) => {
            assert!(error.to_string().contains("make it writable"), "{error}");
            say("read-only", 0);
        }
        Err(other) => panic!("{other}"),
        Ok(_) => say("opened", 0),
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_said_to_be_so() {
    use std::os::unix::fs::PermissionsExt;
    if let Some(dir) = directory_of_child() {
        return tell_read_only(&dir);
    }
    let _alone = alone();
    let above = tempfile::tempdir().expect("a temporary directory");
    let dir = above.path().join("state");
    drop(open(&dir).expect("it opens"));
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is mine");
    };
    set_mode(above.path(), 0o755);
    for (path, mode) in [("lock", 0o444), ("", 0o555)] {
        set_mode(&dir.join(path), mode);
    }
    let test = "a_directory_that_cannot_be_written_is_said_to_be_so";
    let this = env::current_exe().expect("this test has a binary");
    let copy = above.path().join("test");
    std::fs::copy(this, &copy).expect("there is room");
    set_mode(&copy, 0o755);
    let mut command = Command::new(&copy);
    command
        .args([test, "--exact", "--nocapture"])
        .env(DIRECTORY, &dir)
        .stdout(Stdio::piped());
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|it| it.stdout == b"0\n");
    if is_root {
        // Root may write anywhere: nobody may not.
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.spawn().expect("the child starts");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let heard = hear(&mut out);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(heard, Some(("read-only".to_owned(), 0)));
    set_mode(&dir, 0o755);
}
