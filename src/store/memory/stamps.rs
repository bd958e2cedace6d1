//! Stamps: four kinds of sorted sets beside the keys.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Counts, DbIndex, Key, Op, Stamp, StampSet, Stamped, Stamps, Value, Witness};
use crate::store::stamped::still_so;
use crate::store::stamps::{misused, removals_of, uncounted};
use crate::store::{ApplyError, Beside, StampQuery, StampReading, StoreError};

use super::markers::WRONG_TYPE;
use super::{Data, Inner};

impl Inner {
    pub(super) fn stamps(
        &mut self,
        db: Option<DbIndex>,
        queries: &[StampQuery],
    ) -> Result<Vec<StampReading>, StoreError> {
        if !self.reachable {
            return Err(self.unreachable("ZMSCORE"));
        }
        let db = self.db(db);
        self.count_round_trip(4 * queries.len() as u64);
        let mut one = |query: &StampQuery| {
            let mut stamps = self.data.stamps(db, &query.key)?;
            let is_wanted = |name: &Bytes| !query.only || query.elements.contains(name);
            stamps.elements.retain(|name, _| is_wanted(name));
            Ok(stamps)
        };
        Ok(queries.iter().map(&mut one).collect())
    }

    /// All removals at once: of keys, or of a key's elements.
    pub(super) fn removals(
        &mut self,
        db: Option<DbIndex>,
        of: Option<&Key>,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        if !self.reachable {
            return Err(self.unreachable("ZSCAN"));
        }
        let (db, set) = (self.db(db), removals_of(of));
        self.count_round_trip(1);
        let listed = self.data.listed(db, &set);
        let listed = listed.map_err(|words| self.refused("ZSCAN", words))?;
        Ok((listed.into_iter().collect(), 0))
    }

    /// All keys that have this beside them.
    pub(super) fn keys_beside(
        &mut self,
        db: Option<DbIndex>,
        what: Beside,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        if !self.reachable {
            return Err(self.unreachable("SCAN"));
        }
        let db = self.db(db);
        self.count_round_trip(1);
        let names = self.data.keys(db).into_iter();
        let keys = names.filter_map(|name| what.owner(name.as_bytes()));
        Ok((keys.collect(), 0))
    }

    /// Whether a key and its stamps are what a write was worked out from; words where a set of stamps is none.
    pub(super) fn is_still_so(
        &mut self,
        db: DbIndex,
        key: &Key,
        witness: &Witness,
    ) -> Result<bool, String> {
        let stamps = self.data.stamps(db, key)?;
        Ok(still_so(witness, self.data.get(db, key).as_ref(), &stamps))
    }
}

impl Data {
    /// The stamps of a key and its elements.
    fn stamps(&mut self, db: DbIndex, key: &Key) -> StampReading {
        let mut stamps = Stamps::default();
        for set in StampSet::ALL {
            let stamp = self.listed(db, &set.of_keys())?.remove(key.as_bytes());
            stamps.key.put(set, stamp);
            for (name, stamp) in self.listed(db, &set.of_elements(key))? {
                stamps
                    .elements
                    .entry(name)
                    .or_default()
                    .put(set, Some(stamp));
            }
        }
        stamps.counts = self.counts(db, key)?;
        Ok(stamps)
    }

    fn counts(&mut self, db: DbIndex, key: &Key) -> Result<Option<Counts>, String> {
        let name = Counts::of_key(key);
        let fields = match self.get(db, &name).map(|state| state.value) {
            None => BTreeMap::new(),
            Some(Value::Hash(fields)) => fields
                .into_iter()
                .map(|(name, field)| (name, field.value))
                .collect(),
            Some(_) => return Err(uncounted(&name, WRONG_TYPE)),
        };
        Counts::parse(&fields).map_err(|words| uncounted(&name, &words))
    }

    fn listed(&mut self, db: DbIndex, set: &Key) -> Result<BTreeMap<Bytes, Stamp>, String> {
        match self.get(db, set).map(|state| state.value) {
            None => Ok(BTreeMap::new()),
            Some(Value::SortedSet(members)) => Ok(members
                .into_iter()
                .map(|(name, at)| (name, Stamp(at)))
                .collect()),
            Some(_) => Err(misused(set, WRONG_TYPE)),
        }
    }

    /// Gives a key and elements of it these stamps.
    pub(super) fn stamp(
        &mut self,
        db: DbIndex,
        key: &Key,
        stamps: &Stamps,
    ) -> Result<(), ApplyError> {
        let before = self.stamps(db, key).map_err(|_| ApplyError::WrongType)?;
        let raised = stamps
            .key
            .added
            .map(|at| before.key.added.map_or(at, |now| now.max(at)));
        let of_key = Stamped {
            added: raised,
            ..stamps.key
        };
        for set in StampSet::ALL {
            self.list(db, &set.of_keys(), key.as_bytes(), of_key.of(set))?;
            for (name, stamped) in &stamps.elements {
                self.list(db, &set.of_elements(key), name, stamped.of(set))?;
            }
        }
        let name = Counts::of_key(key);
        match &stamps.counts {
            Some(counts) => self.apply(db, &name, &Op::SetFields(counts.fields())),
            None => Ok(()),
        }
    }

    fn list(
        &mut self,
        db: DbIndex,
        set: &Key,
        member: &[u8],
        stamp: Option<Stamp>,
    ) -> Result<(), ApplyError> {
        let member = Bytes::copy_from_slice(member);
        match stamp {
            Some(Stamp(at)) => self.apply(db, set, &Op::SetScores(vec![(member, at)])),
            None => self.apply(db, set, &Op::RemoveScored(vec![member])),
        }
    }
}
