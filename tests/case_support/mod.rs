//! A few replicas and a state directory, for a test that tells a story of its own.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reknit::model::{
    DbIndex, Field, Key, Keyspace, Keyspaces, ListRule, Marker, Millis, Op, Preference, Selection,
    State, Stream, StreamId, StringRule, Value,
};
use reknit::repair::{RunError, Summary, lane_name};
use reknit::store::{Data, Fault, Step};

use crate::model_support::dice::Dice;
use crate::model_support::site::{Ended, Plan, Site, keyspaces};
use crate::model_support::watch::Trouble;
use crate::model_support::world::World;

/// After so many undisturbed runs nothing is left to be done.
const QUIET_RUNS: usize = 3;

/// A story.
pub(crate) struct Case {
    pub(crate) site: Site,
    selection: Selection,
}

impl Case {
    pub(crate) fn new(replicas: usize) -> Self {
        Self::with_databases(replicas, &[0])
    }

    pub(crate) fn with_databases(replicas: usize, databases: &[u32]) -> Self {
        let databases: Vec<DbIndex> = databases.iter().copied().map(DbIndex).collect();
        let world = World::new(Dice::new(0), BTreeMap::new(), replicas);
        let keyspaces = keyspaces(ListRule::Append, &databases);
        Self {
            site: Site::new(world, databases, keyspaces),
            selection: Selection::default(),
        }
    }

    pub(crate) fn get(&self, replica: usize, name: &str) -> Option<State> {
        self.get_in(0, replica, name)
    }

    pub(crate) fn get_in(&self, db: u32, replica: usize, name: &str) -> Option<State> {
        let client = self.site.replicas[replica].client_of(DbIndex(db));
        client.get(&key(name))
    }

    pub(crate) fn put(&self, replica: usize, name: &str, state: Option<State>) {
        self.put_in(0, replica, name, state);
    }

    pub(crate) fn put_in(&self, db: u32, replica: usize, name: &str, state: Option<State>) {
        let client = self.site.replicas[replica].client_of(DbIndex(db));
        client.set_state(&key(name), state);
    }

    pub(crate) fn apply(&self, replica: usize, name: &str, op: Op) {
        let client = self.site.replicas[replica].client();
        client.apply(&key(name), &op).unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_all(&self, name: &str, state: Option<State>) {
        for replica in 0..self.site.replicas.len() {
            assert_eq!(
                self.get(replica, name),
                state,
                "{name} at replica {replica}"
            );
        }
    }

    /// The marker of a replica's first database.
    pub(crate) fn marker(&self, replica: usize) -> Option<Marker> {
        let lane = lane_name(self.site.ids[replica]);
        read_marker(&self.site.replicas[replica].client().get(&lane)?)
    }

    pub(crate) fn now(&self) -> Millis {
        self.site.now
    }

    /// Time passes, everywhere.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.site.now = self.site.now.plus(time);
        let now = self.site.now;
        self.site.replicas.iter().for_each(|one| one.set_now(now));
    }

    /// A script for one replica.
    pub(crate) fn at(
        &self,
        replica: usize,
        mut script: impl FnMut(Step<'_>, &mut Data) -> Fault + Send + 'static,
    ) {
        let script = move |step: Step<'_>, _: DbIndex, data: &mut Data| script(step, data);
        self.site.replicas[replica].set_faults(Some(Box::new(script)));
    }

    /// Notes the marker that a replica has when clients' keys are about to be written.
    pub(crate) fn watch_marker(&self, replica: usize, seen: &Arc<Mutex<Option<Marker>>>) {
        let (world, seen) = (Arc::clone(&self.site.world), Arc::clone(seen));
        let lane = lane_name(self.site.ids[replica]);
        let script = move |step: Step<'_>, db: DbIndex, data: &mut Data| {
            if let Step::Compare(keys) = step
                && keys.iter().any(|key| !key.is_own())
            {
                *seen.lock().unwrap() = data.get(db, &lane).as_ref().and_then(read_marker);
            }
            world.lock().unwrap().at(replica, step, db, data)
        };
        self.site.replicas[replica].set_faults(Some(Box::new(script)));
    }

    /// A replica is gone when its marker should be set after it was read.
    pub(crate) fn lose_after_reading(&self, replica: usize) {
        let mut has_read = false;
        self.at(replica, move |step, _| match step {
            Step::ReadKey(_) => {
                has_read = true;
                Fault::None
            }
            Step::Compare(_) if has_read => Fault::Disconnect,
            _ => Fault::None,
        });
    }

    pub(crate) fn undisturbed(&self, replica: usize) {
        self.site.replicas[replica].set_faults(None);
    }

    /// From now on only these keys; all where none is named.
    pub(crate) fn select(&mut self, names: &[&str]) {
        let keys: BTreeSet<Key> = names.iter().map(|name| key(name)).collect();
        self.selection.keys = (!keys.is_empty()).then_some(keys);
    }

