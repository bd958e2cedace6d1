//! Keys that a run found and leaves open, for what it may claim at its end to have seen.
//!
//! They stand in memory until then, so there is a limit. Beyond it nobody knows which keys were left open, and the run
//! claims nothing of the database: what the run before it proved stands.

use std::collections::BTreeMap;

use crate::model::{DbIndex, Key};

/// Bytes that they may take together.
const MOST_BYTES: usize = 16 << 20;

/// What a key takes beside its name.
const KEY_BYTES: usize = 48;

/// Keys that were found and are left open, by database.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    by_db: BTreeMap<DbIndex, Vec<Key>>,
    bytes: usize,
    /// Where there were too many.
    beyond: Vec<DbIndex>,
}

impl Unsettled {
    /// One more.
    pub(super) fn put(&mut self, db: DbIndex, key: Key) {
        if self.beyond.contains(&db) {
            return;
        }
        let bytes = size(&key);
        if self.bytes + bytes > MOST_BYTES {
            self.beyond.push(db);
            self.take_keys(db);
            return;
        }
        self.bytes += bytes;
        self.by_db.entry(db).or_default().push(key);
    }

    /// All of a database, which are forgotten by this; nothing where there were too many.
    pub(super) fn take(&mut self, db: DbIndex) -> Option<Vec<Key>> {
        let keys = self.take_keys(db);
        (!self.beyond.contains(&db)).then_some(keys)
    }

    fn take_keys(&mut self, db: DbIndex) -> Vec<Key> {
        let keys = self.by_db.remove(&db).unwrap_or_default();
        self.bytes -= keys.iter().map(size).sum::<usize>();
        keys
    }
}

fn size(key: &Key) -> usize {
    key.as_bytes().len() + KEY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::new(number.to_string().repeat(1 << 16).into_bytes())
    }

    #[test]
    fn up_to_the_limit_every_key_comes_back_once() {
        let mut unsettled = Unsettled::default();
        for number in 0..9 {
            unsettled.put(DbIndex(number % 2), key(number as usize));
        }
        assert_eq!(unsettled.take(DbIndex(0)).map(|keys| keys.len()), Some(5));
        assert_eq!(unsettled.take(DbIndex(0)), Some(Vec::new()));
        assert_eq!(unsettled.take(DbIndex(1)).map(|keys| keys.len()), Some(4));
        assert_eq!(unsettled.bytes, 0);
    }

    #[test]
    fn beyond_it_nothing_is_said_of_that_database_and_its_room_is_free() {
        let mut unsettled = Unsettled::default();
        unsettled.put(DbIndex(1), key(1));
        for number in 0..1000 {
            unsettled.put(DbIndex(0), key(number % 10));
            assert!(unsettled.bytes <= MOST_BYTES);
        }
        assert_eq!(unsettled.take(DbIndex(0)), None);
        assert_eq!(unsettled.take(DbIndex(0)), None, "nor later");
        unsettled.put(DbIndex(1), key(2));
        assert_eq!(unsettled.take(DbIndex(1)).map(|keys| keys.len()), Some(2));
        assert_eq!(unsettled.bytes, 0);
    }
}
