//! How a run of the service begins and how it ends.

use std::sync::Arc;

use futures::future::pending;
use tokio::sync::oneshot;

use super::{Current, Service, selection_of};
use crate::app::{Exit, Fleet, Logbook, Trouble, Unremembered};
use crate::daemon::board::{Card, RunState, StopReason};
use crate::daemon::desk::Refused;
use crate::daemon::executor::{self, Assignment, Outcome};
use crate::daemon::order::{Order, What};
use crate::daemon::planner::{self, Start};
use crate::model::{Millis, RunNumber};

impl Service {
    pub(super) fn start_planned(&mut self, start: &Start, now: Millis) {
        // Before anything is noted. Why it cannot be is told when the run does not begin.
        if let Err(error) = self.mend() {
            tracing::debug!("{error}");
        }
        self.planner.started(start, now);
        self.remember();
        let scheduled = self
            .config
            .schedules
            .iter()
            .find(|one| one.name == start.schedule);
        let keyspaces = scheduled.map_or_else(Vec::new, |schedule| schedule.keyspaces.clone());
        let selection = selection_of(&self.config, keyspaces);
        let order = Order::scheduled(&start.schedule, selection, start.resumes);
        match self.start(order.clone(), true) {
            Ok(id) => self.go_on(id),
            Err(refused) => {
                self.fail(order, &refused.to_string());
                self.planner.ended(planner::Outcome::Failed, now);
                self.remember();
            }
        }
    }

    /// The log says which run goes on with one that was killed.
    fn go_on(&mut self, id: u64) {
        let before = self.planner.works_as(id);
        self.remember();
        if let (Some(before), Some(memory)) = (before, self.recall.memory()) {
            let noted = memory.state.take_up_run(RunNumber(before), RunNumber(id));
            if let Err(error) = noted {
                tracing::warn!(
                    "the log of runs does not say that run {id} takes up {before}: {error}"
                );
            }
        }
    }

    /// Begins a run that an operator asked for.
    pub(super) fn start_asked(&mut self, order: Order) -> Result<u64, Refused> {
        let started = self.start(order.clone(), false);
        started.map_err(|refused| {
            let id = self.fail(order, &refused.to_string());
            Refused::Trouble(format!("run {id} could not begin: {refused}"))
        })
    }

    /// A run cannot begin: it is one that failed, to everybody who looks for it. Answers its number.
    fn fail(&mut self, order: Order, why: &str) -> u64 {
        let now = self.clock.now();
        let noted = self.note_failure(&order, why, now);
        let id = noted.unwrap_or(self.last_id + 1);
        self.last_id = id;
        tracing::error!("run {id} ({}) could not begin: {why}", order.purpose());
        let replicas = self.config.replicas.iter();
        let replicas = replicas.map(|one| (one.name.clone(), one.datacenter.clone()));
        let mut card = Card::new(id, order, now, replicas.collect());
        card.is_noted = noted.is_some();
        let card = Arc::new(card);
        self.herald.not_begun(&card, why, now);
        let trouble = Some(format!("it could not begin: {why}"));
        card.end(RunState::Failed, trouble, now);
        self.desk.put_up(card.clone());
        let is_planned = card.order.schedule.is_some();
        let outcome = is_planned.then_some(planner::Outcome::Failed);
        self.desk.metrics.ended(&card, outcome);
        id
    }

    /// Puts a run that could not begin into the log of runs, if that can be written.
    fn note_failure(&self, order: &Order, why: &str, now: Millis) -> Option<u64> {
        let memory = self.recall.memory()?;
        let memory = memory.of(&self.config, &*self.clock);
        let noted = memory.and_then(|memory| {
            memory.state.skip_runs(RunNumber(self.last_id));
            let begun = (now, order.purpose());
            let (undoes, reason) = (undone_by(order), order.reason.clone());
            let logbook = Logbook::begin(&self.config, &memory, begun, undoes, reason);
            let noted = logbook.and_then(|logbook| logbook.fail(now, why).map(|()| logbook.run.0));
            noted.map_err(|error| Unremembered::from(error).into())
        });
        noted
            .inspect_err(|error| tracing::warn!("it is not in the log of runs: {error}"))
            .ok()
    }

