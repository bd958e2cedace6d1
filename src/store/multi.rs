//! MULTI ... EXEC: packed in one go, and every answer looked at, for an error inside does not stop the rest.
//!
//! ```text
//! MULTI  operations of each key  HSET states  SET marker  EVAL counters  EVAL stamped keys  EXEC
//! ```
//!
//! SUBTLE: the marker is set before the scripts, each of which sets it once more. A command that memory or a
//! missing permission may forbid stands so before the script in every case, and the server refuses all or nothing.

use crate::model::{Marker, STATES_KEY, Write};

use super::commands::pack_op;
use super::counter::{pack_counters, read_counters, refusal};
use super::error::advise;
use super::resp::{Frame, Frames, unexpected};
use super::stamped::{self, pack_stamped, read_stamped};
use super::wire::{Wire, WireError};
use super::{Seal, WriteOutcome};

/// A part of a transaction.
enum Part {
    /// The operations of a write, by index.
    Write(usize),
    /// The state directory is listed.
    Register,
    /// The marker is set.
    Marker(Marker),
    /// The script of these counters.
    Counters(Vec<usize>),
    /// The script of these keys with stamps.
    Stamped(Vec<usize>),
}

/// A transaction that is packed, part by part, with the number of its commands.
pub(crate) struct Multi(Vec<(Part, usize)>);

/// What the server answered.
pub(crate) enum Exec {
    /// It was executed: one outcome per member, by index, and the marker that was set.
    Done(Vec<(usize, WriteOutcome)>, Option<Marker>),
    /// A watched key was written, or the server is loading: nothing happened.
    Aborted,
    /// It was refused as a whole: nothing happened.
    Refused {
        /// The server's words.
        words: String,
        /// The members whose own commands were refused, by index; none where it was no member's.
        members: Vec<usize>,
    },
}

impl Multi {
    /// Packs a transaction of these members.
    pub(crate) fn pack(
        wire: &mut Wire,
        writes: &[Write],
        members: &[usize],
        seal: Option<&Seal>,
    ) -> Self {
        let is_counter = |index: &usize| writes[*index].expect.is_counted();
        let is_plain = |index: &usize| !writes[*index].expect.is_scripted();
        let (plain, scripted): (Vec<usize>, Vec<usize>) = members.iter().partition(|i| is_plain(i));
        let (counters, stamped): (Vec<usize>, Vec<usize>) =
            scripted.iter().partition(|i| is_counter(i));
        wire.push(&[b"MULTI"]);
        let mut parts = Vec::with_capacity(plain.len() + 3);
        for index in plain.iter().copied() {
            let mut commands = 0;
            for op in &writes[index].ops {
                let key = writes[index].key.as_bytes();
                wire.push_with(|out| commands += pack_op(out, key, op));
            }
            parts.push((Part::Write(index), commands));
        }
        let sealed = seal.map(|seal| (seal, seal.marker(&plain)));
        if let Some((seal, marker)) = sealed {
            pack_seal(wire, seal, marker, &mut parts);
        }
        if !counters.is_empty() {
            wire.push_with(|out| pack_counters(out, writes, &counters, sealed));
            parts.push((Part::Counters(counters), 1));
        }
        if !stamped.is_empty() {
            wire.push_with(|out| pack_stamped(out, writes, &stamped, seal));
            parts.push((Part::Stamped(stamped), 1));
        }
        wire.push(&[b"EXEC"]);
        Self(parts)
    }

    /// Reads all answers.
    pub(crate) async fn answer(&self, wire: &mut Wire) -> Result<Exec, WireError> {
        let refused = self.read_queued(wire).await?;
        let reply = wire.reply().await?;
        let mut frames = Frames::new(reply);
        match frames.next()? {
            Frame::Nil => Ok(Exec::Aborted),
            Frame::Error(words) => Ok(self.refused(refused, words)),
            // A server that is loading answers EXEC with an empty array, and nothing happened.
            Frame::Array(answers) if answers != self.commands() => Ok(Exec::Aborted),
            Frame::Array(_) => self.read_executed(frames),
            other => Err(unexpected("the answer to EXEC", &other).into()),
        }
    }

