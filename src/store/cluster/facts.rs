//! What the nodes of a cluster say of themselves, put together, and what is asked of it beside a run.

use async_trait::async_trait;
use futures::future::join_all;

use crate::model::{DbIndex, HostPort, Key};
use crate::store::{
    Access, Deployment, Facts, FunctionOrder, Health, Installed, Refusal, Replica, Sample,
    StoreError, Topology, functions,
};

use super::{ClusterReplica, PAUSES, map, slot_map};

impl ClusterReplica {
    pub(super) async fn facts_of_all(&self) -> Result<Facts, StoreError> {
        let map = self.settled().await?;
        let asked = map
            .masters()
            .iter()
            .map(|one| async { self.node(one).facts().await });
        let mut all: Option<Facts> = None;
        for facts in join_all(asked.collect::<Vec<_>>()).await {
            let facts = facts?;
            all = Some(match all {
                None => facts,
                Some(before) => joined(before, facts),
            });
        }
        let all =
            all.ok_or_else(|| self.unreachable("INFO", "the cluster has no masters".into()))?;
        Ok(Facts {
            run_id: map.identity.clone(),
            replication_id: map.identity.clone(),
            clustered: false,
            ..all
        })
    }

    /// The worst of its masters counts: a repair is felt wherever it is felt.
    pub(super) async fn worst_health(&self) -> Result<Health, StoreError> {
        let map = self.current().await?;
        let asked = map
            .masters()
            .iter()
            .map(|one| async { self.node(one).health().await });
        let mut all: Option<Health> = None;
        for health in join_all(asked.collect::<Vec<_>>()).await {
            let health = match health {
                Ok(health) => health,
                Err(error) => {
                    // The next look goes to the master that takes its place.
                    self.settled().await?;
                    return Err(error);
                }
            };
            all = Some(match all {
                None => health,
                Some(before) => worse(before, health),
            });
        }
        all.ok_or_else(|| self.unreachable("INFO", "the cluster has no masters".into()))
    }
}

/// The facts of two masters as those of one: the older version, the fuller memory.
pub(in crate::store) fn joined(one: Facts, other: Facts) -> Facts {
    let mut keys = one.keys.clone();
    for (db, count) in &other.keys {
        *keys.entry(*db).or_default() += count;
    }
    let (evicted, saving) = (
        one.evicted_keys + other.evicted_keys,
        one.saving || other.saving,
    );
    let (loading, uptime) = (one.loading || other.loading, one.uptime.min(other.uptime));
    let version = match other.release() < one.release() {
        true => (other.product, other.version.clone()),
        false => (one.product, one.version.clone()),
    };
    let capabilities = one.capabilities.and(other.capabilities);
    let fuller = match fullness(&other) > fullness(&one) {
        true => other,
        false => one,
    };
    Facts {
        keys,
        evicted_keys: evicted,
        saving,
        loading,
        uptime,
        capabilities,
        product: version.0,
        version: version.1,
        ..fuller
    }
}

fn fullness(facts: &Facts) -> f64 {
    match facts.max_memory {
        0 => 0.0,
        limit => facts.used_memory as f64 / limit as f64,
    }
}

/// Of two healths the worse.
pub(in crate::store) fn worse(one: Health, other: Health) -> Health {
    let fullness = |health: &Health| match health.max_memory {
        0 => 0.0,
        limit => health.used_memory as f64 / limit as f64,
    };
    let fuller = match fullness(&other) > fullness(&one) {
        true => &other,
        false => &one,
    };
    Health {
        latency: one.latency.max(other.latency),
        time: one.time,
        link_down: one.link_down || other.link_down,
        handing_over: one.handing_over || other.handing_over,
        loading: one.loading || other.loading,
        saving: one.saving || other.saving,
        copied_on_write: one.copied_on_write.max(other.copied_on_write),
        used_memory: fuller.used_memory,
        max_memory: fuller.max_memory,
        evicts: one.evicts || other.evicts,
        role: one.role,
    }
}

#[async_trait]
impl Deployment for ClusterReplica {
    fn endpoint(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(HostPort::to_string).collect();
        seeds.join(",")
    }

    fn user(&self) -> &str {
        self.connecting.username.as_deref().unwrap_or("default")
    }

    /// What any master refuses.
    async fn rehearse(&self, facts: &Facts, access: Access) -> Result<Vec<Refusal>, StoreError> {
        let map = self.current().await?;
        let mut refusals: Vec<Refusal> = Vec::new();
        for master in map.masters() {
            let found = self.node(master).rehearse(facts, access).await?;
            for refusal in found {
                if refusals
                    .iter()
                    .all(|known| known.command != refusal.command)
                {
                    refusals.push(refusal);
                }
            }
        }
        Ok(refusals)
    }

    async fn sample(&self, db: Option<DbIndex>, keys: usize) -> Result<Sample, StoreError> {
        let map = self.current().await?;
        let share = keys / map.masters().len().max(1) + 1;
        let mut all = Sample::default();
        for master in map.masters() {
            let part = self.node(master).sample(db, share).await?;
            all.names.extend(part.names);
            all.read += part.read;
            all.bytes += part.bytes;
        }
        Ok(all)
    }

    async fn remove_own(&self, db: Option<DbIndex>, keys: &[Key]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for key in keys {
            let one = std::slice::from_ref(key);
            let done = at_owner!(self, key, |node| node.remove_own(db, one));
            removed += done?;
        }
        Ok(removed)
    }

    async fn install_functions(
        &self,
        _order: &FunctionOrder,
    ) -> Result<Vec<Installed>, StoreError> {
        Err(StoreError::Refused {
            replica: self.name.clone(),
            command: "FUNCTION".into(),
            reason: functions::CLUSTERED.into(),
        })
    }

    async fn topology(&self) -> Result<Option<Topology>, StoreError> {
        Ok(Some(self.settled().await?.topology()))
    }
}
