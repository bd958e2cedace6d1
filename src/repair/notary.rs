//! The notary of one database: what a run remembers of its keys, and the markers by which replicas prove it.
//!
//! ```text
//! opening   markers compared with what is remembered, lanes fenced, open intents settled, what was forgotten voided
//! past      what is remembered of a key, and each replica's base
//! step      markers still ours? ─ intent synced ─ sealed writes ─ outcome synced
//! ```
//!
//! One step at a time: sequences rise in the order in which markers are set. A state that was read becomes a base only
//! in a step whose marker was acknowledged after the read.

mod archive;
mod ask;
mod coverage;
mod fresh;
mod listing;
mod opening;
mod settle;
mod step;
mod whole;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::crdt::{Agreed, Base, remember};
use crate::model::{
    Agreement, DbIndex, Digester, Key, Keyspace, KeyspaceName, LagBase, MARKER_PREFIX, Marker,
    Memory, OwnerToken, ReplicaId, RunNumber, Sequence, State, StateId, ValueDigest, Version,
    Voids,
};
use crate::state::{Hold, Segment, State as StateDir, StateError};

use super::ledger::{Known, Past, Trust, base, take_late, take_late_elements};
use super::look::{Look, difference};
use super::round::Candidate;
use super::scope::Scope;
use archive::Shelf;

pub(crate) use coverage::Proof;
pub(crate) use listing::Listing;
pub(crate) use opening::open;
pub use opening::{Forgetful, MemoryTrouble};
pub(crate) use settle::evidence;
pub(crate) use step::{Case, Pupil, Undoing};

/// The memory that a run has.
pub struct RunMemory {
    /// Where it is kept.
    pub state: StateDir,
    /// The run's number; of a run that only compares, that of the last one that did not.
    pub run: RunNumber,
    /// Tells this process from others that write through the same lanes.
    pub owner: OwnerToken,
    /// The participants' identities, in their order.
    pub ids: Vec<ReplicaId>,
    /// Replicas that are known and do not take part in this run.
    pub others: Vec<ReplicaId>,
    /// Collections with more elements are remembered by whole key.
    pub elements: usize,
    /// The datacenters also replicate to each other, reknit's own keys too.
    pub replicates: bool,
    /// Keys that were undone are taken up again: the operator named them.
    pub release_held: bool,
    /// What a segment that is finished is noted under; nothing where runs of this kind are not taken up.
    pub digest: Option<[u8; 32]>,
    /// What earlier runs, which were cut off, have finished, and this one need not read.
    pub taken_up: Option<TakenUp>,
}

/// What is taken up of an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenUp {
    /// The latest of those runs.
    pub run: RunNumber,
    /// The segments that they finished; still right if no replica has forgotten anything there since.
    pub segments: Vec<Segment>,
}

/// The lane by which the runs of this state directory write to a replica: one, so far.
pub fn lane_name(replica: ReplicaId) -> Key {
    Key::new([MARKER_PREFIX, replica.to_string().as_bytes(), b":0"].concat())
}

/// What is remembered for the keys of one database.
pub(crate) struct Notary<'a> {
    pub(crate) memory: &'a RunMemory,
    scope: &'a Scope,
    /// The datacenters replicate to each other as well, so that old writes arrive late.
    replicates: bool,
    /// The database as runs name it.
    db: Option<DbIndex>,
    /// The database under which it is remembered.
    pub(crate) index: DbIndex,
    /// Each participant's; nothing for those that take no part.
    trusts: Vec<Option<Vouched>>,
    /// What was read completely of each replica, also of those that take no part.
    covered: BTreeMap<ReplicaId, BTreeMap<KeyspaceName, Sequence>>,
    /// The markers as they stand, by participant.
    lanes: Mutex<Vec<Option<Marker>>>,
    /// One step at a time.
    gate: tokio::sync::Mutex<()>,
}

/// How far a participant is trusted, but for what differs by keyspace.
struct Vouched {
    id: ReplicaId,
    voids: Voids,
    evicts: bool,
    /// How many keys it had evicted when the run began.
    evicted_keys: u64,
}

impl Vouched {
    fn forgot(&self, proved: Sequence) -> bool {
        self.voids.covering(proved).is_some()
    }

    /// Whether it has forgotten nothing since a step: neither what was proved by it, nor what came later.
    fn is_unbroken_since(&self, step: Sequence) -> bool {
        self.voids.0.iter().all(|(_, to)| *to < step)
    }
}

/// What is remembered of one key, ready for its merge.
pub(crate) struct Recollection {
    pub(crate) past: Past,
    /// Superseded versions, where old writes may arrive late.
    history: Vec<Agreement>,
    /// By participant; nothing for newcomers and those that take no part.
    bases: Vec<Option<Known<'static>>>,
    /// Every configured replica takes part.
    everybody: bool,
}

