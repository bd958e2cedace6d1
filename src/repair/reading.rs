//! A fresh read of a batch's keys on all replicas, and what it says of each key.

use futures::future::join_all;

use crate::model::{Digester, Key, State};
use crate::store::Observed;

use super::finding::Verdict;
use super::look::Look;
use super::round::Candidate;
use super::run::Shared;

/// What every replica holds of every key of a batch: by replica, then by key; nothing for replicas that are lost.
pub(super) type Reading = Vec<Option<Vec<Observed>>>;

/// Reads the candidates' keys on all replicas that take part, at the same time.
pub(super) async fn read<'a, 'c: 'a>(
    shared: &Shared<'_>,
    candidates: impl Iterator<Item = &'a Candidate<'c>>,
) -> Reading {
    let mut db = None;
    let mut keys: Vec<Key> = Vec::new();
    for candidate in candidates {
        db = candidate.keyspace.db;
        keys.push(candidate.key.clone());
    }
    let mut reading: Reading = shared.run.participants.iter().map(|_| None).collect();
    let fetches = shared.active().into_iter().map(|index| {
        let keys = &keys;
        async move {
            let replica = &shared.run.participants[index].replica;
            (index, replica.fetch(db, keys, &shared.run.digest_key).await)
        }
    });
    for (index, fetched) in join_all(fetches).await {
        match fetched {
            Ok(observed) => reading[index] = Some(observed),
            Err(error) => shared.lose(index, &error),
        }
    }
    reading
}

pub(super) fn siblings(reading: &Reading, index: usize) -> Vec<Option<Observed>> {
    let of_key = |observed: &Option<Vec<Observed>>| {
        observed.as_ref().and_then(|all| all.get(index).cloned())
    };
    reading.iter().map(of_key).collect()
}

pub(super) fn looks(observed: &[Option<Observed>], digester: &mut Digester) -> Vec<Option<Look>> {
    observed
        .iter()
        .map(|one| one.as_ref().map(|one| Look::observed(one, digester)))
        .collect()
}

/// Whether a sibling that took part both times is not what it was.
pub(super) fn moved(before: &[Option<Look>], now: &[Option<Look>]) -> bool {
    before.iter().zip(now).any(|pair| match pair {
        (Some(before), Some(now)) => before != now,
        (None, Some(_)) => true,
        (_, None) => false,
    })
}

/// Which replica cannot read the key, if one cannot.
pub(super) fn unreadable(shared: &Shared<'_>, observed: &[Option<Observed>]) -> Option<Verdict> {
    observed
        .iter()
        .zip(&shared.run.participants)
        .find_map(|(one, participant)| match one {
            Some(Observed::Unreadable(words)) => Some(Verdict::Unreadable(
                participant.replica.name().clone(),
                words.clone(),
            )),
            _ => None,
        })
}

pub(super) fn is_large(observed: &[Option<Observed>]) -> bool {
    observed
        .iter()
        .any(|one| matches!(one, Some(Observed::Large(_))))
}

/// The state of a sibling that is whole.
pub(super) fn state(observed: &Option<Observed>) -> Option<&State> {
    match observed {
        Some(Observed::Whole(state)) => Some(state),
        _ => None,
    }
}
