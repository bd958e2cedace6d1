//! The cases that broke earlier drafts of runs with memory, one by one, on replicas in memory.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod case_support;
mod model_support;
mod support;

use std::sync::{Arc, Mutex};

use case_support::{Case, counter, hash, key, set, stream, text};
use reknit::model::{DbIndex, Key, Op, StreamId};
use reknit::repair::{MemoryTrouble, RunError, lane_name};
use reknit::store::{Fault, Portions, Step};

/// Keys without reknit's own.
fn of_clients(keys: &[Key]) -> bool {
    keys.iter().any(|key| !key.is_own())
}

#[tokio::test]
async fn a_write_that_fails_after_its_state_was_merged_is_neither_lost_nor_repeated() {
    let mut case = Case::new(3);
    case.put(0, "s", Some(set(&["a", "b"])));
    case.settle().await;
    case.apply(0, "s", Op::AddMembers(vec!["x".into()]));
    case.apply(0, "s", Op::RemoveMembers(vec!["b".into()]));
    case.at(1, |step, _| match step {
        Step::ExecuteKey(_) => Fault::Refuse("OOM".into()),
        _ => Fault::None,
    });
    case.run(&[0, 1, 2]).await;
    assert_eq!(case.get(1, "s"), Some(set(&["a", "b"])), "its write failed");
    case.undisturbed(1);
    // What the failed write should have brought is removed again, and what it should have removed is added again.
    case.apply(0, "s", Op::RemoveMembers(vec!["x".into()]));
    case.apply(2, "s", Op::AddMembers(vec!["b".into()]));
    case.apply(1, "s", Op::AddMembers(vec!["y".into()]));
    case.settle().await;
    case.assert_all("s", Some(set(&["a", "b", "y"])));
}

#[tokio::test]
async fn a_run_over_a_selection_leaves_what_a_replica_lags_behind_as_it_is() {
    let mut case = Case::new(3);
    case.put(0, "s", Some(set(&["a", "b"])));
    case.put(0, "k", Some(text("old")));
    case.settle().await;
    case.apply(0, "s", Op::RemoveMembers(vec!["b".into()]));
    case.apply(2, "s", Op::AddMembers(vec!["c".into()]));
    case.put(1, "k", None);
    case.run(&[0, 1]).await;
    case.select(&["k"]);
    case.run(&[0, 1, 2]).await;
    case.assert_all("k", None);
    assert_eq!(
        case.get(2, "s"),
        Some(set(&["a", "b", "c"])),
        "not selected"
    );
    case.select(&["elsewhere"]);
    case.run(&[0, 1, 2]).await;
    case.select(&[]);
    case.settle().await;
    case.assert_all("s", Some(set(&["a", "c"])));
}

#[tokio::test]
async fn data_and_marker_are_there_together_wherever_a_run_dies() {
    let mut died = 0;
    for step in 1..120 {
        let mut case = Case::new(2);
        case.settle().await;
        case.put(0, "k", Some(text("v")));
        let seen = Arc::new(Mutex::new(None));
        case.watch_marker(1, &seen);
        let ended = case.dies_at(step).await;
        died += u32::from(ended);
        let (before, after) = (seen.lock().unwrap().take(), case.marker(1));
        let is_written = case.get(1, "k").is_some();
        let has_moved = before.is_some_and(|before| Some(before) != after);
        assert_eq!(is_written, has_moved, "step {step}: {after:?}");
        case.settle().await;
        case.assert_all("k", Some(text("v")));
    }
    assert!(died > 20, "{died} runs died");
}

#[tokio::test]
async fn a_transaction_of_a_dead_run_that_arrives_late_is_aborted() {
    let mut case = Case::new(2);
    case.put(0, "count", Some(counter(10)));
    case.settle().await;
    case.apply(0, "count", Op::IncreaseBy(5));
    case.dies_where(1, |step| match step {
        Step::Execute(keys) if of_clients(keys) => Some(Fault::Late),
        _ => None,
    })
    .await;
    assert_eq!(case.get(1, "count"), Some(counter(10)), "still on its way");
    case.apply(1, "count", Op::IncreaseBy(1));
    case.run(&[0, 1]).await;
    assert_eq!(case.site.replicas[1].deliver_late(), 0, "it was fenced");
    case.settle().await;
    case.assert_all("count", Some(counter(16)));
}

