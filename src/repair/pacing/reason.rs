//! Why a run waits for a replica, and for how long it did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why work on a replica waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// `limits.keys_per_second`.
    KeysPerSecond,
    /// `limits.bytes_per_second`.
    BytesPerSecond,
    /// `limits.intensity`.
    Intensity,
    /// The run is paused.
    Paused,
    /// The node answers later than it did.
    Latency,
    /// The node is loading its data.
    Loading,
    /// The node is saving while much is written.
    Saving,
    /// The node is failing over, or lost the one it follows.
    FailingOver,
    /// The node's memory is nearly full.
    Memory,
    /// The node's health cannot be seen.
    Unseen,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::KeysPerSecond,
        Self::BytesPerSecond,
        Self::Intensity,
        Self::Paused,
        Self::Latency,
        Self::Loading,
        Self::Saving,
        Self::FailingOver,
        Self::Memory,
        Self::Unseen,
    ];

    /// The name in reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeysPerSecond => "keys_per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Intensity => "intensity",
            Self::Paused => "paused",
            Self::Latency => "latency",
            Self::Loading => "loading",
            Self::Saving => "saving",
            Self::FailingOver => "failing_over",
            Self::Memory => "memory",
            Self::Unseen => "unseen",
        }
    }
}

/// How long was waited, by reason.
#[derive(Debug, Default)]
pub(super) struct Waited([AtomicU64; Reason::ALL.len()]);

impl Waited {
    pub(super) fn add(&self, reason: Reason, millis: i64) {
        let millis = u64::try_from(millis).unwrap_or(0);
        self.0[reason as usize].fetch_add(millis, Ordering::Relaxed);
    }

    /// Reasons that were waited for, with how long.
    pub(super) fn list(&self) -> impl Iterator<Item = (Reason, Duration)> + '_ {
        let all = Reason::ALL.into_iter().zip(&self.0);
        let all = all.map(|(reason, millis)| {
            (
                reason,
                Duration::from_millis(millis.load(Ordering::Relaxed)),
            )
        });
        all.filter(|(_, waited)| !waited.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{}", reason.name());
        }
    }

    #[test]
    fn what_was_not_waited_for_is_not_listed() {
        let waited = Waited::default();
        waited.add(Reason::Paused, 40);
        waited.add(Reason::Paused, 2);
        waited.add(Reason::Latency, -1);
        let listed: Vec<_> = waited.list().collect();
        assert_eq!(listed, [(Reason::Paused, Duration::from_millis(42))]);
    }
}
