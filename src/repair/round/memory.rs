//! A batch in a run with memory: what is news, what is evidence, and what is remembered of each key.

use std::ops::Range;

use crate::crdt::{Outcome, integer};
use crate::model::{Digester, Kind, Layout, ReplicaIndex, RunNumber, Value};
use crate::store::{BATCH_KEYS, Observed};

use super::super::finding::Verdict;
use super::super::look::Look;
use super::super::notary::{Case, Pupil, Recollection};
use super::super::reading::{is_large, state};
use super::super::resolve::{Resolution, Stable, resolve};
use super::super::run::{Mode, Shared};
use super::super::stamps::{doubt, read_stamps, stamps};
use super::super::writing::{Load, Written, write_all};
use super::{Acting, Candidate, ROUNDS, Round, Work};

impl<'a> Round<'a> {
    /// Writes what is to be written; with memory, in steps that remember it.
    pub(super) async fn write(&mut self, work: &mut Work<'a>) -> Vec<Written> {
        let db = match (work.wrote.first(), work.cases.first()) {
            (Some(tracked), _) => tracked.candidate.keyspace.db,
            (None, Some((_, case))) => case.keyspace.db,
            (None, None) => return Vec::new(),
        };
        let Some(notary) = self.shared.notary(db) else {
            return write_all(self.shared, db, std::mem::take(&mut work.writes)).await;
        };
        let (numbers, cases): (Vec<_>, Vec<_>) =
            std::mem::take(&mut work.cases).into_iter().unzip();
        let mut written = Vec::new();
        for range in steps(&cases, self.round) {
            match notary.step(self.shared, &cases[range.clone()]).await {
                Ok(done) => written.extend(done.into_iter().filter_map(|one| {
                    let key = numbers[range.start + one.key]?;
                    Some(Written { key, ..one })
                })),
                Err(error) => {
                    self.shared.break_off(error);
                    break;
                }
            }
        }
        self.report.learned += numbers.iter().filter(|number| number.is_none()).count() as u64;
        written
    }

