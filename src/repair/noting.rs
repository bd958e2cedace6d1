//! Pre-images: what a write takes from a key that commands cannot put back, and, in runs without memory, the file in
//! which everything is noted before it is overwritten.
//!
//! ```text
//! orders ─ dumps where groups would be lost ─ notes (synced) ─▶ the writes ─ outcomes
//!                                                │ the file takes no more: nothing of it is written, the run ends
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{
    DbIndex, Digester, ExpiryPolicy, Key, Op, RunNumber, Sequence, State, Value, Write,
};
use crate::state::{JournalEntry, JournalFile, Post, PreImage};
use crate::store::{Replica, StoreError, WriteOutcome};

use super::look::{Look, difference};
use super::notary::Case;
use super::run::Shared;

/// The file in which a run without memory keeps pre-images.
pub struct RunJournal {
    /// The file.
    pub file: JournalFile,
    /// The run's number in it.
    pub run: RunNumber,
}

/// What a write does to a key, to be noted before it is made.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) before: PreImage,
    pub(crate) wrote: Post,
    pub(crate) rule: &'static str,
    pub(crate) evidence: &'static str,
}

impl Note {
    /// Of a key whose state is whole.
    pub(crate) fn whole(
        held: Option<&State>,
        wanted: Option<&State>,
        (rule, evidence): (&'static str, &'static str),
        digester: &mut Digester,
    ) -> Self {
        let held = held.filter(|state| !state.value.is_void());
        Self {
            before: held.cloned().map_or(PreImage::Absent, PreImage::Whole),
            wrote: post(wanted, digester),
            rule,
            evidence,
        }
    }
}

/// What a key holds after a write.
pub(crate) fn post(wanted: Option<&State>, digester: &mut Digester) -> Post {
    let wanted = wanted.filter(|state| !state.value.is_void());
    wanted.map_or(Post::Absent, |state| Post::Whole {
        digest: digester.value(&state.value),
        expiry: state.expiry,
    })
}

/// Whether a key still holds what was written.
pub(crate) fn holds(look: &Look, wrote: &Post, policy: &ExpiryPolicy) -> bool {
    let wrote = match (wrote, look) {
        (Post::Absent, _) => Look::Absent,
        (Post::Whole { digest, expiry }, Look::Present { kind, .. }) => Look::Present {
            kind: *kind,
            digest: *digest,
            expiry: *expiry,
        },
        (Post::Whole { .. } | Post::Elements { .. }, _) => return false,
    };
    difference(&[*look, wrote], policy).is_none()
}

/// Whether operations take something that commands cannot put back: what the groups of a stream have pending.
pub(crate) fn loses_groups(held: Option<&State>, ops: &[Op]) -> bool {
    let has_groups = held.is_some_and(|state| match &state.value {
        Value::Stream(stream) => !stream.groups.is_empty(),
        _ => false,
    });
    let replaces = |op: &Op| {
        matches!(
            op,
            Op::Remove | Op::Put(_) | Op::TakeAside(_) | Op::Restore(_)
        )
    };
    has_groups && ops.iter().any(replaces)
}

/// What DUMP answers for these keys of one replica; those that are gone are left out.
pub(crate) async fn dumps(
    replica: &dyn Replica,
    db: Option<DbIndex>,
    keys: &[Key],
) -> Result<BTreeMap<Key, Bytes>, StoreError> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let dumped = replica.dump(db, keys).await?;
    let dumped = keys.iter().cloned().zip(dumped);
    Ok(dumped
        .filter_map(|(key, found)| Some((key, found?.0)))
        .collect())
}

/// What DUMP answered, by participant and key.
pub(crate) type Dumps = BTreeMap<(usize, Key), Bytes>;

