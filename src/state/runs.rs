//! The run log.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use crate::model::{DbIndex, Millis, ReplicaId, ReplicaName, RunNumber, Sequence, SlotRange};

use super::codec::Unreadable;
use super::layout::{self, Chapter, beginning};
use super::record::{Record, outcome, put_counter};
use super::store::{Flow, Table};
use super::{JournalEntry, JournalPlace, Result, State, StateError};

/// What is known when a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStart {
    /// When it began.
    pub at: Millis,
    /// What it is, in words: `repair`, `undo 7`.
    pub purpose: String,
    /// The replicas that take part.
    pub replicas: Vec<(ReplicaId, ReplicaName)>,
    /// The run that it undoes.
    pub undoes: Option<RunNumber>,
}

/// What is known when a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// When it ended.
    pub at: Millis,
    /// How: `done`, `partial`, `stopped`, `failed`.
    pub result: String,
    /// The exit code.
    pub exit: u8,
    /// Why, where there is something to say: the guard that stopped it, the reason for a forced one.
    pub note: Option<String>,
    /// Its counts by name.
    pub counts: BTreeMap<String, u64>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Its number.
    pub number: RunNumber,
    /// Its beginning.
    pub start: RunStart,
    /// Its end; nothing while it runs, and for ever if it was killed.
    pub end: Option<RunEnd>,
    /// The run that went on with it, if it was killed.
    pub taken_up_by: Option<RunNumber>,
}

/// What a run has read of a database and brought to its end, whatever became of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The database.
    pub db: DbIndex,
    /// Its slots.
    pub slots: SlotRange,
    /// When it was finished.
    pub finished: Millis,
    /// Of what the run was: its replicas, its keys and their policies.
    pub digest: [u8; blake3::OUT_LEN],
    /// The step whose markers were acknowledged after it was read.
    pub proved: Sequence,
    /// Keys that differ still, which no rule decides.
    pub left: u64,
    /// Whether all keys that it left open are remembered one by one: only then were all others absent or agreed on.
    pub is_complete: bool,
}

impl State {
    /// The number of the latest run; zero before the first.
    pub fn last_run(&self) -> RunNumber {
        self.writing().last_run
    }

    /// Leaves out the numbers up to this one: runs had them that could not be noted.
    pub fn skip_runs(&self, used: RunNumber) {
        let mut writing = self.writing();
        writing.last_run = writing.last_run.max(used);
    }

