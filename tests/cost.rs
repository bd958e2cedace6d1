//! What a run costs: keys read, bytes and round trips for 0, one, 1 % and all keys differing, as a snapshot.
//!
//! A change here is a change of cost: it must be meant. `MemoryReplica` counts as a pipelined connection would.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::sync::Arc;

use reknit::model::{Key, Millis, State, Value};
use reknit::repair::{Mode, run};
use reknit::store::{MemoryReplica, Replica};

use support::run::{Nobody, run_over};

const KEYS: usize = 1000;
const NOW: Millis = Millis(1_700_000_000_000);

/// Two replicas of [`KEYS`] keys, of which the first `differing` differ; what one repair of them costs.
async fn cost(differing: usize) -> String {
    let replicas: Vec<MemoryReplica> = ["us", "eu"]
        .map(|name| MemoryReplica::new(name, 1))
        .to_vec();
    for (index, replica) in replicas.iter().enumerate() {
        replica.set_now(NOW);
        for number in 0..KEYS {
            let side = if number < differing { index } else { 0 };
            let value = format!("value {number:04} of {side}");
            let state = State::lasting(Value::String(value.into()));
            replica
                .client()
                .set_state(&Key::from(format!("key:{number:04}").as_str()), Some(state));
        }
    }
    let shared = replicas
        .iter()
        .cloned()
        .map(|one| Arc::new(one) as Arc<dyn Replica>);
    let mut job = run_over(shared, Mode::Repair, NOW);
    // All keys of a replica are overwritten: that is meant here.
    job.settings.breaker.force_overwrites = KEYS as u64;
    let summary = run(&job, &mut Nobody).await.unwrap();
    assert_eq!(summary.verdict("repaired"), differing as u64);
    let line = |usage: reknit::store::Usage| {
        format!(
            "{} keys read, {} written, {} commands, {} round trips, {} bytes read",
            usage.keys_read,
            usage.keys_written,
            usage.commands,
            usage.round_trips,
            usage.bytes_read
        )
    };
    summary
        .replicas
        .iter()
        .map(|replica| format!("{}: {}\n", replica.name, line(replica.usage)))
        .collect()
}

#[tokio::test]
async fn a_repair_costs_what_differs_beyond_one_reading_of_everything() {
    let mut found = String::new();
    for differing in [0, 1, KEYS / 100, KEYS] {
        found += &format!("{differing} of {KEYS} differ\n{}", cost(differing).await);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cost.txt");
    if std::env::var_os("REKNIT_UPDATE").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(
        found,
        std::fs::read_to_string(path).unwrap(),
        "REKNIT_UPDATE=1 writes it anew"
    );
}
