//! Large keys: they are remembered by whole key, once all who take part are alike; the writes that bring them there are
//! many, and each only sets the marker.

use std::collections::BTreeSet;

use crate::model::{Body, Key, Lag, LagBase, Memory, ReplicaId, Seen, Sequence, Write};
use crate::repair::finding::Verdict;
use crate::repair::ledger::{Undo, alike};
use crate::repair::look::Look;
use crate::repair::round::Candidate;
use crate::repair::run::Shared;
use crate::state::{Changes, JournalEntry, StateError};
use crate::store::WriteOutcome;

use super::Notary;
use super::ask::{Answer, ask};
use super::settle::remember_lesson;

impl Notary<'_> {
    /// Writes one part of a large value. The marker goes along, and what is overwritten is journalled before; nothing
    /// is agreed on yet.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) async fn write_part(
        &self,
        shared: &Shared<'_>,
        replica: usize,
        write: Write,
        entry: impl FnOnce(Sequence) -> JournalEntry,
    ) -> Result<Result<WriteOutcome, Verdict>, StateError> {
        let _one_at_a_time = self.gate.lock().await;
        if !shared.active().contains(&replica) {
            let reason = "the replica was lost before this part was written";
            return Ok(Err(Verdict::Unfinished(reason.into())));
        }
        let step = self.memory.state.next_sequence()?;
        let entry = entry(step);
        let place = entry.place();
        let mut changes = Changes::new(shared.run.clock.now());
        changes.journal(entry);
        self.memory.state.commit(changes)?;
        let answer = ask(self, shared, step, replica, &[(0, write)]).await;
        match answer {
            Answer::Proved(marker, mut outcomes) => {
                self.set_marker(replica, marker);
                let mut changes = Changes::new(shared.run.clock.now());
                self.acknowledge(&mut changes, &BTreeSet::from([replica]), step)?;
                let outcome = outcomes.pop().unwrap_or(WriteOutcome::Unknown);
                changes.journal_outcome(place, outcome == WriteOutcome::Applied);
                self.memory.state.commit_unsynced(changes)?;
                Ok(Ok(outcome))
            }
            Answer::Unknown(error) | Answer::Refused(error) => {
                shared.lose(replica, &error);
                Ok(Err(Verdict::Unfinished(error.to_string())))
            }
        }
    }

    /// Keeps a part of a value that is about to be replaced; it is synced with the write's own entry.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) fn keep_part(
        &self,
        shared: &Shared<'_>,
        entry: impl FnOnce(Sequence) -> JournalEntry,
    ) -> Result<Sequence, StateError> {
        let step = self.memory.state.next_sequence()?;
        let mut changes = Changes::new(shared.run.clock.now());
        changes.journal(entry(step));
        self.memory.state.commit_unsynced(changes)?;
        Ok(step)
    }

    /// Lets a key wait until the operator names it.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) fn hold(
        &self,
        shared: &Shared<'_>,
        candidate: &Candidate<'_>,
    ) -> Result<(), StateError> {
        let mut changes = Changes::new(shared.run.clock.now());
        let hold = self.hold_of(candidate.keyspace);
        changes.hold(self.index, candidate.key.clone(), hold);
        self.memory.state.commit(changes)
    }

    /// Lets a key go again of which nothing was put back.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) fn let_go(&self, shared: &Shared<'_>, key: &Key) -> Result<(), StateError> {
        let mut changes = Changes::new(shared.run.clock.now());
        changes.unhold(self.index, key.clone());
        self.memory.state.commit(changes)
    }

    /// Remembers a large key that was taken back at the touched replicas. Where that is not all that the run wrote, or a
    /// replica cannot prove what it holds, nothing is known any more of those that were touched.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) async fn learn_undone(
        &self,
        shared: &Shared<'_>,
        key: &Key,
        (took_part, touched): (&BTreeSet<usize>, &[ReplicaId]),
        undo: &Undo,
    ) -> Result<(), StateError> {
        let _one_at_a_time = self.gate.lock().await;
        let step = self.memory.state.next_sequence()?;
        let proved = self.prove_all(shared, took_part, step).await?;
        let now = shared.run.clock.now();
        let mut changes = Changes::new(now);
        if !undo.complete || !proved {
            for id in touched {
                let lag = Lag {
                    base: LagBase::Unknown,
                    seen: Seen::default(),
                    proved: step,
                    since: step,
                    evicted: false,
                };
                changes.put_lag(self.index, key.clone(), *id, lag);
            }
        } else {
            let lesson = undo.erased(step, now);
            remember_lesson(&mut changes, self.index, key, &lesson);
        }
        if proved {
            self.acknowledge(&mut changes, took_part, step)?;
        }
        self.memory.state.commit(changes)
    }

    /// Remembers a large key on which all who take part are alike.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) async fn learn_alike(
        &self,
        shared: &Shared<'_>,
        candidate: &Candidate<'_>,
        looks: &[Option<Look>],
        evicted: &[usize],
    ) -> Result<(), StateError> {
        let took_part: BTreeSet<usize> =
            (0..looks.len()).filter(|at| looks[*at].is_some()).collect();
        let _one_at_a_time = self.gate.lock().await;
        let step = self.memory.state.next_sequence()?;
        if !self.prove_all(shared, &took_part, step).await? {
            return Ok(());
        }
        let past = self.past(&candidate.key)?;
        let held = looks.iter().flatten().next().copied();
        let ids = took_part.iter().map(|replica| self.id(*replica)).collect();
        let absent = self.absent(candidate.keyspace, &took_part, evicted);
        let now = shared.run.clock.now();
        let lesson = alike(&past, held.and_then(memory), ids, &absent, step, now);
        let mut changes = Changes::new(now);
        remember_lesson(&mut changes, self.index, &candidate.key, &lesson);
        if self.is_let_go(&candidate.key, candidate.keyspace)? {
            changes.unhold(self.index, candidate.key.clone());
        }
        self.acknowledge(&mut changes, &took_part, step)?;
        self.memory.state.commit(changes)
    }
}

fn memory(look: Look) -> Option<Memory> {
    match look {
        Look::Present {
            kind,
            digest,
            expiry,
        } => Some(Memory {
            kind,
            digest,
            expiry,
            body: Body::Whole,
        }),
        Look::Absent | Look::Unreadable => None,
    }
}
