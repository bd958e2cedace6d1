//! What undoing runs leaves, against what clients did: the real code on replicas in memory.
//!
//! Any replicas take part in a run, writes fail, clients write between all steps; then a run is undone: the last one, one
//! that another followed, or any of the past, undos among them; at all replicas, at those that are in reach, or at one.
//! In the end everybody is there, and holds what clients did: a counter is the sum of what was added, a set has the
//! members that were added and not removed, a hash and a string the values that were set last, each where its one writer
//! set it. Where all could be written and were undone at once, every replica holds what it held before, with its end. The
//! smallest form of this is a program of forty lines in the notes of the design; without the rules of the undo, most
//! totals are wrong there.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use reknit::crdt::integer;
use reknit::model::{
    DbIndex, Expiry, Field, HashRule, Key, Keyspace, KeyspaceName, Keyspaces, Millis, Op,
    OwnerToken, ReplicaId, RunNumber, Selection, State as KeyState, StringRule, Value,
};
use reknit::repair::{
    Mode, Run, RunMemory, Scope, UndoFinding, UndoListener, UndoRequest, run, undo,
};
use reknit::state::{Opening, RunStart, State};
use reknit::store::{Fault, MemoryReplica, Replica, Step};
use support::run::{Nobody, run_over};
use tempfile::TempDir;

const NOW: Millis = Millis(1_700_000_000_000);
const REPLICAS: usize = 4;
const STEPS: usize = 12;

/// A member that stays.
const FIRST: Bytes = Bytes::from_static(b"first");

/// Seeds of each shape; `REKNIT_SEEDS` asks for others.
fn seeds() -> u64 {
    let asked = std::env::var("REKNIT_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn one(&mut self) -> usize {
        self.next() as usize % REPLICAS
    }

    fn some(&mut self, percent: u64) -> Vec<usize> {
        (0..REPLICAS).filter(|_| self.chance(percent)).collect()
    }
}

/// What clients change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A string that counts.
    String,
    /// A field that counts.
    Field,
    /// The members of a set, and when it ends.
    Set,
    /// The fields of a hash, each of which one replica alone writes.
    Hash,
    /// A string that does not count, which one replica alone writes.
    Value,
}

/// Which run is undone, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// The last one, everywhere; counters also where writes fail and clients count meanwhile.
    Last,
    /// One that another followed.
    Followed,
    /// The last one, at some replicas; writes fail, and clients write meanwhile.
    Partly,
    /// Any, undos among them, at some replicas or one; writes fail, and clients write meanwhile.
    Any,
}

/// What clients did.
#[derive(Default)]
struct Told {
    /// All that was added.
    total: i64,
    /// How many members and values there were: each is given once.
    given: u64,
    /// Members that were added and not removed.
    members: BTreeSet<Bytes>,
    /// The last value of each field.
    fields: BTreeMap<Bytes, Bytes>,
    /// The last value.
    value: Option<Bytes>,
}

/// Four replicas and a state directory that all seeds share, each with a key of its own.
struct World {
    replicas: Vec<Arc<MemoryReplica>>,
    failing: Vec<Arc<AtomicBool>>,
    ids: Vec<ReplicaId>,
    state: State,
    owners: u64,
    _dir: TempDir,
}

struct Deaf;

impl UndoListener for Deaf {
    fn finding(&mut self, _: &UndoFinding) {}
}

