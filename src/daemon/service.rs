//! The loop of the service: what is due begins, what operators ask is done, what ends is noted.
//!
//! ```text
//! clock, commands, signals ─▶ planner ─▶ a run on its own thread ─▶ outcome ─▶ memory of schedules, board
//! ```
//!
//! One run at a time. The loop never works itself: it answers within milliseconds whatever a run does.

use std::sync::Arc;
use std::time::Duration;

use futures::future::pending;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::app::{Exit, Fleet, Logbook, Memory, Trouble, Unremembered};
use crate::clock::Clock;
use crate::config::{Config, Due};
use crate::model::{KeyspaceName, Millis, Selection};
use crate::repair::Rates;

use super::board::{Card, RunState, StopReason};
use super::desk::{Command, Desk, Refused, Reply, ScheduleView};
use super::executor::{self, Assignment, Outcome};
use super::order::{Order, What};
use super::planner::{self, LONGEST_WAIT, Planner, PlannerMemory, Start, Step};
use super::segments::Patience;

/// Under which name the memory of schedules stands in the state directory.
const PLANNER_NOTE: &str = "planner";

/// How long a run may take to come to its end when the service ends.
const GRACE: Duration = Duration::from_secs(10);

/// Reads the configuration anew; the error is for people.
pub type Load = Box<dyn Fn() -> Result<Config, String> + Send>;

/// What a service is made of.
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// Reads it anew.
    pub load: Load,
    /// What is remembered.
    pub memory: Option<Memory>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How patient runs are.
    pub patience: Patience,
}

/// The service.
pub struct Service {
    desk: Arc<Desk>,
    commands: mpsc::Receiver<Command>,
    load: Load,
    config: Arc<Config>,
    memory: Option<Memory>,
    clock: Arc<dyn Clock>,
    patience: Patience,
    planner: Planner,
    current: Option<Current>,
    last_id: u64,
}

/// The run that is under way.
struct Current {
    card: Arc<Card>,
    /// Whether the planner started it.
    planned: bool,
    outcome: oneshot::Receiver<Outcome>,
}

impl Service {
    /// A service that has not begun.
    ///
    /// # Errors
    /// When what is remembered of schedules cannot be read.
    pub fn new(setup: Setup) -> Result<Self, Trouble> {
        let now = setup.clock.now();
        let state = setup.memory.as_ref().map(|memory| memory.state.clone());
        let (mut remembered, mut seed, mut last_id) = (PlannerMemory::default(), 0, 0);
        if let Some(state) = &state {
            let note = state.note(PLANNER_NOTE).map_err(Unremembered::from)?;
            remembered = note.map_or_else(Default::default, |bytes| read(&bytes));
            seed = seed_of(state.id().to_string().as_bytes());
            last_id = state.last_run().0;
        }
        let (desk, commands) = Desk::new(setup.config.clone(), state, now);
        Ok(Self {
            planner: Planner::new(&setup.config.schedules, &remembered, now, seed),
            desk,
            commands,
            load: setup.load,
            config: setup.config,
            memory: setup.memory,
            clock: setup.clock,
            patience: setup.patience,
            current: None,
            last_id,
        })
    }

    /// What everybody sees of it.
    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Serves until it is told to stop; `reload` tells it to read its configuration anew.
    pub async fn serve(mut self, stop: CancellationToken, mut reload: mpsc::Receiver<()>) -> Exit {
        self.desk.set_ready(true);
        loop {
            let until = self.step();
            self.show();
            let (clock, pause) = (self.clock.clone(), self.pause(until));
            tokio::select! {
                () = stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                Some(()) = reload.recv() => {
                    if let Err(refused) = self.reload() {
                        tracing::error!("the configuration is not taken over, the old one stays: {refused}");
                    }
                }
                outcome = ended(&mut self.current) => self.take(outcome),
                () = clock.sleep(pause) => {}
            }
        }
        self.desk.set_ready(false);
        self.shut_down().await;
        Exit::InSync
    }

