//! Random records.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};

use crate::model::arbitrary::{state, text};
use crate::model::{
    Agreement, Amount, Body, Counts, DbIndex, ElementMemory, Expiry, Key, Kind, Lag, LagBase, Lane,
    Memory, Millis, ReplicaId, ReplicaName, Restamping, RunNumber, Score, Seen, Sequence, Stamp,
    Stamped, Stamps, StreamId, Sum, ValueDigest, Version, Voids,
};

use super::super::{
    Intent, IntentKey, IntentPart, JournalEntry, KnownReplica, Post, PreImage, RunEnd, RunRecord,
    RunStart,
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..4, Just(127_u64), Just(128), any::<u64>()]
}

fn millis() -> impl Strategy<Value = Millis> {
    prop_oneof![any::<i64>(), 1_700_000_000_000_i64..1_800_000_000_000].prop_map(Millis)
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![Just(Expiry::Never), millis().prop_map(Expiry::At)]
}

fn digest() -> impl Strategy<Value = ValueDigest> {
    any::<[u8; ValueDigest::LENGTH]>().prop_map(ValueDigest::from_bytes)
}

fn kind() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|at| Kind::ALL[at])
}

fn version() -> impl Strategy<Value = Version> {
    number().prop_map(Version)
}

fn sequence() -> impl Strategy<Value = Sequence> {
    number().prop_map(Sequence)
}

fn replica() -> impl Strategy<Value = ReplicaId> {
    any::<[u8; 8]>().prop_map(ReplicaId)
}

fn key() -> impl Strategy<Value = Key> {
    text().prop_map(Key::new)
}

fn db() -> impl Strategy<Value = DbIndex> {
    prop_oneof![0_u32..16, any::<u32>()].prop_map(DbIndex)
}

fn amount() -> impl Strategy<Value = Option<Amount>> {
    prop_oneof![
        Just(None),
        any::<i64>().prop_map(|it| Some(Amount::Integer(it))),
        any::<f64>().prop_map(|it| Score::new(it).map(Amount::Score)),
    ]
}

fn elements() -> impl Strategy<Value = BTreeMap<Bytes, ElementMemory>> {
    let element =
        (digest(), version(), amount()).prop_map(|(digest, changed, amount)| ElementMemory {
            digest,
            changed,
            amount,
        });
    btree_map(text(), element, 0..4)
}

fn stream_id() -> impl Strategy<Value = StreamId> {
    (number(), number()).prop_map(|(ms, seq)| StreamId { ms, seq })
}

fn body() -> BoxedStrategy<Body> {
    let list = (any::<usize>(), number(), any::<[u64; 4]>()).prop_map(|(length, count, limbs)| {
        Body::List {
            length,
            sum: Sum { count, limbs },
        }
    });
    let stream = (stream_id(), stream_id(), option::of(elements()));
    prop_oneof![
        Just(Body::Whole),
        any::<i64>().prop_map(Body::Counter),
        elements().prop_map(Body::Elements),
        list,
        stream.prop_map(|(first, last_id, entries)| Body::Stream {
            first,
            last_id,
            entries
        }),
    ]
    .boxed()
}

pub(in crate::state) fn memory() -> BoxedStrategy<Memory> {
    (kind(), digest(), expiry(), body())
        .prop_map(|(kind, digest, expiry, body)| Memory {
            kind,
            digest,
            expiry,
            body,
        })
        .boxed()
}

pub(in crate::state) fn agreement() -> BoxedStrategy<Agreement> {
    let removed = btree_map(text(), version(), 0..3);
    (
        version(),
        option::of(memory()),
        removed,
        sequence(),
        millis(),
    )
        .prop_map(|(version, memory, removed, proved, since)| Agreement {
            version,
            memory,
            removed,
            proved,
            since,
        })
        .boxed()
}

pub(in crate::state) fn lag() -> BoxedStrategy<Lag> {
    let base = prop_oneof![
        Just(LagBase::Agreed),
        Just(LagBase::Unknown),
        option::of(memory()).prop_map(LagBase::Held),
    ];
    let seen = (version(), btree_map(text(), version(), 0..3));
    let seen = seen.prop_map(|(key, elements)| Seen { key, elements });
    (base, seen, sequence(), sequence(), any::<bool>())
        .prop_map(|(base, seen, proved, since, evicted)| Lag {
            base,
            seen,
            proved,
            since,
            evicted,
        })
        .boxed()
}

fn intent_key() -> BoxedStrategy<IntentKey> {
    let part = (replica(), any::<u8>(), option::of(lag()), lag());
    let part = part.prop_map(|(replica, place, applied, otherwise)| IntentPart {
        replica,
        place,
        applied,
        otherwise,
    });
    let always = vec((replica(), option::of(lag())), 0..2);
    (key(), option::of(agreement()), always, vec(part, 0..3))
        .prop_map(|(key, agreement, always, parts)| IntentKey {
            key,
            agreement,
            always,
            parts,
        })
        .boxed()
}

