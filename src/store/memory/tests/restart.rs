use super::*;
use crate::model::{Marker, OwnerToken, ReplicaId, RunNumber, Sequence, StateId};
use crate::store::{Seal, Sealing};

const DB: DbIndex = DbIndex(0);
const OTHER: OwnerToken = OwnerToken([2; 8]);

fn lane() -> Key {
    Key::from("reknit:marker:0101010101010101:0")
}

fn marker(sequence: u64) -> Marker {
    Marker {
        state: StateId([7; 16]),
        owner: OwnerToken([1; 8]),
        run: RunNumber(1),
        sequence: Sequence(sequence),
        written: 0,
    }
}

fn seal(expect: Option<Marker>, sequence: u64) -> Seal {
    Seal {
        lane: lane(),
        expect,
        set: marker(sequence),
        register: Some(ReplicaId([1; 8])),
    }
}

fn put(key: &str) -> Write {
    Write {
        key: Key::from(key),
        expect: Expect::Absent,
        ops: vec![Op::Put(string("mine").value)],
    }
}

/// Writes with a seal; the sealing, and the outcomes.
fn sealed(replica: &MemoryReplica, writes: &[Write], seal: &Seal) -> (Sealing, Vec<WriteOutcome>) {
    let written = run(replica.write(None, writes, &secret(), Some(seal))).unwrap();
    (written.sealing, written.outcomes)
}

