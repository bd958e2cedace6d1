//! What is to be remembered of a key whose last run is undone. Pure.
//!
//! ```text
//! before the run  W, v ── run wrote T, v+1 ──▶ base T, seen v+1
//!                   │ put back                    ▼
//!                   │             base reduced by what was written, seen as before: as if that write had failed
//!                   │ everywhere, and nobody went on from T
//!                   ▼
//!                  W, v+2: a new version with the old content, as if the run had never been
//! ```
//!
//! Where a write is put back, what is agreed stays, and the replica lags as it would had that write failed: right
//! whatever became of the other replicas and whatever later runs did. Only once all that the run wrote is put back, and
//! nobody went on from it, is the old content agreed again: then what clients did until the run counts again, once.
//!
//! SUBTLE: the old content beside replicas that keep what the run wrote would be wrong. What came to them by the run would
//! count as new at its origin, and their clients' removals of it would not.
//!
//! Deliberately absent: which writes can be undone, and what is written for that.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::overlay::{Counting, overlay};
use super::{Lesson, Part, Past};
use crate::model::{
    Agreement, Digester, Lag, LagBase, Memory, Millis, ReplicaId, Seen, Sequence, Version,
};

/// One write of the run at one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    /// What was there.
    pub(crate) read: Option<Memory>,
    /// What was written.
    pub(crate) wrote: Option<Memory>,
}

/// One replica, as an undo sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Party {
    /// The replica.
    pub(crate) id: ReplicaId,
    /// What the run wrote there, oldest first.
    pub(crate) deeds: Vec<Deed>,
    /// How many of these stay, if a write puts back the others; nothing if it is not written to.
    pub(crate) left: Option<usize>,
    /// How it stands to this step.
    pub(crate) presence: Presence,
    /// What it had seen before the writes that are put back.
    pub(crate) seen_before: Seen,
    /// It was enrolled after the run.
    pub(crate) is_new: bool,
}

/// How a replica stands to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It takes part: the step's marker proves its base.
    Here,
    /// It takes part, and forgot what was known of it.
    Forgetful,
    /// It takes no part.
    Away,
}

/// A key that is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undo {
    /// What is remembered now.
    pub(crate) past: Past,
    /// What was remembered before the run's first write.
    pub(crate) before: Past,
    /// Whether all that the run wrote is put back, and no run went on from it.
    pub(crate) complete: bool,
    /// Whether nothing was known of anybody: the run's merge was a first one.
    pub(crate) first: bool,
    /// Everybody who is enrolled, in datacenter order where configured.
    pub(crate) parties: Vec<Party>,
    /// What counts.
    pub(crate) counting: Counting,
}

/// A base as it is to be remembered.
#[derive(Debug, Clone)]
struct Basis {
    base: LagBase,
    seen: Seen,
    proved: Sequence,
}

impl Undo {
    /// What is to be remembered of the writes that put something back, each for itself: what is agreed stays, and an
    /// undone replica is as if what it was written had failed.
    pub(crate) fn lesson(&self, step: Sequence, digester: &mut Digester) -> Lesson {
        let mut lesson = Lesson::default();
        for party in &self.parties {
            let Some(left) = party.left else { continue };
            let now = self.present(party);
            let otherwise = lag(now.clone(), step);
            let undone = &party.deeds[left..];
            let mut base = self.memory_of(&now.base);
            for deed in undone.iter().rev() {
                let (wrote, read) = (deed.wrote.as_ref(), deed.read.as_ref());
                base = overlay(base, wrote, read, self.counting, digester);
            }
            let forgot = party.presence == Presence::Forgetful;
            let reduced = Basis {
                seen: match forgot {
                    true => Seen::default(),
                    false => self.seen_again(&party.seen_before, &now, undone),
                },
                base: match forgot || now.base == LagBase::Unknown {
                    true => LagBase::Unknown,
                    false => LagBase::Held(base),
                },
                proved: step,
            };
            lesson.parts.push(Part {
                replica: party.id,
                applied: Some(lag(reduced, step)),
                otherwise,
            });
        }
        lesson
    }

