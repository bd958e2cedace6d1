//! Which type a key has, where siblings differ: a register of types, before any type's own rule.
//!
//! A sibling changed its type if it changed its value at all: so a replacement by another type and a concurrent
//! update of the old one are two candidates. Absent siblings are heard as removals, which never beat a type here; the
//! rule of the winning type decides about them.

use super::case::Case;
use super::contest::{AgreedValue, Contest, Voice, contest};
use super::outcome::{Note, Reason};
use super::prefer::{Choice, choose};
use super::recorded::Heed;
use crate::model::{Kind, OnDeleteConflict, Stamp, Stamped};

/// The type of the merged key.
#[derive(Debug)]
pub(super) enum TypeOf {
    /// It has none: absent everywhere.
    Nothing,
    /// This one.
    Known(Kind),
    /// Several types, and none wins for now.
    Open(Reason),
}

/// Chooses the type.
pub(super) fn choose_type(case: &Case<'_>) -> TypeOf {
    let agreed = case.agreed_memory().map(|memory| memory.kind);
    let mut kinds: Vec<Kind> = case
        .sides
        .iter()
        .filter_map(|side| side.kind())
        .chain(agreed)
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    match kinds[..] {
        [] => TypeOf::Nothing,
        [kind] => TypeOf::Known(kind),
        _ => contested(case, agreed),
    }
}

fn contested(case: &Case<'_>, agreed: Option<Kind>) -> TypeOf {
    let set = last_set(case);
    let voices: Vec<Voice<'_, Kind>> = case
        .sides
        .iter()
        .zip(case.voices())
        .map(|(side, voice)| Voice {
            replica: voice.replica,
            datacenter: voice.datacenter,
            value: side.kind(),
            expiry: voice.expiry,
            account: voice.account,
            holds_agreed: side.kind().is_some() && side.kind() == agreed,
            base: voice.base,
            stamped: behind(side.stamped(Heed::Age), side.kind(), set),
            heed: Heed::Age,
        })
        .collect();
    let agreed_value: AgreedValue<Kind> = match case.agreed_value() {
        AgreedValue::Present(_) => AgreedValue::Present(agreed),
        other => other,
    };
    match contest(&voices, agreed_value, OnDeleteConflict::UpdateWins) {
        // Removed by one who had seen all of it: what is left elsewhere is decided by the type that was agreed.
        Contest::Absent { .. } => agreed.map_or(TypeOf::Nothing, TypeOf::Known),
        Contest::Among(candidates) => {
            match choose(&candidates, &case.policy.prefer, case.siblings) {
                Choice::Winner(winner, _) => TypeOf::Known(winner.value),
                Choice::Open(reason) => TypeOf::Open(reason),
            }
        }
    }
}

/// When a SET was last accepted, as far as stamps tell.
fn last_set(case: &Case<'_>) -> Option<Stamp> {
    let strings = case.sides.iter();
    let strings = strings.filter(|side| side.kind() == Some(Kind::String));
    let set = strings.filter_map(|side| side.stamped(Heed::Age).added);
    set.max()
}

/// SUBTLE: a SET removes the elements that are not newer. A collection of the same time has lost to it, for else both
/// would be gone: the string because the type is another, and the elements because of the SET.
fn behind(stamped: Stamped, kind: Option<Kind>, set: Option<Stamp>) -> Stamped {
    match set {
        Some(set) if kind != Some(Kind::String) && stamped.added == Some(set) => Stamped {
            added: Some(set.just_before()),
            ..stamped
        },
        _ => stamped,
    }
}

/// Says that siblings of other types are replaced.
pub(super) fn note_losers(case: &Case<'_>, kept: Kind, notes: &mut Vec<Note>) {
    let other = |held: Kind| held != kept;
    let replaced: Vec<_> = case
        .sides
        .iter()
        .filter(|side| side.kind().is_some_and(other))
        .map(|side| side.replica)
        .collect();
    if !replaced.is_empty() {
        notes.push(Note::TypesDiffer { kept, replaced });
    }
}
