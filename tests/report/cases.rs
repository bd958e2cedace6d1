//! Situations in which a run may end.

use std::collections::BTreeMap;

use bytes::Bytes;
use reknit::model::{Datacenter, DbIndex, Expiry, Key, KeyspaceName, Kind, Millis, ReplicaName};
use reknit::repair::{
    Change, Detail, DifferenceKind, Finding, Holding, Mode, ReplicaSummary, Summary, Tally, Verdict,
};
use reknit::store::Usage;

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
        repair_with_all_verdicts(),
        limited(),
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
            Some(Holding { kind: None, .. }) => replica.missing += 1,
            Some(_) if finding.difference != DifferenceKind::Missing => replica.differing += 1,
            Some(_) | None => {}
        }
        let written = finding.verdict == Verdict::Repaired
            && finding
                .changes
                .iter()
                .any(|change| change.replica == replica.name);
        replica.written += u64::from(written);
    }
}

fn space(name: &str) -> KeyspaceName {
    KeyspaceName(name.into())
}

fn held(kind: Kind, length: u64) -> Option<Holding> {
    Some(Holding {
        kind: Some(kind),
        expiry: Expiry::Never,
        length,
    })
}

fn until(kind: Kind, length: u64, at: i64) -> Option<Holding> {
    Some(Holding {
        kind: Some(kind),
        expiry: Expiry::At(Millis(at)),
        length,
    })
}

fn absent() -> Option<Holding> {
    Some(Holding {
        kind: None,
        expiry: Expiry::Never,
        length: 0,
    })
}

fn detail(
    what: &'static str,
    name: Option<&'static str>,
    values: [Option<&'static str>; 3],
) -> Detail {
    Detail {
        what,
        name: name.map(Bytes::from),
        values: values.iter().map(|value| value.map(Bytes::from)).collect(),
    }
}

fn finding(
    key: impl Into<Bytes>,
    difference: DifferenceKind,
    holdings: [Option<Holding>; 3],
    details: Vec<Detail>,
) -> Finding {
    Finding {
        db: DbIndex(0),
        keyspace: space("default"),
        key: Key::new(key),
        difference,
        holdings: holdings.to_vec(),
        details,
        rule: None,
        decided: None,
        notes: Vec::new(),
        changes: Vec::new(),
        verdict: Verdict::Diverged,
    }
}

fn missing() -> Finding {
    finding(
        "session:1042",
        DifferenceKind::Missing,
        [
            until(Kind::String, 36, 1_790_003_600_000),
            absent(),
            absent(),
        ],
        vec![detail(
            "value",
            None,
            [Some("7f1c44e2-5f0a-4d0e-9f5e-5c3d1a2b3c4d"), None, None],
        )],
    )
}

fn types() -> Finding {
    let holdings = [
        held(Kind::String, 3),
        held(Kind::List, 1),
        held(Kind::String, 3),
    ];
    finding("queue", DifferenceKind::Type, holdings, Vec::new())
}

fn fields() -> Finding {
    finding(
        "user:42",
        DifferenceKind::Value,
        [
            held(Kind::Hash, 3),
            held(Kind::Hash, 1_204),
            held(Kind::Hash, 3),
        ],
        vec![
            detail(
                "field",
                Some("email"),
                [
                    Some("ann@example.com"),
                    Some("ann@example.org"),
                    Some("ann@example.com"),
                ],
            ),
            detail("field", Some("phone"), [None, Some("555-0100"), None]),
        ],
    )
}

fn scores() -> Finding {
    let mut scores = finding(
        "board",
        DifferenceKind::Value,
        [
            held(Kind::SortedSet, 10),
            held(Kind::SortedSet, 10),
            absent(),
        ],
        vec![detail(
            "score",
            Some("player one"),
            [Some("10"), Some("12.5"), None],
        )],
    );
    scores.db = DbIndex(3);
    scores.keyspace = space("games");
    scores
}

fn stream() -> Finding {
    finding(
        "events",
        DifferenceKind::Value,
        [
            held(Kind::Stream, 1),
            held(Kind::Stream, 2),
            held(Kind::Stream, 2),
        ],
        vec![
            detail(
                "entry",
                Some("1790000000000-1"),
                [None, Some("kind click"), Some("kind click")],
            ),
            detail(
                "last-id",
                None,
                [
                    Some("1789999999999-0"),
                    Some("1790000000000-1"),
                    Some("1790000000000-1"),
                ],
            ),
            detail("group", Some("workers"), [Some("present"), None, None]),
        ],
    )
}

fn list() -> Finding {
    finding(
        "todo",
        DifferenceKind::Value,
        [
            held(Kind::List, 2),
            held(Kind::List, 1),
            held(Kind::List, 1),
        ],
        vec![detail("index", Some("1"), [Some("tidy"), None, None])],
    )
}

fn members() -> Finding {
    finding(
        "tags",
        DifferenceKind::Value,
        [held(Kind::Set, 2), held(Kind::Set, 1), held(Kind::Set, 1)],
        vec![detail(
            "member",
            Some("new\nline"),
            [Some("present"), None, None],
        )],
    )
}

fn expiries() -> Finding {
    finding(
        "cache:home",
        DifferenceKind::Expiry,
        [
            until(Kind::String, 5, 1_790_000_100_000),
            until(Kind::String, 5, 1_790_000_100_250),
            held(Kind::String, 5),
        ],
        vec![detail(
            "expiry",
            None,
            [Some("1790000100000"), Some("1790000100250"), Some("never")],
        )],
    )
}

fn binary() -> Finding {
    let mut binary = finding(
        &b"bin\x00\xff\"key\" \xf0\x9f\x94\x91"[..],
        DifferenceKind::Value,
        [held(Kind::String, 2), held(Kind::String, 70), absent()],
        Vec::new(),
    );
    binary.details = vec![Detail {
        what: "value",
        name: None,
        values: vec![
            Some(Bytes::from_static(b"\xc3\x28")),
            Some(Bytes::from("x".repeat(Detail::SHOWN_BYTES))),
            None,
        ],
    }];
    binary
}

fn every_kind() -> Vec<Finding> {
    vec![
        missing(),
        types(),
        fields(),
        scores(),
        stream(),
        list(),
        members(),
        expiries(),
        binary(),
    ]
}

fn resolved(mut finding: Finding, verdict: Verdict, to: &[(&str, &[&str])]) -> Finding {
    finding.verdict = verdict;
    finding.rule = Some("hash");
    finding.changes = to
        .iter()
        .map(|(name, ops)| Change {
            replica: replica(name),
            ops: ops.iter().map(ToString::to_string).collect(),
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

fn limited() -> Case {
    let findings = vec![resolved(
        members(),
        Verdict::Repaired,
        &[("eu", &["add 1 member"])],
    )];
    let mut summary = counted(1_000, &findings);
    summary.limit_reached = true;
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
