//! A batch of candidates on its way to a verdict.
//!
//! ```text
//! candidate ─ read again ─┬─ alike by now ────────────▶ in flight, or repaired if we wrote
//!                         ├─ moved since ─────────────▶ in flight, or another round if we wrote
//!                         └─ stable and different ─ merge ─ compare and write ─ read again ─┐
//!                                    ▲                                                      │
//!                                    └───────────────── settle, a bounded number of rounds ─┘
//! ```
//!
//! A client's write that lands between any two steps is never overwritten unseen: what is written is conditional on
//! the last look, and what lost is looked at twice again.
//!
//! Writes that overwrite or remove something are not made in the stage of additions: their keys are handed back, and
//! come again when all additions are done.

use crate::model::{Digester, Key, Keyspace, ReplicaIndex};
use crate::store::Observed;

use super::describe::{describe, explain_into, keep_changes, settle_change};
use super::finding::{Fate, Finding, Verdict};
use super::large;
use super::look::{Look, difference, is_expiring};
use super::loss::Losses;
use super::reading::{is_large, looks, moved, read, siblings, state, unreadable};
use super::resolve::{Resolution, Stable, resolve};
use super::run::{Mode, Shared};
use super::writing::{Writes, Written, write_all};

/// How often a key is merged and written before it counts as superseded.
const ROUNDS: usize = 4;

/// Which writes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Those that take nothing from a replica.
    Additions,
    /// All.
    Destructions,
}

/// A key that the first read found different.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) key: Key,
    pub(crate) keyspace: &'a Keyspace,
    /// What each replica was seen to hold; nothing for those that take no part.
    pub(crate) looks: Vec<Option<Look>>,
}

/// A key whose repair overwrites or removes something: it waits for the second stage.
#[derive(Debug)]
pub(crate) struct Deferred<'a> {
    pub(crate) candidate: Candidate<'a>,
    pub(crate) finding: Finding,
    pub(crate) losses: Losses,
}

/// What a batch came to.
#[derive(Debug, Default)]
pub(crate) struct BatchReport<'a> {
    pub(crate) findings: Vec<Finding>,
    pub(crate) in_flight: u64,
    pub(crate) expiring: u64,
    pub(crate) deferred: Vec<Deferred<'a>>,
    /// What the keys that are only planned would take.
    pub(crate) planned: Vec<Losses>,
}

/// A candidate on its way.
pub(crate) struct Tracked<'a> {
    candidate: Candidate<'a>,
    written: bool,
    finding: Option<Finding>,
}

/// A key that is stable and different, with what every replica holds.
struct Acting<'a> {
    tracked: Tracked<'a>,
    observed: Vec<Option<Observed>>,
    finding: Finding,
}

/// A batch in one stage of a run.
struct Round<'a> {
    shared: &'a Shared<'a>,
    stage: Stage,
    digester: Digester,
    report: BatchReport<'a>,
}

impl<'a> Tracked<'a> {
    /// A key that was found.
    pub(crate) fn new(candidate: Candidate<'a>) -> Self {
        Self {
            candidate,
            written: false,
            finding: None,
        }
    }

    /// A key that waited. What was written to it before belongs to what is said of it.
    pub(crate) fn taken_up(deferred: Deferred<'a>) -> Self {
        let tried = |fate| matches!(fate, Fate::Applied | Fate::Unknown);
        let mut finding = deferred.finding;
        finding.changes.retain(|change| tried(change.fate));
        let written = !finding.changes.is_empty();
        Self {
            candidate: deferred.candidate,
            written,
            finding: written.then_some(finding),
        }
    }
}

/// Brings a batch of keys, all of one database, to their verdicts, or to where they have to wait.
pub(crate) async fn decide<'a>(
    shared: &'a Shared<'a>,
    stage: Stage,
    mut tracked: Vec<Tracked<'a>>,
) -> BatchReport<'a> {
    let mut batch = Round {
        shared,
        stage,
        digester: Digester::new(shared.run.digest_key.clone()),
        report: BatchReport::default(),
    };
    for round in 0..ROUNDS {
        if tracked.is_empty() || (round > 0 && shared.run.stop.is_cancelled()) {
            break;
        }
        if round > 0 {
            shared.pause(shared.run.settings.settle).await;
        }
        let acting = batch.look_again(&mut tracked).await;
        let again = batch.act(acting).await;
        tracked.extend(again);
    }
    for left in tracked {
        batch.give_up(left);
    }
    batch.report
}

impl<'a> Round<'a> {
    fn find(&mut self, finding: Finding, verdict: Verdict) {
        self.report.findings.push(Finding { verdict, ..finding });
    }

