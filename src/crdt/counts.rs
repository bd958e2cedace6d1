//! Counters whose replicas keep counts: a PN-counter, exact without any memory.
//!
//! ```text
//! since when, from what ─▶ the latest beginning wins, with its sides ─▶ per replica and sign the greatest part
//!                                                                       base + what was added - what was taken away
//! ```
//!
//! A write of the whole key, and its removal, begin the counter anew: what was counted elsewhere without having seen it
//! goes with the old one, whatever the clock says. That is the register rule; counting alone loses nothing.
//!
//! # Convergence
//! A maximum of beginnings, then maxima of parts that only rise: commutative, idempotent and, among numbers that have not
//! ended, associative. What a side has left of a counter that ended is heard only beside those who hold it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::case::{Case, Side};
use super::contest::AgreedValue;
use super::counter::integer;
use super::order::Whole;
use super::outcome::{Outcome, Reason};
use super::recorded::Restamp;
use super::{Evidence, Merged, register};
use crate::model::{Counts, Expiry, ExpiryRule, Score, Stamp, Value};

/// The rule's name.
pub const BY_COUNTS: &str = "counts";

/// What a counter began from. The greater wins where both began at the same time, as of registers: an equal time is a
/// removal, and of values the greatest by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Beginning {
    /// No key that anybody knows of.
    Nothing,
    /// What was written: a number, or a register that is none.
    Written(Bytes),
    /// The key was removed.
    Removal,
}

/// What one side, or several, know of a counter.
#[derive(Debug, Clone)]
struct Account {
    since: Option<Stamp>,
    beginning: Beginning,
    parts: BTreeMap<Bytes, i64>,
}

impl Account {
    fn new(since: Option<Stamp>, beginning: Beginning) -> Self {
        Self {
            since,
            beginning,
            parts: BTreeMap::new(),
        }
    }

    /// What a side knows; nothing where it knows of no key.
    fn of(side: &Side<'_>) -> Option<Self> {
        let stamped = side.stamps.map(|stamps| stamps.key).unwrap_or_default();
        let counts = side.stamps.and_then(|stamps| stamps.counts.as_ref());
        let held = side.value();
        if held.is_none() && stamped.removed > counts.and_then(|counts| counts.since) {
            return Some(Self::new(stamped.removed, Beginning::Removal));
        }
        if let Some(counts) = counts {
            let beginning = match (counts.base, counts.since) {
                (Some(base), _) => Beginning::Written(base.to_string().into()),
                (None, Some(_)) => Beginning::Removal,
                (None, None) => Beginning::Nothing,
            };
            return Some(Self {
                parts: counts.parts.clone(),
                ..Self::new(counts.since, beginning)
            });
        }
        let Some(Value::String(bytes)) = held else {
            return None;
        };
        // What stands beside its removal was written after it, as the functions take it, too.
        let since = match stamped.removed {
            Some(removed) if stamped.added <= Some(removed) => later(removed),
            _ => stamped.added,
        };
        Some(Self::new(since, Beginning::Written(bytes.clone())))
    }

    fn join(self, other: Self) -> Self {
        if self.since != other.since {
            return if self.since > other.since {
                self
            } else {
                other
            };
        }
        let mut parts = self.parts;
        for (name, part) in other.parts {
            let own = parts.entry(name).or_default();
            *own = (*own).max(part);
        }
        Self {
            since: self.since,
            beginning: self.beginning.max(other.beginning),
            parts,
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            since: self.since,
            base: match &self.beginning {
                Beginning::Written(bytes) => integer(bytes),
                Beginning::Nothing | Beginning::Removal => None,
            },
            parts: self.parts.clone(),
        }
    }
}

/// The next stamp: one step of the functions' clock.
fn later(stamp: Stamp) -> Option<Stamp> {
    Score::new(stamp.0.get() + 1.0 / 2048.0).map(Stamp)
}

