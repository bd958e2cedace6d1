//! The small records: replicas, lanes, voids, runs.

use crate::model::{
    DbIndex, Lane, Millis, PolicyMark, ReplicaName, RunNumber, Sequence, Slot, SlotRange, Voids,
};

use super::super::codec::{
    Read, Reader, Unreadable, put_all, put_bytes, put_number, put_optional, put_signed,
};
use super::super::runs::{RunEnd, RunRecord, RunStart, Segment};
use super::super::{Hold, KnownReplica};
use super::Record;
use super::intent::{put_replica, read_replica};

impl Record for KnownReplica {
    fn put(&self, out: &mut Vec<u8>) {
        put_replica(out, self.id);
        put_bytes(out, self.name.0.as_bytes());
        put_signed(out, self.since.0);
        put_optional(out, self.forgotten, |out, at| put_signed(out, at.0));
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            id: read_replica(reader)?,
            name: ReplicaName(reader.text()?),
            since: Millis(reader.signed()?),
            forgotten: reader.optional(Reader::signed)?.map(Millis),
        })
    }
}

impl Record for Lane {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.first.0);
        put_number(out, self.acknowledged.0);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            first: Sequence(reader.number()?),
            acknowledged: Sequence(reader.number()?),
        })
    }
}

impl Record for Voids {
    fn put(&self, out: &mut Vec<u8>) {
        put_all(out, self.0.iter(), |out, (after, to)| {
            put_number(out, after.0);
            put_number(out, to.0);
        });
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let interval =
            |reader: &mut Reader<'_>| Ok((Sequence(reader.number()?), Sequence(reader.number()?)));
        reader.all(interval).map(Self)
    }
}

/// Which run went on with it was not written down at first: it may be missing, and is where there is none.
impl Record for RunRecord {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.number.0);
        put_start(out, &self.start);
        put_optional(out, self.end.as_ref(), put_end);
        if let Some(by) = self.taken_up_by {
            put_number(out, by.0);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            number: RunNumber(reader.number()?),
            start: read_start(reader)?,
            end: reader.optional(read_end)?,
            taken_up_by: match reader.rest().is_empty() {
                true => None,
                false => Some(read_run(reader)?),
            },
        })
    }
}

/// Runs are numbered from one.
fn read_run(reader: &mut Reader<'_>) -> Read<RunNumber> {
    match reader.number()? {
        0 => Err(Unreadable::Broken("a run before all")),
        number => Ok(RunNumber(number)),
    }
}

impl Record for Segment {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.db.0));
        put_signed(out, self.finished.0);
        out.extend_from_slice(&self.digest);
        put_number(out, u64::from(self.slots.first().number()));
        put_number(out, u64::from(self.slots.last().number()));
        put_number(out, self.proved.0);
        put_number(out, self.left);
        out.push(u8::from(self.is_complete));
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let db = u32::try_from(reader.number()?);
        Ok(Self {
            db: DbIndex(db.map_err(|_| Unreadable::Broken("a database beyond all"))?),
            finished: Millis(reader.signed()?),
            digest: reader.array()?,
            slots: read_slots(reader)?,
            proved: Sequence(reader.number()?),
            left: reader.number()?,
            is_complete: reader.flag()?,
        })
    }
}

fn read_slots(reader: &mut Reader<'_>) -> Read<SlotRange> {
    let mut slot = || {
        let number = u16::try_from(reader.number()?).ok().and_then(Slot::new);
        number.ok_or(Unreadable::Broken("a slot beyond all"))
    };
    let (first, last) = (slot()?, slot()?);
    SlotRange::new(first, last).ok_or(Unreadable::Broken("slots out of order"))
}

fn put_start(out: &mut Vec<u8>, start: &RunStart) {
    put_signed(out, start.at.0);
    put_bytes(out, start.purpose.as_bytes());
    put_all(out, start.replicas.iter(), |out, (id, name)| {
        put_replica(out, *id);
        put_bytes(out, name.0.as_bytes());
    });
    put_optional(out, start.undoes, |out, run| put_number(out, run.0));
}

fn read_start(reader: &mut Reader<'_>) -> Read<RunStart> {
    Ok(RunStart {
        at: Millis(reader.signed()?),
        purpose: reader.text()?,
        replicas: reader.all(|reader| Ok((read_replica(reader)?, ReplicaName(reader.text()?))))?,
        undoes: reader.optional(Reader::number)?.map(RunNumber),
    })
}

fn put_end(out: &mut Vec<u8>, end: &RunEnd) {
    put_signed(out, end.at.0);
    put_bytes(out, end.result.as_bytes());
    out.push(end.exit);
    put_optional(out, end.note.as_ref(), |out, note| {
        put_bytes(out, note.as_bytes())
    });
    put_all(out, end.counts.iter(), |out, (name, count)| {
        put_bytes(out, name.as_bytes());
        put_number(out, *count);
    });
}

fn read_end(reader: &mut Reader<'_>) -> Read<RunEnd> {
    Ok(RunEnd {
        at: Millis(reader.signed()?),
        result: reader.text()?,
        exit: reader.byte()?,
        note: reader.optional(Reader::text)?,
        counts: reader.all(|reader| Ok((reader.text()?, reader.number()?)))?,
    })
}

/// The policy was not written down at first: it may be missing.
impl Record for Hold {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.run.0);
        out.extend(self.policy.iter().flat_map(|mark| mark.0));
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let run = RunNumber(reader.number()?);
        let policy = match reader.rest().is_empty() {
            true => None,
            false => Some(PolicyMark(reader.array()?)),
        };
        Ok(Self { run, policy })
    }
}
