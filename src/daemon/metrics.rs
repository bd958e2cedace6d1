//! What Prometheus sees of the service.
//!
//! ```text
//! findings, ends of runs ─▶ counters ─┐
//! board, throttle, state ─▶ gauges ───┴─▶ registry ─▶ /metrics
//!                  read at every scrape
//! ```
//!
//! Counters begin at zero with the service and are published from its start. Gauges are set anew at every scrape, so no
//! series outlives the run, schedule or replica that it is about; counters leave with those too.

mod families;
mod family;
#[cfg(test)]
mod fixture;
mod kinds;
mod latest;
mod meter;
mod scrape;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::Registry;

use crate::crdt::Evidence;
use crate::model::{Datacenter, Millis, ReplicaName};
use crate::repair::{Change, Finding, Mode, Tripped, Verdict};
use crate::state::State;

use super::board::{Card, RunState};
use super::order::What;
use super::planner;
use super::webhook::{Counts, Webhook};
use families::Families;
use kinds::{Divergence, is_residue};
use latest::Latest;
use meter::Meter;

/// The metrics of a service.
pub struct Metrics {
    registry: Registry,
    families: Families,
    began: Millis,
    /// One scrape at a time, for gauges are taken away and set anew.
    scraping: Mutex<()>,
    meter: Mutex<Meter>,
    latest: Mutex<Latest>,
    webhooks: Mutex<Webhooks>,
}

impl Metrics {
    /// Nothing has happened yet; what is remembered tells when a repair last missed nothing.
    pub fn new(state: Option<&State>, began: Millis) -> Self {
        let registry = Registry::new();
        Self {
            families: Families::new(&registry),
            registry,
            began,
            scraping: Mutex::default(),
            meter: Mutex::default(),
            latest: Mutex::new(Latest::remembered(state)),
            webhooks: Mutex::default(),
        }
    }

    /// Shows what becomes of the events for a webhook.
    pub fn watch_webhook(&self, webhook: Option<&Webhook>) {
        let counts = webhook.map(Webhook::counts);
        lock(&self.webhooks).watch(counts);
    }

    /// The configuration was read anew, and taken over or not.
    pub fn reloaded(&self, taken: bool) {
        lock(&self.latest).reloaded = taken;
    }

    /// A key was found that differs; these are the replicas of the run.
    pub fn finding(&self, finding: &Finding, replicas: &[(ReplicaName, Datacenter)]) {
        let families = &self.families.findings;
        let kind = Divergence::of(finding).name();
        families.divergences.add(&[&finding.keyspace.0, kind], 1);
        families.looked_at.add(&["confirmed"], 1);
        families.verdicts.add(&[finding.verdict.name()], 1);
        match &finding.verdict {
            Verdict::Repaired => {
                let kind = finding.kind().map_or("unknown", |kind| kind.name());
                let rule = finding.rule.unwrap_or("none");
                let evidence = finding.evidence.unwrap_or(Evidence::None).name();
                families.repaired.add(&[kind, rule, evidence], 1);
            }
            Verdict::Superseded => families.superseded.add(&[&finding.keyspace.0], 1),
            _ => {}
        }
        if is_residue(finding) {
            families.residue.add(&[finding.verdict.name()], 1);
        }
        for change in finding.changes.iter().filter(|one| Change::removed(one)) {
            let labels = labels_of(&change.replica, replicas);
            families.deletes.add(&labels, 1);
        }
    }

    /// A run has ended, and its card says how; nothing as `planned` is one that no schedule was due for.
    pub fn ended(&self, card: &Card, planned: Option<planner::Outcome>) {
        self.advance(card);
        let standing = card.standing();
        let schedule = card.order.schedule.as_deref().unwrap_or_default();
        let runs = &self.families.runs;
        runs.ended.add(&[schedule, standing.state.name()], 1);
        let ended = standing.ended.unwrap_or(card.asked);
        let millis = ended.0.saturating_sub(card.asked.0).max(0);
        runs.duration.observe(millis as f64 / 1000.0);
        self.undo_tripped(card);
        let mut latest = lock(&self.latest);
        if let Some(outcome) = planned {
            latest.schedule_ended(schedule, outcome);
        }
        let (What::Compare(plan, selection), Some(summary)) = (&card.order.what, &standing.summary)
        else {
            return;
        };
        latest.compared(selection, summary, standing.state, card.order.resumes);
        if plan.mode == Mode::Repair {
            self.tripped(card, &summary.tripped);
            if standing.state == RunState::Done && selection.is_whole() {
                latest.agreement_updated = Some(ended);
            }
        }
    }

    /// Guards stop an undo as they stop a repair.
    fn undo_tripped(&self, card: &Card) {
        let What::Undo(undoing) = &card.order.what else {
            return;
        };
        if let Some(summary) = card.undone(0, 0).summary.filter(|_| !undoing.dry_run) {
            self.tripped(card, &summary.tripped);
        }
    }

    fn tripped(&self, card: &Card, tripped: &[Tripped]) {
        for tripped in tripped {
            let [replica, datacenter] = labels_of(&tripped.replica, &card.replicas);
            let labels = [tripped.what.name(), replica, datacenter];
            self.families.findings.guards.add(&labels, 1);
        }
    }

    /// Counts what a run has done since it was last looked at.
    fn advance(&self, card: &Card) {
        lock(&self.meter).advance(card, &self.families);
    }
}

/// What became of events: of the webhook, and of those before it, which may still bring what waits.
#[derive(Default)]
struct Webhooks {
    open: Vec<Arc<Counts>>,
    /// Of those that have ended: delivered, failed, dropped.
    ended: [u64; 3],
}

impl Webhooks {
    fn watch(&mut self, counts: Option<Arc<Counts>>) {
        let open = std::mem::take(&mut self.open);
        // Nobody else holds the counts of one that has ended.
        let (ended, open): (Vec<_>, Vec<_>) = open
            .into_iter()
            .partition(|one| Arc::strong_count(one) == 1);
        (self.ended, self.open) = (sum_of(self.ended, &ended), open);
        self.open.extend(counts);
    }

    fn total(&self) -> [u64; 3] {
        sum_of(self.ended, &self.open)
    }
}

fn sum_of(before: [u64; 3], counts: &[Arc<Counts>]) -> [u64; 3] {
    counts
        .iter()
        .fold(before, |[delivered, failed, dropped], one| {
            [
                delivered + one.delivered(),
                failed + one.failed(),
                dropped + one.dropped(),
            ]
        })
}

fn labels_of<'a>(
    replica: &'a ReplicaName,
    replicas: &'a [(ReplicaName, Datacenter)],
) -> [&'a str; 2] {
    let found = replicas.iter().find(|(name, _)| name == replica);
    [&replica.0, found.map_or("", |(_, place)| &place.0)]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