/// Merges the string siblings of a key as a counter, if any replica keeps counts of it.
pub(super) fn merge(case: &Case<'_>) -> Option<Merged> {
    let counts = |side: &Side<'_>| side.stamps.is_some_and(|stamps| stamps.counts.is_some());
    let is_there = |side: &Side<'_>| side.value().is_some();
    if !case.sides.iter().any(counts) || !case.sides.iter().any(is_there) {
        return None;
    }
    let all = heard(case).reduce(Account::join)?;
    let counts = all.counts();
    let (value, kept) = match (&all.beginning, counts.total()) {
        (Beginning::Written(bytes), _) if counts.base.is_none() => (Some(bytes.clone()), None),
        (Beginning::Removal, _) if all.parts.is_empty() => (None, None),
        (_, None) => {
            return Some(register::open(
                case,
                Reason::Overflows,
                BY_COUNTS,
                Vec::new(),
            ));
        }
        (_, Some(total)) => (Some(Bytes::from(total.to_string())), Some(counts)),
    };
    let added = case
        .sides
        .iter()
        .filter_map(|side| side.stamps?.key.added)
        .max();
    let stamps = match value {
        Some(_) => Restamp::of_counter(added.max(all.since), None, kept),
        None => Restamp::of_counter(None, all.since, None),
    };
    Some(answer(case, value.map(Value::String), all.since, stamps))
}

/// What the sides know of a counter that somebody holds. What one has left of a counter that ended there counts with
/// those who still hold that one; beside a later one it is no evidence: expired is not deleted, and does not come back.
fn heard(case: &Case<'_>) -> impl Iterator<Item = Account> {
    let accounts = || {
        let sides = case.sides.iter();
        sides.filter_map(|side| Some((side, Account::of(side)?)))
    };
    let held = accounts().filter(|(side, _)| side.value().is_some());
    let latest = held.map(|(_, account)| account.since).max();
    accounts()
        .filter(move |(side, account)| !is_left(side) || Some(account.since) <= latest)
        .map(|(_, account)| account)
}

/// Whether a side has nothing but counts, and no later removal: the key has ended there.
fn is_left(side: &Side<'_>) -> bool {
    let counts = side.stamps.and_then(|stamps| stamps.counts.as_ref());
    let removed = side.stamps.and_then(|stamps| stamps.key.removed);
    side.value().is_none() && counts.is_some_and(|counts| removed <= counts.since)
}

/// Whether counts are all that is left of a key, and nobody removed it since. They stay: by them all replicas begin the
/// counter together when somebody counts again, and who lacked them would begin it before all others.
pub(super) fn are_left(case: &Case<'_>) -> bool {
    let since = |side: &Side<'_>| side.stamps?.counts.as_ref()?.since;
    let removed = |side: &Side<'_>| side.stamps?.key.removed;
    let sides = || case.sides.iter();
    sides().all(|side| side.value().is_none())
        && sides().any(is_left)
        && sides().filter_map(removed).max()
            <= sides().filter(|side| is_left(side)).filter_map(since).max()
}

fn answer(case: &Case<'_>, value: Option<Value>, since: Option<Stamp>, stamps: Restamp) -> Merged {
    let agreed: AgreedValue<Whole<'_>> = case.agreed_value();
    let is_kept = |side: &Side<'_>| side.value() == value.as_ref();
    let changed = agreed == AgreedValue::Unknown
        || case.voices().iter().any(|voice| voice.changed())
        || !case.sides.iter().all(is_kept);
    let winners = case.sides.iter().filter(|side| {
        side.value().is_some() && Account::of(side).is_some_and(|own| own.since == since)
    });
    let longest = winners.map(Side::expiry).max();
    let expiry = match case.policy.expiry.rule {
        ExpiryRule::Longest => longest,
        ExpiryRule::Ignore => longest.filter(|_| value.is_some()),
    };
    let target = register::target(case, value, expiry.unwrap_or(Expiry::Never));
    Merged {
        evidence: Evidence::Recorded,
        stamps: Some(stamps),
        ..register::answer(
            case,
            Outcome::Target(target),
            changed,
            BY_COUNTS,
            Vec::new(),
        )
    }
}
