//! Who may win: the candidates for one key or one element.
//!
//! Keys and elements are decided alike, only their values differ. Each sibling has a *voice*; the contest says which
//! of their values are candidates, and the rule of the type makes one of several.
//!
//! * Stamps come first, where there are any: see [`super::recorded`].
//! * Nobody changed: the agreed version stands; where there is none, all present values are candidates.
//! * Somebody changed: the changed values and, where no changer had seen the agreed version, that one too. A removal
//!   is a change to nothing.

use super::counter::Quantity;
use super::recorded::{Heed, recorded};
use crate::model::{Datacenter, Expiry, ExpiryRule, OnDeleteConflict, ReplicaIndex, Stamped};

/// What is known of a sibling's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Nothing: a first run, or a newcomer.
    Unknown,
    /// It holds its base.
    Unchanged,
    /// Its clients changed it.
    Changed {
        /// Whether it had seen the agreed version.
        had_seen: bool,
        /// Whether it lost some of its last writes.
        rolled_back: bool,
    },
}

/// One sibling's part in a contest.
#[derive(Debug, Clone)]
pub(super) struct Voice<'a, V> {
    pub(super) replica: ReplicaIndex,
    pub(super) datacenter: &'a Datacenter,
    /// What it holds; nothing if absent.
    pub(super) value: Option<V>,
    /// The expiry beside the value.
    pub(super) expiry: Expiry,
    pub(super) account: Account,
    /// Whether it holds exactly the agreed value.
    pub(super) holds_agreed: bool,
    /// The number in its base, where counters are summed.
    pub(super) base: Quantity,
    /// What stamps say of it here, as far as they are heeded.
    pub(super) stamped: Stamped,
    /// How far they are.
    pub(super) heed: Heed,
}

/// What was agreed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AgreedValue<V> {
    /// Nothing was ever agreed.
    Unknown,
    /// That it is gone.
    Removed,
    /// That it is there, but nobody has it any more.
    Lost,
    /// That it is there; with the value, where the memory holds more than a digest.
    Present(Option<V>),
}

/// A value that may win.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a, V> {
    pub(super) value: V,
    /// The siblings that hold it, in order. None where only the memory does.
    pub(super) holders: Vec<(ReplicaIndex, &'a Datacenter)>,
    /// Whether a change made it a candidate: then its victory is a new version.
    pub(super) changed: bool,
    longest: Expiry,
    first: Expiry,
}

/// The outcome of a contest.
#[derive(Debug, Clone)]
pub(super) enum Contest<'a, V> {
    /// It should be absent.
    Absent {
        /// Whether that is a new version.
        changed: bool,
    },
    /// One of these should win, or all be joined.
    Among(Candidates<'a, V>),
}

/// The values that may win; at least one, counting the agreed one that is elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Candidates<'a, V> {
    /// In the order of their first holders.
    pub(super) known: Vec<Candidate<'a, V>>,
    /// The agreed value is a candidate too, but only an absent replica holds it.
    pub(super) agreed_elsewhere: bool,
}

impl<V> Voice<'_, V> {
    pub(super) fn changed(&self) -> bool {
        matches!(self.account, Account::Changed { .. })
    }

    pub(super) fn had_seen(&self) -> bool {
        matches!(self.account, Account::Changed { had_seen: true, .. })
    }

    fn rolled_back(&self) -> bool {
        matches!(
            self.account,
            Account::Changed {
                rolled_back: true,
                ..
            }
        )
    }
}

impl<V> Candidate<'_, V> {
    /// The expiry that the value brings along.
    pub(super) fn expiry(&self, rule: ExpiryRule) -> Expiry {
        match rule {
            ExpiryRule::Longest => self.longest,
            ExpiryRule::Ignore => self.first,
        }
    }

    /// Its first holder.
    pub(super) fn source(&self) -> Option<ReplicaIndex> {
        self.holders.first().map(|(replica, _)| *replica)
    }
}

/// Decides who may win. The voices come in datacenter order.
pub(super) fn contest<'a, V: Ord + Clone>(
    voices: &[Voice<'a, V>],
    agreed: AgreedValue<V>,
    on_delete: OnDeleteConflict,
) -> Contest<'a, V> {
    recorded(voices, &agreed, on_delete)
        .unwrap_or_else(|| contest_of_unstamped(voices, agreed, on_delete))
}

