//! Reading everything, and measuring it.

use crate::model::{Agreement, Lag, Lane, Voids};

use super::codec::Read;
use super::layout::{Chapter, beginning, record_of, row, split_commit, split_replica};
use super::record::{Head, Record, counter, ended, outcome};
use super::store::{Flow, Table};
use super::{JournalEntry, Result, Segment, State};

/// What a check of every record found readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Keys that are agreed to be there.
    pub keys: u64,
    /// Keys that are agreed to be gone.
    pub tombstones: u64,
    /// Lag entries.
    pub lags: u64,
    /// Superseded versions and ended lags.
    pub history: u64,
    /// Entries of the journal.
    pub journal: u64,
    /// Open intents.
    pub intents: u64,
    /// Runs.
    pub runs: u64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Bytes on disk of the store: its files and its log.
    pub bytes: u64,
    /// Bytes of agreements in files; what was written last is only in the log.
    pub agreement_bytes: u64,
    /// Bytes of journal entries, before they are compressed.
    pub journal_bytes: u64,
}

impl State {
    /// Reads every record, and answers how many of each there are.
    ///
    /// # Errors
    /// What the first record that cannot be read is about.
    pub fn check(&self) -> Result<Checked> {
        let mut checked = Checked::default();
        self.each(Table::Agreed, "an agreement", |at, value| {
            let (_, _, record) = row(at, value)?;
            Agreement::decode(record)?;
            match Head::of(record)? {
                Head::Tombstone => checked.tombstones += 1,
                Head::There(..) => checked.keys += 1,
            }
            Ok(())
        })?;
        self.each(Table::Lags, "a lag", |at, value| {
            let (place, _) = split_replica(at)?;
            Lag::decode(row(place, value)?.2)?;
            checked.lags += 1;
            Ok(())
        })?;
        self.each(Table::History, "the history of a key", |at, value| {
            let (place, _) = split_commit(at)?;
            Agreement::decode(row(place, ended(value)?.1)?.2)?;
            checked.history += 1;
            Ok(())
        })?;
        for (table, about) in [
            (Table::LagHistory, "the history of a lag"),
            (Table::Replaced, "a state that was written over"),
        ] {
            self.each(table, about, |at, value| {
                let (place, _) = split_replica(split_commit(at)?.0)?;
                Lag::decode(row(place, ended(value)?.1)?.2)?;
                checked.history += 1;
                Ok(())
            })?;
        }
        self.each(Table::Journal, "an entry of the journal", |_, value| {
            JournalEntry::decode(value)?;
            checked.journal += 1;
            Ok(())
        })?;
        self.check_book(&mut checked)?;
        Ok(checked)
    }

    fn check_book(&self, checked: &mut Checked) -> Result<()> {
        checked.intents = self.intents()?.len() as u64;
        checked.runs = self.runs()?.len() as u64;
        self.replicas()?;
        self.journal_sizes()?;
        self.chapter::<Segment>(Chapter::Segments, || "a segment".into())?;
        self.chapter::<Lane>(Chapter::Lanes, || "a lane".into())?;
        self.chapter::<Voids>(Chapter::Voids, || "the voids of a replica".into())?;
        for chapter in [Chapter::Coverage, Chapter::Evictions] {
            let about = "what a replica was read of";
            self.each_of(chapter, about, |_, value| counter(value).map(|_| ()))?;
        }
        self.each_of(Chapter::Outcomes, "an outcome", |_, value| {
            outcome(value).map(|_| ())
        })?;
        self.each_of(Chapter::Held, "a held key", |_, value| {
            record_of(value).and_then(super::Hold::decode).map(|_| ())
        })
    }

    /// How much there is.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub fn sizes(&self) -> Result<Sizes> {
        let journal = self.journal_sizes()?;
        Ok(Sizes {
            bytes: self.0.store.bytes()?,
            agreement_bytes: self.0.store.table_bytes(Table::Agreed),
            journal_bytes: journal.iter().map(|(_, size)| size.bytes).sum(),
        })
    }

    fn each(
        &self,
        table: Table,
        about: &str,
        mut read: impl FnMut(&[u8], &[u8]) -> Read<()>,
    ) -> Result<()> {
        self.0.store.scan(table, beginning(&[]), |at, value| {
            self.read(read(at, value), || about.into())?;
            Ok(Flow::Continue)
        })
    }

    fn each_of(
        &self,
        chapter: Chapter,
        about: &str,
        mut read: impl FnMut(&[u8], &[u8]) -> Read<()>,
    ) -> Result<()> {
        let rows = beginning(&[chapter.letter()]);
        self.0.store.scan(Table::Book, rows, |at, value| {
            self.read(read(at, value), || about.into())?;
            Ok(Flow::Continue)
        })
    }
}
