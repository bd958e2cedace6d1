//! The log of runs, what one of them wrote, and an undo.

use std::collections::BTreeMap;

use reknit::model::{DbIndex, Expiry, Key, Kind, Millis, ReplicaName};
use reknit::repair::{Forgetful, UndoFate, UndoFinding, UndoSummary};
use reknit::report::{
    LoggedRun, LoggedState, LoggedWrite, RunsReport, Shape, UndoReport, WritesReport,
};

use super::Page;
use super::cases::replica;

/// Each one's name, and what is said of it.
pub(crate) fn all(shape: Shape) -> Vec<(&'static str, String)> {
    vec![
        ("runs", runs(shape, log())),
        ("runs_none", runs(shape, Vec::new())),
        ("writes", writes(shape)),
        ("undo", undo(shape, false)),
        ("undo_dry_run", undo(shape, true)),
        ("undo_failed", undo_failed(shape)),
    ]
}

fn names() -> Vec<ReplicaName> {
    vec![replica("us"), replica("eu")]
}

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let counts = counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    counts.collect()
}

fn log() -> Vec<LoggedRun> {
    let began = |number: i64| Millis(1_790_000_000_000 + number * 86_400_000);
    let run = |number: u64, purpose: &str, exit: u8, result: &str| LoggedRun {
        number,
        purpose: purpose.into(),
        started: began(number as i64),
        ended: Some(Millis(began(number as i64).0 + 12_345)),
        result: Some(result.into()),
        exit_code: Some(exit),
        taken_up_by: None,
        note: None,
        undoes: None,
        replicas: names(),
        counts: BTreeMap::new(),
    };
    vec![
        LoggedRun {
            counts: counts(&[("repaired", 1_204), ("deletes", 3), ("keys", 1_000_000)]),
            ..run(1, "repair", 0, "done")
        },
        LoggedRun {
            note: Some("the import was wrong".into()),
            ..run(2, "repair", 4, "stopped")
        },
        LoggedRun {
            undoes: Some(1),
            counts: counts(&[("undone", 1_200), ("changed", 4)]),
            ..run(3, "undo 1", 1, "left")
        },
        LoggedRun {
            ended: None,
            result: None,
            exit_code: None,
            ..run(4, "repair", 0, "")
        },
        LoggedRun {
            ended: None,
            result: None,
            exit_code: None,
            taken_up_by: Some(6),
            ..run(5, "repair", 0, "")
        },
    ]
}

fn runs(shape: Shape, runs: Vec<LoggedRun>) -> String {
    let left_out = if runs.is_empty() { 0 } else { 7 };
    let mut out = Vec::new();
    let report = RunsReport { runs, left_out };
    report.write(&shape, 0, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn held(kind: Option<Kind>, length: Option<u64>, expiry: Expiry) -> LoggedState {
    LoggedState {
        held: true,
        kind,
        length,
        expiry,
    }
}

fn absent() -> LoggedState {
    LoggedState {
        held: false,
        ..held(None, None, Expiry::Never)
    }
}

fn writes(shape: Shape) -> String {
    let page = Page::default();
    let run = &log()[0];
    let mut report = WritesReport::new(shape, run, Box::new(page.clone()));
    let write = LoggedWrite {
        step: 12,
        replica: replica("eu"),
        db: DbIndex(0),
        key: Key::from("user:42"),
        before: held(Some(Kind::Hash), Some(3), Expiry::Never),
        after: absent(),
        rule: "hash".into(),
        evidence: "agreed".into(),
        applied: Some(true),
    };
    let until = Expiry::At(Millis(1_790_000_000_000));
    let all = [
        write.clone(),
        LoggedWrite {
            before: absent(),
            after: held(None, None, until),
            applied: Some(false),
            ..write.clone()
        },
        LoggedWrite {
            db: DbIndex(3),
            key: Key::new(b"bin\xff".to_vec()),
            before: held(None, None, until),
            after: held(None, None, Expiry::Never),
            applied: None,
            ..write
        },
    ];
    all.iter().for_each(|write| report.write(write).unwrap());
    report.finish(run, 40, 0).unwrap();
    page.text()
}

fn undo(shape: Shape, dry_run: bool) -> String {
    let page = Page::default();
    let mut report = UndoReport::new(shape, 7, dry_run, 3, Box::new(page.clone()));
    let finding = |name: &str, ops: &[&str], fate| UndoFinding {
        db: DbIndex(u32::from(name == "ap") * 3),
        key: Key::from("user:42"),
        replica: replica(name),
        ops: ops.iter().map(ToString::to_string).collect(),
        fate,
    };
    let back = if dry_run {
        UndoFate::Planned
    } else {
        UndoFate::Undone
    };
    let findings = [
        finding("us", &["put a hash of 3 elements"], back),
        finding("eu", &[], UndoFate::Changed),
        finding("ap", &[], UndoFate::Missed("connection refused".into())),
        finding(
            "us",
            &[],
            UndoFate::Kept("what stood there has expired since".into()),
        ),
    ];
    let mut summary = UndoSummary {
        holds: true,
        forgetful: vec![Forgetful {
            replica: replica("eu"),
            db: DbIndex(0),
            remembers: None,
            known: true,
        }],
        lost: vec![(replica("ap"), "connection refused".into())],
        ..UndoSummary::default()
    };
    for finding in &findings {
        *summary.counts.entry(finding.fate.name()).or_default() += 1;
        report.finding(finding);
    }
    report.finish(&summary, 3).unwrap();
    page.text()
}

fn undo_failed(shape: Shape) -> String {
    let page = Page::default();
    let report = UndoReport::new(shape, 7, false, 3, Box::new(page.clone()));
    report.fail("there is no run 7 in the log", 2).unwrap();
    page.text()
}
