//! Situations in which a run may end.

use std::collections::BTreeMap;
use std::time::Duration;

use reknit::model::{Datacenter, DbIndex, Kind, Millis, ReplicaName, RunNumber, Sequence};
use reknit::repair::{
    Change, Destruction, DifferenceKind, Fate, Finding, Forgetful, Holding, Mode, Reason,
    ReplicaSummary, Resumed, Summary, Tally, Tripped, Verdict,
};
use reknit::store::Usage;

use super::samples::{binary, every_kind, fields, members, missing, scores, space, stream, types};

/// A run, as its report hears of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    pub(crate) show: usize,
    pub(crate) findings: Vec<Finding>,
    /// The error of a run that came to nothing.
    pub(crate) summary: Result<Summary, String>,
    pub(crate) exit_code: u8,
}

const STARTED: Millis = Millis(1_790_000_000_000);

pub(crate) fn replicas() -> Vec<(ReplicaName, Datacenter)> {
    [("us", "us-east-1"), ("eu", "eu-west-1"), ("ap", "ap")]
        .map(|(name, datacenter)| (replica(name), Datacenter(datacenter.into())))
        .to_vec()
}

pub(crate) fn replica(name: &str) -> ReplicaName {
    ReplicaName(name.into())
}

pub(crate) fn all() -> Vec<Case> {
    vec![
        in_sync(),
        empty(),
        diff_of_all_kinds(),
        diff_cut_to_two(),
        dry_run(),
        repaired(),
        remembered(),
        repair_with_all_verdicts(),
        limited(),
        stopped(),
        would_stop(),
        partial(),
        interrupted(),
        failed(),
    ]
}

fn summary(keys: u64) -> Summary {
    let replica = |(name, _): (ReplicaName, Datacenter)| ReplicaSummary {
        name,
        keys,
        missing: 0,
        alone: 0,
        differing: 0,
        written: 0,
        overwrites: 0,
        deletes: 0,
        usage: Usage {
            keys_read: keys,
            keys_written: 0,
            commands: keys * 3 + 12,
            round_trips: keys / 10 + 3,
            bytes_read: keys * 140,
            bytes_written: keys * 60,
        },
        lost: None,
    };
    Summary {
        started: STARTED,
        ended: Millis(STARTED.0 + 12_345),
        replicas: replicas().into_iter().map(replica).collect(),
        tallies: BTreeMap::new(),
        in_flight: 0,
        expiring: 0,
        verdicts: BTreeMap::new(),
        passes: 1,
        interrupted: false,
        limit_reached: false,
        markers_seen: false,
        tripped: Vec::new(),
        forgetful: Vec::new(),
        resumed: None,
        learned: 0,
        run: None,
        waits: Vec::new(),
    }
}

/// What the run would have counted.
fn counted(keys: u64, findings: &[Finding]) -> Summary {
    let mut summary = summary(keys);
    let kinds = summary
        .tallies
        .entry((DbIndex(0), space("default")))
        .or_default();
    for (kind, share) in [(Kind::String, 2), (Kind::Hash, 4), (Kind::SortedSet, 4)] {
        kinds.entry(Some(kind)).or_default().keys = keys / share;
    }
    for finding in findings {
        count(&mut summary, finding);
    }
    summary
}

fn count(summary: &mut Summary, finding: &Finding) {
    *summary.verdicts.entry(finding.verdict.name()).or_default() += 1;
    let place = (finding.db, finding.keyspace.clone());
    let kinds = summary.tallies.entry(place).or_default();
    let tally: &mut Tally = kinds.entry(finding.kind()).or_default();
    match finding.difference {
        DifferenceKind::Missing => tally.missing += 1,
        DifferenceKind::Type => tally.types += 1,
        DifferenceKind::Value => tally.values += 1,
        DifferenceKind::Expiry => tally.expiries += 1,
    }
    if finding.verdict == Verdict::Repaired {
        tally.repaired += 1;
    } else {
        tally.left += 1;
    }
    for (replica, holding) in summary.replicas.iter_mut().zip(&finding.holdings) {
        match holding {
            Some(Holding::Absent) => replica.missing += 1,
            Some(Holding::Held(_)) if finding.difference != DifferenceKind::Missing => {
                replica.differing += 1;
            }
            Some(_) | None => {}
        }
        let written =
            |change: &Change| change.replica == replica.name && change.fate == Fate::Applied;
        replica.written += u64::from(finding.changes.iter().any(written));
    }
}

