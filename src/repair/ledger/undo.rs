//! What is to be remembered of a key whose last run is undone. Pure.
//!
//! ```text
//! before the run   W ── run wrote T there ──▶ base T ── undone ──▶ base W again
//!                                              │ not undone: W, plus what the run wrote there
//! ```
//!
//! A new version with the old content: what clients did until the run counts again, once, as if the run had not been.
//! If what is agreed has moved on since, it stays, and the undone replica lags with its base reduced by what the run had
//! written there.
//!
//! Deliberately absent: which writes can be undone, and what is written for that.

use std::collections::BTreeMap;

use super::overlay::{Counting, overlay};
use super::{Lesson, Part, Past};
use crate::model::{
    Agreement, Digester, Lag, LagBase, Memory, Millis, ReplicaId, Seen, Sequence, Version,
};

/// One write of the run at one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    /// Its step.
    pub(crate) step: Sequence,
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
    /// What a later run brought to the version it had then, without a new one: what was there before.
    pub(crate) delivered: Option<Option<Memory>>,
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
    /// Whether what is agreed has moved on since the run's last write.
    pub(crate) moved: bool,
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
    /// What is to be remembered if the step comes about.
    pub(crate) fn lesson(&self, step: Sequence, now: Millis, digester: &mut Digester) -> Lesson {
        if self.moved {
            self.reduced(step, digester)
        } else {
            self.restored(step, now, digester)
        }
    }

    /// What is agreed stays; undone replicas lag.
    fn reduced(&self, step: Sequence, digester: &mut Digester) -> Lesson {
        let mut lesson = Lesson::default();
        for party in &self.parties {
            let Some(left) = party.left else { continue };
            let now = self.present(party);
            let otherwise = lag(now.clone(), step);
            let mut base = self.memory_of(&now.base);
            for deed in party.deeds[left..].iter().rev() {
                let (wrote, read) = (deed.wrote.as_ref(), deed.read.as_ref());
                base = overlay(base, wrote, read, self.counting, digester);
            }
            let unknown = now.base == LagBase::Unknown || party.presence == Presence::Forgetful;
            let reduced = Basis {
                base: match unknown {
                    true => LagBase::Unknown,
                    false => LagBase::Held(base),
                },
                proved: step,
                ..now
            };
            lesson.parts.push(Part {
                replica: party.id,
                applied: Some(lag(reduced, step)),
                otherwise,
            });
        }
        lesson
    }

    /// A new version with the old content, and everybody's former base.
    fn restored(&self, step: Sequence, now: Millis, digester: &mut Digester) -> Lesson {
        let agreement = self.agreement(step, now);
        let mut lesson = Lesson::default();
        for party in &self.parties {
            let former = self.former(party, agreement.version);
            let at = |left: usize, digester: &mut Digester| {
                self.with_deeds(party, former.clone(), left, step, digester)
            };
            match party.left {
                Some(left) => lesson.parts.push(Part {
                    replica: party.id,
                    applied: self.entry(&agreement, at(left, digester), step),
                    otherwise: lag(at(party.deeds.len(), digester), step),
                }),
                None => {
                    let basis = at(party.deeds.len(), digester);
                    let entry = match party.presence {
                        Presence::Here | Presence::Forgetful => self.entry(&agreement, basis, step),
                        Presence::Away => Some(lag(basis, step)),
                    };
                    let known = self.past.lags.get(&party.id);
                    let evicted = known.is_some_and(|lag| lag.evicted);
                    let entry = entry.map(|entry| Lag { evicted, ..entry });
                    if entry.is_some() || known.is_some() {
                        lesson.settled.push((party.id, entry));
                    }
                }
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
        let mut basis = if party.is_new {
            self.present(party)
        } else {
            self.known_before(party)
        };
        let old = before.map_or(Version::default(), |before| before.version);
        if basis.seen.key >= old {
            basis.seen.key = version;
        }
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
            // It took no part then: what was known of it stood in its lag, until a later run brought it along.
            (None, None) => match (self.past.lags.get(&party.id), &party.delivered) {
                (Some(lag), _) => Basis {
                    base: lag.base.clone(),
                    seen: lag.seen.clone(),
                    proved: lag.proved,
                },
                (None, Some(held)) => Basis {
                    base: LagBase::Held(held.clone()),
                    seen: Seen::default(),
                    proved: Sequence::default(),
                },
                (None, None) => Basis {
                    base: LagBase::Unknown,
                    seen: Seen::default(),
                    proved: Sequence::default(),
                },
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

    /// A base, and what was written to it since: so many of the run's writes, or what a later run brought there.
    fn with_deeds(
        &self,
        party: &Party,
        former: Basis,
        left: usize,
        step: Sequence,
        digester: &mut Digester,
    ) -> Basis {
        let proved = match (party.presence, party.deeds.last()) {
            (Presence::Here | Presence::Forgetful, _) => step,
            (Presence::Away, Some(deed)) => deed.step,
            (Presence::Away, None) if party.delivered.is_some() => self.proved_now(),
            (Presence::Away, None) => former.proved,
        };
        let base = match (former.base, &party.delivered) {
            (LagBase::Unknown, None) if left == 0 => LagBase::Unknown,
            (base, delivered) => {
                let mut memory = self.memory_of(&base);
                let unknown = base == LagBase::Unknown;
                if party.deeds.is_empty()
                    && let Some(read) = delivered
                {
                    let now = self
                        .past
                        .agreement
                        .as_ref()
                        .and_then(|now| now.memory.clone());
                    memory = self.written(unknown, memory, read.as_ref(), now, digester);
                }
                for deed in &party.deeds[..left] {
                    let (read, wrote) = (deed.read.as_ref(), deed.wrote.clone());
                    memory = self.written(unknown, memory, read, wrote, digester);
                }
                LagBase::Held(memory)
            }
        };
        Basis {
            base,
            seen: former.seen,
            proved,
        }
    }

    fn written(
        &self,
        unknown: bool,
        base: Option<Memory>,
        read: Option<&Memory>,
        wrote: Option<Memory>,
        digester: &mut Digester,
    ) -> Option<Memory> {
        match unknown {
            // Nothing was known: it is what was written.
            true => wrote,
            false => overlay(base, read, wrote.as_ref(), self.counting, digester),
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
                base: match self.moved {
                    true => LagBase::Agreed,
                    false => LagBase::Held(agreement.memory.clone()),
                },
                seen: Seen::all(agreement.version),
                proved: agreement.proved,
            },
            (None, None) => Basis {
                base: LagBase::Unknown,
                seen: Seen::default(),
                proved: Sequence::default(),
            },
        }
    }

    fn memory_of(&self, base: &LagBase) -> Option<Memory> {
        match base {
            LagBase::Held(memory) => memory.clone(),
            LagBase::Agreed => self.past.agreement.as_ref()?.memory.clone(),
            LagBase::Unknown => None,
        }
    }

    fn proved_now(&self) -> Sequence {
        let agreement = self.past.agreement.as_ref();
        agreement.map_or(Sequence::default(), |agreement| agreement.proved)
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
