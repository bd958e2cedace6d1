//! Replicas in memory, and the state directory whose runs repair them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reknit::model::{
    DbIndex, Glob, Keyspace, KeyspaceName, Keyspaces, ListRule, Millis, OwnerToken, Preference,
    ReplicaId, Selection, StringRule,
};
use reknit::repair::{Mode, Run, RunError, RunMemory, Scope, Summary, run};
use reknit::state::{Opening, RunStart, State, StateError};
use reknit::store::{Data, MemoryReplica, Replica, Step};
use tempfile::TempDir;

use super::edge::Edge;
use super::watch::{RunWatch, Trouble};
use super::world::{Clients, NOW, World};
use crate::support::run::{Nobody, run_over};

/// Replicas and a state directory.
pub(crate) struct Site {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) replicas: Vec<MemoryReplica>,
    pub(crate) ids: Vec<ReplicaId>,
    pub(crate) state: Option<State>,
    pub(crate) databases: Vec<DbIndex>,
    pub(crate) keyspaces: Keyspaces,
    /// Collections with more elements are remembered by whole key.
    pub(crate) elements: usize,
    pub(crate) now: Millis,
    dir: TempDir,
    runs: u64,
    random: [u8; 64],
}

/// What a run came to.
pub(crate) enum Ended {
    Done(Box<Summary>),
    Failed(RunError),
    Died,
}

/// A run to be made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The replicas that take part.
    pub(crate) present: Vec<usize>,
    pub(crate) selection: Selection,
    pub(crate) trouble: Trouble,
}

/// Where directories cost nothing.
pub(crate) fn fast_dir() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// The keyspaces of a history: counters by name, registers under `greatest`.
pub(crate) fn keyspaces(list: ListRule, databases: &[DbIndex]) -> Keyspaces {
    let of = |db: &DbIndex| {
        let db = (*db != DbIndex(0)).then_some(*db);
        let named = |name: &str, pattern: &str| {
            let number = db.map_or(0, |DbIndex(number)| number);
            let mut keyspace = Keyspace {
                name: KeyspaceName(format!("{name}{number}")),
                db,
                pattern: Glob::new(pattern),
                ..Keyspace::everything()
            };
            keyspace.policy.prefer = vec![Preference::Greatest];
            keyspace.policy.rules.list = list;
            keyspace
        };
        let mut counters = named("counters", "count*");
        counters.policy.rules.string = StringRule::Counter;
        [counters, named("rest", "*")]
    };
    Keyspaces::new(databases.iter().flat_map(of).collect())
}

