//! Commits: changes become rows, all of them in one batch of the store.
//!
//! Nothing is decoded that is only moved: what a change supersedes goes to the history as it stands.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Agreement, DbIndex, Key, Lag, LagBase, Millis, ReplicaId, Sequence, Voids};

use super::changes::{Change, JournalPlace, Reached};
use super::layout::{self, Chapter, ended_place, lag_place, named, place, record_of};
use super::record::{Head, JournalSize, Record, ended, put_counter, put_ended, put_outcome};
use super::store::{Flow, Row, Table};
use super::{Changes, Intent, JournalEntry, Result, State};

impl State {
    /// Writes all of the changes or none, and returns once they are on disk.
    ///
    /// # Errors
    /// When the disk is full or fails: nothing of it is then written, and nothing more will be until the directory is
    /// opened again.
    pub fn commit(&self, changes: Changes) -> Result<()> {
        self.write(changes, true)
    }

    /// Writes all of the changes or none. They survive the process; only after the next sync also the machine.
    ///
    /// # Errors
    /// As [`State::commit`].
    pub fn commit_unsynced(&self, changes: Changes) -> Result<()> {
        self.write(changes, false)
    }

    fn write(&self, changes: Changes, synced: bool) -> Result<()> {
        let mut writing = self.writing();
        let mut draft = Draft::new(self, writing.commit + 1, changes.now);
        for change in changes.list {
            draft.add(change)?;
        }
        let rows = draft.rows();
        if rows.is_empty() {
            return Ok(());
        }
        self.write_rows(&mut writing, rows, synced)
    }
}

