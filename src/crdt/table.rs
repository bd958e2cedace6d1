//! Single cases of the merge, by name.

use super::{
    Agreed, Base, Decided, Evidence, Memory, MergeInput, Merged, Note, Outcome, Reason, Seen,
    Sibling, Standing, Target, Version, merge,
};
use crate::model::{
    Datacenter, DigestKey, Digester, Expiry, ExpiryRule, Field, Kind, Millis, OnDeleteConflict,
    Policy, Preference, ReplicaIndex, State, Stream, StreamId, StringRule, Value,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn digester() -> Digester {
    Digester::new(DigestKey::new([7; 32]))
}

pub(super) fn policy() -> Policy {
    Policy::default()
}

/// `dc0`, `dc1` and so on.
pub(super) fn datacenters(count: usize) -> Vec<Datacenter> {
    (0..count)
        .map(|index| Datacenter(format!("dc{index}")))
        .collect()
}

/// A merge without memory; the replica is the index.
pub(super) fn plain(states: &[Option<State>], policy: &Policy) -> Merged {
    let names = datacenters(states.len());
    let siblings: Vec<_> = states
        .iter()
        .enumerate()
        .map(|(index, state)| Sibling::unknown(ReplicaIndex(index), &names[index], state.as_ref()))
        .collect();
    merge(
        &MergeInput::without_memory(&siblings, policy, Millis(0)),
        &mut digester(),
    )
}

pub(super) fn target(merged: &Merged) -> &Target {
    match &merged.outcome {
        Outcome::Target(target) => target,
        Outcome::Unresolved(reason) => panic!("unresolved: {reason}"),
    }
}

/// A replica's past in a case below.
#[derive(Clone)]
enum Past {
    Newcomer,
    Base(Option<State>, u64, Standing),
}

fn held(state: &Option<State>, version: u64) -> Past {
    Past::Base(state.clone(), version, Standing::Ordinary)
}

const LIMIT: usize = 10;

/// A merge with an agreement at version 5, whose elements all changed in version 5.
fn remembered(agreed: &Option<State>, sides: &[(Option<State>, Past)], policy: &Policy) -> Merged {
    let mut digester = digester();
    let mut memory = |state: &Option<State>| {
        state
            .as_ref()
            .map(|state| Memory::of(state, LIMIT, |_| Version(5), &mut digester))
    };
    let agreed_memory = memory(agreed);
    let bases: Vec<_> = sides
        .iter()
        .map(|(_, past)| match past {
            Past::Newcomer => None,
            Past::Base(state, version, standing) => Some((memory(state), *version, *standing)),
        })
        .collect();
    let names = datacenters(sides.len());
    let siblings: Vec<_> = sides
        .iter()
        .zip(&bases)
        .enumerate()
        .map(|(index, ((state, _), base))| Sibling {
            base: base.as_ref().map(|(memory, version, standing)| Base {
                memory: memory.as_ref(),
                seen: Seen::all(Version(*version)),
                standing: *standing,
            }),
            ..Sibling::unknown(ReplicaIndex(index), &names[index], state.as_ref())
        })
        .collect();
    let agreed = Agreed {
        version: Version(5),
        memory: agreed_memory.as_ref(),
        removed: &BTreeMap::new(),
    };
    let input = MergeInput {
        siblings: &siblings,
        agreed: Some(&agreed),
        policy,
        now: Millis(0),
        shown: None,
    };
    merge(&input, &mut digester)
}

fn string(text: &str) -> Option<State> {
    Some(State::lasting(Value::String(text.to_owned().into())))
}

fn until(text: &str, expiry: i64) -> Option<State> {
    string(text).map(|state| State {
        expiry: Expiry::At(Millis(expiry)),
        ..state
    })
}

fn set(members: &str) -> Option<State> {
    let member = |byte: u8| Bytes::from(vec![byte]);
    Some(State::lasting(Value::Set(
        members.bytes().map(member).collect(),
    )))
}

fn list(elements: &str) -> Option<State> {
    let element = |byte: u8| Bytes::from(vec![byte]);
    Some(State::lasting(Value::List(
        elements.bytes().map(element).collect(),
    )))
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

fn stream(entries: &[(u64, &'static str)], groups: &[(&'static str, u64)]) -> Option<State> {
    let pair = |text: &'static str| vec![(Bytes::from("f"), Bytes::from(text))];
    Some(State::lasting(Value::Stream(Stream {
        entries: entries
            .iter()
            .map(|(ms, text)| (id(*ms), pair(text)))
            .collect(),
        last_id: id(entries.iter().map(|(ms, _)| *ms).max().unwrap_or(0)),
        groups: groups
            .iter()
            .map(|(name, ms)| (Bytes::from(*name), id(*ms)))
            .collect(),
    })))
}

fn with_rule(rule: StringRule) -> Policy {
    let mut policy = policy();
    policy.rules.string = rule;
    policy
}

fn preferring(steps: &[Preference]) -> Policy {
    Policy {
        prefer: steps.to_vec(),
        ..policy()
    }
}

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
        chosen(&[first.clone()]),
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
fn what_has_expired_is_absent_and_not_deleted() {
    let agreed = until("a", -1);
    let sides = [(None, held(&agreed, 5)), (until("a", -1), held(&agreed, 5))];
    let merged = remembered(&agreed, &sides, &policy());
    assert_eq!(target(&merged).at(None), None);
    assert!(!merged.changes.key);
}

#[test]
fn deleted_here_and_unchanged_there_is_deleted() {
    for agreed in [string("a"), set("ab"), list("ab"), stream(&[(1, "a")], &[])] {
        let sides = [(None, held(&agreed, 5)), (agreed.clone(), held(&agreed, 5))];
        let merged = remembered(&agreed, &sides, &policy());
        assert_eq!(target(&merged).at(agreed.as_ref()), None);
        assert!(merged.changes.key);
        assert_eq!(merged.evidence, Evidence::Agreed);
    }
}

#[test]
fn a_removal_by_one_who_had_not_seen_the_last_change_does_not_count() {
    for (old, agreed) in [(string("a"), string("b")), (set("a"), set("a"))] {
        let sides = [(None, held(&old, 4)), (agreed.clone(), held(&agreed, 5))];
        let merged = remembered(&agreed, &sides, &policy());
        assert_eq!(target(&merged).at(None), agreed);
        assert!(!merged.changes.key);
    }
}

#[test]
fn deleted_here_and_changed_there_is_the_operators_choice() {
    let agreed = string("a");
    let sides = [(None, held(&agreed, 5)), (string("b"), held(&agreed, 5))];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy())).at(None),
        string("b")
    );
    let policy = Policy {
        on_delete_conflict: OnDeleteConflict::DeleteWins,
        ..policy()
    };
    assert_eq!(target(&remembered(&agreed, &sides, &policy)).at(None), None);
}

