//! Compare and write: WATCH, read again, compare, and only then MULTI ... EXEC.
//!
//! A group whose EXEC is aborted is retried by halves, until the keys that a client keeps writing are alone. Every
//! answer inside EXEC is looked at; an answer that never came is unknown.

use std::collections::VecDeque;

use crate::model::{Digester, Write};

use super::WriteOutcome;
use super::compare::{compare, watched};
use super::multi::{Exec, Multi};
use super::observe::is_passing;
use super::resp::{Frame, Frames};
use super::wire::{Wire, WireError};

/// How often a single key's EXEC may be aborted before the key counts as superseded.
const ATTEMPTS: usize = 3;

/// A group of writes that goes into one transaction, by index.
struct Group {
    members: Vec<usize>,
    attempts: usize,
}

/// The writes of one batch, and what became of each so far.
pub(crate) struct Transaction<'a> {
    writes: &'a [Write],
    depth: usize,
    outcomes: Vec<Option<WriteOutcome>>,
    groups: VecDeque<Group>,
    /// The members of a transaction whose EXEC was sent and not answered.
    sent: Vec<usize>,
}

impl<'a> Transaction<'a> {
    /// Nothing was written yet.
    pub(crate) fn new(writes: &'a [Write], depth: usize) -> Self {
        let all = Group {
            members: (0..writes.len()).collect(),
            attempts: 0,
        };
        Self {
            writes,
            depth,
            outcomes: vec![None; writes.len()],
            groups: VecDeque::from([all]),
            sent: Vec::new(),
        }
    }

    /// Writes what is left on this connection. After an error, [`Transaction::take_up`] and another one go on.
    pub(crate) async fn run(
        &mut self,
        wire: &mut Wire,
        digester: &mut Digester,
    ) -> Result<(), WireError> {
        while let Some(group) = self.groups.front() {
            let (members, attempts) = (group.members.clone(), group.attempts);
            let matching = self.watch_and_compare(wire, &members, digester).await?;
            if matching.is_empty() {
                let _ = wire.ask(&[b"UNWATCH"]).await?;
            } else if !self.execute(wire, &matching).await? {
                self.split(matching, attempts);
            }
            self.groups.pop_front();
        }
        Ok(())
    }

    /// After a lost connection: what was sent and not answered is unknown.
    pub(crate) fn take_up(&mut self) {
        for index in self.sent.drain(..) {
            self.outcomes[index] = Some(WriteOutcome::Unknown);
        }
        for group in &mut self.groups {
            group
                .members
                .retain(|&index| self.outcomes[index].is_none());
        }
        self.groups.retain(|group| !group.members.is_empty());
    }

    /// Whether anything may have been written.
    pub(crate) fn has_begun(&self) -> bool {
        self.outcomes.iter().any(Option::is_some)
    }

    /// One outcome per write; what was never sent is unknown to the caller, and reads back as unchanged.
    pub(crate) fn into_outcomes(self) -> Vec<WriteOutcome> {
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(WriteOutcome::Unknown))
            .collect()
    }

    /// Those of the members whose keys hold what is expected, all of them watched.
    async fn watch_and_compare(
        &mut self,
        wire: &mut Wire,
        members: &[usize],
        digester: &mut Digester,
    ) -> Result<Vec<usize>, WireError> {
        let mut watch: Vec<&[u8]> = vec![b"WATCH"];
        watch.extend(watched(self.writes, members));
        if watch.len() == 1 {
            // Counters alone. An idle connection that the server has closed is noticed before EXEC is sent.
            watch = vec![b"UNWATCH"];
        }
        let reply = wire.ask(&watch).await?;
        if let Frame::Error(words) = Frames::new(&reply).next()? {
            return self.refuse_all(members, words);
        }
        let (matching, superseded) =
            compare(wire, self.writes, members, self.depth, digester).await?;
        for index in superseded {
            self.outcomes[index] = Some(WriteOutcome::Superseded);
        }
        Ok(matching)
    }

    /// Sends MULTI, the operations and EXEC in one go. Answers whether the transaction was decided; if not, a client
    /// wrote to one of the keys.
    async fn execute(&mut self, wire: &mut Wire, members: &[usize]) -> Result<bool, WireError> {
        let multi = Multi::pack(wire, self.writes, members, None);
        self.sent = members.to_vec();
        wire.flush().await?;
        let decided = match multi.answer(wire).await? {
            Exec::Done(outcomes, _) => {
                for (index, outcome) in outcomes {
                    self.outcomes[index] = Some(outcome);
                }
                true
            }
            Exec::Aborted => false,
            Exec::Refused { words, .. } => self.refuse_group(members, words)?,
        };
        self.sent.clear();
        Ok(decided)
    }

    /// A refused transaction of several keys is split, to find the one that is refused.
    fn refuse_group(&mut self, members: &[usize], words: String) -> Result<bool, WireError> {
        if is_passing(&words) {
            self.sent.clear();
            return Err(WireError::Lost(words));
        }
        if members.len() > 1 {
            return Ok(false);
        }
        for &index in members {
            self.outcomes[index] = Some(WriteOutcome::Refused(words.clone()));
        }
        Ok(true)
    }

    fn refuse_all(&mut self, members: &[usize], words: &[u8]) -> Result<Vec<usize>, WireError> {
        let words = String::from_utf8_lossy(words).into_owned();
        if is_passing(&words) {
            return Err(WireError::Lost(words));
        }
        for &index in members {
            self.outcomes[index] = Some(WriteOutcome::Refused(words.clone()));
        }
        Ok(Vec::new())
    }

    /// Puts an aborted group to the back, by halves.
    fn split(&mut self, members: Vec<usize>, attempts: usize) {
        if let [single] = members[..] {
            if attempts + 1 >= ATTEMPTS {
                self.outcomes[single] = Some(WriteOutcome::Superseded);
            } else {
                self.groups.push_back(Group {
                    members,
                    attempts: attempts + 1,
                });
            }
            return;
        }
        let (first, second) = members.split_at(members.len() / 2);
        for half in [first, second] {
            self.groups.push_back(Group {
                members: half.to_vec(),
                attempts: 0,
            });
        }
    }
}