    fn pause(&self, until: Option<Millis>) -> Duration {
        let left = until.map(|until| until.0.saturating_sub(self.clock.now().0).max(0));
        let left = left.map(|left| Duration::from_millis(left.unsigned_abs()));
        left.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    /// Does what the planner says, and answers when it is to be asked again.
    fn step(&mut self) -> Option<Millis> {
        let by_operator = self
            .current
            .as_ref()
            .is_some_and(|current| !current.planned);
        if by_operator {
            return None;
        }
        let now = self.clock.now();
        match self.planner.step(now) {
            Step::Wait { until } => until,
            Step::Stop { why, .. } => {
                if let Some(current) = &self.current {
                    current.card.end_early(reason_of(why));
                }
                None
            }
            Step::Start(start) => {
                self.start_planned(&start, now);
                Some(now)
            }
        }
    }

    fn start_planned(&mut self, start: &Start, now: Millis) {
        self.planner.started(start, now);
        self.remember();
        let scheduled = self
            .config
            .schedules
            .iter()
            .find(|one| one.name == start.schedule);
        let keyspaces = scheduled.map_or_else(Vec::new, |schedule| schedule.keyspaces.clone());
        let selection = selection_of(&self.config, keyspaces);
        let order = Order::scheduled(&start.schedule, selection);
        if let Err(refused) = self.start(order, true) {
            tracing::error!("schedule {}: {refused}", start.schedule);
            self.planner
                .ended(planner::Outcome::Failed, self.clock.now());
            self.remember();
        }
    }

    /// Begins a run on a thread of its own.
    fn start(&mut self, order: Order, planned: bool) -> Result<u64, Refused> {
        let trouble = |error: Trouble| Refused::Trouble(error.to_string());
        let now = self.clock.now();
        let memory = self
            .memory
            .as_ref()
            .map(|memory| memory.of(&self.config, &*self.clock));
        let memory = memory.transpose().map_err(trouble)?;
        let logbook = memory.as_ref().map(|memory| {
            let undoes = match &order.what {
                What::Undo(undoing) => undoing.run,
                What::Compare(..) => None,
            };
            let begun = (now, order.purpose());
            Logbook::begin(&self.config, memory, begun, undoes, order.reason.clone())
        });
        let logbook = logbook
            .transpose()
            .map_err(|error| Refused::Trouble(error.to_string()))?;
        let id = logbook
            .as_ref()
            .map_or(self.last_id + 1, |logbook| logbook.run.0);
        self.last_id = id;
        let fleet =
            Fleet::new(&self.config).map_err(|error| Refused::Trouble(error.to_string()))?;
        let card = Arc::new(Card::new(id, order, now, fleet.columns()));
        let (metrics, replicas) = (self.desk.metrics.clone(), fleet.columns());
        let assignment = Assignment {
            config: self.config.clone(),
            memory,
            logbook,
            clock: self.clock.clone(),
            throttle: self.desk.throttle.clone(),
            patience: self.patience,
            told: Box::new(move |finding| metrics.finding(finding, &replicas)),
        };
        self.desk.throttle.resume();
        let (send, outcome) = oneshot::channel();
        let worker = card.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("run-{id}"))
            .spawn(move || executor::on_this_thread(&worker, assignment, send));
        spawned.map_err(|error| Refused::Trouble(format!("no thread for the run: {error}")))?;
        tracing::info!("run {id} ({}) begins", card.purpose);
        self.desk.put_up(card.clone());
        self.current = Some(Current {
            card,
            planned,
            outcome,
        });
        Ok(id)
    }

    /// A run has ended.
    fn take(&mut self, outcome: Outcome) {
        let Some(current) = self.current.take() else {
            return;
        };
        let (card, now) = (current.card, self.clock.now());
        if let Some(summary) = &outcome.summary {
            card.came_to(summary);
        }
        let words = outcome
            .trouble
            .as_deref()
            .map_or(String::new(), |words| format!(": {words}"));
        match outcome.state {
            RunState::Done => tracing::info!("run {} is done{words}", card.id),
            state => tracing::warn!("run {} ended {}{words}", card.id, state.name()),
        }
        let stopping = card.standing().stopping;
        card.end(outcome.state, outcome.trouble, now);
        let as_planned = current.planned.then(|| planned(outcome.state, stopping));
        self.desk.metrics.ended(&card, as_planned);
        if let Some(outcome) = as_planned {
            self.planner.ended(outcome, now);
            self.remember();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(order, reply) => {
                let started = match &self.current {
                    Some(current) => Err(Refused::Conflict(format!(
                        "run {} is under way, and there is one at a time",
                        current.card.id
                    ))),
                    None => self.start(*order, false),
                };
                answer(reply, started);
            }
            Command::RunNow(name, reply) => {
                let known = self.planner.run_now(&name, self.clock.now());
                self.remember();
                answer(reply, unknown_unless(known, format!("schedule `{name}`")));
            }
            Command::PauseSchedule(name, paused, reply) => {
                let known = self.planner.pause(&name, paused);
                self.remember();
                answer(reply, unknown_unless(known, format!("schedule `{name}`")));
            }
            Command::Pause(id, reply) => answer(reply, self.set_paused(id, true)),
            Command::Resume(id, reply) => answer(reply, self.set_paused(id, false)),
            Command::Cancel(id, reply) => {
                let cancelled = self.living(id);
                let cancelled = cancelled.map(|card| card.end_early(StopReason::Cancelled));
                answer(reply, cancelled);
            }
            Command::Reload(reply) => {
                let reloaded = self.reload();
                answer(reply, reloaded.map_err(Refused::Invalid));
            }
        }
    }

    /// The run of this number, if it has not ended.
    fn living(&self, id: u64) -> Result<Arc<Card>, Refused> {
        let card = self
            .desk
            .card(id)
            .ok_or_else(|| Refused::Unknown(format!("run {id}")))?;
        match card.state().is_ended() {
            true => Err(Refused::Conflict(format!("run {id} has ended"))),
            false => Ok(card),
        }
    }

