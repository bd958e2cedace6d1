//! Beyond the memory limit: what is found is the same, and the limit is kept.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use reknit::model::{DbIndex, Key, State, Stream, StreamId, Value};
use reknit::repair::{DifferenceKind, Mode, Summary};
use reknit::store::{Data, Fault, MemoryReplica, Step};

use support::run::{job, put, replicas, told};

const LIMIT: u64 = 128 << 10;

/// Two replicas of so many keys, most in one slot; every fifth differs or is missing.
fn filled(keys: usize) -> [MemoryReplica; 2] {
    let filled = replicas(["us", "eu"]);
    for (replica, name) in filled.iter().zip(["us", "eu"]) {
        for number in 0..keys {
            let tag = if number % 4 == 0 { "" } else { "{tag}" };
            let key = format!("{tag}key:{number:05}");
            match number % 10 {
                0 => put(replica, &key, name),
                5 if name == "eu" => {}
                _ => put(replica, &key, "same"),
            }
        }
    }
    filled
}

/// What is found of which key, and the memory that it took.
async fn found(
    replicas: &[MemoryReplica],
    mode: Mode,
    memory: u64,
) -> (Summary, BTreeMap<Key, DifferenceKind>, u64) {
    let mut job = job(replicas, mode);
    job.settings.memory = memory;
    job.settings.breaker.force_overwrites = u64::MAX;
    let (summary, findings) = told(&job).await;
    let by_key = findings
        .0
        .iter()
        .map(|one| (one.key.clone(), one.difference));
    let by_key: BTreeMap<_, _> = by_key.collect();
    assert_eq!(by_key.len(), findings.0.len(), "a key was found twice");
    (summary, by_key, job.progress.memory.load(Ordering::Relaxed))
}

#[tokio::test]
async fn the_same_is_found_in_parts_and_the_limit_is_kept() {
    let replicas = filled(6_000);
    let (whole, expected, used) = found(&replicas, Mode::Diff, 1 << 30).await;
    assert_eq!((whole.passes, expected.len()), (1, 1_200));
    assert!(used > 4 * LIMIT, "{used} bytes would fit");
    let (summary, found, used) = found(&replicas, Mode::Diff, LIMIT).await;
    assert_eq!(found, expected);
    assert!(used <= LIMIT, "{used} of {LIMIT} bytes");
    // The one slot is more than the limit: it was counted again, and then read in parts.
    assert!(summary.passes > 4, "{} passes", summary.passes);
    assert_eq!(summary.tallies, whole.tallies);
    assert_eq!(summary.replicas[0].keys, whole.replicas[0].keys);
}

#[tokio::test]
async fn what_is_beyond_the_limit_is_repaired_all_the_same() {
    let replicas = filled(6_000);
    let (summary, _, used) = found(&replicas, Mode::Repair, LIMIT).await;
    assert_eq!(summary.verdict("repaired"), 1_200);
    assert!(used <= LIMIT, "{used} of {LIMIT} bytes");
    let (summary, found, _) = found(&replicas, Mode::Diff, 1 << 30).await;
    assert_eq!((summary.total().differing(), found.len()), (0, 0));
}

/// Clients add as many keys again as were counted, so that no part fits any more.
#[tokio::test]
async fn what_clients_add_between_the_passes_divides_the_parts_further() {
    let replicas = filled(3_000);
    let (_, expected, _) = found(&replicas, Mode::Diff, 1 << 30).await;
    let listed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let others = replicas.clone();
    let script = move |step: Step<'_>, _: DbIndex, _: &mut Data| {
        let is_name = matches!(step, Step::ScanName { .. });
        // The first pass, and the count of the one slot, are over.
        if is_name && listed.fetch_add(1, Ordering::Relaxed) == 7_000 {
            for number in 0..6_000 {
                put(&others[1], &format!("{{tag}}new:{number:05}"), "new");
            }
        }
        Fault::None
    };
    replicas[0].set_faults(Some(Box::new(script)));
    let (_, found, used) = found(&replicas, Mode::Diff, LIMIT).await;
    assert!(used <= LIMIT, "{used} of {LIMIT} bytes");
    let old = |key: &Key| !key.as_bytes().starts_with(b"{tag}new");
    let found: BTreeMap<_, _> = found.into_iter().filter(|(key, _)| old(key)).collect();
    assert_eq!(found, expected);
}

/// Two replicas with one large set, of which every fifth member is missing at the one or the other.
fn with_a_large_set(members: usize) -> [MemoryReplica; 2] {
    let filled = replicas(["us", "eu"]);
    for (side, replica) in filled.iter().enumerate() {
        let held = (0..members).filter(|number| number % 10 != 5 * side);
        let held: BTreeSet<Bytes> = held
            .map(|number| Bytes::from(format!("member:{number:05}")))
            .collect();
        let state = State::lasting(Value::Set(held));
        replica.client().set_state(&Key::from("large"), Some(state));
    }
    filled
}

#[tokio::test]
async fn a_large_collection_is_joined_in_parts_and_the_limit_is_kept() {
    let replicas = with_a_large_set(6_000);
    let (whole, _, used) = found(&replicas, Mode::Plan, 1 << 30).await;
    assert_eq!(whole.verdict("planned"), 1);
    assert!(used > 4 * LIMIT, "{used} bytes would fit");
    let (summary, _, used) = found(&replicas, Mode::Repair, LIMIT).await;
    assert_eq!(summary.verdict("repaired"), 1, "{summary:?}");
    assert!(used <= LIMIT, "{used} of {LIMIT} bytes");
    let held = replicas[0].client().get(&Key::from("large")).unwrap();
    assert_eq!(held.value.element_count(), 6_000);
    assert_eq!(replicas[1].client().get(&Key::from("large")), Some(held));
}

/// Entries go in the order of their IDs, which is not that of the parts: so all that differ have to fit.
#[tokio::test]
async fn a_stream_with_more_differing_entries_than_fit_is_left_and_the_finding_says_why() {
    let replicas = replicas(["us", "eu"]);
    for (side, replica) in replicas.iter().enumerate() {
        let entries = (1..=6_000).map(|ms| {
            let id = StreamId {
                ms: 2 * ms + side as u64,
                seq: 0,
            };
            (id, vec![(Bytes::from("field"), Bytes::from("value"))])
        });
        let stream = Stream {
            entries: entries.collect(),
            last_id: StreamId { ms: 20_000, seq: 0 },
            ..Stream::default()
        };
        let state = State::lasting(Value::Stream(stream));
        replica.client().set_state(&Key::from("large"), Some(state));
    }
    let before = replicas[0].snapshot();
    let mut job = job(&replicas, Mode::Repair);
    job.settings.memory = LIMIT;
    let (_, findings) = told(&job).await;
    let finding = findings.of("large");
    let reason = finding.verdict.reason().unwrap();
    assert!(reason.contains("limits.memory"), "{reason}");
    assert!(job.progress.memory.load(Ordering::Relaxed) <= LIMIT);
    assert_eq!(replicas[0].snapshot(), before, "nothing was written");
}
