//! Two replicas in memory and a state directory, and the runs over them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use reknit::clock::ManualClock;
use reknit::model::{
    Datacenter, DbIndex, DigestKey, Key, Keyspaces, Millis, OwnerToken, Selection, State, Value,
};
use reknit::repair::{
    Breaker, Finding, Listener, Mode, Participant, Progress, Rates, Run, RunMemory, Scope,
    Settings, Summary, Throttle, run,
};
use reknit::state::{Opening, Retention, RunEnd, RunStart, State as StateDir};
use reknit::store::{MemoryReplica, Replica};

/// Bytes of a key.
pub(crate) const KEY_BYTES: u64 = 20;

const NOW: Millis = Millis(1_700_000_000_000);
const HISTORY: Duration = Duration::from_secs(7 * 24 * 3600);
const JOURNAL: Retention = Retention {
    age: Duration::from_secs(30 * 24 * 3600),
    bytes: 10 << 30,
};

/// Two replicas and what is remembered of them.
pub(crate) struct Site {
    replicas: [MemoryReplica; 2],
    pub(crate) dir: PathBuf,
    memory: u64,
    runs: u64,
    changes: u64,
}

impl Site {
    /// Replicas that hold the same keys; the values are shared.
    pub(crate) fn new(keys: u64, memory: u64, dir: PathBuf) -> Self {
        let replicas = [("us", 1), ("eu", 2)].map(|(name, seed)| {
            let replica = MemoryReplica::new(name, seed);
            replica.set_now(NOW);
            replica
        });
        let clients = replicas.each_ref().map(MemoryReplica::client);
        for number in 0..keys {
            let (key, value) = (key(number), text(format!("value:{number}")));
            for client in &clients {
                client.set_state(&key, Some(value.clone()));
            }
        }
        Self {
            replicas,
            dir,
            memory,
            runs: 0,
            changes: 0,
        }
    }

    /// Changes so many keys at the first replica.
    pub(crate) fn change(&mut self, keys: u64) {
        self.changes += 1;
        let client = self.replicas[0].client();
        for number in 0..keys {
            let value = text(format!("change {}:{number}", self.changes));
            client.set_state(&key(number), Some(value));
        }
    }

    /// A repair, with a memory from its opening to its closing, or without one.
    pub(crate) async fn run(&mut self, remembers: bool) -> Result<Summary> {
        self.runs += 1;
        let mut job = self.job();
        if !remembers {
            return Ok(run(&job, &mut Nobody).await?);
        }
        let state = StateDir::open(Opening {
            dir: &self.dir,
            now: NOW,
            purpose: "bench",
            random: [9; 64],
        })?;
        let number = state.begin_run(RunStart {
            at: NOW,
            purpose: "bench".into(),
            replicas: Vec::new(),
            undoes: None,
        })?;
        job.digest_key = state.digest_key();
        job.memory = Some(self.memory(&state, number)?);
        let summary = run(&job, &mut Nobody).await?;
        let end = RunEnd {
            at: NOW,
            result: "done".into(),
            exit: 0,
            note: None,
            counts: BTreeMap::new(),
        };
        state.end_run(number, end)?;
        state.prune(NOW, HISTORY, JOURNAL)?;
        Ok(summary)
    }

    fn memory(&self, state: &StateDir, run: reknit::model::RunNumber) -> Result<RunMemory> {
        let mut ids = Vec::new();
        for (index, replica) in self.replicas.iter().enumerate() {
            ids.push(state.enrol(replica.name(), [index as u8 + 1; 8], NOW)?);
        }
        Ok(RunMemory {
            state: state.clone(),
            run,
            owner: OwnerToken(self.runs.to_be_bytes()),
            ids,
            others: Vec::new(),
            elements: 4096,
            replicates: false,
            release_held: false,
            digest: None,
            taken_up: None,
        })
    }

    fn job(&self) -> Run {
        let clock = Arc::new(ManualClock::new(NOW));
        let (throttle, stop) = (
            Throttle::new(clock.clone(), Rates::UNLIMITED),
            CancellationToken::new(),
        );
        let participants: Vec<Participant> = self
            .replicas
            .iter()
            .map(|replica| Participant {
                datacenter: Datacenter(replica.name().0.clone()),
                default_db: DbIndex(0),
                replica: Arc::new(replica.clone()),
            })
            .collect();
        Run {
            participants: throttle.pace(&participants, &stop),
            throttle: Arc::new(throttle),
            scope: Scope::new(Keyspaces::new(Vec::new()), Selection::default()),
            settings: Settings {
                mode: Mode::Repair,
                memory: self.memory,
                settle: Duration::ZERO,
                limit: None,
                // The replicas carry the markers of the runs with a memory.
                force_markers: true,
                breaker: Breaker::default(),
                replicates: false,
                max_skew: Duration::from_secs(60),
                tombstone_grace: Duration::from_secs(60),
            },
            segments: BTreeMap::new(),
            digest_key: DigestKey::new([7; 32]),
            tag: u128::from(self.runs),
            clock,
            stop,
            progress: Arc::new(Progress::default()),
            memory: None,
            journal: None,
        }
    }
}

/// Listens to nothing.
struct Nobody;

impl Listener for Nobody {
    fn finding(&mut self, _finding: &Finding) {}
}

/// A key of [`KEY_BYTES`] bytes; an odd factor scatters the numbers.
fn key(number: u64) -> Key {
    Key::new(format!(
        "user:{:015}",
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000_000_000
    ))
}

fn text(value: String) -> State {
    State::lasting(Value::String(value.into()))
}
