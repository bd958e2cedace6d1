//! Single cases of a merge with an agreement at version 5.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    LIMIT, Past, held, list, plain, policy, preferring, remembered, set, stream, string, target,
    until, with_rule,
};
use crate::crdt::{Evidence, Note, Outcome, Reason, Standing};
use crate::model::{
    Expiry, Field, Millis, OnDeleteConflict, Policy, Preference, State, StringRule, Value,
};

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
fn of_several_deletes_the_one_that_had_seen_most_counts() {
    let (agreed, old) = (string("10"), string("7"));
    let sides = [
        (None, held(&old, 4)),
        (None, held(&agreed, 5)),
        (string("12"), held(&agreed, 5)),
    ];
    let merged = remembered(&agreed, &sides, &with_rule(StringRule::Counter));
    assert_eq!(target(&merged).at(None), string("2"));
}

#[test]
fn an_entry_below_a_low_water_mark_stays_if_it_is_newer_than_its_holders_base() {
    let agreed = stream(&[(1, "a"), (2, "b")], &[]);
    let trimmed = stream(&[(9, "z")], &[]);
    let late = stream(&[(1, "a"), (2, "b"), (5, "late")], &[]);
    let sides = [(trimmed, held(&agreed, 5)), (late, held(&agreed, 5))];
    let merged = remembered(&agreed, &sides, &policy());
    assert_eq!(
        target(&merged).at(None),
        stream(&[(5, "late"), (9, "z")], &[])
    );
}

#[test]
fn an_expiry_follows_who_changed_it_and_never_beats_a_new_value() {
    let agreed = until("a", 90_000);
    let sides = [
        (agreed.clone(), held(&agreed, 5)),
        (until("a", 50_000), held(&agreed, 5)),
    ];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy())).at(None),
        until("a", 50_000)
    );
    let sides = [
        (until("a", 99_000), held(&agreed, 5)),
        (until("b", 60_000), held(&agreed, 5)),
    ];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy())).at(None),
        until("b", 60_000)
    );
    let jitter = [
        (until("a", 90_400), held(&agreed, 5)),
        (agreed.clone(), held(&agreed, 5)),
    ];
    assert_eq!(
        target(&remembered(&agreed, &jitter, &policy())).expiry,
        Expiry::At(Millis(90_000))
    );
}

#[test]
fn a_type_that_replaced_what_was_agreed_beats_an_unchanged_one_and_meets_a_changed_one() {
    let agreed = set("ab");
    let sides = [
        (agreed.clone(), held(&agreed, 5)),
        (string("s"), held(&agreed, 5)),
    ];
    assert_eq!(
        target(&remembered(&agreed, &sides, &policy())).at(None),
        string("s")
    );
    let sides = [
        (set("abc"), held(&agreed, 5)),
        (string("s"), held(&agreed, 5)),
    ];
    let merged = remembered(&agreed, &sides, &policy());
    assert_eq!(target(&merged).at(None), set("abc"), "first in order");
}