impl World {
    async fn new() -> Self {
        // What is synced here need not outlive the machine: where there is memory for files, it is that.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.unwrap();
        let state = State::open(Opening {
            dir: dir.path(),
            now: NOW,
            purpose: "test",
            random: [3; 64],
        })
        .unwrap();
        let mut world = Self {
            replicas: Vec::new(),
            failing: Vec::new(),
            ids: Vec::new(),
            state,
            owners: 0,
            _dir: dir,
        };
        for (index, name) in ["a", "b", "c", "d"].iter().enumerate() {
            let replica = MemoryReplica::new(name, index as u64 + 1);
            replica.set_now(NOW);
            let failing = Arc::new(AtomicBool::new(false));
            let fails = failing.clone();
            replica.set_faults(Some(Box::new(
                move |step: Step<'_>, _: DbIndex, _: &mut reknit::store::Data| match step {
                    Step::ExecuteKey(key) if fails.load(Ordering::Relaxed) && !key.is_own() => {
                        Fault::Refuse("OOM".into())
                    }
                    _ => Fault::None,
                },
            )));
            let id = world.state.enrol(replica.name(), [index as u8 + 1; 8], NOW);
            world.ids.push(id.unwrap());
            world.failing.push(failing);
            world.replicas.push(Arc::new(replica));
        }
        // Everything was read while there was nothing: what appears is counted from zero.
        world.repair(&[0, 1, 2, 3], None).await;
        world
    }

    fn begin(&self, undoes: Option<RunNumber>) -> RunNumber {
        let start = RunStart {
            at: NOW,
            purpose: "test".into(),
            replicas: Vec::new(),
            undoes,
        };
        self.state.begin_run(start).unwrap()
    }

    fn job(&mut self, present: &[usize], number: RunNumber, key: Option<&Key>) -> Run {
        self.owners += 1;
        let members = present.iter().map(|index| self.replicas[*index].clone());
        let mut job = run_over(
            members.map(|one| one as Arc<dyn Replica>),
            Mode::Repair,
            NOW,
        );
        job.digest_key = self.state.digest_key();
        job.settings.breaker.force_overwrites = 1_000_000;
        let mut keyspace = Keyspace::everything();
        keyspace.policy.rules.string = StringRule::Counter;
        keyspace.policy.rules.hash = HashRule::Counter;
        let mut selection = Selection::of(vec![KeyspaceName("default".into())]);
        selection.keys = key.map(|key| [key.clone()].into());
        job.scope = Scope::new(Keyspaces::new(vec![keyspace]), selection);
        let away = (0..REPLICAS).filter(|index| !present.contains(index));
        job.memory = Some(RunMemory {
            state: self.state.clone(),
            run: number,
            owner: OwnerToken(self.owners.to_be_bytes()),
            ids: present.iter().map(|index| self.ids[*index]).collect(),
            others: away.map(|index| self.ids[index]).collect(),
            elements: 100,
            replicates: false,
            release_held: key.is_some(),
            digest: None,
            taken_up: None,
        });
        job
    }

    async fn repair(&mut self, present: &[usize], key: Option<&Key>) -> RunNumber {
        let number = self.begin(None);
        let job = self.job(present, number, key);
        run(&job, &mut Nobody).await.unwrap();
        number
    }

    async fn undo(
        &mut self,
        present: &[usize],
        undone: RunNumber,
        only: Option<usize>,
    ) -> RunNumber {
        let number = self.begin(Some(undone));
        let job = self.job(present, number, None);
        let request = UndoRequest {
            undone,
            replica: only.map(|replica| self.ids[replica]),
            ..UndoRequest::default()
        };
        undo(&job, &request, &mut Deaf).await.unwrap();
        number
    }

    fn fail(&self, random: &mut Random, percent: u64) {
        for failing in &self.failing {
            failing.store(random.chance(percent), Ordering::Relaxed);
        }
    }

    fn number(&self, replica: usize, key: &Key) -> i64 {
        let state = self.replicas[replica].client().get(key);
        match state.map(|state| state.value) {
            None => 0,
            Some(Value::String(bytes)) => integer(&bytes).unwrap(),
            Some(Value::Hash(fields)) => fields
                .get(&Bytes::from_static(b"f"))
                .map_or(0, |field| integer(&field.value).unwrap()),
            Some(other) => panic!("no counter is a {}", other.kind()),
        }
    }

    /// Clients write at some replicas.
    fn write(&self, random: &mut Random, shape: Shape, key: &Key, percent: u64, told: &mut Told) {
        for replica in random.some(percent) {
            match shape {
                Shape::String | Shape::Field => self.count(random, shape, key, replica, told),
                Shape::Set => self.change_set(random, key, replica, told),
                Shape::Hash => self.set_field(random, key, replica, told),
                Shape::Value if replica == 0 => self.set_value(random, key, told),
                Shape::Value => {}
            }
        }
    }

    fn set_value(&self, random: &mut Random, key: &Key, told: &mut Told) {
        let client = self.replicas[0].client();
        if random.chance(15) {
            client.apply(key, &Op::Remove).unwrap();
            told.value = None;
            return;
        }
        let value = Bytes::from(format!("v{}", told.given));
        told.given += 1;
        client
            .apply(key, &Op::Put(Value::String(value.clone())))
            .unwrap();
        told.value = Some(value);
    }

    fn count(&self, random: &mut Random, shape: Shape, key: &Key, replica: usize, told: &mut Told) {
        let step = [1, 2, 3, 5][(random.next() % 4) as usize];
        let number = self.number(replica, key) + step;
        let client = self.replicas[replica].client();
        if shape == Shape::Field {
            let field = Field::lasting(number.to_string());
            let fields = BTreeMap::from([(Bytes::from_static(b"f"), field)]);
            client.set_state(key, Some(KeyState::lasting(Value::Hash(fields))));
        } else if number == step {
            let value = Value::String(number.to_string().into());
            client.set_state(key, Some(KeyState::lasting(value)));
        } else {
            client.apply(key, &Op::IncreaseBy(step)).unwrap();
        }
        told.total += step;
    }

    fn change_set(&self, random: &mut Random, key: &Key, replica: usize, told: &mut Told) {
        let client = self.replicas[replica].client();
        let state = client.get(key);
        let held = match state.as_ref().map(|state| &state.value) {
            Some(Value::Set(members)) => members
                .iter()
                .filter(|one| **one != FIRST)
                .cloned()
                .collect(),
            Some(other) => panic!("no set is a {}", other.kind()),
            None => Vec::<Bytes>::new(),
        };
        if !held.is_empty() && random.chance(40) {
            let gone = held[random.next() as usize % held.len()].clone();
            client
                .apply(key, &Op::RemoveMembers(vec![gone.clone()]))
                .unwrap();
            told.members.remove(&gone);
        } else {
            let member = Bytes::from(format!("m{}", told.given));
            told.given += 1;
            client
                .apply(key, &Op::AddMembers(vec![member.clone()]))
                .unwrap();
            told.members.insert(member);
        }
        if replica == 0 && random.chance(30) {
            told.given += 1;
            let expiry = Expiry::At(Millis(NOW.0 + 10_000_000 * told.given as i64));
            client.apply(key, &Op::Expire(expiry)).unwrap();
        }
    }

    /// A set with a member that stays: one that is emptied would be gone, and its end with it.
    async fn begin_set(&mut self, key: &Key, told: &mut Told) {
        for replica in &self.replicas {
            let add = Op::AddMembers(vec![FIRST]);
            replica.client().apply(key, &add).unwrap();
        }
        told.members.insert(FIRST);
        self.repair(&[0, 1, 2, 3], Some(key)).await;
    }

    fn set_field(&self, random: &mut Random, key: &Key, replica: usize, told: &mut Told) {
        let field = Bytes::from(format!("f{replica}-{}", random.next() % 3));
        let value = Bytes::from(format!("v{}", told.given));
        told.given += 1;
        let client = self.replicas[replica].client();
        let set = Op::SetFields(vec![(field.clone(), value.clone())]);
        client.apply(key, &set).unwrap();
        told.fields.insert(field, value);
    }

    fn states(&self, key: &Key) -> Vec<Option<KeyState>> {
        let held = |replica: &Arc<MemoryReplica>| replica.client().get(key);
        self.replicas.iter().map(held).collect()
    }

    /// What a replica holds instead of what clients did there and elsewhere.
    fn wrong(&self, shape: Shape, key: &Key, replica: usize, told: &Told) -> Option<String> {
        let state = self.replicas[replica].client().get(key);
        let found = state.as_ref().map(|state| &state.value);
        match shape {
            Shape::String | Shape::Field => {
                let number = self.number(replica, key);
                (number != told.total).then(|| format!("{number} instead of {}", told.total))
            }
            Shape::Set => {
                let wanted = Value::Set(told.members.clone());
                (found != Some(&wanted)).then(|| format!("{found:?} instead of {wanted:?}"))
            }
            Shape::Value => {
                let wanted = told.value.clone().map(Value::String);
                (found != wanted.as_ref()).then(|| format!("{found:?} instead of {wanted:?}"))
            }
            Shape::Hash => {
                let fields = told.fields.iter();
                let lasting =
                    fields.map(|(name, value)| (name.clone(), Field::lasting(value.clone())));
                let wanted = Value::Hash(lasting.collect());
                let wanted = (!told.fields.is_empty()).then_some(&wanted);
                (found != wanted).then(|| format!("{found:?} instead of {wanted:?}"))
            }
        }
    }

    async fn history(&mut self, seed: u64, shape: Shape, course: Course) -> Result<(), String> {
        let mut random = Random(seed);
        let key = Key::from(format!("{seed}-{course:?}-{shape:?}").as_str());
        let mut told = Told::default();
        let counts = matches!(shape, Shape::String | Shape::Field);
        let disturbed = counts || matches!(course, Course::Partly | Course::Any);
        let often = |percent: u64| if disturbed { percent } else { 0 };
        let mut runs = Vec::new();
        if shape == Shape::Set {
            self.begin_set(&key, &mut told).await;
        }
        for _ in 0..STEPS {
            self.write(&mut random, shape, &key, 50, &mut told);
            let present = random.some(70);
            if present.len() < 2 {
                continue;
            }
            self.fail(&mut random, often(20));
            let before = self.states(&key);
            runs.push(self.repair(&present, Some(&key)).await);
            self.fail(&mut random, 0);
            let mut undone = *runs.last().unwrap();
            if !random.chance(40) {
                continue;
            }
            if course == Course::Followed {
                self.write(&mut random, shape, &key, often(20), &mut told);
                let present = random.some(40);
                if present.len() >= 2 {
                    self.repair(&present, Some(&key)).await;
                }
            }
            if course == Course::Any {
                undone = runs[random.next() as usize % runs.len()];
            }
            let mut reach = vec![0, 1, 2, 3];
            if disturbed {
                self.write(&mut random, shape, &key, 30, &mut told);
                reach = random.some(80);
                self.fail(&mut random, 10);
            }
            let only = (course == Course::Any && random.chance(30)).then(|| random.one());
            if !reach.is_empty() {
                runs.push(self.undo(&reach, undone, only).await);
            }
            self.fail(&mut random, 0);
            if !disturbed && course == Course::Last && self.states(&key) != before {
                let found = self.states(&key);
                return Err(format!("seed {seed}: undone to {found:?} from {before:?}"));
            }
        }
        self.repair(&[0, 1, 2, 3], Some(&key)).await;
        let wrong = (0..REPLICAS).filter_map(|replica| {
            let wrong = self.wrong(shape, &key, replica, &told)?;
            Some(format!("seed {seed}, replica {replica}: {wrong}"))
        });
        wrong.map(Err).next().unwrap_or(Ok(()))
    }
}

