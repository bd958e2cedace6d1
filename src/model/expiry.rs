//! When a key or field ends: an absolute time, or never.

use std::fmt;
use std::time::Duration;

/// A point in time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// This time moved on by a duration, at most to the last representable one.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// When a key ends. Ordered by length of life, so the greatest is the longest: none is longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expiry {
    /// At this absolute time.
    At(Millis),
    /// It has none.
    Never,
}

impl Expiry {
    /// Whether the key is gone at this time.
    pub fn has_passed(self, now: Millis) -> bool {
        match self {
            Self::At(at) => at <= now,
            Self::Never => false,
        }
    }

    /// Whether the key will be gone by `now + horizon`.
    pub fn within(self, now: Millis, horizon: Duration) -> bool {
        self.has_passed(now.plus(horizon))
    }

    /// One number for digests and records: milliseconds, or `i64::MAX` for never.
    pub fn as_millis(self) -> i64 {
        match self {
            Self::At(at) => at.0,
            Self::Never => i64::MAX,
        }
    }

    /// The inverse of [`Expiry::as_millis`].
    pub fn from_millis(millis: i64) -> Self {
        if millis == i64::MAX {
            Self::Never
        } else {
            Self::At(Millis(millis))
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => write!(f, "{}", at.0),
            Self::Never => f.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_longest() {
        assert!(Expiry::Never > Expiry::At(Millis(i64::MAX - 1)));
        assert!(Expiry::At(Millis(2)) > Expiry::At(Millis(1)));
    }

    #[test]
    fn horizon_is_inclusive() {
        let expiry = Expiry::At(Millis(61_000));
        assert!(expiry.within(Millis(1_000), Duration::from_secs(60)));
        assert!(!expiry.within(Millis(999), Duration::from_secs(60)));
        assert!(!Expiry::Never.within(Millis(i64::MAX), Duration::MAX));
    }
}
