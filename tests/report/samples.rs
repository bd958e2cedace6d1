//! Keys that differ, one in each way.

use bytes::Bytes;
use reknit::model::{DbIndex, Expiry, Key, KeyspaceName, Kind, Millis};
use reknit::repair::{Detail, DifferenceKind, Finding, Held, Holding, Verdict};

pub(crate) fn space(name: &str) -> KeyspaceName {
    KeyspaceName(name.into())
}

fn held(kind: Kind, length: u64) -> Option<Holding> {
    Some(Holding::Held(Held {
        kind,
        expiry: Expiry::Never,
        length,
    }))
}

fn until(kind: Kind, length: u64, at: i64) -> Option<Holding> {
    Some(Holding::Held(Held {
        kind,
        expiry: Expiry::At(Millis(at)),
        length,
    }))
}

fn absent() -> Option<Holding> {
    Some(Holding::Absent)
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
        evidence: None,
        decided: None,
        notes: Vec::new(),
        changes: Vec::new(),
        verdict: Verdict::Diverged,
    }
}

pub(crate) fn missing() -> Finding {
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

pub(crate) fn types() -> Finding {
    let holdings = [
        held(Kind::String, 3),
        held(Kind::List, 1),
        held(Kind::String, 3),
    ];
    finding("queue", DifferenceKind::Type, holdings, Vec::new())
}

pub(crate) fn fields() -> Finding {
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

pub(crate) fn scores() -> Finding {
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

pub(crate) fn stream() -> Finding {
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

pub(crate) fn members() -> Finding {
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

pub(crate) fn binary() -> Finding {
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

pub(crate) fn every_kind() -> Vec<Finding> {
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
