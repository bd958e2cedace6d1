//! The loop of the service: what is due begins, what operators ask is done, what ends is noted.
//!
//! ```text
//! clock, commands, signals ─▶ planner ─▶ a run on its own thread ─▶ outcome ─▶ memory of schedules, board
//! ```
//!
//! One run at a time. The loop never works itself: it answers within milliseconds whatever a run does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::app::{Exit, Fleet, Memory, Trouble, Unremembered};
use crate::clock::Clock;
use crate::config::{Config, Due};
use crate::model::{KeyspaceName, Millis, Selection};
use crate::repair::Rates;

use super::board::{Card, StopReason};
use super::desk::{Command, Desk, Refused, Reply, ScheduleView};
use super::executor::Outcome;
use super::herald::Herald;
use super::http::keys::Keys;
use super::notify::Notifier;
use super::planner::{self, LONGEST_WAIT, Planner, PlannerMemory, Step};
use super::recall::Recall;
use super::segments::Patience;
use runs::{ended, reason_of, vanished};

mod runs;

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
    /// The service manager.
    pub notifier: Notifier,
    /// Where it is asked.
    pub url: String,
    /// What is shown and asked for there.
    pub keys: Arc<Keys>,
}

/// The service.
pub struct Service {
    desk: Arc<Desk>,
    commands: mpsc::Receiver<Command>,
    load: Load,
    config: Arc<Config>,
    recall: Recall,
    clock: Arc<dyn Clock>,
    patience: Patience,
    planner: Planner,
    herald: Herald,
    notifier: Notifier,
    keys: Arc<Keys>,
    /// What the service manager was last told.
    said: String,
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
        let herald = Herald::new(&setup.config.notifications)?;
        let (desk, commands) = Desk::new(setup.config.clone(), state, now);
        desk.metrics.watch_webhook(herald.webhook());
        Ok(Self {
            planner: Planner::new(&setup.config.schedules, &remembered, now, seed),
            desk,
            commands,
            load: setup.load,
            config: setup.config,
            recall: Recall::new(setup.memory, setup.url),
            clock: setup.clock,
            patience: setup.patience,
            notifier: setup.notifier,
            keys: setup.keys,
            herald,
            said: String::new(),
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
        self.notifier.ready("nothing is due");
        loop {
            let until = self.step().into_iter().chain(self.next_overdue()).min();
            self.show();
            self.notifier.beat();
            let (clock, pause) = (self.clock.clone(), self.pause(until));
            tokio::select! {
                () = stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                Some(()) = reload.recv() => {
                    // It is in the log.
                    let _ = self.reload().await;
                }
                outcome = ended(&mut self.current) => self.take(outcome),
                () = clock.sleep(pause) => {}
            }
        }
        self.desk.set_ready(false);
        self.notifier.stopping();
        self.shut_down().await;
        self.herald.stop().await;
        Exit::InSync
    }

    fn pause(&self, until: Option<Millis>) -> Duration {
        let left = until.map(|until| until.0.saturating_sub(self.clock.now().0).max(0));
        let left = left.map(|left| Duration::from_millis(left.unsigned_abs()));
        let longest = self.notifier.beat_every().unwrap_or(LONGEST_WAIT);
        left.unwrap_or(LONGEST_WAIT).min(longest.min(LONGEST_WAIT))
    }

    /// When the next schedule becomes overdue, whoever's run is under way, paused or stuck.
    fn next_overdue(&self) -> Option<Millis> {
        let now = self.clock.now();
        let schedules = self.planner.status(now).into_iter();
        let coming = schedules.filter(|one| !one.overdue);
        coming.filter_map(|one| one.overdue_at).min()
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

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Start(order, reply) => {
                let started = match &self.current {
                    Some(current) => Err(Refused::Conflict(format!(
                        "run {id} is under way, and there is one at a time: wait for its end, or `reknit cancel {id}`",
                        id = current.card.id
                    ))),
                    None => self.start_asked(*order),
                };
                answer(reply, started);
            }
            Command::RunNow(name, reply) => {
                let known = self.planner.run_now(&name, self.clock.now());
                self.remember();
                answer(reply, unknown_unless(known, format!("schedule `{name}`")));
            }
            Command::Withdraw(name, reply) => {
                let withdrawn = self.withdraw(&name);
                answer(reply, withdrawn);
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
            Command::SetLimits(change, reply) => {
                let throttle = &self.desk.throttle;
                throttle.set(change.of(throttle.rates()));
                answer(reply, Ok(()));
            }
            Command::Reload(reply) => {
                let reloaded = self.reload().await;
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

    fn withdraw(&mut self, name: &str) -> Result<(), Refused> {
        let withdrawn = self.planner.withdraw(name);
        self.remember();
        match withdrawn {
            Some(true) => Ok(()),
            Some(false) => Err(Refused::Conflict(format!(
                "no run of schedule {name} that was asked for waits; one that works is ended by `reknit cancel`"
            ))),
            None => Err(Refused::Unknown(format!("schedule `{name}`"))),
        }
    }

    fn set_paused(&mut self, id: u64, paused: bool) -> Result<(), Refused> {
        let card = self.living(id)?;
        if !card.set_paused(paused) {
            return Err(Refused::Conflict(format!("run {id} is stopping")));
        }
        match paused {
            true => self.desk.throttle.pause(),
            false => self.desk.throttle.resume(),
        }
        if self.current.as_ref().is_some_and(|current| current.planned) {
            self.planner.pause_run(paused);
            self.remember();
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), String> {
        self.notifier.reloading();
        let reloaded = self.take_over().await;
        if let Err(refused) = &reloaded {
            tracing::error!("the configuration is not taken over, the old one stays: {refused}");
        }
        self.desk.metrics.reloaded(reloaded.is_ok());
        self.notifier.ready(&self.status());
        reloaded
    }

    async fn take_over(&mut self) -> Result<(), String> {
        let config = (self.load)()?;
        if config.state != self.config.state {
            return Err("`state` changes only with a restart".into());
        }
        if config.http != self.config.http {
            return Err("`http` changes only with a restart".into());
        }
        // A password that cannot be read is found now, and not when the next run is due.
        Fleet::new(&config).map_err(|error| error.to_string())?;
        if let Some(memory) = self.recall.memory() {
            memory
                .of(&config, &*self.clock)
                .map_err(|error| error.to_string())?;
        }
        let renewed = self.keys.renew().await;
        renewed.map_err(|error| error.to_string())?;
        self.herald
            .replace(&config.notifications)
            .map_err(|error| error.to_string())?;
        self.desk.metrics.watch_webhook(self.herald.webhook());
        self.desk.throttle.set(Rates::from(&config.limits));
        self.planner.reload(&config.schedules, self.clock.now());
        self.config = Arc::new(config);
        self.desk.set_config(self.config.clone());
        self.remember();
        tracing::info!("the configuration was read anew; a run that is under way keeps its own");
        Ok(())
    }

    /// Opens the state directory again, if it failed.
    fn mend(&mut self) -> Result<(), Trouble> {
        let desk = &self.desk;
        let lend = |state| desk.set_state(state);
        self.recall.mend(&self.config, &*self.clock, lend)
    }

    /// Puts what is remembered of schedules on disk.
    fn remember(&self) {
        let Some(memory) = self.recall.memory() else {
            return;
        };
        let bytes = serde_json::to_vec(&self.planner.memory()).unwrap_or_default();
        if let Err(error) = memory.state.put_note(PLANNER_NOTE, &bytes) {
            tracing::error!("what is remembered of schedules could not be kept: {error}");
        }
    }

    /// How the service stands, in a line.
    fn status(&self) -> String {
        match &self.current {
            Some(current) => format!(
                "run {} ({}) is under way",
                current.card.id, current.card.purpose
            ),
            None => "nothing is due".into(),
        }
    }

    /// Shows how the schedules stand.
    fn show(&mut self) {
        let now = self.clock.now();
        let views = self.planner.status(now);
        self.herald.look(&views, now);
        let status = self.status();
        if status != self.said {
            self.notifier.status(&status);
            self.said = status;
        }
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

/// Everything in these keyspaces; in all that are not skipped, if none is named.
pub(super) fn selection_of(config: &Config, keyspaces: Vec<KeyspaceName>) -> Selection {
    let all = || config.keyspaces.iter().filter(|one| !one.skip);
    Selection::of(match keyspaces.is_empty() {
        true => all().map(|one| one.name.clone()).collect(),
        false => keyspaces,
    })
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
