//! What is read of agreements, lags and their histories.

use std::collections::BTreeMap;

use crate::model::{
    Agreement, DbIndex, EntryRef, Key, KeyspaceName, Lag, Lane, PositionRange, ReplicaId,
    RunNumber, Sequence, Voids,
};

use super::layout::{self, Chapter, beginning, lag_place, place, record_of, row, split_replica};
use super::record::{Head, Record, Standing, counter, ended, standing};
use super::store::{Flow, Table};
use super::{Hold, Intent, Result, State};

/// What a listing shows of a lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagHead {
    /// The replica.
    pub replica: ReplicaId,
    /// Its base is not what is agreed, or the key is missing because the replica evicts; else only its proof is another.
    pub is_behind: bool,
    /// The step that proved its base.
    pub proved: Sequence,
}

impl State {
    /// What is agreed on a key; nothing before the first agreement.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn agreement(&self, db: DbIndex, key: &Key) -> Result<Option<Agreement>> {
        let Some(value) = self
            .0
            .store
            .get(Table::Agreed, &place(db, key.as_bytes()))?
        else {
            return Ok(None);
        };
        let about = || format!("the agreement on key {key}");
        let record = self.read(record_of(&value), about)?;
        self.decode(record, about).map(Some)
    }

    /// Who lags behind on a key, or is at its version by another proof.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn lags(&self, db: DbIndex, key: &Key) -> Result<BTreeMap<ReplicaId, Lag>> {
        let about = || format!("a lag on key {key}");
        let place = place(db, key.as_bytes());
        let mut lags = BTreeMap::new();
        self.0
            .store
            .scan(Table::Lags, beginning(&place), |at, value| {
                if at.len() == place.len() + layout::REPLICA {
                    let (_, replica) = self.read(split_replica(at), about)?;
                    if !self.is_forgotten(replica) {
                        let record = self.read(record_of(value), about)?;
                        lags.insert(replica, self.decode(record, about)?);
                    }
                }
                Ok(Flow::Continue)
            })?;
        Ok(lags)
    }

    /// Superseded versions of a key, and earlier proofs of the same version, newest first.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn history(&self, db: DbIndex, key: &Key) -> Result<Vec<Agreement>> {
        let about = || format!("the history of key {key}");
        self.ended(Table::History, &place(db, key.as_bytes()), about)
    }

    /// Ended and replaced lag entries of a key at a replica, newest first.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn lag_history(&self, db: DbIndex, key: &Key, replica: ReplicaId) -> Result<Vec<Lag>> {
        let about = || format!("the history of a lag on key {key}");
        self.ended(
            Table::LagHistory,
            &lag_place(db, key.as_bytes(), replica),
            about,
        )
    }

    /// What a replica held of a key until a run wrote over it, where its clients had changed it, newest first.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn replaced(&self, db: DbIndex, key: &Key, replica: ReplicaId) -> Result<Vec<Lag>> {
        let about = || format!("what was written over of key {key}");
        let place = lag_place(db, key.as_bytes(), replica);
        self.ended(Table::Replaced, &place, about)
    }

    fn ended<T: Record>(
        &self,
        table: Table,
        place: &[u8],
        about: impl Fn() -> String + Copy,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.0.store.scan(table, beginning(place), |at, value| {
            if at.len() == place.len() + layout::COMMIT {
                let (_, value) = self.read(ended(value), about)?;
                let record = self.read(record_of(value), about)?;
                found.push(self.decode(record, about)?);
            }
            Ok(Flow::Continue)
        })?;
        found.reverse();
        Ok(found)
    }

    /// Visits the keys of a range that are agreed to be there, in the order of positions, each with the step that
    /// proved it; answers how many.
    ///
    /// # Cost
    /// Reads the heads of records, not their elements.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn listed(
        &self,
        db: DbIndex,
        range: PositionRange,
        visit: &mut dyn FnMut(EntryRef<'_>, Sequence),
    ) -> Result<u64> {
        let mut all = |entry: EntryRef<'_>, proved| {
            visit(entry, proved);
            true
        };
        self.listed_while(db, range, &mut all)
    }

    /// The same as long as the visit answers that it wants more.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn listed_while(
        &self,
        db: DbIndex,
        range: PositionRange,
        visit: &mut dyn FnMut(EntryRef<'_>, Sequence) -> bool,
    ) -> Result<u64> {
        let mut count = 0;
        let places = layout::places(db, range);
        self.0.store.scan(Table::Agreed, places, |place, value| {
            let read = row(place, value).and_then(|(position, key, record)| {
                Head::of(record).map(|head| (position, key, head))
            });
            let (position, key, head) = self.read(read, || "an agreement".into())?;
            let goes_on = match head {
                Head::Tombstone => true,
                Head::There(kind, expiry, digest, proved) => {
                    count += 1;
                    let entry = EntryRef {
                        position,
                        key,
                        kind,
                        digest,
                        expiry,
                    };
                    visit(entry, proved)
                }
            };
            Ok(if goes_on { Flow::Continue } else { Flow::Stop })
        })?;
        Ok(count)
    }

    /// Visits, in the order of positions, each key and replica of which more is remembered than that it is at the
    /// key's version.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn lagging(&self, db: DbIndex, visit: &mut dyn FnMut(&Key, LagHead)) -> Result<()> {
        let about = || "a lag".into();
        let places = layout::places(db, PositionRange::all());
        self.0.store.scan(Table::Lags, places, |at, value| {
            let (place, replica) = self.read(split_replica(at), about)?;
            let (_, key, record) = self.read(row(place, value), about)?;
            let (standing, proved) = self.read(standing(record), about)?;
            if !self.is_forgotten(replica) {
                let lag = LagHead {
                    replica,
                    is_behind: standing == Standing::Behind,
                    proved,
                };
                visit(&Key::copied(key), lag);
            }
            Ok(Flow::Continue)
        })
    }

    /// What a replica's markers acknowledged in a database.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn lane(&self, replica: ReplicaId, db: DbIndex) -> Result<Option<Lane>> {
        self.noted(Chapter::Lanes.lane(replica, db), || {
            format!("the lane of replica {replica}")
        })
    }

    /// The keyspaces that were read completely at a replica, each with the step that proved it.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn coverage(
        &self,
        replica: ReplicaId,
        db: DbIndex,
    ) -> Result<BTreeMap<KeyspaceName, Sequence>> {
        let lane = Chapter::Coverage.lane(replica, db);
        let mut covered = BTreeMap::new();
        self.0
            .store
            .scan(Table::Book, beginning(&lane), |at, value| {
                let name = String::from_utf8_lossy(&at[lane.len()..]).into_owned();
                let step = self.read(counter(value), || "what a replica was read of".into())?;
                covered.insert(KeyspaceName(name), Sequence(step));
                Ok(Flow::Continue)
            })?;
        Ok(covered)
    }

    /// How many keys a replica had evicted when it was last looked at.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn evicted(&self, replica: ReplicaId) -> Result<Option<u64>> {
        let at = Chapter::Evictions.about(&replica.0);
        let Some(value) = self.0.store.get(Table::Book, &at)? else {
            return Ok(None);
        };
        let keys = self.read(counter(&value), || "what a replica evicted".into())?;
        Ok(Some(keys))
    }

    /// The steps that a replica forgot in a database.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn voids(&self, replica: ReplicaId, db: DbIndex) -> Result<Voids> {
        let at = Chapter::Voids.lane(replica, db);
        let noted = self.noted(at, || format!("the voids of replica {replica}"))?;
        Ok(noted.unwrap_or_default())
    }

    /// Open intents, oldest first.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        self.chapter(Chapter::Intents, || "an intent".into())
    }

    /// Which run undid a key, if the key waits for the operator.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn held(&self, db: DbIndex, key: &Key) -> Result<Option<Hold>> {
        let Some(value) = self
            .0
            .store
            .get(Table::Book, &Chapter::Held.place(db, key))?
        else {
            return Ok(None);
        };
        let read = record_of(&value).and_then(Hold::decode);
        self.read(read, || format!("what holds key {key}"))
            .map(Some)
    }

    /// Visits the keys that wait for the operator, in the order of positions, with the run that undid them.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn holds(&self, db: DbIndex, visit: &mut dyn FnMut(&Key, RunNumber)) -> Result<()> {
        let prefix = Chapter::Held.about(&db.0.to_be_bytes());
        self.0
            .store
            .scan(Table::Book, beginning(&prefix), |at, value| {
                let read = row(&at[1..], value)
                    .and_then(|(_, key, record)| Hold::decode(record).map(|hold| (key, hold.run)));
                let (key, run) = self.read(read, || "a held key".into())?;
                visit(&Key::copied(key), run);
                Ok(Flow::Continue)
            })
    }

    /// One small record of the book.
    pub(super) fn noted<T: Record>(
        &self,
        at: Vec<u8>,
        about: impl FnOnce() -> String,
    ) -> Result<Option<T>> {
        match self.0.store.get(Table::Book, &at)? {
            Some(bytes) => self.decode(&bytes, about).map(Some),
            None => Ok(None),
        }
    }

    /// All records of a chapter of the book, in order.
    pub(super) fn chapter<T: Record>(
        &self,
        chapter: Chapter,
        about: impl Fn() -> String + Copy,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let rows = beginning(&[chapter.letter()]);
        self.0.store.scan(Table::Book, rows, |_, value| {
            found.push(self.decode(value, about)?);
            Ok(Flow::Continue)
        })?;
        Ok(found)
    }
}
