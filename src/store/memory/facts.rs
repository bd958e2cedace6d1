//! What a replica in memory says of itself.

use std::collections::BTreeMap;

use crate::model::{DbIndex, Key, Millis, ReplicaName};
use crate::store::{Facts, Product, Role, StoreError};

use super::{Inner, Step};

/// A healthy master whose run ID is made of its name.
pub(super) fn of(name: &ReplicaName) -> Facts {
    Facts {
        run_id: format!("memory-{name}"),
        default_db: DbIndex(0),
        product: Product::Redis,
        version: "7.0.15".into(),
        role: Role::Master,
        read_only: false,
        clustered: false,
        loading: false,
        used_memory: 0,
        max_memory: 0,
        max_memory_policy: "noeviction".into(),
        evicted_keys: 0,
        saving: false,
        keys: BTreeMap::new(),
    }
}

impl Inner {
    pub(super) fn facts(&mut self) -> Result<Facts, StoreError> {
        self.ask("INFO")?;
        Ok(Facts {
            keys: self.data.sizes(),
            ..self.facts.clone()
        })
    }

    pub(super) fn clock(&mut self) -> Result<Millis, StoreError> {
        self.ask("TIME")?;
        Ok(self.data.now())
    }

    pub(super) fn own_keys(&mut self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        self.ask("SCAN")?;
        let db = self.db(db);
        Ok(self.data.own_keys(db))
    }

    fn ask(&mut self, command: &str) -> Result<(), StoreError> {
        self.connection(Step::Ask, self.facts.default_db, command)?;
        self.count_round_trip(1);
        Ok(())
    }
}
