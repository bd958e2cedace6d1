//! Seals: a batch that is written in one transaction with the marker of its lane, or not at all.
//!
//! ```text
//! WATCH marker keys ─ GET marker ─ ours? ─ read keys ─ as expected? ─ MULTI operations SET marker EXEC
//!                                  └ fenced            └ left out, also of the mask
//! ```
//!
//! So what a marker says is true whatever was lost on the way: its step happened, to exactly the writes in its mask. A
//! transaction that is still on its way when another process fences the marker is aborted by its WATCH.
//!
//! Deliberately absent: a second try of what was sent, on this connection or a new one.

use crate::model::{Digester, Key, Marker, ReplicaId, STATES_KEY, Write};

use super::compare::{compare, watched};
use super::markers::read_marker;
use super::multi::{Exec, Multi};
use super::observe::is_passing;
use super::resp::{Frame, Frames, unexpected};
use super::wire::{Wire, WireError};
use super::{Sealing, WriteOutcome, Written};

/// The marker that goes with a write: compared and set in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The marker's name, below [`crate::model::MARKER_PREFIX`].
    pub lane: Key,
    /// What it must say; nothing where it must be absent.
    pub expect: Option<Marker>,
    /// What it says then. `written` is filled in: bit i where the i-th write was in the transaction, and for a counter
    /// where it was increased.
    pub set: Marker,
    /// Lists the state directory at [`STATES_KEY`] under this id of the replica, in the same transaction. Wanted
    /// wherever the marker is new, so that another state directory on the same replica is found.
    pub register: Option<ReplicaId>,
}

impl Seal {
    /// The marker that is set with these writes, by index.
    pub(super) fn marker(&self, members: &[usize]) -> Marker {
        Marker {
            written: members.iter().fold(0, |mask, index| mask | 1 << index),
            ..self.set
        }
    }
}

/// Why a sealed write, or a fence, did not come about.
pub(crate) enum SealError {
    Wire(WireError),
    /// The marker says something else than was expected.
    Fenced(Key, Option<Marker>),
    /// A key that reknit remembers by holds something else.
    Marker(Key, String),
}

impl<E: Into<WireError>> From<E> for SealError {
    fn from(error: E) -> Self {
        Self::Wire(error.into())
    }
}

/// A batch that is written with a seal.
pub(crate) struct Sealed<'a> {
    writes: &'a [Write],
    /// Those that are to be written, by index.
    wanted: &'a [usize],
    seal: &'a Seal,
    depth: usize,
    /// The members of the transaction, by index, once EXEC is on its way.
    sent: Option<Vec<usize>>,
}

impl<'a> Sealed<'a> {
    /// Nothing was sent yet.
    pub(crate) fn new(
        writes: &'a [Write],
        wanted: &'a [usize],
        seal: &'a Seal,
        depth: usize,
    ) -> Self {
        Self {
            writes,
            wanted,
            seal,
            depth,
            sent: None,
        }
    }

    /// Everything, from WATCH to the last answer. Where it fails and [`Sealed::unknown`] knows of nothing that was
    /// sent, nothing happened.
    pub(crate) async fn run(
        &mut self,
        wire: &mut Wire,
        digester: &mut Digester,
    ) -> Result<Written, SealError> {
        let all = self.wanted;
        if let Some(words) = self.watch(wire, all).await? {
            return self.refused(all, words, &[]);
        }
        let (matching, _) = compare(wire, self.writes, all, self.depth, digester).await?;
        let multi = Multi::pack(wire, self.writes, &matching, Some(self.seal));
        self.sent = Some(matching.clone());
        wire.flush().await?;
        match multi.answer(wire).await? {
            Exec::Done(outcomes, Some(marker)) => {
                let mut written = self.written(&[], &WriteOutcome::Unknown, Sealing::Set(marker));
                for (index, outcome) in outcomes {
                    written.outcomes[index] = outcome;
                }
                Ok(written)
            }
            // The batch happened, and yet the marker cannot be relied on: as good as no answer.
            Exec::Done(_, None) => {
                Ok(self.written(&matching, &WriteOutcome::Unknown, Sealing::Unknown))
            }
            Exec::Aborted => Ok(self.written(&matching, &WriteOutcome::Contended, Sealing::Unset)),
            Exec::Refused { words, members } => {
                self.sent = None;
                self.refused(&matching, words, &members)
            }
        }
    }

    /// After a lost connection: what is known, if EXEC was on its way.
    pub(crate) fn unknown(&self) -> Option<Written> {
        let sent = self.sent.as_ref()?;
        Some(self.written(sent, &WriteOutcome::Unknown, Sealing::Unknown))
    }

    /// Watches the marker and the keys, and compares the marker. Answers the server's words if it refuses to watch.
    async fn watch(&self, wire: &mut Wire, members: &[usize]) -> Result<Option<String>, SealError> {
        let mut watch: Vec<&[u8]> = vec![b"WATCH", self.seal.lane.as_bytes()];
        watch.extend(watched(self.writes, members));
        wire.push(&watch);
        wire.push(&[b"GET", self.seal.lane.as_bytes()]);
        if self.seal.register.is_some() {
            wire.push(&[b"TYPE", STATES_KEY]);
        }
        wire.flush().await?;
        let refusal = match Frames::new(wire.reply().await?).next()? {
            Frame::Error(words) => Some(String::from_utf8_lossy(words).into_owned()),
            _ => None,
        };
        let found = read_marker(wire.reply().await?, &self.seal.lane)?;
        if self.seal.register.is_some() {
            check_states(wire.reply().await?)?;
        }
        match refusal {
            Some(words) if is_passing(&words) => Err(WireError::Lost(words).into()),
            None if found != self.seal.expect => {
                Err(SealError::Fenced(self.seal.lane.clone(), found))
            }
            refusal => Ok(refusal),
        }
    }

    /// Nothing happened. What was refused says so; where it was a single write, the others may be tried again.
    fn refused(
        &self,
        matching: &[usize],
        words: String,
        members: &[usize],
    ) -> Result<Written, SealError> {
        if is_passing(&words) {
            return Err(WireError::Lost(words).into());
        }
        if matching.is_empty() {
            return Err(WireError::Refused(words).into());
        }
        let mut written = self.written(matching, &WriteOutcome::Contended, Sealing::Unset);
        let refused = if members.is_empty() {
            matching
        } else {
            members
        };
        for &index in refused {
            written.outcomes[index] = WriteOutcome::Refused(words.clone());
        }
        Ok(written)
    }

    /// The members have one outcome, the other writes are superseded.
    fn written(&self, members: &[usize], outcome: &WriteOutcome, sealing: Sealing) -> Written {
        let mut outcomes = vec![WriteOutcome::Superseded; self.writes.len()];
        for &index in members {
            outcomes[index] = outcome.clone();
        }
        Written { outcomes, sealing }
    }
}

/// An HSET on anything but a hash would fail inside of EXEC, behind writes that happened.
fn check_states(reply: &[u8]) -> Result<(), SealError> {
    match Frames::new(reply).next()? {
        Frame::Simple(b"hash" | b"none") => Ok(()),
        Frame::Simple(other) => {
            let held = format!("it holds a {}", String::from_utf8_lossy(other));
            Err(SealError::Marker(Key::copied(STATES_KEY), held))
        }
        Frame::Error(words) => {
            let words = String::from_utf8_lossy(words).into_owned();
            Err(SealError::Marker(Key::copied(STATES_KEY), words))
        }
        other => Err(unexpected("a type", &other).into()),
    }
}
