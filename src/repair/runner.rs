//! A run from beginning to end: read, compare, settle, decide, database by database; what is destructive comes last.

use std::sync::Arc;

use futures::future::join_all;

use crate::merkle::Tree;
use crate::model::DbIndex;

use super::candidates::{Account, Comparison};
use super::course::Course;
use super::notary::MemoryTrouble;
use super::pacing::watched;
use super::round::Stage;
use super::run::{Listener, Mode, Phase, Run, RunError, Shared};
use super::segments;
use super::summary::Summary;
use super::sweep::{Budget, Gathered, Pass, Side, Sweep};
use super::tombstones;

/// Runs. The listener is told of each finding; the summary says the rest.
///
/// # Errors
/// When fewer than two replicas could be read, or the replicas must not be written by this run.
pub async fn run(run: &Run, listener: &mut dyn Listener) -> Result<Summary, RunError> {
    watched(run, go(run, listener)).await
}

async fn go(run: &Run, listener: &mut dyn Listener) -> Result<Summary, RunError> {
    let (started, waited) = (run.clock.now(), run.throttle.waits());
    let mut shared = Shared::new(run).await;
    let forgetful = shared.open_memory().await?;
    let participants = &run.participants;
    let names = participants.iter().map(|one| one.replica.name().clone());
    let before: Vec<_> = participants.iter().map(|one| one.replica.usage()).collect();
    let mut summary = Summary::new(started, names.collect());
    summary.forgetful = forgetful;
    if run.settings.mode == Mode::Repair {
        summary.run = run.memory.as_ref().map(|memory| memory.run);
    }
    let (mut finished, resumed) = segments::take_up(&shared, &summary.forgetful)?;
    let reads_all = finished.is_empty();
    summary.resumed = resumed;
    let mut course = Course::new(&shared, summary, listener);
    let databases: Vec<DbIndex> = run
        .scope
        .databases()
        .into_iter()
        .map(|db| shared.db_index(db))
        .collect();
    let is_one = |index| databases.iter().filter(|other| **other == index).count() == 1;
    for db in run.scope.databases() {
        let index = shared.db_index(db);
        let is_over = |course: &Course<'_>| {
            let limit_reached = course.summary.limit_reached;
            run.stop.is_cancelled() || shared.is_broken() || limit_reached
        };
        if !finished.contains(&index) && !run.stop.is_cancelled() && !shared.is_broken() {
            let before = course.open();
            let mut database = Database {
                shared: &shared,
                db,
                course: &mut course,
            };
            if let Err(error) = database.compare().await {
                course.abandon()?;
                return Err(error);
            }
            let is_finished = is_one(index) && !is_over(&course) && course.open() == before;
            if is_finished && segments::finish(&shared, index).await {
                finished.push(index);
            }
        }
    }
    shared.used_by_keys(0);
    course.take_up().await?;
    let is_whole = !run.stop.is_cancelled() && !course.summary.limit_reached;
    if is_whole && !shared.is_broken() {
        shared.cover(&finished).await;
        for db in run.scope.databases() {
            tombstones::sweep(&shared, db).await;
        }
        // What was read in an earlier run may have been evicted since.
        if reads_all {
            shared.note_evictions();
        }
    }
    let mut summary = course.summary;
    if let Some(error) = shared.take_trouble() {
        return Err(error);
    }
    summary.interrupted = run.stop.is_cancelled();
    summary.ended = run.clock.now();
    summary.waits = run.throttle.waits_since(&waited);
    let lost = shared.lost();
    for (index, replica) in summary.replicas.iter_mut().enumerate() {
        replica.lost = lost.get(&index).cloned();
        let usage = participants[index].replica.usage();
        replica.usage = usage.since(&before[index]);
    }
    Ok(summary)
}

/// One database's part of a run.
pub(super) struct Database<'a, 'c> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) db: Option<DbIndex>,
    pub(super) course: &'c mut Course<'a>,
}