fn fault_at(
    replica: &MemoryReplica,
    when: impl Fn(&Step<'_>) -> bool + Send + 'static,
    fault: Fault,
) {
    script(replica, move |step, _, _| match when(&step) {
        true => fault.clone(),
        false => Fault::None,
    });
}

fn is_execute(step: &Step<'_>) -> bool {
    matches!(step, Step::Execute(_))
}

fn text_of(replica: &MemoryReplica, key: &str) -> Option<State> {
    replica.client().get(&Key::from(key))
}

#[test]
fn a_restart_with_old_data_takes_the_marker_back_as_well() {
    let replica = replica_of(["a".into()]);
    sealed(&replica, &[], &seal(None, 1));
    let snapshot = replica.snapshot();
    let before = run(replica.facts()).unwrap();
    sealed(&replica, &[put("b")], &seal(Some(marker(1)), 2));
    replica
        .client()
        .set_state(&Key::from("a"), Some(string("new")));
    replica.restore(&snapshot);
    assert_eq!(replica.snapshot(), snapshot);
    assert_eq!(
        (text_of(&replica, "a"), text_of(&replica, "b")),
        (Some(string("x")), None)
    );
    let found = run(replica.marker(None, &lane())).unwrap().unwrap();
    assert_eq!(Marker::decode(&found), Some(marker(1)));
    let after = run(replica.facts()).unwrap();
    assert_ne!(
        (before.run_id, before.replication_id),
        (after.run_id, after.replication_id)
    );
}

#[test]
fn no_transaction_outlives_a_restart() {
    let replica = replica_of([]);
    let empty = replica.snapshot();
    for expect in [exactly(&string("x")), Expect::Absent] {
        fault_at(&replica, is_execute, Fault::Late);
        let write = Write { expect, ..put("b") };
        run(replica.write(None, std::slice::from_ref(&write), &secret(), None)).unwrap();
        sealed(&replica, &[write], &seal(None, 1));
        replica.set_faults(None);
        replica.restore(&empty);
        assert_eq!(replica.deliver_late(), 0);
        assert_eq!(replica.client().keys(), []);
    }
}

#[test]
fn a_late_exec_without_a_seal_writes_the_keys_that_nobody_touched() {
    let replica = replica_of([]);
    fault_at(&replica, is_execute, Fault::Late);
    let written = run(replica.write(None, &[put("a"), put("b")], &secret(), None)).unwrap();
    assert_eq!(written.outcomes, vec![WriteOutcome::Unknown; 2]);
    replica
        .client()
        .set_state(&Key::from("a"), Some(string("theirs")));
    assert_eq!(replica.deliver_late(), 1);
    assert_eq!(replica.deliver_late(), 0);
    assert_eq!(text_of(&replica, "a"), Some(string("theirs")));
    assert_eq!(text_of(&replica, "b"), Some(string("mine")));
}

#[test]
fn a_late_fence_comes_too_late_where_the_lane_went_on() {
    let replica = replica_of([]);
    sealed(&replica, &[], &seal(None, 1));
    fault_at(&replica, is_execute, Fault::Late);
    assert!(run(replica.fence(None, &lane(), OTHER, RunNumber(2))).is_err());
    replica.set_faults(None);
    sealed(&replica, &[], &seal(Some(marker(1)), 2));
    assert_eq!(replica.deliver_late(), 0);
    let found = run(replica.marker(None, &lane())).unwrap().unwrap();
    assert_eq!(Marker::decode(&found), Some(marker(2)));
}

#[test]
fn a_fence_gives_up_where_somebody_keeps_writing_the_marker() {
    let replica = replica_of([]);
    sealed(&replica, &[], &seal(None, 1));
    let mut writes = 1;
    script(&replica, move |step, db, data| {
        if is_execute(&step) {
            writes += 1;
            let text = Value::String(marker(writes).encode().into());
            data.set_state(db, &lane(), Some(State::lasting(text)));
        }
        Fault::None
    });
    let fenced = run(replica.fence(None, &lane(), OTHER, RunNumber(2)));
    assert!(
        matches!(fenced, Err(StoreError::Fenced { found: Some(found), .. }) if found.sequence.0 > 2)
    );
    replica.set_faults(None);
    assert!(run(replica.fence(None, &lane(), OTHER, RunNumber(2))).is_ok());
}

#[test]
fn a_sealed_batch_is_one_transaction_whatever_fails() {
    let keys_of = |fault: Fault, at: fn(&Step<'_>) -> bool| {
        let replica = replica_of([]);
        fault_at(&replica, at, fault);
        let written = sealed(&replica, &[put("a"), put("b")], &seal(None, 1));
        replica.set_faults(None);
        let there = ["a", "b"].map(|key| text_of(&replica, key).is_some());
        (
            written,
            there,
            run(replica.marker(None, &lane())).unwrap().is_some(),
        )
    };
    let at_b = |step: &Step<'_>| matches!(step, Step::ExecuteKey(key) if key.as_bytes() == b"b");
    let unknown = (Sealing::Unknown, vec![WriteOutcome::Unknown; 2]);
    let lost = keys_of(Fault::Disconnect, at_b);
    assert_eq!(lost, (unknown, [false, false], false));
    let words = || WriteOutcome::Refused("OOM".into());
    let refused = keys_of(Fault::Refuse("OOM".into()), is_execute);
    assert_eq!(
        refused,
        (
            (Sealing::Unset, vec![words(), words()]),
            [false, false],
            false
        )
    );
    // Inside of the transaction an error does not stop the rest, and was in it all the same.
    let set = Marker {
        written: 0b11,
        ..marker(1)
    };
    let inside = keys_of(Fault::Refuse("OOM".into()), at_b);
    let outcomes = vec![WriteOutcome::Applied, words()];
    assert_eq!(inside, ((Sealing::Set(set), outcomes), [true, false], true));
}

#[test]
fn a_flushed_database_leaves_the_others() {
    let replica = replica_of(["a".into()]);
    replica
        .client_of(DbIndex(3))
        .set_state(&Key::from("a"), Some(string("x")));
    replica.flush(DB);
    assert_eq!(replica.client().keys(), []);
    assert_eq!(replica.client_of(DbIndex(3)).keys(), [Key::from("a")]);
}

#[test]
fn an_evicted_key_is_gone_and_counted_until_the_next_restart() {
    let replica = replica_of(["a".into(), "b".into()]);
    let facts = || run(replica.facts()).unwrap();
    assert_eq!(
        (facts().evicted_keys, &facts().max_memory_policy[..]),
        (0, "noeviction")
    );
    replica.evict(DB, &Key::from("a"));
    replica.evict(DB, &Key::from("never there"));
    assert_eq!(replica.client().keys(), [Key::from("b")]);
    assert_eq!(
        (facts().evicted_keys, &facts().max_memory_policy[..]),
        (1, "allkeys-lru")
    );
    replica.restore(&replica.snapshot());
    assert_eq!(
        (facts().evicted_keys, &facts().max_memory_policy[..]),
        (0, "allkeys-lru")
    );
}
