//! What check, explain and clean may find.

use bytes::Bytes;
use reknit::model::{DbIndex, Expiry, Key, KeyspaceName, Kind, Millis};
use reknit::report::{
    CheckReport, CheckedCapabilities, CheckedReplica, CleanReport, CleanedDatabase, CleanedReplica,
    Estimate, ExplainReport, ExplainedElement, ExplainedMemory, ExplainedPast, ExplainedResult,
    ExplainedSibling, ExplainedVersion, ExplainedWrite, KeyspaceKeys, Remark, Severity, Shape,
    Standing,
};

use super::cases::{replica, replicas};

/// Each inspection's name, and what is said of it.
pub(crate) fn all(shape: Shape) -> Vec<(&'static str, String)> {
    let said = |write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    vec![
        ("check_ready", said(&|out| ready().write(&shape, 0, out))),
        (
            "check_not_ready",
            said(&|out| not_ready().write(&shape, 2, out)),
        ),
        (
            "explain_differing",
            said(&|out| differing().write(&shape, 1, out)),
        ),
        (
            "explain_agreed",
            said(&|out| agreed().write(&shape, 1, out)),
        ),
        ("explain_open", said(&|out| open().write(&shape, 3, out))),
        ("clean", said(&|out| clean().write(&shape, 3, out))),
        (
            "clean_dry_run",
            said(&|out| dry_run().write(&shape, 0, out)),
        ),
        (
            "clean_nothing",
            said(&|out| nothing().write(&shape, 0, out)),
        ),
    ]
}

fn remark(severity: Severity, text: &str, advice: Option<&str>) -> Remark {
    Remark {
        severity,
        text: text.into(),
        advice: advice.map(ToOwned::to_owned),
    }
}

fn checked(index: usize) -> CheckedReplica {
    let (name, datacenter) = replicas()[index].clone();
    CheckedReplica {
        endpoint: format!("redis://10.0.{index}.1:6379"),
        name,
        datacenter,
        version: Some("redis 7.0.15".into()),
        role: Some("master".into()),
        memory_bytes: Some(734_003_200),
        memory_limit_bytes: (index == 0).then_some(1 << 30),
        keyspaces: vec![KeyspaceKeys {
            db: DbIndex(0),
            keyspace: KeyspaceName("default".into()),
            keys: 1_000_000,
        }],
        clock_skew_ms: Some([0, 12, -1_500][index]),
        capabilities: Some(CheckedCapabilities {
            has: vec!["expire-time", "streams"],
            lacks: vec!["field-expiry"],
            instead: vec!["hash fields that end elsewhere are refused, key by key"],
            told_by: ["COMMAND INFO", "its version", "nothing"][index],
        }),
        acl_rule: Some("ACL SETUSER reknit on >PASSWORD ~* -@all +scan +get".into()),
        acl_rule_diff: Some("ACL SETUSER reknit on >PASSWORD %R~* -@all +scan".into()),
        remarks: vec![remark(
            Severity::Ok,
            "every command that a repair needs is permitted",
            None,
        )],
    }
}

fn ready() -> CheckReport {
    CheckReport {
        replicas: vec![checked(0), checked(1)],
        remarks: Vec::new(),
        estimate: Some(Estimate {
            keys: 2_000_000,
            bytes: 280_000_000,
            duration_ms: 95_400,
            memory_bytes: 166_000_000,
        }),
    }
}

fn not_ready() -> CheckReport {
    let mut slow = checked(1);
    slow.remarks.push(remark(
        Severity::Warn,
        "it may evict keys: maxmemory-policy is allkeys-lru",
        Some("evicted keys look missing, raise maxmemory or expect them to be filled in again"),
    ));
    let gone = CheckedReplica {
        version: None,
        role: None,
        memory_bytes: None,
        memory_limit_bytes: None,
        keyspaces: Vec::new(),
        clock_skew_ms: None,
        capabilities: None,
        acl_rule: None,
        acl_rule_diff: None,
        remarks: vec![remark(
            Severity::Error,
            "cannot be reached: connection refused",
            Some("is the server up, and the port open from here?"),
        )],
        ..checked(2)
    };
    CheckReport {
        replicas: vec![slow, gone],
        remarks: vec![remark(
            Severity::Warn,
            "keyspace `sessions` matches no key",
            None,
        )],
        estimate: None,
    }
}

fn sibling(index: usize, length: u64, expiry: Expiry) -> ExplainedSibling {
    let (replica, datacenter) = replicas()[index].clone();
    ExplainedSibling {
        replica,
        datacenter,
        state: Standing::Held,
        kind: Some(Kind::Hash),
        length,
        expiry,
        problem: None,
    }
}

fn without(index: usize, state: Standing, problem: Option<&str>) -> ExplainedSibling {
    ExplainedSibling {
        state,
        kind: None,
        length: 0,
        problem: problem.map(ToOwned::to_owned),
        ..sibling(index, 0, Expiry::Never)
    }
}

