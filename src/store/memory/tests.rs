//! Each step of a replica in memory, and each fault.

use std::collections::BTreeSet;

use super::{Client, Data, Fault, MemoryReplica, Portions, Step};
use crate::model::{
    DbIndex, DigestKey, Digester, EntryRef, Expect, Expiry, Glob, Key, Kind, Millis, Op, State,
    Value, Write,
};
use crate::store::{
    EntrySink, Observed, Pace, PieceCursor, Replica, ScanReport, ScanRequest, StoreError,
    WriteOutcome,
};
use async_trait::async_trait;
use bytes::Bytes;

mod large;
mod restart;
mod scan;
mod write;

struct NoPace;

#[async_trait]
impl Pace for NoPace {
    async fn keys(&self, _: u64) {}
    async fn bytes(&self, _: u64) {}
}

#[derive(Default)]
struct Seen {
    entries: Vec<(Vec<u8>, Kind)>,
    unreadable: Vec<(Vec<u8>, String)>,
}

impl EntrySink for Seen {
    fn entry(&mut self, entry: EntryRef<'_>) {
        self.entries.push((entry.key.to_vec(), entry.kind));
    }

    fn unreadable(&mut self, key: &[u8], reason: &str) {
        self.unreadable.push((key.to_vec(), reason.into()));
    }
}

impl Seen {
    fn names(&self) -> BTreeSet<String> {
        let text = |(key, _): &(Vec<u8>, Kind)| String::from_utf8_lossy(key).into_owned();
        self.entries.iter().map(text).collect()
    }
}

fn secret() -> DigestKey {
    DigestKey::new([7; 32])
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn string(text: &str) -> State {
    State::lasting(Value::String(bytes(text)))
}

fn set(members: impl IntoIterator<Item = String>) -> State {
    State::lasting(Value::Set(members.into_iter().map(Bytes::from).collect()))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without I/O").block_on(future)
}

fn exactly(state: &State) -> Expect {
    Expect::Exactly {
        digest: Digester::new(secret()).value(&state.value),
        expiry: state.expiry,
    }
}

fn replica_of(names: impl IntoIterator<Item = String>) -> MemoryReplica {
    let replica = MemoryReplica::new("us", 1);
    for name in names {
        replica
            .client()
            .set_state(&Key::from(name.as_str()), Some(string("x")));
    }
    replica
}

fn script(
    replica: &MemoryReplica,
    faults: impl FnMut(Step<'_>, DbIndex, &mut Data) -> Fault + Send + 'static,
) {
    replica.set_faults(Some(Box::new(faults)));
}

#[test]
fn an_expired_key_reads_as_absent() {
    let replica = replica_of(["a".into()]);
    let key = Key::from("a");
    replica
        .client()
        .apply(&key, &Op::Expire(Expiry::At(Millis(10))))
        .unwrap();
    replica.set_now(Millis(9));
    assert!(replica.client().get(&key).is_some());
    replica.set_now(Millis(10));
    assert_eq!(
        run(replica.fetch(None, &[key], &secret())).unwrap(),
        [Observed::Absent]
    );
    assert!(replica.client().keys().is_empty());
}

#[test]
fn databases_do_not_mix() {
    let replica = replica_of(["a".into()]);
    replica
        .client_of(DbIndex(3))
        .set_state(&Key::from("b"), Some(string("y")));
    let facts = run(replica.facts()).unwrap();
    assert_eq!(facts.keys, [(DbIndex(0), 1), (DbIndex(3), 1)].into());
    let fetched = run(replica.fetch(Some(DbIndex(3)), &[Key::from("a")], &secret()));
    assert_eq!(fetched.unwrap(), [Observed::Absent]);
}

#[test]
fn an_unreadable_key_is_never_absent() {
    let replica = replica_of(["a".into(), "b".into()]);
    script(&replica, |step, _, _| match step {
        Step::ReadKey(key) if key.as_bytes() == b"a" => Fault::Unreadable("NOPERM".into()),
        _ => Fault::None,
    });
    let keys = ["a", "b"].map(Key::from);
    let fetched = run(replica.fetch(None, &keys, &secret())).unwrap();
    assert_eq!(fetched[0], Observed::Unreadable("NOPERM".into()));
    assert_eq!(fetched[1], Observed::Whole(string("x")));
}

#[test]
fn a_replica_that_is_cut_off_answers_nothing_until_it_is_healed() {
    let replica = replica_of(["a".into()]);
    replica.set_reachable(false);
    let keys = [Key::from("a")];
    let lost = |error: StoreError| matches!(error, StoreError::Unreachable { .. });
    assert!(lost(
        run(replica.fetch(None, &keys, &secret())).unwrap_err()
    ));
    assert!(lost(run(replica.facts()).unwrap_err()));
    assert!(lost(run(replica.now()).unwrap_err()));
    assert!(replica.client().get(&keys[0]).is_some());
    replica.set_reachable(true);
    assert!(run(replica.fetch(None, &keys, &secret())).is_ok());
}

#[test]
fn own_keys_are_listed_by_their_names() {
    let replica = replica_of([
        "a".into(),
        "reknit:aside:1".into(),
        "reknit:marker:2".into(),
    ]);
    let own = run(replica.own_keys(None)).unwrap();
    assert_eq!(own, ["reknit:aside:1", "reknit:marker:2"].map(Key::from));
}
