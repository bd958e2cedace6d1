//! One step: what was read is proved, what was merged is written and remembered, together or not at all.
//!
//! ```text
//! markers still ours? ─▶ intent, pre-images (synced) ─▶ sealed writes, all replicas at once ─▶ outcomes (synced)
//!        │ no: the replica forgot what was read, its keys wait                 │ no answer: the fenced marker tells
//! ```
//!
//! Where nothing is written there is no intent: the markers prove the read, and then it is remembered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;

use crate::crdt::{Merged, Target};
use crate::model::{Digester, Key, Keyspace, Lane, Marker, ReplicaId, Sequence, State, Write};
use crate::repair::finding::{Fate as WriteFate, Verdict};
use crate::repair::ledger::{
    Absent, Fate, Lesson, Pupil as LedgerPupil, Subject, Trust, Undo, lesson,
};
use crate::repair::noting::{Dumps, dumps_of};
use crate::repair::run::Shared;
use crate::repair::writing::{Written, judged};
use crate::state::{Changes, Intent, StateError};
use crate::store::{StoreError, WriteOutcome};

use super::ask::{Answer, ask};
use super::settle::{intent_key, journal_entry, journal_place, outcome_place, remember_only};
use super::{Notary, Recollection, lane_name};

/// A key that was merged: to be remembered, and perhaps to be written.
pub(crate) struct Case<'a> {
    pub(crate) key: Key,
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) recollection: Recollection,
    pub(crate) merged: Merged,
    pub(crate) target: Target,
    pub(crate) pupils: Vec<Pupil>,
    /// Participants that lack the key because they evict.
    pub(crate) evicted: Vec<usize>,
    /// One write per pupil that is [`Fate::Written`].
    pub(crate) writes: Vec<(usize, Write)>,
    /// Where the key is not merged but undone: what that teaches, and what each participant then holds.
    pub(crate) undoing: Option<Undoing>,
}

/// A key whose outcome is not merged but given: what a run wrote is put back.
pub(crate) struct Undoing {
    pub(crate) undo: Undo,
    /// What is put back, by participant.
    pub(crate) targets: BTreeMap<usize, Option<State>>,
    /// All of it stands there by now: what was before the run is agreed again.
    pub(crate) erases: bool,
}

/// A participant that took part in a key.
pub(crate) struct Pupil {
    pub(crate) replica: usize,
    /// What it held when it was last read.
    pub(crate) state: Option<State>,
    pub(crate) fate: Fate,
    /// Fields that stay as they are there, because its server cannot hold their ends.
    pub(crate) left_out: BTreeSet<Bytes>,
}

impl Case<'_> {
    /// What a participant holds once its write has happened.
    pub(super) fn wanted(&self, replica: usize, held: Option<&State>) -> Option<State> {
        match &self.undoing {
            Some(undoing) => undoing.targets.get(&replica).cloned().flatten(),
            None => {
                let pupil = self.pupils.iter().find(|pupil| pupil.replica == replica);
                match pupil.map(|pupil| &pupil.left_out) {
                    Some(names) if !names.is_empty() => self.target.leaving(names).at(held),
                    Some(_) | None => self.target.at(held),
                }
            }
        }
    }

    fn involves(&self, replicas: &BTreeSet<usize>) -> bool {
        self.pupils
            .iter()
            .any(|pupil| replicas.contains(&pupil.replica))
    }
}

/// A step that is under way.
pub(super) struct Step<'s, 'a> {
    pub(super) notary: &'s Notary<'a>,
    pub(super) shared: &'s Shared<'s>,
    pub(super) sequence: Sequence,
    pub(super) cases: Vec<(usize, &'s Case<'s>)>,
    pub(super) lessons: Vec<Lesson>,
    /// What commands cannot put back, by participant and key.
    pub(super) dumps: Dumps,
}

