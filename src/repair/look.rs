//! One look at a key on all replicas: enough to say whether it is in sync, and whether it has moved since.

use std::time::Duration;

use crate::merkle::Listed;
use crate::model::{
    Digester, Expect, Expiry, ExpiryPolicy, ExpiryRule, Kind, Memory, Millis, ValueDigest,
};
use crate::store::Observed;

use super::finding::DifferenceKind;

/// What one replica was seen to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Absent,
    Present {
        kind: Kind,
        digest: ValueDigest,
        expiry: Expiry,
    },
    Unreadable,
}

impl Look {
    /// From an entry of a tree.
    pub(crate) fn listed(listed: Option<&Listed<'_>>) -> Self {
        match listed {
            None => Self::Absent,
            Some(Listed::Unreadable { .. }) => Self::Unreadable,
            Some(Listed::Readable(entry)) => Self::Present {
                kind: entry.kind,
                digest: entry.digest,
                expiry: entry.expiry,
            },
        }
    }

    /// From a fresh read.
    pub(crate) fn observed(observed: &Observed, digester: &mut Digester) -> Self {
        match observed {
            Observed::Absent => Self::Absent,
            Observed::Unreadable(_) => Self::Unreadable,
            Observed::Whole(state) if state.value.is_void() => Self::Absent,
            Observed::Whole(state) => Self::Present {
                kind: state.value.kind(),
                digest: digester.value(&state.value),
                expiry: state.expiry,
            },
            Observed::Large(large) => Self::Present {
                kind: large.kind,
                digest: large.digest,
                expiry: large.expiry,
            },
        }
    }

    /// From what is remembered.
    pub(crate) fn remembered(memory: Option<&Memory>) -> Self {
        memory.map_or(Self::Absent, |memory| Self::Present {
            kind: memory.kind,
            digest: memory.digest,
            expiry: memory.expiry,
        })
    }

    /// The digest of the value; nothing where there is none.
    pub(crate) fn digest(&self) -> Option<ValueDigest> {
        match *self {
            Self::Present { digest, .. } => Some(digest),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// What a conditional write expects that follows from this look; nothing for what could not be read.
    pub(crate) fn expect(&self) -> Option<Expect> {
        match *self {
            Self::Absent => Some(Expect::Absent),
            Self::Present { digest, expiry, .. } => Some(Expect::Exactly { digest, expiry }),
            Self::Unreadable => None,
        }
    }

    pub(crate) fn expiry(&self) -> Option<Expiry> {
        match *self {
            Self::Present { expiry, .. } => Some(expiry),
            Self::Absent | Self::Unreadable => None,
        }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        match *self {
            Self::Present { kind, .. } => Some(kind),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// In what way the looks differ; nothing if they are alike under this expiry policy. What cannot be read is never alike.
pub(crate) fn difference(looks: &[Look], policy: &ExpiryPolicy) -> Option<DifferenceKind> {
    let present: Vec<(Kind, ValueDigest, Expiry)> = looks
        .iter()
        .filter_map(|look| match *look {
            Look::Present {
                kind,
                digest,
                expiry,
            } => Some((kind, digest, expiry)),
            Look::Absent | Look::Unreadable => None,
        })
        .collect();
    let unreadable = looks.contains(&Look::Unreadable);
    let Some(&(kind, digest, _)) = present.first() else {
        return unreadable.then_some(DifferenceKind::Value);
    };
    if looks.contains(&Look::Absent) {
        return Some(DifferenceKind::Missing);
    }
    if present.iter().any(|other| other.0 != kind) {
        return Some(DifferenceKind::Type);
    }
    if unreadable || present.iter().any(|other| other.1 != digest) {
        return Some(DifferenceKind::Value);
    }
    let alike = policy.rule == ExpiryRule::Ignore
        || expiries_alike(present.iter().map(|other| other.2), policy.tolerance);
    (!alike).then_some(DifferenceKind::Expiry)
}

/// Whether the greatest and the smallest differ by no more than the tolerance; a missing expiry never equals one.
fn expiries_alike(expiries: impl Iterator<Item = Expiry> + Clone, tolerance: Duration) -> bool {
    match (expiries.clone().min(), expiries.max()) {
        (Some(Expiry::At(least)), Some(greatest @ Expiry::At(_))) => {
            greatest <= Expiry::At(least.plus(tolerance))
        }
        (least, greatest) => least == greatest,
    }
}

/// Whether any sibling ends so soon that the key is left alone.
pub(crate) fn is_expiring(looks: &[Look], now: Millis, policy: &ExpiryPolicy) -> bool {
    looks
        .iter()
        .filter_map(Look::expiry)
        .any(|expiry| expiry.within(now, policy.horizon))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(digest: u8, expiry: Expiry) -> Look {
        let digest = ValueDigest::from_bytes([digest; ValueDigest::LENGTH]);
        Look::Present {
            kind: Kind::String,
            digest,
            expiry,
        }
    }

    fn at(millis: i64) -> Expiry {
        Expiry::At(Millis(millis))
    }

    #[test]
    fn tolerance_is_between_the_greatest_and_the_smallest() {
        let policy = ExpiryPolicy {
            tolerance: Duration::from_millis(10),
            ..ExpiryPolicy::default()
        };
        let looks = |expiries: &[i64]| -> Vec<Look> {
            expiries.iter().map(|&e| present(1, at(e))).collect()
        };
        assert_eq!(difference(&looks(&[100, 105, 110]), &policy), None);
        assert_eq!(
            difference(&looks(&[100, 108, 116]), &policy),
            Some(DifferenceKind::Expiry)
        );
    }

    #[test]
    fn a_missing_expiry_never_equals_a_present_one() {
        let policy = ExpiryPolicy {
            tolerance: Duration::MAX,
            ..ExpiryPolicy::default()
        };
        let looks = [present(1, at(100)), present(1, Expiry::Never)];
        assert_eq!(difference(&looks, &policy), Some(DifferenceKind::Expiry));
        let ignoring = ExpiryPolicy {
            rule: ExpiryRule::Ignore,
            ..policy
        };
        assert_eq!(difference(&looks, &ignoring), None);
    }

    #[test]
    fn what_cannot_be_read_is_never_alike() {
        let policy = ExpiryPolicy::default();
        assert!(difference(&[Look::Unreadable, Look::Unreadable], &policy).is_some());
        assert!(difference(&[Look::Unreadable, Look::Absent], &policy).is_some());
        assert_eq!(difference(&[Look::Absent, Look::Absent], &policy), None);
    }

    #[test]
    fn the_horizon_is_asked_of_every_sibling() {
        let policy = ExpiryPolicy {
            horizon: Duration::from_secs(1),
            ..ExpiryPolicy::default()
        };
        assert!(is_expiring(
            &[Look::Absent, present(1, at(1_500))],
            Millis(600),
            &policy
        ));
        assert!(!is_expiring(
            &[present(1, Expiry::Never), present(1, at(1_500))],
            Millis(400),
            &policy
        ));
    }
}
