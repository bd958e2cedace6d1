//! Intents.

use crate::model::{Agreement, DbIndex, Key, Lag, ReplicaId, RunNumber, Sequence};

use super::super::codec::{Read, Reader, Unreadable, put_all, put_bytes, put_number, put_optional};
use super::super::intent::{Intent, IntentKey, IntentPart};
use super::Record;

impl Record for Intent {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.sequence.0);
        put_number(out, self.run.0);
        put_number(out, u64::from(self.db.0));
        out.push(u8::from(self.late));
        put_all(out, self.replicas.iter(), |out, id| put_replica(out, *id));
        put_all(out, self.keys.iter(), put_key);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            sequence: Sequence(reader.number()?),
            run: RunNumber(reader.number()?),
            db: read_db(reader)?,
            late: reader.flag()?,
            replicas: reader.all(read_replica)?,
            keys: reader.all(read_key)?,
        })
    }
}

fn put_key(out: &mut Vec<u8>, key: &IntentKey) {
    put_bytes(out, key.key.as_bytes());
    put_optional(out, key.agreement.as_ref(), |out, it| it.put(out));
    put_all(out, key.always.iter(), |out, (replica, lag)| {
        put_replica(out, *replica);
        put_optional(out, lag.as_ref(), |out, it| it.put(out));
    });
    put_all(out, key.parts.iter(), |out, part| {
        put_replica(out, part.replica);
        out.push(part.place);
        put_optional(out, part.applied.as_ref(), |out, it| it.put(out));
        part.otherwise.put(out);
    });
}

fn read_key(reader: &mut Reader<'_>) -> Read<IntentKey> {
    Ok(IntentKey {
        key: Key::new(reader.bytes()?),
        agreement: reader.optional(Agreement::read)?,
        always: reader.all(|reader| Ok((read_replica(reader)?, reader.optional(Lag::read)?)))?,
        parts: reader.all(|reader| {
            Ok(IntentPart {
                replica: read_replica(reader)?,
                place: reader.byte()?,
                applied: reader.optional(Lag::read)?,
                otherwise: Lag::read(reader)?,
            })
        })?,
    })
}

pub(super) fn put_replica(out: &mut Vec<u8>, replica: ReplicaId) {
    out.extend_from_slice(&replica.0);
}

pub(super) fn read_replica(reader: &mut Reader<'_>) -> Read<ReplicaId> {
    reader.array().map(ReplicaId)
}

pub(super) fn read_db(reader: &mut Reader<'_>) -> Read<DbIndex> {
    u32::try_from(reader.number()?)
        .map(DbIndex)
        .map_err(|_| Unreadable::Broken("a database that does not exist"))
}