    /// Reads the stamps beside what is to be merged.
    pub(super) async fn look_at_stamps(&self, acting: &mut [Acting<'a>]) {
        if self.shared.run.settings.mode == Mode::Diff {
            return;
        }
        let keys: Vec<_> = acting
            .iter()
            .map(|one| (&one.tracked.candidate, &one.observed[..]))
            .collect();
        let all = read_stamps(self.shared, &keys).await;
        acting
            .iter_mut()
            .zip(all)
            .for_each(|(one, stamps)| one.stamps = stamps);
    }

    /// A key is left to the next run: what it was now is not proved.
    pub(super) fn leave(&mut self, candidate: &Candidate<'_>) {
        self.report.in_flight += 1;
        self.unsettled(candidate);
    }

    pub(super) fn unsettled(&self, candidate: &Candidate<'_>) {
        let looks = &candidate.looks;
        if looks.contains(&None) || looks.contains(&Some(Look::Absent)) {
            self.shared.open_absences.put();
        }
        let is_there = |look: &Look| *look != Look::Absent;
        if candidate.looks.iter().flatten().any(is_there) {
            let db = self.shared.db_index(candidate.keyspace.db);
            self.shared.unsettled(db, candidate.key.clone());
        }
    }

    /// Whether clients may be counting in a key, or adding to a collection with stamps, while it is repaired: what they
    /// add is kept, and they may never stop.
    pub(super) fn counts_on(
        &self,
        candidate: &Candidate<'_>,
        observed: &[Option<Observed>],
        looks: &[Option<Look>],
    ) -> bool {
        let rules = &candidate.keyspace.policy.rules;
        let mut present = looks.iter().flatten().filter(|look| **look != Look::Absent);
        let is_number = |one: &Option<Observed>| match state(one).map(|state| &state.value) {
            Some(Value::String(bytes)) => integer(bytes).is_some(),
            _ => false,
        };
        let counts_along = observed.iter().all(is_number);
        let mut kinds = looks.iter().flatten().map(Look::kind);
        let counts = self.shared.notary(candidate.keyspace.db).is_some()
            && kinds.all(|kind| kind.is_some_and(|kind| rules.counts(kind)));
        let is_collection = |look: &Look| {
            let kind = look.kind();
            kind.is_some_and(|kind| matches!(kind, Kind::Hash | Kind::Set | Kind::SortedSet))
        };
        let is_stamped = self.shared.run.scope.layout() == Layout::Dynomite
            && (counts_along || present.all(is_collection));
        self.shared.run.settings.mode != Mode::Diff && (counts || is_stamped) && !is_large(observed)
    }

    /// Takes those out that lack the key because they evict. Answers which.
    pub(super) fn leave_out_evicted(
        &self,
        candidate: &Candidate<'_>,
        looks: &mut [Option<Look>],
    ) -> Vec<usize> {
        let Some(notary) = self.shared.notary(candidate.keyspace.db) else {
            return Vec::new();
        };
        match notary.evicted(&candidate.key, looks) {
            Ok(evicted) => {
                evicted.iter().for_each(|replica| looks[*replica] = None);
                evicted
            }
            Err(error) => {
                self.shared.break_off(error);
                Vec::new()
            }
        }
    }

    /// Whether the replicas, which are alike, hold something else than is remembered of them.
    pub(super) fn is_news(&self, candidate: &Candidate<'_>, looks: &[Option<Look>]) -> bool {
        let Some(notary) = self.shared.notary(candidate.keyspace.db) else {
            return false;
        };
        match notary.is_news(candidate, looks) {
            Ok(news) => news,
            Err(error) => {
                self.shared.break_off(error);
                false
            }
        }
    }

    /// The replicas are alike: what they hold is remembered. Only counters may have to be written, where each replica
    /// counted something of its own.
    pub(super) fn learn(&mut self, one: Acting<'a>, work: &mut Work<'a>) {
        let mode = self.shared.run.settings.mode;
        if self.held(&one.tracked.candidate).is_some() {
            return;
        }
        let is_recounted = one.tracked.recounted;
        if let Some(verdict) = doubt(self.shared, &one.stamps).filter(|_| is_recounted) {
            return self.find(one.finding, verdict);
        }
        let Some((resolution, recollection)) = self.resolve(&one) else {
            return;
        };
        // Counts that differ are not alike, although the numbers are.
        if is_recounted && resolution.writes.is_empty() && resolution.unresolved().is_some() {
            self.conclude(one, resolution, recollection, work);
        } else if resolution.writes.is_empty() {
            if let Some(finding) = one.tracked.finding.clone().filter(|_| one.tracked.written) {
                self.find(finding, Verdict::Repaired);
            }
            if mode == Mode::Repair {
                work.cases
                    .extend(case(&one, resolution, recollection).map(|case| (None, case)));
            }
        } else if mode == Mode::Diff {
            self.find(one.finding, Verdict::Diverged);
        } else if self.is_permitted(&one.tracked) {
            self.conclude(one, resolution, recollection, work);
        } else {
            self.find(one.finding, Verdict::OverLimit);
        }
    }

    /// Remembers a large key on which all are alike.
    pub(super) async fn learn_large(&mut self, candidate: &Candidate<'_>, evicted: &[usize]) {
        let Some(notary) = self.shared.notary(candidate.keyspace.db) else {
            return;
        };
        if self.shared.run.settings.mode != Mode::Repair || self.held(candidate).is_some() {
            return;
        }
        let looks = &candidate.looks;
        match notary
            .learn_alike(self.shared, candidate, looks, evicted)
            .await
        {
            Ok(()) => self.report.learned += 1,
            Err(error) => self.shared.break_off(error),
        }
    }

    /// The merge of a key, with what is remembered of it. Nothing where that cannot be read.
    pub(super) fn resolve(
        &mut self,
        one: &Acting<'_>,
    ) -> Option<(Resolution, Option<Recollection>)> {
        let candidate = &one.tracked.candidate;
        let recollection = match self.shared.notary(candidate.keyspace.db) {
            None => None,
            Some(notary) => match notary.recall_for(candidate) {
                Ok(mut recollection) => {
                    let states: Vec<_> = one.observed.iter().map(state).collect();
                    let limit = notary.memory.elements;
                    recollection.expect_late(&states, limit, &mut self.digester);
                    Some(recollection)
                }
                Err(error) => {
                    self.shared.break_off(error);
                    return None;
                }
            },
        };
        let resolution = resolve_one(self.shared, one, recollection.as_ref(), &mut self.digester);
        Some((resolution, recollection))
    }

    /// The run that undid this key, if it waits for the operator.
    pub(super) fn held(&self, candidate: &Candidate<'_>) -> Option<RunNumber> {
        let notary = self.shared.notary(candidate.keyspace.db)?;
        notary
            .held(&candidate.key, candidate.keyspace)
            .unwrap_or_else(|error| {
                self.shared.break_off(error);
                None
            })
    }
}

/// What is remembered of a key that was merged, whatever becomes of its writes. Nothing without memory, and where the
/// merge is open.
pub(super) fn case<'a>(
    one: &Acting<'a>,
    resolution: Resolution,
    recollection: Option<Recollection>,
) -> Option<Case<'a>> {
    let Outcome::Target(target) = resolution.merged.outcome.clone() else {
        return None;
    };
    let candidate = &one.tracked.candidate;
    let took_part = candidate.looks.iter().enumerate();
    let took_part = took_part.filter_map(|(replica, look)| look.map(|_| replica));
    let pupil = |replica: usize| Pupil {
        replica,
        state: state(&one.observed[replica]).cloned(),
        fate: resolution.fate(ReplicaIndex(replica)),
        left_out: resolution.left_out(ReplicaIndex(replica)),
    };
    Some(Case {
        key: candidate.key.clone(),
        keyspace: candidate.keyspace,
        recollection: recollection?,
        target,
        pupils: took_part.map(pupil).collect(),
        evicted: one.tracked.evicted.clone(),
        writes: resolution
            .writes
            .iter()
            .map(|(ReplicaIndex(replica), write)| (*replica, write.clone()))
            .collect(),
        merged: resolution.merged,
        undoing: None,
    })
}

