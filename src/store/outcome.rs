//! What became of conditional writes and of the seal that went with them.

use crate::model::Marker;

/// What became of one conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It happened.
    Applied,
    /// The key no longer held what was expected, or a client wrote to it meanwhile: nothing happened.
    Superseded,
    /// With a seal alone: the transaction was aborted, because a client wrote to one of its keys, or because another
    /// write of it was refused. Nothing happened; it may be tried again, best in smaller batches.
    Contended,
    /// The connection was lost between the order and its answer: it happened or not. To be read back.
    Unknown,
    /// The server refused it, with its words; what it did not refuse of the same key may have happened.
    Refused(String),
}

/// What became of the seal of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    /// None was asked for.
    Unasked,
    /// The marker was set, and this is what it says now: what the next write through the lane has to expect.
    Set(Marker),
    /// The transaction was aborted or refused: the marker is as it was, and nothing of the batch happened.
    Unset,
    /// The connection was lost between the order and its answer: the marker tells, once it is fenced.
    Unknown,
}

/// What became of a batch of conditional writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// One outcome per write, in the same order.
    pub outcomes: Vec<WriteOutcome>,
    /// What became of the seal.
    pub sealing: Sealing,
}

impl Written {
    /// Writes without a seal.
    pub(super) fn unsealed(outcomes: Vec<WriteOutcome>) -> Self {
        Self {
            outcomes,
            sealing: Sealing::Unasked,
        }
    }
}