fn element(
    name: &'static [u8],
    values: [Option<&'static str>; 3],
    result: Option<&'static str>,
) -> ExplainedElement {
    ExplainedElement {
        what: "field".into(),
        name: Some(Bytes::from_static(name)),
        values: values.iter().map(|value| value.map(Bytes::from)).collect(),
        result: result.map(Bytes::from),
        differs: values.windows(2).any(|pair| pair[0] != pair[1]),
        since: Vec::new(),
    }
}

fn differing() -> ExplainReport {
    ExplainReport {
        key: Key::from("user:42"),
        db: DbIndex(0),
        keyspace: KeyspaceName("default".into()),
        slot: 8_000,
        position: "7d00a1b2c3d4e5f6".into(),
        equal: false,
        difference: Some("value"),
        siblings: vec![
            sibling(0, 3, Expiry::Never),
            sibling(1, 2, Expiry::At(Millis(1_790_000_000_000))),
            without(2, Standing::Absent, None),
        ],
        elements: vec![
            element(
                b"email",
                [Some("a@example.com"), Some("b@example.com"), None],
                Some("a@example.com"),
            ),
            element(b"bin\xff", [Some("1"), None, None], Some("1")),
            element(b"name", [Some("Ann"); 3], Some("Ann")),
        ],
        elements_left_out: 1_200,
        rule: "hash".into(),
        evidence: "neither recorded nor agreed: nothing is removed".into(),
        decided: Some("preferred datacenter us-east-1".into()),
        result: Some(ExplainedResult {
            kind: Some(Kind::Hash),
            length: 3,
            expiry: Expiry::Never,
        }),
        unresolved: None,
        writes: vec![
            ExplainedWrite {
                replica: replica("eu"),
                operations: vec!["set 2 fields".into(), "take the expiry away".into()],
            },
            ExplainedWrite {
                replica: replica("ap"),
                operations: vec!["put a hash of 3 elements".into()],
            },
        ],
        notes: vec!["the field count was nonsense".into()],
        memory: None,
    }
}

/// With memory: one replica removed a field, another lags.
fn agreed() -> ExplainReport {
    let past = |name: &str, did, lags, rolled_back| ExplainedPast {
        replica: replica(name),
        did,
        lags,
        rolled_back,
    };
    let since = vec![Some("unchanged"), Some("removed"), None];
    let mut report = ExplainReport {
        evidence: "agreed".into(),
        memory: Some(ExplainedMemory {
            agreed: Some(ExplainedVersion {
                version: 4,
                since: Millis(1_790_000_000_000),
                kind: Some(Kind::Hash),
                expiry: Expiry::Never,
                elements: Some(3),
                number: None,
            }),
            held_by: Some(9),
            replicas: vec![
                past("us", "unchanged", false, false),
                past("eu", "changed", true, true),
                past("ap", "newcomer", false, false),
            ],
        }),
        ..differing()
    };
    report.elements[0].since = since;
    report
}

fn open() -> ExplainReport {
    ExplainReport {
        siblings: vec![
            sibling(0, 3, Expiry::Never),
            without(
                1,
                Standing::Unreadable,
                Some("NOPERM no permissions to access a key"),
            ),
            without(2, Standing::Unknown, Some("connection refused")),
        ],
        elements: vec![element(b"email", [Some("a@example.com"), None, None], None)],
        elements_left_out: 0,
        equal: true,
        difference: None,
        decided: None,
        result: None,
        unresolved: Some("the preference says skip".into()),
        writes: Vec::new(),
        notes: Vec::new(),
        ..differing()
    }
}

fn cleaned(name: &str, lost: Option<&str>, databases: &[[u64; 4]]) -> CleanedReplica {
    CleanedReplica {
        name: replica(name),
        databases: databases
            .iter()
            .map(|&[db, found, removed, kept]| CleanedDatabase {
                db: DbIndex(u32::try_from(db).unwrap()),
                found,
                removed,
                kept,
            })
            .collect(),
        lost: lost.map(ToOwned::to_owned),
    }
}

pub(crate) fn clean() -> CleanReport {
    CleanReport {
        dry_run: false,
        replicas: vec![
            cleaned("us", None, &[[0, 1_202, 1_200, 2], [3, 0, 0, 0]]),
            cleaned("eu", Some("connection refused"), &[[0, 5, 4, 0]]),
        ],
    }
}

fn dry_run() -> CleanReport {
    CleanReport {
        dry_run: true,
        replicas: vec![cleaned("us", None, &[[0, 2, 0, 1]])],
    }
}

fn nothing() -> CleanReport {
    CleanReport {
        dry_run: false,
        replicas: vec![
            cleaned("us", None, &[[0, 0, 0, 0]]),
            cleaned("eu", None, &[]),
        ],
    }
}
