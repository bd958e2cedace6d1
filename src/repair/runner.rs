//! A run from beginning to end: read, compare, settle, decide, database by database.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use futures::future::join_all;

use crate::merkle::{BucketSet, Buckets, Diff, Difference, SealedEntries, Side as TreeSide, Tree};
use crate::model::DbIndex;
use crate::store::BATCH_KEYS;

use super::look::{Look, difference, is_expiring};
use super::round::{BatchReport, Candidate, decide};
use super::run::{Listener, Mode, Phase, Run, RunError, Shared};
use super::summary::Summary;
use super::sweep::{Budget, Gathered, Side, Sweep};

/// Batches that are decided at the same time.
const BATCHES: usize = 4;

/// What an entry costs in memory beside its key: the record, its share of the tree, and some slack of the vectors.
const ENTRY_BYTES: u64 = 64;

/// A key's length for estimates before any key was seen.
const KEY_BYTES: u64 = 32;

/// How long an interrupted run may take to finish the batches that are under way.
const GRACE: std::time::Duration = std::time::Duration::from_millis(1500);

/// Runs. The listener is told of each finding; the summary says the rest.
///
/// # Errors
/// When fewer than two replicas could be read, or the replicas must not be written by this run.
pub async fn run(run: &Run, listener: &mut dyn Listener) -> Result<Summary, RunError> {
    let started = run.clock.now();
    let shared = Shared::new(run).await;
    let names = run
        .participants
        .iter()
        .map(|one| one.replica.name().clone())
        .collect();
    let mut summary = Summary::new(started, names);
    let before: Vec<_> = run
        .participants
        .iter()
        .map(|one| one.replica.usage())
        .collect();
    for db in run.scope.databases() {
        if !run.stop.is_cancelled() {
            let mut database = Database {
                shared: &shared,
                db,
                summary: &mut summary,
                listener: &mut *listener,
            };
            database.compare().await?;
        }
    }
    summary.interrupted = run.stop.is_cancelled();
    summary.ended = run.clock.now();
    let lost = shared.lost();
    for (index, replica) in summary.replicas.iter_mut().enumerate() {
        replica.lost = lost.get(&index).cloned();
        replica.usage = run.participants[index]
            .replica
            .usage()
            .since(&before[index]);
    }
    Ok(summary)
}

/// One database's part of a run.
struct Database<'a> {
    shared: &'a Shared<'a>,
    db: Option<DbIndex>,
    summary: &'a mut Summary,
    listener: &'a mut dyn Listener,
}

/// A replica's entries and tree, with its index.
struct Account {
    replica: usize,
    entries: SealedEntries,
    tree: Tree,
}

