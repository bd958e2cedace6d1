//! Works a run off, segment by segment, on a thread of its own: the service stays able to answer meanwhile.
//!
//! ```text
//! databases ─▶ segments ─▶ look ─▶ run each ─▶ fold ─▶ state, exit, log
//!                 ▲ large: divided, without what an earlier run finished
//!                 ▲ failed: again after a pause, then halved, then given up; the rest goes on
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::app::{
    Exit, Job, JobError, Logbook, Memory, Plan, Steering, Trouble, Undoing, exit_of, shortfall,
    undo_noted,
};
use crate::clock::Clock;
use crate::config::{Config, Schedule};
use crate::model::{DbIndex, KeyspaceName, Millis, Selection, SlotRange};
use crate::repair::{Finding, Mode, Planned, ReplicaSummary, Resumed, Summary, Throttle};

use super::board::{Card, Pinned, PinnedUndo, RunState, StopReason};
use super::order::{Order, What};
use super::segments::{Attempt, Next, Patience, Segment, Segments};

#[cfg(test)]
mod tests;

/// What a run needs beside its card.
pub struct Assignment {
    /// The configuration that it began under.
    pub config: Arc<Config>,
    /// What is remembered; nothing for a run without memory.
    pub memory: Option<Memory>,
    /// Where it is noted.
    pub logbook: Option<Logbook>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How gently it works.
    pub throttle: Arc<Throttle>,
    /// How patient it is.
    pub patience: Patience,
    /// Is told of every finding.
    pub told: Box<dyn Fn(&Finding) + Send + Sync>,
}

/// Segments that a window has room for.
const WINDOW_HAS: u64 = 4;

/// What an attempt on a segment came to.
enum Worked {
    /// It was worked on.
    Through(Box<Summary>),
    /// It is large: these are its parts.
    Divided(Vec<SlotRange>),
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its state.
    pub state: RunState,
    /// As a command would have ended.
    pub exit: Exit,
    /// What it came to.
    pub summary: Option<Summary>,
    /// Why it came to nothing, or not to its end.
    pub trouble: Option<String>,
}

impl Outcome {
    fn failed(trouble: String) -> Self {
        Self {
            state: RunState::Failed,
            exit: Exit::Trouble,
            summary: None,
            trouble: Some(trouble),
        }
    }
}

/// Works a run off on the thread that calls it.
pub(super) fn on_this_thread(
    card: &Card,
    assignment: Assignment,
    outcome: oneshot::Sender<Outcome>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let came_to = match runtime {
        Err(error) => Outcome::failed(error.to_string()),
        Ok(runtime) => {
            let came_to = runtime.block_on(work(card, assignment));
            // Whatever still waits for a server is of no interest any more.
            runtime.shutdown_background();
            came_to
        }
    };
    // Who waited for it may have gone.
    let _ = outcome.send(came_to);
}

async fn work(card: &Card, assignment: Assignment) -> Outcome {
    match &card.order.what {
        What::Compare(plan, selection) => compare(card, assignment, (*plan, selection)).await,
        What::Undo(undoing) => undo(card, assignment, undoing).await,
    }
}

async fn undo(card: &Card, assignment: Assignment, undoing: &Undoing) -> Outcome {
    card.begin();
    let Assignment {
        config,
        memory,
        logbook,
        throttle,
        ..
    } = assignment;
    let (Some(memory), Some(logbook)) = (memory, logbook) else {
        return Outcome::failed("a service without memory keeps nothing to undo".into());
    };
    let steering = Steering {
        throttle,
        stop: card.stop.clone(),
        begins: &|participants| card.works_with(participants),
    };
    let (held, mut listener) = ((&memory, &logbook), PinnedUndo(card));
    let undone = undo_noted(&config, undoing, held, &mut listener, steering).await;
    match undone {
        Ok((summary, exit)) => {
            let stopping = card.standing().stopping.filter(|_| summary.interrupted);
            let stopping = stopping.map(|why| why.words(card.goes_on()).to_owned());
            let trouble = stopping.or_else(|| shortfall(&summary));
            card.undone_as(summary);
            Outcome {
                state: state_after(exit),
                exit,
                summary: None,
                trouble,
            }
        }
        Err(error) => Outcome::failed(error.to_string()),
    }
}

