//! A hundred rounds on three real servers: clients write at random on all sides, deletes among it, reknit repairs, and
//! after each round all servers hold exactly what a small specification of its own says.
//!
//! Undisturbed; with reknit killed; with servers killed; with servers flushed and restored from old snapshots; with
//! runs that are undone. `REKNIT_SEED` tries one seed; `REKNIT_ROUNDS` says how many rounds each test lives through.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(
    clippy::print_stderr,
    reason = "a test that fails tells its seed and its story"
)]

mod rounds_support;
mod support;

use rounds_support::fleet::assert_one_of;
use rounds_support::history::{Act, History};
use support::site::assert_says;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed(usual: u64) -> u64 {
    number("REKNIT_SEED").unwrap_or(usual)
}

fn rounds(usual: u64) -> u64 {
    number("REKNIT_ROUNDS").unwrap_or(usual)
}

/// A first run, over nothing: with nothing to remember, counters and lists would have no base. Then rounds in which much
/// is written, so that deletes have something to delete.
fn settled(seed: u64, is_synced: bool) -> History {
    let mut history = History::new(seed, is_synced);
    history.repair();
    for _ in 0..2 {
        history.begin(400);
        history.repair();
    }
    history
}

#[test]
fn a_hundred_rounds_end_as_the_specification_says() {
    let mut history = settled(seed(1), false);
    for round in 0..rounds(100) {
        history.begin(80);
        history.repair();
        if round % 10 == 0 {
            history.fleet.reknit("diff").run().assert_code(0);
        }
    }
}

#[test]
fn a_run_that_is_killed_changes_nothing_about_that() {
    let mut history = settled(seed(2), false);
    for _ in 0..rounds(15) {
        let before = history.begin(80);
        let is_busy = history.dice().percent(40);
        let acts = match is_busy {
            true => vec![Act::Clients(20), Act::KillRun],
            false => vec![Act::KillRun],
        };
        for _ in 0..=history.dice().below(2) {
            history.disturbed(&acts);
            if !is_busy {
                history.assert_whole(&before, None);
            }
        }
        if is_busy {
            history.write(20);
        }
        history.repair();
    }
}

#[test]
fn a_server_that_is_killed_changes_nothing_about_that() {
    let mut history = settled(seed(3), true);
    // In what order lists are joined depends on which servers meet first.
    history.clients.joins_lists = false;
    for _ in 0..rounds(15) {
        let before = history.begin(80);
        let is_busy = history.dice().percent(40);
        let server = history.server();
        let at_once = history.dice().percent(50);
        let mut acts = vec![Act::KillServer { server, at_once }];
        if is_busy {
            acts.insert(0, Act::Clients(20));
        }
        let outcome = history.disturbed(&acts);
        assert_one_of(&outcome, &[0, 1, 2, 3]);
        if !is_busy {
            history.assert_whole(&before, Some(server));
        }
        history.repair();
    }
}

#[test]
fn a_server_that_forgets_takes_nothing_from_the_others() {
    let mut history = settled(seed(4), false);
    for _ in 0..rounds(25) {
        history.begin(80);
        if history.dice().percent(50) {
            let server = history.server();
            let said = history.forget(server);
            history.write(30);
            let outcome = history.repair();
            let said = format!("FORGOT: r{} (database 0) {said}", server + 1);
            assert_says(&outcome, &[&said]);
            assert_eq!(outcome.stdout.matches("FORGOT").count(), 1, "{outcome}");
        } else {
            history.repair();
        }
        if history.dice().percent(30) {
            history.keep();
        }
    }
}

#[test]
fn an_undo_brings_a_run_back() {
    let mut history = settled(seed(5), false);
    for _ in 0..rounds(6) {
        let before = history.begin(80);
        match history.dice().percent(50) {
            true => drop(history.disturbed(&[Act::KillRun])),
            false => drop(history.fleet.reknit("repair").run().assert_code(0)),
        }
        history.undo(&before);
        history.take_up(&before);
        history.repair();
    }
}
