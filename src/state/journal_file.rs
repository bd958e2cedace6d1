//! A journal in a file of its own: the pre-images of runs without memory.
//!
//! ```text
//! head     "reknit journal" | format 1
//! frames   length 4 | its digest 4 | digest 8 | record: a letter, and what it is about
//!          K the secret of its digests   R a run   E a write   O whether it happened
//! ```
//!
//! A file holds any number of runs; all digest with its secret. It is read from its beginning to its end whenever it is
//! opened, and refused by name where anything in it is not what was written. Only its end may be cut off: a process
//! that is killed, or a full disk, leaves the beginning of a frame there whose write never went to a replica.

mod frame;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{DigestKey, ReplicaId, ReplicaName, RunNumber, Sequence};

use super::error::{Holder, StateError};
use super::files::{private, sync_folder};
use super::record::Record;
use super::{JournalEntry, Result, RunRecord, RunStart};
use frame::{HEAD, Place, Scan};

/// Advice for a file that cannot be used.
const OTHER_FILE: &str = "name another file with --journal";

/// A journal in a file.
pub struct JournalFile {
    path: PathBuf,
    secret: [u8; 32],
    open: Mutex<Open>,
}

/// A run that a file keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRun {
    /// Its number in the file.
    pub number: RunNumber,
    /// What was known when it began.
    pub start: RunStart,
}

/// The end of a file that is cut off in the middle of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Where that frame begins.
    pub at: u64,
}

struct Open {
    file: File,
    /// Where the next frame goes.
    end: u64,
    runs: Vec<KeptRun>,
    /// Where each write stands, and whether it happened, in the order of their numbers, from 1.
    entries: Vec<(Place, Option<bool>)>,
    torn: Option<Torn>,
    /// It took no more once: what stands behind its end is unknown.
    failed: bool,
}

