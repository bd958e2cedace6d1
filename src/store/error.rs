//! What can go wrong at a replica, by what the caller can do about it.

use crate::model::{Key, ReplicaName};

/// A failure at one replica.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or not any more: the replica does not take part.
    #[error("replica {replica}: {action}: {reason}")]
    Unreachable {
        /// The replica.
        replica: ReplicaName,
        /// What was tried.
        action: String,
        /// What stood in the way, and what to try.
        reason: String,
    },
    /// The server answered with an error that concerns more than one key.
    #[error("replica {replica}: {command} refused: {reason}")]
    Refused {
        /// The replica.
        replica: ReplicaName,
        /// The command.
        command: String,
        /// The server's words, and what to try.
        reason: String,
    },
    /// The server answered something that reknit does not understand.
    #[error("replica {replica}: unexpected answer to {command}: {reason}")]
    Protocol {
        /// The replica.
        replica: ReplicaName,
        /// The command.
        command: String,
        /// What was odd.
        reason: String,
    },
    /// The key is no longer what it was a moment ago.
    #[error("replica {replica}: key {key} changed while it was read")]
    Changed {
        /// The replica.
        replica: ReplicaName,
        /// The key.
        key: Key,
    },
}