impl Database<'_> {
    async fn compare(&mut self) -> Result<(), RunError> {
        let run = self.shared.run;
        let sweep = Sweep {
            scope: &run.scope,
            db: self.db,
            digest_key: &run.digest_key,
            within: None,
        };
        let budget = Budget::new(run.settings.memory);
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

    /// Reads all replicas at the same time. Nothing is answered when the run is to stop.
    async fn sweep(
        &mut self,
        sweep: &Sweep<'_>,
        budget: &Budget,
    ) -> Result<Vec<(usize, Side)>, RunError> {
        let run = self.shared.run;
        run.progress.enter(Phase::Scanning);
        self.summary.passes += 1;
        let shared = self.shared;
        let reads = shared.active().into_iter().map(|index| async move {
            let replica = &run.participants[index].replica;
            (
                index,
                sweep
                    .read(replica, index, &shared.pacers[index], budget)
                    .await,
            )
        });
        let results = tokio::select! {
            results = join_all(reads) => results,
            () = run.stop.cancelled() => return Ok(Vec::new()),
        };
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
        self.summary.markers_seen |= sides.iter().any(|(_, side)| side.report.markers_seen);
        let writes = run.settings.mode == Mode::Repair && !run.settings.force_markers;
        if self.summary.markers_seen && writes {
            return Err(RunError::Markers);
        }
        Ok(sides)
    }

    fn count_keys(&mut self, sides: &[(usize, Side)]) {
        let db = self.shared.db_index(self.db);
        for (index, side) in sides {
            for (keyspace, kinds) in &side.counts {
                let tallies = self
                    .summary
                    .tallies
                    .entry((db, keyspace.clone()))
                    .or_default();
                for (kind, count) in kinds {
                    let tally = tallies.entry(*kind).or_default();
                    tally.keys = tally.keys.max(*count);
                    self.summary.replicas[*index].keys += count;
                }
            }
            for (key, reason) in &side.reasons {
                tracing::debug!(replica = %self.summary.replicas[*index].name, %key, reason, "unreadable at first");
            }
        }
    }

    /// Beyond the memory limit: the sums say which buckets differ; their keys alone are read again, a part at a time.
    async fn second_pass(&mut self, sides: Vec<(usize, Side)>) -> Result<(), RunError> {
        let run = self.shared.run;
        let sums: Vec<&[Buckets; 2]> = sides
            .iter()
            .filter_map(|(_, side)| match &side.gathered {
                Gathered::Sums(sums) => Some(sums),
                Gathered::Entries(_) => None,
            })
            .collect();
        let differing = [0, 1].map(|class| {
            Buckets::differing(&sums.iter().map(|sums| &sums[class]).collect::<Vec<_>>())
        });
        let most = (run.settings.memory / (ENTRY_BYTES + KEY_BYTES)).max(1);
        let [longest, ignore] = differing;
        let none = Buckets::differing(&[&Buckets::new(1), &Buckets::new(1)]);
        let parts = longest
            .split_by_budget(most)
            .into_iter()
            .map(|part| [part, none.clone()]);
        let parts: Vec<[BucketSet; 2]> = parts
            .chain(
                ignore
                    .split_by_budget(most)
                    .into_iter()
                    .map(|part| [none.clone(), part]),
            )
            .collect();
        tracing::info!(
            parts = parts.len(),
            "beyond the memory limit: reading what differs again"
        );
        for part in &parts {
            if part.iter().all(BucketSet::is_empty) || run.stop.is_cancelled() {
                continue;
            }
            let sweep = Sweep {
                scope: &run.scope,
                db: self.db,
                digest_key: &run.digest_key,
                within: Some(part),
            };
            let sides = self.sweep(&sweep, &Budget::new(u64::MAX)).await?;
            if !sides.is_empty() {
                self.compare_entries(&sweep, sides).await?;
            }
        }
        Ok(())
    }

    /// Builds the trees, compares them, and decides what differs.
    async fn compare_entries(
        &mut self,
        sweep: &Sweep<'_>,
        sides: Vec<(usize, Side)>,
    ) -> Result<(), RunError> {
        self.shared.run.progress.enter(Phase::Comparing);
        let mut classes: [Vec<Account>; 2] = [Vec::new(), Vec::new()];
        let mut building = Vec::new();
        for (replica, side) in sides {
            if let Gathered::Entries(entries) = side.gathered {
                for (class, entries) in entries.into_iter().enumerate() {
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
        let run = self.shared.run;
        let sides: Vec<TreeSide<'_>> = accounts
            .iter()
            .map(|account| TreeSide {
                tree: &account.tree,
                entries: &account.entries,
            })
            .collect();
        let mut diff = Diff::new(&sides, run.scope.positions());
        let expiring = AtomicU64::new(0);
        let candidates = Candidates {
            shared: self.shared,
            db: self.db,
        };
        let Some(first) = candidates.next(&mut diff, accounts, &expiring) else {
            self.summary.expiring += expiring.into_inner();
            return;
        };
        run.progress.enter(Phase::Settling);
        self.shared.pause(run.settings.settle).await;
        run.progress.enter(Phase::Deciding);
        let shared = self.shared;
        {
            let mut waiting = Some(first);
            let batches = std::iter::from_fn(|| {
                let mut batch = Vec::with_capacity(BATCH_KEYS);
                batch.extend(waiting.take());
                while batch.len() < BATCH_KEYS && !run.stop.is_cancelled() && !shared.is_exhausted()
                {
                    match candidates.next(&mut diff, accounts, &expiring) {
                        Some(candidate) => batch.push(candidate),
                        None => break,
                    }
                }
                run.progress
                    .candidates
                    .fetch_add(batch.len() as u64, Ordering::Relaxed);
                (!batch.is_empty()).then_some(batch)
            });
            let deciding = futures::stream::iter(batches)
                .map(|batch| decide(shared, batch))
                .buffered(BATCHES);
            let mut deciding = std::pin::pin!(deciding);
            loop {
                let report = tokio::select! {
                    report = deciding.next() => report,
                    () = grace(run) => None,
                };
                match report {
                    Some(report) => take_report(self.summary, self.listener, run, report),
                    None => break,
                }
            }
        }
        self.summary.expiring += expiring.load(Ordering::Relaxed);
        let more =
            shared.is_exhausted() && candidates.next(&mut diff, accounts, &expiring).is_some();
        self.summary.limit_reached |= more;
    }
}

/// Ends a while after the run was told to stop.
async fn grace(run: &Run) {
    run.stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn take_report(summary: &mut Summary, listener: &mut dyn Listener, run: &Run, report: BatchReport) {
    summary.in_flight += report.in_flight;
    summary.expiring += report.expiring;
    let decided = report.findings.len() as u64 + report.in_flight + report.expiring;
    run.progress.decided.fetch_add(decided, Ordering::Relaxed);
    for finding in report.findings {
        summary.count(&finding);
        listener.finding(&finding);
    }
}

/// Turns differences of trees into candidates.
#[derive(Clone, Copy)]
struct Candidates<'a> {
    shared: &'a Shared<'a>,
    db: Option<DbIndex>,
}

impl<'a> Candidates<'a> {
    /// The next key that differs under its keyspace's policy.
    fn next(
        &self,
        diff: &mut Diff<'_>,
        accounts: &[Account],
        expiring: &AtomicU64,
    ) -> Option<Candidate<'a>> {
        loop {
            let difference = diff.next()?;
            if let Some(candidate) = self.admit(&difference, accounts, expiring) {
                return Some(candidate);
            }
        }
    }

    fn admit(
        &self,
        found: &Difference<'_>,
        accounts: &[Account],
        expiring: &AtomicU64,
    ) -> Option<Candidate<'a>> {
        let run = self.shared.run;
        let keyspace = run.scope.owner(self.db, found.key)?;
        let looks: Vec<Look> = found
            .sides
            .iter()
            .map(|side| Look::listed(side.as_ref()))
            .collect();
        let unreadable = looks.contains(&Look::Unreadable);
        if !unreadable && !run.scope.admits_kinds(looks.iter().filter_map(Look::kind)) {
            return None;
        }
        difference(&looks, &keyspace.policy.expiry)?;
        if is_expiring(&looks, self.shared.now(), &keyspace.policy.expiry) {
            expiring.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let mut all = vec![None; run.participants.len()];
        for (account, look) in accounts.iter().zip(looks) {
            all[account.replica] = Some(look);
        }
        Some(Candidate {
            key: crate::model::Key::copied(found.key),
            keyspace,
            looks: all,
        })
    }
}
