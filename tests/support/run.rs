//! A run that a test makes by itself: without memory, limits and pauses, by a clock that stands still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reknit::clock::ManualClock;
use reknit::model::{
    Datacenter, DbIndex, DigestKey, Key, Keyspaces, Millis, Selection, State, Value,
};
use reknit::repair::{
    Breaker, Finding, Listener, Mode, Participant, Progress, Rates, Run, Scope, Settings, Summary,
    Throttle, run,
};
use reknit::store::{MemoryReplica, Replica};
use tokio_util::sync::CancellationToken;

/// The run of this mode over replicas in this order, each in a datacenter of its own name.
pub(crate) fn run_over(
    replicas: impl IntoIterator<Item = Arc<dyn Replica>>,
    mode: Mode,
    now: Millis,
) -> Run {
    let participant = |replica: Arc<dyn Replica>| Participant {
        datacenter: Datacenter(replica.name().0.clone()),
        default_db: DbIndex(0),
        replica,
    };
    let clock = Arc::new(ManualClock::new(now));
    let (throttle, stop) = (
        Throttle::new(clock.clone(), Rates::UNLIMITED),
        CancellationToken::new(),
    );
    let participants: Vec<Participant> = replicas.into_iter().map(participant).collect();
    Run {
        participants: throttle.pace(&participants, &stop),
        throttle: Arc::new(throttle),
        scope: Scope::new(Keyspaces::new(Vec::new()), Selection::default()),
        settings: settings(mode),
        segments: BTreeMap::new(),
        digest_key: DigestKey::new([7; 32]),
        tag: 7,
        clock,
        stop,
        progress: Arc::new(Progress::default()),
        memory: None,
        journal: None,
    }
}

fn settings(mode: Mode) -> Settings {
    Settings {
        mode,
        memory: 1 << 30,
        settle: Duration::ZERO,
        limit: None,
        force_markers: false,
        breaker: Breaker::default(),
        replicates: false,
        max_skew: Duration::from_secs(60),
        tombstone_grace: Duration::from_secs(60),
    }
}

/// Listens to nothing.
pub(crate) struct Nobody;

impl Listener for Nobody {
    fn finding(&mut self, _finding: &Finding) {}
}

/// Remembers every finding.
#[derive(Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Listener for Findings {
    fn finding(&mut self, finding: &Finding) {
        self.0.push(finding.clone());
    }
}

impl Findings {
    /// The one finding of a key.
    #[track_caller]
    pub(crate) fn of(&self, key: &str) -> &Finding {
        let mut found = self.0.iter().filter(|one| one.key == Key::from(key));
        let first = found.next().expect("a finding");
        assert!(found.next().is_none(), "{key} was decided twice");
        first
    }
}

/// The time at replicas in memory.
pub(crate) const NOW: Millis = Millis(1_700_000_000_000);

/// Empty replicas in memory.
pub(crate) fn replicas<const COUNT: usize>(names: [&str; COUNT]) -> [MemoryReplica; COUNT] {
    names.map(|name| {
        let replica = MemoryReplica::new(name, 1);
        replica.set_now(NOW);
        replica
    })
}

/// Sets a string.
pub(crate) fn put(replica: &MemoryReplica, key: &str, value: &str) {
    let state = State::lasting(Value::String(value.to_owned().into()));
    replica.client().set_state(&Key::from(key), Some(state));
}

/// The run of this mode over replicas in memory.
pub(crate) fn job(replicas: &[MemoryReplica], mode: Mode) -> Run {
    let shared = replicas.iter().cloned();
    run_over(
        shared.map(|one| Arc::new(one) as Arc<dyn Replica>),
        mode,
        NOW,
    )
}

/// What came of a run.
pub(crate) async fn told(job: &Run) -> (Summary, Findings) {
    let mut findings = Findings::default();
    let summary = run(job, &mut findings).await.expect("a run to its end");
    (summary, findings)
}
