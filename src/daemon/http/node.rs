//! How replicas are, as the API shows it: what the latest look saw, and what a run waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::daemon::desk::Desk;
use crate::model::{Datacenter, ReplicaName};
use crate::repair::{NodeHealth, Reason};
use crate::store::Health;

/// A replica as it is, and how a run is held up by it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Node {
    /// Its name.
    name: String,
    /// Its datacenter.
    datacenter: String,
    /// What the run that works waits for at this moment: a limit, a pause, or that the node is not well; null where
    /// work goes on.
    waiting_for: Option<String>,
    /// How long was waited since the service began, in milliseconds, by reason; noughts are left out.
    waited_ms: BTreeMap<String, u64>,
    /// The latest look at it. Nodes are looked at while a run works: null before the first one.
    health: Option<Look>,
}

/// The latest look at a node.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Look {
    /// What speaks against working on it as fast as the limits allow; null: it is well.
    reason: Option<String>,
    /// The share of the allowed time that it is worked on; below 1 while it is slow.
    share: f64,
    /// How long it took to answer PING, in seconds; null if it could not be seen.
    latency_seconds: Option<f64>,
    /// The latency that is usual for it, in seconds.
    usual_latency_seconds: Option<f64>,
    /// How far its clock is ahead of ours, in milliseconds.
    clock_ahead_ms: Option<i64>,
    /// Whether it is loading its data.
    loading: bool,
    /// Whether it is saving in a child process.
    saving: bool,
    /// Bytes in use; null if it could not be seen.
    used_memory: Option<u64>,
    /// Bytes that it may use; 0 is unlimited, null if it could not be seen.
    max_memory: Option<u64>,
}

/// The configured replicas, in the order of the configuration.
pub(super) fn nodes(desk: &Desk) -> Vec<Node> {
    let (looks, waiting, waits) = (
        desk.throttle.health(),
        desk.throttle.waiting_for(),
        desk.throttle.waits(),
    );
    let works = desk.current().is_some();
    let config = desk.config();
    let replicas = config.replicas.iter();
    let node = |(name, datacenter): (&ReplicaName, &Datacenter)| {
        let waits_now = waiting.iter().find(|(one, _)| one == name);
        let waits_now = waits_now.and_then(|(_, reason)| reason.filter(|_| works));
        let waited = waits.iter().filter(|(one, _, _)| one == name);
        Node {
            name: name.0.clone(),
            datacenter: datacenter.0.clone(),
            waiting_for: waits_now.map(named),
            waited_ms: waited
                .map(|(_, reason, time)| (named(*reason), millis(*time)))
                .collect(),
            health: looks.iter().find(|one| one.replica == *name).map(Look::of),
        }
    };
    replicas
        .map(|one| node((&one.name, &one.datacenter)))
        .collect()
}

impl Look {
    fn of(node: &NodeHealth) -> Self {
        let sample = node.sample.as_ref();
        let number = |of: fn(&Health) -> u64| sample.map(of);
        Self {
            reason: node.reason.map(named),
            share: node.share,
            latency_seconds: sample.map(|sample| sample.latency.as_secs_f64()),
            usual_latency_seconds: node.baseline.map(|usual| usual.as_secs_f64()),
            clock_ahead_ms: node.skew_millis,
            loading: sample.is_some_and(|sample| sample.loading),
            saving: sample.is_some_and(|sample| sample.saving),
            used_memory: number(|sample| sample.used_memory),
            max_memory: number(|sample| sample.max_memory),
        }
    }
}

fn named(reason: Reason) -> String {
    reason.name().into()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
