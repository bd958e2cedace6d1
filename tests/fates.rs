//! Findings say what was: which change was applied, which was not, and what could not be read.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use reknit::model::{DbIndex, Key, Op, Value};
use reknit::repair::{Fate, Finding, Holding, Mode, Verdict};
use reknit::store::{Data, Fault, MemoryReplica, Step};

use support::run::{job, put, replicas, told};

fn script(
    replica: &MemoryReplica,
    at: impl FnMut(Step<'_>, DbIndex, &mut Data) -> Fault + Send + 'static,
) {
    replica.set_faults(Some(Box::new(at)));
}

fn fates(finding: &Finding) -> Vec<(&str, Fate)> {
    let changes = finding.changes.iter();
    changes.map(|one| (&*one.replica.0, one.fate)).collect()
}

#[tokio::test]
async fn of_several_replicas_each_has_its_own_fate() {
    let replicas = replicas(["us", "eu", "ap"]);
    put(&replicas[0], "k", "us");
    script(&replicas[2], |step, _, _| match step {
        Step::ExecuteKey(_) => Fault::Refuse("OOM".into()),
        _ => Fault::None,
    });
    let (summary, findings) = told(&job(&replicas, Mode::Repair)).await;
    let finding = findings.of("k");
    assert_eq!(finding.verdict.name(), "refused");
    assert_eq!(
        fates(finding),
        [("eu", Fate::Applied), ("ap", Fate::Refused)]
    );
    let written = summary.replicas.iter().map(|one| one.written);
    assert_eq!(written.collect::<Vec<_>>(), [0, 1, 0]);
}

#[tokio::test]
async fn what_always_lost_to_a_client_was_not_written() {
    let replicas = replicas(["us", "eu"]);
    put(&replicas[0], "k", "us");
    let mut writes = 0;
    script(&replicas[1], move |step, db, data| {
        // Between the look and the write, every time.
        if matches!(step, Step::Compare(_)) {
            writes += 1;
            let value = Value::String(format!("eu {writes}").into());
            data.apply(db, &Key::from("k"), &Op::Put(value)).unwrap();
        }
        Fault::None
    });
    let (summary, findings) = told(&job(&replicas, Mode::Repair)).await;
    let finding = findings.of("k");
    assert_eq!(finding.verdict, Verdict::Superseded);
    assert_eq!(fates(finding), [("eu", Fate::Superseded)]);
    assert_eq!(summary.replicas[1].written, 0);
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_stays_beside_what_was_applied_then() {
    let replicas = replicas(["us", "eu"]);
    put(&replicas[0], "k", "us");
    let mut is_first = true;
    script(&replicas[1], move |step, _, _| match step {
        Step::Execute(_) if std::mem::take(&mut is_first) => Fault::Disconnect,
        _ => Fault::None,
    });
    let (summary, findings) = told(&job(&replicas, Mode::Repair)).await;
    let finding = findings.of("k");
    assert_eq!(finding.verdict, Verdict::Repaired);
    assert_eq!(
        fates(finding),
        [("eu", Fate::Unknown), ("eu", Fate::Applied)]
    );
    assert_eq!(summary.replicas[1].written, 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_told_as_absent() {
    let replicas = replicas(["us", "eu", "ap"]);
    put(&replicas[0], "k", "us");
    for replica in &replicas[1..] {
        put(replica, "k", "another");
        script(replica, |step, _, _| match step {
            Step::ReadKey(_) => Fault::Unreadable("NOPERM".into()),
            _ => Fault::None,
        });
    }
    let (summary, findings) = told(&job(&replicas, Mode::Repair)).await;
    let finding = findings.of("k");
    assert_eq!(finding.verdict.name(), "unreadable");
    let unreadable = Some(Holding::Unreadable);
    assert!(matches!(finding.holdings[0], Some(Holding::Held(_))));
    assert_eq!(finding.holdings[1..], [unreadable.clone(), unreadable]);
    let missing = summary.replicas.iter().map(|one| one.missing);
    assert_eq!(missing.collect::<Vec<_>>(), [0, 0, 0]);
}
