//! Collections that are remembered "by whole key", because they have too many elements.
//!
//! One changed side that had seen the agreed version wins, as a register would. Else all candidates are united, so
//! nothing is lost but removals; the report says so.

use super::case::{Case, note};
use super::contest::{Contest, contest};
use super::element::{Collection, Decide, merge};
use super::outcome::{Evidence, Merged, Note, Outcome, Reason};
use super::{expiry, register};
use crate::model::{Digester, Kind, OnDeleteConflict};

/// The rule of collections that are remembered by whole key, as reports show it.
pub const BY_WHOLE_KEY: &str = "by whole key";

/// Whether something that is remembered of this collection has no elements.
pub(super) fn by_whole_key(case: &Case<'_>, kind: Kind) -> bool {
    let bases = case.sides.iter().filter_map(|side| side.base?.memory);
    !case.on_equal_terms
        && bases
            .chain(case.agreed_memory())
            .any(|memory| memory.kind == kind && memory.elements().is_none())
}

/// Merges such a collection.
pub(super) fn whole_key<C: Collection>(
    case: &Case<'_>,
    decide: Decide<C>,
    digester: &mut Digester,
) -> Merged {
    let contest = contest(
        &case.voices(),
        case.agreed_value(),
        OnDeleteConflict::UpdateWins,
    );
    let candidates = match &contest {
        Contest::Among(candidates) if candidates.known.len() > 1 => candidates,
        // Absent, a single candidate, or one that is elsewhere.
        _ => return register::settle(case, &contest, BY_WHOLE_KEY, Vec::new()),
    };
    if candidates.agreed_elsewhere {
        return register::open(case, Reason::Waits, BY_WHOLE_KEY, Vec::new());
    }
    let holders: Vec<_> = candidates
        .known
        .iter()
        .flat_map(|candidate| candidate.holders.iter().map(|(replica, _)| *replica))
        .collect();
    let mut united = merge::<C>(&case.united(&holders), BY_WHOLE_KEY, decide, digester);
    if let Outcome::Target(target) = &mut united.outcome {
        target.expiry = expiry::merged(case);
    }
    note(&mut united.notes, Note::UnitedByWholeKey);
    united.changes.key = true;
    Merged {
        evidence: Evidence::Agreed,
        ..united
    }
}