impl Site {
    pub(crate) fn new(world: World, databases: Vec<DbIndex>, keyspaces: Keyspaces) -> Self {
        let replica = |index: usize| {
            let replica = MemoryReplica::new(&format!("r{index}"), index as u64 + 1);
            replica.set_now(NOW);
            replica
        };
        let replicas: Vec<MemoryReplica> = (0..world.holders.len()).map(replica).collect();
        let world = Arc::new(Mutex::new(world));
        for (index, replica) in replicas.iter().enumerate() {
            let world = Arc::clone(&world);
            let script = move |step: Step<'_>, db: DbIndex, data: &mut Data| {
                world.lock().unwrap().at(index, step, db, data)
            };
            replica.set_faults(Some(Box::new(script)));
        }
        let mut site = Self {
            world,
            ids: Vec::new(),
            replicas,
            state: None,
            databases,
            keyspaces,
            elements: 100,
            now: NOW,
            dir: fast_dir(),
            runs: 0,
            random: [9; 64],
        };
        site.reopen();
        site
    }

    /// A process that ended takes its threads along; here one that lists agreements may live a moment longer.
    fn open(&self) -> State {
        loop {
            let opened = State::open(Opening {
                dir: self.dir.path(),
                now: self.now,
                purpose: "model",
                random: self.random,
            });
            match opened {
                Err(StateError::Locked { .. }) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    /// The process ends, and another one begins.
    pub(crate) fn reopen(&mut self) {
        self.state = None;
        let state = self.open();
        let enrol = |(index, replica): (usize, &MemoryReplica)| {
            state
                .enrol(replica.name(), [index as u8 + 1; 8], NOW)
                .unwrap()
        };
        self.ids = self.replicas.iter().enumerate().map(enrol).collect();
        self.state = Some(state);
    }

    /// Another state directory, and a new one.
    pub(crate) fn replace_directory(&mut self, random: [u8; 64]) {
        self.state = None;
        self.dir = fast_dir();
        self.random = random;
        self.reopen();
    }

    pub(crate) fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    /// The clients of a replica.
    pub(crate) fn clients(&self, replica: usize) -> Clients {
        let of = |db: &DbIndex| (*db, self.replicas[replica].client_of(*db));
        Clients(self.databases.iter().map(of).collect::<BTreeMap<_, _>>())
    }

    /// One client of a replica does something.
    pub(crate) fn client(&self, replica: usize) {
        let mut clients = self.clients(replica);
        self.world.lock().unwrap().client(replica, &mut clients);
    }

    /// What was on its way to a replica arrives.
    pub(crate) fn deliver_late(&self, replica: usize) {
        let arrived = self.replicas[replica].deliver_late();
        let mut clients = self.clients(replica);
        let mut world = self.world.lock().unwrap();
        let late = std::mem::take(&mut world.holders[replica].late);
        world.tell(|| format!("{arrived} late transactions took effect at {replica}"));
        for (place, merge) in late {
            let before = world.holders[replica].states.get(&place).cloned();
            world.look(replica, &place, &mut clients);
            if world.holders[replica].states.get(&place) != before.as_ref() {
                world.arrive(replica, &place, &merge);
            }
        }
    }

    fn job(&mut self, plan: &Plan) -> Run {
        self.runs += 1;
        let state = self.state().clone();
        let number = state
            .begin_run(RunStart {
                at: self.now,
                purpose: "model".into(),
                replicas: Vec::new(),
                undoes: None,
            })
            .unwrap();
        let members = plan.present.iter().map(|index| {
            Arc::new(Edge {
                number: *index,
                replica: self.replicas[*index].clone(),
                world: Arc::clone(&self.world),
            }) as Arc<dyn Replica>
        });
        let mut job = run_over(members, Mode::Repair, self.now);
        job.digest_key = state.digest_key();
        job.scope = Scope::new(self.keyspaces.clone(), plan.selection.clone());
        job.settings.settle = Duration::ZERO;
        let absent = (0..self.ids.len()).filter(|index| !plan.present.contains(index));
        job.memory = Some(RunMemory {
            run: number,
            owner: OwnerToken((self.runs + 100).to_be_bytes()),
            ids: plan.present.iter().map(|index| self.ids[*index]).collect(),
            others: absent.map(|index| self.ids[index]).collect(),
            elements: self.elements,
            replicates: false,
            release_held: false,
            digest: None,
            taken_up: None,
            state,
        });
        job
    }

    /// Makes a run.
    pub(crate) async fn run(&mut self, plan: &Plan) -> (Ended, RunWatch) {
        let job = self.job(plan);
        let watch = RunWatch::new(self.state().clone(), plan.trouble);
        self.world.lock().unwrap().begin(watch, plan);
        let world = Arc::clone(&self.world);
        let died = std::future::poll_fn(move |context| {
            let is_dead = world
                .lock()
                .unwrap()
                .run
                .as_ref()
                .is_some_and(|run| run.is_dead);
            // Asked again with everything else that is waited for.
            context.waker().wake_by_ref();
            match is_dead {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        let mut nobody = Nobody;
        let ended = tokio::select! {
            biased;
            ended = run(&job, &mut nobody) => match ended {
                Ok(summary) => Ended::Done(Box::new(summary)),
                Err(error) => Ended::Failed(error),
            },
            () = died => Ended::Died,
        };
        drop(job);
        let mut world = self.world.lock().unwrap();
        let watch = world.learned();
        world.tell(|| match &ended {
            Ended::Done(summary) => {
                format!(
                    "done: {:?} learned {} forgetful {:?}",
                    summary.verdicts, summary.learned, summary.forgetful
                )
            }
            Ended::Failed(error) => format!("failed: {error}"),
            Ended::Died => "died".into(),
        });
        drop(world);
        (ended, watch)
    }
}
