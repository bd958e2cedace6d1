//! What is remembered of one key, and what each replica did with it since: the agreement in the words of a report.

use bytes::Bytes;

use crate::crdt::{Standing, remember};
use crate::model::{Body, Digester, Expiry, Kind, LagBase, Memory, Millis, RunNumber, Version};
use crate::repair::look::Look;
use crate::repair::notary::{Notary, Recollection};
use crate::repair::reading::state;
use crate::repair::round::Candidate;
use crate::repair::side_by_side::Element;
use crate::state::StateError;
use crate::store::Observed;

/// What is remembered of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// The latest version; nothing if nothing was ever agreed.
    pub agreed: Option<RecalledVersion>,
    /// The run that put the key back: it waits until the operator names it.
    pub held_by: Option<RunNumber>,
    /// Each replica, in datacenter order.
    pub replicas: Vec<RecalledReplica>,
}

/// The latest version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecalledVersion {
    /// Its number.
    pub version: Version,
    /// Since when.
    pub since: Millis,
    /// The type, and when the key ends; nothing if it was agreed to be gone.
    pub held: Option<(Kind, Expiry)>,
    /// How much of it is remembered one by one; nothing where it is remembered as a whole.
    pub elements: Option<u64>,
    /// The number that a counter had.
    pub number: Option<i64>,
}

/// What a replica did since it last took part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// It takes no part.
    Unknown,
    /// Nothing is known of it, or it forgot: what it lacks is no evidence.
    Newcomer,
    /// It holds what it held.
    Unchanged,
    /// It has what it had not.
    Added,
    /// It holds something else.
    Changed,
    /// It has not what it had.
    Removed,
    /// It lacks the key because it evicts keys.
    Evicted,
}

impl Did {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Newcomer => "newcomer",
            Self::Unchanged => "unchanged",
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Evicted => "evicted",
        }
    }
}

/// What is remembered of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecalledReplica {
    /// What it did.
    pub did: Did,
    /// Whether it was not yet brought to the latest version.
    pub lags: bool,
    /// Whether it lost some of the last writes: what it did is told by what stood there before.
    pub rolled_back: bool,
}

/// What is remembered of a key, by what was read of it.
pub(super) fn recalled(
    notary: &Notary<'_>,
    candidate: &Candidate<'_>,
    recollection: &Recollection,
    evicted: &[usize],
) -> Result<Recalled, StateError> {
    let past = &recollection.past;
    let replica = |(replica, look): (usize, &Option<Look>)| {
        let lag = past.lags.get(&notary.memory.ids[replica]);
        let base = recollection.base(replica);
        let did = match (look, &base) {
            _ if evicted.contains(&replica) => Did::Evicted,
            (None | Some(Look::Unreadable), _) => Did::Unknown,
            (Some(_), None) => Did::Newcomer,
            (Some(look), Some(base)) => did(base.memory.map(|memory| memory.digest), look.digest()),
        };
        RecalledReplica {
            did,
            lags: lag.is_some_and(|lag| lag.base != LagBase::Agreed),
            rolled_back: base.is_some_and(|base| base.standing == Standing::RolledBack),
        }
    };
    Ok(Recalled {
        agreed: past.agreement.as_ref().map(|agreement| RecalledVersion {
            version: agreement.version,
            since: agreement.since,
            held: agreement.memory.as_ref().map(|one| (one.kind, one.expiry)),
            elements: agreement
                .memory
                .as_ref()
                .and_then(|one| Some(one.elements()?.len() as u64)),
            number: agreement.memory.as_ref().and_then(number),
        }),
        held_by: notary.held(&candidate.key, candidate.keyspace)?,
        replicas: candidate.looks.iter().enumerate().map(replica).collect(),
    })
}

fn number(memory: &Memory) -> Option<i64> {
    match memory.body {
        Body::Counter(number) => Some(number),
        Body::Whole | Body::Elements(_) | Body::List { .. } | Body::Stream { .. } => None,
    }
}

/// What became of something by its digests.
fn did<T: PartialEq>(before: Option<T>, now: Option<T>) -> Did {
    match (before, now) {
        (None, Some(_)) => Did::Added,
        (Some(_), None) => Did::Removed,
        (before, now) if before == now => Did::Unchanged,
        _ => Did::Changed,
    }
}

/// Tells of each element what each replica did with it, where elements are remembered one by one.
pub(super) fn tell_elements(
    notary: &Notary<'_>,
    recollection: &Recollection,
    observed: &[Option<Observed>],
    elements: &mut [Element],
    digester: &mut Digester,
) {
    let mut sides = Vec::with_capacity(observed.len());
    for (replica, observed) in observed.iter().enumerate() {
        let base = recollection.base(replica);
        let now = state(observed)
            .map(|state| remember(state, notary.memory.elements, |_| Version(0), digester));
        let is_told = base.is_some() && observed.is_some();
        let before = base.and_then(|base| base.memory.cloned());
        sides.push((is_told, before, now));
    }
    let of = |memory: &Option<Memory>, name: &Bytes| {
        let elements = memory.as_ref()?.elements()?;
        elements.get(name).map(|element| element.digest)
    };
    let by_element = |memory: &Option<Memory>| {
        memory
            .as_ref()
            .is_none_or(|memory| memory.elements().is_some())
    };
    for element in elements {
        let Some(name) = &element.name else { continue };
        let tell = |(is_told, before, now): &(bool, Option<Memory>, Option<Memory>)| {
            let known = *is_told && by_element(before) && by_element(now);
            known.then(|| did(of(before, name), of(now, name)))
        };
        element.since = sides.iter().map(tell).collect();
    }
}
