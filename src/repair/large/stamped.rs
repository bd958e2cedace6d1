//! A large collection whose elements have stamps: merged by them, and written together with them, a few at a time. Who
//! lacks the key lacks each of its elements, so it gets them, or the others lose them, in the same way.
//!
//! Deliberately absent: values that replace another type, for their stamps would have to be copied in the same moment.
//! They are reported.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::crdt::{MergeInput, Outcome, Restamp, Sibling, Target, merge};
use crate::model::{Kind, Stamped, Stamps, State, Value};
use crate::store::{Capability, StampQuery, refusal_of};

use super::super::finding::Verdict;
use super::super::fit::left_out;
use super::super::ops::ops_within;
use super::super::restamp::stamped;
use super::super::round::Candidate;
use super::super::stamps::{Stampings, stamps};
use super::{Large, Stopped, Work};

/// What is said of a large key that stamps tell of, and that cannot be merged element by element.
const WHOLE: &str = "it is large and has stamps, and the replicas hold several types: the one that is to go must be \
                     removed by hand, together with its stamps";

/// Whether stamps tell of a large key: any replica lists it. Where the type is not merged by elements, or counts, they
/// are not asked.
pub(super) fn is_recorded(candidate: &Candidate<'_>, stampings: &Stampings) -> bool {
    let rules = &candidate.keyspace.policy.rules;
    let kinds = || {
        candidate
            .looks
            .iter()
            .flatten()
            .filter_map(|look| look.kind())
    };
    let asks =
        |kind| matches!(kind, Kind::Hash | Kind::Set | Kind::SortedSet) && !rules.counts(kind);
    let mut all = stampings
        .iter()
        .filter_map(|reading| stamps(reading.as_ref()));
    kinds().any(asks) && all.any(|stamps| !stamps.key.is_silent())
}

/// Elements of a collection that are merged at a time.
pub(super) struct Shown<'a> {
    pub(super) kind: Kind,
    pub(super) names: &'a [Bytes],
    /// Whether no others come behind them.
    pub(super) is_last: bool,
}

impl Large<'_> {
    /// Joins a collection, if all who hold the key hold this kind.
    pub(super) async fn join_recorded(
        &self,
        kind: Kind,
        joined: bool,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        match joined {
            true => self.join(kind, work).await,
            false => Err(Stopped::Verdict(Verdict::Unresolved(WHOLE.into()))),
        }
    }

    /// Merges some elements with their stamps.
    pub(super) async fn join_stamped(
        &self,
        Shown {
            kind,
            names,
            is_last,
        }: Shown<'_>,
        (holders, states): (&[usize], &[Option<State>]),
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let stamps = self.fetch_stamps(holders, names).await?;
        let shown: BTreeSet<Bytes> = names.iter().cloned().collect();
        let sides = holders.iter().zip(states).zip(&stamps);
        let siblings: Vec<Sibling<'_>> = sides
            .clone()
            .map(|((&replica, state), stamps)| Sibling {
                stamps: Some(stamps),
                ..self.sibling(replica, state.as_ref())
            })
            .collect();
        let input = MergeInput {
            shown: Some(&shown),
            ..MergeInput::without_memory(&siblings, self.policy(), self.shared.now())
        };
        let merged = merge(&input, work.digester);
        work.finding.rule = Some(merged.rule);
        work.finding.evidence = Some(merged.evidence);
        let target = match merged.outcome {
            Outcome::Target(target) => target,
            Outcome::Unresolved(reason) => {
                return Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())));
            }
        };
        let restamp = match self.shared.lost().is_empty() {
            true => merged.stamps,
            false => merged.stamps.map(Restamp::for_the_absent),
        };
        let of_key = stamps.iter().map(|one| one.key);
        let of_key = of_key.fold(Stamped::default(), Stamped::join);
        for ((&replica, state), held) in sides {
            let (names_left, own) = self.own(replica, &target, (holders, states), work);
            let Some(wanted) = own else {
                continue;
            };
            let mut after = restamp
                .as_ref()
                .map_or_else(|| held.clone(), |all| all.at(held));
            let now = state.clone().unwrap_or_else(|| nothing(kind));
            let ops = match state.is_none() && wanted.value.is_void() {
                true => Vec::new(),
                false => ops_within(&now, &wanted).map_err(|_| Stopped::Again)?,
            };
            for name in names_left {
                match held.elements.get(&name) {
                    Some(own) => after.elements.insert(name, *own),
                    None => after.elements.remove(&name),
                };
            }
            // SUBTLE: a removal of the whole key is told by its stamp until every element that it takes is gone.
            if !is_last || self.defers() && !work.losses.is_empty() {
                after.key = held.key;
            } else if !of_key.is_present() {
                // No element is left of what was removed as a whole: nor does its stamp of an addition stay.
                after.key = Stamped {
                    added: None,
                    ..of_key
                };
            }
            if let Some(write) = stamped(state.as_ref(), ops, held, &after) {
                self.write_as_expected(replica, (&now, &wanted), names, write, work)
                    .await?;
            }
        }
        Ok(())
    }

    /// What a replica is to hold of what was merged, and the fields that stay there as they are, because its server
    /// cannot hold their ends.
    fn own(
        &self,
        replica: usize,
        target: &Target,
        (holders, states): (&[usize], &[Option<State>]),
        work: &mut Work<'_>,
    ) -> (BTreeSet<Bytes>, Option<State>) {
        let sides = || holders.iter().zip(states);
        let all = sides().map(|(&at, state)| (self.can(at), state.as_ref()));
        let names = left_out(target, all, self.can(replica));
        let state = sides().find_map(|(&at, state)| state.as_ref().filter(|_| at == replica));
        if names.is_empty() {
            return (names, target.at(state));
        }
        let reason = refusal_of(Capability::FieldExpiry);
        work.refused.get_or_insert(self.refused(replica, reason));
        let own = target.leaving(&names).at(state);
        (names, own)
    }

    pub(super) async fn fetch_stamps(
        &self,
        holders: &[usize],
        names: &[Bytes],
    ) -> Result<Vec<Stamps>, Stopped> {
        let query = [StampQuery {
            key: self.candidate.key.clone(),
            elements: names.to_vec(),
            only: true,
        }];
        let mut all = Vec::with_capacity(holders.len());
        for &replica in holders {
            let source = &self.shared.run.participants[replica].replica;
            let read = source.stamps(self.candidate.keyspace.db, &query).await;
            match self.reached(replica, read)?.pop() {
                Some(Ok(stamps)) => all.push(stamps),
                Some(Err(words)) => {
                    let verdict = Verdict::Unreadable(source.name().clone(), words);
                    return Err(Stopped::Verdict(verdict));
                }
                None => return Err(Stopped::Again),
            }
        }
        Ok(all)
    }
}

/// A collection without elements.
pub(super) fn nothing(kind: Kind) -> State {
    State::lasting(match kind {
        Kind::Hash => Value::Hash(BTreeMap::new()),
        Kind::SortedSet => Value::SortedSet(BTreeMap::new()),
        _ => Value::Set(BTreeSet::new()),
    })
}
