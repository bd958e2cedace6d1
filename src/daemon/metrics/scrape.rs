//! What is read at every scrape.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use prometheus::TextEncoder;

use crate::crdt::Evidence;
use crate::daemon::board::{Card, RunState, Standing};
use crate::daemon::desk::Desk;
use crate::model::{Kind, Millis, ReplicaName};
use crate::repair::{Destruction, NodeHealth, Reason, Verdict};

use super::kinds::{Divergence, RESIDUES};
use super::{Metrics, lock};

/// The states of `reknit_run_state`.
const STATES: [&str; 5] = ["idle", "planned", "running", "paused", "stopping"];

/// The states in which a run ends.
const ENDS: [RunState; 4] = [
    RunState::Done,
    RunState::Partial,
    RunState::Failed,
    RunState::Stopped,
];

/// A replica and its datacenter.
type Node = (String, String);

impl Metrics {
    /// All metrics in the text format of Prometheus. Reads the state directory, so it may wait for the disk.
    ///
    /// # Errors
    /// When they cannot be written as text, which is a fault of reknit.
    pub fn text(&self, desk: &Desk, now: Millis) -> Result<String, String> {
        let _one = lock(&self.scraping);
        let current = desk.current();
        if let Some(card) = &current {
            self.advance(card);
        }
        let nodes = nodes(desk, current.as_deref());
        self.publish(desk, &nodes);
        self.forget(desk, current.as_deref(), &nodes);
        self.show_service(desk);
        self.show_schedules(desk, now);
        self.show_run(current.as_deref());
        self.show_results(desk, &nodes);
        self.show_nodes(desk, &nodes);
        self.show_pacing(desk, &nodes);
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.map_err(|error| error.to_string())
    }

    /// Publishes what can be counted before it happens.
    fn publish(&self, desk: &Desk, nodes: &[Node]) {
        let (findings, work) = (&self.families.findings, &self.families.work);
        for keyspace in desk.config().keyspaces.iter().filter(|one| !one.skip) {
            let name = keyspace.name.0.as_str();
            for kind in Divergence::ALL {
                findings.divergences.publish(&[name, kind.name()]);
            }
            findings.superseded.publish(&[name]);
            for (kind, evidence) in Kind::ALL.into_iter().flat_map(with_evidence) {
                let rule = keyspace.policy.rules.name_for(kind);
                findings.repaired.publish(&[kind.name(), rule, evidence]);
            }
        }
        for outcome in ["confirmed", "in_flight", "expiring"] {
            findings.looked_at.publish(&[outcome]);
        }
        for verdict in Verdict::NAMES {
            findings.verdicts.publish(&[verdict]);
        }
        for verdict in RESIDUES {
            findings.residue.publish(&[verdict]);
        }
        for (replica, place) in nodes {
            let node = [replica.as_str(), place.as_str()];
            let of_one = [&work.scanned, &work.written, &work.read_bytes];
            let of_one = of_one.into_iter();
            let of_one = of_one.chain([&work.written_bytes, &work.commands, &findings.deletes]);
            of_one.for_each(|counter| counter.publish(&node));
            for guard in [Destruction::Overwrite, Destruction::Delete] {
                findings.guards.publish(&[guard.name(), replica, place]);
            }
            for reason in Reason::ALL {
                let waited = &self.families.pacing.waited;
                waited.publish(&[replica, place, reason.name()]);
            }
        }
        self.publish_runs(desk);
    }

    fn publish_runs(&self, desk: &Desk) {
        let runs = &self.families.runs;
        let schedules = desk.schedules();
        let names = schedules.iter().map(|view| view.status.name.as_str());
        for schedule in names.chain([""]) {
            for state in ENDS {
                runs.ended.publish(&[schedule, state.name()]);
            }
        }
        for outcome in ["done", "failed", "retried", "split"] {
            runs.segments.publish(&[outcome]);
        }
    }

    /// Takes away what counters have of schedules, keyspaces and replicas that are gone.
    fn forget(&self, desk: &Desk, current: Option<&Card>, nodes: &[Node]) {
        let views = desk.schedules();
        let mut schedules: BTreeSet<String> =
            views.iter().map(|one| one.status.name.clone()).collect();
        schedules.insert(String::new());
        self.families.runs.ended.keep("schedule", &schedules);
        lock(&self.latest)
            .incomplete
            .retain(|name, _| schedules.contains(name));
        let (findings, work) = (&self.families.findings, &self.families.work);
        // A run keeps the configuration that it began under.
        if current.is_none() {
            let config = desk.config();
            let keyspaces = config.keyspaces.iter().map(|one| one.name.0.clone());
            let keyspaces = keyspaces.collect();
            findings.divergences.keep("keyspace", &keyspaces);
            findings.superseded.keep("keyspace", &keyspaces);
        }
        let replicas = nodes.iter().map(|(name, _)| name.clone()).collect();
        let datacenters = nodes.iter().map(|(_, place)| place.clone()).collect();
        let counters = [&work.scanned, &work.written, &work.read_bytes];
        let counters = counters
            .into_iter()
            .chain([&work.written_bytes, &work.commands])
            .chain([&findings.deletes, &findings.guards])
            .chain([&self.families.pacing.waited]);
        for counter in counters {
            counter.keep("replica", &replicas);
            counter.keep("datacenter", &datacenters);
        }
    }

