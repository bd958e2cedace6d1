//! A clock that jumps: runs that begin before the last one ended, and ten years after it, on replicas in memory.
//!
//! What ages is a matter of `state/age.rs`; here the whole of a run is meant: deletes, counters, replicas that were away
//! or restored, the log.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reknit::model::{
    Key, Keyspace, Keyspaces, Millis, Op, OwnerToken, Selection, State as KeyState, StringRule,
    Value,
};
use reknit::repair::{Mode, RunMemory, Scope, Summary, run};
use reknit::state::{Opening, Retention, RunEnd, RunStart, State};
use reknit::store::{MemoryReplica, Replica};
use support::run::{NOW, Nobody, run_over};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Replicas whose own clocks are right, and a machine whose clock is not.
struct Site {
    replicas: Vec<Arc<MemoryReplica>>,
    dir: TempDir,
    /// What the clock of the machine shows.
    shown: Millis,
    runs: u64,
}

fn days(number: i64) -> Millis {
    Millis(NOW.0 + number * 24 * 60 * 60 * 1000)
}

impl Site {
    fn new(names: &[&str]) -> Self {
        let replica = |(index, name): (usize, &&str)| {
            let replica = MemoryReplica::new(name, index as u64 + 1);
            replica.set_now(NOW);
            Arc::new(replica)
        };
        Self {
            replicas: names.iter().enumerate().map(replica).collect(),
            dir: tempfile::tempdir().unwrap(),
            shown: NOW,
            runs: 0,
        }
    }

    fn open(&self) -> State {
        State::open(Opening {
            dir: self.dir.path(),
            now: self.shown,
            purpose: "test",
            random: [9; 64],
        })
        .unwrap()
    }

    /// A run of these replicas, from its beginning in the log to the pruning at its end.
    async fn repair(&mut self, present: &[usize]) -> Summary {
        let state = self.open();
        self.runs += 1;
        let enrol = |(index, replica): (usize, &Arc<MemoryReplica>)| {
            let random = [index as u8 + 1; 8];
            state.enrol(replica.name(), random, self.shown).unwrap()
        };
        let ids: Vec<_> = self.replicas.iter().enumerate().map(enrol).collect();
        let number = state
            .begin_run(RunStart {
                at: self.shown,
                purpose: "test".into(),
                replicas: Vec::new(),
                undoes: None,
            })
            .unwrap();
        let members = present
            .iter()
            .map(|index| self.replicas[*index].clone() as Arc<dyn Replica>);
        let mut job = run_over(members, Mode::Repair, self.shown);
        job.digest_key = state.digest_key();
        job.scope = Scope::new(counting(), Selection::of(vec![name("default")]));
        let absent = (0..ids.len()).filter(|index| !present.contains(index));
        job.memory = Some(RunMemory {
            run: number,
            owner: OwnerToken((self.runs + 100).to_be_bytes()),
            ids: present.iter().map(|index| ids[*index]).collect(),
            others: absent.map(|index| ids[index]).collect(),
            elements: 100,
            replicates: false,
            release_held: false,
            digest: None,
            taken_up: None,
            state: state.clone(),
        });
        let summary = run(&job, &mut Nobody).await.unwrap();
        assert!(summary.replicas.iter().all(|one| one.lost.is_none()));
        let end = RunEnd {
            at: self.shown,
            result: "done".into(),
            exit: 0,
            note: None,
            counts: [].into(),
        };
        state.end_run(number, end).unwrap();
        let journal = Retention {
            age: DAY * 30,
            bytes: u64::MAX,
        };
        state.prune(self.shown, DAY * 7, journal).unwrap();
        summary
    }

    async fn repair_all(&mut self) -> Summary {
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        self.repair(&all).await
    }

    fn put(&self, replica: usize, name: &str, value: Option<&str>) {
        let value = value.map(text);
        let client = self.replicas[replica].client();
        client.set_state(&Key::from(name), value);
    }

    fn increase(&self, replica: usize, name: &str, by: i64) {
        let client = self.replicas[replica].client();
        client.apply(&Key::from(name), &Op::IncreaseBy(by)).unwrap();
    }

