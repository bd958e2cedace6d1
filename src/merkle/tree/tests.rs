use super::*;
use crate::merkle::Entries;
use crate::merkle::fixture::{
    Keys, digester, entries_of, hex, listed, numbered, position_of, push, sides,
};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

fn tree_of(keys: &Keys) -> (SealedEntries, Tree) {
    built(entries_of(keys))
}

fn built(entries: Entries) -> (SealedEntries, Tree) {
    let entries = entries.seal();
    let tree = Tree::build(&entries, &digester(0));
    (entries, tree)
}

/// The sums at every prefix of a position: above, at and behind the leaf.
fn path_sums((entries, tree): &(SealedEntries, Tree), position: Position) -> Vec<Sum> {
    let mut digester = digester(0);
    (0..=Prefix::MAX_LENGTH)
        .map(|length| tree.sum_at(Prefix::of(position, length), entries, &mut digester))
        .collect()
}

fn assert_parents_hold_the_sums_of_their_children(tree: &Tree) {
    for node in tree.nodes.iter().filter(|node| node.first_child != 0) {
        let first = node.first_child as usize;
        let children = tree.nodes[first..first + FAN_OUT].iter();
        let below = children.fold(Sum::EMPTY, |sum, child| sum.plus(&child.sum));
        assert_eq!(node.sum, below);
    }
}

#[test]
fn a_node_takes_48_bytes() {
    assert_eq!(size_of::<Node>(), 48);
}

#[test]
fn nothing_has_the_empty_sum() {
    let (_, tree) = tree_of(&Keys::new());
    assert_eq!(tree.root(), Sum::EMPTY);
    assert_eq!(tree.nodes.len(), 1);
}

#[test]
fn leaves_are_small_also_when_one_tag_puts_all_keys_into_one_slot() {
    let (_, tree) = tree_of(&numbered("{tag}", 3000));
    let leaves = tree.nodes.iter().filter(|node| node.first_child == 0);
    let counts: Vec<u64> = leaves.map(|leaf| leaf.sum.count).collect();
    assert!(counts.iter().all(|&count| count <= LEAF_ENTRIES as u64));
    assert_eq!(counts.iter().sum::<u64>(), 3000);
    assert!(tree.memory_bytes() < 3000 * 10);
}

#[test]
fn keys_at_one_position_share_the_leaf_below_the_last_bit() {
    let same = tree_of(&numbered("same:", 100));
    let (entries, tree) = &same;
    assert_eq!(tree.nodes.len(), 1 + FAN_OUT * 32);
    let position = position_of(b"same:");
    assert!(
        path_sums(&same, position)
            .iter()
            .all(|sum| *sum == tree.root())
    );
    assert_eq!(entries.len(), 100);
}

#[test]
fn several_threads_build_what_one_would() {
    let mut keys = numbered("", 3 * TASK_ENTRIES);
    keys.extend(numbered("{tag}", 2 * TASK_ENTRIES));
    let (entries, tree) = tree_of(&keys);
    let all = sum_of(&entries, 0..entries.len(), &mut digester(0));
    assert_eq!(tree.root(), all);
    assert_parents_hold_the_sums_of_their_children(&tree);
}

#[test]
fn an_entry_pushed_twice_counts_once() {
    let keys = numbered("", 50);
    let mut twice = entries_of(&keys);
    twice.append(&entries_of(&keys));
    assert_eq!(built(twice).1.root(), tree_of(&keys).1.root());
}

/// Frozen: trees that are kept or sent compare only where this holds. Checked against the formula in Python.
#[test]
fn a_small_root_is_frozen() {
    let keys = ["", "foo", "bar", "{tag}a", "{tag}b"];
    let keys = keys.map(|key| (key.as_bytes().to_vec(), Some((3, 9))));
    let (_, tree) = tree_of(&keys.into_iter().collect());
    assert_eq!(tree.root().count, 5);
    assert_eq!(
        hex(&tree.root().to_bytes()),
        "af987eb517c47a2f0e2eae0fadee369c8347339ce8dde6763bf155cfd3b8c5de"
    );
}

proptest! {
    // Every case sums at 65 prefixes of several positions.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_patched_tree_has_the_sums_of_a_fresh_one(keys in sides(2), probe in any::<u64>()) {
        let (_, mut tree) = tree_of(&keys[0]);
        let mut digester = digester(0);
        let mut all = keys[0].clone();
        all.extend(keys[1].clone());
        for key in all.keys() {
            let held = |side: usize| keys[side].get(key).map(|held| listed(key, *held));
            tree.patch(held(0), held(1), &mut digester);
        }
        let fresh = tree_of(&keys[1]);
        prop_assert_eq!(tree.root(), fresh.1.root());
        let patched = (fresh.0.clone(), tree);
        let some = all.keys().step_by(60).map(|key| position_of(key));
        for position in some.chain([Position::from_bits(probe)]) {
            prop_assert_eq!(path_sums(&patched, position), path_sums(&fresh, position));
        }
    }

    #[test]
    fn sums_do_not_depend_on_the_sharding(keys in sides(1), shards in 1..5usize, salt: u8) {
        let whole = tree_of(&keys[0]);
        let mut parts = vec![Entries::new(); shards];
        for (key, held) in &keys[0] {
            let last = key.last().copied().unwrap_or(0);
            push(&mut parts[usize::from(last ^ salt) % shards], key, *held);
        }
        let mut together = Entries::new();
        parts.iter().for_each(|part| together.append(part));
        prop_assert_eq!(built(together).1.root(), whole.1.root());

        let trees: Vec<_> = parts.into_iter().map(built).collect();
        for key in keys[0].keys().step_by(60) {
            let position = position_of(key);
            let mut added = vec![Sum::EMPTY; 1 + Prefix::MAX_LENGTH as usize];
            for tree in &trees {
                let own = path_sums(tree, position);
                added.iter_mut().zip(own).for_each(|(sum, own)| *sum = sum.plus(&own));
            }
            prop_assert_eq!(added, path_sums(&whole, position));
        }
    }
}
