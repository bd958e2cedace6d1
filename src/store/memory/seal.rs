//! Sealed writes, markers and fences: one transaction each, as [`crate::store::Replica`] promises them.

use bytes::Bytes;

use crate::model::{
    DbIndex, DigestKey, Expiry, Key, Marker, OwnerToken, RunNumber, STATES_KEY, Value, Write,
};
use crate::store::apply::encode;
use crate::store::error::advise_marker;
use crate::store::markers::{FENCE_ATTEMPTS, odd};
use crate::store::{Seal, Sealing, StoreError, WriteOutcome, Written};

use super::late::Pending;
use super::write::{Compared, is_counter};
use super::{Fault, Inner, Step};

/// What Redis says of a key of another type.
const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

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
            Fault::Disconnect => return Ok(batch.unknown()),
            Fault::Late => {
                self.late.push(pending);
                return Ok(batch.unknown());
            }
            Fault::Refuse(words) if batch.members.is_empty() => {
                return Err(self.refused("SET", words));
            }
            Fault::Refuse(words) => {
                return Ok(batch.all(&WriteOutcome::Refused(words), Sealing::Unset));
            }
            _ => {}
        }
        if !self.ask_for_refusals(&mut pending) {
            return Ok(batch.unknown());
        }
        self.count_commands(writes);
        let executed = self.exec(&pending);
        if self.fault(Step::Answer(&keys), db) == Fault::Disconnect {
            return Ok(batch.unknown());
        }
        let Some(executed) = executed else {
            return Ok(batch.all(&WriteOutcome::Contended, Sealing::Unset));
        };
        let sealing = executed.marker.map_or(Sealing::Unset, Sealing::Set);
        let mut written = batch.all(&WriteOutcome::Unknown, sealing);
        for (place, outcome) in executed.outcomes {
            written.outcomes[place] = outcome;
        }
        Ok(written)
    }

    pub(super) fn markers(
        &mut self,
        db: Option<DbIndex>,
        names: &[Key],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let db = self.ask(db, "GET")?;
        let texts = names.iter().map(|name| self.text_of(db, name));
        texts.collect()
    }

    pub(super) fn states(
        &mut self,
        db: Option<DbIndex>,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let db = self.ask(db, "HGETALL")?;
        let key = Key::copied(STATES_KEY);
        match self.data.get(db, &key).map(|state| state.value) {
            None => Ok(Vec::new()),
            Some(Value::Hash(fields)) => {
                let pairs = fields.into_iter().map(|(name, field)| (name, field.value));
                Ok(pairs.collect())
            }
            Some(_) => Err(self.unreadable(&key, WRONG_TYPE)),
        }
    }

    pub(super) fn fence(
        &mut self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        let db = self.db(db);
        let keys = std::slice::from_ref(lane);
        let mut last = None;
        for _ in 0..FENCE_ATTEMPTS {
            self.connection(Step::Compare(keys), db, "WATCH")?;
            self.count_round_trip(2);
            let touched = self.data.last_touch(db, lane);
            let Some(found) = self.marker_of(db, lane)? else {
                return Ok(None);
            };
            let taken = Marker {
                owner,
                run,
                ..found
            };
            let pending = Pending {
                db,
                restarts: self.data.restarts(),
                watched: vec![(lane.clone(), touched)],
                members: Vec::new(),
                refused: Vec::new(),
                register: None,
                marker: Some((lane.clone(), taken)),
            };
            match self.fault(Step::Execute(keys), db) {
                Fault::Disconnect => return Err(self.unreachable("fence")),
                Fault::Late => {
                    self.late.push(pending);
                    return Err(self.unreachable("fence"));
                }
                _ => {}
            }
            self.count_round_trip(3);
            let executed = self.exec(&pending);
            if self.fault(Step::Answer(keys), db) == Fault::Disconnect {
                return Err(self.unreachable("fence"));
            }
            if executed.is_some() {
                return Ok(Some(found));
            }
            last = Some(found);
        }
        Err(self.fenced(lane, last))
    }

    pub(super) fn dump(
        &mut self,
        db: Option<DbIndex>,
        keys: &[Key],
    ) -> Result<Vec<Option<(Bytes, Expiry)>>, StoreError> {
        let db = self.db(db);
        let mut dumped = Vec::with_capacity(keys.len());
        for key in keys {
            match self.fault(Step::ReadKey(key), db) {
                Fault::Disconnect => return Err(self.unreachable("DUMP")),
                Fault::Unreadable(reason) => return Err(self.refused("DUMP", reason)),
                _ => {}
            }
            self.count_round_trip(2);
            let state = self.data.get(db, key);
            dumped.push(state.map(|state| (encode(&state.value), state.expiry)));
        }
        Ok(dumped)
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

    fn marker_of(&mut self, db: DbIndex, lane: &Key) -> Result<Option<Marker>, StoreError> {
        let Some(text) = self.text_of(db, lane)? else {
            return Ok(None);
        };
        match Marker::decode(&text) {
            Some(marker) => Ok(Some(marker)),
            None => Err(self.unreadable(lane, &odd(&text))),
        }
    }

    fn text_of(&mut self, db: DbIndex, name: &Key) -> Result<Option<Bytes>, StoreError> {
        match self.data.get(db, name).map(|state| state.value) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.unreadable(name, WRONG_TYPE)),
        }
    }

    fn fenced(&self, lane: &Key, found: Option<Marker>) -> StoreError {
        StoreError::Fenced {
            replica: self.name.clone(),
            lane: lane.clone(),
            found,
        }
    }

    fn unreadable(&self, key: &Key, reason: &str) -> StoreError {
        StoreError::Marker {
            replica: self.name.clone(),
            key: key.clone(),
            reason: advise_marker(reason),
        }
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
    let watched = all().filter(|(_, (write, _))| !is_counter(write));
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
