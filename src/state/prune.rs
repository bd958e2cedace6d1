//! Forgetting on purpose: history, tombstones and journal go when they are old and nobody needs them.
//!
//! Of a key, nothing goes while a replica lags behind on it, or while a step on it is open. What is removed here is
//! gone little by little; a prune that was killed is taken up by the next one. What is old, `age.rs` says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::model::{Agreement, Millis, RunNumber, Version};

use super::layout::split_replica;
use super::layout::{self, Chapter, beginning, named, place, record_of, row, split_commit};
use super::record::{JournalSize, Record, Standing, ended, standing};
use super::store::{Flow, Row, Table};
use super::{Result, RunRecord, Segment, State};

/// How much of the journal is kept. The journal of the latest run always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The journals of runs that ended longer ago go.
    pub age: Duration,
    /// Beyond so many bytes, the oldest runs' journals go.
    pub bytes: u64,
}

/// What a pruning removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Superseded versions and ended lags.
    pub history: u64,
    /// Tombstones of keys.
    pub tombstones: u64,
    /// Tombstones of elements.
    pub removed_elements: u64,
    /// Lags of replicas that were forgotten.
    pub lags: u64,
    /// Entries of the journal.
    pub journal: u64,
    /// Runs of the log.
    pub runs: u64,
}

/// Rows that are looked at under the lock at once.
const AT_ONCE: usize = 1024;

/// Runs that the log keeps in any case.
const RUNS_KEPT: usize = 10_000;

impl State {
    /// Removes what ended longer ago than `history` and nobody lags behind of, and the journal beyond its retention.
    ///
    /// # Errors
    /// When something cannot be read or written; what was removed until then stays so.
    pub fn prune(&self, now: Millis, history: Duration, journal: Retention) -> Result<Pruned> {
        let mut pruned = Pruned {
            lags: self.sweep_forgotten()?,
            ..Pruned::default()
        };
        let passed = self.pass(now, history.max(journal.age))?;
        let before = passed.before(history);
        self.prune_tombstones(before, &mut pruned)?;
        self.prune_history(before, &mut pruned)?;
        self.prune_journal(passed.before(journal.age), journal.bytes, &mut pruned)?;
        self.prune_runs(&mut pruned)?;
        self.prune_segments()?;
        self.sync()?;
        Ok(pruned)
    }

    fn prune_tombstones(&self, before: Millis, pruned: &mut Pruned) -> Result<()> {
        let mut places = Vec::new();
        let chapter = beginning(&[Chapter::Tombstones.letter()]);
        self.0.store.scan(Table::Book, chapter, |at, _| {
            places.push(at[1..].to_vec());
            if places.len() == AT_ONCE {
                self.prune_tombstones_at(&places, before, pruned)?;
                places.clear();
            }
            Ok(Flow::Continue)
        })?;
        self.prune_tombstones_at(&places, before, pruned)
    }

