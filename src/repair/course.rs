//! What a run has come to so far: it tells findings, counts, and keeps what has to wait until the end.
//!
//! ```text
//! batches ─▶ decide ─┬─▶ findings ─▶ listener, summary
//!                    └─▶ deferred ─▶ spool ─▶ (guards) ─▶ batches of the second stage
//! ```

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;

use crate::store::BATCH_KEYS;

use super::candidates::Batch;
use super::finding::{Finding, Holding, Verdict};
use super::guard::{Stake, Toll, tripped};
use super::round::{BatchReport, Deferred, Stage, Tracked, decide};
use super::run::{Listener, Mode, Phase, Run, RunError, Shared};
use super::segments::Open;
use super::spool::{Spool, Waiting};
use super::summary::Summary;

/// Batches that are decided at the same time.
const BATCHES: usize = 4;

/// How long an interrupted run may take to finish the batches that are under way.
const GRACE: Duration = Duration::from_millis(1500);

/// What a run has come to so far.
pub(super) struct Course<'a> {
    shared: &'a Shared<'a>,
    pub(super) summary: Summary,
    listener: &'a mut dyn Listener,
    spool: Spool,
    toll: Toll,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        shared: &'a Shared<'a>,
        summary: Summary,
        listener: &'a mut dyn Listener,
    ) -> Self {
        Self {
            shared,
            toll: Toll::new(summary.replicas.len()),
            summary,
            listener,
            spool: Spool::new(),
        }
    }

    /// Decides batches, some at the same time, and takes what they come to in their order.
    pub(super) async fn decide(
        &mut self,
        stage: Stage,
        mut batches: impl Iterator<Item = Batch<'a>> + Send,
    ) {
        let shared = self.shared;
        // Not `buffered`: the closure that makes its futures keeps them from being sent to another thread.
        let mut deciding = FuturesOrdered::new();
        loop {
            let free = BATCHES - deciding.len();
            deciding.extend(
                batches
                    .by_ref()
                    .take(free)
                    .map(|batch| work_on(shared, stage, batch)),
            );
            let report = tokio::select! {
                report = deciding.next() => report,
                () = grace(shared.run) => None,
            };
            match report {
                Some(report) => self.take(report),
                None => break,
            }
        }
    }

    fn take(&mut self, report: BatchReport<'_>) {
        self.summary.in_flight += report.in_flight;
        self.summary.expiring += report.expiring;
        self.summary.learned += report.learned;
        let decided = &self.shared.run.progress.decided;
        decided.fetch_add(report.in_flight + report.expiring, Ordering::Relaxed);
        for losses in report.planned {
            self.toll.add(&losses);
        }
        for deferred in report.deferred {
            self.toll.add(&deferred.losses);
            if let Err(error) = self.spool.append(&deferred) {
                let reason = format!("it had to wait, and the disk took no note of it: {error}");
                self.tell(deferred.finding, Verdict::Unfinished(reason));
            }
        }
        for finding in report.findings {
            self.tell_as_it_is(&finding);
        }
    }

    fn tell(&mut self, finding: Finding, verdict: Verdict) {
        self.tell_as_it_is(&Finding { verdict, ..finding });
    }

    fn tell_as_it_is(&mut self, finding: &Finding) {
        let decided = &self.shared.run.progress.decided;
        decided.fetch_add(1, Ordering::Relaxed);
        if finding.verdict != Verdict::Repaired {
            self.shared.unsettled(finding.db, finding.key.clone());
            let lacks = |holding: &Option<Holding>| {
                holding
                    .as_ref()
                    .is_none_or(|holding| *holding == Holding::Absent)
            };
            if finding.holdings.iter().any(lacks) {
                self.shared.open_absences.put();
            }
        }
        self.summary.count(finding);
        self.listener.finding(finding);
    }

    /// What is left open so far.
    pub(super) fn open(&self) -> Open {
        Open::of(&self.summary, self.spool.len())
    }

    /// The second stage: what had to wait is looked at afresh and written, unless a guard says no.
    ///
    /// # Errors
    /// When what waits cannot be read back from disk.
    pub(super) async fn take_up(&mut self) -> Result<(), RunError> {
        self.weigh();
        let spool = std::mem::replace(&mut self.spool, Spool::new());
        if spool.len() == 0 {
            return Ok(());
        }
        let mut waiting = spool.read().map_err(RunError::Spool)?;
        if self.summary.tripped.is_empty() {
            self.write(&mut waiting).await?;
        }
        let is_stopped = self.shared.run.stop.is_cancelled();
        let interrupted = || Verdict::Unfinished("interrupted before its turn".into());
        let verdict = is_stopped.then(interrupted);
        self.tell_all(waiting, &verdict.unwrap_or(Verdict::HeldBack))
    }

    /// The run ends before the second stage: what waits is told and not written.
    ///
    /// # Errors
    /// When what waits cannot be read back from disk.
    pub(super) fn abandon(&mut self) -> Result<(), RunError> {
        let spool = std::mem::replace(&mut self.spool, Spool::new());
        let waiting = spool.read().map_err(RunError::Spool)?;
        let verdict = Verdict::Unfinished("the run ended before its turn".into());
        self.tell_all(waiting, &verdict)
    }

    fn tell_all(&mut self, mut waiting: Waiting, verdict: &Verdict) -> Result<(), RunError> {
        let scope = &self.shared.run.scope;
        while let Some(deferred) = waiting.next(scope).map_err(RunError::Spool)? {
            self.tell(deferred.finding, verdict.clone());
        }
        Ok(())
    }

    /// Says what would be taken from each replica, and whether that is too much. A run stops here.
    fn weigh(&mut self) {
        let replicas = &mut self.summary.replicas;
        for (replica, planned) in replicas.iter_mut().zip(self.toll.iter()) {
            (replica.overwrites, replica.deletes) = (planned.overwrites, planned.deletes);
        }
        let stakes = replicas.iter().zip(self.toll.iter());
        let stakes = stakes.map(|(replica, planned)| Stake {
            replica: &replica.name,
            held: replica.keys,
            planned,
        });
        let settings = &self.shared.run.settings;
        self.summary.tripped = tripped(&settings.breaker, stakes);
        if settings.mode == Mode::Repair {
            for one in &self.summary.tripped {
                tracing::error!("stopped before that: {one}");
            }
        }
    }

    async fn write(&mut self, waiting: &mut Waiting) -> Result<(), RunError> {
        let run = self.shared.run;
        run.progress.enter(Phase::Deciding);
        let mut batches = Batches {
            run,
            waiting,
            next: None,
            failed: None,
        };
        self.decide(Stage::Destructions, &mut batches).await;
        match batches.failed {
            Some(error) => Err(RunError::Spool(error)),
            None => Ok(()),
        }
    }
}

