//! Works a run off, segment by segment, on a thread of its own: the service stays able to answer meanwhile.
//!
//! ```text
//! look ─▶ segments ─▶ run each ─▶ fold ─▶ state, exit, log
//!            ▲ failed: again after a pause, then halved, then given up; the rest goes on
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
use crate::config::Config;
use crate::model::{DbIndex, KeyspaceName, Millis, Selection};
use crate::repair::{Finding, Mode, Summary, Throttle};

use super::board::{Card, Pinned, PinnedUndo, RunState, StopReason};
use super::order::What;
use super::segments::{Attempt, Next, Patience, Segment, Segments};

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
            let stopping = stopping.map(|why| why.words().to_owned());
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
    let job = match Job::new(
        &config,
        plan,
        (memory, logbook),
        (throttle, card.stop.clone()),
    ) {
        Ok(job) => job,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    let course = Course {
        card,
        job: &job,
        clock: &*clock,
        selection,
        told: &*told,
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
        let worked = self.attempt(&segment, segments.is_last(&segment)).await;
        let now = self.clock.now();
        if self.card.stop.is_cancelled() {
            if let Ok(summary) = worked {
                sum.absorb(summary);
            }
            return Some(Halt::Told);
        }
        let attempt = match worked {
            Ok(summary) if summary.tripped.is_empty() || self.job.mode() != Mode::Repair => {
                let attempt = attempt_of(&summary);
                self.fold(&segment, attempt, summary, (segments, sum), now);
                return None;
            }
            Ok(summary) => {
                sum.absorb(summary);
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

    async fn attempt(&self, segment: &Segment, is_last: bool) -> Result<Summary, JobError> {
        let selection = Selection {
            keyspaces: segment.keyspaces.clone(),
            slots: segment.slots,
            ..self.selection.clone()
        };
        let progress = self.card.progress.clone();
        progress.begin_anew();
        let run = tokio::select! {
            run = self.job.segment(selection, progress, self.card.order.resumes) => run?,
            () = self.card.stop.cancelled() => return Err(stopped()),
        };
        self.card.works_with(&run.participants);
        let mut listener = Pinned {
            card: self.card,
            told: self.told,
        };
        self.job.work(&run, is_last, &mut listener).await
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
            Attempt::Done => String::new(),
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
                    Some(why.words().into()),
                )
            }
            None if sum.passes == 0 => (RunState::Failed, Exit::Trouble, given_up),
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