impl JournalFile {
    /// Opens a file to be added to; makes it where there is none. The secret is for a new one.
    ///
    /// # Errors
    /// When it is no journal, or damaged, or its end is cut off, or somebody else has it, or it cannot be written.
    pub fn open(path: &Path, secret: [u8; 32]) -> Result<Self> {
        refuse_special(path)?;
        let is_new = fs::metadata(path).map_or(true, |found| found.len() == 0);
        let options = private().read(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(|error| failed(path, "open", error))?;
        lock(path, &file)?;
        if is_new && let Err(error) = begin(path, &mut file, &secret) {
            // What is left of it is not to be taken for a damaged journal.
            let removed = fs::remove_file(path);
            return Err(removed.map_or_else(|more| failed(path, "remove", more), |()| error));
        }
        let opened = Self::read(path, file)?;
        if let Some(Torn { at }) = opened.torn() {
            let what = format!("its end is cut off at byte {at}");
            return Err(damaged(path, what));
        }
        Ok(opened)
    }

    /// Opens a file to undo what it keeps. A cut off end is left out, see [`JournalFile::torn`]; it is cut away once
    /// something is added. Where nothing is to be written, the file need not be writable.
    ///
    /// # Errors
    /// When there is none, or it is no journal, or damaged, or somebody else has it.
    pub fn open_existing(path: &Path, writes: bool) -> Result<Self> {
        refuse_special(path)?;
        let opened = fs::OpenOptions::new().read(true).write(writes).open(path);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(path, "is missing".into()),
            _ => failed(path, "open", error),
        })?;
        lock(path, &file)?;
        Self::read(path, file)
    }

    fn read(path: &Path, mut file: File) -> Result<Self> {
        let length = file.metadata().map_err(|error| failed(path, "read", error));
        let mut scan = Scan::new(path, length?.len());
        scan.read(&mut file)?;
        let secret = scan
            .secret
            .ok_or_else(|| damaged(path, "has no secret".into()))?;
        Ok(Self {
            path: path.to_owned(),
            secret,
            open: Mutex::new(Open {
                file,
                end: scan.end,
                runs: scan.runs,
                entries: scan.entries,
                torn: scan.torn,
                failed: false,
            }),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret of its digests: what a run that is kept in it has to digest with.
    pub fn digest_key(&self) -> DigestKey {
        DigestKey::new(self.secret)
    }

    /// Where its end was cut off, if it was.
    pub fn torn(&self) -> Option<Torn> {
        self.lock().torn
    }

    /// The identity of a replica in it: there is nothing but its name.
    pub fn id_of(name: &ReplicaName) -> ReplicaId {
        let digest = blake3::hash(name.0.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.as_bytes()[..8]);
        ReplicaId(id)
    }

    /// The runs that it keeps, oldest first.
    pub fn runs(&self) -> Vec<KeptRun> {
        self.lock().runs.clone()
    }

    /// Begins a run, and gives it a number.
    ///
    /// # Errors
    /// When the file takes no more.
    pub fn begin_run(&self, start: RunStart) -> Result<RunNumber> {
        let mut open = self.lock();
        let number = RunNumber(open.runs.len() as u64 + 1);
        let record = RunRecord {
            number,
            start: start.clone(),
            end: None,
            taken_up_by: None,
        };
        let frame = frame::framed(frame::RUN, &record.encode());
        self.append(&mut open, &frame, true)?;
        open.runs.push(KeptRun { number, start });
        Ok(number)
    }

    /// Adds writes that are about to be made, and gives each its number; on disk before it is answered, where that is
    /// asked for.
    ///
    /// # Errors
    /// When the file takes no more: then nothing of it may be written to a replica.
    pub fn add(&self, entries: Vec<JournalEntry>, synced: bool) -> Result<Vec<Sequence>> {
        let mut open = self.lock();
        let (mut bytes, mut places) = (Vec::new(), Vec::with_capacity(entries.len()));
        let mut numbers = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let number = Sequence((open.entries.len() + numbers.len()) as u64 + 1);
            entry.sequence = number;
            let frame = frame::framed(frame::ENTRY, &entry.encode());
            places.push(Place {
                at: open.end + bytes.len() as u64,
                length: frame.len() as u64,
                run: entry.run,
            });
            bytes.extend_from_slice(&frame);
            numbers.push(number);
        }
        self.append(&mut open, &bytes, synced)?;
        open.entries
            .extend(places.into_iter().map(|place| (place, None)));
        Ok(numbers)
    }

    /// Notes whether writes happened. What is lost of that with the process is found out by an undo all the same.
    ///
    /// # Errors
    /// When the file takes no more.
    pub fn outcomes(&self, outcomes: &[(Sequence, bool)]) -> Result<()> {
        let mut open = self.lock();
        let mut bytes = Vec::new();
        for (number, applied) in outcomes {
            bytes.extend_from_slice(&frame::framed(
                frame::OUTCOME,
                &frame::outcome(*number, *applied),
            ));
        }
        self.append(&mut open, &bytes, false)?;
        for (number, applied) in outcomes {
            if let Some(entry) = number
                .0
                .checked_sub(1)
                .and_then(|at| open.entries.get_mut(at as usize))
            {
                entry.1 = Some(*applied);
            }
        }
        Ok(())
    }

    /// Visits the writes of a run, in their order.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn journal(&self, run: RunNumber, visit: &mut dyn FnMut(JournalEntry)) -> Result<()> {
        let mut open = self.lock();
        for index in 0..open.entries.len() {
            if open.entries[index].0.run == run {
                visit(self.entry_at(&mut open, index)?);
            }
        }
        Ok(())
    }

    /// One write.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn entry(&self, number: Sequence) -> Result<Option<JournalEntry>> {
        let mut open = self.lock();
        let index = number
            .0
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok());
        let index = index.filter(|at| *at < open.entries.len());
        index
            .map(|index| self.entry_at(&mut open, index))
            .transpose()
    }

    fn entry_at(&self, open: &mut Open, index: usize) -> Result<JournalEntry> {
        let (place, outcome) = open.entries[index];
        let told = |error| failed(&self.path, "read", error);
        open.file.seek(SeekFrom::Start(place.at)).map_err(told)?;
        let mut bytes = vec![0; place.length as usize];
        open.file.read_exact(&mut bytes).map_err(told)?;
        let entry = frame::entry(&bytes).map_err(|what| {
            damaged(
                &self.path,
                format!("is damaged at byte {}: {what}", place.at),
            )
        })?;
        Ok(JournalEntry { outcome, ..entry })
    }

    /// Adds bytes; all of them or none.
    fn append(&self, open: &mut Open, bytes: &[u8], synced: bool) -> Result<()> {
        if open.failed {
            return Err(StateError::Full {
                path: self.path.clone(),
            });
        }
        if open.torn.take().is_some() {
            let cut = open.file.set_len(open.end);
            cut.map_err(|error| failed(&self.path, "cut", error))?;
        }
        let written = write(&mut open.file, open.end, bytes, synced);
        match written {
            Ok(()) => {
                open.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                open.failed = true;
                // Its write does not happen. If even that cannot be cut away, it is what `Torn` tells of.
                let cut = open.file.set_len(open.end);
                open.torn = cut.is_err().then_some(Torn { at: open.end });
                Err(failed(&self.path, "write", error))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(file: &mut File, at: u64, bytes: &[u8], synced: bool) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    if synced {
        file.sync_data()?;
    }
    Ok(())
}

/// Writes the head of a new file.
fn begin(path: &Path, file: &mut File, secret: &[u8; 32]) -> Result<()> {
    let head = [&HEAD[..], &frame::framed(frame::SECRET, secret)].concat();
    let written = file.write_all(&head).and_then(|()| file.sync_all());
    written.map_err(|error| failed(path, "write", error))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

/// A device or a folder is no journal; reading one may never end.
fn refuse_special(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(damaged(path, "is no file".into())),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn lock(path: &Path, file: &File) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(StateError::Locked {
            path: path.to_owned(),
            holder: Holder::Unnamed,
        }),
        Err(fs::TryLockError::Error(error)) => Err(failed(path, "lock", error)),
    }
}

fn damaged(path: &Path, what: String) -> StateError {
    StateError::Damaged {
        path: path.to_owned(),
        what,
        advice: OTHER_FILE,
    }
}

/// What the caller can do about a failure of the system.
fn failed(path: &Path, action: &'static str, source: io::Error) -> StateError {
    match StateError::from_io(path, action, source) {
        StateError::ReadOnly { path, source } => StateError::Io {
            path,
            action,
            source,
        },
        error => error,
    }
}