    /// From now on strings are counters.
    pub(crate) fn count_everything(&mut self) {
        let mut keyspace = Keyspace::everything();
        keyspace.policy.rules.string = StringRule::Counter;
        keyspace.policy.prefer = vec![Preference::Greatest];
        self.site.keyspaces = Keyspaces::new(vec![keyspace]);
    }

    /// From now on another, new state directory.
    pub(crate) fn other_directory(&mut self) {
        self.site.replace_directory([77; 64]);
    }

    fn plan(&self, present: &[usize]) -> Plan {
        Plan {
            present: present.to_vec(),
            selection: self.selection.clone(),
            trouble: Trouble::default(),
        }
    }

    pub(crate) async fn try_run(&mut self, present: &[usize]) -> Result<Summary, RunError> {
        let plan = self.plan(present);
        match self.site.run(&plan).await.0 {
            Ended::Done(summary) => Ok(*summary),
            Ended::Failed(error) => Err(error),
            Ended::Died => panic!("it was not to die"),
        }
    }

    pub(crate) async fn run(&mut self, present: &[usize]) -> Summary {
        self.try_run(present).await.unwrap()
    }

    /// Undisturbed runs of all, until nothing is left to be done.
    pub(crate) async fn settle(&mut self) {
        let all: Vec<usize> = (0..self.site.replicas.len()).collect();
        for _ in 0..QUIET_RUNS {
            let summary = self.run(&all).await;
            let lost = summary.replicas.iter().find_map(|one| one.lost.clone());
            assert_eq!(lost, None, "nothing disturbs it");
            if summary.verdicts.is_empty() && summary.learned == 0 {
                return;
            }
        }
        panic!("after {QUIET_RUNS} runs there is still something to do");
    }

    /// The same, where a replica that evicts may go on lacking keys.
    pub(crate) async fn settle_but(&mut self, _evicting: usize) {
        let all: Vec<usize> = (0..self.site.replicas.len()).collect();
        for _ in 0..QUIET_RUNS {
            self.run(&all).await;
        }
    }

    /// A run of all that dies at this step, if it has so many. Whether it did.
    pub(crate) async fn dies_at(&mut self, step: u64) -> bool {
        let all: Vec<usize> = (0..self.site.replicas.len()).collect();
        let mut plan = self.plan(&all);
        plan.trouble.dies_at = Some(step);
        matches!(self.site.run(&plan).await.0, Ended::Died)
    }

    /// A run of all that dies at the first step of a replica for which a fault is named.
    pub(crate) async fn dies_where(
        &mut self,
        replica: usize,
        script: impl Fn(Step<'_>) -> Option<Fault> + Send + 'static,
    ) {
        self.dies_in(replica, move |step, _| script(step)).await;
    }

    /// The same, with what clients do to the replica's data before.
    pub(crate) async fn dies_in(
        &mut self,
        replica: usize,
        mut script: impl FnMut(Step<'_>, &mut Data) -> Option<Fault> + Send + 'static,
    ) {
        let world: Arc<Mutex<World>> = Arc::clone(&self.site.world);
        self.at(replica, move |step, data| match script(step, data) {
            Some(fault) => {
                world.lock().unwrap().watch().is_dead = true;
                fault
            }
            None => Fault::None,
        });
        let all: Vec<usize> = (0..self.site.replicas.len()).collect();
        let plan = self.plan(&all);
        let ended = self.site.run(&plan).await.0;
        assert!(matches!(ended, Ended::Died), "it was to die");
        self.undisturbed(replica);
    }
}

fn read_marker(state: &State) -> Option<Marker> {
    match &state.value {
        Value::String(text) => Marker::decode(text),
        _ => None,
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::from(name)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn text(value: &str) -> State {
    State::lasting(Value::String(bytes(value)))
}

pub(crate) fn counter(value: i64) -> State {
    text(&value.to_string())
}

pub(crate) fn set(members: &[&str]) -> State {
    State::lasting(Value::Set(members.iter().map(|one| bytes(one)).collect()))
}

pub(crate) fn list(elements: &[&str]) -> State {
    State::lasting(Value::List(elements.iter().map(|one| bytes(one)).collect()))
}

pub(crate) fn hash(fields: &[(&str, &str)]) -> State {
    let fields = fields
        .iter()
        .map(|(name, value)| (bytes(name), Field::lasting(bytes(value))));
    State::lasting(Value::Hash(fields.collect()))
}

/// A stream with these entries, whose greatest ID ever is this one.
pub(crate) fn stream(entries: &[u64], last: u64) -> State {
    let id = |ms: u64| StreamId { ms, seq: 1 };
    let entry = |ms: &u64| (id(*ms), vec![(bytes("n"), bytes(&ms.to_string()))]);
    State::lasting(Value::Stream(Stream {
        entries: entries.iter().map(entry).collect(),
        last_id: id(last),
        ..Stream::default()
    }))
}
