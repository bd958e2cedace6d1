//! The writes of a large value, each with its pre-image before it: of a collection the touched elements alone, of what is
//! replaced or removed all of it, part by part.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::crdt::Evidence;
use crate::model::{
    Digester, Expect, Expiry, Kind, Op, Restamping, Sequence, State, Stream, StreamId, Value,
    ValueDigest, Write,
};
use crate::repair::noting::{Note, RunJournal, dumps, entry, loses_groups, settle, with_dump};
use crate::state::{JournalEntry, Post, PreImage};
use crate::store::{Piece, PieceCursor, WriteOutcome, alone, only};

use super::super::finding::Verdict;
use super::super::notary::{Notary, evidence};
use super::super::reading::state;
use super::{Large, Stopped};

/// What a write does, for the journal.
pub(super) enum Trace<'t> {
    /// The whole key is replaced or removed: it then holds this.
    Whole(Post),
    /// Only the key's end changes.
    Ends(Expiry),
    /// Of a collection, some of these elements become what is wanted.
    Elements {
        held: &'t State,
        wanted: &'t State,
        names: &'t [Bytes],
    },
}

/// What is to be journalled, but for the number of its step: with what happens to stamps, where any are written.
type Image = (PreImage, Post, Option<Box<Restamping>>);

impl Large<'_> {
    /// Writes to one replica, with the pre-image of what it overwrites on disk before, where that is kept.
    pub(super) async fn write(
        &self,
        replica: usize,
        expect: Expect,
        ops: Vec<Op>,
        trace: Trace<'_>,
    ) -> Result<(), Stopped> {
        let target = &self.shared.run.participants[replica].replica;
        let db = self.candidate.keyspace.db;
        let write = Write {
            key: self.candidate.key.clone(),
            expect,
            ops,
        };
        let outcome = match (self.shared.notary(db), &self.shared.run.journal) {
            (Some(notary), _) => {
                let image = self.image(replica, &write, trace).await?;
                Some(
                    self.write_with_marker(notary, replica, write, image)
                        .await?,
                )
            }
            (None, Some(journal)) => {
                let image = self.image(replica, &write, trace).await?;
                self.write_noted(journal, replica, write, image).await?
            }
            (None, None) => self.write_alone(replica, write).await?,
        };
        match outcome {
            Some(WriteOutcome::Applied) => Ok(()),
            Some(WriteOutcome::Refused(words)) => Err(Stopped::Verdict(Verdict::Refused(
                target.name().clone(),
                words,
            ))),
            Some(WriteOutcome::Superseded | WriteOutcome::Contended) | None => Err(Stopped::Again),
            Some(WriteOutcome::Unknown) => Err(Stopped::Unclear),
        }
    }

    async fn write_alone(
        &self,
        replica: usize,
        write: Write,
    ) -> Result<Option<WriteOutcome>, Stopped> {
        let (db, run) = (self.candidate.keyspace.db, self.shared.run);
        let target = &run.participants[replica].replica;
        let written = target.write(db, &[write], &run.digest_key, None).await;
        Ok(self.reached(replica, written)?.outcomes.pop())
    }

    async fn write_noted(
        &self,
        journal: &RunJournal,
        replica: usize,
        write: Write,
        image: Image,
    ) -> Result<Option<WriteOutcome>, Stopped> {
        let number = self.note_down(journal, replica, image, true)?;
        let outcome = self.write_alone(replica, write).await?;
        settle(self.shared, &[number], outcome.as_slice());
        Ok(outcome)
    }

    async fn write_with_marker(
        &self,
        notary: &Notary<'_>,
        replica: usize,
        write: Write,
        image: Image,
    ) -> Result<WriteOutcome, Stopped> {
        let entry = |step| self.entry(notary, replica, step, image);
        match notary.write_part(self.shared, replica, write, entry).await {
            Ok(written) => written.map_err(Stopped::Verdict),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// The state directory takes no more: the run ends.
    pub(super) fn broken(&self, error: crate::state::StateError) -> Stopped {
        let verdict = Verdict::Unfinished(error.to_string());
        self.shared.break_off(error);
        Stopped::Verdict(verdict)
    }

    /// What a write overwrites, and what it writes.
    async fn image(
        &self,
        replica: usize,
        write: &Write,
        trace: Trace<'_>,
    ) -> Result<Image, Stopped> {
        let stamps = write.restamping();
        let (before, wrote) = match trace {
            Trace::Whole(wrote) => (self.whole(replica, write).await?, wrote),
            Trace::Ends(expiry) => self.end(write, expiry)?,
            Trace::Elements {
                held,
                wanted,
                names,
            } => self.touched(held, wanted, (names, stamps.as_deref())),
        };
        Ok((before, wrote, stamps))
    }

    fn end(&self, write: &Write, expiry: Expiry) -> Result<(PreImage, Post), Stopped> {
        let (_, old) = compared(&write.expect).ok_or(Stopped::Again)?;
        // No element is named: it is the end of the key alone.
        let before = PreImage::Elements {
            kind: Kind::String,
            held: Some(State {
                value: Value::String(Bytes::new()),
                expiry: old,
            }),
            names: Vec::new(),
        };
        let wrote = Post::Elements {
            digest: None,
            expiry,
        };
        Ok((before, wrote))
    }

    fn touched(
        &self,
        held: &State,
        wanted: &State,
        (names, stamps): (&[Bytes], Option<&Restamping>),
    ) -> (PreImage, Post) {
        let is_restamped =
            |name: &Bytes| stamps.is_some_and(|all| all.wrote.elements.contains_key(name));
        let is_touched = |name: &&Bytes| {
            is_restamped(name) || alone(&held.value, name) != alone(&wanted.value, name)
        };
        let names: Vec<Bytes> = names.iter().filter(is_touched).cloned().collect();
        let before = PreImage::Elements {
            kind: held.value.kind(),
            held: Some(State {
                value: elements_of(&held.value, &names),
                expiry: held.expiry,
            }),
            names: names.clone(),
        };
        let mut digester = Digester::new(self.shared.run.digest_key.clone());
        let wrote = Post::Elements {
            digest: Some(digester.value(&elements_of(&wanted.value, &names))),
            expiry: wanted.expiry,
        };
        (before, wrote)
    }

    /// All that a replica holds, as the write expects it.
    async fn whole(&self, replica: usize, write: &Write) -> Result<PreImage, Stopped> {
        if is_absent(&write.expect) {
            return Ok(PreImage::Absent);
        }
        let (digest, expiry) = compared(&write.expect).ok_or(Stopped::Again)?;
        let look = self.candidate.looks[replica];
        let kind = look.and_then(|look| look.kind()).ok_or(Stopped::Again)?;
        let mut digester = Digester::new(self.shared.run.digest_key.clone());
        let held = self.observed[replica].as_ref();
        let held = held.and_then(|_| state(&self.observed[replica]));
        // What other steps wrote to it meanwhile is part of it.
        match held.filter(|held| digester.value(&held.value) == digest) {
            Some(held) => self.whole_state(replica, held, &write.ops).await,
            None => self.parts(replica, kind, (digest, expiry)).await,
        }
    }

    async fn whole_state(
        &self,
        replica: usize,
        held: &State,
        ops: &[Op],
    ) -> Result<PreImage, Stopped> {
        let before = PreImage::Whole(held.clone());
        if !loses_groups(Some(held), ops) {
            return Ok(before);
        }
        let source = self.shared.run.participants[replica].replica.as_ref();
        let keys = std::slice::from_ref(&self.candidate.key);
        let dumped = dumps(source, self.candidate.keyspace.db, keys).await;
        let dumped = self.reached(replica, dumped)?;
        Ok(with_dump(before, dumped.get(&self.candidate.key)))
    }

    /// Keeps a value of any size, part by part.
    async fn parts(
        &self,
        replica: usize,
        kind: Kind,
        (digest, expiry): (ValueDigest, Expiry),
    ) -> Result<PreImage, Stopped> {
        let mut steps = Vec::new();
        let mut cursor = Some(PieceCursor::Start);
        while let Some(at) = cursor {
            let (piece, next) = self.piece(replica, kind, at).await?;
            if let Some(value) = value_of(piece) {
                let part = PreImage::Part(State { value, expiry });
                steps.push(self.keep(replica, part)?);
            }
            cursor = next;
            self.check_stop()?;
        }
        Ok(PreImage::Parts {
            kind,
            digest,
            expiry,
            steps,
        })
    }

    /// Keeps a part; synced with the entry of the write that follows.
    fn keep(&self, replica: usize, part: PreImage) -> Result<Sequence, Stopped> {
        let image = (part, Post::Absent, None);
        let db = self.candidate.keyspace.db;
        match (self.shared.notary(db), &self.shared.run.journal) {
            (Some(notary), _) => {
                let entry = |step| self.entry(notary, replica, step, image);
                let kept = notary.keep_part(self.shared, entry);
                kept.map_err(|error| self.broken(error))
            }
            (None, Some(journal)) => self.note_down(journal, replica, image, false),
            (None, None) => Err(Stopped::Again),
        }
    }

    fn note_down(
        &self,
        journal: &RunJournal,
        replica: usize,
        (before, wrote, stamps): Image,
        synced: bool,
    ) -> Result<Sequence, Stopped> {
        let stopped = |reason: String| Stopped::Verdict(Verdict::Unfinished(reason));
        if self.shared.is_broken() {
            return Err(stopped("the run ended before its turn".into()));
        }
        let note = Note {
            before,
            wrote,
            rule: self.rule(),
            evidence: evidence(Evidence::None),
        };
        let (db, key) = (self.candidate.keyspace.db, &self.candidate.key);
        let entry = JournalEntry {
            stamps,
            ..entry(self.shared, db, replica, key, (journal.run, note))
        };
        let added = super::super::noting::add(self.shared, journal, vec![entry], synced);
        added.map_err(stopped)?.pop().ok_or(Stopped::Again)
    }

    /// The journal entry of one part of the work, with memory.
    fn entry(
        &self,
        notary: &Notary<'_>,
        replica: usize,
        step: Sequence,
        (before, wrote, stamps): Image,
    ) -> JournalEntry {
        let past = self.recollection.map(|known| &known.past);
        let agreement = past.and_then(|past| past.agreement.clone());
        let known = match agreement {
            Some(_) => Evidence::Agreed,
            None => Evidence::None,
        };
        let took_part: BTreeSet<usize> = (0..self.candidate.looks.len())
            .filter(|at| self.candidate.looks[*at].is_some())
            .collect();
        let lags = self.recollection.map_or_else(BTreeMap::new, |known| {
            notary.former(known, took_part.into_iter(), step)
        });
        JournalEntry {
            sequence: step,
            run: notary.memory.run,
            replica: notary.memory.ids[replica],
            db: notary.index,
            key: self.candidate.key.clone(),
            before,
            wrote,
            rule: self.rule().to_owned(),
            evidence: evidence(known).to_owned(),
            agreement_before: agreement,
            lags_before: lags,
            stamps,
            outcome: None,
        }
    }

    fn rule(&self) -> &'static str {
        let looks = self.candidate.looks.iter().flatten();
        let kind = looks.filter_map(|look| look.kind()).next();
        kind.map_or("lww", |kind| self.policy().rules.name_for(kind))
    }
}