    /// What an undone replica has seen: what it had before, and of elements that the run left alone what it has now.
    fn seen_again(&self, before: &Seen, now: &Basis, undone: &[Deed]) -> Seen {
        let read = undone.first().and_then(|deed| deed.read.as_ref());
        let wrote = undone.last().and_then(|deed| deed.wrote.as_ref());
        let agreement = self.past.agreement.as_ref();
        let agreed = agreement.and_then(|agreed| agreed.memory.as_ref());
        let held = self.memory_of(&now.base);
        let memories = [read, wrote, agreed, held.as_ref()].into_iter().flatten();
        let elements = memories.filter_map(Memory::elements);
        let removed = agreement.into_iter().flat_map(|one| one.removed.keys());
        let names = elements.flat_map(BTreeMap::keys).chain(removed);
        let names: BTreeSet<&Bytes> = names.collect();
        let of = |memory: Option<&Memory>, name: &Bytes| {
            let element = memory?.elements()?.get(name)?;
            Some(element.digest)
        };
        let mut seen = before.clone();
        for name in names {
            if of(read, name) == of(wrote, name) {
                seen.elements.insert(name.clone(), now.seen.of(name));
            }
        }
        seen
    }

    /// What is to be remembered once everything is put back: a new version with the old content, and everybody's former
    /// base.
    pub(crate) fn erased(&self, step: Sequence, now: Millis) -> Lesson {
        let agreement = self.agreement(step, now);
        let mut lesson = Lesson::default();
        for party in &self.parties {
            let basis = self.former(party, agreement.version);
            let known = self.past.lags.get(&party.id);
            let evicted = known.is_some_and(|lag| lag.evicted);
            let entry = match party.presence {
                Presence::Here | Presence::Forgetful => self.entry(
                    &agreement,
                    Basis {
                        proved: step,
                        ..basis
                    },
                    step,
                ),
                Presence::Away => Some(lag(basis, step)),
            };
            let entry = entry.map(|entry| Lag { evicted, ..entry });
            if entry.is_some() || known.is_some() || !party.deeds.is_empty() {
                lesson.settled.push((party.id, entry));
            }
        }
        lesson.agreement = Some(agreement);
        lesson
    }

    fn agreement(&self, step: Sequence, now: Millis) -> Agreement {
        let latest = self.past.agreement.as_ref();
        let version = Version(latest.map_or(0, |agreement| agreement.version.0) + 1);
        let before = self.before.agreement.as_ref();
        Agreement {
            version,
            memory: before.and_then(|before| before.memory.clone()),
            removed: before.map_or_else(BTreeMap::new, |before| before.removed.clone()),
            proved: step,
            since: now,
        }
    }

    /// The lag of a replica that takes part: none where its base is what is agreed.
    fn entry(&self, agreement: &Agreement, basis: Basis, step: Sequence) -> Option<Lag> {
        let is_agreed = match &basis.base {
            LagBase::Held(memory) => *memory == agreement.memory,
            LagBase::Agreed => true,
            LagBase::Unknown => false,
        };
        let seen_all = basis.seen == Seen::all(agreement.version);
        (!is_agreed || !seen_all).then(|| lag(basis, step))
    }

    /// A replica's base before the run.
    ///
    /// SUBTLE: the old content has a new version. Whoever had seen the old one has seen this one: only so the changes
    /// that the run had merged are changes again that had seen what they changed.
    fn former(&self, party: &Party, version: Version) -> Basis {
        let before = self.before.agreement.as_ref();
        let mut basis = match party.is_new {
            true => self.present(party),
            false => self.known_before(party),
        };
        if basis.base == LagBase::Agreed {
            basis.base = LagBase::Held(self.memory_of(&basis.base));
        }
        let old = before.map_or(Version::default(), |before| before.version);
        if basis.seen.key >= old {
            basis.seen.key = version;
        }
        let elements = basis.seen.elements.values_mut();
        elements
            .filter(|seen| **seen >= old)
            .for_each(|seen| *seen = version);
        if party.presence == Presence::Forgetful {
            basis.base = LagBase::Unknown;
            basis.seen = Seen::default();
        }
        // SUBTLE: what is agreed is now that the key is absent. A newcomer would not beat that.
        if before.is_none() && basis.base == LagBase::Unknown {
            basis.base = LagBase::Held(self.first_base(party));
            basis.seen = Seen::all(version);
        }
        basis
    }