    #[track_caller]
    fn assert_all(&self, name: &str, value: Option<&str>) {
        let value = value.map(text);
        for (index, replica) in self.replicas.iter().enumerate() {
            let found = replica.client().get(&Key::from(name));
            assert_eq!(found, value, "{name} at replica {index}");
        }
    }
}

fn counting() -> Keyspaces {
    let mut keyspace = Keyspace::everything();
    keyspace.policy.rules.string = StringRule::Counter;
    Keyspaces::new(vec![keyspace])
}

fn name(text: &str) -> reknit::model::KeyspaceName {
    reknit::model::KeyspaceName(text.into())
}

fn text(value: &str) -> KeyState {
    KeyState::lasting(Value::String(Bytes::copy_from_slice(value.as_bytes())))
}

/// Times that the clock shows one run after the other.
const JUMPS: [&[i64]; 4] = [
    &[0, -1, -1, -1],
    &[0, 3650, 3651, 3652],
    &[0, 3650, 1, 2],
    &[0, -3650, 3650, 1],
];

#[tokio::test]
async fn deletes_additions_and_counters_are_what_they_are_whatever_the_clock_shows() {
    for jumps in JUMPS {
        let mut site = Site::new(&["a", "b", "c"]);
        site.put(0, "gone", Some("v"));
        site.put(0, "late", Some("v"));
        site.put(0, "hits", Some("10"));
        site.shown = days(jumps[0]);
        site.repair_all().await;
        site.shown = days(jumps[1]);
        site.put(1, "gone", None);
        site.increase(0, "hits", 1);
        site.increase(2, "hits", 5);
        site.repair(&[0, 1]).await;
        site.shown = days(jumps[2]);
        site.put(0, "late", None);
        site.put(1, "new", Some("v"));
        site.increase(1, "hits", 2);
        site.repair_all().await;
        site.assert_all("gone", None);
        site.assert_all("late", None);
        site.assert_all("new", Some("v"));
        site.assert_all("hits", Some("18"));
        site.shown = days(jumps[3]);
        let summary = site.repair_all().await;
        assert!(summary.verdicts.is_empty(), "{jumps:?}: {summary:?}");
        let runs = site.open().runs().unwrap();
        assert_eq!(runs.len(), 4, "{jumps:?}");
        assert!(runs.iter().all(|run| run.end.is_some()), "{jumps:?}");
    }
}

#[tokio::test]
async fn a_replica_that_was_restored_brings_nothing_back_after_the_clock_jumped() {
    for jumps in JUMPS {
        let mut site = Site::new(&["a", "b"]);
        site.put(0, "gone", Some("v"));
        site.put(0, "stays", Some("v"));
        site.shown = days(jumps[0]);
        site.repair_all().await;
        let snapshot = site.replicas[1].snapshot();
        site.put(0, "gone", None);
        site.put(0, "stays", Some("w"));
        site.shown = days(jumps[1]);
        site.repair_all().await;
        site.assert_all("gone", None);
        // The tombstone and what stood before it have to outlive the jump.
        site.shown = days(jumps[2]);
        site.repair_all().await;
        site.replicas[1].restore(&snapshot);
        site.shown = days(jumps[3]);
        let summary = site.repair_all().await;
        assert_eq!(summary.forgetful.len(), 1, "{jumps:?}");
        site.assert_all("gone", None);
        site.assert_all("stays", Some("w"));
    }
}

#[tokio::test]
async fn journals_outlive_a_clock_that_jumps_ahead() {
    let mut site = Site::new(&["a", "b"]);
    site.put(0, "k", Some("v"));
    site.repair_all().await;
    for day in [3650, 3651, 1] {
        site.shown = days(day);
        site.repair_all().await;
    }
    let mut entries = 0;
    let state = site.open();
    state
        .journal(reknit::model::RunNumber(1), &mut |_| entries += 1)
        .unwrap();
    assert_eq!(entries, 1, "the first run can still be undone");
}