/// The named elements of a collection alone: of a stream, without what is said of the whole.
pub(super) fn elements_of(value: &Value, names: &[Bytes]) -> Value {
    match only(value, names) {
        Some(Value::Stream(stream)) => Value::Stream(Stream {
            last_id: StreamId::MIN,
            groups: BTreeMap::new(),
            ..stream
        }),
        Some(value) => value,
        None => value.clone(),
    }
}

/// A piece as a value; nothing for an empty one. A stream without entries is what it ends with.
fn value_of(piece: Piece) -> Option<Value> {
    Some(match piece {
        Piece::Bytes(bytes) => Value::String(bytes),
        Piece::Elements(elements) => Value::List(elements),
        Piece::Members(members) => Value::Set(members.into_iter().collect()),
        Piece::Scored(members) => Value::SortedSet(members.into_iter().collect()),
        Piece::Fields(fields) => Value::Hash(fields.into_iter().collect()),
        Piece::Entries(entries) if entries.is_empty() => return None,
        Piece::Entries(entries) => Value::Stream(Stream {
            entries: entries.into_iter().collect(),
            ..Stream::default()
        }),
        Piece::StreamEnd { last_id, groups } => Value::Stream(Stream {
            last_id,
            groups: groups.into_iter().collect(),
            ..Stream::default()
        }),
    })
}

