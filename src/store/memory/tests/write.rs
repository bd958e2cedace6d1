use super::*;

fn write(key: &str, expect: Expect, ops: Vec<Op>) -> Write {
    Write {
        key: Key::from(key),
        expect,
        ops,
    }
}

fn put(text: &str) -> Vec<Op> {
    vec![Op::Put(Value::String(bytes(text)))]
}

fn written(replica: &MemoryReplica, writes: &[Write]) -> Vec<WriteOutcome> {
    run(replica.write(None, writes, &secret(), None))
        .unwrap()
        .outcomes
}

fn value_of(replica: &MemoryReplica, key: &str) -> Option<State> {
    replica.client().get(&Key::from(key))
}

#[test]
fn a_write_happens_only_where_the_key_holds_what_is_expected() {
    let replica = replica_of(["a".into(), "b".into()]);
    let writes = [
        write("a", exactly(&string("x")), put("new")),
        write("b", exactly(&string("other")), put("new")),
        write("c", Expect::Absent, put("new")),
        write("d", exactly(&string("x")), put("new")),
    ];
    let outcomes = written(&replica, &writes);
    let (applied, superseded) = (WriteOutcome::Applied, WriteOutcome::Superseded);
    assert_eq!(
        outcomes,
        [applied.clone(), superseded.clone(), applied, superseded]
    );
    assert_eq!(value_of(&replica, "a"), Some(string("new")));
    assert_eq!(value_of(&replica, "b"), Some(string("x")));
    assert_eq!(value_of(&replica, "d"), None);
}

#[test]
fn another_expiry_is_not_what_was_expected() {
    let replica = replica_of(["a".into()]);
    let expiry = Op::Expire(Expiry::At(Millis(100)));
    replica.client().apply(&Key::from("a"), &expiry).unwrap();
    let outcomes = written(&replica, &[write("a", exactly(&string("x")), put("new"))]);
    assert_eq!(outcomes, [WriteOutcome::Superseded]);
}

#[test]
fn elements_are_compared_without_regard_to_the_others() {
    let replica = replica_of([]);
    let key = Key::from("s");
    replica
        .client()
        .set_state(&key, Some(set(["a", "b", "c"].map(String::from))));
    let expect = |present: &[&str]| Expect::Elements {
        kind: Kind::Set,
        names: vec![bytes("a"), bytes("z")],
        digest: Digester::new(secret())
            .value(&set(present.iter().map(|name| name.to_string())).value),
        expiry: Expiry::Never,
    };
    let ops = vec![Op::AddMembers(vec![bytes("z")])];
    let outcomes = written(&replica, &[write("s", expect(&["a", "z"]), ops.clone())]);
    assert_eq!(outcomes, [WriteOutcome::Superseded]);
    assert_eq!(
        written(&replica, &[write("s", expect(&["a"]), ops)]),
        [WriteOutcome::Applied]
    );
    assert_eq!(
        value_of(&replica, "s"),
        Some(set(["a", "b", "c", "z"].map(String::from)))
    );
}

/// What a client does between the comparison and the write.
fn interfered(client: impl Fn(&mut Data, DbIndex) + Send + 'static) -> (WriteOutcome, Client) {
    let replica = replica_of(["a".into()]);
    script(&replica, move |step, db, data| {
        if matches!(step, Step::Execute(_)) {
            client(data, db);
        }
        Fault::None
    });
    let outcomes = written(&replica, &[write("a", exactly(&string("x")), put("mine"))]);
    (outcomes[0].clone(), replica.client())
}

#[test]
fn a_clients_write_in_between_is_never_overwritten() {
    let key = Key::from("a");
    let theirs = |text: &'static str| {
        move |data: &mut Data, db| data.set_state(db, &Key::from("a"), Some(string(text)))
    };
    let (outcome, client) = interfered(theirs("theirs"));
    assert_eq!(
        (outcome, client.get(&key)),
        (WriteOutcome::Superseded, Some(string("theirs")))
    );
    // As WATCH does it: a write of the same value counts, and a removal with a return to what was.
    assert_eq!(interfered(theirs("x")).0, WriteOutcome::Superseded);
    let (outcome, _) = interfered(|data, db| {
        data.set_state(db, &Key::from("a"), None);
        data.set_state(db, &Key::from("a"), Some(string("x")));
    });
    assert_eq!(outcome, WriteOutcome::Superseded);
}

