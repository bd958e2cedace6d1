//! The model: random histories of runs with memory against a specification of their own.
//!
//! Clients write to every replica, also in the middle of runs; runs see any of the replicas, any of the keys, die, lose
//! answers, are refused, and their transactions arrive late. Every single write is compared with what dots and sums say,
//! and so is the end. `REKNIT_SEEDS` says how many seeds are tried; `REKNIT_SEED` tries one alone and tells its story.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod model_support;
mod support;

use model_support::history::live;

const DEFAULT_SEEDS: u64 = 500;

/// Seeds that broke something once.
const REGRESSIONS: &[u64] = &[];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn histories_end_as_the_specification_says() {
    let one = number("REKNIT_SEED");
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        None => {
            let most = number("REKNIT_SEEDS").unwrap_or(DEFAULT_SEEDS);
            REGRESSIONS.iter().copied().chain(0..most).collect()
        }
    };
    let halves: Vec<Vec<u64>> = (0..2)
        .map(|half| seeds.iter().copied().skip(half).step_by(2).collect())
        .collect();
    let failed: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = halves
            .into_iter()
            .map(|half| scope.spawn(move || try_all(&half, one.is_some())))
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

fn try_all(seeds: &[u64], tells: bool) -> Vec<(u64, String)> {
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
