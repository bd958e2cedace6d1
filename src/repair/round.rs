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

mod looked;
mod memory;
mod orders;
mod verify;

use crate::model::{Digester, Key, Keyspace};
use crate::store::Observed;

use super::describe::{describe, explain_into, keep_changes, left_open};
use super::finding::{Fate, Finding, Verdict};
use super::large;
use super::look::{Look, difference, is_expiring};
use super::loss::Losses;
use super::notary::{Case, Recollection};
use super::reading::{is_large, looks, moved, read, siblings, unreadable};
use super::resolve::Resolution;
use super::run::{Mode, Shared};
use super::stamps::{Stampings, doubt};
use super::writing::Writes;
use looked::{Looked, is_counter, waits};
use memory::case;
pub(crate) use memory::steps;

/// How often a key is merged and written before it counts as superseded.
const ROUNDS: usize = 4;

/// Why a key is not finished whose past cannot be read.
const FORGOTTEN: &str = "what is remembered of it cannot be read";

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
    /// Keys that were alike, and of which something new was remembered.
    pub(crate) learned: u64,
}

impl<'a> BatchReport<'a> {
    /// Adds what another batch came to.
    pub(crate) fn append(&mut self, other: BatchReport<'a>) {
        self.findings.extend(other.findings);
        self.in_flight += other.in_flight;
        self.expiring += other.expiring;
        self.deferred.extend(other.deferred);
        self.planned.extend(other.planned);
        self.learned += other.learned;
    }
}

/// A candidate on its way.
pub(crate) struct Tracked<'a> {
    candidate: Candidate<'a>,
    written: bool,
    finding: Option<Finding>,
    /// Participants that lack the key because they evict.
    evicted: Vec<usize>,
    /// Whether the last round increased it as a counter, or touched some of its elements while clients touched others.
    counts: bool,
    /// Whether the last round wrote it as a large value, which is remembered only once all are alike.
    large: bool,
    /// Whether only its counts were found to differ.
    recounted: bool,
}

/// A key that is stable and different, with what every replica holds.
struct Acting<'a> {
    tracked: Tracked<'a>,
    observed: Vec<Option<Observed>>,
    /// The stamps beside it, where servers keep any.
    stamps: Stampings,
    finding: Finding,
    /// The replicas are alike, and the agreement is not, or somebody lags.
    alike: bool,
    /// It counts, and a client counted since the last look: only what is kept meanwhile may be written.
    moving: bool,
}

/// What is to be written of a batch, and what is to be remembered.
#[derive(Default)]
struct Work<'a> {
    /// Keys that are written, in the order in which they are numbered.
    wrote: Vec<Tracked<'a>>,
    writes: Writes,
    /// With memory: what is remembered of these keys, each with its number in `wrote`; nothing where it is not written.
    cases: Vec<(Option<usize>, Case<'a>)>,
}

