//! Runs with memory, on replicas in memory: what one datacenter removed stays removed, counters are sums, and who forgot
//! is found out.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use reknit::model::{
    DbIndex, Key, Keyspace, Keyspaces, Millis, Op, OwnerToken, Preference, Selection,
    State as KeyState, StringRule, Value,
};
use reknit::repair::{Mode, Run, RunError, RunMemory, Scope, Summary, run};
use reknit::state::{Opening, RunStart, State};
use reknit::store::{Data, Fault, MemoryReplica, Replica, Step};
use support::run::{Nobody, run_over};
use tempfile::TempDir;

const NOW: Millis = Millis(1_700_000_000_000);

/// Some replicas and a state directory.
struct Site {
    replicas: Vec<Arc<MemoryReplica>>,
    dir: TempDir,
    runs: u64,
    counters: bool,
    other: u8,
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
            counters: false,
            other: 9,
            dir: tempfile::tempdir().unwrap(),
            runs: 0,
        }
    }

    fn open(&self) -> State {
        State::open(Opening {
            dir: self.dir.path(),
            now: NOW,
            purpose: "test",
            random: [self.other; 64],
        })
        .unwrap()
    }

    async fn repair(&mut self) -> Summary {
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        self.repair_with(&all, |_| {}).await
    }

    async fn repair_with(&mut self, present: &[usize], adjust: impl FnOnce(&mut Run)) -> Summary {
        let summary = self.try_repair_with(present, adjust).await.unwrap();
        assert!(
            summary.replicas.iter().all(|one| one.lost.is_none()),
            "{summary:?}"
        );
        summary
    }

    async fn try_repair(&mut self) -> Result<Summary, RunError> {
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        self.try_repair_with(&all, |_| {}).await
    }

    async fn try_repair_with(
        &mut self,
        present: &[usize],
        adjust: impl FnOnce(&mut Run),
    ) -> Result<Summary, RunError> {
        let state = self.open();
        self.runs += 1;
        let enrol = |index: &usize| {
            let name = self.replicas[*index].name();
            state.enrol(name, [*index as u8 + 1; 8], NOW).unwrap()
        };
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        let ids: Vec<_> = all.iter().map(enrol).collect();
        let number = state
            .begin_run(RunStart {
                at: NOW,
                purpose: "test".into(),
                replicas: Vec::new(),
                undoes: None,
            })
            .unwrap();
        let members = present
            .iter()
            .map(|index| self.replicas[*index].clone() as Arc<dyn Replica>);
        let mut job = run_over(members, Mode::Repair, NOW);
        job.digest_key = state.digest_key();
        job.memory = Some(RunMemory {
            run: number,
            owner: OwnerToken((self.runs + 100).to_be_bytes()),
            ids: present.iter().map(|index| ids[*index]).collect(),
            others: all
                .iter()
                .filter(|index| !present.contains(index))
                .map(|index| ids[*index])
                .collect(),
            elements: 100,
            replicates: false,
            release_held: false,
            digest: None,
            taken_up: None,
            state,
        });
        job.settings.breaker = generous();
        if self.counters {
            job.scope = Scope::new(counting(), Selection::of(vec![name("default")]));
        }
        adjust(&mut job);
        run(&job, &mut Nobody).await
    }
}

fn generous() -> reknit::repair::Breaker {
    reknit::repair::Breaker::default()
}

fn name(text: &str) -> reknit::model::KeyspaceName {
    reknit::model::KeyspaceName(text.into())
}

fn counting() -> Keyspaces {
    let mut keyspace = Keyspace::everything();
    keyspace.policy.rules.string = StringRule::Counter;
    Keyspaces::new(vec![keyspace])
}

fn key(text: &str) -> Key {
    Key::from(text)
}

fn text(value: &str) -> KeyState {
    KeyState::lasting(Value::String(Bytes::copy_from_slice(value.as_bytes())))
}

fn set(members: &[&str]) -> KeyState {
    let members: BTreeSet<Bytes> = members
        .iter()
        .map(|m| Bytes::copy_from_slice(m.as_bytes()))
        .collect();
    KeyState::lasting(Value::Set(members))
}

impl Site {
    fn get(&self, replica: usize, name: &str) -> Option<KeyState> {
        self.replicas[replica].client().get(&key(name))
    }

    fn put(&self, replica: usize, name: &str, state: Option<KeyState>) {
        self.replicas[replica].client().set_state(&key(name), state);
    }

    fn apply(&self, replica: usize, name: &str, op: Op) {
        self.replicas[replica]
            .client()
            .apply(&key(name), &op)
            .unwrap();
    }

    fn assert_all(&self, name: &str, state: Option<KeyState>) {
        for replica in 0..self.replicas.len() {
            assert_eq!(
                self.get(replica, name),
                state,
                "{name} at replica {replica}"
            );
        }
    }
}