#[test]
fn an_agreed_value_that_only_an_absent_replica_holds_is_waited_for() {
    let (old, agreed) = (string("a"), string("b"));
    let sides = [(old.clone(), held(&old, 4)), (None, held(&None, 4))];
    let merged = remembered(&agreed, &sides, &policy());
    assert_eq!(merged.outcome, Outcome::Unresolved(Reason::Waits));
}

#[test]
fn an_element_that_waits_is_left_as_it_is_and_the_others_go_on() {
    let hash = |fields: &[(&'static str, &'static str)]| {
        let field = |(name, value): &(&'static str, &'static str)| {
            (Bytes::from(*name), Field::lasting(*value))
        };
        Some(State::lasting(Value::Hash(
            fields.iter().map(field).collect(),
        )))
    };
    let (old, agreed) = (hash(&[("f", "1")]), hash(&[("f", "2")]));
    let now = hash(&[("f", "1"), ("g", "x")]);
    let sides = [(now.clone(), held(&old, 4)), (old.clone(), held(&old, 4))];
    let merged = remembered(&agreed, &sides, &policy());
    assert_eq!(
        target(&merged).untouched,
        BTreeMap::from([("f".into(), Reason::Waits)])
    );
    assert_eq!(target(&merged).at(old.as_ref()), now);
    assert_eq!(target(&merged).at(None), hash(&[("g", "x")]));
}

#[test]
fn a_newcomer_fills_gaps_and_never_beats_what_is_agreed() {
    let agreed = string("a");
    let sides = [
        (string("z"), Past::Newcomer),
        (agreed.clone(), held(&agreed, 5)),
    ];
    let merged = remembered(&agreed, &sides, &preferring(&[Preference::Greatest]));
    assert_eq!(target(&merged).at(None), agreed);
    let sides = [
        (set("xa"), Past::Newcomer),
        (set("ab"), held(&set("ab"), 5)),
    ];
    assert_eq!(
        target(&remembered(&set("ab"), &sides, &policy())).at(None),
        set("abx")
    );
    let sides = [(None, Past::Newcomer), (set("ab"), held(&set("ab"), 5))];
    assert_eq!(
        target(&remembered(&set("ab"), &sides, &policy())).at(None),
        set("ab")
    );
}

