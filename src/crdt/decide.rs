//! One element's value, where the contest left it present: by preference, by the greatest or least number, or as a
//! counter. What each collection's rule picks from.

use super::case::{Case, note};
use super::contest::{AgreedValue, Contest, Voice};
use super::counter::{NoTotal, Quantity, total};
use super::element::Collection;
use super::outcome::{Note, Reason};
use super::prefer::{Choice, choose};
use crate::model::{Amount, Expiry};

/// One element that is to be decided.
pub(super) struct Question<'c, 'a, C: Collection> {
    pub(super) case: &'c Case<'a>,
    pub(super) name: &'c C::Name,
    pub(super) voices: &'c [Voice<'a, C::Item>],
    pub(super) agreed: AgreedValue<C::Item>,
    pub(super) agreed_quantity: Quantity,
    pub(super) contest: Contest<'a, C::Item>,
}

/// The answer for one element.
#[derive(Debug)]
pub(super) enum Verdict<I> {
    /// It should be this.
    Present {
        item: I,
        expiry: Expiry,
        changed: bool,
    },
    /// It should be absent.
    Absent { changed: bool },
    /// Every replica keeps what it has.
    Untouched(Reason),
}

/// Decides an element as a register.
pub(super) fn prefer<C: Collection>(question: &Question<'_, '_, C>) -> Verdict<C::Item> {
    let policy = question.case.policy;
    let Contest::Among(candidates) = &question.contest else {
        return Verdict::Absent { changed: false };
    };
    match choose(candidates, &policy.prefer, question.case.siblings) {
        Choice::Open(reason) => Verdict::Untouched(reason),
        Choice::Winner(winner, _) => Verdict::Present {
            item: winner.value.clone(),
            expiry: winner.expiry(policy.expiry.rule),
            changed: winner.changed,
        },
    }
}

/// Decides an element whose candidates all are numbers by the greatest or least of them.
pub(super) fn extreme<C: Collection>(
    question: &Question<'_, '_, C>,
    better: fn(&Amount, &Amount) -> bool,
    notes: &mut Vec<Note>,
) -> Verdict<C::Item> {
    let Contest::Among(candidates) = &question.contest else {
        return Verdict::Absent { changed: false };
    };
    if candidates
        .known
        .iter()
        .any(|candidate| C::amount(&candidate.value).is_none())
    {
        if candidates.known.len() > 1 {
            note(notes, Note::NotANumber(Some(C::to_bytes(question.name))));
        }
        return prefer(question);
    }
    let beats = |a: &C::Item, b: &C::Item| match (C::amount(a), C::amount(b)) {
        (Some(a), Some(b)) => better(&a, &b),
        (None, _) | (_, None) => false,
    };
    let best = candidates.known.iter().reduce(|best, next| {
        if beats(&next.value, &best.value) {
            next
        } else {
            best
        }
    });
    match best {
        Some(best) if !candidates.agreed_elsewhere => Verdict::Present {
            item: best.value.clone(),
            expiry: best.expiry(question.case.policy.expiry.rule),
            changed: best.changed,
        },
        Some(_) | None => Verdict::Untouched(Reason::Waits),
    }
}

/// Decides an element as a counter; what is not a number on every side is a register.
pub(super) fn count<C: Collection>(
    question: &Question<'_, '_, C>,
    write: fn(Amount) -> C::Item,
    notes: &mut Vec<Note>,
) -> Verdict<C::Item> {
    let Question {
        voices,
        contest,
        agreed,
        agreed_quantity,
        ..
    } = question;
    let name = || Some(C::to_bytes(question.name));
    match total(voices, contest, agreed, *agreed_quantity, C::amount) {
        Ok(sum) => Verdict::Present {
            item: write(sum),
            expiry: counted_expiry(question),
            changed: *agreed == AgreedValue::Unknown || voices.iter().any(Voice::changed),
        },
        Err(no) => {
            let contested = matches!(contest, Contest::Among(all) if all.known.len() > 1);
            match no {
                NoTotal::Overflow => note(notes, Note::Overflow(name())),
                NoTotal::NotANumber if contested => note(notes, Note::NotANumber(name())),
                NoTotal::NotANumber => {}
            }
            prefer(question)
        }
    }
}

fn counted_expiry<C: Collection>(question: &Question<'_, '_, C>) -> Expiry {
    let rule = question.case.policy.expiry.rule;
    let Contest::Among(candidates) = &question.contest else {
        return Expiry::Never;
    };
    let known = candidates
        .known
        .iter()
        .map(|candidate| candidate.expiry(rule));
    known.max().unwrap_or(Expiry::Never)
}
