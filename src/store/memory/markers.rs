//! Markers, the list of state directories, and dumps: read, and markers taken over.

use bytes::Bytes;

use crate::model::{DbIndex, Expiry, Key, Marker, OwnerToken, RunNumber, STATES_KEY, Value};
use crate::store::StoreError;
use crate::store::apply::encode;
use crate::store::error::advise_marker;
use crate::store::markers::{FENCE_ATTEMPTS, odd};

use super::late::Pending;
use super::{Fault, Inner, Step};

/// What Redis says of a key of another type.
pub(super) const WRONG_TYPE: &str =
    "WRONGTYPE Operation against a key holding the wrong kind of value";

impl Inner {
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
        let mut last = None;
        for _ in 0..FENCE_ATTEMPTS {
            self.connection(Step::Compare(std::slice::from_ref(lane)), db, "WATCH")?;
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
            if self.replace_marker(db, lane, touched, taken)? {
                return Ok(Some(found));
            }
            last = Some(found);
        }
        Err(self.fenced(lane, last))
    }

    /// Sets a watched marker; whether it was still the same.
    fn replace_marker(
        &mut self,
        db: DbIndex,
        lane: &Key,
        touched: u64,
        marker: Marker,
    ) -> Result<bool, StoreError> {
        let pending = Pending {
            db,
            restarts: self.data.restarts(),
            watched: vec![(lane.clone(), touched)],
            members: Vec::new(),
            refused: Vec::new(),
            register: None,
            marker: Some((lane.clone(), marker)),
        };
        match self.fault(Step::Execute(std::slice::from_ref(lane)), db) {
            Fault::Disconnect => return Err(self.unreachable("fence")),
            Fault::Late => {
                self.late.push(pending);
                return Err(self.unreachable("fence"));
            }
            _ => {}
        }
        self.count_round_trip(3);
        let executed = self.exec(&pending);
        self.connection(Step::Answer(std::slice::from_ref(lane)), db, "fence")?;
        Ok(executed.is_some())
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

    pub(super) fn marker_of(
        &mut self,
        db: DbIndex,
        lane: &Key,
    ) -> Result<Option<Marker>, StoreError> {
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

    pub(super) fn fenced(&self, lane: &Key, found: Option<Marker>) -> StoreError {
        StoreError::Fenced {
            replica: self.name.clone(),
            lane: lane.clone(),
            found,
        }
    }

    pub(super) fn unreadable(&self, key: &Key, reason: &str) -> StoreError {
        StoreError::Marker {
            replica: self.name.clone(),
            key: key.clone(),
            reason: advise_marker(reason),
        }
    }
}
