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

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::model::{Digester, Key, Keyspace, ReplicaIndex, State, Write};
use crate::store::{BATCH_KEYS, Observed, StoreError, WriteOutcome};

use super::describe::{describe, explain_into, keep_changes};
use super::finding::{Finding, Verdict};
use super::large;
use super::look::{Look, difference, is_expiring};
use super::ops::weight;
use super::resolve::{Resolution, Stable, resolve};
use super::run::{Mode, Shared};

/// How often a key is merged and written before it counts as superseded.
const ROUNDS: usize = 4;

/// Bytes that one transaction carries at the most, beyond its first key.
const BATCH_BYTES: usize = 1 << 20;

/// Elements that one transaction writes at the most, beyond its first key: some 10 ms of the server.
const BATCH_ELEMENTS: usize = 8_000;

/// A key that the first read found different.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) key: Key,
    pub(crate) keyspace: &'a Keyspace,
    /// What each replica was seen to hold; nothing for those that take no part.
    pub(crate) looks: Vec<Option<Look>>,
}

/// What a batch came to.
#[derive(Debug, Default)]
pub(crate) struct BatchReport {
    pub(crate) findings: Vec<Finding>,
    pub(crate) in_flight: u64,
    pub(crate) expiring: u64,
}

/// A candidate on its way.
struct Tracked<'a> {
    candidate: Candidate<'a>,
    written: bool,
    finding: Option<Finding>,
}

/// What every replica holds of every key of a batch: by replica, then by key; nothing for replicas that are lost.
pub(super) type Reading = Vec<Option<Vec<Observed>>>;

/// A key that is stable and different, with what every replica holds.
struct Acting<'a> {
    tracked: Tracked<'a>,
    observed: Vec<Option<Observed>>,
    finding: Finding,
}

/// Brings a batch of candidates to their verdicts.
pub(crate) async fn decide(shared: &Shared<'_>, candidates: Vec<Candidate<'_>>) -> BatchReport {
    let mut report = BatchReport::default();
    let mut digester = Digester::new(shared.run.digest_key.clone());
    let mut tracked: Vec<Tracked<'_>> = candidates
        .into_iter()
        .map(|candidate| Tracked {
            candidate,
            written: false,
            finding: None,
        })
        .collect();
    for round in 0..ROUNDS {
        if tracked.is_empty() || (round > 0 && shared.run.stop.is_cancelled()) {
            break;
        }
        if round > 0 {
            shared.pause(shared.run.settings.settle).await;
        }
        let acting = look_again(shared, &mut tracked, &mut report, &mut digester).await;
        let again = act(shared, acting, &mut report, &mut digester).await;
        tracked.extend(again);
    }
    for left in tracked {
        let verdict = if shared.active().len() < 2 {
            Verdict::Unfinished("fewer than two replicas are left".into())
        } else if left.finding.is_none() {
            report.in_flight += 1;
            continue;
        } else {
            Verdict::Superseded
        };
        report
            .findings
            .extend(left.finding.map(|finding| Finding { verdict, ..finding }));
    }
    report
}

/// Reads all tracked keys afresh. What is decided leaves; what is stable and different is handed on; the rest stays.
async fn look_again<'a>(
    shared: &Shared<'_>,
    tracked: &mut Vec<Tracked<'a>>,
    report: &mut BatchReport,
    digester: &mut Digester,
) -> Vec<Acting<'a>> {
    let mut acting = Vec::new();
    let reading = read(shared, tracked.iter().map(|tracked| &tracked.candidate)).await;
    for (index, mut one) in std::mem::take(tracked).into_iter().enumerate() {
        let observed = siblings(&reading, index);
        let looks = looks(&observed, digester);
        if looks.iter().flatten().count() < 2 {
            let finding = one
                .finding
                .take()
                .unwrap_or_else(|| describe(shared, &one.candidate, &observed, &looks));
            let verdict = Verdict::Unfinished("fewer than two replicas are left".into());
            report.findings.push(Finding { verdict, ..finding });
            continue;
        }
        let present: Vec<Look> = looks.iter().flatten().copied().collect();
        let policy = &one.candidate.keyspace.policy;
        let before = std::mem::replace(&mut one.candidate.looks, looks.clone());
        if let Some(verdict) = unreadable(shared, &observed) {
            let finding = describe(shared, &one.candidate, &observed, &looks);
            report.findings.push(Finding { verdict, ..finding });
        } else if difference(&present, &policy.expiry).is_none() {
            match one.finding {
                Some(finding) if one.written => {
                    report.findings.push(Finding {
                        verdict: Verdict::Repaired,
                        ..finding
                    });
                }
                _ => report.in_flight += 1,
            }
        } else if is_expiring(&present, shared.now(), &policy.expiry) {
            report.expiring += 1;
        } else if moved(&before, &looks) {
            // What could not be read at first is looked at once more; what a client moved is left to the next run.
            if one.written || before.contains(&Some(Look::Unreadable)) {
                tracked.push(one);
            } else {
                report.in_flight += 1;
            }
        } else {
            let finding = describe(shared, &one.candidate, &observed, &looks);
            acting.push(Acting {
                tracked: one,
                observed,
                finding,
            });
        }
    }
    acting
}

