//! The base of a replica: its state when it last took part, as far as it can be proved.

use std::borrow::Cow;

use crate::crdt::Standing;
use crate::model::{Agreement, Lag, LagBase, Memory, Seen, Sequence, ValueDigest};

use super::{Past, Trust};

/// A base that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    /// What the replica held; nothing if the key was absent.
    pub(crate) memory: Option<Cow<'a, Memory>>,
    /// What it has seen.
    pub(crate) seen: Seen,
    /// The step that proved it.
    pub(crate) proved: Sequence,
    /// How far to trust it.
    pub(crate) standing: Standing,
}

/// What was ever known of a key, as far as it is kept; asked for only where a replica forgot something.
pub(crate) trait Archive {
    /// Agreements on the key, the latest one included.
    fn agreements(&self) -> Vec<Agreement>;
    /// Lags of the replica, the present one included, newest first.
    fn lags(&self) -> Vec<Lag>;
    /// What the replica held until a run wrote over it, each with the step that did.
    fn replaced(&self) -> Vec<Lag>;
}

/// The base of a replica that takes part, or nothing for a newcomer. `held` is the digest of what it holds now.
pub(crate) fn base<'a>(
    past: &'a Past,
    trust: &Trust,
    held: Option<&ValueDigest>,
    archive: &dyn Archive,
) -> Option<Known<'a>> {
    let known = ordinary(past, trust)?;
    let Some(kept) = trust.voids.covering(known.proved) else {
        return Some(known);
    };
    removed_and_absent(past, trust).or_else(|| match kept {
        Sequence(0) => None,
        _ => rolled_back(known, kept, trust, held, archive),
    })
}

/// A key that is agreed to be gone differs nowhere, so no step proves anew that a replica lacks it which forgot that. A
/// run that read everything does.
fn removed_and_absent<'a>(past: &Past, trust: &Trust) -> Option<Known<'a>> {
    let agreement = past.agreement.as_ref()?;
    let covered = trust.covered?;
    let is_gone = agreement.memory.is_none() && !past.lags.contains_key(&trust.id);
    let is_proved = covered >= agreement.proved && trust.voids.covering(covered).is_none();
    (is_gone && is_proved).then(|| Known {
        memory: None,
        seen: Seen::all(agreement.version),
        proved: covered,
        standing: Standing::Ordinary,
    })
}

/// The base that a replica still remembers which lost everything after the step `kept`.
///
/// SUBTLE: a state that it held since, before it lost that, is a replay and no change: then the base is that state,
/// but with what had been seen at `kept`.
fn rolled_back<'a>(
    known: Known<'a>,
    kept: Sequence,
    trust: &Trust,
    held: Option<&ValueDigest>,
    archive: &dyn Archive,
) -> Option<Known<'a>> {
    let (agreements, lags) = (archive.agreements(), archive.lags());
    let replaced = archive.replaced();
    let held_since = lags.iter().chain(&replaced);
    let replayed = replay(&known, kept, held, &agreements, held_since);
    let mut base = in_force(kept, agreements, lags)?;
    if trust.voids.covering(base.proved).is_some() {
        return None;
    }
    base.standing = Standing::RolledBack;
    if let Some(replayed) = replayed {
        base.memory = replayed.map(Cow::Owned);
    }
    Some(base)
}

/// What stood at a replica at a step: its lag, if it had one then, else the agreement.
fn in_force<'a>(kept: Sequence, agreements: Vec<Agreement>, lags: Vec<Lag>) -> Option<Known<'a>> {
    let agreement = agreements
        .into_iter()
        .filter(|agreement| agreement.proved <= kept)
        .max_by_key(|agreement| agreement.proved);
    let lag = lags
        .into_iter()
        .rev()
        .filter(|lag| lag.since <= kept)
        .max_by_key(|lag| lag.since);
    match (agreement, lag) {
        (Some(agreement), Some(lag)) if lag.since < agreement.proved => {
            Some(of_agreement(&agreement).into_owned())
        }
        (agreement, Some(lag)) => of_lag(&lag, agreement.as_ref()).map(Known::into_owned),
        (Some(agreement), None) => Some(of_agreement(&agreement).into_owned()),
        (None, None) => None,
    }
}

/// The memory of a state, or absence, that the replica had after the step `kept` and has again.
fn replay<'a>(
    known: &Known<'_>,
    kept: Sequence,
    held: Option<&ValueDigest>,
    agreements: &[Agreement],
    lags: impl Iterator<Item = &'a Lag>,
) -> Option<Option<Memory>> {
    let later = agreements
        .iter()
        .filter(|agreement| agreement.proved > kept)
        .map(|agreement| agreement.memory.as_ref());
    let lagged = lags.filter(|lag| lag.since > kept);
    let lagged = lagged.filter_map(|lag| match &lag.base {
        LagBase::Held(memory) => Some(memory.as_ref()),
        LagBase::Agreed | LagBase::Unknown => None,
    });
    later
        .chain(lagged)
        .chain([known.memory.as_deref()])
        .find(|memory| memory.map(|memory| &memory.digest) == held)
        .map(Option::<&Memory>::cloned)
}

impl Known<'_> {
    /// The same, holding on to nothing.
    pub(crate) fn into_owned<'b>(self) -> Known<'b> {
        Known {
            memory: self.memory.map(|memory| Cow::Owned(memory.into_owned())),
            seen: self.seen,
            proved: self.proved,
            standing: self.standing,
        }
    }
}

fn ordinary<'a>(past: &'a Past, trust: &Trust) -> Option<Known<'a>> {
    let agreement = past.agreement.as_ref();
    match past.lags.get(&trust.id) {
        Some(lag) => of_lag(lag, agreement),
        None => match agreement {
            Some(agreement) => Some(of_agreement(agreement)),
            None => trust.covered.map(|covered| Known {
                memory: None,
                seen: Seen::default(),
                proved: covered,
                standing: Standing::Ordinary,
            }),
        },
    }
}

fn of_agreement(agreement: &Agreement) -> Known<'_> {
    Known {
        memory: agreement.memory.as_ref().map(Cow::Borrowed),
        seen: Seen::all(agreement.version),
        proved: agreement.proved,
        standing: Standing::Ordinary,
    }
}

fn of_lag<'a>(lag: &'a Lag, agreement: Option<&'a Agreement>) -> Option<Known<'a>> {
    let memory = match &lag.base {
        LagBase::Unknown => return None,
        LagBase::Agreed => agreement.and_then(|agreement| agreement.memory.as_ref()),
        LagBase::Held(memory) => memory.as_ref(),
    };
    Some(Known {
        memory: memory.map(Cow::Borrowed),
        seen: lag.seen.clone(),
        proved: lag.proved,
        standing: Standing::Ordinary,
    })
}