impl<'a> Notary<'a> {
    /// Takes a step with these keys: at most [`crate::store::BATCH_KEYS`] writes for a replica. Answers what became of
    /// each write; keys are named by their place among the cases.
    ///
    /// # Errors
    /// When the state directory takes no more: then nothing further may be written.
    pub(crate) async fn step(
        &self,
        shared: &Shared<'_>,
        cases: &[Case<'_>],
    ) -> Result<Vec<Written>, StateError> {
        let _one_at_a_time = self.gate.lock().await;
        let mut forgot = self.forgot_meanwhile(shared, cases).await;
        let (dumps, gone) = dumps_of(shared, self.db, cases).await;
        forgot.extend(gone);
        let mut written: Vec<Written> = Vec::new();
        let mut left = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            if case.involves(&forgot) {
                written.extend(unfinished(number, case));
            } else if self.past(&case.key)? == case.recollection.past {
                left.push((number, case));
            } else {
                written.extend(outdated(number, case));
            }
        }
        let mut step = Step {
            notary: self,
            shared,
            sequence: self.memory.state.next_sequence()?,
            cases: left,
            lessons: Vec::new(),
            dumps,
        };
        step.learn();
        written.extend(step.take().await?);
        Ok(written)
    }

    /// The participants whose markers are not what this run left there: what was read of them is worth nothing. They
    /// take no further part. Nor do those that were lost meanwhile, whatever they say now: a step of theirs may be
    /// open, and a newer marker would tell that it happened.
    async fn forgot_meanwhile(&self, shared: &Shared<'_>, cases: &[Case<'_>]) -> BTreeSet<usize> {
        let pupils = cases.iter().flat_map(|case| &case.pupils);
        let replicas: BTreeSet<usize> = pupils.map(|pupil| pupil.replica).collect();
        let active: BTreeSet<usize> = shared.active().into_iter().collect();
        let lost: BTreeSet<usize> = replicas.difference(&active).copied().collect();
        let checks = replicas.intersection(&active).map(|&replica| async move {
            let edge = &shared.run.participants[replica].replica;
            let lane = lane_name(self.memory.ids[replica]);
            match edge.marker(self.db, &lane).await {
                Ok(bytes) if says(bytes.as_deref()) == self.marker(replica).map(step_of) => None,
                Ok(bytes) => Some((
                    replica,
                    StoreError::Fenced {
                        replica: edge.name().clone(),
                        lane,
                        found: bytes.as_deref().and_then(Marker::decode),
                    },
                )),
                Err(error) => Some((replica, error)),
            }
        });
        let gone = join_all(checks).await.into_iter().flatten();
        let gone = gone.map(|(replica, error)| {
            shared.lose(replica, &error);
            replica
        });
        lost.into_iter().chain(gone).collect()
    }

    /// Everybody who takes no part in a key.
    pub(super) fn absent(
        &self,
        keyspace: &Keyspace,
        took_part: &BTreeSet<usize>,
        evicted: &[usize],
    ) -> Vec<Absent> {
        let memory = self.memory;
        let participants = (0..memory.ids.len()).filter(|replica| !took_part.contains(replica));
        let participants = participants.map(|replica| Absent {
            id: memory.ids[replica],
            covered: self.covered(memory.ids[replica], keyspace),
            evicted: evicted.contains(&replica),
        });
        let others = memory.others.iter().map(|id| Absent {
            id: *id,
            covered: self.covered(*id, keyspace),
            evicted: false,
        });
        participants.chain(others).collect()
    }

    pub(super) fn id(&self, replica: usize) -> ReplicaId {
        self.memory.ids[replica]
    }
}

/// What a marker says, but for what was written in its step: a cluster has that in other places.
fn says(bytes: Option<&[u8]>) -> Option<Marker> {
    bytes.and_then(Marker::decode).map(step_of)
}

fn step_of(marker: Marker) -> Marker {
    Marker {
        written: 0,
        ..marker
    }
}

/// What was remembered of the key has changed since it was merged: it is to be looked at again.
fn outdated(number: usize, case: &Case<'_>) -> Vec<Written> {
    let outdated = |(replica, _): &(usize, Write)| Written {
        replica: *replica,
        key: number,
        fate: WriteFate::Superseded,
        verdict: None,
    };
    case.writes.iter().map(outdated).collect()
}

fn unfinished(number: usize, case: &Case<'_>) -> Vec<Written> {
    let reason = "a replica forgot what was read of it, or was lost, before the key was written";
    let unfinished = |replica: usize| Written {
        replica,
        key: number,
        fate: WriteFate::Planned,
        verdict: Some(Verdict::Unfinished(reason.into())),
    };
    case.writes
        .iter()
        .map(|(replica, _)| unfinished(*replica))
        .collect()
}

