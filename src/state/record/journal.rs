//! Entries of the journal, their outcomes, and how much of it there is.

use crate::model::{Agreement, Key, Lag, Restamping, RunNumber, Sequence, State as KeyState};

use super::super::codec::{Read, Reader, put_all, put_bytes, put_number, put_optional};
use super::super::journal::{JournalEntry, Post, PreImage};
use super::intent::{put_replica, read_db, read_replica};
use super::memory::{kind_of, kind_tag, put_digest, put_expiry, read_digest, read_expiry};
use super::value::{UNKNOWN_TAG, put_names, read_names, read_optional_state};
use super::{FORMAT, Record};

const ABSENT: u8 = 0;
const WHOLE: u8 = 1;
const ELEMENTS: u8 = 2;
// 3 was a dump without its state; no run ever wrote one.
const DUMPED: u8 = 4;
const PARTS: u8 = 5;
const PART: u8 = 6;
/// Before the tag of a pre-image: what the write did to stamps.
const STAMPED: u8 = 7;

/// All but the outcome, which is a record of its own: it is known later, and a pre-image can be large.
impl Record for JournalEntry {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.sequence.0);
        put_number(out, self.run.0);
        put_replica(out, self.replica);
        put_number(out, u64::from(self.db.0));
        put_bytes(out, self.key.as_bytes());
        put_bytes(out, self.rule.as_bytes());
        put_bytes(out, self.evidence.as_bytes());
        put_post(out, &self.wrote);
        put_optional(out, self.agreement_before.as_ref(), |out, it| it.put(out));
        put_all(out, self.lags_before.iter(), |out, (replica, lag)| {
            put_replica(out, *replica);
            lag.put(out);
        });
        // Entries of writes without stamps are as they were before there were any.
        if let Some(stamps) = &self.stamps {
            out.push(STAMPED);
            stamps.put(out);
        }
        put_pre_image(out, &self.before);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let sequence = Sequence(reader.number()?);
        let run = RunNumber(reader.number()?);
        let replica = read_replica(reader)?;
        let db = read_db(reader)?;
        let key = Key::new(reader.bytes()?);
        let (rule, evidence) = (reader.text()?, reader.text()?);
        let wrote = read_post(reader)?;
        let agreement_before = reader.optional(Agreement::read)?;
        let lags_before = reader.all(|reader| Ok((read_replica(reader)?, Lag::read(reader)?)))?;
        let (stamps, tag) = match reader.byte()? {
            STAMPED => (Some(Box::new(Restamping::read(reader)?)), reader.byte()?),
            tag => (None, tag),
        };
        Ok(Self {
            sequence,
            run,
            replica,
            db,
            key,
            before: read_pre_image(reader, tag)?,
            wrote,
            rule,
            evidence,
            agreement_before,
            lags_before,
            stamps,
            outcome: None,
        })
    }
}

fn put_pre_image(out: &mut Vec<u8>, before: &PreImage) {
    match before {
        PreImage::Absent => out.push(ABSENT),
        PreImage::Whole(state) => {
            out.push(WHOLE);
            state.put(out);
        }
        PreImage::Elements { kind, held, names } => {
            out.push(ELEMENTS);
            out.push(kind_tag(*kind));
            put_optional(out, held.as_ref(), |out, state| state.put(out));
            put_names(out, names);
        }
        PreImage::Dumped(state, bytes) => {
            out.push(DUMPED);
            state.put(out);
            put_bytes(out, bytes);
        }
        PreImage::Parts {
            kind,
            digest,
            expiry,
            steps,
        } => {
            out.push(PARTS);
            out.push(kind_tag(*kind));
            put_digest(out, digest);
            put_expiry(out, *expiry);
            put_all(out, steps.iter(), |out, step| put_number(out, step.0));
        }
        PreImage::Part(state) => {
            out.push(PART);
            state.put(out);
        }
    }
}

fn read_pre_image(reader: &mut Reader<'_>, tag: u8) -> Read<PreImage> {
    Ok(match tag {
        ABSENT => PreImage::Absent,
        WHOLE => PreImage::Whole(KeyState::read(reader)?),
        ELEMENTS => PreImage::Elements {
            kind: kind_of(reader.byte()?)?,
            held: read_optional_state(reader)?,
            names: read_names(reader)?,
        },
        DUMPED => {
            let state = KeyState::read(reader)?;
            PreImage::Dumped(state, reader.bytes()?)
        }
        PARTS => PreImage::Parts {
            kind: kind_of(reader.byte()?)?,
            digest: read_digest(reader)?,
            expiry: read_expiry(reader)?,
            steps: reader.all(|reader| reader.number().map(Sequence))?,
        },
        PART => PreImage::Part(KeyState::read(reader)?),
        _ => return Err(UNKNOWN_TAG),
    })
}

fn put_post(out: &mut Vec<u8>, post: &Post) {
    match post {
        Post::Absent => out.push(ABSENT),
        Post::Whole { digest, expiry } => {
            out.push(WHOLE);
            put_expiry(out, *expiry);
            put_digest(out, digest);
        }
        Post::Elements { digest, expiry } => {
            out.push(ELEMENTS);
            put_expiry(out, *expiry);
            put_optional(out, digest.as_ref(), put_digest);
        }
    }
}

fn read_post(reader: &mut Reader<'_>) -> Read<Post> {
    Ok(match reader.byte()? {
        ABSENT => Post::Absent,
        WHOLE => {
            let expiry = read_expiry(reader)?;
            let digest = read_digest(reader)?;
            Post::Whole { digest, expiry }
        }
        ELEMENTS => {
            let expiry = read_expiry(reader)?;
            let digest = reader.optional(read_digest)?;
            Post::Elements { digest, expiry }
        }
        _ => return Err(UNKNOWN_TAG),
    })
}

/// Whether a journalled write happened.
pub(in crate::state) fn put_outcome(applied: bool) -> Vec<u8> {
    vec![FORMAT, u8::from(applied)]
}

pub(in crate::state) fn outcome(bytes: &[u8]) -> Read<bool> {
    let mut reader = Reader::new(bytes);
    reader.format(FORMAT)?;
    let applied = reader.flag()?;
    reader.end()?;
    Ok(applied)
}

/// How much one run added to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::state) struct JournalSize {
    pub(in crate::state) entries: u64,
    pub(in crate::state) bytes: u64,
}

impl Record for JournalSize {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.entries);
        put_number(out, self.bytes);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            entries: reader.number()?,
            bytes: reader.number()?,
        })
    }
}
