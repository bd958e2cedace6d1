//! Compare and write: watch, compare, and write only what nobody touched in between.
//!
//! Each key is a transaction of its own; the connection is shared, so that a loss befalls the rest of the batch.

use crate::model::{DbIndex, DigestKey, Digester, Expect, Key, Op, State, Write};
use crate::store::{BATCH_KEYS, StoreError, WriteOutcome, only};

use super::{Fault, Inner, Step};

impl Inner {
    pub(super) fn write(
        &mut self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        assert!(
            writes.len() <= BATCH_KEYS,
            "{} writes in one batch",
            writes.len()
        );
        let db = self.db(db);
        let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
        self.connection(Step::Compare(&keys), db, "WATCH")?;
        let watched = self.compare(db, writes, digest_key);
        if self.fault(Step::Execute(&keys), db) == Fault::Disconnect {
            return Ok(watched.into_iter().map(after_loss).collect());
        }
        let outcomes = self.execute(db, writes, &watched);
        if self.fault(Step::Answer(&keys), db) == Fault::Disconnect {
            return Ok(watched.into_iter().map(after_loss).collect());
        }
        Ok(outcomes)
    }

    /// Per key when it was last touched, or nothing where it does not hold what is expected.
    fn compare(
        &mut self,
        db: DbIndex,
        writes: &[Write],
        digest_key: &DigestKey,
    ) -> Vec<Option<u64>> {
        let mut digester = Digester::new(digest_key.clone());
        // WATCH and its typed reads go out together.
        self.count_round_trip(1 + 3 * writes.len() as u64);
        let mut watched = Vec::with_capacity(writes.len());
        for Write { key, expect, .. } in writes {
            let touched = self.data.last_touch(db, key);
            let state = self.data.get(db, key);
            if let Some(state) = &state {
                self.usage.keys_read += 1;
                self.usage.bytes_read += state.value.payload_bytes() as u64;
            }
            watched.push(holds(state.as_ref(), expect, &mut digester).then_some(touched));
        }
        watched
    }

    fn execute(
        &mut self,
        db: DbIndex,
        writes: &[Write],
        watched: &[Option<u64>],
    ) -> Vec<WriteOutcome> {
        self.count_round_trip(
            2 + writes
                .iter()
                .map(|write| write.ops.len() as u64)
                .sum::<u64>(),
        );
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut lost = false;
        for (write, watched) in writes.iter().zip(watched) {
            let touched = match *watched {
                Some(touched) if lost || self.data.last_touch(db, &write.key) == touched => touched,
                Some(_) | None => {
                    outcomes.push(WriteOutcome::Superseded);
                    continue;
                }
            };
            let fault = if lost {
                Fault::Disconnect
            } else {
                self.fault(Step::ExecuteKey(&write.key), db)
            };
            lost = fault == Fault::Disconnect;
            // SUBTLE: looked at after the script ran, so that a client's write at any step before counts.
            let untouched = self.data.last_touch(db, &write.key) == touched;
            outcomes.push(match fault {
                Fault::Disconnect => WriteOutcome::Unknown,
                _ if !untouched => WriteOutcome::Superseded,
                Fault::Refuse(words) => WriteOutcome::Refused(words),
                _ => self.run(db, write),
            });
        }
        outcomes
    }

    /// Runs the operations of one key. As inside EXEC, an error does not stop those behind it.
    fn run(&mut self, db: DbIndex, write: &Write) -> WriteOutcome {
        let mut refused = None;
        for op in &write.ops {
            if let Err(error) = self.data.apply(db, &write.key, op) {
                refused.get_or_insert_with(|| error.to_string());
            }
        }
        self.usage.keys_written += 1;
        self.usage.bytes_written += write.ops.iter().map(op_bytes).sum::<u64>();
        refused.map_or(WriteOutcome::Applied, WriteOutcome::Refused)
    }
}

/// What is known of a key when the answer to its transaction is lost.
fn after_loss(watched: Option<u64>) -> WriteOutcome {
    match watched {
        Some(_) => WriteOutcome::Unknown,
        None => WriteOutcome::Superseded,
    }
}

fn holds(state: Option<&State>, expect: &Expect, digester: &mut Digester) -> bool {
    match (expect, state) {
        (Expect::Absent, state) => state.is_none(),
        (Expect::Exactly { digest, expiry }, Some(state)) => {
            state.expiry == *expiry && digester.value(&state.value) == *digest
        }
        (
            Expect::Elements {
                kind,
                names,
                digest,
                expiry,
            },
            Some(state),
        ) => {
            state.expiry == *expiry
                && state.value.kind() == *kind
                && only(&state.value, names).is_some_and(|part| digester.value(&part) == *digest)
        }
        (Expect::Exactly { .. } | Expect::Elements { .. }, None) => false,
    }
}

/// Payload bytes that an operation sends.
fn op_bytes(op: &Op) -> u64 {
    let bytes = match op {
        Op::Put(value) => value.payload_bytes(),
        Op::SetFields(pairs) => pairs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum(),
        Op::RemoveFields(names)
        | Op::AddMembers(names)
        | Op::RemoveMembers(names)
        | Op::RemoveScored(names)
        | Op::Prepend(names)
        | Op::Append(names) => names.iter().map(|name| name.len()).sum(),
        Op::SetScores(pairs) => pairs.iter().map(|(member, _)| member.len() + 8).sum(),
        Op::AppendEntries(entries) => {
            let pairs = entries.iter().flat_map(|(_, pairs)| pairs);
            16 * entries.len()
                + pairs
                    .map(|(name, value)| name.len() + value.len())
                    .sum::<usize>()
        }
        Op::RemoveEntries(ids) => 16 * ids.len(),
        Op::ExpireField(name, _) | Op::CreateGroup(name, _) => name.len() + 8,
        Op::Remove | Op::RaiseLastId(_) | Op::IncreaseBy(_) | Op::Expire(_) | Op::TakeAside(_) => 8,
    };
    bytes as u64
}
