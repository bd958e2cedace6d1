//! What values of every type come to in runs with memory, one story each, on replicas in memory.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod case_support;
mod model_support;
mod support;

use std::time::Duration;

use case_support::{Case, counter, hash, list, set, text};
use reknit::model::{DbIndex, Expiry, Key, Op};
use reknit::store::{Fault, Step};

#[tokio::test]
async fn a_string_rebuilt_as_a_set_on_two_sides_is_the_union() {
    let mut case = Case::new(3);
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    case.put(0, "k", Some(set(&["a", "b"])));
    case.put(1, "k", Some(set(&["b", "c"])));
    case.settle().await;
    case.assert_all("k", Some(set(&["a", "b", "c"])));
    case.apply(2, "k", Op::RemoveMembers(vec!["b".into()]));
    case.settle().await;
    case.assert_all("k", Some(set(&["a", "c"])));
}

#[tokio::test]
async fn a_type_that_won_over_the_agreed_one_does_not_wait_for_it() {
    let mut case = Case::new(3);
    case.settle().await;
    case.put(0, "k", Some(text("v")));
    case.run(&[0, 1]).await;
    case.put(2, "k", Some(list(&["a"])));
    case.settle().await;
    case.assert_all("k", Some(list(&["a"])));
}

#[tokio::test]
async fn what_expired_was_not_deleted() {
    let mut case = Case::new(3);
    let soon = Expiry::At(case.now().plus(Duration::from_secs(600)));
    case.put(0, "k", Some(text("v")));
    case.apply(0, "k", Op::Expire(soon));
    case.settle().await;
    let agreed = case.get(2, "k");
    assert_eq!(agreed.map(|state| state.expiry), Some(soon));
    // One of them lives longer; then the others' time has passed.
    case.apply(2, "k", Op::Expire(Expiry::Never));
    case.pass(Duration::from_secs(700));
    assert_eq!(case.get(0, "k"), None);
    case.settle().await;
    case.assert_all("k", Some(text("v")));
    // Gone everywhere: neither a delete nor anything to be brought back.
    let later = Expiry::At(case.now().plus(Duration::from_secs(600)));
    (0..3).for_each(|replica| case.apply(replica, "k", Op::Expire(later)));
    case.settle().await;
    case.pass(Duration::from_secs(700));
    case.put(1, "k", Some(text("again")));
    case.settle().await;
    case.assert_all("k", Some(text("again")));
}

#[tokio::test]
async fn a_register_that_becomes_a_counter_starts_from_what_was_agreed() {
    let mut case = Case::new(3);
    case.put(0, "hits", Some(counter(10)));
    case.settle().await;
    case.count_everything();
    case.apply(0, "hits", Op::IncreaseBy(1));
    case.apply(1, "hits", Op::IncreaseBy(1));
    case.settle().await;
    case.assert_all("hits", Some(counter(12)));
}

#[tokio::test]
async fn counters_that_were_there_before_the_first_run_are_not_added_up() {
    let mut case = Case::new(2);
    case.put(0, "count", Some(counter(10)));
    case.put(1, "count", Some(counter(7)));
    // They are still moving in the first run: it leaves them to the next.
    let mut moves = 0;
    case.at(0, move |step, data| {
        let count = Key::from("count");
        if step == Step::ReadKey(&count) && moves < 2 {
            moves += 1;
            data.apply(DbIndex(0), &count, &Op::IncreaseBy(1)).unwrap();
        }
        Fault::None
    });
    case.run(&[0, 1]).await;
    case.undisturbed(0);
    case.settle().await;
    case.assert_all("count", Some(counter(12)));
}

#[tokio::test]
async fn two_equal_increments_are_two_also_of_a_counter_that_is_new() {
    let mut case = Case::new(3);
    case.settle().await;
    case.apply(0, "count", Op::IncreaseBy(1));
    case.apply(1, "count", Op::IncreaseBy(1));
    case.apply(2, "count", Op::IncreaseBy(1));
    case.settle().await;
    case.assert_all("count", Some(counter(3)));
}

#[tokio::test]
async fn what_is_new_at_a_replica_that_is_away_is_added_when_it_is_back() {
    let mut case = Case::new(3);
    case.settle().await;
    case.apply(0, "count", Op::IncreaseBy(1));
    case.put(0, "h", Some(hash(&[("f", "1")])));
    case.apply(2, "count", Op::IncreaseBy(4));
    case.put(2, "h", Some(hash(&[("f", "2"), ("g", "3")])));
    case.run(&[0, 1]).await;
    case.settle().await;
    case.assert_all("count", Some(counter(5)));
    case.assert_all("h", Some(hash(&[("f", "2"), ("g", "3")])));
}

/// Its only holder was flushed: nobody will ever hold it again, and nothing waits for it.
#[tokio::test]
async fn what_only_a_flushed_replica_held_is_not_waited_for() {
    let mut case = Case::new(3);
    case.put(0, "h", Some(hash(&[("f", "1")])));
    case.settle().await;
    case.apply(0, "h", Op::SetFields(vec![("g".into(), "2".into())]));
    case.put(0, "k", Some(text("v")));
    for replica in [1, 2] {
        case.at(replica, |step, _| match step {
            Step::ExecuteKey(_) => Fault::Refuse("OOM".into()),
            _ => Fault::None,
        });
    }
    case.run(&[0, 1, 2]).await;
    case.site.replicas[0].client().flush();
    (1..3).for_each(|replica| case.undisturbed(replica));
    case.settle().await;
    case.assert_all("h", Some(hash(&[("f", "1")])));
    case.assert_all("k", None);
}

/// It lacked the key in a complete run since: what it adds there later is new, and not what it forgot.
#[tokio::test]
async fn what_a_flushed_replica_adds_to_a_removed_key_after_it_was_told_is_kept() {
    let mut case = Case::new(2);
    case.put(0, "s", Some(set(&["a"])));
    case.put(0, "k", Some(text("v")));
    case.settle().await;
    case.put(0, "s", None);
    case.put(0, "k", None);
    case.settle().await;
    case.site.replicas[1].client().flush();
    case.settle().await;
    case.put(1, "s", Some(set(&["b"])));
    case.put(1, "k", Some(text("w")));
    case.settle().await;
    case.assert_all("s", Some(set(&["b"])));
    case.assert_all("k", Some(text("w")));
}
