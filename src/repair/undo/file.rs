//! Undoing a run that had no memory: from the file in which it kept what it overwrote.
//!
//! The file teaches nothing but what stood there: there is no agreement to take along, and no hold. The undo is noted
//! in the same file, as a run of its own.

use std::collections::BTreeMap;

use crate::model::{
    DbIndex, Digester, Key, ReplicaId, ReplicaName, RunNumber, Sequence, State, Write,
};
use crate::repair::finding::Verdict;
use crate::repair::noting::{Note, RunJournal};
use crate::repair::reading::state;
use crate::repair::round::Candidate;
use crate::repair::run::{Mode, Run, RunError, Shared};
use crate::repair::writing::{Order, Writes, write_all};
use crate::state::{JournalEntry, JournalFile, PreImage, StateError};
use crate::store::BATCH_KEYS;

use super::back::{Standing, chains};
use super::large::{Parts, is_large, losses, put_all_back, told};
use super::looked::{Looked, look};
use super::weigh::Scales;
use super::{UndoFate, UndoFinding, UndoListener, UndoRequest, UndoSummary, fate, named};

/// Writes of the run by database and key.
type Listed = BTreeMap<DbIndex, BTreeMap<Key, Vec<(ReplicaId, Sequence)>>>;

/// Undoes a run that is kept in the file of this one.
///
/// # Errors
/// When the replicas carry markers of a reknit with a memory, or the file cannot be read or takes no more.
pub async fn undo_from_file(
    run: &Run,
    request: &UndoRequest,
    listener: &mut dyn UndoListener,
) -> Result<UndoSummary, RunError> {
    let Some(journal) = &run.journal else {
        return Ok(UndoSummary::default());
    };
    let shared = Shared::new(run).await;
    refuse_markers(&shared).await?;
    let participants = run.participants.iter();
    let ids = participants.map(|one| JournalFile::id_of(one.replica.name()));
    let mut work = Work {
        shared: &shared,
        journal,
        request,
        ids: ids.collect(),
        names: names(journal, request.undone),
        scales: Scales::new(&shared),
        listener,
        summary: UndoSummary {
            undone: request.undone,
            ..UndoSummary::default()
        },
    };
    work.go().await.map_err(RunError::Journal)?;
    work.summary.tripped = work.scales.weigh(&shared).await;
    work.go().await.map_err(RunError::Journal)?;
    let mut summary = work.summary;
    if let Some(error) = shared.take_trouble() {
        return Err(error);
    }
    summary.interrupted = run.stop.is_cancelled();
    let name = |index: usize| run.participants[index].replica.name().clone();
    let lost = shared.lost().into_iter();
    summary.lost = lost.map(|(index, why)| (name(index), why)).collect();
    Ok(summary)
}

/// What a reknit with a memory repairs, it remembers: to it, what is put back would be a client's change.
async fn refuse_markers(shared: &Shared<'_>) -> Result<(), RunError> {
    let run = shared.run;
    if run.settings.force_markers || run.settings.mode != Mode::Repair {
        return Ok(());
    }
    for db in run.scope.databases() {
        for index in shared.active() {
            match run.participants[index].replica.states(db).await {
                Ok(states) if states.is_empty() => {}
                Ok(_) => return Err(RunError::Markers),
                Err(error) => shared.lose(index, &error),
            }
        }
    }
    Ok(())
}

/// The replicas of the run that is undone, by identity.
fn names(journal: &RunJournal, undone: RunNumber) -> BTreeMap<ReplicaId, ReplicaName> {
    let runs = journal.file.runs().into_iter();
    let of_run = runs.filter(|run| run.number == undone);
    of_run.flat_map(|run| run.start.replicas).collect()
}

/// An undo under way.
struct Work<'a, 'l> {
    shared: &'a Shared<'a>,
    journal: &'a RunJournal,
    request: &'a UndoRequest,
    /// By participant.
    ids: Vec<ReplicaId>,
    names: BTreeMap<ReplicaId, ReplicaName>,
    scales: Scales,
    listener: &'l mut dyn UndoListener,
    summary: UndoSummary,
}

impl Work<'_, '_> {
    async fn go(&mut self) -> Result<(), StateError> {
        let mut listed = self.list()?;
        for db in self.shared.run.scope.databases() {
            let keys = listed.remove(&self.shared.db_index(db)).unwrap_or_default();
            let keys: Vec<_> = keys.into_iter().collect();
            for chunk in keys.chunks(BATCH_KEYS) {
                if self.shared.run.stop.is_cancelled() || self.shared.is_broken() {
                    return Ok(());
                }
                self.batch(db, chunk).await?;
            }
        }
        for (db, keys) in listed {
            for (key, writes) in keys {
                let reason = "no keyspace of the configuration is in its database";
                self.keep(db, &key, &writes, reason);
            }
        }
        Ok(())
    }

