//! What is asked of a server beside a run.

use async_trait::async_trait;

use crate::model::{DbIndex, Key};
use crate::store::rehearsal::rehearse;
use crate::store::sample::sample;
use crate::store::seal::SealError;
use crate::store::wire::WireError;
use crate::store::{
    Access, Deployment, Facts, FunctionOrder, Installed, Refusal, Sample, StoreError, Topology,
    functions, server_info,
};

use super::RedisReplica;

#[async_trait]
impl Deployment for RedisReplica {
    fn endpoint(&self) -> String {
        self.connecting.endpoint.to_string()
    }

    fn user(&self) -> &str {
        self.connecting.username.as_deref().unwrap_or("default")
    }

    async fn rehearse(&self, facts: &Facts, access: Access) -> Result<Vec<Refusal>, StoreError> {
        let mut lease = self.lease(None, "MULTI").await?;
        let rehearsal = rehearse(&mut lease.wire, facts, access)
            .await
            .map_err(|error| self.failure("MULTI", error))?;
        if rehearsal.is_clean {
            self.give_back(lease);
        }
        Ok(rehearsal.refusals)
    }

    async fn sample(&self, db: Option<DbIndex>, keys: usize) -> Result<Sample, StoreError> {
        retrying!(self, db, "SCAN", |wire| sample(wire, keys, self.depth))
    }

    async fn remove_own(&self, db: Option<DbIndex>, keys: &[Key]) -> Result<u64, StoreError> {
        debug_assert!(
            keys.iter().all(Key::is_own),
            "only reknit's keys are removed"
        );
        let mut command: Vec<&[u8]> = vec![b"UNLINK"];
        command.extend(keys.iter().filter(|key| key.is_own()).map(Key::as_bytes));
        if command.len() == 1 {
            return Ok(0);
        }
        retrying!(self, db, "UNLINK", |wire| server_info::count_removed(
            wire, &command
        ))
    }

    async fn install_functions(&self, order: &FunctionOrder) -> Result<Vec<Installed>, StoreError> {
        let installed = retrying!(self, None, "FUNCTION", |wire| functions::install(
            wire, order
        ));
        installed.map(|one| vec![one])
    }

    async fn topology(&self) -> Result<Option<Topology>, StoreError> {
        Ok(None)
    }
}

impl RedisReplica {
    /// What a node of a cluster knows of all nodes.
    pub(in crate::store) async fn cluster_nodes(&self) -> Result<String, StoreError> {
        retrying!(self, None, "CLUSTER", |wire| server_info::cluster_nodes(
            wire
        ))
    }

    /// Sends a command that may be done twice as well as once.
    pub(in crate::store) async fn order(&self, words: &[&[u8]]) -> Result<(), StoreError> {
        let name = String::from_utf8_lossy(words[0]).into_owned();
        retrying!(self, None, &name, |wire| server_info::order(wire, words))
    }

    /// The names of all keys that a node of a cluster holds in a slot, at one moment.
    pub(in crate::store) async fn names_in_slot(&self, slot: u16) -> Result<Vec<Key>, StoreError> {
        retrying!(self, None, "CLUSTER", |wire| server_info::names_in_slot(
            wire, slot
        ))
    }
}
