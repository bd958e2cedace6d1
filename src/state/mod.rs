//! The state directory: what runs remember between them.
//!
//! ```text
//! DIR/identity   whose it is: state id, digest secret, format; JSON, readable by its owner alone
//! DIR/lock       who works on it
//! DIR/store/     agreements, lags, histories, lanes, voids, intents, journal, run log
//! DIR/committed  how far the store was on disk when a run last ended
//! DIR/aside-T/   what `--adopt` set aside at T; never read, never deleted
//! ```
//!
//! Runs without memory can keep pre-images in a file of its own, `journal_file.rs`.
//!
//! The edge to disk: synchronous, and never the one to ask for the time or to print. What a record means is the
//! agreement's business; this room keeps it, whole and in order, over a SIGKILL at any moment.

mod age;
mod changes;
mod check;
mod codec;
mod commit;
mod directory;
mod error;
mod files;
mod identity;
mod intent;
mod journal;
mod journal_file;
mod layout;
mod lock;
mod notes;
mod open;
mod prune;
mod read;
mod record;
mod replicas;
mod runs;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::model::Millis;

pub use changes::{Changes, Hold, JournalPlace};
pub use check::{Checked, Sizes};
pub use error::{Holder, StateError};
pub use intent::{Intent, IntentKey, IntentPart};
pub use journal::{JournalEntry, Post, PreImage};
pub use journal_file::{JournalFile, KeptRun, Torn};
pub use open::State;
pub use prune::{Pruned, Retention};
pub use read::LagHead;
pub use replicas::KnownReplica;
pub use runs::{RunEnd, RunRecord, RunStart, Segment};

/// A result of this room.
pub type Result<T, E = StateError> = std::result::Result<T, E>;

/// How to open a state directory.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The directory; created if it is missing.
    pub dir: &'a Path,
    /// The time.
    pub now: Millis,
    /// What is shown to whoever meets the lock.
    pub purpose: &'a str,
    /// Entropy for a new identity: its state id and digest secret.
    pub random: [u8; 64],
}
