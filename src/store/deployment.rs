//! A replica as it is deployed: what is asked of it beside a run, and which nodes it consists of.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{DbIndex, HostPort, Key};

use super::{Access, Facts, FunctionOrder, Installed, Refusal, Replica, Sample, StoreError};

/// What a check, a cleaning or the beginning of a run asks of a replica.
#[async_trait]
pub trait Deployment: Replica {
    /// Where it is found, without user and password.
    fn endpoint(&self) -> String;

    /// The ACL user that it is used as.
    fn user(&self) -> &str;

    /// Tries the commands that an access needs, without writing: one round trip for reading, two for writing.
    /// Answers what was refused.
    ///
    /// # Errors
    /// When a server cannot be reached.
    async fn rehearse(&self, facts: &Facts, access: Access) -> Result<Vec<Refusal>, StoreError>;

    /// Looks at so many keys, to tell what reading all would take.
    ///
    /// # Errors
    /// When a server cannot be read.
    async fn sample(&self, db: Option<DbIndex>, keys: usize) -> Result<Sample, StoreError>;

    /// Removes keys that reknit itself wrote, in bounded commands. Answers how many were there.
    ///
    /// # Errors
    /// When a server cannot be reached or refuses.
    async fn remove_own(&self, db: Option<DbIndex>, keys: &[Key]) -> Result<u64, StoreError>;

    /// Loads the functions by which applications stamp what they write. Answers for each server.
    ///
    /// # Errors
    /// When a server cannot be reached or refuses; a cluster always does.
    async fn install_functions(&self, order: &FunctionOrder) -> Result<Vec<Installed>, StoreError>;

    /// The nodes that it consists of; nothing where it is one server.
    ///
    /// # Errors
    /// When nobody tells.
    async fn topology(&self) -> Result<Option<Topology>, StoreError>;
}

/// A replica, shared with a run.
pub type SharedDeployment = Arc<dyn Deployment>;

/// The nodes of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// The masters, by their address.
    pub masters: Vec<Shard>,
    /// Slots that move to another master at the moment.
    pub moving: Vec<u16>,
}

/// A master and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Where it listens.
    pub address: HostPort,
    /// The slots that it holds, as ranges with both ends.
    pub slots: Vec<(u16, u16)>,
    /// Where its replicas listen.
    pub replicas: Vec<HostPort>,
}