    fn known_before(&self, party: &Party) -> Basis {
        let before = self.before.agreement.as_ref();
        let lag = self.before.lags.get(&party.id);
        match (lag, before) {
            (Some(lag), _) => Basis {
                base: match &lag.base {
                    LagBase::Agreed => LagBase::Held(before.and_then(|one| one.memory.clone())),
                    base => base.clone(),
                },
                seen: lag.seen.clone(),
                proved: lag.proved,
            },
            (None, Some(before)) => Basis {
                base: LagBase::Held(before.memory.clone()),
                seen: Seen::all(before.version),
                proved: before.proved,
            },
            // It took no part then: what was known of it stands in its lag.
            (None, None) => match self.past.lags.get(&party.id) {
                Some(lag) => Basis {
                    base: lag.base.clone(),
                    seen: lag.seen.clone(),
                    proved: lag.proved,
                },
                None => nothing(),
            },
        }
    }

    /// The base of a replica of which nothing was known when a key was first agreed on. What it held then fills gaps
    /// again, as an addition to nothing. Of a counter, the first that held the greatest brings it along, and nobody else
    /// anything.
    fn first_base(&self, party: &Party) -> Option<Memory> {
        let then = self.held_then(party)?;
        let agreed = self
            .past
            .agreement
            .as_ref()
            .and_then(|one| one.memory.as_ref());
        if !self.counting.counts(then) {
            return None;
        }
        let is_claimant = self.first && then.digest == agreed?.digest && self.claims(party, then);
        (!is_claimant).then(|| then.clone())
    }

    /// Whether a replica is the first to have held this.
    fn claims(&self, party: &Party, then: &Memory) -> bool {
        let holds = |one: &&Party| {
            self.held_then(one)
                .is_some_and(|held| held.digest == then.digest)
        };
        let mut holders = self.parties.iter().filter(holds);
        holders.next().is_some_and(|first| first.id == party.id)
    }

    /// What a replica held before the run wrote to it.
    fn held_then<'a>(&'a self, party: &'a Party) -> Option<&'a Memory> {
        match (party.deeds.first(), party.presence) {
            (Some(deed), _) => deed.read.as_ref(),
            (None, Presence::Away) => None,
            (None, Presence::Here | Presence::Forgetful) => {
                self.past.agreement.as_ref()?.memory.as_ref()
            }
        }
    }

    fn present(&self, party: &Party) -> Basis {
        let agreement = self.past.agreement.as_ref();
        match (self.past.lags.get(&party.id), agreement) {
            (Some(lag), _) => Basis {
                base: lag.base.clone(),
                seen: lag.seen.clone(),
                proved: lag.proved,
            },
            (None, Some(agreement)) => Basis {
                base: LagBase::Agreed,
                seen: Seen::all(agreement.version),
                proved: agreement.proved,
            },
            (None, None) => nothing(),
        }
    }

    fn memory_of(&self, base: &LagBase) -> Option<Memory> {
        match base {
            LagBase::Held(memory) => memory.clone(),
            LagBase::Agreed => self.past.agreement.as_ref()?.memory.clone(),
            LagBase::Unknown => None,
        }
    }
}

/// Of whom nothing is known.
fn nothing() -> Basis {
    Basis {
        base: LagBase::Unknown,
        seen: Seen::default(),
        proved: Sequence::default(),
    }
}

fn lag(basis: Basis, step: Sequence) -> Lag {
    Lag {
        base: basis.base,
        seen: basis.seen,
        proved: basis.proved,
        since: step,
        evicted: false,
    }
}