/// The state of an undo that ended so.
fn state_after(exit: Exit) -> RunState {
    match exit {
        Exit::InSync | Exit::Diverged => RunState::Done,
        Exit::Partial => RunState::Partial,
        Exit::Stopped | Exit::Interrupted => RunState::Stopped,
        Exit::Trouble => RunState::Failed,
    }
}

/// Works a comparison off, and notes how it ended.
async fn compare(
    card: &Card,
    assignment: Assignment,
    (plan, selection): (Plan, &Selection),
) -> Outcome {
    card.begin();
    let Assignment {
        config,
        memory,
        logbook,
        clock,
        throttle,
        patience,
        told,
    } = assignment;
    let steering = (throttle, card.stop.clone());
    let job = match Job::new(&config, plan, memory, steering) {
        Ok(job) => job.noted(logbook),
        Err(error) => return not_begun(logbook, &error.to_string(), clock.now()),
    };
    let course = Course {
        card,
        job: &job,
        clock: &*clock,
        selection,
        told: &*told,
        target: target_of(&config, &card.order),
    };
    let segments = Segments::new(patience, segments_of(&config, selection));
    let outcome = course.run(segments).await;
    let noted = job.end(
        outcome.summary.as_ref(),
        outcome.exit,
        outcome.trouble.clone(),
        clock.now(),
    );
    match noted {
        Ok(()) => outcome,
        Err(error) => Outcome {
            state: RunState::Failed,
            exit: Exit::Trouble,
            // The first reason is the one to tell.
            trouble: outcome.trouble.or_else(|| Some(error.to_string())),
            summary: outcome.summary,
        },
    }
}

/// A run that came to nothing before it read anything; the log says so, too.
fn not_begun(logbook: Option<Logbook>, why: &str, now: Millis) -> Outcome {
    let noted = logbook.map_or(Ok(()), |logbook| logbook.fail(now, why));
    if let Err(error) = noted {
        tracing::error!("the end of the run is not in the log of runs: {error}");
    }
    Outcome::failed(format!("it could not begin: {why}"))
}

/// One segment for each database that is worked on.
fn segments_of(config: &Config, selection: &Selection) -> Vec<Segment> {
    let mut by_db: BTreeMap<Option<DbIndex>, Vec<KeyspaceName>> = BTreeMap::new();
    for keyspace in config.keyspaces.iter() {
        if selection.keyspaces.contains(&keyspace.name) {
            by_db
                .entry(keyspace.db)
                .or_default()
                .push(keyspace.name.clone());
        }
    }
    let segment = |(db, keyspaces)| Segment::new(db, keyspaces, selection.slots);
    by_db.into_iter().map(segment).collect()
}

/// A run on its way.
struct Course<'a> {
    card: &'a Card,
    job: &'a Job<'a>,
    clock: &'a dyn Clock,
    selection: &'a Selection,
    told: &'a (dyn Fn(&Finding) + Send + Sync),
    /// About how long a segment takes.
    target: Duration,
}

/// Why no further segment is worked on.
enum Halt {
    /// It was told to stop.
    Told,
    /// A guard stopped it.
    Guard,
    /// Another attempt would not fare better.
    Fatal(String),
}