/// The piece that [`value_of`] made this of; nothing for a value that no piece has.
pub(super) fn piece_of(value: Value) -> Option<Piece> {
    Some(match value {
        Value::String(bytes) => Piece::Bytes(bytes),
        Value::List(elements) => Piece::Elements(elements),
        Value::Set(members) => Piece::Members(members.into_iter().collect()),
        Value::SortedSet(members) => Piece::Scored(members.into_iter().collect()),
        Value::Hash(fields) => Piece::Fields(fields.into_iter().collect()),
        Value::Stream(stream) if stream.entries.is_empty() => Piece::StreamEnd {
            last_id: stream.last_id,
            groups: stream.groups.into_iter().collect(),
        },
        Value::Stream(stream) => Piece::Entries(stream.entries.into_iter().collect()),
        Value::Module(_) => return None,
    })
}

/// The digest and the end of what a write replaces as a whole.
fn compared(expect: &Expect) -> Option<(ValueDigest, Expiry)> {
    match expect {
        Expect::Exactly { digest, expiry } => Some((*digest, *expiry)),
        Expect::Stamped(witness) => witness.watched,
        Expect::Absent
        | Expect::Elements { .. }
        | Expect::Counter { .. }
        | Expect::Counters { .. } => None,
    }
}

fn is_absent(expect: &Expect) -> bool {
    match expect {
        Expect::Stamped(witness) => witness.watched.is_none() && witness.held.is_none(),
        other => *other == Expect::Absent,
    }
}
