//! Compare and write: WATCH, read again, compare, and only then MULTI ... EXEC.
//!
//! A group whose EXEC is aborted is retried by halves, until the keys that a client keeps writing are alone. Every
//! answer inside EXEC is looked at; an answer that never came is unknown.

use std::collections::VecDeque;

use crate::model::{Digester, Expect, Key, Write};

use super::commands::pack_op;
use super::elements::watched_elements;
use super::error::advise;
use super::observe::{is_passing, observe};
use super::resp::{Frame, Frames, unexpected};
use super::wire::{Wire, WireError};
use super::{Observed, WriteOutcome};

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
        let keys: Vec<Key> = members
            .iter()
            .map(|&index| self.writes[index].key.clone())
            .collect();
        let mut watch: Vec<&[u8]> = vec![b"WATCH"];
        watch.extend(keys.iter().map(Key::as_bytes));
        let reply = wire.ask(&watch).await?;
        if let Frame::Error(words) = Frames::new(&reply).next()? {
            return self.refuse_all(members, words);
        }
        let whole: Vec<usize> = members
            .iter()
            .copied()
            .filter(|&index| !by_elements(&self.writes[index].expect))
            .collect();
        let keys: Vec<Key> = whole
            .iter()
            .map(|&index| self.writes[index].key.clone())
            .collect();
        let observed = observe(wire, &keys, self.depth, false, digester).await?;
        let mut matching = Vec::with_capacity(members.len());
        for (&index, observed) in whole.iter().zip(&observed) {
            self.judge(
                index,
                is_as_expected(&self.writes[index].expect, observed),
                &mut matching,
            );
        }
        for &index in members
            .iter()
            .filter(|&&index| by_elements(&self.writes[index].expect))
        {
            let as_expected = watched_elements(wire, &self.writes[index], digester).await?;
            self.judge(index, as_expected, &mut matching);
        }
        matching.sort_unstable();
        Ok(matching)
    }

    fn judge(&mut self, index: usize, as_expected: bool, matching: &mut Vec<usize>) {
        if as_expected {
            matching.push(index);
        } else {
            self.outcomes[index] = Some(WriteOutcome::Superseded);
        }
    }

    /// Sends MULTI, the operations and EXEC in one go. Answers whether the transaction was decided; if not, a client
    /// wrote to one of the keys.
    async fn execute(&mut self, wire: &mut Wire, members: &[usize]) -> Result<bool, WireError> {
        wire.push(&[b"MULTI"]);
        let mut commands = Vec::with_capacity(members.len());
        for &index in members {
            let write = &self.writes[index];
            let mut count = 0;
            for op in &write.ops {
                wire.push_with(|out| count += pack_op(out, write.key.as_bytes(), op));
            }
            commands.push(count);
        }
        wire.push(&[b"EXEC"]);
        self.sent = members.to_vec();
        wire.flush().await?;
        let refusal = read_queued(wire, commands.iter().sum()).await?;
        let decided = self.read_exec(wire, members, &commands, refusal).await?;
        self.sent.clear();
        Ok(decided)
    }

    async fn read_exec(
        &mut self,
        wire: &mut Wire,
        members: &[usize],
        commands: &[usize],
        refusal: Option<String>,
    ) -> Result<bool, WireError> {
        let reply = wire.reply().await?;
        let mut frames = Frames::new(reply);
        let answers = match frames.next()? {
            Frame::Nil => return Ok(false),
            Frame::Error(words) => {
                let words = refusal.unwrap_or_else(|| String::from_utf8_lossy(words).into_owned());
                return self.refuse_group(members, words);
            }
            Frame::Array(answers) => answers,
            other => return Err(unexpected("the answer to EXEC", &other).into()),
        };
        // A server that is loading answers EXEC with an empty array, and nothing happened.
        if answers != commands.iter().sum::<usize>() {
            return Ok(false);
        }
        for (&index, &count) in members.iter().zip(commands) {
            self.outcomes[index] = Some(read_answers(&mut frames, count)?);
        }
        Ok(true)
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

fn by_elements(expect: &Expect) -> bool {
    matches!(expect, Expect::Elements { .. })
}

fn is_as_expected(expect: &Expect, observed: &Observed) -> bool {
    match (expect, observed) {
        (Expect::Absent, Observed::Absent) => true,
        (Expect::Exactly { digest, expiry }, Observed::Large(found)) => {
            *digest == found.digest && *expiry == found.expiry
        }
        _ => false,
    }
}

/// Reads the answers to MULTI and to every queued command: the first refusal, if there was one.
async fn read_queued(wire: &mut Wire, commands: usize) -> Result<Option<String>, WireError> {
    let mut refusal = None;
    for _ in 0..=commands {
        if let Frame::Error(words) = Frames::new(wire.reply().await?).next()? {
            refusal.get_or_insert_with(|| String::from_utf8_lossy(words).into_owned());
        }
    }
    Ok(refusal)
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
