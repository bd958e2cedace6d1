//! Stories in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use reknit::model::{Key, Millis, State};
use reknit::store::{Client, MemoryReplica, Replica};

use super::command::{Effect, effects};
use super::world::{Ground, Site};

/// Replicas in memory, whose clocks begin at a round number.
pub(crate) struct Memory {
    /// Decides the order of scans.
    pub(crate) seed: u64,
}

struct MemorySite {
    replica: MemoryReplica,
    client: Client,
}

#[async_trait]
impl Ground for Memory {
    fn beginning(&self) -> Millis {
        Millis(1_000_000_000_000)
    }

    async fn site(&self, name: &str) -> Box<dyn Site> {
        let replica = MemoryReplica::new(name, self.seed);
        replica.set_now(self.beginning());
        Box::new(MemorySite {
            client: replica.client(),
            replica,
        })
    }
}

#[async_trait]
impl Site for MemorySite {
    fn replica(&self) -> Arc<dyn Replica> {
        Arc::new(self.replica.clone())
    }

    async fn send(&self, command: &[Bytes]) -> Result<(), String> {
        let now = self.client.now();
        for effect in effects(command, now, |key| self.client.get(key))? {
            match effect {
                Effect::Apply(key, op) => {
                    self.client
                        .apply(&key, &op)
                        .map_err(|error| error.to_string())?;
                }
                Effect::Flush => self.client.flush(),
            }
        }
        Ok(())
    }

    async fn states(&self) -> BTreeMap<Key, State> {
        let keys = self.client.keys().into_iter();
        keys.filter_map(|key| self.client.get(&key).map(|state| (key, state)))
            .collect()
    }

    fn set_now(&self, now: Millis) -> Result<(), String> {
        self.replica.set_now(now);
        Ok(())
    }

    fn set_reachable(&self, reachable: bool) -> Result<(), String> {
        self.replica.set_reachable(reachable);
        Ok(())
    }
}
