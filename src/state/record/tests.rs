//! Every record comes back as it was, is frozen, and is refused when it is damaged.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;

use crate::model::{
    Agreement, Amount, Body, DbIndex, ElementMemory, Expiry, Kind, Lag, LagBase, Lane, Memory,
    Millis, PolicyMark, ReplicaId, ReplicaName, RunNumber, Score, Seen, Sequence,
    State as KeyState, StreamId, Sum, Value, ValueDigest, Version, Voids,
};

use super::super::codec::Unreadable;
use super::super::{
    Hold, Intent, IntentKey, IntentPart, JournalEntry, KnownReplica, Post, PreImage, RunEnd,
    RunRecord, RunStart, Segment,
};
use super::*;

fn comes_back<T: Record + PartialEq + Debug>(record: &T) -> Result<(), TestCaseError> {
    let bytes = record.encode();
    let back = T::decode(&bytes);
    prop_assert_eq!(back.as_ref(), Ok(record));
    for length in 0..bytes.len() {
        let cut = T::decode(&bytes[..length]);
        prop_assert!(cut.is_err(), "cut off at {} of {}", length, bytes.len());
    }
    let longer = [&bytes[..], &[0]].concat();
    prop_assert!(T::decode(&longer).is_err());
    let mut newer = bytes;
    newer[0] = FORMAT + 1;
    prop_assert_eq!(T::decode(&newer), Err(Unreadable::Format(FORMAT + 1)));
    Ok(())
}