    /// Begins a run and gives it a number, on disk before it is answered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_run(&self, start: RunStart) -> Result<RunNumber> {
        let mut writing = self.writing();
        let number = RunNumber(writing.last_run.0 + 1);
        let record = RunRecord {
            number,
            start,
            end: None,
            taken_up_by: None,
        };
        let rows = vec![
            (
                Table::Book,
                layout::LAST_RUN.to_vec(),
                Some(put_counter(number.0)),
            ),
            (
                Table::Book,
                Chapter::Runs.run(number),
                Some(record.encode()),
            ),
        ];
        self.write_rows(&mut writing, rows, true)?;
        writing.last_run = number;
        Ok(number)
    }

    /// Ends a run. All that was committed is then on disk.
    ///
    /// # Errors
    /// When it cannot be written, or there is no such run.
    pub fn end_run(&self, run: RunNumber, end: RunEnd) -> Result<()> {
        let Some(mut record) = self.run(run)? else {
            let what = format!("run {run} is missing in the run log");
            return Err(StateError::unreadable(self.0.store.path(), what));
        };
        record.end = Some(end);
        let mut writing = self.writing();
        let row = (Table::Book, Chapter::Runs.run(run), Some(record.encode()));
        self.write_rows(&mut writing, vec![row], true)?;
        self.0.store.shorten_log()?;
        self.0.note_committed(&mut writing)
    }

    /// Notes which run goes on with one that was killed; nothing of one that ended, or that another went on with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn take_up_run(&self, run: RunNumber, by: RunNumber) -> Result<()> {
        let killed = |one: &RunRecord| one.end.is_none() && one.taken_up_by.is_none();
        let Some(mut record) = self.run(run)?.filter(killed) else {
            return Ok(());
        };
        record.taken_up_by = Some(by);
        let row = (Table::Book, Chapter::Runs.run(run), Some(record.encode()));
        self.write_rows(&mut self.writing(), vec![row], true)
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn runs(&self) -> Result<Vec<RunRecord>> {
        self.chapter(Chapter::Runs, || "a run".into())
    }

    /// One run.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn run(&self, run: RunNumber) -> Result<Option<RunRecord>> {
        self.noted(Chapter::Runs.run(run), || format!("run {run}"))
    }

    /// The segments that a run has finished; they are forgotten once a later run of the same kind has finished some.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn segments(&self, run: RunNumber) -> Result<Vec<Segment>> {
        let mut found = Vec::new();
        let rows = beginning(&Chapter::Segments.run(run));
        self.0.store.scan(Table::Book, rows, |_, value| {
            found.push(self.decode(value, || format!("a segment of run {run}"))?);
            Ok(Flow::Continue)
        })?;
        Ok(found)
    }

    /// What all runs have finished that may be taken up, in their order.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn all_segments(&self) -> Result<Vec<(RunNumber, Segment)>> {
        let mut found = Vec::new();
        let rows = beginning(&[Chapter::Segments.letter()]);
        self.0.store.scan(Table::Book, rows, |at, value| {
            let about = || "a segment".into();
            let run = at[1..].first_chunk().copied();
            let run = self.read(run.ok_or(Unreadable::Broken("no run")), about)?;
            let segment = self.decode(value, about)?;
            found.push((RunNumber(u64::from_be_bytes(run)), segment));
            Ok(Flow::Continue)
        })?;
        Ok(found)
    }

    /// One entry of the journal.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn journal_entry(&self, at: &JournalPlace) -> Result<Option<JournalEntry>> {
        let (row, about) = (at.row(), || format!("the journal of run {}", at.run));
        let Some(value) = self.0.store.get(Table::Journal, &row)? else {
            return Ok(None);
        };
        let mut entry: JournalEntry = self.decode(&value, about)?;
        if let Some(bytes) = self
            .0
            .store
            .get(Table::Book, &Chapter::Outcomes.about(&row))?
        {
            entry.outcome = Some(self.read(outcome(&bytes), about)?);
        }
        Ok(Some(entry))
    }

    /// Visits what a run wrote, in the order of its steps.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn journal(&self, run: RunNumber, visit: &mut dyn FnMut(JournalEntry)) -> Result<()> {
        self.journal_from(run, Sequence(0), &mut |entry| {
            visit(entry);
            ControlFlow::Continue(())
        })
    }

    /// Visits what a run wrote from this step on, in the order of its steps, until `visit` breaks off. What comes before
    /// is not read.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn journal_from(
        &self,
        run: RunNumber,
        from: Sequence,
        visit: &mut dyn FnMut(JournalEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let about = || format!("the journal of run {run}");
        let of_run = run.0.to_be_bytes();
        let (_, end) = beginning(&of_run);
        let begin = [of_run, from.0.to_be_bytes()].concat();
        let rows = (Bound::Included(begin), end);
        self.0.store.scan(Table::Journal, rows, |at, value| {
            let mut entry: JournalEntry = self.decode(value, about)?;
            if let Some(bytes) = self
                .0
                .store
                .get(Table::Book, &Chapter::Outcomes.about(at))?
            {
                entry.outcome = Some(self.read(outcome(&bytes), about)?);
            }
            Ok(match visit(entry) {
                ControlFlow::Continue(()) => Flow::Continue,
                ControlFlow::Break(()) => Flow::Stop,
            })
        })
    }
}
