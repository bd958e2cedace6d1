//! Shortens the log of the store at the end of a run, so that the next opening has little of it to read.
//!
//! ```text
//! log   ▒▒▒▒▒▒▒▒ what the run wrote ░░░░ filled up ▏ begins anew     tables ── sorted into files ──▶ the old log goes
//! ```
//!
//! An opening reads and checks the whole log, also what is in files by then. fjall begins a new one only when it sorts a
//! table into a file and the log is longer than 64 MB. So a log that is long, but not so long, is filled up first: with
//! removals of keys that never were, which nobody can see, now or after a crash.
//!
//! Deliberately absent: touching the files of the log; they are fjall's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::Result;
use super::super::error::StateError;
use super::{Row, Store, Table};

/// What a run in sync writes is less: it has nothing to shorten, also where a file system reserves what a log may take.
const GROWN_BYTES: u64 = 64 * 1024;

/// A shorter log is left alone: it is read in no time.
const SHORT_BYTES: u64 = 8 * 1024 * 1024;

/// Beyond this length fjall begins a new log (`worker_pool.rs` there), with slack for what stands around a key.
const FULL_BYTES: u64 = 64_000_000;

/// Disk space without which nothing is filled up: a failed write would make the store refuse all others.
const SPARE_BYTES: u64 = 512 * 1024 * 1024;

/// What is filled in at a time, in keys of the greatest length that a table takes.
const FILLER_KEYS: u32 = 200;
const FILLER_KEY_BYTES: usize = 60_000;

/// No key of the book begins with this.
const FILLER_LETTER: u8 = 0xff;

/// Blocks are counted in these, whatever the file system (`stat(2)`).
const STAT_BLOCK_BYTES: u64 = 512;

/// How long, and how often, the writing out of tables is waited for.
const TURN: Duration = Duration::from_millis(10);
const TURNS: usize = 1000;

impl Store {
    /// Begins a new log if the present one has grown long. Waits for it a while: what is not done by then is done in the
    /// background, or at the next opening.
    pub(in crate::state) fn shorten_log(&self) -> Result<()> {
        let has_grown = self.written.load(Ordering::Relaxed) > GROWN_BYTES;
        if has_grown && self.log()?.bytes > SHORT_BYTES {
            self.written.store(0, Ordering::Relaxed);
            if self.has_space()? {
                self.fill_up()?;
            }
            self.write_out()?;
        }
        Ok(())
    }

    /// Sorts what is only in memory into files.
    pub(in crate::state) fn write_out(&self) -> Result<()> {
        self.sort(&Table::ALL)
    }

    fn fill_up(&self) -> Result<()> {
        let before = self.log()?.newest;
        let fillers = FULL_BYTES / (u64::from(FILLER_KEYS) * FILLER_KEY_BYTES as u64) + 1;
        for _ in 0..fillers {
            self.write((0..FILLER_KEYS).map(filler), false)?;
            self.sort(&[Table::Book])?;
            if self.log()?.newest != before {
                break;
            }
        }
        Ok(())
    }

    fn sort(&self, tables: &[Table]) -> Result<()> {
        for table in tables {
            let begun = self.table(*table).rotate_memtable();
            begun.map_err(|error| self.told("write out", error))?;
        }
        let is_sorted = |table: &Table| self.table(*table).sealed_memtable_count() == 0;
        // Not for ever: a worker that met a full disk is gone, and the next write says so.
        for _ in 0..TURNS {
            if tables.iter().all(is_sorted) {
                break;
            }
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    fn log(&self) -> Result<Log> {
        let listed = |error| StateError::from_io(&self.path, "list", error);
        let mut log = Log::default();
        for entry in fs::read_dir(&self.path).map_err(listed)? {
            let path = entry.map_err(listed)?.path();
            if path.extension().is_none_or(|extension| extension != "jnl") {
                continue;
            }
            // One that went meanwhile is no longer read.
            let Ok(file) = fs::metadata(&path) else {
                continue;
            };
            log.bytes += file.len().min(file.blocks() * STAT_BLOCK_BYTES);
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            log.newest = log.newest.max(number);
        }
        Ok(log)
    }

    fn has_space(&self) -> Result<bool> {
        let space = rustix::fs::statvfs(&self.path)
            .map_err(|error| StateError::from_io(&self.path, "measure", error.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize) >= SPARE_BYTES)
    }
}

/// The files of the log together.
#[derive(Debug, Default, Clone, Copy)]
struct Log {
    /// Their length as far as it is on disk: fjall reserves more.
    bytes: u64,
    newest: Option<u64>,
}

fn filler(number: u32) -> Row {
    let mut key = vec![FILLER_LETTER; FILLER_KEY_BYTES];
    key[1..5].copy_from_slice(&number.to_be_bytes());
    (Table::Book, key, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_with(bytes: usize) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store")).unwrap();
        let rows = (0..bytes / 10_000).map(|number| {
            // The log compresses values.
            let mut value = vec![0; 10_000];
            let mut random = blake3::Hasher::new().finalize_xof();
            random.set_position(number as u64 * 10_000);
            random.fill(&mut value);
            (Table::Agreed, number.to_be_bytes().to_vec(), Some(value))
        });
        store.write(rows, true).unwrap();
        (dir, store)
    }

    fn keys(store: &Store, table: Table) -> usize {
        let mut count = 0;
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let counted = store.scan(table, all, |_, _| {
            count += 1;
            Ok(super::super::Flow::Continue)
        });
        counted.unwrap();
        count
    }

    #[test]
    fn a_long_log_begins_anew_and_nothing_is_lost_or_added() {
        let (dir, store) = store_with(SHORT_BYTES as usize * 4);
        let before = store.log().unwrap();
        store.shorten_log().unwrap();
        let is_short = || store.log().unwrap().bytes <= SHORT_BYTES;
        for _ in 0..TURNS {
            if is_short() {
                break;
            }
            std::thread::sleep(TURN);
        }
        assert!(is_short(), "{:?}", store.log());
        assert!(store.log().unwrap().newest > before.newest);
        let (path, agreed) = (store.path.clone(), keys(&store, Table::Agreed));
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(keys(&store, Table::Agreed), agreed);
        assert_eq!(
            keys(&store, Table::Book),
            0,
            "nobody sees what filled it up"
        );
        drop(dir);
    }

    #[test]
    fn a_short_log_is_left_alone() {
        let (_dir, store) = store_with(SHORT_BYTES as usize / 64);
        let before = store.log().unwrap();
        store.shorten_log().unwrap();
        assert_eq!(store.log().unwrap().newest, before.newest);
    }
}