    fn set_paused(&self, id: u64, paused: bool) -> Result<(), Refused> {
        let card = self.living(id)?;
        if !card.set_paused(paused) {
            return Err(Refused::Conflict(format!("run {id} is stopping")));
        }
        match paused {
            true => self.desk.throttle.pause(),
            false => self.desk.throttle.resume(),
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), String> {
        let taken = self.take_over();
        self.desk.metrics.reloaded(taken.is_ok());
        taken
    }

    fn take_over(&mut self) -> Result<(), String> {
        let config = (self.load)()?;
        if config.state != self.config.state {
            return Err("`state` changes only with a restart".into());
        }
        if config.http != self.config.http {
            return Err("`http` changes only with a restart".into());
        }
        if let Some(memory) = &self.memory {
            memory
                .of(&config, &*self.clock)
                .map_err(|error| error.to_string())?;
        }
        self.desk.throttle.set(Rates::from(&config.limits));
        self.planner.reload(&config.schedules, self.clock.now());
        self.config = Arc::new(config);
        self.desk.set_config(self.config.clone());
        self.remember();
        tracing::info!("the configuration was read anew; a run that is under way keeps its own");
        Ok(())
    }

    /// Puts what is remembered of schedules on disk.
    fn remember(&self) {
        let Some(memory) = &self.memory else {
            return;
        };
        let bytes = serde_json::to_vec(&self.planner.memory()).unwrap_or_default();
        if let Err(error) = memory.state.put_note(PLANNER_NOTE, &bytes) {
            tracing::error!("what is remembered of schedules could not be kept: {error}");
        }
    }

    /// Shows how the schedules stand.
    fn show(&self) {
        let views = self.planner.status(self.clock.now());
        let views = views.into_iter().zip(self.planner.schedules());
        let view = |(status, schedule): (planner::ScheduleStatus, &crate::config::Schedule)| {
            ScheduleView {
                due: match &schedule.due {
                    Due::Cron(cron) => format!("{cron} ({})", schedule.timezone),
                    Due::Every(every) => format!("every {}", humantime::format_duration(*every)),
                },
                keyspaces: schedule.keyspaces.iter().map(|one| one.0.clone()).collect(),
                status,
            }
        };
        self.desk.show_schedules(views.map(view).collect());
    }

    async fn shut_down(&mut self) {
        if let Some(current) = &mut self.current {
            current.card.end_early(StopReason::Shutdown);
            let ended = tokio::time::timeout(GRACE, &mut current.outcome).await;
            match ended {
                Ok(outcome) => self.take(outcome.unwrap_or_else(|_| vanished())),
                Err(_) => tracing::warn!(
                    "the run did not end in time and is cut off; the next one takes it up"
                ),
            }
        }
        self.show();
    }
}

/// The outcome of the run that is under way, once it has one.
async fn ended(current: &mut Option<Current>) -> Outcome {
    match current {
        Some(current) => (&mut current.outcome).await.unwrap_or_else(|_| vanished()),
        None => pending().await,
    }
}

fn vanished() -> Outcome {
    Outcome {
        state: RunState::Failed,
        exit: Exit::Trouble,
        summary: None,
        trouble: Some("the thread of the run panicked: this is a fault of reknit".into()),
    }
}

/// Everything in these keyspaces; in all that are not skipped, if none is named.
pub(super) fn selection_of(config: &Config, keyspaces: Vec<KeyspaceName>) -> Selection {
    let all = || config.keyspaces.iter().filter(|one| !one.skip);
    Selection::of(match keyspaces.is_empty() {
        true => all().map(|one| one.name.clone()).collect(),
        false => keyspaces,
    })
}

fn reason_of(why: planner::StopReason) -> StopReason {
    match why {
        planner::StopReason::WindowClosed => StopReason::Window,
        planner::StopReason::Deadline => StopReason::Deadline,
    }
}

/// How a planned run ended, as the planner sees it.
fn planned(state: RunState, stopping: Option<StopReason>) -> planner::Outcome {
    match (state, stopping) {
        (RunState::Done, _) => planner::Outcome::Done,
        (RunState::Partial, _) => planner::Outcome::Partial,
        (_, Some(StopReason::Window | StopReason::Shutdown)) => planner::Outcome::Closed,
        (_, Some(StopReason::Deadline)) => planner::Outcome::Deadline,
        (_, Some(StopReason::Cancelled)) => planner::Outcome::Stopped,
        _ => planner::Outcome::Failed,
    }
}

fn unknown_unless(known: bool, what: String) -> Result<(), Refused> {
    match known {
        true => Ok(()),
        false => Err(Refused::Unknown(what)),
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T, Refused>) {
    // Who asked may have gone.
    let _ = reply.send(result);
}

fn read(bytes: &[u8]) -> PlannerMemory {
    serde_json::from_slice(bytes).unwrap_or_else(|error| {
        tracing::error!(
            "what was remembered of schedules cannot be read, they begin anew: {error}"
        );
        PlannerMemory::default()
    })
}

fn seed_of(bytes: &[u8]) -> u64 {
    let digest = blake3::hash(bytes);
    digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