    /// Begins a run on a thread of its own.
    pub(super) fn start(&mut self, order: Order, planned: bool) -> Result<u64, Refused> {
        let trouble = |error: Trouble| Refused::Trouble(error.to_string());
        self.mend().map_err(trouble)?;
        let now = self.clock.now();
        // Before anything is noted: a password that cannot be read, say.
        let fleet =
            Fleet::new(&self.config).map_err(|error| Refused::Trouble(error.to_string()))?;
        let memory = self.recall.memory();
        let memory = memory.map(|memory| memory.of(&self.config, &*self.clock));
        let memory = memory.transpose().map_err(trouble)?;
        let logbook = memory.as_ref().map(|memory| {
            let undoes = undone_by(&order);
            let begun = (now, order.purpose());
            memory.state.skip_runs(RunNumber(self.last_id));
            Logbook::begin(&self.config, memory, begun, undoes, order.reason.clone())
        });
        let logbook = logbook
            .transpose()
            .map_err(|error| Refused::Trouble(error.to_string()))?;
        let id = logbook
            .as_ref()
            .map_or(self.last_id + 1, |logbook| logbook.run.0);
        self.last_id = id;
        let mut card = Card::new(id, order, now, fleet.columns());
        card.is_noted = memory.is_some();
        let card = Arc::new(card);
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
        // What an operator paused stays paused, whatever cut it off.
        match planned && self.planner.is_run_paused() && card.set_paused(true) {
            true => {
                tracing::warn!(
                    "run {id} is paused, as it was when it was cut off: `reknit resume`"
                );
                self.desk.throttle.pause();
            }
            false => self.desk.throttle.resume(),
        }
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
    pub(super) fn take(&mut self, outcome: Outcome) {
        let Some(current) = self.current.take() else {
            return;
        };
        let (card, now) = (current.card, self.clock.now());
        if let Some(summary) = &outcome.summary {
            card.came_to(summary);
        }
        log_end(&card, &outcome, now);
        self.herald.ended(&card, &outcome, now);
        let stopping = card.standing().stopping;
        card.end(outcome.state, outcome.trouble, now);
        let as_planned = current.planned.then(|| planned(outcome.state, stopping));
        self.desk.metrics.ended(&card, as_planned);
        if let Some(outcome) = as_planned {
            self.planner.ended(outcome, now);
            self.remember();
        }
    }
}

/// The run that an order undoes.
fn undone_by(order: &Order) -> Option<RunNumber> {
    match &order.what {
        What::Undo(undoing) => undoing.run,
        What::Compare(..) => None,
    }
}

/// Tells the log how a run ended: in words, and in fields for programs. A comparison has noughts, too.
fn log_end(card: &Card, outcome: &Outcome, now: Millis) {
    let trouble = outcome.trouble.as_deref();
    let words = trouble.map_or(String::new(), |words| format!(": {words}"));
    let (counts, compares) = (card.counts(), matches!(card.order.what, What::Compare(..)));
    let compared = |name: &str| compares.then(|| counts.get(name).copied().unwrap_or(0));
    let undone = |name: &str| counts.get(name).copied().filter(|_| !compares);
    macro_rules! tell {
        ($level:ident, $words:expr) => {
            tracing::$level!(
                run = card.id,
                schedule = card.order.schedule.as_deref(),
                outcome = %outcome.state.name(),
                keys = compared("keys"),
                differing = compared("differing"),
                repaired = compared("repaired"),
                left = compared("left"),
                overwrites = compared("overwrites"),
                deletes = compared("deletes"),
                undone = undone("undone"),
                changed = undone("changed"),
                kept = undone("kept"),
                missed = undone("missed"),
                duration_ms = now.0.saturating_sub(card.asked.0),
                "run {} {}{words}",
                card.id,
                $words
            )
        };
    }
    match outcome.state {
        RunState::Done => tell!(info, "is done"),
        state => tell!(warn, format_args!("ended {}", state.name())),
    }
}

/// The outcome of the run that is under way, once it has one.
pub(super) async fn ended(current: &mut Option<Current>) -> Outcome {
    match current {
        Some(current) => (&mut current.outcome).await.unwrap_or_else(|_| vanished()),
        None => pending().await,
    }
}

pub(super) fn vanished() -> Outcome {
    Outcome {
        state: RunState::Failed,
        exit: Exit::Trouble,
        summary: None,
        trouble: Some("the thread of the run panicked: this is a fault of reknit".into()),
    }
}

pub(super) fn reason_of(why: planner::StopReason) -> StopReason {
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
