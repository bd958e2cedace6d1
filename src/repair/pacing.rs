//! How gently: limits that change while a run works, and waiting for nodes that are not well.
//!
//! ```text
//! run ──▶ Paced replica ──▶ Pacer ──▶ waits for: paused, health, keys, bytes, rest ──▶ server
//!                             ▲
//!            Throttle (limits, pause)    Judge ◀── a look a second (PING, INFO, TIME)
//! ```
//!
//! Each wait has a reason, and how long was waited is counted by it.

mod budget;
mod judge;
mod paced;
mod pacer;
mod probe;
mod reason;
mod throttle;

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::model::{Intensity, Limits, ReplicaName};
use crate::store::Health;

pub(crate) use probe::watched;
pub use reason::Reason;
pub use throttle::Throttle;

/// How fast a run may work on each replica.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Keys read and written per second; nothing means unlimited.
    pub keys_per_second: Option<NonZeroU64>,
    /// Bytes received and sent per second; nothing means unlimited.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The share of time spent working.
    pub intensity: Intensity,
}

impl Rates {
    /// As fast as it goes.
    pub const UNLIMITED: Self = Self {
        keys_per_second: None,
        bytes_per_second: None,
        intensity: Intensity::FULL,
    };
}

impl From<&Limits> for Rates {
    fn from(limits: &Limits) -> Self {
        Self {
            keys_per_second: limits.keys_per_second,
            bytes_per_second: limits.bytes_per_second,
            intensity: limits.intensity,
        }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = |limit: Option<NonZeroU64>| match limit {
            Some(limit) => limit.to_string(),
            None => "unlimited".into(),
        };
        write!(
            f,
            "keys_per_second {}, bytes_per_second {}, intensity {}",
            limit(self.keys_per_second),
            limit(self.bytes_per_second),
            self.intensity.get()
        )
    }
}

/// How a node was at the latest look.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeHealth {
    /// The replica.
    pub replica: ReplicaName,
    /// What speaks against working on it as fast as the limits allow; nothing: it is well.
    pub reason: Option<Reason>,
    /// The share of the allowed time that it is worked on; below 1 while it is slow.
    pub share: f64,
    /// The latency that is usual for it.
    pub baseline: Option<Duration>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub skew_millis: Option<i64>,
    /// What was seen; nothing: it could not be.
    pub sample: Option<Health>,
}
