//! The expiry of a merged key, where the winning value does not bring its own: collections, counters, joined
//! strings, and the agreed value.
//!
//! Of the siblings that changed it the longest, none is longest; where no changer had seen the agreed version, that
//! one counts as well. Nobody changed it: the agreed one; without an agreement the longest of all.
//!
//! Under `ignore` every replica that has the key keeps its own (see [`super::Target::at`]); the first in order gives
//! its expiry to a key that is created.

use super::case::{Case, Side};
use crate::model::{Expiry, ExpiryRule};

/// The expiry of the merged key.
pub(super) fn merged(case: &Case<'_>) -> Expiry {
    let agreed = case.agreed_memory().map(|memory| memory.expiry);
    let all = || present(case).map(|(_, expiry)| expiry);
    if case.policy.expiry.rule == ExpiryRule::Ignore {
        return all().next().or(agreed).unwrap_or(Expiry::Never);
    }
    let changers = || present(case).filter(|(side, expiry)| changed(case, side, *expiry));
    let longest = changers().map(|(_, expiry)| expiry).max();
    let stands = !changers().any(|(side, _)| side.base.is_some_and(|base| case.had_seen(&base)));
    match (agreed, longest) {
        (Some(agreed), Some(longest)) if stands => longest.max(agreed),
        (_, Some(longest)) => longest,
        (Some(agreed), None) => agreed,
        (None, None) => all().max().unwrap_or(Expiry::Never),
    }
}

fn present<'c, 'a>(case: &'c Case<'a>) -> impl Iterator<Item = (&'c Side<'a>, Expiry)> {
    case.sides
        .iter()
        .filter_map(|side| Some((side, side.state?.expiry)))
}

/// Whether a replica's clients gave the key this expiry. Some servers tell it with a jitter, hence the tolerance.
fn changed(case: &Case<'_>, side: &Side<'_>, now: Expiry) -> bool {
    side.base.is_some_and(|base| {
        base.memory
            .is_none_or(|memory| !within(case, memory.expiry, now))
    })
}

fn within(case: &Case<'_>, a: Expiry, b: Expiry) -> bool {
    match (a, b) {
        (Expiry::Never, Expiry::Never) => true,
        (Expiry::At(a), Expiry::At(b)) => {
            u128::from(a.0.abs_diff(b.0)) <= case.policy.expiry.tolerance.as_millis()
        }
        (Expiry::Never, Expiry::At(_)) | (Expiry::At(_), Expiry::Never) => false,
    }
}
