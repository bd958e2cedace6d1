use super::{OpsWeight, REBUILD_ENTRIES, Unreachable, ops_to_reach, weight};
use crate::crdt::alike;
use crate::model::arbitrary::{pair, state};
use crate::model::{Expiry, Millis, Op, State, Stream, StreamId, Value};
use crate::store::apply;
use bytes::Bytes;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;

const NOW: Millis = Millis(0);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn list(elements: &[&str]) -> State {
    State::lasting(Value::List(elements.iter().map(|e| bytes(e)).collect()))
}

fn stream(ids: impl IntoIterator<Item = u64>, groups: &[&str]) -> State {
    let pairs = vec![(bytes("f"), bytes("v"))];
    let id = |ms| StreamId { ms, seq: 0 };
    let entries = ids.into_iter().map(|ms| (id(ms), pairs.clone())).collect();
    let groups = groups.iter().map(|name| (bytes(name), id(0))).collect();
    let mut stream = Stream {
        entries,
        groups,
        ..Stream::default()
    };
    stream.last_id = stream
        .entries
        .keys()
        .next_back()
        .copied()
        .unwrap_or_default();
    State::lasting(Value::Stream(stream))
}

fn applied(now: Option<&State>, ops: &[Op]) -> Option<State> {
    let reach = |state, op: &Op| apply(state, op, NOW).expect("no operation is refused");
    ops.iter().fold(now.cloned(), reach)
}

fn reaches(
    now: Option<&State>,
    target: Option<&State>,
    keep_expiry: bool,
) -> Result<(), TestCaseError> {
    let ops = match ops_to_reach(now, target, keep_expiry) {
        Ok(ops) => ops,
        Err(reason) => return unreachable_for_a_reason(now, target, reason),
    };
    let expected = match (now, target) {
        (Some(now), Some(_)) if keep_expiry => Some(now.expiry),
        (_, target) => target.map(|state| state.expiry),
    };
    let reached = applied(now, &ops);
    prop_assert_eq!(reached.as_ref().map(|state| state.expiry), expected);
    prop_assert_eq!(reached.is_some(), target.is_some());
    if let (Some(reached), Some(target)) = (&reached, target) {
        prop_assert!(alike(&reached.value, &target.value), "{reached:?}");
        prop_assert_eq!(
            ops_to_reach(Some(reached), Some(target), keep_expiry),
            Ok(Vec::new())
        );
    }
    Ok(())
}

fn unreachable_for_a_reason(
    now: Option<&State>,
    target: Option<&State>,
    reason: Unreachable,
) -> Result<(), TestCaseError> {
    let streams = (
        now.map(|state| &state.value),
        target.map(|state| &state.value),
    );
    let (Some(Value::Stream(now)), Some(Value::Stream(target))) = streams else {
        return Err(TestCaseError::fail("only streams are out of reach"));
    };
    let passed_over =
        |id: &StreamId| *id <= now.last_id && now.entries.get(id) != target.entries.get(id);
    let older = target.entries.keys().any(passed_over);
    let lost = now
        .groups
        .keys()
        .any(|name| !target.groups.contains_key(name));
    prop_assert_eq!(reason, Unreachable::HasGroups);
    prop_assert!(!now.groups.is_empty() && (older || lost || target.last_id < now.last_id));
    Ok(())
}

proptest! {
    #[test]
    fn operations_reach_their_target((now, target) in pair(), keep_expiry in any::<bool>()) {
        reaches(now.as_ref(), target.as_ref(), keep_expiry)?;
    }

    #[test]
    fn equal_states_need_no_operation(state in state(), keep_expiry in any::<bool>()) {
        prop_assert_eq!(ops_to_reach(Some(&state), Some(&state), keep_expiry), Ok(Vec::new()));
    }
}

#[test]
fn a_list_that_grew_at_its_ends_is_added_to() {
    let (now, target) = (list(&["b", "c"]), list(&["a", "b", "c", "d"]));
    let ops = ops_to_reach(Some(&now), Some(&target), false).unwrap();
    let expected = [Op::Prepend(vec![bytes("a")]), Op::Append(vec![bytes("d")])];
    assert_eq!(ops, expected);
    let ops = ops_to_reach(Some(&target), Some(&now), false).unwrap();
    assert_eq!(ops, [Op::Put(now.value)]);
}

#[test]
fn a_put_is_followed_by_the_expiry_it_took_away() {
    let ending = |text: &str, at| State {
        value: Value::String(bytes(text)),
        expiry: Expiry::At(Millis(at)),
    };
    let (now, target) = (ending("a", 5), ending("b", 7));
    let put = Op::Put(target.value.clone());
    let until = |at| Op::Expire(Expiry::At(Millis(at)));
    let ops = |now, keep| ops_to_reach(now, Some(&target), keep).unwrap();
    assert_eq!(ops(Some(&now), false), [put.clone(), until(7)]);
    assert_eq!(ops(Some(&now), true), [put.clone(), until(5)]);
    assert_eq!(ops(None, true), [put, until(7)]);
}

#[test]
fn newer_stream_entries_are_appended_and_older_ones_need_a_rebuild() {
    let reach = |now: &State, target: &State| ops_to_reach(Some(now), Some(target), false);
    let appended = reach(&stream([1], &["g"]), &stream([1, 2], &["g", "h"])).unwrap();
    assert!(matches!(
        &appended[..],
        [Op::AppendEntries(_), Op::CreateGroup(..)]
    ));
    let target = stream([1, 2], &["g"]);
    assert_eq!(
        reach(&stream([2], &[]), &target),
        Ok(vec![Op::Put(target.value.clone())])
    );
    assert_eq!(
        reach(&stream([2], &["g"]), &target),
        Err(Unreachable::HasGroups)
    );
}

#[test]
fn a_stream_of_many_entries_is_rebuilt_aside() {
    let entries = REBUILD_ENTRIES + 1;
    let long = stream(1..=entries as u64, &[]);
    let short = stream([entries as u64], &[]);
    let outcome = ops_to_reach(Some(&short), Some(&long), false);
    assert_eq!(outcome, Err(Unreachable::Aside));
}

#[test]
fn weight_counts_elements_and_bytes_and_no_operation_is_free() {
    let ops = [Op::Remove, Op::AddMembers(vec![bytes("ab"), bytes("c")])];
    assert_eq!(
        weight(&ops),
        OpsWeight {
            elements: 3,
            bytes: 3
        }
    );
    assert_eq!(weight(&[]), OpsWeight::default());
}