impl Recollection {
    /// What is agreed, as a merge is told of it.
    pub(crate) fn agreed(&self) -> Option<Agreed<'_>> {
        let agreement = self.past.agreement.as_ref()?;
        Some(Agreed {
            version: agreement.version,
            memory: agreement.memory.as_ref(),
            removed: &agreement.removed,
            everybody: self.everybody,
        })
    }

    /// A participant's base, as a merge is told of it.
    pub(crate) fn base(&self, replica: usize) -> Option<Base<'_>> {
        let known = self.bases.get(replica)?.as_ref()?;
        Some(Base {
            memory: known.memory.as_deref(),
            seen: known.seen.clone(),
            standing: known.standing,
        })
    }

    /// Takes elements that arrive late for what they are, given what each participant holds.
    pub(crate) fn expect_late(
        &mut self,
        states: &[Option<&State>],
        limit: usize,
        digester: &mut Digester,
    ) {
        let Some(agreed) = self
            .past
            .agreement
            .as_ref()
            .filter(|_| !self.history.is_empty())
        else {
            return;
        };
        let unchanged = |_: &_| Version::default();
        let mut memories = Vec::with_capacity(states.len());
        for state in states {
            memories.push(state.map(|state| remember(state, limit, unchanged, digester)));
        }
        let held: Vec<&Memory> = memories.iter().flatten().collect();
        for (known, now) in self.bases.iter_mut().zip(&memories) {
            if let (Some(known), Some(now)) = (known, now) {
                take_late_elements(known, now, &held, agreed, &self.history);
            }
        }
    }

    fn known(&self, replica: usize) -> Option<&Known<'static>> {
        self.bases.get(replica)?.as_ref()
    }
}

impl<'a> Notary<'a> {
    /// What is remembered of a key. `held` is the digest of what each participant holds now; nothing for those that do
    /// not take part in this key, and `Some(None)` where it is absent.
    pub(crate) fn recall(
        &self,
        key: &Key,
        keyspace: &Keyspace,
        held: &[Option<Option<ValueDigest>>],
    ) -> Result<Recollection, StateError> {
        let past = self.past(key)?;
        let history = self.history(key, &past)?;
        let all = held;
        let bases = held
            .iter()
            .enumerate()
            .map(|(replica, held)| {
                let Some(held) = held else { return Ok(None) };
                let Some(trust) = self.trust(replica, keyspace) else {
                    return Ok(None);
                };
                let shelf = Shelf::new(&self.memory.state, self.index, key, &past, trust.id);
                let mut known = base(&past, &trust, held.as_ref(), &shelf).map(Known::into_owned);
                if let (Some(known), Some(agreed)) = (&mut known, &past.agreement) {
                    take_late(known, held.as_ref(), all, agreed, &history);
                }
                shelf.trouble().map_or(Ok(known), Err)
            })
            .collect::<Result<_, _>>()?;
        let trusted = held.iter().zip(&self.trusts);
        let mut trusted = trusted.map(|(held, trust)| held.is_some() && trust.is_some());
        Ok(Recollection {
            past,
            history,
            bases,
            everybody: self.memory.others.is_empty() && trusted.all(|present| present),
        })
    }

    /// The key's superseded versions, where the datacenters replicate to each other; else they are not asked for.
    fn history(&self, key: &Key, past: &Past) -> Result<Vec<Agreement>, StateError> {
        match self.replicates && past.agreement.is_some() {
            true => self.memory.state.history(self.index, key),
            false => Ok(Vec::new()),
        }
    }

    /// What is remembered of a key.
    pub(crate) fn past(&self, key: &Key) -> Result<Past, StateError> {
        Ok(Past {
            agreement: self.memory.state.agreement(self.index, key)?,
            lags: self.memory.state.lags(self.index, key)?,
        })
    }

    /// The run that undid a key, if it waits for the operator.
    pub(crate) fn held(
        &self,
        key: &Key,
        keyspace: &Keyspace,
    ) -> Result<Option<RunNumber>, StateError> {
        let held = self.memory.state.held(self.index, key)?;
        let held = held.filter(|hold| !self.is_over(hold, keyspace));
        Ok(held.map(|hold| hold.run))
    }

    /// Whether a key was undone and is taken up again.
    fn is_let_go(&self, key: &Key, keyspace: &Keyspace) -> Result<bool, StateError> {
        let held = self.memory.state.held(self.index, key)?;
        Ok(held.is_some_and(|hold| self.is_over(&hold, keyspace)))
    }

    /// Whether the operator named the key, or has changed what decides about it.
    fn is_over(&self, hold: &Hold, keyspace: &Keyspace) -> bool {
        let mark = keyspace.policy.mark();
        self.memory.release_held || hold.policy.is_some_and(|policy| policy != mark)
    }

    /// What is written down of a key that is undone.
    fn hold_of(&self, keyspace: &Keyspace) -> Hold {
        Hold {
            run: self.memory.run,
            policy: Some(keyspace.policy.mark()),
        }
    }

