//! Strings: registers, counters, bitmaps and HyperLogLogs.
//!
//! ```text
//! counts beside a side         see counts.rs
//! all sides are HyperLogLogs   register-wise maximum, or lww
//! lww                          see register.rs
//! counter                      see counter.rs; anything but a canonical integer on a side: lww, and a note
//! counter-max                  the greatest of the candidates, so a reset that had seen all stays a reset
//! bitmap-or                    bitwise or, as long as the longest
//! ```
//!
//! # Convergence
//! Maximum and or are commutative, associative and idempotent. One changed side that had seen the agreed version
//! wins alone, so a reset stays a reset. A join that lacks the agreed value, because only an absent replica holds
//! it, waits; a counter never does.

use bytes::Bytes;

use super::Merged;
use super::case::Case;
use super::contest::{AgreedValue, Candidates, Contest, contest};
use super::counter::{NoTotal, integer, total};
use super::counts;
use super::order::Whole;
use super::outcome::{Note, Reason};
use super::register;
use crate::model::{Amount, HllRule, Registers, StringRule, Value};

type WholeContest<'a> = Contest<'a, Whole<'a>>;

/// Merges the string siblings of a key.
pub(super) fn merge(case: &Case<'_>) -> Merged {
    if let Some(counted) = counts::merge(case) {
        return counted;
    }
    let contest = contest(
        &case.voices(),
        case.agreed_value(),
        case.policy.on_delete_conflict,
    );
    let mut strings = case.sides.iter().filter_map(|side| bytes_of(side.value()?));
    let is_hll = |bytes: &Bytes| Registers::parse(bytes).is_some();
    let any_hll = strings.clone().any(is_hll);
    let all_hll = any_hll && strings.all(is_hll);
    if all_hll {
        return match case.policy.rules.hyperloglog {
            HllRule::Merge => join(case, &contest, "hyperloglog", union),
            HllRule::Lww => register::settle(case, &contest, "lww", Vec::new()),
        };
    }
    match case.policy.rules.string {
        StringRule::Lww => register::settle(case, &contest, "lww", Vec::new()),
        StringRule::Counter => count(case, &contest),
        StringRule::CounterMax => greatest(case, contest),
        StringRule::BitmapOr if any_hll => register::settle(case, &contest, "lww", Vec::new()),
        StringRule::BitmapOr => join(case, &contest, "bitmap-or", or),
    }
}

/// Whether all siblings are HyperLogLogs that are merged by their registers.
pub(super) fn joins_registers(case: &Case<'_>) -> bool {
    let mut strings = case
        .sides
        .iter()
        .filter_map(|side| bytes_of(side.value()?))
        .peekable();
    case.policy.rules.hyperloglog == HllRule::Merge
        && strings.peek().is_some()
        && strings.all(|bytes| Registers::parse(bytes).is_some())
}

fn bytes_of(value: &Value) -> Option<&Bytes> {
    match value {
        Value::String(bytes) => Some(bytes),
        _ => None,
    }
}

fn amount_of(value: &Whole<'_>) -> Option<Amount> {
    bytes_of(value.0)
        .and_then(|bytes| integer(bytes))
        .map(Amount::Integer)
}

fn count<'a>(case: &Case<'a>, contest: &WholeContest<'a>) -> Merged {
    let (voices, agreed) = (case.voices(), case.agreed_value());
    if let Contest::Absent { changed } = contest {
        return register::gone(case, *changed, "counter", Vec::new());
    }
    let quantity = case.agreed_quantity();
    let note = match total(&voices, contest, &agreed, quantity, amount_of) {
        Ok(Amount::Integer(sum)) => {
            let value = Value::String(sum.to_string().into());
            let changed = agreed == AgreedValue::Unknown || voices.iter().any(|v| v.changed());
            return register::joined(case, value, changed, "counter", Vec::new());
        }
        // No member or field that is a score lies in a string.
        Ok(Amount::Score(_)) | Err(NoTotal::NotANumber) => Note::NotANumber(None),
        Err(NoTotal::Overflow) => Note::Overflow(None),
    };
    register::settle(case, contest, "lww", vec![note])
}

/// Only the greatest integer stays a candidate.
fn greatest<'a>(case: &Case<'a>, contest: WholeContest<'a>) -> Merged {
    let mut candidates = match contest {
        Contest::Among(candidates) => candidates,
        Contest::Absent { changed } => {
            return register::gone(case, changed, "counter-max", Vec::new());
        }
    };
    let number = |whole: &Whole<'_>| amount_of(whole);
    let all: Option<Vec<Amount>> = candidates
        .known
        .iter()
        .map(|candidate| number(&candidate.value))
        .collect();
    let Some(all) = all else {
        let note = vec![Note::NotANumber(None)];
        return register::settle(case, &Contest::Among(candidates), "lww", note);
    };
    if candidates.agreed_elsewhere {
        return register::open(case, Reason::Waits, "counter-max", Vec::new());
    }
    let most = all.into_iter().max();
    candidates
        .known
        .retain(|candidate| number(&candidate.value) == most);
    register::settle(case, &Contest::Among(candidates), "counter-max", Vec::new())
}

/// Several candidates are joined; one stands alone.
fn join<'a>(
    case: &Case<'a>,
    contest: &WholeContest<'a>,
    rule: &'static str,
    join: fn(&[&Bytes]) -> Bytes,
) -> Merged {
    let Contest::Among(Candidates {
        known,
        agreed_elsewhere,
    }) = contest
    else {
        return register::settle(case, contest, rule, Vec::new());
    };
    if *agreed_elsewhere {
        return register::open(case, Reason::Waits, rule, Vec::new());
    }
    if known.len() < 2 {
        return register::settle(case, contest, rule, Vec::new());
    }
    let all: Vec<&Bytes> = known
        .iter()
        .filter_map(|candidate| bytes_of(candidate.value.0))
        .collect();
    register::joined(case, Value::String(join(&all)), true, rule, Vec::new())
}

fn or(all: &[&Bytes]) -> Bytes {
    let longest = all.iter().map(|bytes| bytes.len()).max().unwrap_or(0);
    let mut joined = vec![0; longest];
    for bytes in all {
        joined
            .iter_mut()
            .zip(bytes.iter())
            .for_each(|(into, byte)| *into |= byte);
    }
    joined.into()
}

/// The register-wise maximum. A side that is it already gives its bytes, otherwise it is written densely.
fn union(all: &[&Bytes]) -> Bytes {
    let parsed: Vec<Registers> = all
        .iter()
        .filter_map(|bytes| Registers::parse(bytes))
        .collect();
    let Some(union) = parsed.iter().cloned().reduce(|a, b| a.union(&b)) else {
        return Bytes::new();
    };
    match parsed.iter().position(|registers| *registers == union) {
        Some(index) => all[index].clone(),
        None => union.to_dense().into(),
    }
}
