//! The frames of a journal's file: each with its length and digest, so that nothing is taken for what it is not.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use crate::model::{RunNumber, Sequence};

use super::super::codec::{Reader, Unreadable, put_number};
use super::super::error::StateError;
use super::super::record::{FORMAT, Record};
use super::{JournalEntry, KeptRun, Result, RunRecord, Torn, damaged, failed};

/// What a file begins with; the last byte is its format.
pub(super) const HEAD: [u8; 15] = *b"reknit journal\x01";

/// The bytes of the head that say what the file is.
const NAME: usize = HEAD.len() - 1;

pub(super) const SECRET: u8 = b'K';
pub(super) const RUN: u8 = b'R';
pub(super) const ENTRY: u8 = b'E';
pub(super) const OUTCOME: u8 = b'O';

const LENGTH: usize = 4;
/// Bytes of the length's own digest: a length that was changed must not pass for a file that is cut off.
const CHECK: usize = 4;
const DIGEST: usize = 8;
/// Bytes of a frame before its record.
const FRAME: usize = LENGTH + CHECK + DIGEST;

/// Where a write stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    /// Of the whole frame.
    pub(super) length: u64,
    pub(super) run: RunNumber,
}

/// A frame around a record.
pub(super) fn framed(letter: u8, record: &[u8]) -> Vec<u8> {
    let length =
        u32::try_from(1 + record.len()).expect("a value that is read at once is far below 4 GiB");
    let mut out = Vec::with_capacity(FRAME + 1 + record.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&digest::<CHECK>(&length.to_be_bytes()));
    out.extend_from_slice(&[0; DIGEST]);
    out.push(letter);
    out.extend_from_slice(record);
    let digest = digest::<DIGEST>(&out[FRAME..]);
    out[LENGTH + CHECK..FRAME].copy_from_slice(&digest);
    out
}

fn digest<const BYTES: usize>(record: &[u8]) -> [u8; BYTES] {
    let mut digest = [0; BYTES];
    digest.copy_from_slice(&blake3::hash(record).as_bytes()[..BYTES]);
    digest
}

/// Whether a write happened.
pub(super) fn outcome(number: Sequence, applied: bool) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_number(&mut out, number.0);
    out.push(u8::from(applied));
    out
}

/// The write of a whole frame.
pub(super) fn entry(frame: &[u8]) -> Result<JournalEntry, &'static str> {
    let record = frame.get(FRAME + 1..).ok_or("it is cut off")?;
    if digest::<DIGEST>(&frame[FRAME..]) != frame[LENGTH + CHECK..FRAME] {
        return Err("its digest does not fit");
    }
    JournalEntry::decode(record).map_err(words)
}

fn words(unreadable: Unreadable) -> &'static str {
    match unreadable {
        Unreadable::Format(_) => "a newer reknit wrote it",
        Unreadable::Broken(what) => what,
    }
}