    /// Which keys the run wrote where. Names alone: pre-images can be large.
    fn list(&self) -> Result<Listed, StateError> {
        let mut listed = Listed::new();
        let keys = &self.request.keys;
        self.journal
            .file
            .journal(self.request.undone, &mut |entry| {
                let named = keys.is_empty() || keys.contains(&entry.key);
                let is_write = !matches!(entry.before, PreImage::Part(_));
                if named && is_write && entry.outcome != Some(false) {
                    let of_db = listed.entry(entry.db).or_default();
                    let of_key = of_db.entry(entry.key).or_default();
                    of_key.push((entry.replica, entry.sequence));
                }
            })?;
        Ok(listed)
    }

    async fn batch(
        &mut self,
        db: Option<DbIndex>,
        keys: &[(Key, Vec<(ReplicaId, Sequence)>)],
    ) -> Result<(), StateError> {
        let shared = self.shared;
        let index = shared.db_index(db);
        let mut candidates = Vec::new();
        for (key, writes) in keys {
            match shared.run.scope.owner(db, key.as_bytes()) {
                None => self.keep(
                    index,
                    key,
                    writes,
                    "no keyspace of the configuration has it",
                ),
                Some(keyspace) => {
                    let candidate = Candidate {
                        key: key.clone(),
                        keyspace,
                        looks: Vec::new(),
                    };
                    candidates.push((candidate, self.entries(writes)?));
                }
            }
        }
        let file = &self.journal.file;
        let parts = |_: &JournalEntry, step| file.entry(step);
        let (mut orders, mut waiting) = (Writes::new(), Vec::new());
        let mut digester = Digester::new(shared.run.digest_key.clone());
        for (number, looked) in look(shared, candidates).await.into_iter().enumerate() {
            let Looked {
                candidate,
                observed,
                stampings,
                entries,
            } = &looked;
            let standing = Standing {
                shared,
                db: index,
                candidate,
                observed,
                stampings,
                only: self.request.replica,
            };
            let chains = chains(entries, &self.ids);
            if is_large(observed, entries) {
                let how = (&parts as Parts<'_>, self.scales.writes(shared));
                let done = put_all_back(&standing, &chains, None, how).await;
                self.scales.weighs(&losses(&chains, &done));
                let mut findings = told(&standing, &chains, done, &self.names);
                self.scales.settle(shared, &mut findings);
                findings.iter().for_each(|finding| self.say(finding));
                waiting.push(Vec::new());
                continue;
            }
            let ways = chains.iter().map(|one| standing.way(one, &mut digester));
            let steps = standing.steps(&chains, ways.collect(), &self.names);
            self.scales.weighs(&steps.losses);
            for (replica, write) in steps.writes {
                let wanted = steps.targets.get(&replica).and_then(Option::as_ref);
                let held = state(&observed[replica]);
                let order = order(number, write, (held, wanted), &mut digester);
                orders.entry(replica).or_default().push(order);
            }
            waiting.push(steps.findings);
        }
        self.write(db, orders, waiting).await;
        Ok(())
    }

    fn entries(&self, writes: &[(ReplicaId, Sequence)]) -> Result<Vec<JournalEntry>, StateError> {
        let mut entries = Vec::with_capacity(writes.len());
        for (_, number) in writes {
            entries.extend(self.journal.file.entry(*number)?);
        }
        Ok(entries)
    }

    /// Writes, and says what became of it.
    async fn write(
        &mut self,
        db: Option<DbIndex>,
        orders: Writes,
        mut waiting: Vec<Vec<UndoFinding>>,
    ) {
        let run = self.shared.run;
        if self.scales.writes(self.shared) {
            for one in write_all(self.shared, db, orders).await {
                let name = run.participants[one.replica].replica.name();
                let reason = one.verdict.as_ref().and_then(Verdict::reason);
                let fate = fate(one.fate, reason);
                waiting[one.key]
                    .iter_mut()
                    .filter(|finding| finding.replica == *name)
                    .filter(|finding| finding.fate == UndoFate::Planned)
                    .for_each(|finding| finding.fate = fate.clone());
            }
        }
        for mut findings in waiting {
            self.scales.settle(self.shared, &mut findings);
            findings.iter().for_each(|finding| self.say(finding));
        }
    }

    fn keep(&mut self, db: DbIndex, key: &Key, writes: &[(ReplicaId, Sequence)], reason: &str) {
        for (replica, _) in writes {
            let finding = UndoFinding {
                db,
                key: key.clone(),
                replica: named(&self.names, *replica),
                ops: Vec::new(),
                fate: UndoFate::Kept(reason.into()),
            };
            self.say(&finding);
        }
    }

    fn say(&mut self, finding: &UndoFinding) {
        if self.scales.is_weighing() {
            return;
        }
        *self.summary.counts.entry(finding.fate.name()).or_default() += 1;
        self.listener.finding(finding);
    }
}

/// A write that puts something back, with what it overwrites.
fn order(
    key: usize,
    write: Write,
    (held, wanted): (Option<&State>, Option<&State>),
    digester: &mut Digester,
) -> Order {
    let note = Note::whole(held, wanted, ("undo", "journal"), digester);
    Order {
        key,
        write,
        note: Some(note),
    }
}