    fn prune_tombstones_at(
        &self,
        places: &[Vec<u8>],
        before: Millis,
        pruned: &mut Pruned,
    ) -> Result<()> {
        let mut writing = self.writing();
        let needed = Needed::new(self)?;
        let mut rows = Vec::new();
        for place in places {
            if !needed.is(place)? {
                self.old_tombstones(place, before, &mut rows, pruned)?;
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.write_rows(&mut writing, rows, false)
    }

    fn old_tombstones(
        &self,
        place: &[u8],
        before: Millis,
        rows: &mut Vec<Row>,
        pruned: &mut Pruned,
    ) -> Result<()> {
        let about = || "an agreement".into();
        let Some(value) = self.0.store.get(Table::Agreed, place)? else {
            return Ok(());
        };
        let (_, key, record) = self.read(row(place, &value), about)?;
        let mut agreement: Agreement = self.decode(record, about)?;
        let is_old = agreement.since < before;
        if agreement.memory.is_none() && is_old {
            pruned.tombstones += 1;
            return self.remove_key(place, rows);
        }
        let old = if is_old {
            agreement.version
        } else {
            self.newest_old_version(place, before)?
        };
        let count = agreement.removed.len();
        agreement.removed.retain(|_, version| *version > old);
        let gone = count - agreement.removed.len();
        if gone == 0 {
            return Ok(());
        }
        pruned.removed_elements += gone as u64;
        if agreement.memory.is_some() && agreement.removed.is_empty() {
            rows.push((Table::Book, Chapter::Tombstones.about(place), None));
        }
        let value = named(key, agreement.encode());
        rows.push((Table::Agreed, place.to_vec(), Some(value)));
        Ok(())
    }

    /// The newest version that was superseded before then: removals up to it are older.
    fn newest_old_version(&self, place: &[u8], before: Millis) -> Result<Version> {
        let about = || "the history of a key".into();
        let mut newest = Version::default();
        self.0
            .store
            .scan(Table::History, beginning(place), |at, value| {
                if at.len() == place.len() + layout::COMMIT {
                    let (ended_at, value) = self.read(ended(value), about)?;
                    if ended_at < before {
                        let record = self.read(record_of(value), about)?;
                        let agreement: Agreement = self.decode(record, about)?;
                        newest = newest.max(agreement.version);
                    }
                }
                Ok(Flow::Continue)
            })?;
        Ok(newest)
    }

    /// All rows of a key whose tombstone goes.
    fn remove_key(&self, place: &[u8], rows: &mut Vec<Row>) -> Result<()> {
        for (table, suffix) in [
            (Table::Agreed, 0),
            (Table::History, layout::COMMIT),
            (Table::Lags, layout::REPLICA),
            (Table::LagHistory, layout::REPLICA + layout::COMMIT),
            (Table::Replaced, layout::REPLICA + layout::COMMIT),
        ] {
            let found = self.places_behind(table, place, suffix)?;
            rows.extend(found.into_iter().map(|at| (table, at, None)));
        }
        rows.push((Table::Book, Chapter::Tombstones.about(place), None));
        Ok(())
    }

    fn prune_history(&self, before: Millis, pruned: &mut Pruned) -> Result<()> {
        for table in [Table::History, Table::LagHistory, Table::Replaced] {
            let mut old = Vec::new();
            self.0.store.scan(table, beginning(&[]), |at, value| {
                let (ended_at, _) = self.read(ended(value), || "a history".into())?;
                if ended_at < before {
                    old.push(at.to_vec());
                }
                if old.len() == AT_ONCE {
                    self.prune_history_at(table, std::mem::take(&mut old), pruned)?;
                }
                Ok(Flow::Continue)
            })?;
            self.prune_history_at(table, old, pruned)?;
        }
        Ok(())
    }

    fn prune_history_at(&self, table: Table, old: Vec<Vec<u8>>, pruned: &mut Pruned) -> Result<()> {
        let mut writing = self.writing();
        let needed = Needed::new(self)?;
        let (mut rows, mut known) = (Vec::new(), HashMap::new());
        for at in old {
            let place = self.read(place_of(table, &at), || "a history".into())?;
            let is_needed = match known.get(place) {
                Some(is_needed) => *is_needed,
                None => {
                    let is_needed = needed.is(place)?;
                    known.insert(place.to_vec(), is_needed);
                    is_needed
                }
            };
            if !is_needed {
                rows.push((table, at, None));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        pruned.history += rows.len() as u64;
        self.write_rows(&mut writing, rows, false)
    }

    fn prune_journal(&self, before: Millis, most: u64, pruned: &mut Pruned) -> Result<()> {
        let sizes = self.journal_sizes()?;
        let mut left: u64 = sizes.iter().map(|(_, size)| size.bytes).sum();
        let open: BTreeSet<RunNumber> = self.intents()?.iter().map(|it| it.run).collect();
        let last = self.last_run();
        for (run, size) in sizes {
            let record = self.run(run)?;
            let is_old = record.is_none_or(|record| record.latest() < before);
            if run != last && !open.contains(&run) && (is_old || left > most) {
                pruned.journal += self.remove_journal(run)?;
                left -= size.bytes;
            }
        }
        Ok(())
    }

    /// The sizes of the journals by run, oldest first.
    pub(super) fn journal_sizes(&self) -> Result<Vec<(RunNumber, JournalSize)>> {
        let mut sizes = Vec::new();
        let chapter = beginning(&[Chapter::JournalSizes.letter()]);
        self.0.store.scan(Table::Book, chapter, |at, value| {
            let size = self.decode(value, || "the size of a journal".into())?;
            let mut run = [0; 8];
            run.copy_from_slice(&at[1..]);
            sizes.push((RunNumber(u64::from_be_bytes(run)), size));
            Ok(Flow::Continue)
        })?;
        Ok(sizes)
    }

    fn remove_journal(&self, run: RunNumber) -> Result<u64> {
        let (mut rows, mut count) = (Vec::new(), 0);
        self.0
            .store
            .scan(Table::Journal, beginning(&run.0.to_be_bytes()), |at, _| {
                count += 1;
                rows.push((Table::Journal, at.to_vec(), None));
                rows.push((Table::Book, Chapter::Outcomes.about(at), None));
                if rows.len() >= AT_ONCE {
                    self.write_rows(&mut self.writing(), std::mem::take(&mut rows), false)?;
                }
                Ok(Flow::Continue)
            })?;
        // Last: while it is there, a journal that was removed in part is taken up again.
        rows.push((Table::Book, Chapter::JournalSizes.run(run), None));
        self.write_rows(&mut self.writing(), rows, false)?;
        Ok(count)
    }

    fn prune_runs(&self, pruned: &mut Pruned) -> Result<()> {
        let runs = self.runs()?;
        let kept: BTreeSet<RunNumber> = self.journal_sizes()?.into_iter().map(|it| it.0).collect();
        let beyond = runs.len().saturating_sub(RUNS_KEPT);
        let gone = runs[..beyond]
            .iter()
            .filter(|run| !kept.contains(&run.number));
        let rows: Vec<Row> = gone
            .map(|run| (Table::Book, Chapter::Runs.run(run.number), None))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        pruned.runs += rows.len() as u64;
        self.write_rows(&mut self.writing(), rows, false)
    }
}

impl State {
    /// Of the segments of each kind, removes those of all runs but the latest: nobody takes them up any more.
    fn prune_segments(&self) -> Result<()> {
        let mut found = Vec::new();
        let all = beginning(&[Chapter::Segments.letter()]);
        self.0.store.scan(Table::Book, all, |at, value| {
            let segment: Segment = self.decode(value, || "a segment".into())?;
            found.push((at.to_vec(), segment.digest));
            Ok(Flow::Continue)
        })?;
        let run = |at: &[u8]| at[1..].first_chunk::<8>().copied();
        // In the order of their runs: the last one counts.
        let latest: BTreeMap<_, _> = found.iter().map(|(at, kind)| (*kind, run(at))).collect();
        let is_old = |(at, kind): &(Vec<u8>, _)| latest.get(kind) != Some(&run(at));
        let old = found.into_iter().filter(is_old);
        let rows: Vec<Row> = old.map(|(at, _)| (Table::Book, at, None)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.write_rows(&mut self.writing(), rows, false)
    }
}

/// What must stay whatever its age.
struct Needed<'a> {
    state: &'a State,
    /// The places that open steps are about.
    open: BTreeSet<Vec<u8>>,
}

impl<'a> Needed<'a> {
    fn new(state: &'a State) -> Result<Self> {
        let intents = state.intents()?;
        let open = intents.iter().flat_map(|intent| {
            let keys = intent.keys.iter();
            keys.map(|key| place(intent.db, key.key.as_bytes()))
        });
        Ok(Self {
            state,
            open: open.collect(),
        })
    }

    /// Whether a replica lags behind on the key, or a step on it is open.
    fn is(&self, place: &[u8]) -> Result<bool> {
        if self.open.contains(place) {
            return Ok(true);
        }
        let about = || "a lag".into();
        let mut is_needed = false;
        let lags = beginning(place);
        self.state.0.store.scan(Table::Lags, lags, |at, value| {
            if at.len() != place.len() + layout::REPLICA {
                return Ok(Flow::Continue);
            }
            let (_, replica) = self.state.read(split_replica(at), about)?;
            let standing = record_of(value).and_then(standing);
            is_needed = self.state.read(standing, about)?.0 == Standing::Behind
                && !self.state.is_forgotten(replica);
            Ok(if is_needed {
                Flow::Stop
            } else {
                Flow::Continue
            })
        })?;
        Ok(is_needed)
    }
}

impl RunRecord {
    /// When it last showed that it was there.
    fn latest(&self) -> Millis {
        self.end.as_ref().map_or(self.start.at, |end| end.at)
    }
}

/// The place of the key that a row of a history is about.
fn place_of(table: Table, at: &[u8]) -> super::codec::Read<&[u8]> {
    let (place, _) = split_commit(at)?;
    match table {
        Table::LagHistory | Table::Replaced => split_replica(place).map(|(place, _)| place),
        _ => Ok(place),
    }
}
