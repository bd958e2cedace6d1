//! The limits of a run, which can be changed while it works.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::ReplicaName;
use crate::repair::run::Participant;
use crate::store::Replica;

use super::paced::Paced;
use super::pacer::Pacer;
use super::{NodeHealth, Rates, Reason};

/// The limits that hold now, and who waits for them to change.
pub(super) struct Live {
    setting: Mutex<(Rates, bool)>,
    changed: watch::Sender<()>,
}

impl Live {
    pub(super) fn setting(&self) -> (Rates, bool) {
        *self.lock()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn change(&self) {
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, (Rates, bool)> {
        self.setting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How gently a run works: limits that can be changed while it does, a switch to pause it, and per replica how long was
/// waited and why. Several runs may share one, one after the other.
pub struct Throttle {
    clock: Arc<dyn Clock>,
    live: Arc<Live>,
    pacers: Mutex<Vec<Arc<Pacer>>>,
    /// How often nodes are looked at; nothing: not at all.
    pub(super) probing: Option<Duration>,
}

impl Throttle {
    /// How often a node's health is looked at, usually.
    pub const PROBING: Duration = Duration::from_secs(1);

    /// A throttle with these limits, which does not look at the nodes' health.
    pub fn new(clock: Arc<dyn Clock>, rates: Rates) -> Self {
        Self {
            clock,
            live: Arc::new(Live {
                setting: Mutex::new((rates, false)),
                changed: watch::Sender::new(()),
            }),
            pacers: Mutex::new(Vec::new()),
            probing: None,
        }
    }

    /// The same, which looks at the nodes' health this often while a run works, and waits for those that are not well.
    #[must_use]
    pub fn probing(mut self, every: Duration) -> Self {
        self.probing = Some(every);
        self
    }

    /// The limits that hold now.
    pub fn rates(&self) -> Rates {
        self.live.setting().0
    }

    /// Changes the limits, at once also for what is being waited for.
    pub fn set(&self, rates: Rates) {
        let before = std::mem::replace(&mut self.live.lock().0, rates);
        if before != rates {
            tracing::info!(%rates, "the limits are changed");
        }
        self.live.change();
    }

    /// Holds everything up, within a page or a batch, until [`Throttle::resume`] or the run is to stop.
    pub fn pause(&self) {
        self.switch(true, "the run is paused");
    }

    /// Lets a paused run go on.
    pub fn resume(&self) {
        self.switch(false, "the run goes on");
    }

    /// Whether everything is held up.
    pub fn is_paused(&self) -> bool {
        self.live.setting().1
    }

    fn switch(&self, pause: bool, words: &str) {
        let before = std::mem::replace(&mut self.live.lock().1, pause);
        if before != pause {
            tracing::info!("{words}");
        }
        self.live.change();
    }

    /// How long was waited so far, by replica and reason; what was not waited for is left out.
    pub fn waits(&self) -> Vec<(ReplicaName, Reason, Duration)> {
        let pacers = self.pacers();
        let of_one = |pacer: &Arc<Pacer>| {
            let name = pacer.name.clone();
            let listed: Vec<_> = pacer.waited.list().collect();
            listed
                .into_iter()
                .map(move |(reason, waited)| (name.clone(), reason, waited))
        };
        pacers.iter().flat_map(of_one).collect()
    }

    /// How long was waited since an earlier account.
    pub(crate) fn waits_since(
        &self,
        earlier: &[(ReplicaName, Reason, Duration)],
    ) -> Vec<(ReplicaName, Reason, Duration)> {
        let since = |(name, reason, waited): (ReplicaName, Reason, Duration)| {
            let before = earlier.iter().find(|one| one.0 == name && one.1 == reason);
            let more = waited.saturating_sub(before.map_or(Duration::ZERO, |one| one.2));
            (!more.is_zero()).then_some((name, reason, more))
        };
        self.waits().into_iter().filter_map(since).collect()
    }

    /// What each replica is being waited for at this moment; nothing, where work goes on.
    pub fn waiting_for(&self) -> Vec<(ReplicaName, Option<Reason>)> {
        let of_one = |pacer: &Arc<Pacer>| (pacer.name.clone(), pacer.waiting_for());
        self.pacers().iter().map(of_one).collect()
    }

    /// The latest look at each node, as far as there was one; nodes are looked at while a run works.
    pub fn health(&self) -> Vec<NodeHealth> {
        let pacers = self.pacers();
        pacers.iter().filter_map(|pacer| pacer.health()).collect()
    }

    /// The participants of a run that is to keep to these limits, with replicas that do.
    pub fn pace(&self, participants: &[Participant], stop: &CancellationToken) -> Vec<Participant> {
        let paced = |one: &Participant| {
            let pacer = self.pacer(one.replica.name());
            let replica = Paced::new(one.replica.clone(), pacer, stop.clone());
            Participant {
                replica: Arc::new(replica) as Arc<dyn Replica>,
                ..one.clone()
            }
        };
        participants.iter().map(paced).collect()
    }

    /// The pacer of a replica; made when it is first asked for.
    pub(super) fn pacer(&self, name: &ReplicaName) -> Arc<Pacer> {
        let mut pacers = self.pacers();
        if let Some(known) = pacers.iter().find(|pacer| pacer.name == *name) {
            return Arc::clone(known);
        }
        let (clock, live) = (Arc::clone(&self.clock), Arc::clone(&self.live));
        let pacer = Arc::new(Pacer::new(name.clone(), clock, live));
        pacers.push(Arc::clone(&pacer));
        pacer
    }

    fn pacers(&self) -> MutexGuard<'_, Vec<Arc<Pacer>>> {
        self.pacers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