/// Dumps what the writes of these cases take and commands cannot put back. Says as well who could not be asked.
pub(crate) async fn dumps_of(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    cases: &[Case<'_>],
) -> (Dumps, Vec<usize>) {
    let mut wanted: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
    for case in cases {
        for (replica, write) in &case.writes {
            let pupil = case.pupils.iter().find(|one| one.replica == *replica);
            let held = pupil.and_then(|pupil| pupil.state.as_ref());
            if loses_groups(held, &write.ops) {
                wanted.entry(*replica).or_default().push(write.key.clone());
            }
        }
    }
    let (mut found, mut lost) = (Dumps::new(), Vec::new());
    for (replica, keys) in wanted {
        let source = shared.run.participants[replica].replica.as_ref();
        match dumps(source, db, &keys).await {
            Ok(dumps) => found.extend(dumps.into_iter().map(|(key, it)| ((replica, key), it))),
            Err(error) => {
                shared.lose(replica, &error);
                lost.push(replica);
            }
        }
    }
    (found, lost)
}

/// The pre-image with what DUMP answered.
pub(crate) fn with_dump(before: PreImage, dump: Option<&Bytes>) -> PreImage {
    match (before, dump) {
        (PreImage::Whole(state), Some(dump)) => PreImage::Dumped(state, dump.clone()),
        (before, _) => before,
    }
}

/// Notes what these writes of one replica are about to overwrite, if the run has a file for it. Answers the number of
/// each, or why none of them may be made.
pub(super) async fn note(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    replica: usize,
    writes: &[Write],
    notes: Vec<Option<Note>>,
) -> Result<Vec<Sequence>, String> {
    let Some(journal) = &shared.run.journal else {
        return Ok(Vec::new());
    };
    if shared.is_broken() {
        return Err("the run ended before its turn".into());
    }
    let target = shared.run.participants[replica].replica.as_ref();
    let held = notes.iter().map(|note| match note.as_ref()?.before {
        PreImage::Whole(ref state) => Some(state),
        _ => None,
    });
    let lost = writes.iter().zip(held);
    let lost = lost.filter(|(write, held)| loses_groups(*held, &write.ops));
    let keys: Vec<Key> = lost.map(|(write, _)| write.key.clone()).collect();
    let dumps = dumps(target, db, &keys).await.map_err(|error| {
        shared.lose(replica, &error);
        error.to_string()
    })?;
    let mut entries = Vec::with_capacity(writes.len());
    for (write, note) in writes.iter().zip(notes) {
        let note = note.ok_or("nothing tells what it overwrites")?;
        let before = with_dump(note.before, dumps.get(&write.key));
        let note = Note { before, ..note };
        let entry = entry(shared, db, replica, &write.key, (journal.run, note));
        entries.push(JournalEntry {
            stamps: write.restamping(),
            ..entry
        });
    }
    add(shared, journal, entries, true)
}

/// The entry of a write.
pub(super) fn entry(
    shared: &Shared<'_>,
    db: Option<DbIndex>,
    replica: usize,
    key: &Key,
    (run, note): (RunNumber, Note),
) -> JournalEntry {
    JournalEntry {
        sequence: Sequence::default(),
        run,
        replica: JournalFile::id_of(shared.run.participants[replica].replica.name()),
        db: shared.db_index(db),
        key: key.clone(),
        before: note.before,
        wrote: note.wrote,
        rule: note.rule.to_owned(),
        evidence: note.evidence.to_owned(),
        agreement_before: None,
        lags_before: BTreeMap::new(),
        stamps: None,
        outcome: None,
    }
}

/// Adds entries to the file. If it takes no more, the run ends.
pub(super) fn add(
    shared: &Shared<'_>,
    journal: &RunJournal,
    entries: Vec<JournalEntry>,
    synced: bool,
) -> Result<Vec<Sequence>, String> {
    journal.file.add(entries, synced).map_err(|error| {
        let reason = error.to_string();
        shared.break_off(error);
        reason
    })
}

/// Notes what became of writes. Nothing for those of which that is unknown.
pub(super) fn settle(shared: &Shared<'_>, numbers: &[Sequence], outcomes: &[WriteOutcome]) {
    let Some(journal) = &shared.run.journal else {
        return;
    };
    let known = |(number, outcome): (&Sequence, &WriteOutcome)| match outcome {
        WriteOutcome::Applied => Some((*number, true)),
        WriteOutcome::Superseded | WriteOutcome::Contended => Some((*number, false)),
        // Of what was refused a part may have happened.
        WriteOutcome::Unknown | WriteOutcome::Refused(_) => None,
    };
    let settled: Vec<_> = numbers.iter().zip(outcomes).filter_map(known).collect();
    if settled.is_empty() {
        return;
    }
    if let Err(error) = journal.file.outcomes(&settled) {
        shared.break_off(error);
    }
}
