//! The store below the records: tables of bytes in order, batches that are written whole or not at all.
//!
//! fjall, a log-structured store, chosen by measurement (docs/state.md). All that knows of it is in this file.

mod log;

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode};

use xxhash_rust::xxh3::xxh3_128;

use super::Result;
use super::error::StateError;
use super::files::read_file;

/// Memory for blocks that were read.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Threads that sort and merge in the background.
const WORKERS: usize = 2;

/// Bytes of the log beyond which tables are written out to shorten it.
const LOG_BYTES: u64 = 128 * 1024 * 1024;

/// Bytes of a table that are sorted in memory before they are written out.
const BUFFER_BYTES: u64 = 16 * 1024 * 1024;

/// The same for agreements, of which a first run learns millions.
const AGREED_BUFFER_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of a block: large ones make listing cheap.
const BLOCK_BYTES: u32 = 16 * 1024;

/// What a full disk is told by.
const PROBE_BYTES: usize = 64 * 1024;

/// The tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Agreements by place.
    Agreed,
    /// Lags by place and replica.
    Lags,
    /// Superseded agreements by place and commit.
    History,
    /// Ended lags by place, replica and commit.
    LagHistory,
    /// What a replica held until it was written over, by place, replica and commit.
    Replaced,
    /// What was written, by run and step.
    Journal,
    /// All that is small.
    Book,
}

impl Table {
    pub(super) const ALL: [Self; 7] = [
        Self::Agreed,
        Self::Lags,
        Self::History,
        Self::LagHistory,
        Self::Replaced,
        Self::Journal,
        Self::Book,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Lags => "lags",
            Self::History => "history",
            Self::LagHistory => "lag_history",
            Self::Replaced => "replaced",
            Self::Journal => "journal",
            Self::Book => "book",
        }
    }

    fn options(self) -> KeyspaceCreateOptions {
        let buffer = match self {
            Self::Agreed => AGREED_BUFFER_BYTES,
            Self::Lags
            | Self::History
            | Self::LagHistory
            | Self::Replaced
            | Self::Journal
            | Self::Book => BUFFER_BYTES,
        };
        KeyspaceCreateOptions::default()
            .max_memtable_size(buffer)
            .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
    }
}

/// One row to write; without a value, to remove.
pub(super) type Row = (Table, Vec<u8>, Option<Vec<u8>>);

/// Whether a scan goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Stop,
}

/// An open store.
pub(super) struct Store {
    // Before the database: the handles keep it from closing.
    tables: Vec<Keyspace>,
    database: Database,
    path: PathBuf,
    /// Bytes of rows since the store was opened or its log was last shortened.
    written: AtomicU64,
}

impl Store {
    /// Creates an empty store where nothing is.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let told = |error| told(path, "create the store", error);
        let database = open_database(path)?;
        let tables = Table::ALL
            .iter()
            .map(|table| database.keyspace(table.name(), || table.options()))
            .collect::<fjall::Result<_>>()
            .map_err(told)?;
        Ok(Self {
            tables,
            database,
            path: path.to_owned(),
            written: AtomicU64::new(0),
        })
    }

    /// Opens a store, all of which must be there: fjall would put what is missing back, empty.
    pub(super) fn open(path: &Path) -> Result<Self> {
        check_files(path)?;
        let database = open_database(path)?;
        let mut tables = Vec::new();
        for table in Table::ALL {
            if !database.keyspace_exists(table.name()) {
                let what = format!("the table `{}` is missing", table.name());
                return Err(StateError::unreadable(path, what));
            }
            let opened = database.keyspace(table.name(), || table.options());
            tables.push(opened.map_err(|error| told(path, "open the store", error))?);
        }
        Ok(Self {
            tables,
            database,
            path: path.to_owned(),
            written: AtomicU64::new(0),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self
            .table(table)
            .get(key)
            .map_err(|error| self.told("read", error))?;
        Ok(found.map(|bytes| Bytes::copy_from_slice(&bytes)))
    }

    /// Visits the rows of a range in order, as they stand when it begins.
    pub(super) fn scan(
        &self,
        table: Table,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<Flow>,
    ) -> Result<()> {
        for row in self.table(table).range::<Vec<u8>, _>(range) {
            let (key, value) = row.into_inner().map_err(|error| self.told("read", error))?;
            if visit(&key, &value)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    /// Writes all rows or none. They survive the process; with `synced` also the machine.
    pub(super) fn write(&self, rows: impl IntoIterator<Item = Row>, synced: bool) -> Result<()> {
        let mode = if synced {
            PersistMode::SyncAll
        } else {
            PersistMode::Buffer
        };
        let mut batch = self.database.batch().durability(Some(mode));
        for (table, key, value) in rows {
            let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
            self.written.fetch_add(bytes as u64, Ordering::Relaxed);
            match value {
                Some(value) => batch.insert(self.table(table), key, value),
                None => batch.remove(self.table(table), key),
            }
        }
        batch.commit().map_err(|error| self.told("write", error))
    }

    /// Brings everything written to disk.
    pub(super) fn sync(&self) -> Result<()> {
        let synced = self.database.persist(PersistMode::SyncAll);
        synced.map_err(|error| self.told("sync", error))
    }

    /// Bytes on disk: of one table, without what is only in the log.
    pub(super) fn table_bytes(&self, table: Table) -> u64 {
        self.table(table).disk_space()
    }

    /// Bytes on disk, the log with them.
    pub(super) fn bytes(&self) -> Result<u64> {
        let space = self.database.disk_space();
        space.map_err(|error| self.told("measure", error))
    }

    /// What to say of a store that refuses to write since a write failed.
    pub(super) fn after_a_failure(&self) -> StateError {
        after_a_failure(&self.path)
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[match table {
            Table::Agreed => 0,
            Table::Lags => 1,
            Table::History => 2,
            Table::LagHistory => 3,
            Table::Replaced => 4,
            Table::Journal => 5,
            Table::Book => 6,
        }]
    }

    fn told(&self, action: &'static str, error: fjall::Error) -> StateError {
        told(&self.path, action, error)
    }
}

/// fjall asserts some of what it reads when it opens: a panic there is damage, too, and told as such.
fn open_database(path: &Path) -> Result<Database> {
    let builder = Database::builder(path)
        .cache_size(CACHE_BYTES)
        .worker_threads(WORKERS)
        .max_journaling_size(LOG_BYTES);
    let opened = quietly(|| catch_unwind(AssertUnwindSafe(|| builder.open())));
    let opened =
        opened.map_err(|_| StateError::unreadable(path, "the store is not what it should be"))?;
    opened.map_err(|error| told(path, "open the store", error))
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps this thread's panics from being printed meanwhile.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let printing = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                printing(panic);
            }
        }));
    });
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}

