//! The open state: who it is, its counters, its lock.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use crate::model::{DigestKey, Millis, ReplicaId, RunNumber, Sequence, StateId};

use super::codec::{Read, Unreadable};
use super::error::StateError;
use super::identity::Identity;
use super::layout;
use super::lock::Lock;
use super::record::{FORMAT, Record, counter, put_counter};
use super::store::{Store, Table};
use super::{Opening, Result, directory};

/// Steps that are reserved at once: one sync for so many.
const BLOCK: u64 = 1024;

/// An open state directory. Clones share it; the last one to go lets the lock go.
#[derive(Clone)]
pub struct State(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) writing: Mutex<Writing>,
    steps: Mutex<Steps>,
    /// Replicas whose lags are still to be removed, and do not count.
    pub(super) forgotten: RwLock<BTreeSet<ReplicaId>>,
    identity: Identity,
    dir: PathBuf,
    // Last: nobody else may open the store while it is still open here.
    _lock: Lock,
}

/// What one commit after another changes.
pub(super) struct Writing {
    /// The number of the last commit.
    pub(super) commit: u64,
    /// The last one that the directory says is on disk.
    pub(super) noted: u64,
    pub(super) last_run: RunNumber,
    /// A write failed: what is in memory may not be what is on disk, so nothing more is written.
    pub(super) failed: bool,
}

/// The block of steps that is reserved.
struct Steps {
    next: u64,
    end: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("State").field(&self.0.dir).finish()
    }
}

impl State {
    /// Opens a state directory; creates one if it is missing or empty.
    ///
    /// # Errors
    /// [`StateError::Locked`] while another process works on it; [`StateError::Damaged`] for what is not whole or not
    /// reknit's, which is left as it is.
    pub fn open(opening: Opening<'_>) -> Result<Self> {
        let opened = directory::open(&opening)?;
        let (store, dir) = (opened.store, opening.dir.to_owned());
        let commit = read_counter(&store, layout::COMMITS)?;
        if commit < opened.committed {
            let lost = opened.committed - commit;
            let what = format!("the last {lost} commits of the store are missing");
            return Err(StateError::unreadable(&dir, what));
        }
        let reserved = read_counter(&store, layout::RESERVED)?;
        let writing = Writing {
            commit,
            noted: opened.committed,
            last_run: RunNumber(read_counter(&store, layout::LAST_RUN)?),
            failed: false,
        };
        let state = Self(Arc::new(Inner {
            store,
            writing: Mutex::new(writing),
            steps: Mutex::new(Steps {
                next: reserved + 1,
                end: reserved + 1,
            }),
            forgotten: RwLock::default(),
            identity: opened.identity,
            dir,
            _lock: opened.lock,
        }));
        state.remember_forgotten()?;
        Ok(state)
    }

    /// Sets all that a state directory holds aside, in a folder `aside-TIME` inside it, so that [`State::open`] starts
    /// anew. Answers the folder; nothing if there was nothing. Deletes nothing, and reads nothing: also what is
    /// damaged or foreign can be set aside.
    ///
    /// # Errors
    /// [`StateError::Locked`] while a process works on it.
    pub fn set_aside(dir: &Path, now: Millis) -> Result<Option<PathBuf>> {
        directory::set_aside(dir, now)
    }

    /// What tells this state directory from all others.
    pub fn id(&self) -> StateId {
        self.0.identity.state
    }

    /// The secret with which values and entries are digested.
    pub fn digest_key(&self) -> DigestKey {
        DigestKey::new(self.0.identity.secret)
    }

    /// When the directory was created.
    pub(super) fn created(&self) -> Millis {
        self.0.identity.created
    }

    /// Whether a write failed, so that nothing more is written until the directory is opened again.
    pub fn is_broken(&self) -> bool {
        self.writing().failed
    }