/// Merges, writes and verifies; answers what is to be looked at again.
async fn act<'a>(
    shared: &Shared<'_>,
    acting: Vec<Acting<'a>>,
    report: &mut BatchReport,
    digester: &mut Digester,
) -> Vec<Tracked<'a>> {
    let mode = shared.run.settings.mode;
    let mut wrote = Vec::new();
    let mut writes: BTreeMap<usize, Vec<(usize, Write)>> = BTreeMap::new();
    for mut one in acting {
        let first_time = one.tracked.finding.is_none();
        if mode != Mode::Diff && first_time && !shared.take_permit() {
            report.findings.push(Finding {
                verdict: Verdict::OverLimit,
                ..one.finding
            });
            continue;
        }
        if is_large(&one.observed) {
            if let Some(tracked) = act_on_large(shared, one, report, digester).await {
                wrote.push(tracked);
            }
            continue;
        }
        if mode == Mode::Diff {
            report.findings.push(Finding {
                verdict: Verdict::Diverged,
                ..one.finding
            });
            continue;
        }
        let resolution = resolve_one(shared, &one, digester);
        explain_into(shared, &resolution, &mut one.finding);
        if let Some(earlier) = one.tracked.finding.take() {
            keep_changes(shared, earlier.changes, &mut one.finding);
        }
        match (mode, resolution.unresolved()) {
            (_, Some(reason)) if resolution.writes.is_empty() => {
                report.findings.push(Finding {
                    verdict: Verdict::Unresolved(reason),
                    ..one.finding
                });
            }
            (Mode::Plan, _) => report.findings.push(Finding {
                verdict: Verdict::Planned,
                ..one.finding
            }),
            (Mode::Diff | Mode::Repair, _) => {
                for (ReplicaIndex(replica), write) in resolution.writes {
                    writes
                        .entry(replica)
                        .or_default()
                        .push((wrote.len(), write));
                }
                one.tracked.written = true;
                one.tracked.finding = Some(one.finding);
                wrote.push(one.tracked);
            }
        }
    }
    let refused = write_all(shared, &wrote, writes).await;
    verify(shared, wrote, refused, report, digester).await
}

async fn act_on_large<'a>(
    shared: &Shared<'_>,
    mut one: Acting<'a>,
    report: &mut BatchReport,
    digester: &mut Digester,
) -> Option<Tracked<'a>> {
    let candidate = &one.tracked.candidate;
    match large::repair(shared, candidate, &one.observed, &mut one.finding, digester).await {
        large::Ended::Decided(verdict) => {
            report.findings.push(Finding {
                verdict,
                ..one.finding
            });
            None
        }
        large::Ended::Wrote => {
            one.tracked.written = true;
            one.tracked.finding = Some(one.finding);
            Some(one.tracked)
        }
    }
}

