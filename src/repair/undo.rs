//! Undoing a run: what it overwrote or removed is put back where the key still holds what it wrote, and what is agreed is
//! taken along.
//!
//! ```text
//! journal of the run ─ keys ─ read again ─┬─ holds what the run wrote ─▶ pre-image, in a step of its own
//!                                         └─ anything else: a client wrote since, it stays
//! ```
//!
//! An undo is a run of its own, with intents, markers and a journal: it can be undone in its turn. What was put back is
//! held: no run resolves it again until the operator names it.

mod back;
mod file;
mod large;
mod looked;
mod plan;
mod weigh;

use std::collections::BTreeMap;

use crate::model::{DbIndex, Key, ReplicaId, ReplicaName, RunNumber};
use crate::state::{JournalEntry, JournalPlace, PreImage, StateError};
use crate::store::BATCH_KEYS;

use super::finding::Fate;
use super::guard::Tripped;
use super::notary::{Case, Forgetful, MemoryTrouble, Notary, RunMemory};
use super::pacing::watched;
use super::round::{Candidate, steps};
use super::run::{Run, RunError, Shared};
use super::writing::Written;
pub use file::undo_from_file;
use large::is_large;
use looked::{Looked, look};
use plan::{Planned, draft};
use weigh::Scales;

/// What is to be undone.
#[derive(Debug, Clone, Default)]
pub struct UndoRequest {
    /// The run.
    pub undone: RunNumber,
    /// Only at this replica.
    pub replica: Option<ReplicaId>,
    /// Only these keys; all, if there are none.
    pub keys: Vec<Key>,
}

/// What became of a write of the run at one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoFate {
    /// It would be put back.
    Planned,
    /// It was put back.
    Undone,
    /// The key holds something else by now: that stays.
    Changed,
    /// The replica was not reached, for this reason.
    Missed(String),
    /// It stays, for this reason.
    Kept(String),
    /// It was not asked for.
    LeftOut,
}

impl UndoFate {
    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Undone => "undone",
            Self::Changed => "changed",
            Self::Missed(_) => "missed",
            Self::Kept(_) => "kept",
            Self::LeftOut => "left-out",
        }
    }

    /// What there is to say beyond the name.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Missed(reason) | Self::Kept(reason) => Some(reason),
            Self::Planned | Self::Undone | Self::Changed | Self::LeftOut => None,
        }
    }
}

/// What is said of one key at one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoFinding {
    /// The database.
    pub db: DbIndex,
    /// The key.
    pub key: Key,
    /// The replica.
    pub replica: ReplicaName,
    /// What is put back, in words.
    pub ops: Vec<String>,
    /// What became of it.
    pub fate: UndoFate,
}

/// Is told of each key and replica as it is decided.
pub trait UndoListener: Send {
    /// What became of a write of the run.
    fn finding(&mut self, finding: &UndoFinding);
}

/// What an undo amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UndoSummary {
    /// The run.
    pub undone: RunNumber,
    /// Whether what was put back waits until it is named: only where that is remembered.
    pub holds: bool,
    /// Keys and replicas by what became of them.
    pub counts: BTreeMap<&'static str, u64>,
    /// Replicas that forgot something.
    pub forgetful: Vec<Forgetful>,
    /// Replicas that took no part, or not to the end, and why.
    pub lost: Vec<(ReplicaName, String)>,
    /// The limits that it would exceed. If there are any, it put nothing back.
    pub tripped: Vec<Tripped>,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl UndoSummary {
    /// How many writes came to this.
    pub fn count(&self, fate: &str) -> u64 {
        self.counts.get(fate).copied().unwrap_or(0)
    }
}

/// Writes of the run by database and key.
type Listed = BTreeMap<DbIndex, BTreeMap<Key, Vec<JournalPlace>>>;

/// Undoes a run. The run that is given says who takes part, on which keyspaces, with which memory; its mode says whether
/// anything is written.
///
/// # Errors
/// When the replicas are not those of the memory, or the state directory takes no more.
pub async fn undo(
    run: &Run,
    request: &UndoRequest,
    listener: &mut dyn UndoListener,
) -> Result<UndoSummary, RunError> {
    watched(run, go(run, request, listener)).await
}

