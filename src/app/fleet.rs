//! The replicas of a configuration, and the run over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, ReplicaConfig};
use crate::model::{
    Address, Credentials, Datacenter, DbIndex, DigestKey, HostPort, ReplicaName, Selection,
};
use crate::repair::{
    Breaker, Mode, Participant, Planned, Progress, Rates, Run, Scope, Settings, Throttle,
};
use crate::state::StateError;
use crate::store::{
    ClusterReplica, Connecting, Endpoint, RackReplica, RedisReplica, Replica, SharedDeployment,
    StoreError,
};

use super::journal::Unkept;
use super::memory::Unremembered;

/// Why nothing could be begun.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A replica.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two names for one server.
    #[error(
        "replicas {first} and {second} are the same server and database (run_id {run_id}, database {db}): \
         there is nothing to compare, check their addresses"
    )]
    SameServer {
        /// The one.
        first: ReplicaName,
        /// The other.
        second: ReplicaName,
        /// The server.
        run_id: String,
        /// The database.
        db: DbIndex,
    },
    /// Fewer than two replicas can be reached.
    #[error("fewer than two replicas can be reached: {0}")]
    TooFew(String),
    /// A replica is not fit for what is asked.
    #[error("replica {replica}: {problem}")]
    Unfit {
        /// The replica.
        replica: ReplicaName,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The system gives no randomness.
    #[error("the system gives no random bytes: {0}")]
    Randomness(String),
    /// What runs remember.
    #[error(transparent)]
    Memory(#[from] Unremembered),
    /// The file with what runs overwrite.
    #[error(transparent)]
    Journal(#[from] Unkept),
}

impl Trouble {
    /// Where the service is asked that works on the state directory, if one does.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Memory(Unremembered::State(StateError::Locked { holder, .. })) => {
                holder.service()
            }
            _ => None,
        }
    }

    /// Whether somebody else works on the state directory.
    pub fn is_locked(&self) -> bool {
        let locked = |error: &StateError| matches!(error, StateError::Locked { .. });
        match self {
            Self::Memory(Unremembered::State(error)) | Self::Journal(Unkept::File(error)) => {
                locked(error)
            }
            _ => false,
        }
    }
}

/// The replicas of a configuration, in datacenter order. Nothing is connected yet.
pub struct Fleet {
    /// As servers.
    pub servers: Vec<SharedDeployment>,
    /// As participants of a run.
    pub participants: Vec<Participant>,
    /// How gently they are worked on, by all runs over this fleet.
    pub throttle: Arc<Throttle>,
}

impl Fleet {
    /// The replicas of a configuration.
    ///
    /// # Errors
    /// When a password cannot be read.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let depth = config.limits.pipeline.get();
        let (mut servers, mut participants) = (Vec::new(), Vec::new());
        for replica in &config.replicas {
            let credentials = replica.credentials()?;
            let connecting = Connecting {
                endpoint: endpoint(&replica.address, replica.sentinel_credentials()?),
                username: credentials.username,
                password: credentials
                    .password
                    .map(|secret| secret.expose().to_owned()),
                tls: replica.tls.clone(),
                asking: false,
                read_follower: replica.read_follower,
                follower: false,
                db: replica.db,
                connect_timeout: replica.connect_timeout,
                read_timeout: replica.read_timeout,
            };
            let server = deployment(replica, connecting, depth);
            participants.push(Participant {
                replica: server.clone() as Arc<dyn Replica>,
                datacenter: replica.datacenter.clone(),
                default_db: replica.db,
            });
            servers.push(server);
        }
        Ok(Self {
            servers,
            participants,
            throttle: Arc::new(throttle(config)),
        })
    }

    /// The same, at the pace of a throttle that outlives it.
    #[must_use]
    pub fn at_pace_of(self, throttle: Arc<Throttle>) -> Self {
        Self { throttle, ..self }
    }

    /// Names and datacenters, in order.
    pub fn columns(&self) -> Vec<(ReplicaName, Datacenter)> {
        let column = |one: &Participant| (one.replica.name().clone(), one.datacenter.clone());
        self.participants.iter().map(column).collect()
    }
}