/// The rows of one commit.
struct Draft<'a> {
    state: &'a State,
    commit: u64,
    now: Millis,
    rows: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a> Draft<'a> {
    fn new(state: &'a State, commit: u64, now: Millis) -> Self {
        Self {
            state,
            commit,
            now,
            rows: BTreeMap::new(),
        }
    }

    fn rows(self) -> Vec<Row> {
        let rows = self.rows.into_iter();
        rows.map(|((table, key), value)| (table, key, value))
            .collect()
    }

    fn add(&mut self, change: Change) -> Result<()> {
        match change {
            Change::PutAgreement(db, key, agreement) => self.put_agreement(db, &key, &agreement),
            Change::ForgetAgreement(db, key) => self.forget_agreement(db, &key),
            Change::PutLag(db, key, replica, lag) => self.put_lag(db, &key, replica, &lag),
            Change::DropLag(db, key, replica) => self.drop_lag(db, &key, replica),
            Change::Reached(db, key, replica, reached) => self.reached(db, &key, replica, reached),
            Change::Replaced(db, key, replica, read) => self.replaced(db, &key, replica, &read),
            Change::Correct(db, key, replica, lag) => self.correct(db, &key, replica, &lag),
            Change::SetLane(replica, db, lane) => {
                self.put(Table::Book, Chapter::Lanes.lane(replica, db), lane.encode());
                Ok(())
            }
            Change::AddVoid(replica, db, after, to) => self.add_void(replica, db, after, to),
            Change::OpenIntent(intent) => {
                self.put(
                    Table::Book,
                    Chapter::Intents.step(intent.sequence),
                    intent.encode(),
                );
                Ok(())
            }
            Change::KeepIntent(intent) => self.keep_intent(intent),
            Change::CloseIntent(sequence) => {
                self.remove(Table::Book, Chapter::Intents.step(sequence));
                Ok(())
            }
            Change::Journal(entry) => self.journal(&entry),
            Change::Outcome(at, applied) => {
                self.outcome(&at, applied);
                Ok(())
            }
            Change::Hold(db, key, hold) => {
                let value = named(key.as_bytes(), hold.encode());
                self.put(Table::Book, Chapter::Held.place(db, &key), value);
                Ok(())
            }
            Change::Cover(replica, db, keyspace, proved) => {
                let lane = [&replica.0[..], &db.0.to_be_bytes()].concat();
                let at = Chapter::Coverage.about(&[&lane, keyspace.0.as_bytes()].concat());
                self.put(Table::Book, at, put_counter(proved.0));
                Ok(())
            }
            Change::SetEvicted(replica, keys) => {
                let at = Chapter::Evictions.about(&replica.0);
                self.put(Table::Book, at, put_counter(keys));
                Ok(())
            }
            Change::Finish(run, segment) => {
                let first = segment.slots.first().number();
                let of_db = [&run.0.to_be_bytes()[..], &segment.db.0.to_be_bytes()].concat();
                let at = [&of_db[..], &first.to_be_bytes()].concat();
                self.put(Table::Book, Chapter::Segments.about(&at), segment.encode());
                Ok(())
            }
            Change::Unhold(db, key) => {
                self.remove(Table::Book, Chapter::Held.place(db, &key));
                Ok(())
            }
        }
    }

    fn put_agreement(&mut self, db: DbIndex, key: &Key, agreement: &Agreement) -> Result<()> {
        let place = place(db, key.as_bytes());
        let value = named(key.as_bytes(), agreement.encode());
        let former = self.former(Table::Agreed, &place)?;
        if former.as_deref() == Some(&value[..]) {
            self.unchange(Table::Agreed, Table::History, &place);
            self.rows
                .remove(&(Table::Book, Chapter::Tombstones.about(&place)));
            return Ok(());
        }
        let had_tombstones = match &former {
            Some(former) => {
                let ended = ended_place(&place, self.commit);
                self.put(Table::History, ended, put_ended(self.now, former));
                self.tombstones_in(former)?
            }
            None => false,
        };
        let has_tombstones = agreement.memory.is_none() || !agreement.removed.is_empty();
        let index = Chapter::Tombstones.about(&place);
        if has_tombstones {
            self.put(Table::Book, index, Vec::new());
        } else if had_tombstones || self.rows.contains_key(&(Table::Book, index.clone())) {
            self.remove(Table::Book, index);
        }
        self.put(Table::Agreed, place, value);
        Ok(())
    }

    fn tombstones_in(&self, value: &[u8]) -> Result<bool> {
        let read = record_of(value).and_then(Head::has_tombstones);
        self.state.read(read, || "an agreement".into())
    }

    fn forget_agreement(&mut self, db: DbIndex, key: &Key) -> Result<()> {
        let place = place(db, key.as_bytes());
        for (table, suffix) in [
            (Table::History, layout::COMMIT),
            (Table::Lags, layout::REPLICA),
            (Table::LagHistory, layout::REPLICA + layout::COMMIT),
            (Table::Replaced, layout::REPLICA + layout::COMMIT),
        ] {
            for row in self.state.places_behind(table, &place, suffix)? {
                self.remove(table, row);
            }
        }
        self.remove(Table::Book, Chapter::Tombstones.about(&place));
        self.remove(Table::Agreed, place);
        Ok(())
    }

    fn put_lag(&mut self, db: DbIndex, key: &Key, replica: ReplicaId, lag: &Lag) -> Result<()> {
        let place = lag_place(db, key.as_bytes(), replica);
        let value = named(key.as_bytes(), lag.encode());
        if self.end_lag(&place, Some(&value))? {
            self.put(Table::Lags, place, value);
        }
        Ok(())
    }

    fn drop_lag(&mut self, db: DbIndex, key: &Key, replica: ReplicaId) -> Result<()> {
        let place = lag_place(db, key.as_bytes(), replica);
        if self.end_lag(&place, None)? {
            self.remove(Table::Lags, place);
        }
        Ok(())
    }

    /// Moves what stands there to the history, unless the same comes after it; answers whether it changes.
    fn end_lag(&mut self, place: &[u8], next: Option<&[u8]>) -> Result<bool> {
        let former = self.former(Table::Lags, place)?;
        if former.as_deref() == next {
            self.unchange(Table::Lags, Table::LagHistory, place);
            return Ok(false);
        }
        if let Some(former) = former {
            let ended = ended_place(place, self.commit);
            self.put(Table::LagHistory, ended, put_ended(self.now, &former));
        }
        Ok(true)
    }

    /// A replica was late to tell that it took what was agreed then. What is agreed may have moved on since.
    fn reached(
        &mut self,
        db: DbIndex,
        key: &Key,
        replica: ReplicaId,
        reached: Reached,
    ) -> Result<()> {
        let Some(now) = self.agreement(db, key)? else {
            return self.drop_lag(db, key, replica);
        };
        let is_same = now.version == reached.then.version;
        if reached.lag.is_none() && is_same && now.proved == reached.proved {
            return self.drop_lag(db, key, replica);
        }
        let mut lag = reached.lag.clone().unwrap_or_else(|| reached.at_version());
        if !is_same {
            lag.base = LagBase::Held(reached.then.memory);
        }
        self.put_lag(db, key, replica, &lag)
    }

    /// Keeps what a replica held that was written over, unless it is what was remembered of it: a replica that loses its
    /// last writes may hold it again, and that is no change.
    fn replaced(&mut self, db: DbIndex, key: &Key, replica: ReplicaId, read: &Lag) -> Result<()> {
        let LagBase::Held(Some(held)) = &read.base else {
            return Ok(());
        };
        let place = lag_place(db, key.as_bytes(), replica);
        let known = match self
            .state
            .stored::<Lag>(Table::Lags, &place)?
            .map(|lag| lag.base)
        {
            Some(LagBase::Held(memory)) => memory,
            Some(LagBase::Unknown) => None,
            Some(LagBase::Agreed) | None => {
                let agreed = layout::place(db, key.as_bytes());
                let agreement = self.state.stored::<Agreement>(Table::Agreed, &agreed)?;
                agreement.and_then(|agreement| agreement.memory)
            }
        };
        if known.is_some_and(|known| known.digest == held.digest) {
            return Ok(());
        }
        let value = named(key.as_bytes(), read.encode());
        let at = ended_place(&place, self.commit);
        self.put(Table::Replaced, at, put_ended(self.now, &value));
        Ok(())
    }

    /// While it was not known whether a replica was written to, it was taken not to be. It was: what is kept of its
    /// lags since then was never so.
    fn correct(&mut self, db: DbIndex, key: &Key, replica: ReplicaId, truth: &Lag) -> Result<()> {
        let place = lag_place(db, key.as_bytes(), replica);
        let mut rows = self
            .state
            .places_behind(Table::LagHistory, &place, layout::COMMIT)?;
        rows.push(ended_place(&place, self.commit));
        let about = || format!("the history of a lag on key {key}");
        for at in rows {
            let Some(value) = self.get(Table::LagHistory, &at)? else {
                continue;
            };
            let (ended_at, record) = self.state.read(ended(&value), about)?;
            let record = self.state.read(record_of(record), about)?;
            let lag: Lag = self.state.decode(record, about)?;
            if lag.since >= truth.since {
                let right = Lag {
                    since: lag.since,
                    evicted: lag.evicted,
                    ..truth.clone()
                };
                // What was read there was held all the same, until it was written over.
                self.put(Table::Replaced, at.clone(), value);
                let value = named(key.as_bytes(), right.encode());
                self.put(Table::LagHistory, at, put_ended(ended_at, &value));
            }
        }
        Ok(())
    }

    /// What is agreed once the changes so far are written.
    fn agreement(&self, db: DbIndex, key: &Key) -> Result<Option<Agreement>> {
        let place = place(db, key.as_bytes());
        let Some(value) = self.get(Table::Agreed, &place)? else {
            return Ok(None);
        };
        let about = || format!("the agreement on key {key}");
        let record = self.state.read(record_of(&value), about)?;
        self.state.decode(record, about).map(Some)
    }

    fn add_void(
        &mut self,
        replica: ReplicaId,
        db: DbIndex,
        after: Sequence,
        to: Sequence,
    ) -> Result<()> {
        let at = Chapter::Voids.lane(replica, db);
        let mut voids = match self.get(Table::Book, &at)? {
            Some(bytes) => self
                .state
                .decode(&bytes, || format!("the voids of replica {replica}"))?,
            None => Voids::default(),
        };
        voids.add(after, to);
        self.put(Table::Book, at, voids.encode());
        Ok(())
    }

    /// An intent that stays open says what was agreed on each of its keys, so that this is known once it is settled.
    fn keep_intent(&mut self, mut intent: Intent) -> Result<()> {
        for key in &mut intent.keys {
            if key.agreement.is_none() {
                key.agreement = self.agreement(intent.db, &key.key)?;
            }
        }
        self.put(
            Table::Book,
            Chapter::Intents.step(intent.sequence),
            intent.encode(),
        );
        Ok(())
    }

    fn journal(&mut self, entry: &JournalEntry) -> Result<()> {
        let at = entry.place();
        let (row, value) = (at.row(), entry.encode());
        let size_row = Chapter::JournalSizes.run(entry.run);
        let mut size = match self.get(Table::Book, &size_row)? {
            Some(bytes) => self
                .state
                .decode(&bytes, || "the size of a journal".into())?,
            None => JournalSize::default(),
        };
        size.entries += 1;
        size.bytes += (row.len() + value.len()) as u64;
        self.put(Table::Book, size_row, size.encode());
        self.put(Table::Journal, row, value);
        if let Some(applied) = entry.outcome {
            self.outcome(&at, applied);
        }
        Ok(())
    }

    fn outcome(&mut self, at: &JournalPlace, applied: bool) {
        let row = Chapter::Outcomes.about(&at.row());
        self.put(Table::Book, row, put_outcome(applied));
    }

    /// What these changes supersede: what stands on disk, unless they removed it themselves.
    fn former(&self, table: Table, place: &[u8]) -> Result<Option<Bytes>> {
        match self.rows.get(&(table, place.to_vec())) {
            Some(None) => Ok(None),
            Some(Some(_)) | None => self.state.0.store.get(table, place),
        }
    }

    /// Takes back what this commit would have changed of a row.
    fn unchange(&mut self, table: Table, history: Table, place: &[u8]) {
        self.rows.remove(&(table, place.to_vec()));
        self.rows
            .remove(&(history, ended_place(place, self.commit)));
    }

    /// What stands there once the changes so far are written.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.rows.get(&(table, key.to_vec())) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.state.0.store.get(table, key)?.map(|it| it.to_vec())),
        }
    }

    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.rows.insert((table, key), Some(value));
    }

    fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.rows.insert((table, key), None);
    }
}

impl State {
    /// A record that stands on disk.
    fn stored<T: Record>(&self, table: Table, place: &[u8]) -> Result<Option<T>> {
        let Some(value) = self.0.store.get(table, place)? else {
            return Ok(None);
        };
        let about = || "a record of a key".into();
        let record = self.read(record_of(&value), about)?;
        self.decode(record, about).map(Some)
    }

    /// The rows that stand behind exactly this place, by the length of what follows it.
    pub(super) fn places_behind(
        &self,
        table: Table,
        place: &[u8],
        suffix: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        self.0
            .store
            .scan(table, layout::beginning(place), |key, _| {
                if key.len() == place.len() + suffix {
                    found.push(key.to_vec());
                }
                Ok(Flow::Continue)
            })?;
        Ok(found)
    }
}