    /// The next step's number: never used before, and never again, whatever happens.
    ///
    /// # Errors
    /// When a new block cannot be reserved on disk.
    pub fn next_sequence(&self) -> Result<Sequence> {
        let mut steps = self.0.steps.lock().expect(NO_PANIC);
        if steps.next == steps.end {
            let end = steps.end + BLOCK;
            let reserved = put_counter(end - 1);
            let row = (Table::Book, layout::RESERVED.to_vec(), Some(reserved));
            self.write_rows(&mut self.writing(), vec![row], true)?;
            steps.end = end;
        }
        let next = Sequence(steps.next);
        steps.next += 1;
        Ok(next)
    }

    /// The last number that may ever have been given to a step.
    pub fn last_sequence(&self) -> Sequence {
        let steps = self.0.steps.lock().expect(NO_PANIC);
        Sequence(steps.end - 1)
    }

    pub(super) fn writing(&self) -> MutexGuard<'_, Writing> {
        self.0.writing.lock().expect(NO_PANIC)
    }

    /// Writes rows as one commit, and counts it.
    pub(super) fn write_rows(
        &self,
        writing: &mut Writing,
        mut rows: Vec<super::store::Row>,
        synced: bool,
    ) -> Result<()> {
        if writing.failed {
            return Err(self.0.store.after_a_failure());
        }
        let commit = writing.commit + 1;
        rows.push((
            Table::Book,
            layout::COMMITS.to_vec(),
            Some(put_counter(commit)),
        ));
        let written = self.0.store.write(rows, synced);
        writing.failed = written.is_err();
        written?;
        writing.commit = commit;
        Ok(())
    }

    /// Brings everything committed to disk.
    ///
    /// # Errors
    /// When the disk fails; nothing more is written then.
    pub fn sync(&self) -> Result<()> {
        let mut writing = self.writing();
        self.0.sync(&mut writing)
    }

    /// Reads a record, naming what it is about if it cannot be read.
    pub(super) fn decode<T: Record>(
        &self,
        bytes: &[u8],
        about: impl FnOnce() -> String,
    ) -> Result<T> {
        T::decode(bytes).map_err(|why| self.unreadable(why, about))
    }

    pub(super) fn read<T>(&self, read: Read<T>, about: impl FnOnce() -> String) -> Result<T> {
        read.map_err(|why| self.unreadable(why, about))
    }

    pub(super) fn unreadable(&self, why: Unreadable, about: impl FnOnce() -> String) -> StateError {
        let path = self.0.store.path();
        match why {
            Unreadable::Format(found) => StateError::Newer {
                path: path.to_owned(),
                found: u64::from(found),
                ours: u64::from(FORMAT),
            },
            Unreadable::Broken(what) => {
                StateError::unreadable(path, format!("{} is unreadable: {what}", about()))
            }
        }
    }
}

impl Inner {
    pub(super) fn sync(&self, writing: &mut Writing) -> Result<()> {
        if writing.failed {
            return Err(self.store.after_a_failure());
        }
        let synced = self.store.sync();
        writing.failed = synced.is_err();
        synced
    }

    /// Notes in the directory how far the store is on disk.
    pub(super) fn note_committed(&self, writing: &mut Writing) -> Result<()> {
        if writing.noted < writing.commit {
            self.sync(writing)?;
            directory::write_committed(&self.dir, writing.commit)?;
            writing.noted = writing.commit;
        }
        Ok(())
    }
}

impl Drop for Inner {
    /// Whoever wants to know whether this went well ends its run or syncs first.
    fn drop(&mut self) {
        let Ok(mut writing) = self.writing.lock() else {
            return;
        };
        if !writing.failed {
            let commit = writing.commit;
            let noted = writing.noted;
            if noted < commit && self.store.sync().is_ok() {
                writing.noted = commit;
                // A low bound: an older one is no harm.
                let _ = directory::write_committed(&self.dir, commit);
            }
        }
    }
}

fn read_counter(store: &Store, name: &[u8]) -> Result<u64> {
    let Some(bytes) = store.get(Table::Book, name)? else {
        return Ok(0);
    };
    counter(&bytes).map_err(|_| StateError::unreadable(store.path(), "a counter is unreadable"))
}

/// A panic in a commit ends the process.
pub(super) const NO_PANIC: &str = "nothing panics while it holds the lock";
