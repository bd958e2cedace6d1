//! What can go wrong at the state directory, by what the caller can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::Millis;

/// A failure at the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process works on it: wait, or stop that one.
    #[error("{path}: in use by {holder}, wait for it to end or name another; a service is asked by `reknit status`", path = path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// A later version of reknit wrote it: use that one.
    #[error(
        "{path}: written by a newer reknit (format {found}, this one knows up to {ours}), use that version", path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The latest format that this version reads.
        ours: u64,
    },
    /// It is not what reknit left there, or not reknit's at all. Nothing was written.
    #[error("{path}: {what}; {advice}", path = path.display())]
    Damaged {
        /// The directory, or the part of it.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to try.
        advice: &'static str,
    },
    /// It cannot be written to: give it to the user that runs reknit.
    #[error(
        "{path}: cannot be written ({source}), make it writable for the user that runs reknit or name another state directory", path = path.display()
    )]
    ReadOnly {
        /// The directory, or the part of it.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The disk is full: nothing more may be written to a replica.
    #[error("{path}: no space left on the disk, free some and run again", path = path.display())]
    Full {
        /// The directory, or the part of it.
        path: PathBuf,
    },
    /// The disk failed otherwise.
    #[error("{path}: {action}: {source}", path = path.display())]
    Io {
        /// The directory, or the part of it.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

/// Advice for what cannot be read.
pub(super) const RESTORE: &str = "restore the directory from a backup, or start anew with `reknit repair --adopt`, which sets it aside and takes all replicas as newcomers";

/// Advice for a directory that holds something else.
pub(super) const ELSEWHERE: &str =
    "name another state directory, or set the content aside with `reknit repair --adopt`";

/// Who holds a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process that said who it is.
    Process {
        /// Its number.
        pid: u32,
        /// What it does, in its own words.
        purpose: String,
        /// Since when.
        since: Millis,
    },
    /// A process that has not yet said who it is.
    Unnamed,
}

/// What a service does, in its own words; where it is asked comes behind them.
const SERVICE: &str = "run at ";

impl Holder {
    /// The purpose of a service that is asked at this URL.
    pub fn service_at(url: &str) -> String {
        format!("{SERVICE}{url}")
    }

    /// Where the service that holds it is asked; nothing if it is none.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Process { purpose, .. } => purpose.strip_prefix(SERVICE),
            Self::Unnamed => None,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process {
                pid,
                purpose,
                since,
            } => {
                let since = humantime::format_rfc3339_seconds(time_of(*since));
                write!(f, "process {pid} ({purpose}) since {since}")
            }
            Self::Unnamed => f.write_str("another process"),
        }
    }
}

fn time_of(millis: Millis) -> std::time::SystemTime {
    let since_epoch = u64::try_from(millis.0).unwrap_or_default();
    std::time::UNIX_EPOCH + std::time::Duration::from_millis(since_epoch)
}

impl StateError {
    /// Something that cannot be read as what it should be.
    pub(super) fn unreadable(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.into(),
            advice: RESTORE,
        }
    }

    /// What the caller can do about a failure of the system.
    pub(super) fn from_io(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io {
                path,
                action,
                source,
            },
        }
    }
}