/// fjall removes a table without its first file, and makes a log anew that is missing: neither may be.
fn check_files(path: &Path) -> Result<()> {
    for name in ["version", "lock"] {
        if !path.join(name).is_file() {
            return Err(StateError::unreadable(path, format!("`{name}` is missing")));
        }
    }
    for number in 0..=Table::ALL.len() {
        check_manifest(&path.join("keyspaces").join(number.to_string()))?;
    }
    let listed = |error| StateError::from_io(path, "list", error);
    for entry in fs::read_dir(path).map_err(listed)? {
        let name = entry.map_err(listed)?.path();
        if name.extension().is_some_and(|extension| extension == "jnl") {
            return Ok(());
        }
    }
    Err(StateError::unreadable(path, "its log (*.jnl) is missing"))
}

/// fjall keeps a checksum of a table's list of files, and does not look at it before it believes the list.
///
/// `current` is the number of the list (u64), its checksum (u128, XXH3), and a tag, little-endian.
fn check_manifest(table: &Path) -> Result<()> {
    let current = table.join("current");
    let bytes = read_file(&current)?;
    let Some((number, rest)) = bytes.split_first_chunk() else {
        return Err(StateError::unreadable(&current, "is cut off"));
    };
    let Some((checksum, [0])) = rest.split_first_chunk() else {
        return Err(StateError::unreadable(&current, "is not what it should be"));
    };
    let manifest = table.join(format!("v{}", u64::from_le_bytes(*number)));
    if xxh3_128(&read_file(&manifest)?) == u128::from_le_bytes(*checksum) {
        Ok(())
    } else {
        Err(StateError::unreadable(&manifest, "is not what it was"))
    }
}

/// What the caller can do about a failure of the store.
fn told(path: &Path, action: &'static str, error: fjall::Error) -> StateError {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(LsmError::Io(source)) => {
            from_io(path, action, source)
        }
        fjall::Error::Poisoned => after_a_failure(path),
        fjall::Error::Locked => StateError::Locked {
            path: path.to_owned(),
            holder: super::Holder::Unnamed,
        },
        other => StateError::unreadable(path, format!("cannot {action}: {other:?}")),
    }
}

fn from_io(path: &Path, action: &'static str, source: io::Error) -> StateError {
    match source.kind() {
        // What fjall says of content, and what the system says to numbers read from it.
        io::ErrorKind::NotFound
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::Other => {
            StateError::unreadable(path, format!("cannot {action}: {source}"))
        }
        _ => StateError::from_io(path, action, source),
    }
}

/// Once a write failed in the background, the store says only that it did. A full disk is the usual reason: asked
/// again, it says so.
fn after_a_failure(path: &Path) -> StateError {
    let probe = path.join("probe");
    let tried = File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()
    });
    let source = match tried {
        Ok(()) => io::Error::other("an earlier write failed, start again"),
        Err(error) => error,
    };
    // A leftover of no bytes is no harm, and the first failure is the one to tell.
    let _ = fs::remove_file(&probe);
    StateError::from_io(path, "write", source)
}
