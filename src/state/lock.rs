//! One process at a time: a file that is locked while somebody works, and says who.

use std::fs::{self, File, TryLockError};
use std::io::{Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::Millis;

use super::Result;
use super::error::{Holder, StateError};
use super::files::private;

/// The file's name.
pub(super) const LOCK: &str = "lock";

/// Held as long as it lives; the system lets it go when the process ends, however it ends.
pub(super) struct Lock {
    _file: File,
}

#[derive(Serialize, Deserialize)]
struct Written {
    pid: u32,
    purpose: String,
    since: i64,
}

impl Lock {
    /// Takes the lock and says who has it.
    pub(super) fn take(dir: &Path, now: Millis, purpose: &str) -> Result<Self> {
        let path = dir.join(LOCK);
        let failed = |error| StateError::from_io(&path, "lock", error);
        let opened = private().create(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked {
                    path: dir.to_owned(),
                    holder: holder(&path),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let written = Written {
            pid: std::process::id(),
            purpose: purpose.to_owned(),
            since: now.0,
        };
        let text = serde_json::to_string(&written).expect("strings and numbers are JSON") + "\n";
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Who says that it holds the lock. It may just be about to say so.
fn holder(path: &Path) -> Holder {
    let written = fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Written>(&bytes).ok());
    match written {
        Some(Written {
            pid,
            purpose,
            since,
        }) => Holder::Process {
            pid,
            purpose,
            since: Millis(since),
        },
        None => Holder::Unnamed,
    }
}