#[tokio::test]
async fn a_transaction_that_arrives_before_the_next_run_is_found_to_have_happened() {
    let mut case = Case::new(2);
    case.put(0, "count", Some(counter(10)));
    case.settle().await;
    case.apply(0, "count", Op::IncreaseBy(5));
    case.dies_where(1, |step| match step {
        Step::Execute(keys) if of_clients(keys) => Some(Fault::Late),
        _ => None,
    })
    .await;
    assert_eq!(case.site.replicas[1].deliver_late(), 1);
    case.apply(1, "count", Op::IncreaseBy(1));
    case.settle().await;
    case.assert_all("count", Some(counter(16)));
}

#[tokio::test]
async fn a_counter_is_right_when_the_answer_to_its_transaction_is_lost() {
    for is_fenced_at_once in [true, false] {
        let mut case = Case::new(2);
        case.put(0, "count", Some(counter(10)));
        case.settle().await;
        case.apply(0, "count", Op::IncreaseBy(5));
        case.apply(1, "count", Op::IncreaseBy(2));
        let mut lost = false;
        case.at(1, move |step, _| match step {
            Step::Answer(keys) if of_clients(keys) && !lost => {
                lost = true;
                Fault::Disconnect
            }
            Step::Compare(keys) if lost && !is_fenced_at_once && !of_clients(keys) => {
                Fault::Disconnect
            }
            _ => Fault::None,
        });
        case.run(&[0, 1]).await;
        assert_eq!(case.get(1, "count"), Some(counter(17)));
        case.undisturbed(1);
        case.apply(1, "count", Op::IncreaseBy(100));
        case.settle().await;
        case.assert_all("count", Some(counter(117)));
    }
}

#[tokio::test]
async fn a_replica_rolled_back_to_between_two_runs_is_no_evidence_of_what_it_lost() {
    let mut case = Case::new(3);
    case.put(0, "gone", Some(text("v")));
    case.put(0, "s", Some(set(&["a", "b"])));
    case.settle().await;
    case.apply(1, "s", Op::AddMembers(vec!["mine".into()]));
    let snapshot = case.site.replicas[1].snapshot();
    case.put(0, "gone", None);
    case.put(0, "new", Some(text("n")));
    case.apply(0, "s", Op::RemoveMembers(vec!["b".into()]));
    case.apply(1, "s", Op::AddMembers(vec!["later".into()]));
    case.settle().await;
    case.site.replicas[1].restore(&snapshot);
    case.apply(1, "s", Op::AddMembers(vec!["since".into()]));
    case.settle().await;
    case.assert_all("gone", None);
    case.assert_all("new", Some(text("n")));
    case.assert_all("s", Some(set(&["a", "later", "mine", "since"])));
}

/// What it had told was written elsewhere; then it restarted with the data of before, and its marker is the last one
/// that was ever acknowledged.
#[tokio::test]
async fn a_replica_that_restarts_in_the_middle_of_a_run_takes_nothing_along() {
    let mut case = Case::new(3);
    case.put(0, "s", Some(set(&["a"])));
    case.put(0, "many", Some(hash(&[("f", "1")])));
    case.settle().await;
    let snapshot = case.site.replicas[0].snapshot();
    case.apply(0, "s", Op::AddMembers(vec!["x".into()]));
    case.put(0, "k", Some(text("v")));
    case.apply(0, "many", Op::SetFields(vec![("g".into(), "2".into())]));
    case.lose_after_reading(0);
    case.run(&[0, 1, 2]).await;
    assert_eq!(case.get(1, "s"), Some(set(&["a", "x"])));
    case.undisturbed(0);
    case.site.replicas[0].restore(&snapshot);
    case.settle().await;
    case.assert_all("s", Some(set(&["a", "x"])));
    case.assert_all("k", Some(text("v")));
    case.assert_all("many", Some(hash(&[("f", "1"), ("g", "2")])));
}

/// The same, but it never restarted: what it had told is not told twice.
#[tokio::test]
async fn a_replica_that_was_lost_in_the_middle_of_a_run_counts_once() {
    let mut case = Case::new(3);
    case.put(0, "count", Some(counter(10)));
    case.settle().await;
    case.apply(0, "count", Op::IncreaseBy(5));
    case.lose_after_reading(0);
    case.run(&[0, 1, 2]).await;
    case.undisturbed(0);
    case.apply(0, "count", Op::IncreaseBy(1));
    case.settle().await;
    case.assert_all("count", Some(counter(16)));
}

/// It fails over to what it held when the run began, so its marker is as it is remembered.
#[tokio::test]
async fn a_read_that_no_marker_proved_is_not_remembered() {
    let mut case = Case::new(3);
    case.put(0, "k", Some(text("v1")));
    case.settle().await;
    for replica in 0..3 {
        case.put(replica, "k", Some(text("v2")));
    }
    case.lose_after_reading(0);
    case.run(&[0, 1, 2]).await;
    case.undisturbed(0);
    case.put(0, "k", Some(text("v1")));
    case.settle().await;
    case.assert_all("k", Some(text("v2")));
}

