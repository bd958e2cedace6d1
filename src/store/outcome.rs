//! What became of a conditional write.

/// What became of one conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It happened.
    Applied,
    /// The key no longer held what was expected, or a client wrote to it meanwhile: nothing happened.
    Superseded,
    /// The connection was lost between the order and its answer: it happened or not. To be read back.
    Unknown,
    /// The server refused it, with its words; what it did not refuse of the same key may have happened.
    Refused(String),
}
