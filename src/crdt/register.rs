//! Registers: one of the candidates wins, whole. Strings under `lww`, modules' values, and what falls back to it.
//!
//! # Convergence
//! Commutative and idempotent; associative under `greatest`. Among several values the policy's preference decides,
//! then the configured order. Every value came from some sibling. What loses is lost: that is the register rule.

use super::case::Case;
use super::contest::{Candidate, Contest, contest};
use super::expiry;
use super::order::Whole;
use super::outcome::{Changes, Decided, Note, Outcome, Reason, Target};
use super::prefer::{Choice, choose};
use super::{Evidence, Merged};
use crate::model::{Expiry, ExpiryRule, Value};

/// Merges a key as a register, under the name of this rule.
pub(super) fn merge(case: &Case<'_>, rule: &'static str, notes: Vec<Note>) -> Merged {
    let contest = contest(
        &case.voices(),
        case.agreed_value(),
        case.policy.on_delete_conflict,
    );
    settle(case, &contest, rule, notes)
}

/// Ends the contest of a register.
pub(super) fn settle<'a>(
    case: &Case<'a>,
    contest: &Contest<'a, Whole<'a>>,
    rule: &'static str,
    notes: Vec<Note>,
) -> Merged {
    match contest {
        Contest::Absent { changed } => gone(case, *changed, rule, notes),
        Contest::Among(candidates) => {
            match choose(candidates, &case.policy.prefer, case.siblings) {
                Choice::Winner(winner, decided) => won(case, winner, decided, rule, notes),
                Choice::Open(reason) => open(case, reason, rule, notes),
            }
        }
    }
}

/// The key should be absent.
pub(super) fn gone(case: &Case<'_>, changed: bool, rule: &'static str, notes: Vec<Note>) -> Merged {
    let target = target(case, None, Expiry::Never);
    answer(case, Outcome::Target(target), changed, rule, notes)
}

/// Nobody can say yet.
pub(super) fn open(
    case: &Case<'_>,
    reason: Reason,
    rule: &'static str,
    notes: Vec<Note>,
) -> Merged {
    answer(case, Outcome::Unresolved(reason), false, rule, notes)
}

/// The key should hold a value that was put together of several. Whether that is new, the caller knows.
pub(super) fn joined(
    case: &Case<'_>,
    value: Value,
    changed: bool,
    rule: &'static str,
    notes: Vec<Note>,
) -> Merged {
    let target = target(case, Some(value), expiry::merged(case));
    answer(case, Outcome::Target(target), changed, rule, notes)
}

fn won(
    case: &Case<'_>,
    winner: &Candidate<'_, Whole<'_>>,
    decided: Decided,
    rule: &'static str,
    notes: Vec<Note>,
) -> Merged {
    // A new value brings its own expiry; that of the agreed one may have been changed since, without its value.
    let expiry = match winner.changed {
        true => winner.expiry(case.policy.expiry.rule),
        false => expiry::merged(case),
    };
    let target = target(case, Some(winner.value.0.clone()), expiry);
    Merged {
        decided: Some(decided),
        winner: winner.source(),
        ..answer(case, Outcome::Target(target), winner.changed, rule, notes)
    }
}

/// A target without exceptions.
pub(super) fn target(case: &Case<'_>, value: Option<Value>, expiry: Expiry) -> Target {
    Target {
        value,
        expiry,
        keeps_own_expiry: case.policy.expiry.rule == ExpiryRule::Ignore,
        untouched: Default::default(),
        partial: case.shown.is_some(),
    }
}

/// An answer that no single sibling gave.
pub(super) fn answer(
    case: &Case<'_>,
    outcome: Outcome,
    changed: bool,
    rule: &'static str,
    notes: Vec<Note>,
) -> Merged {
    Merged {
        outcome,
        kind: None,
        rule,
        evidence: match (case.is_recorded(), case.remembers) {
            (true, _) => Evidence::Recorded,
            (false, true) => Evidence::Agreed,
            (false, false) => Evidence::None,
        },
        decided: None,
        winner: None,
        changes: Changes {
            key: changed && case.remembers,
            ..Changes::default()
        },
        notes,
        stamps: None,
    }
}