/// Its marker tells of a later step, and of that one nothing.
#[tokio::test]
async fn what_became_of_a_step_is_on_disk_before_the_next_is_taken() {
    let mut case = Case::new(2);
    for name in ["moving", "quiet"] {
        case.put(0, name, Some(text("old")));
    }
    case.settle().await;
    for name in ["moving", "quiet"] {
        case.put(0, name, Some(text("new")));
    }
    let moving = key("moving");
    case.dies_in(1, move |step, data| match step {
        Step::Execute(keys) if keys.contains(&moving) => {
            // A client writes what is there anyway: the transaction is aborted.
            let same = data.get(DbIndex(0), &moving);
            data.set_state(DbIndex(0), &moving, same);
            None
        }
        Step::Answer(keys) if keys == [key("quiet")] => Some(Fault::Disconnect),
        _ => None,
    })
    .await;
    case.settle().await;
    case.assert_all("quiet", Some(text("new")));
    case.assert_all("moving", Some(text("new")));
}

#[tokio::test]
async fn a_marker_that_came_with_another_replicas_data_proves_nothing() {
    let mut case = Case::new(3);
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    let snapshot = case.site.replicas[0].snapshot();
    case.put(1, "later", Some(text("l")));
    case.settle().await;
    // Seeded from another replica's older dump; and a tool copied that one's newest marker as well.
    case.site.replicas[1].restore(&snapshot);
    let lane = lane_name(case.site.ids[0]);
    let copied = case.site.replicas[0].client().get(&lane);
    case.site.replicas[1].client().set_state(&lane, copied);
    case.settle().await;
    case.assert_all("later", Some(text("l")));
    case.assert_all("k", Some(text("v")));
}