/// Reads what was written again. What is alike now is repaired; the rest is looked at again.
async fn verify<'a>(
    shared: &Shared<'_>,
    wrote: Vec<Tracked<'a>>,
    mut refused: BTreeMap<usize, Verdict>,
    report: &mut BatchReport,
    digester: &mut Digester,
) -> Vec<Tracked<'a>> {
    let mut again = Vec::new();
    if wrote.is_empty() {
        return again;
    }
    let reading = read(shared, wrote.iter().map(|tracked| &tracked.candidate)).await;
    for (index, mut one) in wrote.into_iter().enumerate() {
        let looks = looks(&siblings(&reading, index), digester);
        let took_part = one.candidate.looks.iter().flatten().count();
        let present: Vec<Look> = looks.iter().flatten().copied().collect();
        let alike = difference(&present, &one.candidate.keyspace.policy.expiry).is_none();
        let verdict = match refused.remove(&index) {
            Some(verdict) => Some(verdict),
            None if present.len() < took_part => Some(Verdict::Unfinished(
                "a replica was lost before the key was verified".into(),
            )),
            None if alike => Some(Verdict::Repaired),
            None => None,
        };
        match (verdict, one.finding.take()) {
            (Some(verdict), Some(finding)) => report.findings.push(Finding { verdict, ..finding }),
            (_, finding) => {
                one.finding = finding;
                one.candidate.looks = looks;
                again.push(one);
            }
        }
    }
    again
}

/// Executes the writes of all replicas at the same time; answers the keys that a replica refused, by index.
async fn write_all(
    shared: &Shared<'_>,
    wrote: &[Tracked<'_>],
    writes: BTreeMap<usize, Vec<(usize, Write)>>,
) -> BTreeMap<usize, Verdict> {
    let per_replica = join_all(
        writes
            .into_iter()
            .map(|(replica, writes)| write_replica(shared, wrote, replica, writes)),
    );
    per_replica.await.into_iter().flatten().collect()
}

async fn write_replica(
    shared: &Shared<'_>,
    wrote: &[Tracked<'_>],
    replica: usize,
    writes: Vec<(usize, Write)>,
) -> Vec<(usize, Verdict)> {
    let participant = &shared.run.participants[replica];
    let mut refused = Vec::new();
    for batch in transactions(writes) {
        let (indexes, batch): (Vec<usize>, Vec<Write>) = batch.into_iter().unzip();
        let Some(first) = indexes.first() else {
            continue;
        };
        let db = wrote[*first].candidate.keyspace.db;
        match participant
            .replica
            .write(db, &batch, &shared.run.digest_key, None)
            .await
        {
            Ok(written) => {
                for (index, outcome) in indexes.into_iter().zip(written.outcomes) {
                    if let WriteOutcome::Refused(words) = outcome {
                        let verdict = Verdict::Refused(participant.replica.name().clone(), words);
                        refused.push((index, verdict));
                    }
                }
            }
            Err(error) => {
                lose_or_report(shared, replica, &error);
                let name = participant.replica.name();
                let verdict = || Verdict::Unfinished(format!("{name}: {error}"));
                refused.extend(indexes.into_iter().map(|index| (index, verdict())));
            }
        }
    }
    refused
}

/// Splits writes so that no transaction holds the server for long.
fn transactions(writes: Vec<(usize, Write)>) -> Vec<Vec<(usize, Write)>> {
    let mut batches: Vec<Vec<(usize, Write)>> = Vec::new();
    let (mut elements, mut bytes) = (0, 0);
    for (index, write) in writes {
        let own = weight(&write.ops);
        elements += own.elements;
        bytes += own.bytes;
        match batches.last_mut() {
            Some(batch)
                if batch.len() < BATCH_KEYS
                    && elements <= BATCH_ELEMENTS
                    && bytes <= BATCH_BYTES =>
            {
                batch.push((index, write));
            }
            _ => {
                (elements, bytes) = (own.elements, own.bytes);
                batches.push(vec![(index, write)]);
            }
        }
    }
    batches
}

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
            use crate::store::Pace;
            shared.pacers[index].keys(keys.len() as u64).await;
            let replica = &shared.run.participants[index].replica;
            (index, replica.fetch(db, keys, &shared.run.digest_key).await)
        }
    });
    for (index, fetched) in join_all(fetches).await {
        match fetched {
            Ok(observed) => reading[index] = Some(observed),
            Err(error) => lose_or_report(shared, index, &error),
        }
    }
    reading
}

pub(crate) fn lose_or_report(shared: &Shared<'_>, replica: usize, error: &StoreError) {
    shared.lose(replica, error);
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

fn unreadable(shared: &Shared<'_>, observed: &[Option<Observed>]) -> Option<Verdict> {
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