#[test]
fn a_flush_or_an_expiry_in_between_is_noticed_and_another_key_is_not() {
    assert_eq!(
        interfered(|data, _| data.flush()).0,
        WriteOutcome::Superseded
    );
    let other = |data: &mut Data, db| data.set_state(db, &Key::from("b"), Some(string("y")));
    assert_eq!(interfered(other).0, WriteOutcome::Applied);
    let without_effect = |data: &mut Data, db| {
        let key = Key::from("b");
        data.apply(db, &key, &Op::RemoveMembers(vec![bytes("m")]))
            .unwrap();
    };
    assert_eq!(interfered(without_effect).0, WriteOutcome::Applied);
}

#[test]
fn a_key_that_expires_in_between_is_superseded() {
    let replica = replica_of([]);
    let state = State {
        expiry: Expiry::At(Millis(10)),
        ..string("x")
    };
    replica
        .client()
        .set_state(&Key::from("a"), Some(state.clone()));
    script(&replica, |step, _, data| {
        if matches!(step, Step::Execute(_)) {
            data.set_now(Millis(10));
        }
        Fault::None
    });
    let outcomes = written(&replica, &[write("a", exactly(&state), put("mine"))]);
    assert_eq!(
        (&outcomes[..], value_of(&replica, "a")),
        (&[WriteOutcome::Superseded][..], None)
    );
}

#[test]
fn a_connection_lost_before_the_comparison_is_an_error_and_later_an_unknown_outcome() {
    let lost_at = |when: fn(&Step<'_>) -> bool| {
        let replica = replica_of(["a".into(), "b".into()]);
        script(&replica, move |step, _, _| {
            if when(&step) {
                Fault::Disconnect
            } else {
                Fault::None
            }
        });
        let mine = |key| write(key, exactly(&string("x")), put("mine"));
        let outcome = run(replica.write(None, &[mine("a"), mine("b")], &secret(), None));
        let applied = ["a", "b"].map(|key| value_of(&replica, key) == Some(string("mine")));
        (outcome.ok().map(|written| written.outcomes), applied)
    };
    let unknown = Some(vec![WriteOutcome::Unknown; 2]);
    let compare = lost_at(|step| matches!(step, Step::Compare(_)));
    assert_eq!(compare, (None, [false, false]));
    let execute = lost_at(|step| matches!(step, Step::Execute(_)));
    assert_eq!(execute, (unknown.clone(), [false, false]));
    let answer = lost_at(|step| matches!(step, Step::Answer(_)));
    assert_eq!(answer, (unknown, [true, true]));
    let halfway = lost_at(|step| matches!(step, Step::ExecuteKey(key) if key.as_bytes() == b"b"));
    let outcomes = Some(vec![WriteOutcome::Applied, WriteOutcome::Unknown]);
    assert_eq!(halfway, (outcomes, [true, false]));
}

#[test]
fn a_refused_operation_says_so_and_does_not_stop_those_behind_it() {
    let replica = replica_of(["a".into()]);
    let ops = vec![
        Op::AddMembers(vec![bytes("m")]),
        Op::Expire(Expiry::At(Millis(50))),
    ];
    let outcomes = written(&replica, &[write("a", exactly(&string("x")), ops)]);
    assert!(
        matches!(&outcomes[..], [WriteOutcome::Refused(words)] if words.starts_with("WRONGTYPE"))
    );
    let left = State {
        expiry: Expiry::At(Millis(50)),
        ..string("x")
    };
    assert_eq!(value_of(&replica, "a"), Some(left));
}

#[test]
fn a_script_can_refuse_a_key() {
    let replica = replica_of(["a".into()]);
    script(&replica, |step, _, _| match step {
        Step::ExecuteKey(_) => Fault::Refuse("OOM command not allowed".into()),
        _ => Fault::None,
    });
    let outcomes = written(&replica, &[write("a", exactly(&string("x")), put("mine"))]);
    assert_eq!(
        outcomes,
        [WriteOutcome::Refused("OOM command not allowed".into())]
    );
    assert_eq!(value_of(&replica, "a"), Some(string("x")));
}