fn resolved(mut finding: Finding, verdict: Verdict, to: &[(&str, &[&str])]) -> Finding {
    let fate = match &verdict {
        Verdict::Repaired => Fate::Applied,
        Verdict::Superseded => Fate::Superseded,
        Verdict::Refused(..) => Fate::Refused,
        _ => Fate::Planned,
    };
    finding.verdict = verdict;
    finding.rule = Some("hash");
    finding.changes = to
        .iter()
        .map(|(name, ops)| Change {
            replica: replica(name),
            ops: ops.iter().map(ToString::to_string).collect(),
            fate,
        })
        .collect();
    finding
}

fn in_sync() -> Case {
    Case {
        name: "in_sync",
        mode: Mode::Diff,
        show: 20,
        findings: Vec::new(),
        summary: Ok(counted(1_000_000, &[])),
        exit_code: 0,
    }
}

fn empty() -> Case {
    Case {
        name: "empty",
        mode: Mode::Repair,
        show: 20,
        findings: Vec::new(),
        summary: Ok(summary(0)),
        exit_code: 0,
    }
}

fn diff_of_all_kinds() -> Case {
    let findings = every_kind();
    let mut summary = counted(1_000_000, &findings);
    summary.in_flight = 17;
    summary.expiring = 1;
    summary.passes = 2;
    summary.replicas[0].alone = 1;
    Case {
        name: "diff_of_all_kinds",
        mode: Mode::Diff,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 1,
    }
}

fn diff_cut_to_two() -> Case {
    Case {
        name: "diff_cut_to_two",
        show: 2,
        ..diff_of_all_kinds()
    }
}

fn dry_run() -> Case {
    let mut findings = vec![
        resolved(
            missing(),
            Verdict::Planned,
            &[
                ("eu", &["put a string of 36 bytes"]),
                ("ap", &["put a string of 36 bytes"]),
            ],
        ),
        resolved(
            fields(),
            Verdict::Planned,
            &[("eu", &["set 1 field", "expire at 1790000100000"])],
        ),
        resolved(
            scores(),
            Verdict::Unresolved("the preference says skip".into()),
            &[],
        ),
    ];
    findings[0].rule = Some("lww");
    findings[0].decided = Some("the only candidate".into());
    Case {
        name: "dry_run",
        mode: Mode::Plan,
        show: 20,
        summary: Ok(counted(1_000, &findings)),
        findings,
        exit_code: 1,
    }
}

fn repaired() -> Case {
    let findings = vec![
        resolved(
            missing(),
            Verdict::Repaired,
            &[
                ("eu", &["put a string of 36 bytes"]),
                ("ap", &["put a string of 36 bytes"]),
            ],
        ),
        resolved(
            members(),
            Verdict::Repaired,
            &[("eu", &["add 1 member"]), ("ap", &["add 1 member"])],
        ),
    ];
    let mut summary = counted(1_000, &findings);
    summary.in_flight = 1;
    Case {
        name: "repaired",
        mode: Mode::Repair,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 0,
    }
}

/// A run with memory, which recognises a flushed and a restored replica and meets a new one.
fn remembered() -> Case {
    let findings = vec![resolved(
        missing(),
        Verdict::Repaired,
        &[("us", &["remove the key"])],
    )];
    let mut summary = counted(1_000, &findings);
    let forgot = |name, remembers, known| Forgetful {
        replica: replica(name),
        db: DbIndex(0),
        remembers,
        known,
    };
    summary.resumed = Some(Resumed {
        run: RunNumber(41),
        finished: 1,
        segments: 2,
        left: 3,
    });
    summary.forgetful = vec![
        forgot("us", Some(Sequence(41)), true),
        forgot("eu", None, true),
        forgot("ap", None, false),
    ];
    summary.learned = 12;
    summary.run = Some(RunNumber(7));
    Case {
        name: "remembered",
        mode: Mode::Repair,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 0,
    }
}