#[test]
fn a_rolled_back_register_never_beats_the_agreed_one_by_preference() {
    let agreed = string("a");
    let back = Past::Base(string("old"), 3, Standing::RolledBack);
    let sides = [(string("z"), back), (agreed.clone(), held(&agreed, 5))];
    let merged = remembered(&agreed, &sides, &preferring(&[Preference::Greatest]));
    assert_eq!(target(&merged).at(None), agreed);
}

#[test]
fn counters_add_what_each_replica_added() {
    let (agreed, policy) = (string("10"), with_rule(StringRule::Counter));
    let merged = |sides: &[(Option<State>, Past)]| {
        let merged = remembered(&agreed, sides, &policy);
        (target(&merged).at(None), merged.notes)
    };
    let at = |number: &str| (string(number), held(&agreed, 5));
    assert_eq!(
        merged(&[at("13"), at("13"), at("9")]),
        (string("15"), vec![]),
        "two are two"
    );
    let gone = (None, held(&agreed, 5));
    assert_eq!(
        merged(&[gone.clone(), gone.clone(), at("12")]).0,
        string("2"),
        "deletes are one"
    );
    assert_eq!(merged(&[gone.clone(), gone, at("10")]).0, None);
    assert_eq!(
        merged(&[(string("99"), Past::Newcomer), at("11")]).0,
        string("11")
    );
    let most = i64::MAX.to_string();
    assert_eq!(
        merged(&[at(&most), at("11")]),
        (string(&most), vec![Note::Overflow(None)])
    );
    assert_eq!(
        merged(&[at("x"), at("11")]),
        (string("x"), vec![Note::NotANumber(None)])
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
fn a_bitmap_that_one_side_reset_stays_reset_and_two_changes_are_joined() {
    let (agreed, policy) = (string("a"), with_rule(StringRule::BitmapOr));
    let sides = [
        (string("\0"), held(&agreed, 5)),
        (agreed.clone(), held(&agreed, 5)),
    ];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy)).at(None),
        string("\0")
    );
    let sides = [
        (string("b"), held(&agreed, 5)),
        (string("a1"), held(&agreed, 5)),
    ];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy)).at(None),
        string("c1")
    );
}

#[test]
fn appends_and_prepends_to_what_was_agreed_are_joined() {
    let agreed = list("gg");
    let merged = |sides: &[&str]| {
        let sides: Vec<_> = sides
            .iter()
            .map(|text| (list(text), held(&agreed, 5)))
            .collect();
        target(&remembered(&agreed, &sides, &policy())).at(None)
    };
    assert_eq!(merged(&["ggx", "gg", "aggy"]), list("aggxy"));
    assert_eq!(merged(&["ggx", "ggx"]), list("ggx"));
    assert_eq!(merged(&["ggg", "bgg"]), list("bggg"));
    assert_eq!(
        merged(&["gxg", "ggy"]),
        list("gxg"),
        "not an append: a register"
    );
    assert_eq!(merged(&["gg", "g"]), list("g"), "one changed side wins");
}

#[test]
fn appends_of_a_laggard_are_joined_with_what_was_agreed_since() {
    let (old, agreed) = (list("g"), list("gh"));
    let sides = [
        (list("gx"), held(&old, 4)),
        (agreed.clone(), held(&agreed, 5)),
    ];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy())).at(None),
        list("ghx")
    );
    assert_eq!(
        target(&plain(&[list("g"), list("gx")], &policy())).at(None),
        list("g")
    );
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
fn a_trimmed_stream_stays_trimmed_whether_or_not_its_entries_are_remembered() {
    let count = LIMIT as u64;
    let entries = |from: u64, to: u64| {
        let all: Vec<_> = (from..=to).map(|ms| (ms, "a")).collect();
        stream(&all, &[])
    };
    for length in [4, 2 * count] {
        let agreed = entries(1, length);
        let sides = [
            (entries(3, length + 1), held(&agreed, 5)),
            (entries(1, length + 2), held(&agreed, 5)),
        ];
        let merged = remembered(&agreed, &sides, &policy());
        assert_eq!(target(&merged).at(None), entries(3, length + 2));
    }
}

#[test]
fn what_is_remembered_by_whole_key_is_united_where_several_changed_it() {
    let agreed = set("abcdefghijklmnop");
    let sides = [
        (set("abcdefghijklmno"), held(&agreed, 5)),
        (set("abcdefghijklmnopq"), held(&agreed, 5)),
    ];
    let merged = remembered(&agreed, &sides, &policy());
    assert_eq!(target(&merged).at(None), set("abcdefghijklmnopq"));
    assert_eq!(merged.notes, [Note::UnitedByWholeKey]);
    let sides = [sides[0].clone(), (agreed.clone(), held(&agreed, 5))];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy())).at(None),
        set("abcdefghijklmno")
    );
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
