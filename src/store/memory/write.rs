//! Compare and write: watch, compare, and write only what nobody touched in between.
//!
//! Without a seal each key is a transaction of its own; the connection is shared, so that a loss befalls the rest of
//! the batch. With one (see [`super::seal`]) the batch is one transaction.

use crate::model::{DbIndex, DigestKey, Digester, Expect, Key, Op, State, Write};
use crate::store::counter::admits;
use crate::store::{BATCH_KEYS, Seal, StoreError, WriteOutcome, Written, apply, only};

use super::late::Pending;
use super::{Fault, Inner, Step};

/// What the comparison of one write came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared {
    /// When the key was last touched.
    pub(super) touched: u64,
    /// Whether it holds what is expected. A counter is looked at when it is increased.
    pub(super) matches: bool,
}

impl Inner {
    pub(super) fn write(
        &mut self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: Option<&Seal>,
    ) -> Result<Written, StoreError> {
        assert!(
            writes.len() <= BATCH_KEYS,
            "{} writes in one batch",
            writes.len()
        );
        let db = self.db(db);
        match seal {
            Some(seal) => self.write_sealed(db, writes, digest_key, seal),
            None => Ok(Written::unsealed(
                self.write_unsealed(db, writes, digest_key)?,
            )),
        }
    }

    fn write_unsealed(
        &mut self,
        db: DbIndex,
        writes: &[Write],
        digest_key: &DigestKey,
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
        self.connection(Step::Compare(&keys), db, "WATCH")?;
        let compared = self.compare(db, writes, digest_key);
        match self.fault(Step::Execute(&keys), db) {
            Fault::Disconnect => return Ok(compared.into_iter().map(after_loss).collect()),
            Fault::Late => {
                self.delay(db, writes, &compared);
                return Ok(compared.into_iter().map(after_loss).collect());
            }
            _ => {}
        }
        let outcomes = self.execute(db, writes, &compared);
        if self.fault(Step::Answer(&keys), db) == Fault::Disconnect {
            return Ok(compared.into_iter().map(after_loss).collect());
        }
        Ok(outcomes)
    }

    /// Watches and reads the keys of a batch.
    pub(super) fn compare(
        &mut self,
        db: DbIndex,
        writes: &[Write],
        digest_key: &DigestKey,
    ) -> Vec<Compared> {
        let mut digester = Digester::new(digest_key.clone());
        // WATCH and its typed reads go out together.
        self.count_round_trip(1 + 3 * writes.len() as u64);
        let mut compared = Vec::with_capacity(writes.len());
        for write in writes {
            let touched = self.data.last_touch(db, &write.key);
            let matches = !write.expect.is_watched()
                || self.holds(db, &write.key, &write.expect, &mut digester);
            compared.push(Compared { touched, matches });
        }
        compared
    }

    fn holds(&mut self, db: DbIndex, key: &Key, expect: &Expect, digester: &mut Digester) -> bool {
        let state = self.data.get(db, key);
        if let Some(state) = &state {
            self.usage.keys_read += 1;
            self.usage.bytes_read += state.value.payload_bytes() as u64;
        }
        holds(state.as_ref(), expect, digester)
    }

    fn execute(
        &mut self,
        db: DbIndex,
        writes: &[Write],
        compared: &[Compared],
    ) -> Vec<WriteOutcome> {
        self.count_commands(writes);
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut lost = false;
        for (write, compared) in writes.iter().zip(compared) {
            if !compared.matches || !(lost || self.is_untouched(db, write, *compared)) {
                outcomes.push(WriteOutcome::Superseded);
                continue;
            }
            let fault = if lost {
                Fault::Disconnect
            } else {
                self.fault(Step::ExecuteKey(&write.key), db)
            };
            lost = fault == Fault::Disconnect;
            // SUBTLE: looked at after the script ran, so that a client's write at any step before counts.
            let untouched = self.is_untouched(db, write, *compared);
            outcomes.push(match fault {
                Fault::Disconnect => WriteOutcome::Unknown,
                _ if !untouched => WriteOutcome::Superseded,
                Fault::Refuse(words) => WriteOutcome::Refused(words),
                _ => self.run(db, write),
            });
        }
        outcomes
    }

