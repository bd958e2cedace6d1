//! Steps as they are written down: intents, journal entries, and what is remembered where nothing is written.

use std::collections::BTreeMap;

use crate::crdt::{Evidence, Standing};
use crate::model::{DbIndex, Digester, Key, Lag, LagBase, ReplicaId, Sequence, Write};
use crate::repair::ledger::Lesson;
use crate::repair::noting::{post, with_dump};
use crate::state::{Changes, Intent, IntentKey, IntentPart, JournalEntry, JournalPlace, PreImage};

use super::ask::Answer;
use super::step::{Case, Step};
use super::{Notary, Recollection};

/// A key of an intent; `place` tells at which place of a replica's writes it stands.
pub(super) fn intent_key(
    case: &Case<'_>,
    lesson: &Lesson,
    place: impl Fn(ReplicaId) -> Option<u8>,
) -> IntentKey {
    let parts = lesson.parts.iter().filter_map(|part| {
        Some(IntentPart {
            replica: part.replica,
            place: place(part.replica)?,
            applied: part.applied.clone(),
            otherwise: part.otherwise.clone(),
        })
    });
    IntentKey {
        key: case.key.clone(),
        agreement: lesson.agreement.clone(),
        always: lesson.settled.clone(),
        parts: parts.collect(),
    }
}

/// The place of a key among the writes of a replica.
pub(super) fn outcome_place(
    step: &Step<'_, '_>,
    writes: &BTreeMap<usize, Vec<(usize, Write)>>,
    number: usize,
    replica: ReplicaId,
) -> Option<u8> {
    let index = writes
        .keys()
        .find(|index| step.notary.id(**index) == replica)?;
    let place = writes[index].iter().position(|(one, _)| *one == number)?;
    u8::try_from(place).ok()
}

/// What a write is about to overwrite or remove, and what it writes.
pub(super) fn journal_entry(
    step: &Step<'_, '_>,
    replica: usize,
    case: &Case<'_>,
    write: &Write,
    digester: &mut Digester,
) -> JournalEntry {
    let held = case
        .pupils
        .iter()
        .find(|pupil| pupil.replica == replica)
        .and_then(|pupil| pupil.state.clone());
    let wrote = post(case.wanted(replica, held.as_ref()).as_ref(), digester);
    JournalEntry {
        sequence: step.sequence,
        run: step.notary.memory.run,
        replica: step.notary.id(replica),
        db: step.notary.index,
        key: write.key.clone(),
        before: with_dump(
            held.map_or(PreImage::Absent, PreImage::Whole),
            step.dumps.get(&(replica, write.key.clone())),
        ),
        wrote,
        rule: case.merged.rule.to_owned(),
        evidence: match case.undoing {
            Some(_) => "journal".to_owned(),
            None => evidence(case.merged.evidence).to_owned(),
        },
        agreement_before: case.recollection.past.agreement.clone(),
        lags_before: {
            let took_part = case.pupils.iter().map(|pupil| pupil.replica);
            let notary = step.notary;
            notary.former(&case.recollection, took_part, step.sequence)
        },
        stamps: write.restamping(),
        outcome: None,
    }
}

impl Notary<'_> {
    /// Everybody's base before the step, where it is not simply what was agreed: so also of those that forgot, or of
    /// whom only is known that the key was absent there.
    pub(crate) fn former(
        &self,
        recollection: &Recollection,
        took_part: impl Iterator<Item = usize>,
        step: Sequence,
    ) -> BTreeMap<ReplicaId, Lag> {
        let past = &recollection.past;
        let mut former = past.lags.clone();
        for replica in took_part {
            let id = self.id(replica);
            let known = recollection.known(replica);
            let ordinary = known.is_some_and(|known| known.standing == Standing::Ordinary);
            if ordinary && (past.agreement.is_some() || former.contains_key(&id)) {
                continue;
            }
            let lag = Lag {
                base: known.map_or(LagBase::Unknown, |known| {
                    LagBase::Held(known.memory.as_deref().cloned())
                }),
                seen: known.map(|known| known.seen.clone()).unwrap_or_default(),
                proved: known.map(|known| known.proved).unwrap_or_default(),
                since: step,
                evicted: false,
            };
            former.insert(id, lag);
        }
        former
    }
}

/// The evidence of a merge, as the journal has it.
pub(crate) fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Recorded => "recorded",
        Evidence::Agreed => "agreed",
        Evidence::None => "none",
    }
}

/// Where the journal entry of a write stands.
pub(super) fn journal_place(step: &Step<'_, '_>, replica: usize, key: &Key) -> JournalPlace {
    JournalPlace {
        run: step.notary.memory.run,
        sequence: step.sequence,
        replica: step.notary.id(replica),
        db: step.notary.index,
        key: key.clone(),
    }
}

/// What is remembered of a step that writes nothing: only keys whose every participant's marker was set.
pub(super) fn remember_only(step: &Step<'_, '_>, answers: &BTreeMap<usize, Answer>) -> Changes {
    let mut changes = Changes::new(step.shared.run.clock.now());
    let proved = |replica: usize| matches!(answers.get(&replica), Some(Answer::Proved(..)));
    for ((_, case), lesson) in step.cases.iter().zip(&step.lessons) {
        if case.pupils.iter().all(|pupil| proved(pupil.replica)) {
            remember_lesson(&mut changes, step.notary.index, &case.key, lesson);
        }
    }
    changes
}

/// Writes a lesson down that does not depend on a write.
pub(super) fn remember_lesson(changes: &mut Changes, db: DbIndex, key: &Key, lesson: &Lesson) {
    if let Some(agreement) = &lesson.agreement {
        changes.put_agreement(db, key.clone(), agreement.clone());
    }
    for (replica, lag) in &lesson.settled {
        match lag {
            Some(lag) => changes.put_lag(db, key.clone(), *replica, lag.clone()),
            None => changes.drop_lag(db, key.clone(), *replica),
        };
    }
}

/// The writes of an intent.
pub(super) fn parts(intent: &Intent) -> impl Iterator<Item = (&Key, &IntentPart)> {
    let keys = intent.keys.iter();
    keys.flat_map(|key| key.parts.iter().map(move |part| (&key.key, part)))
}
