//! The model: random histories of runs with memory against a specification of their own.
//!
//! Clients write to every replica, also in the middle of runs; runs see any of the replicas, any of the keys, die, lose
//! answers, are refused, and their transactions arrive late. Every single write is compared with what dots and sums say,
//! and so is the end. `REKNIT_SEEDS` says how many seeds are tried; `REKNIT_SEED` tries one alone and tells its story.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod model_support;
mod support;

use std::future::Future;

use model_support::history::Wrong;
use model_support::{forgetting, history};

const DEFAULT_SEEDS: u64 = 500;

/// Seeds that broke something once.
const REGRESSIONS: &[u64] = &[
    6, 10, 12, 21, 30, 76, 90, 98, 146, 148, 153, 190, 316, 717, 1232, 1520, 1724, 1822, 2278,
    2296, 2752,
];
const FORGETFUL_REGRESSIONS: &[u64] = &[
    382, 400, 469, 563, 1097, 1144, 2060, 2122, 2322, 3273, 5431, 5474, 5771, 6703, 7728, 8202,
    8273, 9579, 9910,
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn histories_end_as_the_specification_says() {
    try_seeds(REGRESSIONS, history::live);
}

#[test]
fn what_a_replica_forgot_is_no_evidence() {
    try_seeds(FORGETFUL_REGRESSIONS, forgetting::live);
}

fn try_seeds<F>(regressions: &[u64], live: impl Fn(u64) -> F + Copy + Send)
where
    F: Future<Output = Result<(), Wrong>>,
{
    let one = number("REKNIT_SEED");
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        None => {
            let most = number("REKNIT_SEEDS").unwrap_or(DEFAULT_SEEDS);
            regressions.iter().copied().chain(0..most).collect()
        }
    };
    let halves: Vec<Vec<u64>> = (0..2)
        .map(|half| seeds.iter().copied().skip(half).step_by(2).collect())
        .collect();
    let failed: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = halves
            .iter()
            .map(|half| scope.spawn(move || try_all(half, one.is_some(), live)))
            .collect();
        let done = workers.into_iter().map(|worker| worker.join().unwrap());
        done.flatten().collect()
    });
    let shown: Vec<String> = failed
        .iter()
        .take(20)
        .map(|(seed, what)| format!("REKNIT_SEED={seed}: {what}"))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} seeds failed:\n{}",
        failed.len(),
        seeds.len(),
        shown.join("\n")
    );
}

fn try_all<F>(seeds: &[u64], tells: bool, live: impl Fn(u64) -> F) -> Vec<(u64, String)>
where
    F: Future<Output = Result<(), Wrong>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut failed = Vec::new();
    for seed in seeds {
        if let Err(wrong) = runtime.block_on(live(*seed)) {
            let story = match tells {
                true => format!("{}\n{}", wrong.what, wrong.told.join("\n")),
                false => wrong.what,
            };
            failed.push((*seed, story));
        }
    }
    failed
}
