//! Single cases of a merge without memory.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    datacenters, digester, id, plain, policy, preferring, set, stream, string, target, until,
    with_rule,
};
use crate::crdt::{Decided, Evidence, MergeInput, Note, Outcome, Reason, Sibling, merge};
use crate::model::{
    Datacenter, Expiry, ExpiryRule, Kind, Millis, Preference, ReplicaIndex, State, StringRule,
};

#[test]
fn without_memory_an_absent_sibling_is_no_evidence() {
    let merged = plain(&[None, string("a"), None], &policy());
    assert_eq!(target(&merged).at(None), string("a"));
    assert_eq!(
        (merged.evidence, merged.winner),
        (Evidence::None, Some(ReplicaIndex(1)))
    );
}

#[test]
fn preference_is_asked_in_order_and_then_the_replicas_order_decides() {
    let states = [
        string("a"),
        string("c"),
        string("b"),
        string("b"),
        string("b"),
    ];
    let chosen = |steps: &[Preference]| {
        let merged = plain(&states, &preferring(steps));
        (target(&merged).at(None), merged.decided)
    };
    let elsewhere = Preference::Datacenter(Datacenter("elsewhere".into()));
    assert_eq!(chosen(&[]), (string("a"), Some(Decided::Order)));
    assert_eq!(
        chosen(std::slice::from_ref(&elsewhere)),
        (string("a"), Some(Decided::Order))
    );
    let steps = [elsewhere, Preference::Majority, Preference::Greatest];
    assert_eq!(
        chosen(&steps),
        (string("b"), Some(Decided::By(Preference::Majority)))
    );
    let first = Preference::Datacenter(Datacenter("dc1".into()));
    assert_eq!(
        chosen(std::slice::from_ref(&first)),
        (string("c"), Some(Decided::By(first)))
    );
    assert_eq!(chosen(&[Preference::Greatest]).0, string("c"));
    let skipped = plain(&states, &preferring(&[Preference::Skip]));
    assert_eq!(skipped.outcome, Outcome::Unresolved(Reason::Skipped));
}

#[test]
fn where_only_expiries_differ_the_longest_wins_whatever_is_preferred() {
    let states = [until("a", 10), until("a", 30), string("a"), until("a", 20)];
    let first = preferring(&[Preference::Datacenter(Datacenter("dc0".into()))]);
    assert_eq!(target(&plain(&states, &first)).expiry, Expiry::Never);
}

#[test]
fn an_ignored_expiry_is_never_a_reason_to_write() {
    let mut policy = policy();
    policy.expiry.rule = ExpiryRule::Ignore;
    let states = [until("a", 10), until("b", 30), string("a"), None];
    let merged = plain(&states, &policy);
    assert_eq!(target(&merged).at(states[0].as_ref()), states[0]);
    assert_eq!(target(&merged).at(states[2].as_ref()), states[2]);
    assert_eq!(
        target(&merged).at(states[1].as_ref()),
        until("a", 10),
        "overwritten"
    );
    assert_eq!(target(&merged).at(None), until("a", 10), "created");
}

#[test]
fn the_types_are_a_register_and_the_losers_are_named() {
    let merged = plain(&[set("a"), string("s"), set("b")], &policy());
    assert_eq!(target(&merged).at(string("s").as_ref()), set("ab"));
    let replaced = vec![ReplicaIndex(1)];
    assert_eq!(
        merged.notes,
        [Note::TypesDiffer {
            kept: Kind::Set,
            replaced
        }]
    );
}

#[test]
fn the_first_agreement_on_a_counter_is_the_greatest() {
    let states = [string("9"), string("10"), None];
    for rule in [StringRule::Counter, StringRule::CounterMax] {
        assert_eq!(
            target(&plain(&states, &with_rule(rule))).at(None),
            string("10")
        );
    }
}

#[test]
fn one_stream_id_with_two_contents_is_left_and_the_rest_joins() {
    let states = [
        stream(&[(1, "a"), (2, "x")], &[("g", 2)]),
        stream(&[(2, "y"), (3, "c")], &[("g", 1), ("h", 3)]),
        None,
    ];
    let merged = plain(&states, &policy());
    assert_eq!(merged.notes, [Note::TwoContents(id(2))]);
    let at = |index: usize| target(&merged).at(states[index].as_ref());
    let all = [(1, "a"), (2, "x"), (3, "c")];
    assert_eq!(at(0), stream(&all, &[("g", 2), ("h", 3)]));
    assert_eq!(
        at(1),
        stream(&[(1, "a"), (2, "y"), (3, "c")], &[("g", 1), ("h", 3)])
    );
    assert_eq!(at(2), stream(&[(1, "a"), (3, "c")], &[("g", 1), ("h", 3)]));
}

#[test]
fn partial_siblings_are_merged_by_what_they_show() {
    let names = datacenters(2);
    let (here, there) = (set("a"), set(""));
    let siblings = [
        Sibling::unknown(ReplicaIndex(0), &names[0], here.as_ref()),
        Sibling::unknown(ReplicaIndex(1), &names[1], there.as_ref()),
    ];
    let shown: BTreeSet<Bytes> = [Bytes::from("a")].into();
    let policy = policy();
    let input = MergeInput {
        shown: Some(&shown),
        ..MergeInput::without_memory(&siblings, &policy, Millis(0))
    };
    let merged = merge(&input, &mut digester());
    assert_eq!(target(&merged).at(there.as_ref()), set("a"));
}

#[test]
fn a_collection_keeps_each_replicas_own_expiry_where_expiry_is_ignored() {
    let mut policy = policy();
    policy.expiry.rule = ExpiryRule::Ignore;
    let ending = |members, at| {
        set(members).map(|state| State {
            expiry: Expiry::At(Millis(at)),
            ..state
        })
    };
    let states = [ending("a", 10), ending("b", 20), None];
    let merged = plain(&states, &policy);
    assert_eq!(target(&merged).at(states[1].as_ref()), ending("ab", 20));
    assert_eq!(target(&merged).at(None), ending("ab", 10));
}
