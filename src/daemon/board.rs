//! What a run of the service shows of itself while it works, and keeps of itself when it has ended.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::app::counts_of;
use crate::model::{Datacenter, Millis, ReplicaName};
use crate::repair::{Finding, Listener, Participant, Phase, Progress, Summary};
use crate::store::{Replica, Usage};

use super::order::{Order, What};
use super::segments::{Segment, Tally};

mod undone;

pub(super) use undone::PinnedUndo;
pub use undone::Undone;

/// How many divergences of a run are kept to be shown; the rest is counted.
pub const DIVERGENCES_KEPT: usize = 10_000;

/// How many of them are kept of a run before the latest two: each takes about a kilobyte.
pub const DIVERGENCES_KEPT_LONG: usize = 1000;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It has not begun.
    Planned,
    /// It works.
    Running,
    /// It waits until it is resumed.
    Paused,
    /// All took part; what differed is repaired or reported.
    Done,
    /// A replica, a segment or a key did not take part.
    Partial,
    /// It came to nothing.
    Failed,
    /// A guard, its window, its deadline or an operator ended it.
    Stopped,
}

impl RunState {
    /// All states, in this order.
    pub const ALL: [Self; 7] = [
        Self::Planned,
        Self::Running,
        Self::Paused,
        Self::Done,
        Self::Partial,
        Self::Failed,
        Self::Stopped,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether nothing further happens in it.
    pub fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Partial | Self::Failed | Self::Stopped
        )
    }
}

/// Why a run was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// An operator cancelled it.
    Cancelled,
    /// Its window closed.
    Window,
    /// It took longer than its deadline.
    Deadline,
    /// The service ends.
    Shutdown,
}

impl StopReason {
    /// In words; whether another goes on with it.
    pub fn words(self, goes_on: bool) -> &'static str {
        match (self, goes_on) {
            (Self::Cancelled, _) => "cancelled by an operator",
            (Self::Window, true) => "its window closed: it goes on in the next one",
            (Self::Window, false) => "its window closed: the next one begins anew",
            (Self::Deadline, _) => "it took longer than its deadline",
            (Self::Shutdown, true) => "the service ended: it goes on when that is back",
            (Self::Shutdown, false) => {
                "the service ended: what it did stays, for the rest ask for it again when that is back"
            }
        }
    }
}

/// A run on the board.
pub struct Card {
    /// Its number: that of the log of runs, where there is memory.
    pub id: u64,
    /// What it does, in words.
    pub purpose: String,
    /// What it was asked.
    pub order: Order,
    /// When it was asked.
    pub asked: Millis,
    /// Its replicas, in datacenter order.
    pub replicas: Vec<(ReplicaName, Datacenter)>,
    /// Whether what it finishes is noted, so that another can go on with it.
    pub is_noted: bool,
    /// How far the present segment has come.
    pub progress: Arc<Progress>,
    /// Tells it to stop.
    pub stop: CancellationToken,
    connections: Mutex<Connections>,
    inner: Mutex<Inner>,
    undone: Mutex<Undone>,
}

/// The connections of a run that works, and of one that has ended what was moved over them.
#[derive(Default)]
struct Connections {
    open: Vec<Arc<dyn Replica>>,
    used: Vec<Usage>,
}

impl Connections {
    fn used(&self) -> Vec<Usage> {
        match self.open.is_empty() {
            true => self.used.clone(),
            false => self.open.iter().map(|replica| replica.usage()).collect(),
        }
    }

    fn close(&mut self) {
        self.used = self.used();
        self.open.clear();
    }
}

/// What changes of a run.
#[derive(Debug, Clone)]
struct Inner {
    state: RunState,
    stopping: Option<StopReason>,
    ended: Option<Millis>,
    trouble: Option<String>,
    segments: Tally,
    current: Option<String>,
    given_up: Vec<(String, String)>,
    summary: Option<Summary>,
    divergences: Vec<Finding>,
    counted: u64,
}

/// A run as it stands at one moment.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its state.
    pub state: RunState,
    /// Why it was told to stop.
    pub stopping: Option<StopReason>,
    /// When it ended.
    pub ended: Option<Millis>,
    /// Why it came to nothing, or not to its end.
    pub trouble: Option<String>,
    /// Its segments.
    pub segments: Tally,
    /// The segment that is worked on.
    pub current: Option<String>,
    /// Segments that were given up, and why.
    pub given_up: Vec<(String, String)>,
    /// What it has come to; of a run that goes on, what its ended segments have.
    pub summary: Option<Summary>,
    /// Keys found so far that differ.
    pub divergences: u64,
    /// What it is doing.
    pub phase: Phase,
    /// Keys read so far in this segment, on all replicas together.
    pub scanned: u64,
    /// Keys that it expects to read in this segment; 0 if that is not known.
    pub expected: u64,
}

