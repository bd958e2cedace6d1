use std::collections::BTreeSet;

use super::*;
use crate::merkle::EntryDigester;
use crate::merkle::fixture::{
    Held, Keys, digester, digester_ignoring_expiry, entries_of, listed, numbered, position_of,
    sides,
};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};

type Built = (SealedEntries, Tree);

fn build(keys: &[Keys], digester: fn(u32) -> EntryDigester) -> Vec<Built> {
    let numbered = (0..).zip(keys);
    numbered
        .map(|(side, keys)| {
            let entries = entries_of(keys).seal();
            let tree = Tree::build(&entries, &digester(side));
            (entries, tree)
        })
        .collect()
}

fn diff(built: &[Built], range: PositionRange) -> Diff<'_> {
    let sides = built.iter().map(|(entries, tree)| Side { tree, entries });
    Diff::new(&sides.collect::<Vec<_>>(), range)
}

fn differ_by_looking(held: &[Option<Held>], rule: ExpiryRule) -> bool {
    let compared = |held: &Option<Held>| match (*held, rule) {
        (Some(Some((value, _))), ExpiryRule::Ignore) => Some(Some((value, 0))),
        (held, _) => held,
    };
    let first = compared(&held[0]);
    held.iter()
        .any(|held| compared(held) != first || *held == Some(None))
}

/// What the diff is to find, by looking at every key.
fn by_looking(keys: &[Keys], range: PositionRange, rule: ExpiryRule) -> Vec<Difference<'_>> {
    let all: BTreeSet<_> = keys.iter().flat_map(Keys::keys).collect();
    let mut all: Vec<_> = all.into_iter().map(|key| (position_of(key), key)).collect();
    all.sort();
    all.into_iter()
        .filter(|(position, _)| range.contains(*position))
        .filter_map(|(position, key)| {
            let held: Vec<_> = keys.iter().map(|side| side.get(key).copied()).collect();
            let sides = held.iter().map(|held| held.map(|held| listed(key, held)));
            differ_by_looking(&held, rule).then(|| Difference {
                position,
                key,
                sides: sides.collect(),
            })
        })
        .collect()
}

fn any_range() -> impl Strategy<Value = PositionRange> {
    let bounds = (any::<u64>(), any::<Option<u64>>());
    bounds.prop_map(|(start, end)| PositionRange {
        start: Position::from_bits(start),
        end: end.map(Position::from_bits),
    })
}

#[test]
fn identical_sides_cost_one_comparison() {
    let keys = numbered("", 500);
    let built = build(&[keys.clone(), keys.clone(), keys], digester);
    let mut diff = diff(&built, PositionRange::all());
    assert_eq!(diff.next(), None);
    let cost = DiffCost {
        nodes_compared: 1,
        ..DiffCost::default()
    };
    assert_eq!(diff.cost(), cost);
}

/// A snapshot: what finding one key among 10,000 costs.
#[test]
fn one_differing_key_costs_one_path_and_one_leaf() {
    let keys = numbered("", 10_000);
    let mut other = keys.clone();
    other.remove(&b"4711"[..]);
    let built = build(&[keys, other], digester);
    let mut diff = diff(&built, PositionRange::all());
    let found: Vec<_> = diff.by_ref().map(|found| found.key).collect();
    assert_eq!(found, [b"4711"]);
    let DiffCost {
        nodes_compared,
        leaves_listed,
        entries_listed,
    } = diff.cost();
    assert_eq!((nodes_compared, leaves_listed), (21, 1));
    assert!(entries_listed <= 2 * crate::merkle::LEAF_ENTRIES as u64);
}

#[test]
fn all_keys_are_missing_on_an_empty_side() {
    let keys = numbered("{tag}", 300);
    let built = build(&[keys, Keys::new()], digester);
    let mut diff = diff(&built, PositionRange::all());
    assert!(diff.by_ref().all(|found| found.sides[1].is_none()));
    assert_eq!(diff.cost().entries_listed, 300);
}

#[test]
fn what_no_side_can_read_is_found() {
    let unreadable: Keys = [(b"foo".to_vec(), None)].into_iter().collect();
    let built = build(&[unreadable.clone(), unreadable], digester);
    assert_eq!(diff(&built, PositionRange::all()).count(), 1);
}

#[test]
fn an_ignored_expiry_is_no_difference() {
    let sides = [1, 2].map(|expiry| {
        let keys = numbered("", 100).into_keys();
        keys.map(|key| (key, Some((1, expiry)))).collect()
    });
    let exact = build(&sides, digester);
    assert_eq!(diff(&exact, PositionRange::all()).count(), 100);
    let ignoring = build(&sides, digester_ignoring_expiry);
    assert_eq!(diff(&ignoring, PositionRange::all()).count(), 0);
}

#[test]
#[should_panic(expected = "different numbers")]
fn two_sides_with_one_number_are_refused() {
    let built = build(&[Keys::new(), Keys::new()], |_| digester(3));
    diff(&built, PositionRange::all());
}

proptest! {
    // A case is several hundred keys.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_diff_finds_what_looking_at_every_key_finds(
        keys in (2..=5usize).prop_flat_map(sides)
    ) {
        let all = PositionRange::all();
        let exact = build(&keys, digester);
        let found: Vec<_> = diff(&exact, all).collect();
        prop_assert_eq!(found, by_looking(&keys, all, ExpiryRule::Longest));
        let ignoring = build(&keys, digester_ignoring_expiry);
        let found: Vec<_> = diff(&ignoring, all).collect();
        prop_assert_eq!(found, by_looking(&keys, all, ExpiryRule::Ignore));
    }

    #[test]
    fn a_range_limits_the_diff_to_its_positions(keys in sides(3), range in any_range()) {
        let built = build(&keys, digester);
        let found: Vec<_> = diff(&built, range).collect();
        prop_assert_eq!(found, by_looking(&keys, range, ExpiryRule::Longest));
    }

    #[test]
    fn patched_sides_are_compared_as_if_built_anew(keys in sides(3)) {
        let mut built = build(&keys, digester);
        // Side 0 becomes what side 2 is.
        let all: BTreeSet<_> = keys.iter().flat_map(Keys::keys).collect();
        for key in all {
            let [old, new] = [0, 2].map(|side: usize| {
                keys[side].get(key).map(|held| listed(key, *held))
            });
            built[0].1.patch(old, new, &mut digester(0));
        }
        built[0].0 = entries_of(&keys[2]).seal();
        let now = [keys[2].clone(), keys[1].clone(), keys[2].clone()];
        let found: Vec<_> = diff(&built, PositionRange::all()).collect();
        prop_assert_eq!(
            found,
            by_looking(&now, PositionRange::all(), ExpiryRule::Longest)
        );
    }
}
