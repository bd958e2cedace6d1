//! A run from beginning to end: read, compare, settle, decide, database by database; what is destructive comes last.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;

use crate::merkle::Tree;
use crate::model::DbIndex;

use super::candidates::{Account, Comparison};
use super::course::Course;
use super::notary::MemoryTrouble;
use super::pacing::watched;
use super::recount;
use super::round::Stage;
use super::run::{Listener, Mode, Phase, Run, RunError, Shared};
use super::scope::Scope;
use super::segments::{self, Agenda};
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
    let (mut agendas, resumed) = segments::agendas(&shared)?;
    let reads_all = resumed.is_none_or(|resumed| resumed.finished == 0);
    summary.resumed = resumed;
    let mut course = Course::new(&shared, summary, listener);
    let is_over = |course: &Course<'_>| {
        let limit_reached = course.summary.limit_reached;
        run.stop.is_cancelled() || shared.is_broken() || limit_reached
    };
    for agenda in &mut agendas {
        let passes = course.summary.passes;
        let mut most = passes;
        for slots in std::mem::take(&mut agenda.segments) {
            if run.stop.is_cancelled() || shared.is_broken() {
                break;
            }
            let before = course.open();
            course.summary.passes = passes;
            let mut database = Database {
                shared: &shared,
                db: agenda.db,
                scope: &run.scope.within(slots),
                course: &mut course,
            };
            if let Err(error) = database.compare().await {
                course.abandon()?;
                return Err(error);
            }
            most = most.max(course.summary.passes);
            if !is_over(&course) {
                let is_settled = course.open() == before;
                agenda.was_read(&shared, slots, is_settled).await;
            }
        }
        course.summary.passes = most;
    }
    shared.used_by_keys(0);
    if !is_over(&course) {
        recount::recount(&shared, &mut course).await;
    }
    course.take_up().await?;
    if !is_over(&course) {
        end(&shared, agendas, (&course.summary, reads_all)).await;
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

/// What is noted of a run that came to its end.
async fn end(shared: &Shared<'_>, agendas: Vec<Agenda>, (summary, reads_all): (&Summary, bool)) {
    for agenda in agendas {
        agenda.end(shared, summary).await;
    }
    for db in shared.run.scope.databases() {
        tombstones::sweep(shared, db).await;
    }
    // What was read in an earlier run may have been evicted since.
    if reads_all {
        shared.note_evictions();
    }
}

/// One database's part of a run.
pub(super) struct Database<'a, 'c> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) db: Option<DbIndex>,
    /// What is read of it.
    pub(super) scope: &'c Scope,
    pub(super) course: &'c mut Course<'a>,
}

impl<'a, 'c> Database<'a, 'c> {
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
        'c: 'p,
    {
        let run = self.shared.run;
        Sweep {
            scope: self.scope,
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
        let mut most: BTreeMap<_, u64> = BTreeMap::new();
        for (index, side) in replicas {
            for (keyspace, kinds) in &side.counts {
                for (kind, count) in kinds {
                    let keys = most.entry((keyspace, *kind)).or_default();
                    *keys = (*keys).max(*count);
                    self.course.summary.replicas[*index].keys += count;
                }
            }
            for (key, reason) in &side.reasons {
                tracing::debug!(replica = %self.course.summary.replicas[*index].name, %key, reason, "unreadable at first");
            }
        }
        for ((keyspace, kind), keys) in most {
            let tallies = self.course.summary.tallies.entry((db, keyspace.clone()));
            tallies.or_default().entry(kind).or_default().keys += keys;
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
        let mut comparison = Comparison::new(shared, (self.db, self.scope.positions()), accounts);
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