    /// Each key is a transaction of its own here too.
    fn delay(&mut self, db: DbIndex, writes: &[Write], compared: &[Compared]) {
        let restarts = self.data.restarts();
        let matching = writes.iter().zip(compared).filter(|(_, one)| one.matches);
        let pending = matching.map(|(write, compared)| Pending {
            db,
            restarts,
            watched: match write.expect.is_watched() {
                false => Vec::new(),
                true => vec![(write.key.clone(), compared.touched)],
            },
            members: vec![(0, write.clone())],
            refused: Vec::new(),
            register: None,
            marker: None,
        });
        self.late.extend(pending);
    }

    fn is_untouched(&mut self, db: DbIndex, write: &Write, compared: Compared) -> bool {
        !write.expect.is_watched() || self.data.last_touch(db, &write.key) == compared.touched
    }

    pub(super) fn count_commands(&mut self, writes: &[Write]) {
        let operations = writes.iter().map(|write| write.ops.len() as u64);
        self.count_round_trip(2 + operations.sum::<u64>());
    }

    /// Runs the operations of one key. As inside EXEC, an error does not stop those behind it.
    pub(super) fn run(&mut self, db: DbIndex, write: &Write) -> WriteOutcome {
        let is_ready = match &write.expect {
            Expect::Stamped(witness) => self.is_still_so(db, &write.key, witness),
            expect => Ok(!expect.is_counted() || self.counts(db, write)),
        };
        match is_ready {
            Ok(true) => {}
            Ok(false) => return WriteOutcome::Superseded,
            Err(words) => return WriteOutcome::Refused(words),
        }
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

    /// Whether what counts in a key is as expected, and can be increased.
    fn counts(&mut self, db: DbIndex, write: &Write) -> bool {
        let Some(state) = self.data.get(db, &write.key) else {
            return false;
        };
        let now = self.data.now();
        let step = |state: Option<State>, op: &Op| apply(state, op, now).ok();
        admits(&write.expect, &write.ops, &state)
            && write.ops.iter().try_fold(Some(state), step).is_some()
    }
}

pub(super) fn is_scripted(write: &Write) -> bool {
    write.expect.is_scripted()
}

/// What is known of a key when the answer to its transaction is lost.
fn after_loss(compared: Compared) -> WriteOutcome {
    if compared.matches {
        WriteOutcome::Unknown
    } else {
        WriteOutcome::Superseded
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
        (Expect::Stamped(witness), state) => witness.watched.is_none_or(|(digest, expiry)| {
            state.is_some_and(|held| held.expiry == expiry && digester.value(&held.value) == digest)
        }),
        (Expect::Counter { .. } | Expect::Counters { .. }, Some(_)) => true,
        (
            Expect::Exactly { .. }
            | Expect::Elements { .. }
            | Expect::Counter { .. }
            | Expect::Counters { .. },
            None,
        ) => false,
    }
}

/// Payload bytes that an operation sends.
fn op_bytes(op: &Op) -> u64 {
    let bytes = match op {
        Op::Put(value) => value.payload_bytes(),
        Op::Restore(payload) => payload.len(),
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
        Op::IncreaseFields(pairs) | Op::IncreaseScores(pairs) => {
            pairs.iter().map(|(name, _)| name.len() + 8).sum()
        }
        Op::AppendEntries(entries) => {
            let pairs = entries.iter().flat_map(|(_, pairs)| pairs);
            16 * entries.len()
                + pairs
                    .map(|(name, value)| name.len() + value.len())
                    .sum::<usize>()
        }
        Op::RemoveEntries(ids) => 16 * ids.len(),
        Op::ExpireField(name, _) | Op::CreateGroup(name, _) => name.len() + 8,
        Op::Stamp(stamps) => {
            16 + stamps
                .elements
                .keys()
                .map(|name| name.len() + 8)
                .sum::<usize>()
        }
        Op::Remove
        | Op::RaiseLastId(_)
        | Op::IncreaseBy(_)
        | Op::Expire(_)
        | Op::TakeAside(_)
        | Op::Uncount => 8,
    };
    bytes as u64
}
