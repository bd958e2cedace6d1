//! What is to be remembered of a key after a merge, whatever becomes of the writes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::base::Known;
use super::{Past, Trust};
use crate::crdt::{Changes, Target, remember};
use crate::model::{
    Agreement, Digester, ElementMemory, Expiry, ExpiryRule, Lag, LagBase, Memory, Millis, Policy,
    ReplicaId, Seen, Sequence, State, Value, Version,
};

/// A key that was merged.
pub(crate) struct Subject<'a> {
    /// What was remembered before.
    pub(crate) past: &'a Past,
    /// What every replica should hold.
    pub(crate) target: &'a Target,
    /// What of the agreement changes.
    pub(crate) changes: &'a Changes,
    /// The key's policy.
    pub(crate) policy: &'a Policy,
    /// Collections with more elements are remembered by whole key.
    pub(crate) elements: usize,
    /// The step that proves what was read.
    pub(crate) step: Sequence,
    /// The time.
    pub(crate) now: Millis,
}

/// A replica that took part.
pub(crate) struct Pupil<'a> {
    /// The replica.
    pub(crate) trust: &'a Trust,
    /// What it holds.
    pub(crate) state: Option<&'a State>,
    /// Its base; nothing for a newcomer.
    pub(crate) base: Option<&'a Known<'a>>,
    /// How it stands to the target.
    pub(crate) fate: Fate,
    /// Elements that are left as they are there alone.
    pub(crate) left_out: &'a BTreeSet<Bytes>,
}

/// How a replica stands to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It holds it.
    Holds,
    /// It is written to.
    Written,
    /// It holds something else, and cannot or must not be written to.
    Left,
}

/// A replica that is configured and took no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Absent {
    /// The replica.
    pub(crate) id: ReplicaId,
    /// The step at which a key that nobody remembers was absent there, as in [`Trust`].
    pub(crate) covered: Option<Sequence>,
    /// It was read, and lacks the key because it evicts: that is no removal.
    pub(crate) evicted: bool,
}

/// What is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lesson {
    /// What is agreed now; nothing where that stays as it is.
    pub(crate) agreement: Option<Agreement>,
    /// Lags that do not depend on a write: to put, or to drop.
    pub(crate) settled: Vec<(ReplicaId, Option<Lag>)>,
    /// Replicas that are written to.
    pub(crate) parts: Vec<Part>,
}

/// What is remembered of a replica that is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The replica.
    pub(crate) replica: ReplicaId,
    /// Its lag once the write happened.
    pub(crate) applied: Option<Lag>,
    /// Its lag where it did not.
    pub(crate) otherwise: Lag,
}

impl Lesson {
    /// Whether there is nothing to remember that was not known.
    pub(crate) fn is_empty(&self) -> bool {
        self.agreement.is_none() && self.settled.is_empty() && self.parts.is_empty()
    }
}