/// How many writes a step carries for a replica, by round: what clients keep writing is tried in ever smaller ones.
const STEP_KEYS: [usize; ROUNDS] = [BATCH_KEYS, 8, 1, 1];

/// Splits cases into steps that no replica is held by for long.
pub(crate) fn steps(cases: &[Case<'_>], round: usize) -> Vec<Range<usize>> {
    let most = STEP_KEYS[round.min(ROUNDS - 1)];
    let mut steps: Vec<Range<usize>> = Vec::new();
    let mut load = Load::default();
    for (index, case) in cases.iter().enumerate() {
        let fits = load.add(case, most);
        match steps.last_mut() {
            Some(step) if fits => step.end = index + 1,
            _ => {
                load = Load::default();
                load.add(case, most);
                steps.push(index..index + 1);
            }
        }
    }
    steps
}

fn resolve_one(
    shared: &Shared<'_>,
    one: &Acting<'_>,
    recollection: Option<&Recollection>,
    digester: &mut Digester,
) -> Resolution {
    let candidate = &one.tracked.candidate;
    let stable: Vec<Stable<'_>> = candidate
        .looks
        .iter()
        .enumerate()
        .filter_map(|(index, look)| {
            Some(Stable {
                replica: ReplicaIndex(index),
                datacenter: &shared.run.participants[index].datacenter,
                state: state(&one.observed[index]),
                look: (*look)?,
                can: shared.run.participants[index].replica.capabilities(),
                stamps: one
                    .stamps
                    .get(index)
                    .and_then(|reading| stamps(reading.as_ref())),
            })
        })
        .collect();
    resolve(
        &candidate.key,
        &stable,
        recollection,
        &candidate.keyspace.policy,
        (shared.now(), shared.run.participants.len()),
        digester,
    )
}