async fn go(
    run: &Run,
    request: &UndoRequest,
    listener: &mut dyn UndoListener,
) -> Result<UndoSummary, RunError> {
    let mut shared = Shared::new(run).await;
    let forgetful = shared.open_memory().await?;
    let Some(memory) = &run.memory else {
        return Ok(UndoSummary::default());
    };
    let summary = UndoSummary {
        undone: request.undone,
        holds: true,
        forgetful,
        ..UndoSummary::default()
    };
    let mut work = Work {
        shared: &shared,
        memory,
        request,
        names: BTreeMap::new(),
        began: None,
        is_undo: false,
        scales: Scales::new(&shared),
        listener,
        summary,
    };
    work.go().await.map_err(MemoryTrouble::State)?;
    work.summary.tripped = work.scales.weigh(&shared).await;
    work.go().await.map_err(MemoryTrouble::State)?;
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

/// An undo under way.
struct Work<'a, 'l> {
    shared: &'a Shared<'a>,
    memory: &'a RunMemory,
    request: &'a UndoRequest,
    names: BTreeMap<ReplicaId, ReplicaName>,
    /// When the run that is undone began.
    began: Option<crate::model::Millis>,
    /// It is an undo itself.
    is_undo: bool,
    scales: Scales,
    listener: &'l mut dyn UndoListener,
    summary: UndoSummary,
}

impl Work<'_, '_> {
    async fn go(&mut self) -> Result<(), StateError> {
        let state = &self.memory.state;
        let known = state.replicas()?.into_iter();
        self.names = known.map(|one| (one.id, one.name)).collect();
        let undone = state.run(self.request.undone)?;
        self.began = undone.as_ref().map(|run| run.start.at);
        self.is_undo = undone.is_some_and(|run| run.start.undoes.is_some());
        let mut listed = self.list()?;
        for db in self.shared.run.scope.databases() {
            let keys = listed.remove(&self.shared.db_index(db)).unwrap_or_default();
            let keys: Vec<(Key, Vec<JournalPlace>)> = keys.into_iter().collect();
            for chunk in keys.chunks(BATCH_KEYS) {
                if self.shared.run.stop.is_cancelled() || self.shared.is_broken() {
                    return Ok(());
                }
                self.batch(db, chunk).await?;
            }
        }
        for (_, keys) in listed {
            for (_, places) in keys {
                self.keep(
                    &places,
                    "no keyspace of the configuration is in its database",
                );
            }
        }
        Ok(())
    }

    /// Which keys the run wrote where. Names alone: pre-images can be large.
    fn list(&self) -> Result<Listed, StateError> {
        let mut listed = Listed::new();
        let keys = &self.request.keys;
        self.memory
            .state
            .journal(self.request.undone, &mut |entry| {
                let named = keys.is_empty() || keys.contains(&entry.key);
                let named = named && !matches!(entry.before, PreImage::Part(_));
                if named && entry.outcome != Some(false) {
                    let of_db = listed.entry(entry.db).or_default();
                    let of_key = of_db.entry(entry.key.clone()).or_default();
                    of_key.push(entry.place());
                }
            })?;
        Ok(listed)
    }

    async fn batch(
        &mut self,
        db: Option<DbIndex>,
        keys: &[(Key, Vec<JournalPlace>)],
    ) -> Result<(), StateError> {
        let shared = self.shared;
        let Some(notary) = shared.notary(db) else {
            return Ok(());
        };
        let mut candidates = Vec::new();
        for (key, places) in keys {
            match shared.run.scope.owner(db, key.as_bytes()) {
                None => self.keep(places, "no keyspace of the configuration has it"),
                Some(keyspace) => {
                    let candidate = Candidate {
                        key: key.clone(),
                        keyspace,
                        looks: Vec::new(),
                    };
                    candidates.push((candidate, self.entries(places)?));
                }
            }
        }
        let state = &self.memory.state;
        let parts = |entry: &JournalEntry, step| {
            state.journal_entry(&JournalPlace {
                sequence: step,
                ..entry.place()
            })
        };
        let (mut cases, mut waiting) = (Vec::new(), Vec::new());
        for looked in look(shared, candidates).await {
            let Looked {
                candidate,
                observed,
                stampings,
                entries,
            } = looked;
            let mut digester = crate::model::Digester::new(shared.run.digest_key.clone());
            let asked = plan::Asked {
                shared,
                notary,
                names: &self.names,
                only: self.request.replica,
                began: self.began,
                is_undo: self.is_undo,
            };
            let draft = draft(&asked, candidate, (&observed, &stampings))?;
            if is_large(&observed, &entries) {
                let how = (&parts as large::Parts<'_>, self.scales.writes(shared));
                let (mut findings, losses) = draft.undo_large(&entries, how).await?;
                self.scales.weighs(&losses);
                self.scales.settle(shared, &mut findings);
                findings.iter().for_each(|finding| self.say(finding));
                continue;
            }
            let Planned {
                case,
                findings,
                losses,
            } = draft.plan(&entries, &mut digester)?;
            if self.scales.weighs(&losses) {
                continue;
            }
            match case {
                None => findings.iter().for_each(|finding| self.say(finding)),
                Some(case) => {
                    cases.push(*case);
                    waiting.push(findings);
                }
            }
        }
        self.write(notary, cases, waiting).await
    }

    fn entries(&self, places: &[JournalPlace]) -> Result<Vec<JournalEntry>, StateError> {
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            entries.extend(self.memory.state.journal_entry(place)?);
        }
        entries.sort_by_key(|entry| entry.sequence);
        Ok(entries)
    }

    /// Takes the steps, and says what became of them.
    async fn write(
        &mut self,
        notary: &Notary<'_>,
        cases: Vec<Case<'_>>,
        mut waiting: Vec<Vec<UndoFinding>>,
    ) -> Result<(), StateError> {
        let run = self.shared.run;
        if self.scales.writes(self.shared) {
            for range in steps(&cases, 0) {
                let cases = &cases[range.clone()];
                let written = match notary.step(self.shared, cases).await {
                    Ok(written) => written,
                    Err(error) => {
                        self.shared.break_off(error);
                        break;
                    }
                };
                self.erase(notary, cases, &written).await?;
                for one in written {
                    let name = run.participants[one.replica].replica.name();
                    let findings = waiting[range.start + one.key].iter_mut();
                    let fate = fate(one.fate, one.verdict.and_then(|verdict| verdict.reason()));
                    findings
                        .filter(|finding| finding.replica == *name)
                        .filter(|finding| finding.fate == UndoFate::Planned)
                        .for_each(|finding| finding.fate = fate.clone());
                }
            }
        }
        for mut findings in waiting {
            self.scales.settle(self.shared, &mut findings);
            findings.iter().for_each(|finding| self.say(finding));
        }
        Ok(())
    }

    /// Where everything came back, what was before the run is agreed again. If it does not come to that, what was put
    /// back is remembered all the same, replica by replica.
    async fn erase(
        &self,
        notary: &Notary<'_>,
        cases: &[Case<'_>],
        written: &[Written],
    ) -> Result<(), StateError> {
        let applied = |number: usize| {
            let of_key = written.iter().filter(|one| one.key == number);
            of_key.filter(|one| one.fate == Fate::Applied).count()
        };
        let numbered = cases.iter().enumerate();
        let whole = numbered.filter(|(number, case)| applied(*number) == case.writes.len());
        let erasures = whole.filter_map(|(_, case)| plan::erasure(notary, case).transpose());
        let erasures = erasures.collect::<Result<Vec<_>, _>>()?;
        if !erasures.is_empty()
            && let Err(error) = notary.step(self.shared, &erasures).await
        {
            self.shared.break_off(error);
        }
        Ok(())
    }

    fn keep(&mut self, places: &[JournalPlace], reason: &str) {
        for place in places {
            let finding = UndoFinding {
                db: place.db,
                key: place.key.clone(),
                replica: named(&self.names, place.replica),
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

fn named(names: &BTreeMap<ReplicaId, ReplicaName>, id: ReplicaId) -> ReplicaName {
    let known = names.get(&id).cloned();
    known.unwrap_or_else(|| ReplicaName(id.to_string()))
}

fn fate(fate: Fate, reason: Option<String>) -> UndoFate {
    match fate {
        Fate::Applied => UndoFate::Undone,
        Fate::Superseded => UndoFate::Changed,
        Fate::Refused => UndoFate::Kept(reason.unwrap_or_else(|| "it was refused".into())),
        Fate::Planned | Fate::Unknown => {
            UndoFate::Missed(reason.unwrap_or_else(|| "its answer was lost".into()))
        }
    }
}
