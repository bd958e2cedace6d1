//! What everybody sees of the service, and where its commands are handed in.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::model::{Intensity, Millis};
use crate::repair::{Rates, Throttle};
use crate::state::State;

use super::board::Card;
use super::metrics::Metrics;
use super::order::Order;
use super::planner::ScheduleStatus;

/// How many runs are kept with their divergences; earlier ones are in the log of runs.
const CARDS_KEPT: usize = 20;

/// How many commands may wait.
const COMMANDS: usize = 64;

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nothing of that name or number.
    #[error("there is no {0}")]
    Unknown(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Conflict(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The service ends.
    #[error("the service is stopping")]
    Stopping,
    /// Something else is in the way: the state directory, say.
    #[error("{0}")]
    Trouble(String),
}

/// Where the answer to a command goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// What an operator may ask of the service.
#[derive(Debug)]
pub enum Command {
    /// Begins a run. Answers its number.
    Start(Box<Order>, Reply<u64>),
    /// Begins a run of a schedule as soon as none works. Answers nothing: it may have to wait.
    RunNow(String, Reply<()>),
    /// Takes back what [`Command::RunNow`] asked for, if it has not begun.
    Withdraw(String, Reply<()>),
    /// Pauses a run.
    Pause(u64, Reply<()>),
    /// Resumes a run.
    Resume(u64, Reply<()>),
    /// Ends a run.
    Cancel(u64, Reply<()>),
    /// Pauses a schedule, or resumes it.
    PauseSchedule(String, bool, Reply<()>),
    /// Sets limits, until the configuration is read anew.
    SetLimits(Change, Reply<()>),
    /// Reads the configuration anew.
    Reload(Reply<()>),
}

/// Limits that are to be set; nothing where one stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Change {
    /// Keys per second; inside, nothing means unlimited.
    pub keys_per_second: Option<Option<NonZeroU64>>,
    /// Bytes per second; inside, nothing means unlimited.
    pub bytes_per_second: Option<Option<NonZeroU64>>,
    /// The share of time spent working.
    pub intensity: Option<Intensity>,
}

impl Change {
    /// These limits with the change.
    pub fn of(self, rates: Rates) -> Rates {
        Rates {
            keys_per_second: self.keys_per_second.unwrap_or(rates.keys_per_second),
            bytes_per_second: self.bytes_per_second.unwrap_or(rates.bytes_per_second),
            intensity: self.intensity.unwrap_or(rates.intensity),
        }
    }
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleView {
    /// When it is due, in the words of the configuration.
    pub due: String,
    /// Its keyspaces; empty means all.
    pub keyspaces: Vec<String>,
    /// How it stands.
    pub status: ScheduleStatus,
}

/// What everybody sees of the service.
pub struct Desk {
    /// Whether anything is remembered.
    pub remembers: bool,
    /// When it began.
    pub began: Millis,
    /// How gently its runs work.
    pub throttle: Arc<Throttle>,
    state: RwLock<Option<State>>,
    /// What Prometheus sees.
    pub metrics: Arc<Metrics>,
    is_ready: AtomicBool,
    commands: mpsc::Sender<Command>,
    config: RwLock<Arc<Config>>,
    cards: Mutex<VecDeque<Arc<Card>>>,
    schedules: Mutex<Vec<ScheduleView>>,
}

impl Desk {
    /// An empty desk, and where its commands come out.
    pub fn new(
        config: Arc<Config>,
        state: Option<State>,
        began: Millis,
    ) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let (commands, received) = mpsc::channel(COMMANDS);
        let desk = Self {
            metrics: Arc::new(Metrics::new(state.as_ref(), began)),
            remembers: state.is_some(),
            state: RwLock::new(state),
            began,
            throttle: Arc::new(crate::app::throttle(&config)),
            is_ready: AtomicBool::new(false),
            commands,
            config: RwLock::new(config),
            cards: Mutex::default(),
            schedules: Mutex::default(),
        };
        (Arc::new(desk), received)
    }

    /// Hands a command in, and waits for its answer.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| Refused::Stopping)?;
        answer.await.unwrap_or(Err(Refused::Stopping))
    }

    /// Whether runs begin when they are due.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.is_ready.store(ready, Ordering::Relaxed);
    }

    /// What is remembered; nothing for a service without memory, or while the state directory cannot be opened.
    pub fn state(&self) -> Option<State> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    pub(super) fn set_state(&self, state: Option<State>) {
        let mut known = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *known = state;
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }

    /// The runs that are kept, oldest first.
    pub fn cards(&self) -> Vec<Arc<Card>> {
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        cards.iter().cloned().collect()
    }

    /// A run that is kept.
    pub fn card(&self, id: u64) -> Option<Arc<Card>> {
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        cards.iter().find(|card| card.id == id).cloned()
    }

    /// The run that is under way.
    pub fn current(&self) -> Option<Arc<Card>> {
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let last = cards.back().filter(|card| !card.state().is_ended());
        last.cloned()
    }

    /// The schedules.
    pub fn schedules(&self) -> Vec<ScheduleView> {
        let schedules = self
            .schedules
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        schedules.clone()
    }

    pub(super) fn put_up(&self, card: Arc<Card>) {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        while cards.len() >= CARDS_KEPT {
            cards.pop_front();
        }
        if let Some(before) = cards.iter().rev().nth(1) {
            before.shorten();
        }
        cards.push_back(card);
    }

    pub(super) fn show_schedules(&self, views: Vec<ScheduleView>) {
        let mut schedules = self
            .schedules
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *schedules = views;
    }

    pub(super) fn set_config(&self, config: Arc<Config>) {
        let mut known = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *known = config;
    }
}
