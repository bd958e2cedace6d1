//! Reading everything from a server that follows, so that the one that is written is spared.
//!
//! ```text
//! master: how far are you? ─▶ a follower that is as far ─▶ SCAN there; fresh reads and writes stay at the master
//! ```
//!
//! A follower counts only once it has all that the master had when the reading began: so what is missing there was
//! missing at the master too. One that lags for longer, or is lost, is left, and the master is read.

use std::sync::Arc;
use std::time::Duration;

use crate::store::bulk::{Bulk, Names};
use crate::store::seal::SealError;
use crate::store::server_info::{self, Follower};
use crate::store::wire::{Connecting, Endpoint, WireError};
use crate::store::{EntrySink, Pace, ScanReport, ScanRequest, StoreError};

use super::RedisReplica;

/// How often it is asked whether a follower is as far, and the pause between: it says so once a second.
const LOOKS: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// Waits where another server takes the place of the one that was lost: a failover takes its time.
pub(super) const FAILOVER: [Duration; 12] = {
    let mut waits = [Duration::from_secs(2); 12];
    waits[0] = Duration::from_millis(100);
    waits[1] = Duration::from_millis(400);
    waits[2] = Duration::from_millis(1_000);
    waits
};

/// Waits where whoever asks knows another way: an idle connection that the server closed is replaced, no more.
const NO_BACKOFF: [Duration; 1] = [Duration::from_millis(20)];

impl RedisReplica {
    /// One node of a replica that has several, which knows what to do where a node is lost.
    pub(in crate::store) fn node(
        name: crate::model::ReplicaName,
        connecting: Connecting,
        depth: usize,
        meter: Arc<crate::store::wire::Meter>,
    ) -> Self {
        Self {
            pauses: &NO_BACKOFF,
            meter,
            ..Self::new(name, connecting, depth)
        }
    }

    /// Reads from a follower, if that is wanted and one is as far; nothing where the master is to be read.
    pub(super) async fn scan_follower(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Option<ScanReport> {
        if !self.connecting.read_follower {
            return None;
        }
        let follower = match self.follower().await {
            Ok(follower) => follower,
            Err(reason) => {
                tracing::warn!(replica = %self.name, %reason, "the master is read");
                return None;
            }
        };
        let names = Names::Scan(Some(0));
        let bulk = Bulk::new(request, names, self.depth, pace, sink);
        match follower.run_bulk(request.db, bulk).await {
            Ok(report) => Some(report),
            Err(reason) => {
                tracing::warn!(replica = %self.name, %reason, "the follower is lost, the master is read");
                None
            }
        }
    }

    /// A follower that has all that the master has now, or why there is none.
    async fn follower(&self) -> Result<Self, String> {
        let (goal, _) = self.followers().await.map_err(|error| error.to_string())?;
        for _ in 0..LOOKS {
            let (_, followers) = self.followers().await.map_err(|error| error.to_string())?;
            let Some(best) = followers.into_iter().max_by_key(|one| one.offset) else {
                return Err("no server follows it".into());
            };
            if best.offset >= goal {
                let Follower { host, port, .. } = best;
                let connecting = Connecting {
                    endpoint: Endpoint::Tcp { host, port },
                    read_follower: false,
                    follower: true,
                    ..self.connecting.clone()
                };
                let (name, meter) = (self.name.clone(), Arc::clone(&self.meter));
                return Ok(Self::node(name, connecting, self.depth, meter));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("no server that follows it has caught up within 10 s".into())
    }

    /// How far the master is, and who follows it.
    async fn followers(&self) -> Result<(u64, Vec<Follower>), StoreError> {
        retrying!(self, None, "INFO", |wire| server_info::followers(wire))
    }
}
