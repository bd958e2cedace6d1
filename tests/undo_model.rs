//! Totals after undoing runs, against the sum of what clients added: the real code on replicas in memory.
//!
//! Any replicas take part in a run, writes fail, clients count between all steps; then a run is undone, where some
//! replicas are out of reach and some were written since, at once or after another run. In the end everybody is there,
//! and the total is what clients added, no more and no less. The smallest form of this is a program of forty lines in
//! the notes of the design; without the rules of the undo, most totals are wrong there.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use reknit::crdt::integer;
use reknit::model::{
    DbIndex, Field, HashRule, Key, Keyspace, KeyspaceName, Keyspaces, Millis, Op, OwnerToken,
    ReplicaId, RunNumber, Selection, State as KeyState, StringRule, Value,
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

    fn some(&mut self, percent: u64) -> Vec<usize> {
        (0..REPLICAS).filter(|_| self.chance(percent)).collect()
    }
}

/// What is counted: a string, or a field of a hash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    String,
    Field,
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

    async fn undo(&mut self, present: &[usize], undone: RunNumber) {
        let number = self.begin(Some(undone));
        let job = self.job(present, number, None);
        let request = UndoRequest {
            undone,
            ..UndoRequest::default()
        };
        undo(&job, &request, &mut Deaf).await.unwrap();
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

    /// Clients count at some replicas; answers what they added.
    fn count(&self, random: &mut Random, shape: Shape, key: &Key, percent: u64) -> i64 {
        let mut added = 0;
        for replica in random.some(percent) {
            let step = [1, 2, 3, 5][(random.next() % 4) as usize];
            let number = self.number(replica, key) + step;
            let client = self.replicas[replica].client();
            match shape {
                Shape::String if number == step => {
                    let value = Value::String(number.to_string().into());
                    client.set_state(key, Some(KeyState::lasting(value)));
                }
                Shape::String => client.apply(key, &Op::IncreaseBy(step)).unwrap(),
                Shape::Field => {
                    let field = Field::lasting(number.to_string());
                    let fields = BTreeMap::from([(Bytes::from_static(b"f"), field)]);
                    client.set_state(key, Some(KeyState::lasting(Value::Hash(fields))));
                }
            }
            added += step;
        }
        added
    }

    async fn history(&mut self, seed: u64, shape: Shape, later: bool) -> Result<(), String> {
        let mut random = Random(seed);
        let key = Key::from(format!("{seed}-{later}-{}", shape == Shape::String).as_str());
        let mut total = 0;
        for _ in 0..STEPS {
            total += self.count(&mut random, shape, &key, 50);
            let present = random.some(70);
            if present.len() < 2 {
                continue;
            }
            self.fail(&mut random, 20);
            let number = self.repair(&present, Some(&key)).await;
            self.fail(&mut random, 0);
            if !random.chance(40) {
                continue;
            }
            if later {
                total += self.count(&mut random, shape, &key, 20);
                let present = random.some(40);
                if present.len() >= 2 {
                    self.repair(&present, Some(&key)).await;
                }
            }
            total += self.count(&mut random, shape, &key, 30);
            let reach = random.some(80);
            if !reach.is_empty() {
                self.fail(&mut random, 10);
                self.undo(&reach, number).await;
                self.fail(&mut random, 0);
            }
        }
        self.repair(&[0, 1, 2, 3], Some(&key)).await;
        let found: Vec<i64> = (0..REPLICAS)
            .map(|replica| self.number(replica, &key))
            .collect();
        match found.iter().all(|number| *number == total) {
            true => Ok(()),
            false => Err(format!("seed {seed}: {found:?} instead of {total}")),
        }
    }
}

async fn histories(shape: Shape, later: bool) {
    let mut world = World::new().await;
    let mut wrong = Vec::new();
    for seed in 0..seeds() {
        wrong.extend(world.history(seed, shape, later).await.err());
    }
    let shown = wrong
        .iter()
        .take(10)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        wrong.is_empty(),
        "{} totals are wrong\n{shown}",
        wrong.len()
    );
}

#[tokio::test]
async fn totals_are_exact_after_the_last_run_was_undone() {
    histories(Shape::String, false).await;
}

#[tokio::test]
async fn totals_are_exact_after_a_run_was_undone_that_others_followed() {
    histories(Shape::String, true).await;
}

#[tokio::test]
async fn fields_that_count_are_exact_after_an_undo() {
    histories(Shape::Field, false).await;
    histories(Shape::Field, true).await;
}