impl<'s> Step<'s, '_> {
    /// What each key teaches, if the step comes about.
    fn learn(&mut self) {
        let mut digester = Digester::new(self.shared.run.digest_key.clone());
        let lessons = self
            .cases
            .iter()
            .map(|(_, case)| self.lesson(case, &mut digester))
            .collect();
        self.lessons = lessons;
    }

    fn lesson(&self, case: &Case<'_>, digester: &mut Digester) -> Lesson {
        if let Some(undoing) = &case.undoing {
            let now = self.shared.run.clock.now();
            return match undoing.erases {
                true => undoing.undo.erased(self.sequence, now),
                false => undoing.undo.lesson(self.sequence, digester),
            };
        }
        let trusts: Vec<Option<Trust>> = case
            .pupils
            .iter()
            .map(|pupil| self.notary.trust(pupil.replica, case.keyspace))
            .collect();
        let pupils: Vec<LedgerPupil<'_>> = case
            .pupils
            .iter()
            .zip(&trusts)
            .filter_map(|(pupil, trust)| {
                Some(LedgerPupil {
                    trust: trust.as_ref()?,
                    state: pupil.state.as_ref(),
                    base: case.recollection.known(pupil.replica),
                    fate: pupil.fate,
                    left_out: &pupil.left_out,
                })
            })
            .collect();
        let subject = Subject {
            past: &case.recollection.past,
            target: &case.target,
            changes: &case.merged.changes,
            policy: &case.keyspace.policy,
            elements: self.notary.memory.elements,
            step: self.sequence,
            now: self.shared.run.clock.now(),
        };
        let took_part = case.pupils.iter().map(|pupil| pupil.replica).collect();
        let absent = self.notary.absent(case.keyspace, &took_part, &case.evicted);
        lesson(&subject, &pupils, &absent, digester)
    }

    async fn take(self) -> Result<Vec<Written>, StateError> {
        if self.lessons.iter().all(Lesson::is_empty) {
            return Ok(Vec::new());
        }
        let writes = self.writes();
        let is_written = writes.values().any(|writes| !writes.is_empty());
        let intent = self.intent(&writes);
        if is_written {
            self.open(&intent, &writes)?;
        }
        let answers = join_all(writes.iter().map(|(replica, writes)| {
            ask(self.notary, self.shared, self.sequence, *replica, writes)
        }));
        let answers: BTreeMap<usize, Answer> = writes.keys().copied().zip(answers.await).collect();
        for (replica, answer) in &answers {
            match answer {
                Answer::Proved(marker, _) => self.notary.set_marker(*replica, *marker),
                Answer::Unknown(error) | Answer::Refused(error) => {
                    self.shared.lose(*replica, error);
                }
            }
        }
        self.close(is_written.then_some(&intent), &writes, &answers)?;
        Ok(outcomes(self.shared, &writes, &answers))
    }

    /// What is written to each participant that took part in any key, by place: also where that is nothing, because a
    /// marker proves what was read.
    fn writes(&self) -> BTreeMap<usize, Vec<(usize, Write)>> {
        let mut writes: BTreeMap<usize, Vec<(usize, Write)>> = BTreeMap::new();
        for ((number, case), lesson) in self.cases.iter().zip(&self.lessons) {
            if lesson.is_empty() {
                continue;
            }
            for pupil in &case.pupils {
                writes.entry(pupil.replica).or_default();
            }
            for (replica, write) in &case.writes {
                let of_replica = writes.entry(*replica).or_default();
                of_replica.push((*number, write.clone()));
            }
        }
        writes
    }

    fn intent(&self, writes: &BTreeMap<usize, Vec<(usize, Write)>>) -> Intent {
        let keys = self.cases.iter().zip(&self.lessons);
        Intent {
            sequence: self.sequence,
            run: self.notary.memory.run,
            db: self.notary.index,
            replicas: writes
                .keys()
                .map(|replica| self.notary.id(*replica))
                .collect(),
            keys: keys
                .filter(|(_, lesson)| !lesson.is_empty())
                .map(|((number, case), lesson)| {
                    intent_key(case, lesson, |id| outcome_place(self, writes, *number, id))
                })
                .collect(),
            late: false,
        }
    }

    /// Brings the intent and the pre-images to disk.
    fn open(
        &self,
        intent: &Intent,
        writes: &BTreeMap<usize, Vec<(usize, Write)>>,
    ) -> Result<(), StateError> {
        let mut changes = Changes::new(self.shared.run.clock.now());
        changes.open_intent(intent.clone());
        let mut digester = Digester::new(self.shared.run.digest_key.clone());
        for (replica, writes) in writes {
            for (number, write) in writes {
                let case = self.cases.iter().find(|(one, _)| one == number);
                let Some((_, case)) = case else { continue };
                if case.undoing.is_some() {
                    // With the intent: a run must not do again what was undone.
                    let hold = self.notary.hold_of(case.keyspace);
                    changes.hold(self.notary.index, case.key.clone(), hold);
                }
                changes.journal(journal_entry(self, *replica, case, write, &mut digester));
            }
        }
        self.notary.memory.state.commit(changes)
    }

    /// Brings to disk what happened.
    fn close(
        &self,
        intent: Option<&Intent>,
        writes: &BTreeMap<usize, Vec<(usize, Write)>>,
        answers: &BTreeMap<usize, Answer>,
    ) -> Result<(), StateError> {
        let mut changes = match intent {
            Some(intent) => self.settled(intent, answers),
            None => remember_only(self, answers),
        };
        self.release(&mut changes)?;
        for (replica, answer) in answers {
            let Answer::Proved(marker, outcomes) = answer else {
                continue;
            };
            let id = self.notary.id(*replica);
            let lane = self.notary.memory.state.lane(id, self.notary.index)?;
            let lane = Lane {
                first: lane.map_or(marker.sequence, |lane| lane.first),
                acknowledged: marker.sequence,
            };
            changes.set_lane(id, self.notary.index, lane);
            for ((_, write), outcome) in writes[replica].iter().zip(outcomes) {
                let applied = *outcome == WriteOutcome::Applied;
                let place = journal_place(self, *replica, &write.key);
                changes.journal_outcome(place, applied);
            }
        }
        self.notary.memory.state.commit(changes)
    }

    /// Lets keys go that were undone and are taken up again.
    fn release(&self, changes: &mut Changes) -> Result<(), StateError> {
        for (_, case) in self.cases.iter().filter(|(_, case)| case.undoing.is_none()) {
            if self.notary.is_let_go(&case.key, case.keyspace)? {
                changes.unhold(self.notary.index, case.key.clone());
            }
        }
        Ok(())
    }

    fn settled(&self, intent: &Intent, answers: &BTreeMap<usize, Answer>) -> Changes {
        let by_id: BTreeMap<ReplicaId, &Answer> = answers
            .iter()
            .map(|(replica, answer)| (self.notary.id(*replica), answer))
            .collect();
        intent.settle(self.shared.run.clock.now(), |id, place| {
            match by_id.get(&id)? {
                Answer::Proved(_, outcomes) => {
                    let outcome = outcomes.get(usize::from(place))?;
                    Some(*outcome == WriteOutcome::Applied)
                }
                Answer::Refused(_) => Some(false),
                Answer::Unknown(_) => None,
            }
        })
    }
}

fn outcomes(
    shared: &Shared<'_>,
    writes: &BTreeMap<usize, Vec<(usize, Write)>>,
    answers: &BTreeMap<usize, Answer>,
) -> Vec<Written> {
    let mut written = Vec::new();
    for (replica, writes) in writes {
        let Some(answer) = answers.get(replica) else {
            continue;
        };
        let name = shared.run.participants[*replica].replica.name();
        for (place, (number, _)) in writes.iter().enumerate() {
            let (fate, verdict) = match answer {
                Answer::Proved(_, outcomes) => judged(
                    name,
                    outcomes
                        .get(place)
                        .cloned()
                        .unwrap_or(WriteOutcome::Unknown),
                ),
                Answer::Unknown(error) => (WriteFate::Unknown, lost(error)),
                Answer::Refused(error) => (WriteFate::Planned, lost(error)),
            };
            written.push(Written {
                replica: *replica,
                key: *number,
                fate,
                verdict,
            });
        }
    }
    written
}

fn lost(error: &StoreError) -> Option<Verdict> {
    Some(Verdict::Unfinished(error.to_string()))
}