fn deployment(replica: &ReplicaConfig, connecting: Connecting, depth: usize) -> SharedDeployment {
    let name = replica.name.clone();
    if let Some(rack) = replica.rack.as_ref().filter(|rack| rack.nodes.len() > 1) {
        let at = |address| Connecting {
            endpoint: endpoint(address, None),
            ..connecting.clone()
        };
        let nodes = rack.nodes.iter().map(at).collect();
        return Arc::new(RackReplica::new(name, rack.ring.clone(), nodes, depth));
    }
    match &replica.address {
        Address::Cluster(seeds) => {
            let seeds = seeds.clone();
            Arc::new(ClusterReplica::new(name, connecting, seeds, depth))
        }
        Address::Tcp { .. } | Address::Unix(_) | Address::Sentinel { .. } => {
            Arc::new(RedisReplica::new(name, connecting, depth))
        }
    }
}

/// Where connections go; those of a cluster to whichever node is asked, and first to one that is named.
fn endpoint(address: &Address, of_sentinels: Option<Credentials>) -> Endpoint {
    match address {
        Address::Tcp { host, port } => Endpoint::Tcp {
            host: host.clone(),
            port: *port,
        },
        Address::Unix(path) => Endpoint::Unix(path.clone()),
        Address::Sentinel { sentinels, master } => Endpoint::Sentinel {
            sentinels: sentinels.clone(),
            master: master.clone(),
            credentials: of_sentinels,
        },
        Address::Cluster(seeds) => {
            let first = seeds.first().cloned();
            let HostPort { host, port } = first.expect("a url names a host");
            Endpoint::Tcp { host, port }
        }
    }
}

/// What a command asks of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How far it goes.
    pub mode: Mode,
    /// How many divergences are repaired at the most.
    pub limit: Option<u64>,
    /// Whether to write to replicas that carry markers.
    pub force_markers: bool,
    /// So many keys of a replica may be overwritten whatever the guards say.
    pub force_overwrites: Option<u64>,
    /// So many keys of a replica may be deleted whatever the guards say.
    pub force_deletes: Option<u64>,
}

/// How gently a configuration's runs work.
pub fn throttle(config: &Config) -> Throttle {
    let rates = Rates::from(&config.limits);
    Throttle::new(Arc::new(SystemClock), rates).probing(Throttle::PROBING)
}

/// The run that a configuration, a selection and a plan make, without memory.
///
/// # Errors
/// When the system gives no random bytes.
pub fn plan(
    config: &Config,
    fleet: &Fleet,
    selection: Selection,
    plan: Plan,
    stop: CancellationToken,
) -> Result<Run, Trouble> {
    let limits = &config.limits;
    Ok(Run {
        participants: fleet.throttle.pace(&fleet.participants, &stop),
        throttle: Arc::clone(&fleet.throttle),
        scope: Scope::new(config.keyspaces.clone(), selection).of_layout(config.layout()),
        settings: Settings {
            mode: plan.mode,
            memory: limits.memory.as_u64(),
            settle: config.guards.settle,
            limit: plan.limit,
            force_markers: plan.force_markers,
            replicates: config.replicates.is_some(),
            max_skew: config.stamps.max_skew,
            tombstone_grace: config.stamps.tombstone_grace,
            breaker: Breaker {
                max_delete_ratio: config.guards.max_delete_ratio,
                max_overwrite_ratio: config.guards.max_overwrite_ratio,
                force_deletes: plan.force_deletes.unwrap_or(0),
                force_overwrites: plan.force_overwrites.unwrap_or(0),
                before: Planned::default(),
            },
        },
        segments: BTreeMap::new(),
        digest_key: DigestKey::new(random()?),
        tag: u128::from_le_bytes(random()?),
        clock: Arc::new(SystemClock),
        stop,
        progress: Arc::new(Progress::default()),
        memory: None,
        journal: None,
    })
}

pub(super) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Trouble> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::Randomness(error.to_string()))?;
    Ok(bytes)
}
