//! What a replica in memory holds: keys by database, with when each was last touched.

use std::collections::BTreeMap;

use crate::model::{Counts, DbIndex, Key, Millis, OWN_PREFIX, Op, State};
use crate::store::{ApplyError, apply, is_live, live};

/// All keys of a replica at one moment, as an RDB file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<DbIndex, BTreeMap<Key, State>>);

/// Every key of a replica, its clock, and what WATCH needs to know.
///
/// This is what a client sees: a fault script gets it to write in between reknit's steps.
#[derive(Debug)]
pub struct Data {
    databases: BTreeMap<DbIndex, BTreeMap<Key, State>>,
    /// Never shrinks: a key that came and went was touched.
    touched: BTreeMap<(DbIndex, Key), u64>,
    touches: u64,
    now: Millis,
    restarts: u64,
    /// Since the last restart.
    evicted_keys: u64,
    evicts: bool,
}

impl Data {
    /// No keys, at this time.
    pub(super) fn new(now: Millis) -> Self {
        Self {
            databases: BTreeMap::new(),
            touched: BTreeMap::new(),
            touches: 0,
            now,
            restarts: 0,
            evicted_keys: 0,
            evicts: false,
        }
    }

    /// The replica's clock.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Sets the replica's clock.
    pub fn set_now(&mut self, now: Millis) {
        self.now = now;
    }

    /// What a key holds now; nothing if it is absent or has expired.
    pub fn get(&mut self, db: DbIndex, key: &Key) -> Option<State> {
        self.expire(db, key);
        live(self.databases.get(&db)?.get(key).cloned(), self.now)
    }

    /// Puts a state in the place of whatever a key holds.
    pub fn set_state(&mut self, db: DbIndex, key: &Key, state: Option<State>) {
        self.store(db, key, state);
        self.touch(db, key);
    }

    /// Does what a client's command would do.
    ///
    /// # Errors
    /// When Redis would refuse it; nothing has happened then.
    pub fn apply(&mut self, db: DbIndex, key: &Key, op: &Op) -> Result<(), ApplyError> {
        if let Op::Stamp(stamps) = op {
            return self.stamp(db, key, stamps);
        }
        if *op == Op::Uncount {
            return self.apply(db, &Counts::of_key(key), &Op::Remove);
        }
        let before = self.get(db, key);
        let after = match op {
            Op::TakeAside(aside) => Some(self.take_aside(db, aside)?),
            _ => apply(before.clone(), op, self.now)?,
        };
        if is_seen_by_watch(op, before.as_ref(), after.as_ref()) {
            self.touch(db, key);
        }
        self.store(db, key, after);
        Ok(())
    }

    /// Names of all keys of a database in order, reknit's own included.
    pub fn keys(&self, db: DbIndex) -> Vec<Key> {
        let keys = self.databases.get(&db).into_iter().flatten();
        let there = keys.filter(|(_, state)| is_live(state, self.now));
        there.map(|(key, _)| key.clone()).collect()
    }

    /// Names of all keys below `reknit:`.
    pub(super) fn own_keys(&self, db: DbIndex) -> Vec<Key> {
        let mut keys = self.keys(db);
        keys.retain(|key| key.as_bytes().starts_with(OWN_PREFIX));
        keys
    }

    /// The databases that hold keys, with how many.
    pub(super) fn sizes(&self) -> BTreeMap<DbIndex, u64> {
        let databases = self.databases.keys();
        let sizes = databases.map(|db| (*db, self.keys(*db).len() as u64));
        sizes.filter(|(_, keys)| *keys > 0).collect()
    }

    /// Removes every key of every database, as FLUSHALL does.
    pub fn flush(&mut self) {
        for (db, keys) in std::mem::take(&mut self.databases) {
            keys.keys().for_each(|key| self.touch(db, key));
        }
    }

    /// Removes every key of one database, as FLUSHDB does.
    pub fn flush_db(&mut self, db: DbIndex) {
        let keys = self.databases.remove(&db).unwrap_or_default();
        keys.keys().for_each(|key| self.touch(db, key));
    }

    /// Removes a key to make room. From then on the server says that it evicts.
    pub fn evict(&mut self, db: DbIndex, key: &Key) {
        self.evicts = true;
        if self.get(db, key).is_some() {
            self.evicted_keys += 1;
            self.set_state(db, key, None);
        }
    }

    /// What a background save writes.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.databases.clone())
    }

    /// The server restarts with what a snapshot holds. Nothing that was watched is what it was.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.flush();
        self.databases = snapshot.0.clone();
        for (db, keys) in &snapshot.0 {
            keys.keys().for_each(|key| self.touch(*db, key));
        }
        self.restarts += 1;
        self.evicted_keys = 0;
    }

    /// How often it was restarted.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Keys evicted since it started.
    pub(super) fn evicted_keys(&self) -> u64 {
        self.evicted_keys
    }

    /// Whether it ever evicted.
    pub(super) fn evicts(&self) -> bool {
        self.evicts
    }

    /// A number that rises whenever anything is touched.
    pub(super) fn touches(&self) -> u64 {
        self.touches
    }

    /// The number at which a key was last touched; expiring touches.
    pub(super) fn last_touch(&mut self, db: DbIndex, key: &Key) -> u64 {
        self.get(db, key);
        self.touched
            .get(&(db, key.clone()))
            .copied()
            .unwrap_or_default()
    }

    fn take_aside(&mut self, db: DbIndex, aside: &Key) -> Result<State, ApplyError> {
        let state = self.get(db, aside).ok_or(ApplyError::NoSuchKey)?;
        self.set_state(db, aside, None);
        Ok(State::lasting(state.value))
    }

    fn store(&mut self, db: DbIndex, key: &Key, state: Option<State>) {
        let keys = self.databases.entry(db).or_default();
        match live(state, self.now) {
            Some(state) => drop(keys.insert(key.clone(), state)),
            None => drop(keys.remove(key)),
        }
    }

    /// Removes a key whose time has passed, which touches it.
    fn expire(&mut self, db: DbIndex, key: &Key) {
        let held = self.databases.get(&db).and_then(|keys| keys.get(key));
        if held.is_some_and(|state| !is_live(state, self.now)) {
            self.store(db, key, None);
            self.touch(db, key);
        }
    }

    fn touch(&mut self, db: DbIndex, key: &Key) {
        self.touches += 1;
        self.touched.insert((db, key.clone()), self.touches);
    }
}

/// WATCH aborts on a write of the same value and on any EXPIRE, but not on additions and removals without effect, nor
/// on anything about an existing stream's consumer groups.
fn is_seen_by_watch(op: &Op, before: Option<&State>, after: Option<&State>) -> bool {
    match op {
        Op::Put(_)
        | Op::Restore(_)
        | Op::SetFields(_)
        | Op::Expire(_)
        | Op::IncreaseBy(_)
        | Op::IncreaseFields(_)
        | Op::TakeAside(_) => before.is_some() || after.is_some(),
        Op::CreateGroup(..) => before.is_none(),
        Op::Remove
        | Op::RemoveFields(_)
        | Op::ExpireField(..)
        | Op::AddMembers(_)
        | Op::RemoveMembers(_)
        | Op::SetScores(_)
        | Op::IncreaseScores(_)
        | Op::RemoveScored(_)
        | Op::Prepend(_)
        | Op::Append(_)
        | Op::AppendEntries(_)
        | Op::RemoveEntries(_)
        | Op::RaiseLastId(_)
        | Op::Stamp(_)
        | Op::Uncount => before != after,
    }
}