pub(crate) fn repair_with_all_verdicts() -> Case {
    let ops: Vec<String> = (0..12).map(|n| format!("set {n} fields")).collect();
    let ops: Vec<&str> = ops.iter().map(String::as_str).collect();
    let mut repaired = resolved(
        types(),
        Verdict::Repaired,
        &[("eu", &["put a string of 3 bytes"])],
    );
    repaired.decided = Some("preferred datacenter us-east-1".into());
    repaired.notes = vec!["types differ: string was kept, 1 replaced".into()];
    let mut findings = vec![
        repaired,
        resolved(fields(), Verdict::Superseded, &[("eu", &ops)]),
        resolved(
            scores(),
            Verdict::Unresolved("the preference says skip".into()),
            &[],
        ),
        resolved(
            missing(),
            Verdict::Refused(
                replica("eu"),
                "OOM command not allowed when used memory > 'maxmemory'".into(),
            ),
            &[("eu", &["put a string of 36 bytes"])],
        ),
        resolved(
            binary(),
            Verdict::Unreadable(
                replica("ap"),
                "NOPERM no permissions to access a key".into(),
            ),
            &[],
        ),
        resolved(
            stream(),
            Verdict::Unfinished("replica ap was lost: connection reset".into()),
            &[],
        ),
        resolved(members(), Verdict::OverLimit, &[]),
    ];
    findings[4].holdings[2] = Some(Holding::Unreadable);
    findings[5].holdings[2] = None;
    findings[5].details[0].values[2] = None;
    let mut summary = counted(12_345, &findings);
    summary.markers_seen = true;
    Case {
        name: "repair_with_all_verdicts",
        mode: Mode::Repair,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 3,
    }
}

/// A guard stopped it: what adds was written, what overwrites was not.
fn stopped() -> Case {
    let findings = vec![
        resolved(members(), Verdict::Repaired, &[("eu", &["add 1 member"])]),
        resolved(fields(), Verdict::HeldBack, &[("eu", &["set 1 field"])]),
    ];
    let mut summary = counted(10_000, &findings);
    (summary.replicas[1].overwrites, summary.replicas[1].deletes) = (2_345, 12);
    summary.tripped = vec![Tripped {
        replica: replica("eu"),
        what: Destruction::Overwrite,
        keys: 2_345,
        held: 10_000,
        limit: 2_000,
    }];
    Case {
        name: "stopped",
        mode: Mode::Repair,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 4,
    }
}

/// The same as a dry run.
fn would_stop() -> Case {
    let findings = vec![resolved(
        fields(),
        Verdict::Planned,
        &[("eu", &["set 1 field"])],
    )];
    let summary = stopped().summary.expect("a summary");
    let tripped = Tripped {
        what: Destruction::Delete,
        limit: 100,
        ..summary.tripped[0].clone()
    };
    Case {
        name: "would_stop",
        mode: Mode::Plan,
        summary: Ok(Summary {
            tripped: vec![tripped, summary.tripped[0].clone()],
            ..counted(10_000, &findings)
        }),
        findings,
        exit_code: 1,
        ..stopped()
    }
}

fn limited() -> Case {
    let findings = vec![resolved(
        members(),
        Verdict::Repaired,
        &[("eu", &["add 1 member"])],
    )];
    let mut summary = counted(1_000, &findings);
    summary.limit_reached = true;
    let wait = |reason, millis| (replica("eu"), reason, Duration::from_millis(millis));
    summary.waits = vec![
        wait(Reason::KeysPerSecond, 8_000),
        wait(Reason::Intensity, 40),
        wait(Reason::Latency, 1_250),
    ];
    Case {
        name: "limited",
        mode: Mode::Repair,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 1,
    }
}

fn partial() -> Case {
    let mut finding = missing();
    finding.holdings[1] = None;
    let findings = vec![finding];
    let mut summary = counted(1_000, &findings);
    let lost = &mut summary.replicas[1];
    lost.keys = 0;
    lost.usage = Usage::default();
    lost.lost = Some("replica eu: connecting to redis://10.0.1.1:6379: connection refused".into());
    Case {
        name: "partial",
        mode: Mode::Diff,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 3,
    }
}

fn interrupted() -> Case {
    let findings = vec![resolved(
        fields(),
        Verdict::Repaired,
        &[("eu", &["set 1 field"])],
    )];
    let mut summary = counted(1_000, &findings);
    summary.interrupted = true;
    Case {
        name: "interrupted",
        mode: Mode::Repair,
        show: 20,
        findings,
        summary: Ok(summary),
        exit_code: 130,
    }
}

fn failed() -> Case {
    Case {
        name: "failed",
        mode: Mode::Repair,
        show: 20,
        findings: Vec::new(),
        summary: Err(
            "fewer than two replicas could be read, nothing was compared: replica eu".into(),
        ),
        exit_code: 2,
    }
}