    fn show_service(&self, desk: &Desk) {
        let service = &self.families.service;
        service.build.set_all([([env!("CARGO_PKG_VERSION")], 1.0)]);
        service.started.set(seconds(self.began));
        service.resident.set(resident() as f64);
        service.ready.set(flag(desk.is_ready()));
        let latest = lock(&self.latest);
        service.reloaded.set(flag(latest.reloaded));
        let updated = latest.agreement_updated.filter(|_| desk.remembers);
        service.agreement_updated.set(updated.map_or(0.0, seconds));
        drop(latest);
        let sizes = desk.state().as_ref().map(crate::state::State::sizes);
        match sizes.transpose() {
            Ok(sizes) => {
                let sizes = sizes.unwrap_or_default();
                service.state_bytes.set(sizes.bytes as f64);
                service.agreement_bytes.set(sizes.agreement_bytes as f64);
                service.journal_bytes.set(sizes.journal_bytes as f64);
            }
            Err(error) => tracing::warn!("metrics: the state directory is not measured: {error}"),
        }
        let counts = lock(&self.webhooks).total();
        for (outcome, count) in ["delivered", "failed", "dropped"].into_iter().zip(counts) {
            service.webhook.raise_to(&[outcome], count as f64);
        }
    }

    fn show_schedules(&self, desk: &Desk, now: Millis) {
        let schedules = &self.families.schedules;
        let views = desk.schedules();
        let each = |value: &dyn Fn(&crate::daemon::planner::ScheduleStatus) -> f64| {
            let of_one = |view: &crate::daemon::desk::ScheduleView| value(&view.status);
            views.iter().map(of_one).collect::<Vec<_>>()
        };
        let show = |gauge: &super::family::Gauge, values: Vec<f64>| {
            let names = views.iter().map(|view| [view.status.name.as_str()]);
            gauge.set_all(names.zip(values));
        };
        let success = each(&|one| one.memory.last_success.map_or(0.0, seconds));
        let oldest = success.iter().copied().reduce(f64::min);
        schedules.success_of_all.set(oldest.unwrap_or(0.0));
        show(&schedules.success, success);
        let overdue = each(&|one| flag(one.overdue_at.is_some_and(|at| at <= now)));
        show(&schedules.overdue, overdue);
        let next = each(&|one| one.next_run.map_or(0.0, seconds));
        show(&schedules.next, next);
        show(&schedules.paused, each(&|one| flag(one.memory.paused)));
        let latest = lock(&self.latest);
        let incomplete = each(&|one| latest.incomplete.get(&one.name).copied().unwrap_or(0) as f64);
        show(&schedules.incomplete, incomplete);
    }

    fn show_run(&self, current: Option<&Card>) {
        let runs = &self.families.runs;
        let standing = current.map(Card::standing);
        let now = standing.as_ref().map_or("idle", state_of);
        let states = STATES.into_iter();
        runs.state
            .set_all(states.map(|state| ([state], flag(state == now))));
        let shown = current.zip(standing.as_ref());
        let shown = shown.map(|(card, standing)| {
            let schedule = card.order.schedule.as_deref().unwrap_or_default();
            ([schedule], card.asked, standing)
        });
        let progress = shown.map(|(labels, _, standing)| (labels, progress(standing)));
        runs.progress.set_all(progress);
        runs.started
            .set_all(shown.map(|(labels, asked, _)| (labels, seconds(asked))));
        let open = shown.map(|(labels, _, standing)| (labels, standing.segments.open as f64));
        runs.open.set_all(open);
    }

    fn show_results(&self, desk: &Desk, nodes: &[Node]) {
        let findings = &self.families.findings;
        let (config, latest) = (desk.config(), lock(&self.latest));
        let known = |name: &str| latest.keyspaces.get(name).copied().unwrap_or_default();
        let names: Vec<&str> = config
            .keyspaces
            .iter()
            .filter(|one| !one.skip)
            .map(|one| one.name.0.as_str())
            .collect();
        let keys = names.iter().map(|&name| ([name], known(name).0 as f64));
        findings.keys.set_all(keys);
        let left = names.iter().map(|&name| ([name], known(name).1 as f64));
        findings.left.set_all(left);
        let parts = nodes.iter().flat_map(|(name, place)| {
            let part = latest.replicas.get(name);
            let counts = part.map_or([0; 3], |one| [one.missing, one.alone, one.differing]);
            let kinds = ["missing", "alone", "differing"].into_iter().zip(counts);
            kinds.map(move |(kind, count)| ([name.as_str(), place.as_str(), kind], count as f64))
        });
        findings.behind.set_all(parts);
    }