/// Histories from as many seeds as are asked for, in worlds of a few, because what is remembered of all is opened anew
/// for each run.
async fn histories(shape: Shape, course: Course) {
    let only = std::env::var("REKNIT_SEED").ok();
    let only: Option<u64> = only.map(|seed| seed.parse().unwrap());
    let all = only.map_or(0..seeds(), |seed| seed..seed + 1);
    let mut wrong = Vec::new();
    let mut world = World::new().await;
    for seed in all {
        if seed % 20 == 19 {
            world = World::new().await;
        }
        wrong.extend(world.history(seed, shape, course).await.err());
    }
    let shown: Vec<String> = wrong.iter().take(10).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{} histories end wrong\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

macro_rules! courses {
    ($(async fn $name:ident() $shape:ident, $course:ident;)*) => {
        $(#[tokio::test]
        async fn $name() {
            histories(Shape::$shape, Course::$course).await;
        })*
    };
}

courses! {
    async fn totals_are_exact_after_the_last_run_was_undone() String, Last;
    async fn totals_are_exact_after_a_run_was_undone_that_others_followed() String, Followed;
    async fn totals_are_exact_whatever_was_undone_where() String, Any;
    async fn fields_that_count_are_exact_after_an_undo() Field, Last;
    async fn fields_that_count_are_exact_after_a_run_was_undone_that_others_followed() Field, Followed;
    async fn fields_that_count_are_exact_whatever_was_undone_where() Field, Any;
    async fn members_are_what_clients_made_them_and_an_undo_gives_back_their_end() Set, Last;
    async fn members_are_what_clients_made_them_after_a_run_was_undone_that_others_followed() Set, Followed;
    async fn members_are_what_clients_made_them_after_an_undo_at_some_replicas() Set, Partly;
    async fn members_are_what_clients_made_them_whatever_was_undone_where() Set, Any;
    async fn fields_are_what_clients_set_them_to_after_an_undo() Hash, Last;
    async fn fields_are_what_clients_set_them_to_after_a_run_was_undone_that_others_followed() Hash, Followed;
    async fn fields_are_what_clients_set_them_to_after_an_undo_at_some_replicas() Hash, Partly;
    async fn fields_are_what_clients_set_them_to_whatever_was_undone_where() Hash, Any;
    async fn values_are_what_their_client_set_last_after_an_undo() Value, Last;
    async fn values_are_what_their_client_set_last_after_a_run_was_undone_that_others_followed() Value, Followed;
    async fn values_are_what_their_client_set_last_after_an_undo_at_some_replicas() Value, Partly;
    async fn values_are_what_their_client_set_last_whatever_was_undone_where() Value, Any;
}
