//! The open state: what is kept comes back, also after it was closed.

mod damage;
mod directory;
mod histories;
mod pruning;
mod records;
mod replicas;
mod settle;

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use crate::model::{
    Agreement, Body, DbIndex, Expiry, Key, Kind, Lag, LagBase, Memory, Millis, ReplicaId, Seen,
    Sequence, ValueDigest, Version,
};

use super::{Changes, Opening, RunEnd, RunStart, State, StateError};

const DB: DbIndex = DbIndex(0);
const NOW: Millis = Millis(1_700_000_000_000);
const A: ReplicaId = ReplicaId([0xa; 8]);
const B: ReplicaId = ReplicaId([0xb; 8]);

fn opening(dir: &Path) -> Opening<'_> {
    Opening {
        dir,
        now: NOW,
        purpose: "test",
        random: [7; 64],
    }
}

fn open(dir: &Path) -> State {
    State::open(opening(dir)).expect("the directory opens")
}

fn refused(dir: &Path) -> StateError {
    State::open(opening(dir)).expect_err("the directory is refused")
}

/// A state in a directory of its own.
struct Fixture {
    state: Option<State>,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self {
            state: Some(open(dir.path())),
            dir,
        }
    }

    fn state(&self) -> &State {
        self.state.as_ref().expect("it is open")
    }

    /// Closes and opens it: what was only in memory is gone.
    fn reopen(&mut self) -> &State {
        self.state = None;
        self.state = Some(open(self.dir.path()));
        self.state()
    }

    fn commit(&self, change: impl FnOnce(&mut Changes)) {
        self.commit_at(NOW, change);
    }

    fn commit_at(&self, now: Millis, change: impl FnOnce(&mut Changes)) {
        let mut changes = Changes::new(now);
        change(&mut changes);
        self.state().commit(changes).expect("it is written");
    }
}

fn key(name: &str) -> Key {
    Key::from(name)
}

fn memory(byte: u8) -> Memory {
    Memory {
        kind: Kind::String,
        digest: ValueDigest::from_bytes([byte; ValueDigest::LENGTH]),
        expiry: Expiry::Never,
        body: Body::Whole,
    }
}

/// A version whose digest tells which it is.
fn version(number: u8) -> Agreement {
    Agreement {
        version: Version(number.into()),
        memory: Some(memory(number)),
        removed: BTreeMap::new(),
        proved: Sequence(number.into()),
        since: NOW,
    }
}

fn tombstone(number: u8) -> Agreement {
    Agreement {
        memory: None,
        ..version(number)
    }
}

fn lag(base: LagBase, proved: u64) -> Lag {
    Lag {
        base,
        seen: Seen::all(Version(1)),
        proved: Sequence(proved),
        since: Sequence(proved),
        evicted: false,
    }
}

/// A lag whose base tells which it is.
fn behind(number: u8) -> Lag {
    lag(LagBase::Held(Some(memory(number))), number.into())
}

fn run_start() -> RunStart {
    RunStart {
        at: NOW,
        purpose: "repair".into(),
        replicas: Vec::new(),
        undoes: None,
    }
}

fn run_end(at: Millis) -> RunEnd {
    RunEnd {
        at,
        result: "done".into(),
        exit: 0,
        note: None,
        counts: BTreeMap::new(),
    }
}