    /// What is left when all rounds are over.
    fn give_up(&mut self, left: Tracked<'a>) {
        let few = self.shared.active().len() < 2;
        match left.finding {
            Some(finding) if few => self.find(finding, too_few()),
            Some(finding) => self.find(finding, Verdict::Superseded),
            None => self.report.in_flight += 1,
        }
    }

    /// Reads all tracked keys afresh. What is decided leaves; what is stable and different is handed on; the rest
    /// stays.
    async fn look_again(&mut self, tracked: &mut Vec<Tracked<'a>>) -> Vec<Acting<'a>> {
        let reading = read(self.shared, tracked.iter().map(|one| &one.candidate)).await;
        let mut acting = Vec::new();
        for (index, one) in std::mem::take(tracked).into_iter().enumerate() {
            match self.look(one, siblings(&reading, index)) {
                Looked::Decided => {}
                Looked::Moving(one) => tracked.push(*one),
                Looked::Differs(one) => acting.push(*one),
            }
        }
        acting
    }

    fn look(&mut self, mut one: Tracked<'a>, observed: Vec<Option<Observed>>) -> Looked<'a> {
        let shared = self.shared;
        let looks = looks(&observed, &mut self.digester);
        let present: Vec<Look> = looks.iter().flatten().copied().collect();
        if present.len() < 2 {
            let finding = one.finding.take();
            let describe = || describe(shared, &one.candidate, &observed, &looks);
            self.find(finding.unwrap_or_else(describe), too_few());
            return Looked::Decided;
        }
        let expiry = &one.candidate.keyspace.policy.expiry;
        let before = std::mem::replace(&mut one.candidate.looks, looks.clone());
        if let Some(verdict) = unreadable(shared, &observed) {
            let mut finding = describe(shared, &one.candidate, &observed, &looks);
            let earlier = one.finding.map_or_else(Vec::new, |earlier| earlier.changes);
            keep_changes(shared, earlier, &mut finding);
            self.find(finding, verdict);
        } else if difference(&present, expiry).is_none() {
            match one.finding {
                Some(finding) if one.written => self.find(finding, Verdict::Repaired),
                _ => self.report.in_flight += 1,
            }
        } else if is_expiring(&present, shared.now(), expiry) {
            self.report.expiring += 1;
        } else if moved(&before, &looks) {
            // What could not be read at first is looked at once more, and so is what had to wait long; what else a
            // client moved is left to the next run.
            let unread = before.contains(&Some(Look::Unreadable));
            if one.written || unread || self.stage == Stage::Destructions {
                return Looked::Moving(Box::new(one));
            }
            self.report.in_flight += 1;
        } else {
            let finding = describe(shared, &one.candidate, &observed, &looks);
            return Looked::Differs(Box::new(Acting {
                tracked: one,
                observed,
                finding,
            }));
        }
        Looked::Decided
    }

    /// Merges, writes and verifies; answers what is to be looked at again.
    async fn act(&mut self, acting: Vec<Acting<'a>>) -> Vec<Tracked<'a>> {
        let mode = self.shared.run.settings.mode;
        let mut wrote = Vec::new();
        let mut writes = Writes::new();
        for one in acting {
            if !self.is_permitted(&one.tracked) {
                self.find(one.finding, Verdict::OverLimit);
            } else if is_large(&one.observed) {
                wrote.extend(self.act_on_large(one).await);
            } else if mode == Mode::Diff {
                self.find(one.finding, Verdict::Diverged);
            } else {
                let resolution = resolve_one(self.shared, &one, &mut self.digester);
                if !resolution.rebuilds.is_empty() {
                    wrote.extend(self.act_on_large(one).await);
                    continue;
                }
                let Some((tracked, resolution)) = self.merge(one, resolution) else {
                    continue;
                };
                for (ReplicaIndex(replica), write) in resolution.writes {
                    let of_replica = writes.entry(replica).or_default();
                    of_replica.push((wrote.len(), write));
                }
                wrote.push(tracked);
            }
        }
        let Some(db) = wrote.first().map(|first| first.candidate.keyspace.db) else {
            return Vec::new();
        };
        let written = write_all(self.shared, db, writes).await;
        self.verify(wrote, written).await
    }

    /// Whether a key may be repaired: each takes one permit, when it is first found to differ.
    fn is_permitted(&self, tracked: &Tracked<'_>) -> bool {
        let is_first = tracked.finding.is_none() && self.stage == Stage::Additions;
        self.shared.run.settings.mode == Mode::Diff || !is_first || self.shared.take_permit()
    }

    async fn act_on_large(&mut self, mut one: Acting<'a>) -> Option<Tracked<'a>> {
        let candidate = &one.tracked.candidate;
        let (ended, losses) = large::repair(
            self.shared,
            self.stage,
            candidate,
            &one.observed,
            &mut one.finding,
            &mut self.digester,
        )
        .await;
        self.keep_earlier(&mut one);
        match ended {
            large::Ended::Decided(verdict) => {
                self.report.planned.extend(planned(&verdict, losses));
                self.find(one.finding, verdict);
            }
            large::Ended::Wrote => return Some(one.written()),
            large::Ended::Deferred => self.defer(one, losses),
        }
        None
    }

    /// What is to be written for a key, unless that is decided here or has to wait.
    fn merge(
        &mut self,
        mut one: Acting<'a>,
        resolution: Resolution,
    ) -> Option<(Tracked<'a>, Resolution)> {
        explain_into(self.shared, &resolution, &mut one.finding);
        self.keep_earlier(&mut one);
        let is_plan = self.shared.run.settings.mode == Mode::Plan;
        match resolution.unresolved() {
            Some(reason) if resolution.writes.is_empty() => {
                self.find(one.finding, Verdict::Unresolved(reason));
            }
            _ if is_plan => {
                self.report.planned.push(resolution.losses);
                self.find(one.finding, Verdict::Planned);
            }
            _ if self.stage == Stage::Additions && !resolution.losses.is_empty() => {
                self.defer(one, resolution.losses);
            }
            _ => return Some((one.written(), resolution)),
        }
        None
    }

    fn defer(&mut self, one: Acting<'a>, losses: Losses) {
        self.report.deferred.push(Deferred {
            candidate: one.tracked.candidate,
            finding: Finding {
                verdict: Verdict::HeldBack,
                ..one.finding
            },
            losses,
        });
    }

    fn keep_earlier(&self, one: &mut Acting<'_>) {
        if let Some(earlier) = one.tracked.finding.take() {
            keep_changes(self.shared, earlier.changes, &mut one.finding);
        }
    }

    /// Notes what became of the writes, and reads the keys again. What is alike now is repaired; the rest is looked at
    /// again.
    async fn verify(
        &mut self,
        mut wrote: Vec<Tracked<'a>>,
        written: Vec<Written>,
    ) -> Vec<Tracked<'a>> {
        let participants = &self.shared.run.participants;
        let mut refused: Vec<Option<Verdict>> = wrote.iter().map(|_| None).collect();
        for one in written {
            let name = participants[one.replica].replica.name();
            if let Some(finding) = &mut wrote[one.key].finding {
                settle_change(finding, name, one.fate);
            }
            refused[one.key] = one.verdict.or(refused[one.key].take());
        }
        let reading = read(self.shared, wrote.iter().map(|one| &one.candidate)).await;
        let mut again = Vec::new();
        for (index, (mut one, refused)) in wrote.into_iter().zip(refused).enumerate() {
            let looks = looks(&siblings(&reading, index), &mut self.digester);
            match (
                verified(&one.candidate, &looks, refused),
                one.finding.take(),
            ) {
                (Some(verdict), Some(finding)) => self.find(finding, verdict),
                (_, finding) => {
                    one.finding = finding;
                    one.candidate.looks = looks;
                    again.push(one);
                }
            }
        }
        again
    }
}

/// What a look at a key led to.
enum Looked<'a> {
    Decided,
    Moving(Box<Tracked<'a>>),
    Differs(Box<Acting<'a>>),
}

impl<'a> Acting<'a> {
    fn written(mut self) -> Tracked<'a> {
        self.tracked.written = true;
        self.tracked.finding = Some(self.finding);
        self.tracked
    }
}

/// The verdict on a key that was written, if the looks at it give one.
fn verified(
    candidate: &Candidate<'_>,
    looks: &[Option<Look>],
    refused: Option<Verdict>,
) -> Option<Verdict> {
    let took_part = candidate.looks.iter().flatten().count();
    let present: Vec<Look> = looks.iter().flatten().copied().collect();
    let lost = || Verdict::Unfinished("a replica was lost before the key was verified".into());
    let alike = difference(&present, &candidate.keyspace.policy.expiry).is_none();
    refused
        .or_else(|| (present.len() < took_part).then(lost))
        .or_else(|| alike.then_some(Verdict::Repaired))
}

fn planned(verdict: &Verdict, losses: Losses) -> Option<Losses> {
    (*verdict == Verdict::Planned).then_some(losses)
}

fn too_few() -> Verdict {
    Verdict::Unfinished("fewer than two replicas are left".into())
}

fn resolve_one(shared: &Shared<'_>, one: &Acting<'_>, digester: &mut Digester) -> Resolution {
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
            })
        })
        .collect();
    resolve(
        &candidate.key,
        &stable,
        &candidate.keyspace.policy,
        shared.now(),
        digester,
    )
}