#[tokio::test]
async fn a_removal_stays_a_removal() {
    let mut site = Site::new(&["a", "b", "c"]);
    site.put(0, "k", Some(text("v")));
    site.put(0, "s", Some(set(&["x", "y"])));
    site.repair().await;
    site.assert_all("k", Some(text("v")));
    site.put(1, "k", None);
    site.apply(2, "s", Op::RemoveMembers(vec!["x".into()]));
    site.apply(0, "s", Op::AddMembers(vec!["z".into()]));
    site.repair().await;
    site.assert_all("k", None);
    site.assert_all("s", Some(set(&["y", "z"])));
    let summary = site.repair().await;
    assert_eq!((summary.learned, summary.in_flight), (0, 0), "{summary:?}");
    assert!(summary.verdicts.is_empty());
}

#[tokio::test]
async fn a_run_in_sync_adds_nothing_to_what_is_remembered() {
    let mut site = Site::new(&["a", "b"]);
    for number in 0..2_000 {
        let key = format!("k{number}");
        site.put(0, &key, Some(text("v")));
        site.put(1, &key, Some(text("v")));
    }
    site.repair().await;
    let before = site.open().check().unwrap();
    assert_eq!(before.keys, 2_000);
    for _ in 0..3 {
        let summary = site.repair().await;
        assert_eq!((summary.learned, summary.in_flight), (0, 0), "{summary:?}");
    }
    // One run of the log each, and nothing else.
    let after = reknit::state::Checked {
        runs: before.runs + 3,
        ..before
    };
    assert_eq!(site.open().check().unwrap(), after);
}

#[tokio::test]
async fn a_run_that_is_stopped_while_it_reads_lets_the_state_directory_go() {
    let mut site = Site::new(&["a", "b"]);
    for number in 0..5_000 {
        let key = format!("k{number}");
        site.put(0, &key, Some(text("v")));
        site.put(1, &key, Some(text("v")));
    }
    site.repair().await;
    let replica = site.replicas[0].clone();
    let stopping = |job: &mut Run| {
        let stop = job.stop.clone();
        let script = move |step: Step<'_>, _: DbIndex, _: &mut Data| {
            if matches!(step, Step::ScanPage) {
                stop.cancel();
            }
            Fault::None
        };
        replica.set_faults(Some(Box::new(script)));
    };
    let summary = site.repair_with(&[0, 1], stopping).await;
    assert!(summary.interrupted, "{summary:?}");
    site.replicas[0].set_faults(None);
    // It opens at once: nobody lists any more. And what was listed in part was taken for nothing.
    let summary = site.repair().await;
    assert_eq!((summary.learned, summary.in_flight), (0, 0), "{summary:?}");
}

#[tokio::test]
async fn counters_are_sums_whoever_takes_part() {
    let mut site = Site::new(&["a", "b", "c"]);
    site.counters = true;
    site.put(0, "hits", Some(text("10")));
    site.repair().await;
    site.assert_all("hits", Some(text("10")));
    site.apply(0, "hits", Op::IncreaseBy(1));
    site.apply(1, "hits", Op::IncreaseBy(1));
    site.apply(2, "hits", Op::IncreaseBy(-3));
    site.repair_with(&[0, 1], |_| {}).await;
    assert_eq!(site.get(0, "hits"), Some(text("12")));
    assert_eq!(site.get(2, "hits"), Some(text("7")));
    site.repair_with(&[1, 2], |_| {}).await;
    assert_eq!(site.get(2, "hits"), Some(text("9")));
    site.repair().await;
    site.assert_all("hits", Some(text("9")));
    // A counter that appears on two sides since the last complete run is the sum of both.
    site.put(0, "new", Some(text("3")));
    site.put(1, "new", Some(text("3")));
    site.repair().await;
    site.assert_all("new", Some(text("6")));
}

#[tokio::test]
async fn a_replica_that_was_away_learns_of_removals_and_keeps_its_additions() {
    let mut site = Site::new(&["a", "b", "c"]);
    site.put(0, "s", Some(set(&["x", "y"])));
    site.put(0, "k", Some(text("old")));
    site.repair().await;
    site.apply(0, "s", Op::RemoveMembers(vec!["x".into()]));
    site.put(1, "k", None);
    site.apply(2, "s", Op::AddMembers(vec!["w".into()]));
    site.repair_with(&[0, 1], |_| {}).await;
    site.repair_with(&[0, 1], |_| {}).await;
    site.repair().await;
    site.assert_all("s", Some(set(&["w", "y"])));
    site.assert_all("k", None);
}

