//! Keys that wait for the second stage of a run, on disk: whatever their number, little stands in memory.
//!
//! ```text
//! additions ──▶ append ──▶ [ length, record ][ length, record ]... ──▶ next, in the same order ──▶ destructions
//! ```
//!
//! The file has no name: the system removes it when the run ends, however it ends. Only the process that wrote it reads
//! it, so its form has no version. What is read from it is looked at afresh before anything is written.

mod codec;
mod record;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use record::Words;

use super::round::Deferred;
use super::scope::Scope;

/// Details are kept of so many keys: a report that shows more goes without.
const DETAILED: u64 = 1000;

/// Bytes that are written and read at a time.
const BUFFER: usize = 64 << 10;

/// Keys that wait; written first, then read.
pub(super) struct Spool {
    file: Option<BufWriter<File>>,
    words: Words,
    keys: u64,
}

impl Spool {
    /// No keys. A file is made with the first.
    pub(super) fn new() -> Self {
        Self {
            file: None,
            words: Words::default(),
            keys: 0,
        }
    }

    /// How many keys wait.
    pub(super) fn len(&self) -> u64 {
        self.keys
    }

    /// Appends a key.
    ///
    /// # Errors
    /// When the disk takes no more: the key must not be forgotten.
    pub(super) fn append(&mut self, deferred: &Deferred<'_>) -> io::Result<()> {
        let record = record::encode(deferred, &mut self.words, self.keys < DETAILED);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::with_capacity(BUFFER, tempfile::tempfile()?)),
        };
        file.write_all(&(record.len() as u64).to_le_bytes())?;
        file.write_all(&record)?;
        self.keys += 1;
        Ok(())
    }

    /// Goes over to reading.
    ///
    /// # Errors
    /// When the disk does not take what was still to be written.
    pub(super) fn read(self) -> io::Result<Waiting> {
        let file = match self.file {
            None => None,
            Some(writer) => {
                let mut file = writer
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                Some(BufReader::with_capacity(BUFFER, file))
            }
        };
        Ok(Waiting {
            file,
            words: self.words,
            left: self.keys,
        })
    }
}

/// Keys that wait, in the order in which they came.
pub(super) struct Waiting {
    file: Option<BufReader<File>>,
    words: Words,
    left: u64,
}

impl Waiting {
    /// The next key; nothing when all were taken.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what was written; what is left is then lost to this run.
    pub(super) fn next<'a>(&mut self, scope: &'a Scope) -> io::Result<Option<Deferred<'a>>> {
        let Some(file) = self.file.as_mut().filter(|_| self.left > 0) else {
            return Ok(None);
        };
        let mut length = [0; size_of::<u64>()];
        file.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?;
        let mut record = vec![0; length];
        file.read_exact(&mut record)?;
        self.left -= 1;
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "a record is broken");
        let deferred = record::decode(&record, &self.words, scope);
        deferred.map(Some).ok_or_else(broken)
    }
}

#[cfg(test)]
mod tests;