impl Card {
    /// A run that has not begun.
    pub fn new(
        id: u64,
        order: Order,
        asked: Millis,
        replicas: Vec<(ReplicaName, Datacenter)>,
    ) -> Self {
        Self {
            id,
            purpose: order.purpose(),
            order,
            asked,
            replicas,
            is_noted: false,
            progress: Arc::default(),
            stop: CancellationToken::new(),
            connections: Mutex::default(),
            undone: Mutex::default(),
            inner: Mutex::new(Inner {
                state: RunState::Planned,
                stopping: None,
                ended: None,
                trouble: None,
                segments: Tally::default(),
                current: None,
                given_up: Vec::new(),
                summary: None,
                divergences: Vec::new(),
                counted: 0,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was moved to and from each of its replicas so far; empty before it works.
    pub fn used(&self) -> Vec<Usage> {
        self.connections().used()
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let inner = self.inner();
        Standing {
            state: inner.state,
            stopping: inner.stopping,
            ended: inner.ended,
            trouble: inner.trouble.clone(),
            segments: inner.segments,
            current: inner.current.clone(),
            given_up: inner.given_up.clone(),
            summary: inner.summary.clone(),
            divergences: inner.counted,
            phase: self.progress.phase(),
            scanned: self.progress.scanned(),
            expected: self.progress.expected.load(Ordering::Relaxed),
        }
    }

    /// Whether another goes on with it once it was cut off: a schedule's, where there is memory.
    pub fn goes_on(&self) -> bool {
        self.is_noted && self.order.schedule.is_some()
    }

    /// Its state.
    pub fn state(&self) -> RunState {
        self.inner().state
    }

    /// What it came to, or has come to so far, by name: writes by what became of them, of an undo. Noughts are left out.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        match (&self.inner().summary, &self.order.what) {
            (Some(summary), _) => counts_of(summary),
            (None, What::Compare(..)) => BTreeMap::new(),
            (None, What::Undo(_)) => {
                let undone = self.undone(0, 0).counts.into_iter();
                undone
                    .map(|(fate, count)| (fate.to_owned(), count))
                    .collect()
            }
        }
    }

    /// Some of its divergences, in the order in which they were decided, and how many there are. Beyond
    /// [`DIVERGENCES_KEPT`] they are only counted.
    pub fn divergences(&self, from: usize, most: usize) -> (Vec<Finding>, u64) {
        let inner = self.inner();
        let page = inner.divergences.iter().skip(from).take(most);
        (page.cloned().collect(), inner.counted)
    }

    /// Lets go of divergences that are not kept for long.
    pub(super) fn shorten(&self) {
        let mut inner = self.inner();
        inner.divergences.truncate(DIVERGENCES_KEPT_LONG);
        inner.divergences.shrink_to_fit();
        drop(inner);
        self.shorten_undone();
    }

    /// Tells it to stop. The first reason counts.
    pub fn end_early(&self, reason: StopReason) {
        self.inner().stopping.get_or_insert(reason);
        self.stop.cancel();
    }

    /// Pauses or resumes it. Answers whether it can be.
    pub(super) fn set_paused(&self, paused: bool) -> bool {
        let mut inner = self.inner();
        if inner.state.is_ended() || inner.stopping.is_some() {
            return false;
        }
        inner.state = match paused {
            true => RunState::Paused,
            false => RunState::Running,
        };
        true
    }

    pub(super) fn begin(&self) {
        let mut inner = self.inner();
        if inner.state == RunState::Planned {
            inner.state = RunState::Running;
        }
    }

    pub(super) fn works_on(&self, segment: Option<&Segment>, segments: Tally) {
        let mut inner = self.inner();
        inner.current = segment.map(ToString::to_string);
        inner.segments = segments;
    }

    pub(super) fn works_with(&self, participants: &[Participant]) {
        let open = participants.iter().map(|one| one.replica.clone());
        self.connections().open = open.collect();
    }

    pub(super) fn gave_up(&self, segment: &Segment, reason: &str) {
        let entry = (segment.to_string(), reason.to_owned());
        self.inner().given_up.push(entry);
    }

    /// What its segments have come to so far.
    pub(super) fn came_to(&self, summary: &Summary) {
        self.inner().summary = Some(summary.clone());
    }

    pub(super) fn end(&self, state: RunState, trouble: Option<String>, now: Millis) {
        let mut inner = self.inner();
        (inner.state, inner.trouble, inner.ended) = (state, trouble, Some(now));
        inner.current = None;
        drop(inner);
        self.connections().close();
    }
}

/// Keeps what a run finds on its card, and passes it on.
pub(super) struct Pinned<'a> {
    pub(super) card: &'a Card,
    pub(super) told: &'a (dyn Fn(&Finding) + Send + Sync),
}

impl Listener for Pinned<'_> {
    fn finding(&mut self, finding: &Finding) {
        (self.told)(finding);
        let mut inner = self.card.inner();
        inner.counted += 1;
        if inner.divergences.len() < DIVERGENCES_KEPT {
            inner.divergences.push(finding.clone());
        }
    }
}