impl Course<'_> {
    async fn run(&self, mut segments: Segments) -> Outcome {
        let names = self.card.replicas.iter().map(|(name, _)| name.clone());
        let mut sum = Summary::new(self.clock.now(), names.collect());
        let mut halt = None;
        while halt.is_none() {
            let segment = match segments.next(self.clock.now()) {
                Next::Nothing => break,
                Next::Work(segment) => segment,
                Next::Wait(until) => {
                    self.wait(until).await;
                    if self.card.stop.is_cancelled() {
                        halt = Some(Halt::Told);
                    }
                    continue;
                }
            };
            self.card.works_on(Some(&segment), segments.tally());
            halt = self.work(segment, &mut segments, &mut sum).await;
            self.card.works_on(None, segments.tally());
            self.card.came_to(&sum);
        }
        self.outcome(halt, &segments, sum)
    }

    async fn wait(&self, until: Millis) {
        let pause = until.0.saturating_sub(self.clock.now().0).max(0);
        tokio::select! {
            () = self.clock.sleep(Duration::from_millis(pause.unsigned_abs())) => {}
            () = self.card.stop.cancelled() => {}
        }
    }

    /// Works on a segment once.
    async fn work(
        &self,
        segment: Segment,
        segments: &mut Segments,
        sum: &mut Summary,
    ) -> Option<Halt> {
        let content = segments.is_last(&segment);
        let worked = self.attempt(&segment, content, taken_from_each(sum)).await;
        let now = self.clock.now();
        if self.card.stop.is_cancelled() {
            if let Ok(Worked::Through(summary)) = worked {
                sum.absorb(*summary);
            }
            return Some(Halt::Told);
        }
        let attempt = match worked {
            Ok(Worked::Divided(parts)) => Attempt::Divided(parts),
            Ok(Worked::Through(summary))
                if summary.tripped.is_empty() || self.job.mode() != Mode::Repair =>
            {
                let attempt = attempt_of(&summary);
                self.fold(&segment, attempt, *summary, (segments, sum), now);
                return None;
            }
            Ok(Worked::Through(summary)) => {
                sum.absorb(*summary);
                return Some(Halt::Guard);
            }
            Err(error) if error.may_pass() => Attempt::Failed {
                reason: error.to_string(),
                divisible: false,
            },
            Err(error) => return Some(Halt::Fatal(error.to_string())),
        };
        self.end_attempt(segment, attempt, segments, now);
        None
    }

    /// Works on a segment, `content` with fewer replicas or not; or finds that it is large.
    async fn attempt(
        &self,
        segment: &Segment,
        content: bool,
        before: Planned,
    ) -> Result<Worked, JobError> {
        let selection = Selection {
            keyspaces: segment.keyspaces.clone(),
            slots: segment.slots,
            ..self.selection.clone()
        };
        let progress = self.card.progress.clone();
        progress.begin_anew();
        let mut run = tokio::select! {
            run = self.job.segment(selection, progress, self.card.order.resumes) => run?,
            () = self.card.stop.cancelled() => return Err(stopped()),
        };
        run.settings.breaker.before = before;
        let facts = self.job.look(content).await?;
        if !segment.is_divided && !content {
            let parts = self.job.divide(&run, &facts, self.target);
            if parts.len() > 1 {
                return Ok(Worked::Divided(parts));
            }
        }
        self.card.works_with(&run.participants);
        let mut listener = Pinned {
            card: self.card,
            told: self.told,
        };
        let summary = self.job.work(&run, &facts, &mut listener).await?;
        Ok(Worked::Through(Box::new(summary)))
    }

    /// Counts what an attempt came to; of one that is made again only what stays of it.
    fn fold(
        &self,
        segment: &Segment,
        attempt: Attempt,
        summary: Summary,
        (segments, sum): (&mut Segments, &mut Summary),
        now: Millis,
    ) {
        let is_done = attempt == Attempt::Done;
        let is_last = self.end_attempt(segment.clone(), attempt, segments, now);
        sum.absorb(match is_done || is_last {
            true => summary,
            false => summary.of_a_lost_attempt(),
        });
    }

    /// Answers whether the segment was given up.
    fn end_attempt(
        &self,
        segment: Segment,
        attempt: Attempt,
        segments: &mut Segments,
        now: Millis,
    ) -> bool {
        let reason = match &attempt {
            Attempt::Failed { reason, .. } => reason.clone(),
            Attempt::Done | Attempt::Divided(_) => String::new(),
        };
        let given_up = segments.ended(segment.clone(), attempt, now);
        if given_up {
            tracing::error!("{segment}: given up after all attempts: {reason}");
            self.card.gave_up(&segment, &reason);
        } else if !reason.is_empty() {
            tracing::warn!("{segment}: {reason}; it is tried again later");
        }
        given_up
    }

    fn outcome(&self, halt: Option<Halt>, segments: &Segments, mut sum: Summary) -> Outcome {
        sum.ended = self.clock.now();
        let given_up = segments
            .failed()
            .first()
            .map(|(one, why)| format!("{one}: {why}"));
        let exit = exit_of(&sum, self.job.mode());
        let (state, exit, trouble) = match halt {
            Some(Halt::Fatal(trouble)) => (RunState::Failed, Exit::Trouble, Some(trouble)),
            Some(Halt::Guard) => {
                let tripped: Vec<String> = sum.tripped.iter().map(ToString::to_string).collect();
                (RunState::Stopped, Exit::Stopped, Some(tripped.join("; ")))
            }
            Some(Halt::Told) => {
                let why = self.card.standing().stopping;
                let why = why.unwrap_or(StopReason::Shutdown);
                (
                    RunState::Stopped,
                    Exit::Interrupted,
                    Some(why.words(self.card.goes_on()).into()),
                )
            }
            None if sum.passes == 0 && !was_finished(&sum) => {
                (RunState::Failed, Exit::Trouble, given_up)
            }
            None if given_up.is_some() || sum.is_partial() => {
                let lost = sum.replicas.iter().find_map(|one| one.lost.clone());
                (RunState::Partial, Exit::Partial, given_up.or(lost))
            }
            None => (RunState::Done, exit, None),
        };
        Outcome {
            state,
            exit,
            summary: Some(sum),
            trouble,
        }
    }
}