impl<'a> Database<'a, '_> {
    async fn compare(&mut self) -> Result<(), RunError> {
        let sweep = self.pass(Pass::First);
        let budget = Arc::new(Budget::new(self.shared.room_for_keys()));
        let mut sides = self.sweep(&sweep, &budget).await?;
        if sides.is_empty() {
            return Ok(());
        }
        self.count_keys(&sides);
        if budget.is_exceeded()
            && sides
                .iter()
                .any(|(_, side)| matches!(side.gathered, Gathered::Sums(_)))
        {
            sides
                .iter_mut()
                .for_each(|(number, side)| side.fold(&sweep, *number));
            self.second_pass(sides).await
        } else {
            self.compare_entries(&sweep, sides).await
        }
    }

    /// A pass over the keys of this database.
    pub(super) fn pass<'p>(&self, pass: Pass<'p>) -> Sweep<'p>
    where
        'a: 'p,
    {
        let run = self.shared.run;
        Sweep {
            scope: &run.scope,
            db: self.db,
            digest_key: &run.digest_key,
            pass,
        }
    }

    /// Reads all replicas at the same time. Nothing is answered when the run is to stop.
    pub(super) async fn sweep(
        &mut self,
        sweep: &Sweep<'_>,
        budget: &Arc<Budget>,
    ) -> Result<Vec<(usize, Side)>, RunError> {
        let run = self.shared.run;
        run.progress.enter(Phase::Scanning);
        self.course.summary.passes += 1;
        let shared = self.shared;
        let now = shared.now();
        // However this ends, the listing ends with it: its thread keeps the state directory open.
        let listing = run.stop.child_token();
        let _ends_with_this = listing.clone().drop_guard();
        let agreed = || Some(shared.notary(self.db)?.listing(listing.clone()));
        let number = run.participants.len();
        let recalling = agreed()
            .filter(|_| sweep.is_large())
            .map(|agreed| sweep.recall_on_thread(agreed, number, budget.clone(), now));
        let reads = shared.active().into_iter().map(|index| async move {
            let replica = &run.participants[index].replica;
            let read = match replica.detached().filter(|_| sweep.is_large()) {
                Some(detached) => {
                    let shares = (run.progress.clone(), budget.clone());
                    let stop = run.stop.clone();
                    sweep.read_on_thread(detached, index, shares, stop).await
                }
                None => sweep.read(replica, index, &run.progress, budget).await,
            };
            (index, read)
        });
        let results = tokio::select! {
            // First of all: a thread that was told to stop answers with an error that is none.
            biased;
            () = run.stop.cancelled() => {
                if let Some(recalling) = recalling {
                    drop(recalling.await.expect("listing does not panic"));
                }
                return Ok(Vec::new());
            }
            results = join_all(reads) => results,
        };
        self.shared.used_by_keys(budget.most());
        let mut sides = Vec::with_capacity(results.len());
        for (index, result) in results {
            match result {
                Ok(side) => sides.push((index, side)),
                Err(error) => self.shared.lose(index, &error),
            }
        }
        if sides.len() < 2 {
            let reasons: Vec<String> = self.shared.lost().into_values().collect();
            return Err(RunError::TooFew(reasons.join("; ")));
        }
        let forgets = run.memory.is_none();
        let seen = sides.iter().any(|(_, side)| side.report.markers_seen);
        // Those of a run with memory are its own: others it has refused already.
        self.course.summary.markers_seen |= forgets && seen;
        let forgets = forgets && !run.settings.force_markers;
        let writes = run.settings.mode == Mode::Repair && forgets;
        if self.course.summary.markers_seen && writes {
            return Err(RunError::Markers);
        }
        let recalled = match (recalling, agreed()) {
            (Some(recalling), _) => recalling.await.expect("listing does not panic"),
            (None, Some(agreed)) => sweep.recall(&agreed, number, budget, now),
            (None, None) => return Ok(sides),
        };
        // What was listed until then is not all.
        if run.stop.is_cancelled() {
            return Ok(Vec::new());
        }
        sides.push((number, recalled.map_err(MemoryTrouble::State)?));
        Ok(sides)
    }

    fn count_keys(&mut self, sides: &[(usize, Side)]) {
        let db = self.shared.db_index(self.db);
        let replicas = sides.iter();
        let replicas = replicas.filter(|(index, _)| *index < self.shared.run.participants.len());
        for (index, side) in replicas {
            for (keyspace, kinds) in &side.counts {
                let tallies = self
                    .course
                    .summary
                    .tallies
                    .entry((db, keyspace.clone()))
                    .or_default();
                for (kind, count) in kinds {
                    let tally = tallies.entry(*kind).or_default();
                    tally.keys = tally.keys.max(*count);
                    self.course.summary.replicas[*index].keys += count;
                }
            }
            for (key, reason) in &side.reasons {
                tracing::debug!(replica = %self.course.summary.replicas[*index].name, %key, reason, "unreadable at first");
            }
        }
    }

    /// Builds the trees, compares them, and decides what differs.
    pub(super) async fn compare_entries(
        &mut self,
        sweep: &Sweep<'_>,
        sides: Vec<(usize, Side)>,
    ) -> Result<(), RunError> {
        self.shared.run.progress.enter(Phase::Comparing);
        let mut classes: [Vec<Account>; 2] = [Vec::new(), Vec::new()];
        let mut building = Vec::new();
        for (replica, side) in sides {
            if let Gathered::Entries(entries) = side.gathered {
                let entries = entries.into_iter().zip(side.suspects).enumerate();
                for (class, (entries, suspects)) in entries {
                    let digester = sweep.entry_digester(class, replica);
                    building.push(tokio::task::spawn_blocking(move || {
                        let entries = entries.seal();
                        let tree = Tree::build(&entries, &digester);
                        (
                            class,
                            Account {
                                replica,
                                entries,
                                tree,
                                suspects,
                            },
                        )
                    }));
                }
            }
        }
        for built in join_all(building).await {
            let (class, account) = built.expect("building a tree does not panic");
            classes[class].push(account);
        }
        for accounts in &classes {
            self.decide_all(accounts).await;
        }
        Ok(())
    }

    async fn decide_all(&mut self, accounts: &[Account]) {
        let (shared, run) = (self.shared, self.shared.run);
        let mut comparison = Comparison::new(shared, self.db, accounts);
        if comparison.has_any() {
            run.progress.enter(Phase::Settling);
            shared.pause(run.settings.settle).await;
            run.progress.enter(Phase::Deciding);
            let batches = std::iter::from_fn(|| comparison.next());
            self.course.decide(Stage::Additions, batches).await;
        }
        let more = shared.is_exhausted() && comparison.has_any();
        self.course.summary.limit_reached |= more;
        self.course.summary.expiring += comparison.expiring;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon spawns runs: this compiles only where their future can go to another thread.
    #[test]
    fn a_run_can_be_spawned() {
        fn assert_send<T: Send>(_: T) {}
        fn spawns(job: &Run, listener: &mut dyn Listener) {
            assert_send(run(job, listener));
        }
        let _: fn(&Run, &mut dyn Listener) = spawns;
    }
}