#[tokio::test]
async fn a_marker_under_a_replicas_own_name_is_compared_by_what_it_says() {
    let mut case = Case::new(2);
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    let (first, second) = (lane_name(case.site.ids[0]), lane_name(case.site.ids[1]));
    let old = case.site.replicas[1].client().get(&second);
    case.put(0, "later", Some(text("l")));
    case.settle().await;
    // A client puts an older marker back, and with it goes what came since.
    case.site.replicas[1].client().set_state(&second, old);
    case.put(1, "later", None);
    case.run(&[0, 1]).await;
    case.assert_all("later", Some(text("l")));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_flushed_database_beside_an_untouched_one_forgets_alone() {
    let mut case = Case::with_databases(3, &[0, 1]);
    for db in [0, 1] {
        case.put_in(db, 0, "k", Some(text("v")));
        case.put_in(db, 0, "gone", Some(text("v")));
    }
    case.settle().await;
    case.site.replicas[1].flush(DbIndex(1));
    case.put_in(0, 1, "gone", None);
    case.settle().await;
    for replica in 0..3 {
        assert_eq!(case.get_in(0, replica, "gone"), None, "removed by a client");
        assert_eq!(case.get_in(1, replica, "gone"), Some(text("v")), "flushed");
        assert_eq!(case.get_in(1, replica, "k"), Some(text("v")));
        assert_eq!(case.get_in(0, replica, "k"), Some(text("v")));
    }
}

#[tokio::test]
async fn two_state_directories_on_the_same_replicas_are_found_out() {
    let mut case = Case::new(2);
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    let before = case.site.replicas[1].snapshot();
    case.put(0, "new", Some(text("n")));
    case.other_directory();
    let refused = case.try_run(&[0, 1]).await.unwrap_err();
    assert!(refused.to_string().contains("--adopt"), "{refused}");
    assert_eq!(
        case.site.replicas[1].snapshot(),
        before,
        "nothing was written"
    );
}

#[tokio::test]
async fn exchanged_names_are_found_out() {
    let mut case = Case::new(3);
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    let snapshots: Vec<_> = case
        .site
        .replicas
        .iter()
        .map(|one| one.snapshot())
        .collect();
    case.site.replicas[0].restore(&snapshots[1]);
    case.site.replicas[1].restore(&snapshots[0]);
    let refused = case.try_run(&[0, 1, 2]).await.unwrap_err();
    assert!(
        matches!(refused, RunError::Memory(MemoryTrouble::Swapped(..))),
        "{refused}"
    );
    assert_eq!(case.site.replicas[0].snapshot(), snapshots[1]);
}

#[tokio::test]
async fn a_collection_that_crosses_the_limit_and_comes_back_loses_nothing() {
    let mut case = Case::new(3);
    case.site.elements = 3;
    case.put(0, "s", Some(set(&["a", "b", "c"])));
    case.settle().await;
    case.apply(0, "s", Op::AddMembers(vec!["d".into(), "e".into()]));
    case.settle().await;
    case.assert_all("s", Some(set(&["a", "b", "c", "d", "e"])));
    // By whole key: one changed side wins.
    case.apply(1, "s", Op::RemoveMembers(vec!["a".into()]));
    case.settle().await;
    case.assert_all("s", Some(set(&["b", "c", "d", "e"])));
    // Two changed sides are united: the removals are lost, the additions are not.
    case.apply(0, "s", Op::RemoveMembers(vec!["b".into()]));
    case.apply(2, "s", Op::AddMembers(vec!["f".into()]));
    case.settle().await;
    case.assert_all("s", Some(set(&["b", "c", "d", "e", "f"])));
    case.apply(
        1,
        "s",
        Op::RemoveMembers(vec!["b".into(), "c".into(), "d".into()]),
    );
    case.settle().await;
    case.assert_all("s", Some(set(&["e", "f"])));
    // By element again.
    case.apply(0, "s", Op::RemoveMembers(vec!["e".into()]));
    case.apply(1, "s", Op::AddMembers(vec!["g".into()]));
    case.settle().await;
    case.assert_all("s", Some(set(&["f", "g"])));
}

#[tokio::test]
async fn what_was_evicted_is_no_removal_after_a_run_that_could_not_look_at_it() {
    let mut case = Case::new(2);
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    case.site.replicas[1].evict(DbIndex(0), &key("k"));
    case.lose_after_reading(0);
    let _ = case.try_run(&[0, 1]).await;
    case.undisturbed(0);
    case.run(&[0, 1]).await;
    assert_eq!(case.get(0, "k"), Some(text("v")));
}

#[tokio::test]
async fn large_collections_that_replace_another_type_are_joined() {
    let mut case = Case::new(3);
    for replica in &case.site.replicas {
        replica.set_portions(Portions {
            whole_elements: 3,
            page_elements: 2,
            ..Portions::default()
        });
    }
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    case.put(1, "k", Some(set(&["a", "b", "c", "d"])));
    case.put(2, "k", Some(set(&["d", "e", "f", "g"])));
    case.settle().await;
    case.assert_all("k", Some(set(&["a", "b", "c", "d", "e", "f", "g"])));
}

#[tokio::test]
async fn a_stream_that_was_trimmed_on_one_side_is_trimmed_on_all() {
    let mut case = Case::new(3);
    case.put(0, "log", Some(stream(&[1, 2, 3, 4], 4)));
    case.settle().await;
    let id = |ms| StreamId { ms, seq: 1 };
    case.apply(1, "log", Op::RemoveEntries(vec![id(1), id(2)]));
    let entry = (id(5), vec![("n".into(), "5".into())]);
    case.apply(2, "log", Op::AppendEntries(vec![entry]));
    case.settle().await;
    case.assert_all("log", Some(stream(&[3, 4, 5], 5)));
    // All of it.
    case.apply(0, "log", Op::RemoveEntries(vec![id(3), id(4), id(5)]));
    case.settle().await;
    case.assert_all("log", Some(stream(&[], 5)));
}

#[tokio::test]
async fn keys_evicted_in_one_run_and_quiet_in_the_next_are_not_removed() {
    let mut case = Case::new(3);
    case.put(0, "k", Some(text("v")));
    case.put(0, "s", Some(set(&["a", "b"])));
    case.put(0, "count", Some(counter(10)));
    case.settle().await;
    for name in ["k", "s", "count"] {
        case.site.replicas[1].evict(DbIndex(0), &key(name));
    }
    for _ in 0..3 {
        case.run(&[0, 1, 2]).await;
        assert_eq!(case.get(0, "k"), Some(text("v")));
        assert_eq!(case.get(2, "s"), Some(set(&["a", "b"])));
        assert_eq!(case.get(2, "count"), Some(counter(10)));
        assert_eq!(case.get(1, "k"), None, "it is not filled in");
    }
    // What its clients put there since was added, and the rest is still no removal.
    case.apply(1, "s", Op::AddMembers(vec!["c".into()]));
    case.apply(1, "count", Op::IncreaseBy(1));
    case.settle_but(1).await;
    case.assert_all("s", Some(set(&["a", "b", "c"])));
    case.assert_all("count", Some(counter(11)));
}