/// Brings a batch to its end.
async fn work_on<'a>(shared: &'a Shared<'a>, stage: Stage, batch: Batch<'a>) -> BatchReport<'a> {
    let fresh = match batch {
        Batch::Keys(tracked) => return decide(shared, stage, tracked).await,
        Batch::Fresh(fresh) => fresh,
    };
    let db = fresh.first().and_then(|first| first.keyspace.db);
    let Some(notary) = shared.notary(db) else {
        return BatchReport::default();
    };
    match notary.learn_fresh(shared, fresh).await {
        Ok(learned) => {
            let mut report = BatchReport::default();
            for known in learned.known.chunks(BATCH_KEYS) {
                let tracked = known.iter().cloned().map(Tracked::new).collect();
                report.append(decide(shared, stage, tracked).await);
            }
            report.learned += learned.keys;
            report
        }
        Err(error) => {
            shared.break_off(error);
            BatchReport::default()
        }
    }
}

/// Ends a while after the run was told to stop.
async fn grace(run: &Run) {
    run.stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// What waits, in batches of one database each.
struct Batches<'a, 'w> {
    run: &'a Run,
    waiting: &'w mut Waiting,
    /// The first of the next batch.
    next: Option<Deferred<'a>>,
    failed: Option<io::Error>,
}

impl<'a> Batches<'a, '_> {
    fn take(&mut self) -> Option<Deferred<'a>> {
        if self.run.stop.is_cancelled() {
            return self.next.take();
        }
        let read = || self.waiting.next(&self.run.scope);
        match self.next.take().map_or_else(read, |next| Ok(Some(next))) {
            Ok(next) => next,
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

impl<'a> Iterator for Batches<'a, '_> {
    type Item = Batch<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.take()?;
        let db = first.candidate.keyspace.db;
        let mut batch = vec![Tracked::taken_up(first)];
        while batch.len() < BATCH_KEYS {
            match self.take() {
                Some(next) if next.candidate.keyspace.db == db => {
                    batch.push(Tracked::taken_up(next));
                }
                next => {
                    self.next = next;
                    break;
                }
            }
        }
        Some(Batch::Keys(batch))
    }
}