    fn show_nodes(&self, desk: &Desk, nodes: &[Node]) {
        let families = &self.families.nodes;
        let health = desk.throttle.health();
        let seen = |name: &str| health.iter().find(|one| one.replica.0 == name);
        let latest = lock(&self.latest);
        let up = nodes.iter().map(|node| {
            let took_part = latest.took_part.get(&node.0).copied().unwrap_or(true);
            let up = seen(&node.0).map_or(took_part, |one| one.sample.is_some());
            (labels(node), flag(up))
        });
        families.up.set_all(up);
        let each = |value: &dyn Fn(&NodeHealth) -> Option<f64>| {
            let of_one = |node| Some((labels(node), value(seen(&node.0)?)?));
            nodes.iter().filter_map(of_one).collect::<Vec<_>>()
        };
        let latency = |one: &NodeHealth| Some(one.sample.as_ref()?.latency.as_secs_f64());
        families.latency.set_all(each(&latency));
        let baseline = |one: &NodeHealth| one.baseline.as_ref().map(Duration::as_secs_f64);
        families.baseline.set_all(each(&baseline));
        families.share.set_all(each(&|one| Some(one.share)));
        let skew = |one: &NodeHealth| one.skew_millis.map(|millis| millis as f64 / 1000.0);
        families.skew.set_all(each(&skew));
    }

    fn show_pacing(&self, desk: &Desk, nodes: &[Node]) {
        let pacing = &self.families.pacing;
        for (ReplicaName(name), reason, waited) in desk.throttle.waits() {
            // Of a replica that is gone nothing is said any more.
            if let Some((_, place)) = nodes.iter().find(|(known, _)| *known == name) {
                let labels = [name.as_str(), place, reason.name()];
                pacing.waited.raise_to(&labels, waited.as_secs_f64());
            }
        }
        let waiting = desk.throttle.waiting_for();
        let is_waited_for = |name: &str, reason: Reason| {
            let waits = waiting.iter().find(|(replica, _)| replica.0 == name);
            waits.is_some_and(|(_, waits)| *waits == Some(reason))
        };
        let all = nodes.iter().flat_map(|(name, place)| {
            let of_one = move |reason: Reason| {
                let labels = [name.as_str(), place.as_str(), reason.name()];
                (labels, flag(is_waited_for(name, reason)))
            };
            Reason::ALL.map(of_one)
        });
        pacing.waiting.set_all(all);
        let rates = desk.throttle.rates();
        let limit = |limit: Option<NonZeroU64>| limit.map_or(0.0, |limit| limit.get() as f64);
        pacing.keys.set(limit(rates.keys_per_second));
        pacing.bytes.set(limit(rates.bytes_per_second));
        pacing.intensity.set(rates.intensity.get());
    }
}

/// The replicas of the configuration, and of the run that is under way: it keeps those that it began with.
fn nodes(desk: &Desk, current: Option<&Card>) -> Vec<Node> {
    let config = desk.config();
    let configured = config
        .replicas
        .iter()
        .map(|one| (one.name.0.clone(), one.datacenter.0.clone()));
    let mut nodes: Vec<Node> = configured.collect();
    for (name, place) in current.iter().flat_map(|card| &card.replicas) {
        if !nodes.iter().any(|(known, _)| *known == name.0) {
            nodes.push((name.0.clone(), place.0.clone()));
        }
    }
    nodes
}

fn labels((replica, place): &Node) -> [&str; 2] {
    [replica, place]
}

fn with_evidence(kind: Kind) -> [(Kind, &'static str); Evidence::ALL.len()] {
    Evidence::ALL.map(|evidence| (kind, evidence.name()))
}

fn state_of(standing: &Standing) -> &'static str {
    match standing.stopping {
        Some(_) => "stopping",
        None => standing.state.name(),
    }
}

/// How far a run has come: ended segments, and the read part of the present one.
fn progress(standing: &Standing) -> f64 {
    let segments = standing.segments;
    let ended = (segments.done + segments.failed) as f64;
    let read = match (standing.expected, &standing.current) {
        (0, _) | (_, None) => 0.0,
        (expected, Some(_)) => (standing.scanned as f64 / expected as f64).min(1.0),
    };
    (ended + read) / (ended + segments.open as f64).max(1.0)
}

fn seconds(at: Millis) -> f64 {
    at.0 as f64 / 1000.0
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Bytes of memory that the process uses; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kibibytes.map_or(0, |kibibytes: u64| kibibytes * 1024)
}