#[tokio::test]
async fn a_flushed_replica_is_filled_again_and_nothing_is_removed_on_its_word() {
    let mut site = Site::new(&["a", "b", "c"]);
    for number in 0..10 {
        site.put(0, &format!("k{number}"), Some(text("v")));
    }
    site.repair().await;
    site.replicas[1].flush(DbIndex(0));
    let summary = site.repair().await;
    assert_eq!(summary.forgetful.len(), 1, "{:?}", summary.forgetful);
    for number in 0..10 {
        site.assert_all(&format!("k{number}"), Some(text("v")));
    }
    site.put(1, "k3", None);
    site.repair().await;
    site.assert_all("k3", None);
}

#[tokio::test]
async fn a_replica_that_came_back_with_old_data_brings_nothing_back() {
    let mut site = Site::new(&["a", "b"]);
    site.put(0, "k", Some(text("v")));
    site.put(0, "s", Some(set(&["x", "y"])));
    site.repair().await;
    let snapshot = site.replicas[1].snapshot();
    site.put(0, "k", None);
    site.apply(0, "s", Op::RemoveMembers(vec!["x".into()]));
    site.put(0, "later", Some(text("new")));
    site.repair().await;
    site.assert_all("k", None);
    site.replicas[1].restore(&snapshot);
    let summary = site.repair().await;
    assert!(
        summary.forgetful[0].remembers.is_some(),
        "{:?}",
        summary.forgetful
    );
    site.assert_all("k", None);
    site.assert_all("s", Some(set(&["y"])));
    site.assert_all("later", Some(text("new")));
}

#[tokio::test]
async fn an_evicted_key_is_no_removal_now_or_later() {
    let mut site = Site::new(&["a", "b", "c"]);
    site.put(0, "k", Some(text("v")));
    site.repair().await;
    site.replicas[1].evict(DbIndex(0), &key("k"));
    site.repair().await;
    assert_eq!(site.get(0, "k"), Some(text("v")));
    site.repair().await;
    assert_eq!(site.get(0, "k"), Some(text("v")));
    assert_eq!(site.get(1, "k"), None, "it is not filled in again");
    site.put(0, "k", None);
    site.repair().await;
    site.assert_all("k", None);
}

#[tokio::test]
async fn another_state_directory_on_the_same_replicas_is_refused() {
    let mut site = Site::new(&["a", "b"]);
    site.put(0, "k", Some(text("v")));
    site.repair().await;
    site.dir = tempfile::tempdir().unwrap();
    site.other = 77;
    let refused = site.try_repair().await.unwrap_err();
    assert!(refused.to_string().contains("--adopt"), "{refused}");
}

fn large_set(without: &[u32]) -> KeyState {
    let members = (0..5000_u32).filter(|number| !without.contains(number));
    let members = members.map(|number| Bytes::from(format!("m{number}")));
    KeyState::lasting(Value::Set(members.collect()))
}

#[tokio::test]
async fn a_large_collection_follows_the_one_side_that_changed_and_its_removal_is_one() {
    let mut site = Site::new(&["a", "b", "c"]);
    site.put(0, "big", Some(large_set(&[])));
    site.repair().await;
    site.assert_all("big", Some(large_set(&[])));
    site.apply(1, "big", Op::RemoveMembers(vec!["m7".into()]));
    site.repair().await;
    site.assert_all("big", Some(large_set(&[7])));
    // Two sides that changed are united: what both still have, and what one removed, comes back.
    site.apply(0, "big", Op::RemoveMembers(vec!["m8".into()]));
    site.apply(2, "big", Op::RemoveMembers(vec!["m9".into()]));
    site.repair().await;
    site.assert_all("big", Some(large_set(&[7])));
    site.put(2, "big", None);
    site.repair().await;
    site.assert_all("big", None);
    let summary = site.repair().await;
    assert_eq!((summary.learned, summary.in_flight), (0, 0), "{summary:?}");
}

#[tokio::test]
async fn a_run_that_leaves_more_open_than_it_can_hold_claims_to_have_seen_nothing() {
    for (left_open, expected) in [(3, "6"), (300, "3")] {
        let mut site = Site::new(&["a", "b"]);
        for number in 0..left_open {
            let name = format!("{number:060000}");
            site.put(0, &name, Some(text("x")));
            site.put(1, &name, Some(text("y")));
        }
        let skipping = |job: &mut Run| {
            job.scope = Scope::new(counting_or_skipping(), Selection::of(vec![name("default")]));
        };
        let first = site.repair_with(&[0, 1], skipping).await;
        assert_eq!(first.total().left, left_open, "all of them are left open");
        // Whether it was absent before is known by a run that knew all that was there.
        site.put(0, "new", Some(text("3")));
        site.put(1, "new", Some(text("3")));
        site.repair_with(&[0, 1], skipping).await;
        site.assert_all("new", Some(text(expected)));
    }
}

/// What is no counter is left alone where sides differ.
fn counting_or_skipping() -> Keyspaces {
    let mut keyspace = Keyspace::everything();
    keyspace.policy.rules.string = StringRule::Counter;
    keyspace.policy.prefer = vec![Preference::Skip];
    Keyspaces::new(vec![keyspace])
}
