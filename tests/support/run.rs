//! A run that a test makes by itself: without memory, limits and pauses, by a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use reknit::clock::ManualClock;
use reknit::model::{Datacenter, DbIndex, DigestKey, Keyspaces, Millis, Selection};
use reknit::repair::{
    Breaker, Finding, Listener, Mode, Participant, Progress, Run, Scope, Settings,
};
use reknit::store::Replica;
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
    Run {
        participants: replicas.into_iter().map(participant).collect(),
        scope: Scope::new(Keyspaces::new(Vec::new()), Selection::default()),
        settings: settings(mode),
        digest_key: DigestKey::new([7; 32]),
        tag: 7,
        clock: Arc::new(ManualClock::new(now)),
        stop: CancellationToken::new(),
        progress: Arc::new(Progress::default()),
        memory: None,
    }
}

fn settings(mode: Mode) -> Settings {
    Settings {
        mode,
        keys_per_second: 0,
        bytes_per_second: 0,
        memory: 1 << 30,
        settle: Duration::ZERO,
        limit: None,
        force_markers: false,
        breaker: Breaker::default(),
    }
}

/// Listens to nothing.
pub(crate) struct Nobody;

impl Listener for Nobody {
    fn finding(&mut self, _finding: &Finding) {}
}
