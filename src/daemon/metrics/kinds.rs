//! What kind of divergence a finding is, beyond what a comparison sees. Pure.

use std::collections::BTreeSet;

use crate::crdt::Decided;
use crate::model::ReplicaName;
use crate::repair::{Change, DifferenceKind, Fate, Finding, Verdict};

/// What a divergence looks like to who has to judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Divergence {
    /// Some replicas lack the key.
    Missing,
    /// The types differ.
    Type,
    /// Only the expiries differ.
    Expiry,
    /// The values differ, and some replica holds what all should: the others are behind.
    Stale,
    /// The values differ, and no replica holds what all should, or a preference had to choose, or it stays open.
    Conflict,
    /// The values differ, and nothing was merged: who is behind is not known.
    Undecided,
}

impl Divergence {
    pub(super) const ALL: [Self; 6] = [
        Self::Missing,
        Self::Stale,
        Self::Conflict,
        Self::Type,
        Self::Expiry,
        Self::Undecided,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Conflict => "conflict",
            Self::Type => "type",
            Self::Expiry => "expiry",
            Self::Undecided => "undecided",
        }
    }

    pub(super) fn of(finding: &Finding) -> Self {
        match finding.difference {
            DifferenceKind::Missing => Self::Missing,
            DifferenceKind::Type => Self::Type,
            DifferenceKind::Expiry => Self::Expiry,
            DifferenceKind::Value => of_values(finding),
        }
    }
}

fn of_values(finding: &Finding) -> Divergence {
    if finding.rule.is_none() {
        return Divergence::Undecided;
    }
    if matches!(finding.verdict, Verdict::Unresolved(_)) {
        return Divergence::Conflict;
    }
    let is_settled = match &finding.decided {
        Some(decided) => *decided == Decided::Unopposed.to_string(),
        None => {
            let changed = finding.changes.iter().map(|change| &change.replica);
            let changed: BTreeSet<&ReplicaName> = changed.collect();
            changed.len() < finding.holdings.iter().flatten().count()
        }
    };
    match is_settled {
        true => Divergence::Stale,
        false => Divergence::Conflict,
    }
}

/// Verdicts that leave something different which was written.
pub(super) const RESIDUES: [&str; 6] = [
    "superseded",
    "unresolved",
    "refused",
    "unreadable",
    "unfinished",
    "held-back",
];

/// Whether something was written and the key could not be seen alike afterwards.
pub(super) fn is_residue(finding: &Finding) -> bool {
    let applied = |change: &Change| change.fate == Fate::Applied;
    finding.verdict != Verdict::Repaired && finding.changes.iter().any(applied)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::finding;
    use super::*;

    #[test]
    fn kinds_of_divergence() {
        let opposed = || Some("held by the majority".to_owned());
        let unopposed = || Some(Decided::Unopposed.to_string());
        let open = || Verdict::Unresolved("skip".into());
        let (value, lww) = (DifferenceKind::Value, Some("lww"));
        let table = [
            (
                DifferenceKind::Missing,
                lww,
                opposed(),
                1,
                Verdict::Repaired,
                "missing",
            ),
            (
                DifferenceKind::Type,
                lww,
                opposed(),
                1,
                Verdict::Repaired,
                "type",
            ),
            (
                DifferenceKind::Expiry,
                lww,
                None,
                1,
                Verdict::Repaired,
                "expiry",
            ),
            (value, None, None, 0, Verdict::Diverged, "undecided"),
            (value, lww, unopposed(), 1, Verdict::Repaired, "stale"),
            (value, lww, opposed(), 1, Verdict::Repaired, "conflict"),
            (value, lww, unopposed(), 0, open(), "conflict"),
            (value, Some("add-wins"), None, 1, Verdict::Repaired, "stale"),
            (
                value,
                Some("add-wins"),
                None,
                2,
                Verdict::Repaired,
                "conflict",
            ),
        ];
        for (difference, rule, decided, changed, verdict, expected) in table {
            let mut finding = finding(changed, verdict);
            (finding.difference, finding.rule, finding.decided) = (difference, rule, decided);
            assert_eq!(Divergence::of(&finding).name(), expected, "{finding:?}");
        }
    }

    #[test]
    fn what_was_written_and_differs_still_is_a_residue() {
        assert!(is_residue(&finding(1, Verdict::Superseded)));
        assert!(!is_residue(&finding(1, Verdict::Repaired)));
        assert!(!is_residue(&finding(0, Verdict::Superseded)));
    }
}
