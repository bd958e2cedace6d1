//! Whether a node is well enough to be worked on: PURE, from one look a second.
//!
//! ```text
//! latency  over its baseline: work less, step by step; back to it: work more, step by step
//! state    loading, saving, failing over, memory, unseen: wait, up to a bound
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::store::{Health, Role};

use super::Reason;

/// Looks of which the median counts: one late answer is chance.
const RECENT: usize = 3;

/// A latency that is so much above the baseline is slow, or one twice the baseline if that is more. Our own pipelines
/// take a part of it, so it is more than what they cost a server that is well.
const SLOW: Duration = Duration::from_millis(10);

/// The least share of its time that a slow node is worked on.
const LEAST_SHARE: f64 = 1.0 / 16.0;

/// What a slow look makes of the share, and a good one.
const SLOWER: f64 = 0.7;
const FASTER: f64 = 1.25;

/// How fast the baseline follows: down, up, and up while the node is slow, when only a lasting change counts.
const DOWN: f64 = 0.2;
const UP: f64 = 0.02;
const UP_SLOW: f64 = 0.002;

/// Copied on write is much from here on, and from a fifth of the memory in use.
const MUCH_COPIED: u64 = 64 << 20;

/// What is to be done about a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// Nothing is to be done until this has passed.
    pub(super) hold: Option<Reason>,
    /// The share of the allowed time to work; below 1 the node is slow.
    pub(super) share: f64,
}

impl Verdict {
    pub(super) const WELL: Self = Self {
        hold: None,
        share: 1.0,
    };

    /// What there is to say against working as fast as the limits allow.
    pub(super) fn reason(&self) -> Option<Reason> {
        let slow = (self.share < 1.0).then_some(Reason::Latency);
        self.hold.or(slow)
    }
}

/// Judges one node.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// In microseconds.
    baseline: Option<f64>,
    recent: VecDeque<Duration>,
    /// One less the share.
    slowness: f64,
    is_master: Option<bool>,
    /// What was seen, and in how many looks by now.
    trouble: Option<(Reason, u32)>,
}

impl Judge {
    /// What a look means; nothing is one that failed.
    pub(super) fn look(&mut self, health: Option<&Health>) -> Verdict {
        let trouble = match health {
            Some(health) => {
                self.time(health.latency);
                self.state(health)
            }
            None => Some(Reason::Unseen),
        };
        self.trouble = trouble.map(|reason| match self.trouble {
            Some((before, looks)) if before == reason => (reason, looks.saturating_add(1)),
            Some(_) | None => (reason, 1),
        });
        let held = self
            .trouble
            .filter(|&(reason, looks)| looks <= longest(reason));
        Verdict {
            hold: held.map(|(reason, _)| reason),
            share: 1.0 - self.slowness,
        }
    }

    /// The latency that is usual.
    pub(super) fn baseline(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.baseline? as u64))
    }

    fn time(&mut self, latency: Duration) {
        self.recent.push_back(latency);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let median = self.median();
        let baseline = *self.baseline.get_or_insert(median);
        let slow = (SLOW.as_micros() as f64).max(baseline);
        let share = 1.0 - self.slowness;
        let (share, follow) = if median >= baseline + slow {
            ((share * SLOWER).max(LEAST_SHARE), UP_SLOW)
        } else if median < baseline + slow / 2.0 {
            ((share * FASTER).min(1.0), UP)
        } else {
            (share, UP)
        };
        self.slowness = 1.0 - share;
        let follow = if median < baseline { DOWN } else { follow };
        self.baseline = Some(baseline + (median - baseline) * follow);
    }

    fn median(&self) -> f64 {
        let mut recent: Vec<Duration> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        recent[recent.len() / 2].as_micros() as f64
    }

    fn state(&mut self, health: &Health) -> Option<Reason> {
        let is_master = health.role == Role::Master;
        let was_master = *self.is_master.get_or_insert(is_master);
        let copied = health.copied_on_write;
        let much_copied = copied >= MUCH_COPIED && copied >= health.used_memory / 5;
        let nearly_full = health.max_memory > 0
            && !health.evicts
            && health.used_memory >= health.max_memory - health.max_memory / 20;
        if health.loading {
            Some(Reason::Loading)
        } else if health.handing_over || health.link_down || was_master != is_master {
            Some(Reason::FailingOver)
        } else if health.saving && much_copied {
            Some(Reason::Saving)
        } else if nearly_full {
            Some(Reason::Memory)
        } else {
            None
        }
    }
}

/// For how many looks a state is waited for; after that the work goes on and the server's answers decide: a replica that
/// cannot be reached is lost, a write that is refused is reported.
fn longest(reason: Reason) -> u32 {
    match reason {
        Reason::Unseen => 30,
        Reason::FailingOver | Reason::Memory => 60,
        Reason::Saving => 5 * 60,
        Reason::Loading => 10 * 60,
        Reason::KeysPerSecond
        | Reason::BytesPerSecond
        | Reason::Intensity
        | Reason::Paused
        | Reason::Latency => 0,
    }
}

#[cfg(test)]
mod tests;