/// A batch in one stage of a run.
struct Round<'a> {
    shared: &'a Shared<'a>,
    stage: Stage,
    /// How often the keys were looked at before.
    round: usize,
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
            evicted: Vec::new(),
            counts: false,
            large: false,
            recounted: false,
        }
    }

    /// A counter that stands alike everywhere, with counts that differ.
    pub(crate) fn counted(candidate: Candidate<'a>) -> Self {
        Self {
            recounted: true,
            ..Self::new(candidate)
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
            evicted: Vec::new(),
            counts: false,
            large: false,
            recounted: false,
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
        round: 0,
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
        batch.round = round;
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
            None => self.leave(&left.candidate),
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
        let mut looks = looks(&observed, &mut self.digester);
        one.evicted = self.leave_out_evicted(&one.candidate, &mut looks);
        let present: Vec<Look> = looks.iter().flatten().copied().collect();
        if present.len() + one.evicted.len() < 2 {
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
        } else if one.recounted && !one.written && !is_counter(&present, expiry) {
            // What differs in its number as well is a candidate of its own; what is gone counts no more.
        } else if one.recounted && is_counter(&present, expiry) {
            return self.differs(one, observed, &looks, true);
        } else if difference(&present, expiry).is_none() {
            let news = self.is_news(&one.candidate, &looks);
            match one.finding.take() {
                Some(finding) if one.written => self.find(finding, Verdict::Repaired),
                _ if news && !moved(&before, &looks) => {
                    return self.differs(one, observed, &looks, true);
                }
                // What is alike and remembered, or not remembered at all, was in flight.
                _ => self.leave(&one.candidate),
            }
        } else if is_expiring(&present, shared.now(), expiry) {
            self.report.expiring += 1;
            self.unsettled(&one.candidate);
        } else if moved(&before, &looks) && self.counts_on(&one.candidate, &observed, &looks) {
            let looked = self.differs(one, observed, &looks, false);
            return looked.moving();
        } else if moved(&before, &looks) {
            // What could not be read at first is looked at once more, and so is what had to wait long; what else a
            // client moved is left to the next run.
            let unread = before.contains(&Some(Look::Unreadable));
            if one.written || unread || self.stage == Stage::Destructions {
                return Looked::Moving(Box::new(one));
            }
            self.leave(&one.candidate);
        } else {
            return self.differs(one, observed, &looks, false);
        }
        Looked::Decided
    }

    fn differs(
        &self,
        tracked: Tracked<'a>,
        observed: Vec<Option<Observed>>,
        looks: &[Option<Look>],
        alike: bool,
    ) -> Looked<'a> {
        let finding = describe(self.shared, &tracked.candidate, &observed, looks);
        Looked::Differs(Box::new(Acting {
            tracked,
            observed,
            stamps: Vec::new(),
            finding,
            alike,
            moving: false,
        }))
    }

    /// Merges, writes and verifies; answers what is to be looked at again.
    async fn act(&mut self, mut acting: Vec<Acting<'a>>) -> Vec<Tracked<'a>> {
        let mode = self.shared.run.settings.mode;
        let mut work = Work::default();
        self.look_at_stamps(&mut acting).await;
        for one in acting {
            if one.tracked.recounted && mode == Mode::Diff {
                self.find(one.finding, Verdict::Diverged);
            } else if one.alike && is_large(&one.observed) {
                let tracked = &one.tracked;
                self.learn_large(&tracked.candidate, &tracked.evicted).await;
            } else if one.alike {
                self.learn(one, &mut work);
            } else if !self.is_permitted(&one.tracked) {
                self.find(one.finding, Verdict::OverLimit);
            } else if mode != Mode::Diff
                && let Some(run) = self.held(&one.tracked.candidate)
            {
                self.find(one.finding, waits(run));
            } else if is_large(&one.observed) {
                work.wrote.extend(self.act_on_large(one).await);
            } else if mode == Mode::Diff {
                self.find(one.finding, Verdict::Diverged);
            } else {
                self.decide_whole(one, &mut work).await;
            }
        }
        let written = self.write(&mut work).await;
        self.verify(work.wrote, written).await
    }

    /// Whether a key may be repaired: each takes one permit, when it is first found to differ.
    fn is_permitted(&self, tracked: &Tracked<'_>) -> bool {
        let is_first = tracked.finding.is_none() && self.stage == Stage::Additions;
        self.shared.run.settings.mode == Mode::Diff || !is_first || self.shared.take_permit()
    }

    async fn act_on_large(&mut self, mut one: Acting<'a>) -> Option<Tracked<'a>> {
        if let Some(verdict) = doubt(self.shared, &one.stamps) {
            self.find(one.finding, verdict);
            return None;
        }
        let candidate = &one.tracked.candidate;
        let recollection = match self.shared.notary(candidate.keyspace.db) {
            None => None,
            Some(notary) => match notary.recall_for(candidate) {
                Ok(recollection) => Some(recollection),
                Err(error) => {
                    self.shared.break_off(error);
                    self.find(one.finding, Verdict::Unfinished(FORGOTTEN.into()));
                    return None;
                }
            },
        };
        let (ended, losses) = large::repair(
            self.shared,
            self.stage,
            candidate,
            &one.observed,
            (recollection.as_ref(), &one.stamps),
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
            large::Ended::Wrote => {
                one.tracked.large = true;
                return Some(one.written());
            }
            large::Ended::Deferred => self.defer(one, losses),
        }
        None
    }

    /// What is to be written for a key, unless that is decided here or has to wait.
    async fn decide_whole(&mut self, one: Acting<'a>, work: &mut Work<'a>) {
        if let Some(verdict) = doubt(self.shared, &one.stamps) {
            return self.find(one.finding, verdict);
        }
        match self.resolve(&one) {
            Some((resolution, _)) if !resolution.rebuilds.is_empty() => {
                work.wrote.extend(self.act_on_large(one).await);
            }
            Some((resolution, recollection)) => self.conclude(one, resolution, recollection, work),
            None => self.find(one.finding, Verdict::Unfinished(FORGOTTEN.into())),
        }
    }

    fn conclude(
        &mut self,
        mut one: Acting<'a>,
        resolution: Resolution,
        recollection: Option<Recollection>,
        work: &mut Work<'a>,
    ) {
        explain_into(self.shared, &resolution, &mut one.finding);
        self.keep_earlier(&mut one);
        let is_plan = self.shared.run.settings.mode == Mode::Plan;
        let keeps = resolution.only_counts() || resolution.only_touches();
        if one.moving && !keeps {
            return self.keep_moving(one, work);
        }
        match left_open(self.shared, &resolution) {
            Some(verdict) if resolution.writes.is_empty() => {
                work.cases
                    .extend(case(&one, resolution, recollection).map(|case| (None, case)));
                self.find(one.finding, verdict);
            }
            _ if is_plan => {
                self.report.planned.push(resolution.losses);
                self.find(one.finding, Verdict::Planned);
            }
            _ if self.stage == Stage::Additions && !resolution.losses.is_empty() => {
                self.defer(one, resolution.losses);
            }
            _ => {
                let number = work.wrote.len();
                let counts = resolution.only_counts() || one.moving && keeps;
                match recollection {
                    Some(_) => {
                        let case = case(&one, resolution, recollection);
                        work.cases.extend(case.map(|case| (Some(number), case)));
                    }
                    None => self.order(&one, resolution, number, work),
                }
                one.tracked.counts = counts;
                work.wrote.push(one.written());
            }
        }
    }

    /// What a client moved, and is not only counted, is looked at again if it was written before; else it is left.
    fn keep_moving(&mut self, mut one: Acting<'a>, work: &mut Work<'a>) {
        if one.tracked.written {
            self.keep_earlier(&mut one);
            work.wrote.push(one.written());
        } else if self.stage == Stage::Destructions {
            work.wrote.push(one.tracked);
        } else {
            self.leave(&one.tracked.candidate);
        }
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
}

impl<'a> Acting<'a> {
    fn written(mut self) -> Tracked<'a> {
        self.tracked.written = true;
        self.tracked.finding = Some(self.finding);
        self.tracked
    }
}

fn planned(verdict: &Verdict, losses: Losses) -> Option<Losses> {
    (*verdict == Verdict::Planned).then_some(losses)
}

fn too_few() -> Verdict {
    Verdict::Unfinished("fewer than two replicas are left".into())
}
