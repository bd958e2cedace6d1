//! Finding out which node holds which slot, and waiting while a cluster fails over.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures::future::join_all;

use crate::model::HostPort;
use crate::store::{RedisReplica, StoreError, observe};

use super::slot_map::SlotMap;
use super::{ClusterReplica, PAUSES};

impl ClusterReplica {
    /// The node that holds a slot, as far as is known.
    pub(super) async fn owner(&self, slot: u16) -> Result<Arc<RedisReplica>, StoreError> {
        let map = self.current().await?;
        match map.owner(slot) {
            Some(owner) => Ok(self.node(owner)),
            None => Err(self.unreachable("CLUSTER", format!("no node holds slot {slot}"))),
        }
    }

    /// Where a key of this slot may be: at the node that holds the slot or, while it moves, behind it at the one that it
    /// goes to.
    pub(super) async fn holders(&self, slot: u16) -> Result<Vec<Arc<RedisReplica>>, StoreError> {
        let map = self.current().await?;
        match map.moving.get(&slot) {
            Some(between) => Ok(vec![self.node(&between.from), self.asking(&between.to)]),
            None => Ok(vec![self.owner(slot).await?]),
        }
    }

    /// What was last found out; found out now, if nothing was yet.
    pub(super) async fn current(&self) -> Result<Arc<SlotMap>, StoreError> {
        let known = self.known();
        match known {
            Some(map) => Ok(map),
            None => self.settled().await,
        }
    }

    fn known(&self) -> Option<Arc<SlotMap>> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.clone()
    }

    /// Asks the nodes who holds what, until every slot is held by a master that answers: a failover takes its time.
    ///
    /// # Errors
    /// When slots stay without a master, which are named, or nobody answers.
    pub(super) async fn settled(&self) -> Result<Arc<SlotMap>, StoreError> {
        // A cluster that was never whole is not waited for.
        let attempts = match self.reached.load(Ordering::Relaxed) {
            true => PAUSES.len(),
            false => 1,
        };
        let mut looked = self.look().await;
        for pause in &PAUSES[..attempts] {
            match looked {
                Ok(_) | Err(StoreError::Refused { .. } | StoreError::Protocol { .. }) => break,
                Err(_) => {
                    tokio::time::sleep(*pause).await;
                    looked = self.look().await;
                }
            }
        }
        let map = Arc::new(looked?);
        self.reached.store(true, Ordering::Relaxed);
        *self.map.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&map));
        Ok(map)
    }

    /// What the masters say now.
    async fn look(&self) -> Result<SlotMap, StoreError> {
        let by_name = self.connecting.tls.is_some();
        let first = self.first_view().await?;
        let masters = SlotMap::of(std::slice::from_ref(&first), by_name);
        let others = masters.masters().iter().filter(|one| **one != first.0);
        let others: Vec<HostPort> = others.cloned().collect();
        let asked = join_all(others.iter().map(|one| self.view(one))).await;
        let mut views = vec![first];
        let mut silent = Vec::new();
        for (other, answer) in others.into_iter().zip(asked) {
            match answer {
                Ok(view) => views.push(view),
                Err(error) => silent.push((other, error)),
            }
        }
        let map = SlotMap::of(&views, by_name);
        let uncovered = map.uncovered();
        if uncovered.len() > 0 {
            let reason = format!(
                "slots {uncovered} are held by no master that works: what stands in them cannot be told \
                 (redis-cli --cluster check shows the nodes)"
            );
            return Err(self.unreachable("CLUSTER", reason));
        }
        match silent
            .into_iter()
            .find(|(at, _)| map.masters().contains(at))
        {
            Some((_, error)) => Err(error),
            None => Ok(map),
        }
    }

    /// What the first node says that answers: those that are known, then those that are configured.
    async fn first_view(&self) -> Result<(HostPort, String), StoreError> {
        let known = self.known();
        let known = known.iter().flat_map(|map| map.nodes());
        let mut last = None;
        for node in known.chain(&self.seeds) {
            match self.view(node).await {
                Ok(view) => return Ok(view),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.unreachable("CLUSTER", "no node is named".into())))
    }

    async fn view(&self, at: &HostPort) -> Result<(HostPort, String), StoreError> {
        Ok((at.clone(), self.node(at).cluster_nodes().await?))
    }
}

/// Whether an error says that another node, or the same one a little later, may do what was asked; nothing was done.
pub(super) fn is_elsewhere(error: &StoreError) -> bool {
    match error {
        StoreError::Unreachable { .. } => true,
        StoreError::Refused { reason, .. } => observe::is_elsewhere(reason),
        StoreError::Protocol { .. }
        | StoreError::Fenced { .. }
        | StoreError::Marker { .. }
        | StoreError::Changed { .. } => false,
    }
}