/// Decides who may win as far as the agreement tells.
pub(super) fn contest_of_unstamped<'a, V: Ord + Clone>(
    voices: &[Voice<'a, V>],
    agreed: AgreedValue<V>,
    on_delete: OnDeleteConflict,
) -> Contest<'a, V> {
    if !voices.iter().any(Voice::changed) {
        return undisturbed(voices, agreed);
    }
    let agreed_is_there = matches!(agreed, AgreedValue::Present(_));
    let agreed_is_gone = agreed == AgreedValue::Removed;
    let stands = !voices.iter().any(Voice::had_seen);
    let runs = |voice: &&Voice<'a, V>| {
        voice.changed() && !(stands && agreed_is_there && voice.rolled_back())
    };
    let runners = || voices.iter().filter(runs);
    let kept = stands && agreed_is_there || runners().any(|voice| voice.value.is_some());
    let removed = stands && agreed_is_gone || runners().any(|voice| voice.value.is_none());
    if removed && (!kept || on_delete == OnDeleteConflict::DeleteWins) {
        return Contest::Absent {
            changed: !agreed_is_gone,
        };
    }
    let members =
        |voice: &Voice<'a, V>| runs(&voice) || stands && agreed_is_there && voice.holds_agreed;
    Contest::Among(candidates(
        voices,
        members,
        if stands { agreed } else { AgreedValue::Unknown },
    ))
}

/// Nobody changed anything.
fn undisturbed<'a, V: Ord + Clone>(
    voices: &[Voice<'a, V>],
    agreed: AgreedValue<V>,
) -> Contest<'a, V> {
    match agreed {
        AgreedValue::Removed => Contest::Absent { changed: false },
        AgreedValue::Present(_) => {
            Contest::Among(candidates(voices, |voice| voice.holds_agreed, agreed))
        }
        AgreedValue::Unknown | AgreedValue::Lost
            if voices.iter().all(|voice| voice.value.is_none()) =>
        {
            Contest::Absent {
                changed: agreed == AgreedValue::Lost,
            }
        }
        AgreedValue::Unknown | AgreedValue::Lost => {
            let mut all = candidates(voices, |_| true, agreed);
            all.known
                .iter_mut()
                .for_each(|candidate| candidate.changed = true);
            Contest::Among(all)
        }
    }
}

/// The values of the members, equal ones together, and the agreed one if no member holds it.
pub(super) fn candidates<'a, V: Ord + Clone>(
    voices: &[Voice<'a, V>],
    is_member: impl Fn(&Voice<'a, V>) -> bool,
    agreed: AgreedValue<V>,
) -> Candidates<'a, V> {
    let mut known: Vec<Candidate<'a, V>> = Vec::new();
    for voice in voices.iter().filter(|voice| is_member(voice)) {
        let Some(value) = &voice.value else { continue };
        match known.iter_mut().find(|candidate| candidate.value == *value) {
            Some(candidate) => {
                candidate.longest = candidate.longest.max(voice.expiry);
                candidate.changed |= voice.changed();
            }
            None => known.push(Candidate {
                value: value.clone(),
                holders: Vec::new(),
                changed: voice.changed(),
                longest: voice.expiry,
                first: voice.expiry,
            }),
        }
    }
    for candidate in &mut known {
        let holds = |voice: &&Voice<'a, V>| voice.value.as_ref() == Some(&candidate.value);
        candidate.holders = voices
            .iter()
            .filter(holds)
            .map(|voice| (voice.replica, voice.datacenter))
            .collect();
    }
    let agreed_elsewhere = add_agreed(&mut known, voices, agreed);
    known.sort_by_key(|candidate| (candidate.holders.is_empty(), candidate.source()));
    Candidates {
        known,
        agreed_elsewhere,
    }
}

/// Adds the agreed value from memory, where no sibling holds it. Returns whether even the memory lacks it.
fn add_agreed<V>(
    known: &mut Vec<Candidate<'_, V>>,
    voices: &[Voice<'_, V>],
    agreed: AgreedValue<V>,
) -> bool {
    let AgreedValue::Present(recalled) = agreed else {
        return false;
    };
    if voices.iter().any(|voice| voice.holds_agreed) {
        return false;
    }
    let Some(value) = recalled else { return true };
    known.push(Candidate {
        value,
        holders: Vec::new(),
        changed: false,
        longest: Expiry::Never,
        first: Expiry::Never,
    });
    false
}
