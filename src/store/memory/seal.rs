//! Sealed writes: a batch in one transaction with its marker, as [`crate::store::Replica`] promises it.

use crate::model::{DbIndex, DigestKey, Key, STATES_KEY, Value, Write};
use crate::store::{Seal, Sealing, StoreError, WriteOutcome, Written};

use super::late::Pending;
use super::markers::WRONG_TYPE;
use super::write::Compared;
use super::{Fault, Inner, Step};

impl Inner {
    pub(super) fn write_sealed(
        &mut self,
        db: DbIndex,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: &Seal,
    ) -> Result<Written, StoreError> {
        let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
        self.connection(Step::Compare(&keys), db, "WATCH")?;
        let touched = self.data.last_touch(db, &seal.lane);
        self.check_seal(db, seal)?;
        let compared = self.compare(db, writes, digest_key);
        let mut pending = pending(db, self.data.restarts(), writes, seal, &compared);
        pending.watched.push((seal.lane.clone(), touched));
        let batch = Batch {
            writes: writes.len(),
            members: pending.members.iter().map(|(place, _)| *place).collect(),
        };
        match self.fault(Step::Execute(&keys), db) {
            Fault::Disconnect => Ok(batch.unknown()),
            Fault::Late => {
                self.late.push(pending);
                Ok(batch.unknown())
            }
            Fault::Refuse(words) if batch.members.is_empty() => Err(self.refused("SET", words)),
            Fault::Refuse(words) => Ok(batch.all(&WriteOutcome::Refused(words), Sealing::Unset)),
            _ if !self.ask_for_refusals(&mut pending) => Ok(batch.unknown()),
            _ => {
                self.count_commands(writes);
                Ok(self.execute_sealed(&keys, &pending, &batch))
            }
        }
    }

    fn execute_sealed(&mut self, keys: &[Key], pending: &Pending, batch: &Batch) -> Written {
        let executed = self.exec(pending);
        if self.fault(Step::Answer(keys), pending.db) == Fault::Disconnect {
            return batch.unknown();
        }
        let Some(executed) = executed else {
            return batch.all(&WriteOutcome::Contended, Sealing::Unset);
        };
        let sealing = executed.marker.map_or(Sealing::Unset, Sealing::Set);
        let mut written = batch.all(&WriteOutcome::Unknown, sealing);
        for (place, outcome) in executed.outcomes {
            written.outcomes[place] = outcome;
        }
        written
    }

    fn check_seal(&mut self, db: DbIndex, seal: &Seal) -> Result<(), StoreError> {
        debug_assert!(
            seal.expect.is_some() || seal.register.is_some(),
            "a new marker is registered"
        );
        let found = self.marker_of(db, &seal.lane)?;
        let list = Key::copied(STATES_KEY);
        let listed = self.data.get(db, &list).map(|state| state.value);
        if seal.register.is_some() && listed.is_some_and(|held| !matches!(held, Value::Hash(_))) {
            return Err(self.unreadable(&list, WRONG_TYPE));
        }
        match found == seal.expect {
            true => Ok(()),
            false => Err(self.fenced(&seal.lane, found)),
        }
    }

    /// Asks the script at every key, before the transaction: inside of it no client gets a word in. Answers whether
    /// the connection held.
    fn ask_for_refusals(&mut self, pending: &mut Pending) -> bool {
        let mut refused = Vec::new();
        for (place, write) in &pending.members {
            match self.fault(Step::ExecuteKey(&write.key), pending.db) {
                Fault::Disconnect => return false,
                Fault::Refuse(words) => refused.push((*place, words)),
                _ => {}
            }
        }
        pending.refused = refused;
        true
    }
}

/// What goes into the transaction: what matches. Watched is everything but counters.
fn pending(
    db: DbIndex,
    restarts: u64,
    writes: &[Write],
    seal: &Seal,
    compared: &[Compared],
) -> Pending {
    let all = || writes.iter().zip(compared).enumerate();
    let watched = all().filter(|(_, (write, _))| write.expect.is_watched());
    let members = all().filter(|(_, (_, compared))| compared.matches);
    Pending {
        db,
        restarts,
        watched: watched
            .map(|(_, (write, compared))| (write.key.clone(), compared.touched))
            .collect(),
        members: members
            .map(|(place, (write, _))| (place, write.clone()))
            .collect(),
        refused: Vec::new(),
        register: seal.register,
        marker: Some((seal.lane.clone(), seal.marker(&[]))),
    }
}

/// A batch, for what is known of all of it: so many writes, of which some are in the transaction, by place.
struct Batch {
    writes: usize,
    members: Vec<usize>,
}

impl Batch {
    /// The members have one outcome, the other writes are superseded.
    fn all(&self, outcome: &WriteOutcome, sealing: Sealing) -> Written {
        let mut outcomes = vec![WriteOutcome::Superseded; self.writes];
        for &place in &self.members {
            outcomes[place] = outcome.clone();
        }
        Written { outcomes, sealing }
    }

    fn unknown(&self) -> Written {
        self.all(&WriteOutcome::Unknown, Sealing::Unknown)
    }
}
