//! What a replica in memory says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{DbIndex, Key, Millis, ReplicaName};
use crate::store::{Capabilities, Facts, Product, Role, StoreError};

use super::{Inner, Step};

/// A healthy master whose run ID is made of its name.
pub(super) fn of(name: &ReplicaName) -> Facts {
    Facts {
        run_id: format!("memory-{name}"),
        default_db: DbIndex(0),
        product: Product::Redis,
        version: "7.0.15".into(),
        capabilities: Capabilities::ALL,
        role: Role::Master,
        read_only: false,
        clustered: false,
        loading: false,
        used_memory: 0,
        max_memory: 0,
        max_memory_policy: "noeviction".into(),
        evicted_keys: 0,
        saving: false,
        replication_id: format!("memory-{name}"),
        uptime: Duration::ZERO,
        keys: BTreeMap::new(),
    }
}

impl Inner {
    pub(super) fn facts(&mut self) -> Result<Facts, StoreError> {
        self.ask(None, "INFO")?;
        let facts = self.facts.clone();
        let restarts = self.data.restarts();
        Ok(Facts {
            keys: self.data.sizes(),
            run_id: match restarts {
                0 => facts.run_id,
                _ => format!("{}-{restarts}", facts.run_id),
            },
            replication_id: match restarts {
                0 => facts.replication_id,
                _ => format!("{}-{restarts}", facts.replication_id),
            },
            evicted_keys: facts.evicted_keys + self.data.evicted_keys(),
            max_memory_policy: match self.data.evicts() && facts.max_memory_policy == "noeviction" {
                true => "allkeys-lru".into(),
                false => facts.max_memory_policy,
            },
            ..facts
        })
    }

    pub(super) fn clock(&mut self) -> Result<Millis, StoreError> {
        self.ask(None, "TIME")?;
        Ok(self.data.now())
    }

    pub(super) fn own_keys(&mut self, db: Option<DbIndex>) -> Result<Vec<Key>, StoreError> {
        let db = self.ask(db, "SCAN")?;
        Ok(self.data.own_keys(db))
    }

    /// Asks for what is no key of a client's; answers which database is meant.
    pub(super) fn ask(
        &mut self,
        db: Option<DbIndex>,
        command: &str,
    ) -> Result<DbIndex, StoreError> {
        let db = self.db(db);
        self.connection(Step::Ask, db, command)?;
        self.count_round_trip(1);
        Ok(db)
    }
}