proptest! {
    #[test]
    fn agreements_come_back(agreement in arbitrary::agreement()) {
        comes_back(&agreement)?;
        let head = Head::of(&agreement.encode());
        let told = agreement.memory.as_ref().map_or(Head::Tombstone, |memory| {
            Head::There(
                memory.kind,
                memory.expiry,
                memory.digest,
                agreement.proved,
            )
        });
        prop_assert_eq!(head, Ok(told));
        let tombstones = agreement.memory.is_none() || !agreement.removed.is_empty();
        prop_assert_eq!(Head::has_tombstones(&agreement.encode()), Ok(tombstones));
    }

    #[test]
    fn lags_come_back(lag in arbitrary::lag()) {
        comes_back(&lag)?;
        let told = if lag.base == LagBase::Agreed && !lag.evicted {
            Standing::AtVersion
        } else {
            Standing::Behind
        };
        prop_assert_eq!(standing(&lag.encode()), Ok((told, lag.proved)));
    }

    #[test]
    fn intents_come_back(intent in arbitrary::intent()) {
        comes_back(&intent)?;
    }

    #[test]
    fn entries_of_the_journal_come_back(entry in arbitrary::journal_entry()) {
        comes_back(&entry)?;
    }

    #[test]
    fn values_come_back(state in crate::model::arbitrary::state()) {
        comes_back(&state)?;
    }

    #[test]
    fn small_records_come_back(
        replica in arbitrary::known_replica(),
        lane in arbitrary::lane(),
        voids in arbitrary::voids(),
        run in arbitrary::run_record(),
        number: u64,
        applied: bool,
    ) {
        comes_back(&replica)?;
        comes_back(&lane)?;
        comes_back(&voids)?;
        comes_back(&run)?;
        prop_assert_eq!(counter(&put_counter(number)), Ok(number));
        prop_assert_eq!(outcome(&put_outcome(applied)), Ok(applied));
        let size = JournalSize { entries: number, bytes: number / 2 };
        comes_back(&size)?;
    }

    #[test]
    fn what_is_no_record_is_refused_without_a_panic(mut bytes: Vec<u8>) {
        bytes.insert(0, FORMAT);
        let _ = Agreement::decode(&bytes).is_ok();
        let _ = Lag::decode(&bytes).is_ok();
        let _ = Intent::decode(&bytes).is_ok();
        let _ = JournalEntry::decode(&bytes).is_ok();
        let _ = RunRecord::decode(&bytes).is_ok();
        bytes[0] = 0;
        prop_assert!(Agreement::decode(&bytes).is_err());
        prop_assert!(Intent::decode(&bytes).is_err());
    }

    #[test]
    fn a_superseded_record_stays_as_it_stood(at: i64, record: Vec<u8>) {
        let bytes = put_ended(Millis(at), &record);
        prop_assert_eq!(ended(&bytes), Ok((Millis(at), &record[..])));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
pub(super) fn frozen<T: Record + PartialEq + Debug>(record: &T, vector: &str) {
    assert_eq!(hex(&record.encode()), vector.replace(' ', ""));
    assert_eq!(T::decode(&record.encode()).as_ref(), Ok(record));
}

fn digest(byte: u8) -> ValueDigest {
    ValueDigest::from_bytes([byte; ValueDigest::LENGTH])
}

fn digest_vector(byte: u8) -> String {
    format!("{byte:02x}").repeat(ValueDigest::LENGTH)
}

fn register() -> Agreement {
    Agreement {
        version: Version(3),
        memory: Some(Memory {
            kind: Kind::String,
            digest: digest(0xaa),
            expiry: Expiry::Never,
            body: Body::Whole,
        }),
        removed: BTreeMap::new(),
        proved: Sequence(300),
        since: Millis(1),
    }
}

fn remembered(kind: Kind, expiry: Expiry, body: Body) -> Agreement {
    let memory = Memory {
        kind,
        digest: digest(1),
        expiry,
        body,
    };
    Agreement {
        memory: Some(memory),
        ..register()
    }
}

fn element(amount: Option<Amount>) -> ElementMemory {
    ElementMemory {
        digest: digest(2),
        changed: Version(5),
        amount,
    }
}

#[test]
fn agreements_are_frozen() {
    let (aa, head) = (digest_vector(0xaa), "01 01 03 ac02 02");
    frozen(&register(), &format!("{head} 01 {aa} 00"));
    let tombstone = Agreement {
        memory: None,
        removed: BTreeMap::from([(Bytes::from("m"), Version(2))]),
        ..register()
    };
    frozen(&tombstone, "01 02 03 ac02 02 01 01 6d 02");
}

#[test]
fn every_body_and_every_kind_is_frozen() {
    let (d1, d2, head) = (digest_vector(1), digest_vector(2), "01 01 03 ac02 02");
    let at = Expiry::At(Millis(5));
    frozen(
        &remembered(Kind::String, at, Body::Counter(-1)),
        &format!("{head} 11 0a {d1} 01 01"),
    );
    let one = |name: &'static str, amount| BTreeMap::from([(name.into(), element(amount))]);
    frozen(
        &remembered(Kind::Set, Expiry::Never, Body::Elements(one("m", None))),
        &format!("{head} 04 {d1} 02 01 01 6d 05 00 {d2}"),
    );
    let counted = one("f", Some(Amount::Integer(7)));
    frozen(
        &remembered(Kind::Hash, Expiry::Never, Body::Elements(counted)),
        &format!("{head} 03 {d1} 02 01 01 66 05 01 0e {d2}"),
    );
    let scored = one("z", Score::new(1.5).map(Amount::Score));
    frozen(
        &remembered(Kind::SortedSet, Expiry::Never, Body::Elements(scored)),
        &format!("{head} 05 {d1} 02 01 01 7a 05 02 3ff8000000000000 {d2}"),
    );
    let sum = Sum {
        count: 2,
        limbs: [1, 0, 0, 2],
    };
    let list = Body::List { length: 2, sum };
    frozen(
        &remembered(Kind::List, Expiry::Never, list),
        &format!(
            "{head} 02 {d1} 03 02 02 0100000000000000 0000000000000000 0000000000000000 0200000000000000"
        ),
    );
    let stream = Body::Stream {
        first: StreamId { ms: 1, seq: 0 },
        last_id: StreamId { ms: 2, seq: 1 },
        entries: None,
    };
    frozen(
        &remembered(Kind::Stream, Expiry::Never, stream),
        &format!("{head} 06 {d1} 04 0100 0201 00"),
    );
    frozen(
        &remembered(Kind::Module, Expiry::Never, Body::Whole),
        &format!("{head} 07 {d1} 00"),
    );
}

fn lag(base: LagBase) -> Lag {
    Lag {
        base,
        seen: Seen {
            key: Version(4),
            elements: BTreeMap::from([(Bytes::from("m"), Version(1))]),
        },
        proved: Sequence(9),
        since: Sequence(10),
        evicted: false,
    }
}

#[test]
fn lags_are_frozen() {
    let (aa, rest) = (digest_vector(0xaa), "09 0a 04 01 01 6d 01");
    frozen(&lag(LagBase::Agreed), &format!("01 01 {rest}"));
    frozen(&lag(LagBase::Held(None)), &format!("01 02 {rest}"));
    let held = LagBase::Held(register().memory);
    frozen(&lag(held), &format!("01 03 {rest} 01 {aa} 00"));
    let evicted = Lag {
        evicted: true,
        ..lag(LagBase::Unknown)
    };
    frozen(&evicted, &format!("01 14 {rest}"));
}

#[test]
fn segments_are_frozen() {
    let segment = Segment {
        db: DbIndex(2),
        slots: "1-300".parse().unwrap(),
        finished: Millis(1),
        digest: [0xaa; 32],
        proved: Sequence(300),
        left: 3,
        is_complete: true,
    };
    let vector = format!("01 02 02 {} 01 ac02 ac02 03 01", "aa".repeat(32));
    frozen(&segment, &vector);
}

#[test]
fn intents_are_frozen() {
    let intent = Intent {
        sequence: Sequence(1),
        run: RunNumber(2),
        db: DbIndex(3),
        replicas: vec![ReplicaId([7; 8])],
        keys: vec![IntentKey {
            key: "k".into(),
            agreement: None,
            always: vec![(ReplicaId([8; 8]), None)],
            parts: vec![IntentPart {
                replica: ReplicaId([7; 8]),
                place: 5,
                applied: None,
                otherwise: lag(LagBase::Agreed),
            }],
        }],
        late: true,
    };
    let (seven, eight) = ("07".repeat(8), "08".repeat(8));
    frozen(
        &intent,
        &format!(
            "01 01 02 03 01 01 {seven} 01 01 6b 00 01 {eight} 00 01 {seven} 05 00 01 09 0a 04 01 01 6d 01"
        ),
    );
}

pub(super) fn journalled(before: PreImage, wrote: Post) -> JournalEntry {
    JournalEntry {
        sequence: Sequence(1),
        run: RunNumber(2),
        replica: ReplicaId([7; 8]),
        db: DbIndex(0),
        key: "k".into(),
        before,
        wrote,
        rule: "r".into(),
        evidence: "e".into(),
        agreement_before: None,
        lags_before: BTreeMap::new(),
        stamps: None,
        outcome: None,
    }
}

#[test]
fn entries_of_the_journal_are_frozen() {
    let (seven, d2) = ("07".repeat(8), digest_vector(2));
    let head = format!("01 01 02 {seven} 00 01 6b 01 72 01 65");
    let whole = PreImage::Whole(KeyState::lasting(Value::String("v".into())));
    let entry = journalled(whole, Post::Absent);
    frozen(&entry, &format!("{head} 00 00 00 01 01 00 01 76"));
    let elements = PreImage::Elements {
        kind: Kind::Set,
        held: None,
        names: vec!["m".into()],
    };
    let wrote = Post::Elements {
        digest: Some(digest(2)),
        expiry: Expiry::Never,
    };
    frozen(
        &journalled(elements, wrote),
        &format!("{head} 02 00 01 {d2} 00 00 02 04 00 01 01 6d"),
    );
    let state = KeyState {
        value: Value::String("v".into()),
        expiry: Expiry::At(Millis(1)),
    };
    let dump = PreImage::Dumped(state.clone(), "d".into());
    let wrote = Post::Whole {
        digest: digest(2),
        expiry: Expiry::At(Millis(-1)),
    };
    frozen(
        &journalled(dump, wrote),
        &format!("{head} 01 01 01 {d2} 00 00 04 01 01 02 01 76 01 64"),
    );
    let parts = PreImage::Parts {
        kind: Kind::Set,
        digest: digest(2),
        expiry: Expiry::Never,
        steps: vec![Sequence(3), Sequence(200)],
    };
    frozen(
        &journalled(parts, Post::Absent),
        &format!("{head} 00 00 00 05 04 {d2} 00 02 03 c8 01"),
    );
    frozen(
        &journalled(PreImage::Part(state), Post::Absent),
        &format!("{head} 00 00 00 06 01 01 02 01 76"),
    );
    frozen(
        &journalled(PreImage::Absent, Post::Absent),
        &format!("{head} 00 00 00 00"),
    );
}

#[test]
fn holds_are_frozen_and_may_lack_the_policy() {
    let mut hold = Hold {
        run: RunNumber(3),
        policy: Some(PolicyMark([7; 8])),
    };
    frozen(&hold, &format!("01 03 {}", "07".repeat(8)));
    hold.policy = None;
    frozen(&hold, "01 03");
}

#[test]
fn small_records_are_frozen() {
    let seven = ReplicaId([7; 8]);
    let replica = KnownReplica {
        id: seven,
        name: ReplicaName("us".into()),
        since: Millis(1),
        forgotten: Some(Millis(2)),
    };
    frozen(&replica, "01 0707070707070707 02 7573 02 01 04");
    let lane = Lane {
        first: Sequence(1),
        acknowledged: Sequence(200),
    };
    frozen(&lane, "01 01 c801");
    frozen(&Voids(vec![(Sequence(1), Sequence(2))]), "01 01 01 02");
    let mut run = RunRecord {
        number: RunNumber(1),
        start: RunStart {
            at: Millis(1),
            purpose: "repair".into(),
            replicas: vec![(seven, ReplicaName("us".into()))],
            undoes: None,
        },
        end: Some(RunEnd {
            at: Millis(2),
            result: "done".into(),
            exit: 0,
            note: None,
            counts: BTreeMap::from([("keys".into(), 3)]),
        }),
        taken_up_by: None,
    };
    frozen(
        &run,
        "01 01 02 06 726570616972 01 0707070707070707 02 7573 00 \
         01 04 04 646f6e65 00 00 01 04 6b657973 03",
    );
    (run.end, run.taken_up_by) = (None, Some(RunNumber(300)));
    frozen(
        &run,
        "01 01 02 06 726570616972 01 0707070707070707 02 7573 00 00 ac02",
    );
    let size = JournalSize {
        entries: 1,
        bytes: 2,
    };
    frozen(&size, "01 01 02");
    assert_eq!(hex(&put_outcome(true)), "0101");
    assert_eq!(hex(&put_counter(128)), "018001");
    assert_eq!(hex(&put_ended(Millis(1), b"\x01x")), "01020178");
}

#[test]
fn every_type_of_value_is_frozen() {
    let table: [(Value, &str); 7] = [
        (Value::String("v".into()), "01 01 00 01 76"),
        (Value::List(vec!["a".into()]), "01 02 00 01 01 61"),
        (
            Value::Hash([("f".into(), crate::model::Field::lasting("v"))].into()),
            "01 03 00 01 01 66 01 76 00",
        ),
        (Value::Set(["m".into()].into()), "01 04 00 01 01 6d"),
        (
            Value::SortedSet([("m".into(), Score::new(1.5).unwrap())].into()),
            "01 05 00 01 01 6d 3ff8000000000000",
        ),
        (
            Value::Stream(crate::model::Stream {
                entries: [(StreamId { ms: 1, seq: 2 }, vec![("f".into(), "v".into())])].into(),
                last_id: StreamId { ms: 1, seq: 2 },
                groups: [("g".into(), StreamId::MIN)].into(),
            }),
            "01 06 00 0102 01 0102 01 0166 0176 01 0167 0000",
        ),
        (
            Value::Module(crate::model::Opaque {
                type_name: "t".into(),
                payload: "p".into(),
            }),
            "01 07 00 0174 0170",
        ),
    ];
    for (value, vector) in table {
        frozen(&KeyState::lasting(value), vector);
    }
    let ends = KeyState {
        value: Value::String(Bytes::new()),
        expiry: Expiry::At(Millis(1)),
    };
    frozen(&ends, "01 01 01 02 00");
}