/// What is to be remembered of a key.
pub(crate) fn lesson(
    subject: &Subject<'_>,
    pupils: &[Pupil<'_>],
    absent: &[Absent],
    digester: &mut Digester,
) -> Lesson {
    // A removal of which stamps tell may be the first that is known of a key: then it is agreed, for it is written.
    let is_written = pupils.iter().any(|pupil| pupil.fate == Fate::Written);
    if subject.past.agreement.is_none() && subject.target.value.is_none() && !is_written {
        return Lesson::default();
    }
    let next = next_agreement(subject, digester);
    let moved = next.version > version(subject.past);
    let mut lesson = Lesson::default();
    for pupil in pupils {
        teach(subject, &next, pupil, &mut lesson, digester);
    }
    // A lag that ends is proved by this step: then the agreement is too.
    let ended = lesson.settled.iter().any(|(_, lag)| lag.is_none());
    let before = subject.past.agreement.as_ref();
    let told = before.is_some_and(|before| before.memory != next.memory);
    let renewed = moved || ended || told || !lesson.parts.is_empty();
    let left = absent.iter().filter_map(|absent| {
        let lag = left_behind(subject.past, subject.step, absent, moved);
        let news = renewed || absent.evicted && !known_evicted(subject, absent);
        news.then_some((absent.id, Some(lag)))
    });
    lesson.settled.extend(left);
    lesson.agreement = renewed.then_some(next);
    lesson
}

fn known_evicted(subject: &Subject<'_>, absent: &Absent) -> bool {
    let lag = subject.past.lags.get(&absent.id);
    lag.is_some_and(|lag| lag.evicted)
}

fn version(past: &Past) -> Version {
    past.agreement
        .as_ref()
        .map_or(Version::default(), |agreement| agreement.version)
}

/// What is agreed after the merge: a new version, or the old one with a new proof.
fn next_agreement(subject: &Subject<'_>, digester: &mut Digester) -> Agreement {
    let before = subject.past.agreement.as_ref();
    let goal = subject.target.at(None);
    if let Some(before) = before
        && !subject.changes.key
        && !expiry_moved(subject, before, goal.as_ref())
        && !stream_moved(subject, before, goal.as_ref(), digester)
    {
        return Agreement {
            memory: with_digest(subject, before, goal.as_ref(), digester),
            proved: subject.step,
            ..before.clone()
        };
    }
    let version = Version(version(subject.past).0 + 1);
    let known = before.and_then(|before| before.memory.as_ref()?.elements());
    let changed = |name: &Bytes| {
        let kept = known.and_then(|known| known.get(name));
        match kept {
            Some(memory) if !subject.changes.added.contains(name) => memory.changed,
            Some(_) | None => version,
        }
    };
    let memory = goal.map(|goal| remember(&goal, subject.elements, changed, digester));
    Agreement {
        version,
        memory: with_untouched(memory, subject, before),
        removed: removed(subject, before, version),
        proved: subject.step,
        since: subject.now,
    }
}

/// Whether the key ends at another time than agreed: the merge does not count that as a change.
fn expiry_moved(subject: &Subject<'_>, before: &Agreement, goal: Option<&State>) -> bool {
    let agreed = before.memory.as_ref().map(|memory| memory.expiry);
    let wanted = goal.map(|goal| goal.expiry);
    match (agreed, wanted) {
        (Some(Expiry::At(agreed)), Some(Expiry::At(wanted))) => {
            let apart = agreed.0.abs_diff(wanted.0);
            compares_expiry(subject.policy)
                && u128::from(apart) > subject.policy.expiry.tolerance.as_millis()
        }
        (Some(agreed), Some(wanted)) => compares_expiry(subject.policy) && agreed != wanted,
        (Some(_), None) if !subject.target.untouched.is_empty() => false,
        // Gone by its expiry, or there again: a version of its own, so that what was is not taken for what is.
        (Some(_), None) => true,
        (None, Some(_)) => true,
        (None, None) => false,
    }
}

/// What stays agreed. While an absent replica alone held some of the elements, the digest of the whole was not known.
fn with_digest(
    subject: &Subject<'_>,
    before: &Agreement,
    goal: Option<&State>,
    digester: &mut Digester,
) -> Option<Memory> {
    let mut memory = before.memory.clone()?;
    let whole = subject.target.untouched.is_empty() && !subject.target.partial;
    if let Some(goal) = goal.filter(|_| whole && memory.elements().is_some()) {
        memory.digest = digester.value(&goal.value);
    }
    Some(memory)
}

/// Whether a stream has another last ID or other groups than agreed, which are no entries.
fn stream_moved(
    subject: &Subject<'_>,
    before: &Agreement,
    goal: Option<&State>,
    digester: &mut Digester,
) -> bool {
    let whole = subject.target.untouched.is_empty() && !subject.target.partial;
    let (Some(goal), Some(before)) = (goal.filter(|_| whole), &before.memory) else {
        return false;
    };
    matches!(goal.value, Value::Stream(_)) && digester.value(&goal.value) != before.digest
}

fn compares_expiry(policy: &Policy) -> bool {
    policy.expiry.rule == ExpiryRule::Longest
}

/// Elements that every replica keeps as it has them stay remembered as they were.
fn with_untouched(
    memory: Option<Memory>,
    subject: &Subject<'_>,
    before: Option<&Agreement>,
) -> Option<Memory> {
    let kept = kept(subject, before);
    if kept.is_empty() {
        return memory;
    }
    let mut memory = memory.or_else(|| {
        let mut left = before?.memory.clone()?;
        left.elements_mut()?.clear();
        Some(left)
    })?;
    for (name, element) in kept {
        memory.put_element(&name, Some(element));
    }
    Some(memory)
}

/// The agreed elements that every replica keeps as it has them.
fn kept(subject: &Subject<'_>, before: Option<&Agreement>) -> BTreeMap<Bytes, ElementMemory> {
    let known = before.and_then(|before| before.memory.as_ref()?.elements());
    let untouched = subject.target.untouched.keys();
    untouched
        .filter_map(|name| Some((name.clone(), known?.get(name)?.clone())))
        .collect()
}

fn removed(
    subject: &Subject<'_>,
    before: Option<&Agreement>,
    version: Version,
) -> BTreeMap<Bytes, Version> {
    let mut removed = before.map_or_else(BTreeMap::new, |before| before.removed.clone());
    removed.retain(|name, _| !subject.changes.added.contains(name));
    let gone = subject.changes.removed.iter();
    removed.extend(gone.map(|name| (name.clone(), version)));
    removed
}

/// What is remembered of a replica that took part.
fn teach(
    subject: &Subject<'_>,
    next: &Agreement,
    pupil: &Pupil<'_>,
    lesson: &mut Lesson,
    digester: &mut Digester,
) {
    let id = pupil.trust.id;
    match pupil.fate {
        Fate::Written => lesson.parts.push(Part {
            replica: id,
            applied: reached(subject, next, pupil),
            otherwise: as_read(subject, next, pupil, digester),
        }),
        Fate::Left => {
            let lag = as_read(subject, next, pupil, digester);
            lesson.settled.push((id, Some(lag)));
        }
        Fate::Holds => match reached(subject, next, pupil) {
            Some(lag) => lesson.settled.push((id, Some(lag))),
            None if needs_proof(subject, pupil) => lesson.settled.push((id, None)),
            None => {}
        },
    }
}

/// Whether that this replica is at the version has to be proved anew.
fn needs_proof(subject: &Subject<'_>, pupil: &Pupil<'_>) -> bool {
    subject.past.lags.contains_key(&pupil.trust.id)
        || subject.past.agreement.is_none()
        || pupil.base.is_none_or(|base| {
            subject
                .past
                .agreement
                .as_ref()
                .is_none_or(|agreement| base.proved != agreement.proved)
        })
}

/// The lag of a replica that holds the target: none, but where elements were left as they are.
fn reached(subject: &Subject<'_>, next: &Agreement, pupil: &Pupil<'_>) -> Option<Lag> {
    let left = subject.target.untouched.keys().chain(pupil.left_out);
    let mut left = left.peekable();
    left.peek()?;
    let mut memory = next.memory.clone()?;
    let mut seen = Seen::all(next.version);
    for name in left {
        seen.elements.insert(name.clone(), seen_before(pupil, name));
        restore_element(&mut memory, pupil, name);
    }
    Some(Lag {
        base: LagBase::Held(Some(memory)),
        seen,
        proved: subject.step,
        since: subject.step,
        evicted: false,
    })
}

fn seen_before(pupil: &Pupil<'_>, name: &Bytes) -> Version {
    pupil
        .base
        .map_or(Version::default(), |base| base.seen.of(name))
}

/// An element that was left as it is was not looked at: it stays remembered as it was.
fn restore_element(memory: &mut Memory, pupil: &Pupil<'_>, name: &Bytes) {
    let old = pupil.base.and_then(|base| base.memory.as_deref());
    let old = old.and_then(Memory::elements).and_then(|old| old.get(name));
    memory.put_element(name, old.cloned());
}

/// The lag of a replica that was read and not written: its base is what was read, and of the elements that are as they
/// should be it has seen the latest change.
fn as_read(
    subject: &Subject<'_>,
    next: &Agreement,
    pupil: &Pupil<'_>,
    digester: &mut Digester,
) -> Lag {
    let mut take =
        |state: &State| remember(state, subject.elements, |_| Version::default(), digester);
    let mut memory = pupil.state.map(&mut take);
    let mut seen = pupil.base.map(|base| base.seen.clone()).unwrap_or_default();
    let goal = next.memory.as_ref();
    let old = subject.past.agreement.as_ref();
    let names = names(
        &[
            memory.as_ref(),
            goal,
            old.and_then(|old| old.memory.as_ref()),
        ],
        old,
    );
    let of = |memory: Option<&Memory>, name: &Bytes| {
        memory?.elements()?.get(name).map(|element| element.digest)
    };
    for name in names {
        if subject.target.untouched.contains_key(&name) || pupil.left_out.contains(&name) {
            if let Some(memory) = &mut memory {
                restore_element(memory, pupil, &name);
            }
        } else if of(memory.as_ref(), &name) == of(goal, &name) {
            seen.elements.insert(name, next.version);
        }
    }
    Lag {
        base: LagBase::Held(memory),
        seen,
        proved: subject.step,
        since: subject.step,
        evicted: false,
    }
}

/// The names of all elements that any of these memories knows, or that are remembered as removed.
fn names(memories: &[Option<&Memory>], old: Option<&Agreement>) -> BTreeSet<Bytes> {
    let present = memories
        .iter()
        .flatten()
        .filter_map(|memory| memory.elements());
    let present = present.flat_map(|elements| elements.keys().cloned());
    let removed = old.into_iter().flat_map(|old| old.removed.keys().cloned());
    present.chain(removed).collect()
}

/// What is to be remembered of a key that is remembered by its digest alone, and on which all who took part are alike.
pub(crate) fn alike(
    past: &Past,
    memory: Option<Memory>,
    took_part: Vec<ReplicaId>,
    absent: &[Absent],
    step: Sequence,
    now: Millis,
) -> Lesson {
    let before = past.agreement.as_ref();
    let known = before.and_then(|before| before.memory.as_ref());
    let moved = known.map(|known| (known.digest, known.expiry))
        != memory.as_ref().map(|memory| (memory.digest, memory.expiry));
    if before.is_none() && memory.is_none() {
        return Lesson::default();
    }
    let next = match before {
        Some(before) if !moved => Agreement {
            proved: step,
            ..before.clone()
        },
        _ => Agreement {
            version: Version(version(past).0 + 1),
            memory,
            removed: BTreeMap::new(),
            proved: step,
            since: now,
        },
    };
    let reached = took_part.into_iter().map(|id| (id, None));
    let left = absent
        .iter()
        .map(|absent| (absent.id, Some(left_behind(past, step, absent, moved))));
    Lesson {
        agreement: Some(next),
        settled: reached.chain(left).collect(),
        parts: Vec::new(),
    }
}

/// The lag of a replica that did not take part: base and seen as they were. Where it evicted the key, its base is that
/// it lacks it: what is there later was added since, and what is not was not removed.
fn left_behind(past: &Past, step: Sequence, absent: &Absent, moved: bool) -> Lag {
    let lag = left_as_it_was(past, step, absent, moved);
    match absent.evicted {
        true => Lag {
            base: LagBase::Held(None),
            proved: step,
            ..lag
        },
        false => lag,
    }
}

fn left_as_it_was(past: &Past, step: Sequence, absent: &Absent, moved: bool) -> Lag {
    if let Some(lag) = past.lags.get(&absent.id) {
        return Lag {
            base: frozen(lag, past, moved),
            since: step,
            evicted: lag.evicted || absent.evicted,
            ..lag.clone()
        };
    }
    let (base, seen, proved) = match &past.agreement {
        Some(agreement) if moved => (
            LagBase::Held(agreement.memory.clone()),
            Seen::all(agreement.version),
            agreement.proved,
        ),
        Some(agreement) => (
            LagBase::Agreed,
            Seen::all(agreement.version),
            agreement.proved,
        ),
        None => match absent.covered {
            Some(covered) => (LagBase::Held(None), Seen::default(), covered),
            None => (LagBase::Unknown, Seen::default(), Sequence::default()),
        },
    };
    Lag {
        base,
        seen,
        proved,
        since: step,
        evicted: absent.evicted,
    }
}

/// A base that was "what is agreed" is spelled out before that becomes something else.
fn frozen(lag: &Lag, past: &Past, moved: bool) -> LagBase {
    match (&lag.base, moved) {
        (LagBase::Agreed, true) => {
            let agreement = past.agreement.as_ref();
            LagBase::Held(agreement.and_then(|agreement| agreement.memory.clone()))
        }
        (base, _) => base.clone(),
    }
}
