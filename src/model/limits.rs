//! How much a run may take, and how much it may change: limits, guards, the agreement's bounds.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

/// A share between 0 and 1, both included.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// A ratio; nothing for a number outside 0..=1 or NaN.
    pub fn new(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The share of time spent working: a thousandth at least, at most 1. With less, a run would seem to stand still.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Intensity(f64);

impl Intensity {
    /// Working all the time.
    pub const FULL: Self = Self(1.0);

    /// The least.
    pub const LEAST: f64 = 0.001;

    /// An intensity; nothing for a number outside [0.001, 1] or NaN.
    pub fn new(number: f64) -> Option<Self> {
        (Self::LEAST..=1.0)
            .contains(&number)
            .then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// How fast and how big a run may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Keys read per second and replica; nothing means unlimited.
    pub keys_per_second: Option<NonZeroU64>,
    /// Bytes read per second and replica; nothing means unlimited.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The share of time spent working.
    pub intensity: Intensity,
    /// Commands on the way to a server at once: a foreground client waits as long as the pipeline it meets.
    pub pipeline: NonZeroUsize,
    /// Memory that entries may take; beyond it the work is done in two passes.
    pub memory: ByteSize,
    /// About how long a segment of a large database takes to read: what is done again at most after a run was cut off.
    pub segment: Duration,
}

impl Limits {
    /// The default pipeline: what a foreground client hardly feels.
    pub const DEFAULT_PIPELINE: NonZeroUsize = NonZeroUsize::new(10).expect("ten is not zero");

    /// The default segment: its scan of names is a small share of it, and a window has room for several.
    pub const DEFAULT_SEGMENT: Duration = Duration::from_secs(300);

    /// The shortest segment that is accepted.
    pub const SHORTEST_SEGMENT: Duration = Duration::from_secs(1);

    /// The longest pipeline that is accepted.
    pub const MAX_PIPELINE: usize = 10_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys_per_second: None,
            bytes_per_second: None,
            intensity: Intensity::FULL,
            pipeline: Self::DEFAULT_PIPELINE,
            memory: ByteSize::gib(1),
            segment: Self::DEFAULT_SEGMENT,
        }
    }
}

/// What stops a run before it does harm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guards {
    /// The share of a replica's keys that a run may delete.
    pub max_delete_ratio: Ratio,
    /// The share of a replica's keys that a run may overwrite.
    pub max_overwrite_ratio: Ratio,
    /// The pause between the tree diff and the second read.
    pub settle: Duration,
}

impl Guards {
    /// The longest pause: who writes a longer one has mistaken the unit.
    pub const MAX_SETTLE: Duration = Duration::from_secs(60 * 60);
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            max_delete_ratio: Ratio(0.01),
            max_overwrite_ratio: Ratio(0.2),
            settle: Duration::from_secs(1),
        }
    }
}

/// How stamps beside the data are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampBounds {
    /// How far in the future a stamp may lie: one that lies further is not believed.
    pub max_skew: Duration,
    /// How old a tombstone must be that all replicas have before it is dropped.
    pub tombstone_grace: Duration,
}

impl Default for StampBounds {
    fn default() -> Self {
        Self {
            max_skew: Duration::from_secs(60),
            tombstone_grace: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The bounds of the agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreementBounds {
    /// Collections with more elements are agreed upon by whole key.
    pub elements: u64,
    /// How long removals are remembered for those that lag.
    pub history: Duration,
}

impl Default for AgreementBounds {
    fn default() -> Self {
        Self {
            elements: 4096,
            history: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// Where runs keep what they remember.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StateDir {
    /// In this directory.
    At(PathBuf),
    /// Where the system keeps the state of its services, or else the user that of programs.
    #[default]
    Usual,
    /// Nowhere: no memory, no markers, nothing is ever removed.
    Nowhere,
}

/// How much of the journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalBounds {
    /// What runs wrote that ended longer ago is forgotten.
    pub age: Duration,
    /// Beyond this size, the oldest is forgotten.
    pub size: ByteSize,
}

impl Default for JournalBounds {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(30 * 24 * 60 * 60),
            size: ByteSize::gib(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_intensities_outside_their_range_do_not_exist() {
        for number in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::new(number), None, "{number}");
            assert_eq!(Intensity::new(number), None, "{number}");
        }
        for number in [0.0, 1e-8, 0.0009] {
            assert_eq!(Intensity::new(number), None, "{number}");
        }
        assert_eq!(Intensity::new(0.001).map(Intensity::get), Some(0.001));
        assert_eq!(Ratio::new(0.0).map(Ratio::get), Some(0.0));
        assert_eq!(Ratio::new(1.0).map(Ratio::get), Some(1.0));
        assert_eq!(Intensity::new(1.0), Some(Intensity::FULL));
    }
}