pub(in crate::state) fn intent() -> impl Strategy<Value = Intent> {
    let head = (sequence(), number(), db(), any::<bool>());
    let keys = vec(intent_key(), 0..3);
    (head, vec(replica(), 0..3), keys).prop_map(|((sequence, run, db, late), replicas, keys)| {
        Intent {
            sequence,
            run: RunNumber(run),
            db,
            replicas,
            keys,
            late,
        }
    })
}

fn pre_image() -> BoxedStrategy<PreImage> {
    let elements = (kind(), option::of(state()), vec(text(), 0..3));
    prop_oneof![
        Just(PreImage::Absent),
        state().prop_map(PreImage::Whole),
        elements.prop_map(|(kind, held, names)| PreImage::Elements { kind, held, names }),
        (state(), text()).prop_map(|(state, bytes)| PreImage::Dumped(state, bytes)),
        state().prop_map(PreImage::Part),
        (kind(), digest(), expiry(), vec(0..1000_u64, 0..4)).prop_map(
            |(kind, digest, expiry, steps)| PreImage::Parts {
                kind,
                digest,
                expiry,
                steps: steps.into_iter().map(Sequence).collect(),
            }
        ),
    ]
    .boxed()
}

fn post() -> impl Strategy<Value = Post> {
    prop_oneof![
        Just(Post::Absent),
        (digest(), expiry()).prop_map(|(digest, expiry)| Post::Whole { digest, expiry }),
        (option::of(digest()), expiry())
            .prop_map(|(digest, expiry)| Post::Elements { digest, expiry }),
    ]
}

fn stamped() -> impl Strategy<Value = Stamped> {
    let stamp = || option::of(any::<i32>().prop_map(|at| Stamp::millis(i64::from(at))));
    (stamp(), stamp()).prop_map(|(added, removed)| Stamped { added, removed })
}

fn stamps() -> impl Strategy<Value = Stamps> {
    let elements = btree_map(text(), stamped(), 0..3);
    let parts = btree_map(text(), any::<i64>(), 0..3);
    let counts = (stamped(), option::of(any::<i64>()), parts);
    let counts = counts.prop_map(|(since, base, parts)| Counts {
        since: since.added,
        base,
        parts,
    });
    (stamped(), elements, option::of(counts)).prop_map(|(key, elements, counts)| Stamps {
        key,
        elements,
        counts,
    })
}

fn restamping() -> impl Strategy<Value = Restamping> {
    (stamps(), stamps()).prop_map(|(before, wrote)| Restamping { before, wrote })
}

/// Entries without an outcome, which is a record of its own.
pub(in crate::state) fn journal_entry() -> impl Strategy<Value = JournalEntry> {
    let at = (sequence(), number(), replica(), db(), key());
    let before = (
        option::of(agreement()),
        btree_map(replica(), lag(), 0..2),
        option::of(restamping().prop_map(Box::new)),
    );
    (at, pre_image(), post(), ".{0,8}", ".{0,8}", before).prop_map(
        |((sequence, run, replica, db, key), pre_image, wrote, rule, evidence, before)| {
            JournalEntry {
                sequence,
                run: RunNumber(run),
                replica,
                db,
                key,
                before: pre_image,
                wrote,
                rule,
                evidence,
                agreement_before: before.0,
                lags_before: before.1,
                stamps: before.2,
                outcome: None,
            }
        },
    )
}

pub(in crate::state) fn known_replica() -> impl Strategy<Value = KnownReplica> {
    (replica(), ".{0,8}", millis(), option::of(millis())).prop_map(
        |(id, name, since, forgotten)| KnownReplica {
            id,
            name: ReplicaName(name),
            since,
            forgotten,
        },
    )
}

pub(in crate::state) fn lane() -> impl Strategy<Value = Lane> {
    (sequence(), sequence()).prop_map(|(first, acknowledged)| Lane {
        first,
        acknowledged,
    })
}

pub(in crate::state) fn voids() -> impl Strategy<Value = Voids> {
    vec((sequence(), sequence()), 0..4).prop_map(Voids)
}

pub(in crate::state) fn run_record() -> impl Strategy<Value = RunRecord> {
    let replicas = vec((replica(), ".{0,4}".prop_map(ReplicaName)), 0..3);
    let start = (millis(), ".{0,8}", replicas, option::of(number()));
    let start = start.prop_map(|(at, purpose, replicas, undoes)| RunStart {
        at,
        purpose,
        replicas,
        undoes: undoes.map(RunNumber),
    });
    let counts = btree_map(".{0,4}", number(), 0..3);
    let end = (
        millis(),
        ".{0,8}",
        any::<u8>(),
        option::of(".{0,8}"),
        counts,
    );
    let end = end.prop_map(|(at, result, exit, note, counts)| RunEnd {
        at,
        result,
        exit,
        note,
        counts,
    });
    (number(), start, option::of(end)).prop_map(|(number, start, end)| RunRecord {
        number: RunNumber(number),
        start,
        end,
        // What is not there may be cut off.
        taken_up_by: None,
    })
}