    fn commands(&self) -> usize {
        self.0.iter().map(|(_, commands)| commands).sum()
    }

    /// Reads the answers to MULTI and to every queued command: the parts that were refused, by index, with the words.
    async fn read_queued(
        &self,
        wire: &mut Wire,
    ) -> Result<Vec<(Option<usize>, String)>, WireError> {
        let mut refused = Vec::new();
        let own = self.0.iter().enumerate();
        let queued = own.flat_map(|(index, part)| (0..part.1).map(move |_| Some(index)));
        for part in std::iter::once(None).chain(queued) {
            if let Frame::Error(words) = Frames::new(wire.reply().await?).next()? {
                refused.push((part, String::from_utf8_lossy(words).into_owned()));
            }
        }
        Ok(refused)
    }

    fn refused(&self, refused: Vec<(Option<usize>, String)>, exec: &[u8]) -> Exec {
        let mut members = Vec::new();
        let mut said = None;
        for (part, words) in refused {
            let part = part.map(|index| &self.0[index].0);
            let words = match part {
                Some(Part::Counters(counters)) => {
                    members.extend(counters);
                    refusal(&words)
                }
                Some(Part::Stamped(stamped)) => {
                    members.extend(stamped);
                    stamped::refusal(&words)
                }
                Some(Part::Write(index)) => {
                    members.push(*index);
                    words
                }
                Some(Part::Register | Part::Marker(_)) | None => words,
            };
            said.get_or_insert(words);
        }
        members.dedup();
        Exec::Refused {
            words: said.unwrap_or_else(|| String::from_utf8_lossy(exec).into_owned()),
            members,
        }
    }

    fn read_executed(&self, mut frames: Frames<'_>) -> Result<Exec, WireError> {
        let (mut outcomes, mut marker) = (Vec::new(), None);
        let mut is_registered = true;
        for (part, commands) in &self.0 {
            match part {
                Part::Write(index) => {
                    outcomes.push((*index, read_answers(&mut frames, *commands)?));
                }
                Part::Register => {
                    let answer = read_answers(&mut frames, *commands)?;
                    is_registered = answer == WriteOutcome::Applied;
                }
                Part::Marker(set) => {
                    let answer = read_answers(&mut frames, *commands)?;
                    marker = (answer == WriteOutcome::Applied).then_some(*set);
                }
                Part::Counters(members) => {
                    let (counted, set) = read_counters(&mut frames, members)?;
                    outcomes.extend(members.iter().copied().zip(counted));
                    marker = set.or(marker);
                }
                Part::Stamped(members) => {
                    let (written, set) = read_stamped(&mut frames, members)?;
                    outcomes.extend(members.iter().copied().zip(written));
                    marker = set.or(marker);
                }
            }
        }
        Ok(Exec::Done(outcomes, marker.filter(|_| is_registered)))
    }
}

fn pack_seal(wire: &mut Wire, seal: &Seal, marker: Marker, parts: &mut Vec<(Part, usize)>) {
    if let Some(replica) = seal.register {
        let (state, replica) = (marker.state.to_string(), replica.to_string());
        wire.push(&[b"HSET", STATES_KEY, state.as_bytes(), replica.as_bytes()]);
        parts.push((Part::Register, 1));
    }
    wire.push(&[b"SET", seal.lane.as_bytes(), marker.encode().as_bytes()]);
    parts.push((Part::Marker(marker), 1));
}

/// Reads the answers to one write's commands inside EXEC. A group that exists already is as good as created.
fn read_answers(frames: &mut Frames<'_>, count: usize) -> Result<WriteOutcome, WireError> {
    let mut outcome = WriteOutcome::Applied;
    for _ in 0..count {
        let mut peek = *frames;
        frames.skip()?;
        if let Frame::Error(words) = peek.next()?
            && !words.starts_with(b"BUSYGROUP")
        {
            outcome = WriteOutcome::Refused(advise(&String::from_utf8_lossy(words)));
        }
    }
    Ok(outcome)
}
