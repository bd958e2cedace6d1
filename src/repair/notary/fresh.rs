//! Keys that are alike on all replicas and of which nothing is remembered: learned by the thousand, as on a first run.
//!
//! What was read is what all hold, so its value is fetched from one replica alone, and only where more than a digest is
//! remembered. The markers then prove the first read, of all of them at once.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use crate::crdt::remember;
use crate::model::{
    Agreement, Body, Digester, Key, Kind, Lag, LagBase, Lane, Memory, Seen, Sequence, StringRule,
    Version, Write,
};
use crate::repair::look::Look;
use crate::repair::round::Candidate;
use crate::repair::run::Shared;
use crate::state::{Changes, StateError};
use crate::store::{BATCH_KEYS, Observed, StoreError};

use super::Notary;
use super::ask::{Answer, ask};

/// What became of fresh keys.
#[derive(Default)]
pub(crate) struct Learned<'a> {
    /// Keys that were learned.
    pub(crate) keys: u64,
    /// Keys that are remembered after all: they have to be decided.
    pub(crate) known: Vec<Candidate<'a>>,
}

impl Notary<'_> {
    /// Learns keys that nothing is remembered of.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(crate) async fn learn_fresh<'a>(
        &self,
        shared: &Shared<'_>,
        candidates: Vec<Candidate<'a>>,
    ) -> Result<Learned<'a>, StateError> {
        let mut learned = Learned::default();
        let mut fresh = Vec::new();
        for candidate in candidates {
            let past = self.past(&candidate.key)?;
            if past.agreement.is_none() && past.lags.is_empty() {
                fresh.push(candidate);
            } else {
                learned.known.push(candidate);
            }
        }
        let memories = self.memories(shared, &fresh).await;
        let took_part: BTreeSet<usize> = fresh
            .iter()
            .flat_map(|one| one.looks.iter().enumerate())
            .filter_map(|(replica, look)| look.map(|_| replica))
            .collect();
        let _one_at_a_time = self.gate.lock().await;
        let step = self.memory.state.next_sequence()?;
        if !self.prove_all(shared, &took_part, step).await? {
            fresh
                .iter()
                .for_each(|one| shared.unsettled(self.index, one.key.clone()));
            return Ok(learned);
        }
        let mut changes = Changes::new(shared.run.clock.now());
        for (candidate, memory) in fresh.iter().zip(memories) {
            match memory {
                Some(memory) => {
                    learned.keys += 1;
                    self.put(shared, &mut changes, candidate, memory, step);
                }
                None => shared.unsettled(self.index, candidate.key.clone()),
            }
        }
        self.acknowledge(&mut changes, &took_part, step)?;
        self.memory.state.commit_unsynced(changes)?;
        Ok(learned)
    }

    /// Sets the markers of these participants. False if one could not, or was lost before: it takes no further part.
    pub(super) async fn prove_all(
        &self,
        shared: &Shared<'_>,
        replicas: &BTreeSet<usize>,
        step: Sequence,
    ) -> Result<bool, StateError> {
        let active = shared.active();
        if replicas.iter().any(|replica| !active.contains(replica)) {
            return Ok(false);
        }
        let nothing: [(usize, Write); 0] = [];
        let answers = join_all(
            replicas
                .iter()
                .map(|replica| ask(self, shared, step, *replica, &nothing)),
        );
        let mut all = true;
        for (replica, answer) in replicas.iter().zip(answers.await) {
            match answer {
                Answer::Proved(marker, _) => self.set_marker(*replica, marker),
                Answer::Unknown(error) | Answer::Refused(error) => {
                    shared.lose(*replica, &error);
                    all = false;
                }
            }
        }
        Ok(all)
    }

    /// Notes that these participants' markers were set.
    pub(super) fn acknowledge(
        &self,
        changes: &mut Changes,
        replicas: &BTreeSet<usize>,
        step: Sequence,
    ) -> Result<(), StateError> {
        for replica in replicas {
            let id = self.id(*replica);
            let lane = self.memory.state.lane(id, self.index)?;
            let lane = Lane {
                first: lane.map_or(step, |lane| lane.first),
                acknowledged: step,
            };
            changes.set_lane(id, self.index, lane);
        }
        Ok(())
    }

    fn put(
        &self,
        shared: &Shared<'_>,
        changes: &mut Changes,
        candidate: &Candidate<'_>,
        memory: Memory,
        step: Sequence,
    ) {
        let agreement = Agreement {
            version: Version(1),
            memory: Some(memory),
            removed: BTreeMap::new(),
            proved: step,
            since: shared.run.clock.now(),
        };
        changes.put_agreement(self.index, candidate.key.clone(), agreement);
        let absent =
            (0..self.memory.ids.len()).filter(|replica| candidate.looks[*replica].is_none());
        let absent = absent.map(|replica| self.memory.ids[replica]);
        for id in absent.chain(self.memory.others.iter().copied()) {
            let covered = self.covered(id, candidate.keyspace);
            let base = covered.map_or(LagBase::Unknown, |_| LagBase::Held(None));
            let lag = Lag {
                base,
                seen: Seen::default(),
                proved: covered.unwrap_or_default(),
                since: step,
                evicted: false,
            };
            changes.put_lag(self.index, candidate.key.clone(), id, lag);
        }
    }

    /// What is to be remembered of each key; nothing where it has changed since, or cannot be read.
    async fn memories(
        &self,
        shared: &Shared<'_>,
        candidates: &[Candidate<'_>],
    ) -> Vec<Option<Memory>> {
        let mut memories = Vec::with_capacity(candidates.len());
        for chunk in candidates.chunks(BATCH_KEYS) {
            let values = match self.fetch(shared, chunk).await {
                Ok(values) => values,
                Err((replica, error)) => {
                    shared.lose(replica, &error);
                    BTreeMap::new()
                }
            };
            for candidate in chunk {
                memories.push(self.memory_of(shared, candidate, values.get(&candidate.key)));
            }
        }
        memories
    }

    /// The values of those keys of which more than a digest is remembered, from one replica.
    async fn fetch(
        &self,
        shared: &Shared<'_>,
        chunk: &[Candidate<'_>],
    ) -> Result<BTreeMap<Key, Observed>, (usize, StoreError)> {
        let keys: Vec<Key> = chunk
            .iter()
            .filter(|candidate| needs_value(candidate))
            .map(|candidate| candidate.key.clone())
            .collect();
        let source = chunk.first().and_then(|first| {
            let active = shared.active();
            active
                .into_iter()
                .find(|replica| first.looks[*replica].is_some())
        });
        let Some(source) = source.filter(|_| !keys.is_empty()) else {
            return Ok(BTreeMap::new());
        };
        let edge = &shared.run.participants[source].replica;
        let fetched = edge.fetch(self.db, &keys, &shared.run.digest_key).await;
        let fetched = fetched.map_err(|error| (source, error))?;
        Ok(keys.into_iter().zip(fetched).collect())
    }

    fn memory_of(
        &self,
        shared: &Shared<'_>,
        candidate: &Candidate<'_>,
        value: Option<&Observed>,
    ) -> Option<Memory> {
        let look = candidate.looks.iter().flatten().next()?;
        let Look::Present {
            kind,
            digest,
            expiry,
        } = *look
        else {
            return None;
        };
        let whole = Memory {
            kind,
            digest,
            expiry,
            body: Body::Whole,
        };
        if !needs_value(candidate) {
            return Some(whole);
        }
        match value? {
            Observed::Whole(state) => {
                let mut digester = Digester::new(shared.run.digest_key.clone());
                let changed = |_: &bytes::Bytes| Version(1);
                let memory = remember(state, self.memory.elements, changed, &mut digester);
                (memory.digest == digest).then_some(Memory { expiry, ..memory })
            }
            Observed::Large(large) => (large.digest == digest).then_some(whole),
            Observed::Absent | Observed::Unreadable(_) => None,
        }
    }
}

/// Whether more than a digest is remembered of a key.
fn needs_value(candidate: &Candidate<'_>) -> bool {
    let kind = candidate.looks.iter().flatten().find_map(Look::kind);
    match kind {
        None | Some(Kind::Module) => false,
        Some(Kind::String) => candidate.keyspace.policy.rules.string == StringRule::Counter,
        Some(Kind::List | Kind::Hash | Kind::Set | Kind::SortedSet | Kind::Stream) => true,
    }
}