/// Reads a file from its beginning to its end.
pub(super) struct Scan<'a> {
    path: &'a Path,
    length: u64,
    /// Behind the last whole frame.
    pub(super) end: u64,
    pub(super) secret: Option<[u8; 32]>,
    pub(super) runs: Vec<KeptRun>,
    pub(super) entries: Vec<(Place, Option<bool>)>,
    pub(super) torn: Option<Torn>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(path: &'a Path, length: u64) -> Self {
        Self {
            path,
            length,
            end: 0,
            secret: None,
            runs: Vec::new(),
            entries: Vec::new(),
            torn: None,
        }
    }

    pub(super) fn read(&mut self, file: &mut File) -> Result<()> {
        let told = |error| failed(self.path, "read", error);
        file.rewind().map_err(told)?;
        let mut reader = BufReader::new(file);
        self.head(&mut reader)?;
        self.end = HEAD.len() as u64;
        while self.end < self.length && self.torn.is_none() {
            self.frame(&mut reader)?;
        }
        Ok(())
    }

    fn head(&self, reader: &mut impl Read) -> Result<()> {
        let mut head = [0; HEAD.len()];
        if self.length < head.len() as u64 {
            return Err(damaged(self.path, "is no journal of reknit".into()));
        }
        let read = reader.read_exact(&mut head);
        read.map_err(|error| failed(self.path, "read", error))?;
        if head[..NAME] != HEAD[..NAME] {
            return Err(damaged(self.path, "is no journal of reknit".into()));
        }
        match head[NAME].cmp(&HEAD[NAME]) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(damaged(self.path, "has no format".into())),
            std::cmp::Ordering::Greater => Err(StateError::Newer {
                path: self.path.to_owned(),
                found: u64::from(head[NAME]),
                ours: u64::from(HEAD[NAME]),
            }),
        }
    }

    fn frame(&mut self, reader: &mut impl Read) -> Result<()> {
        let left = self.length - self.end;
        let mut head = [0; FRAME];
        if left < FRAME as u64 {
            return self.tear();
        }
        let told = |error| failed(self.path, "read", error);
        reader.read_exact(&mut head).map_err(told)?;
        let mut length = [0; LENGTH];
        length.copy_from_slice(&head[..LENGTH]);
        if digest::<CHECK>(&length) != head[LENGTH..LENGTH + CHECK] {
            return Err(self.damaged("its length does not fit"));
        }
        let length = u64::from(u32::from_be_bytes(length));
        let whole = FRAME as u64 + length;
        if whole > left {
            return self.tear();
        }
        let mut record = vec![0; length as usize];
        reader.read_exact(&mut record).map_err(told)?;
        if digest::<DIGEST>(&record) != head[LENGTH + CHECK..] {
            // The last one may have been under way when the machine stopped.
            return match whole == left {
                true => self.tear(),
                false => Err(self.damaged("its digest does not fit")),
            };
        }
        self.take(&record, whole)?;
        self.end += whole;
        Ok(())
    }

    fn tear(&mut self) -> Result<()> {
        // Without a secret nothing was ever kept in it.
        if self.secret.is_none() {
            return Err(self.damaged("it is cut off"));
        }
        self.torn = Some(Torn { at: self.end });
        Ok(())
    }

    fn damaged(&self, what: &str) -> StateError {
        damaged(
            self.path,
            format!("is damaged at byte {}: {what}", self.end),
        )
    }

    fn take(&mut self, record: &[u8], whole: u64) -> Result<()> {
        let Some((letter, record)) = record.split_first() else {
            return Err(self.damaged("an empty record"));
        };
        match *letter {
            SECRET => {
                let secret: Option<[u8; 32]> = record.try_into().ok();
                let secret = secret.ok_or_else(|| self.damaged("no secret has that length"))?;
                self.secret = Some(secret);
            }
            RUN => {
                let run = RunRecord::decode(record).map_err(|error| self.damaged(words(error)))?;
                self.runs.push(KeptRun {
                    number: run.number,
                    start: run.start,
                });
            }
            ENTRY => {
                let entry = JournalEntry::decode(record);
                let entry = entry.map_err(|error| self.damaged(words(error)))?;
                if entry.sequence.0 != self.entries.len() as u64 + 1 {
                    return Err(self.damaged("a write is missing before it"));
                }
                let place = Place {
                    at: self.end,
                    length: whole,
                    run: entry.run,
                };
                self.entries.push((place, None));
            }
            OUTCOME => self.settle(record)?,
            _ => return Err(self.damaged("an unknown record")),
        }
        Ok(())
    }

    fn settle(&mut self, record: &[u8]) -> Result<()> {
        let mut reader = Reader::new(record);
        let read = reader.format(FORMAT).and_then(|()| {
            let settled = (reader.number()?, reader.flag()?);
            reader.end()?;
            Ok(settled)
        });
        let (number, applied) = read.map_err(|error| self.damaged(words(error)))?;
        let index = number
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok());
        match index.and_then(|at| self.entries.get_mut(at)) {
            Some(entry) => entry.1 = Some(applied),
            None => return Err(self.damaged("an outcome of no write")),
        }
        Ok(())
    }
}