    /// What is remembered of a key, given what its participants were last seen to hold.
    pub(crate) fn recall_for(&self, candidate: &Candidate<'_>) -> Result<Recollection, StateError> {
        let held = candidate
            .looks
            .iter()
            .map(|look| look.map(|look| look.digest()));
        let held: Vec<_> = held.collect();
        self.recall(&candidate.key, candidate.keyspace, &held)
    }

    /// Whether participants that are alike hold something else than is remembered of them.
    pub(crate) fn is_news(
        &self,
        candidate: &Candidate<'_>,
        looks: &[Option<Look>],
    ) -> Result<bool, StateError> {
        let past = self.past(&candidate.key)?;
        let mut present: Vec<Look> = looks.iter().flatten().copied().collect();
        let agreed = past.agreement.as_ref();
        let memory = agreed.and_then(|agreed| agreed.memory.as_ref());
        present.push(Look::remembered(memory));
        if difference(&present, &candidate.keyspace.policy.expiry).is_some() {
            return Ok(true);
        }
        let took_part = looks.iter().enumerate().filter(|(_, look)| look.is_some());
        let vouched = took_part.filter_map(|(replica, _)| self.trusts.get(replica)?.as_ref());
        let unproved = |one: &Vouched| match (past.lags.get(&one.id), agreed) {
            (Some(_), None) => false,
            (Some(lag), _) => lag.evicted || lag.base != LagBase::Agreed || one.forgot(lag.proved),
            (None, Some(agreed)) => one.forgot(agreed.proved),
            (None, None) => false,
        };
        Ok(vouched.into_iter().any(unproved) || self.newly_evicted(&past, looks))
    }

    /// Whether a participant that was left out of the looks is not yet known to have evicted the key.
    fn newly_evicted(&self, past: &Past, looks: &[Option<Look>]) -> bool {
        let left_out = looks.iter().enumerate().filter(|(_, look)| look.is_none());
        left_out
            .filter_map(|(replica, _)| self.trusts.get(replica)?.as_ref())
            .any(|one| one.evicts && !past.lags.get(&one.id).is_some_and(|lag| lag.evicted))
    }

    /// The participants that lack the key because they evict keys, or did when they lost this one: that is no evidence.
    pub(crate) fn evicted(
        &self,
        key: &Key,
        looks: &[Option<Look>],
    ) -> Result<Vec<usize>, StateError> {
        let lacking = looks.iter().enumerate();
        let lacking = lacking.filter(|(_, look)| **look == Some(Look::Absent));
        let lacking: Vec<usize> = lacking.map(|(replica, _)| replica).collect();
        if lacking.is_empty() {
            return Ok(lacking);
        }
        let past = self.past(key)?;
        let known = past
            .agreement
            .as_ref()
            .is_some_and(|one| one.memory.is_some());
        let evicted = |replica: &usize| {
            self.trusts[*replica].as_ref().is_some_and(|one| {
                let lag = past.lags.get(&one.id);
                lag.is_some_and(|lag| lag.evicted) || one.evicts && known
            })
        };
        Ok(lacking.into_iter().filter(evicted).collect())
    }

    /// How many keys each participant had evicted when the run began.
    pub(crate) fn evictions(&self) -> impl Iterator<Item = (ReplicaId, u64)> {
        let trusted = self.trusts.iter().flatten();
        trusted.map(|one| (one.id, one.evicted_keys))
    }

    fn trust(&self, replica: usize, keyspace: &Keyspace) -> Option<Trust> {
        let vouched = self.trusts.get(replica)?.as_ref()?;
        Some(Trust {
            id: vouched.id,
            voids: vouched.voids.clone(),
            covered: self.covered(vouched.id, keyspace),
        })
    }

    /// The step at which a key that nobody remembers was absent at a replica, whether it takes part or not.
    fn covered(&self, id: ReplicaId, keyspace: &Keyspace) -> Option<Sequence> {
        let covered = self.covered.get(&id)?;
        covered.get(&self.fingerprint(keyspace)).copied()
    }

    /// Whether of any participant it is known that keys nobody remembers were absent.
    pub(crate) fn has_covered(&self, keyspace: &Keyspace) -> bool {
        let mut vouched = self.trusts.iter().flatten();
        vouched.any(|one| self.covered(one.id, keyspace).is_some())
    }

    fn fingerprint(&self, keyspace: &Keyspace) -> KeyspaceName {
        self.scope.fingerprint(keyspace)
    }

    /// What lists the agreements of this database until it is to stop, also beside the reading of the replicas.
    pub(crate) fn listing(&self, stop: CancellationToken) -> Listing {
        let vouched = self.trusts.iter().flatten();
        Listing {
            stop,
            state: self.memory.state.clone(),
            index: self.index,
            voids: vouched.map(|one| one.voids.clone()).collect(),
        }
    }

    fn identity(&self) -> StateId {
        self.memory.state.id()
    }

    fn marker(&self, replica: usize) -> Option<Marker> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)[replica]
    }

    fn set_marker(&self, replica: usize, marker: Marker) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)[replica] = Some(marker);
    }
}