/// Whether all that there is was finished by an earlier run.
fn was_finished(sum: &Summary) -> bool {
    let all = |resumed: Resumed| resumed.finished == resumed.segments && resumed.segments > 0;
    sum.resumed.is_some_and(all)
}

/// The most that the segments so far have taken from a replica.
fn taken_from_each(sum: &Summary) -> Planned {
    let most = |of: fn(&ReplicaSummary) -> u64| sum.replicas.iter().map(of).max().unwrap_or(0);
    Planned {
        overwrites: most(|one| one.overwrites),
        deletes: most(|one| one.deletes),
    }
}

/// About how long a segment takes: a window has room for several.
fn target_of(config: &Config, order: &Order) -> Duration {
    let named = |one: &&Schedule| Some(&one.name) == order.schedule.as_ref();
    let schedule = config.schedules.iter().find(named);
    let windows = schedule.into_iter().flat_map(|schedule| &schedule.windows);
    let shortest = windows.map(|window| u64::from(window.minutes())).min();
    let quarter = shortest.map(|minutes| Duration::from_secs(minutes * 60 / WINDOW_HAS));
    let target = config.limits.segment;
    quarter.map_or(target, |quarter| quarter.min(target))
}

/// A segment is done if every replica and every key took part.
fn attempt_of(summary: &Summary) -> Attempt {
    let lost = summary
        .replicas
        .iter()
        .find_map(|one| Some((one, one.lost.as_ref()?)));
    match lost {
        Some((replica, reason)) => Attempt::Failed {
            reason: reason.clone(),
            divisible: replica.keys > 0 || replica.usage.keys_read > 0,
        },
        // A key that cannot be read is reported as such: reading all others again would not help it.
        None => Attempt::Done,
    }
}

fn stopped() -> JobError {
    JobError::Trouble(Trouble::TooFew("the run was told to stop".into()))
}
