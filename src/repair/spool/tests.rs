use bytes::Bytes;

use super::{DETAILED, Spool};
use crate::crdt::Evidence;
use crate::model::{
    DbIndex, Expiry, Key, KeyspaceName, Keyspaces, Kind, Millis, ReplicaName, Selection,
    ValueDigest,
};
use crate::repair::finding::{
    Change, Detail, DifferenceKind, Fate, Finding, Held, Holding, Verdict,
};
use crate::repair::look::Look;
use crate::repair::loss::{Loss, Losses};
use crate::repair::round::{Candidate, Deferred};
use crate::repair::scope::Scope;

fn scope() -> Scope {
    Scope::new(Keyspaces::new(Vec::new()), Selection::default())
}

fn finding(key: &Key) -> Finding {
    let held = Held {
        kind: Kind::Hash,
        expiry: Expiry::At(Millis(17)),
        length: 3,
    };
    Finding {
        db: DbIndex(0),
        keyspace: KeyspaceName("default".into()),
        key: key.clone(),
        difference: DifferenceKind::Value,
        holdings: vec![
            None,
            Some(Holding::Absent),
            Some(Holding::Unreadable),
            Some(Holding::Held(held)),
        ],
        details: vec![Detail {
            what: "field",
            name: Some(Bytes::from_static(b"\x00\xff")),
            values: vec![
                None,
                Some(Bytes::new()),
                None,
                Some(Bytes::from_static(b"v")),
            ],
        }],
        rule: Some("lww"),
        evidence: Some(Evidence::None),
        decided: Some("the greatest".into()),
        notes: vec!["a note".into(), String::new()],
        changes: Fate::ALL
            .map(|fate| Change {
                replica: ReplicaName("eu".into()),
                ops: vec!["set 1 field".into()],
                fate,
            })
            .to_vec(),
        verdict: Verdict::HeldBack,
    }
}

fn deferred(scope: &Scope, number: u64) -> Deferred<'_> {
    let key = Key::new([&b"key\x00"[..], &number.to_be_bytes()].concat());
    Deferred {
        finding: finding(&key),
        losses: Losses::from([(1, Loss::Overwritten), (3, Loss::Deleted)]),
        candidate: Candidate {
            keyspace: scope.owner(None, key.as_bytes()).expect("a keyspace"),
            looks: vec![
                None,
                Some(Look::Absent),
                Some(Look::Unreadable),
                Some(Look::Present {
                    kind: Kind::Module,
                    digest: ValueDigest::from_bytes([9; ValueDigest::LENGTH]),
                    expiry: Expiry::Never,
                }),
            ],
            key,
        },
    }
}

#[test]
fn what_waits_comes_back_whole_and_in_order() {
    let scope = scope();
    let mut spool = Spool::new();
    for number in 0..DETAILED + 10 {
        spool.append(&deferred(&scope, number)).unwrap();
    }
    assert_eq!(spool.len(), DETAILED + 10);
    let mut waiting = spool.read().unwrap();
    for number in 0..DETAILED + 10 {
        let mut expected = deferred(&scope, number);
        if number >= DETAILED {
            expected.finding.details.clear();
        }
        let found = waiting.next(&scope).unwrap().expect("a key");
        assert_eq!(found.finding, expected.finding);
        assert_eq!(found.losses, expected.losses);
        assert_eq!(found.candidate.key, expected.candidate.key);
        assert_eq!(found.candidate.looks, expected.candidate.looks);
    }
    assert!(waiting.next(&scope).unwrap().is_none());
}

#[test]
fn no_file_is_made_where_nothing_waits() {
    let spool = Spool::new();
    assert!(spool.file.is_none());
    assert!(spool.read().unwrap().next(&scope()).unwrap().is_none());
}

#[test]
fn a_record_that_ends_too_early_or_goes_on_is_none() {
    let scope = scope();
    let mut words = super::Words::default();
    let whole = super::record::encode(&deferred(&scope, 1), &mut words, true);
    for length in 0..whole.len() {
        let cut = super::record::decode(&whole[..length], &words, &scope);
        assert!(cut.is_none(), "{length} of {} bytes", whole.len());
    }
    let longer = [&whole[..], b"x"].concat();
    assert!(super::record::decode(&longer, &words, &scope).is_none());
    assert!(super::record::decode(&whole, &words, &scope).is_some());
}
