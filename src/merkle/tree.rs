//! The Merkle tree over the entries of one replica, in the order of positions.
//!
//! A node's digest is the [`Sum`] of the digests of the entries below it and of nothing else. So it does not depend
//! on how the tree was split or the replica sharded; disjoint trees merge by addition, a changed entry patches the
//! sums on its path, and two nodes over the same positions are equal exactly when their entries are.
//!
//! Four children to a node, two bits of position each: level 7 is the slots of Redis Cluster. A node splits while it
//! has many entries and bits are left, so a leaf is small whatever the size of the whole, also when one hash tag puts
//! all keys into one slot. The tree holds no entries: a leaf's are those of its positions.

use std::ops::Range;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::model::{ExpiryRule, Position, Sum};

use super::{EntryDigester, Listed, Prefix, SealedEntries};

/// A node with more entries than this is split.
pub const LEAF_ENTRIES: usize = 32;

/// Bits of position per level.
const LEVEL_BITS: u32 = 2;

/// Children of a split node.
pub(super) const FAN_OUT: usize = 1 << LEVEL_BITS;

/// Subtrees with at most this many entries are built by one thread.
const TASK_ENTRIES: usize = 8192;

/// A node by its place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeIndex(u32);

impl NodeIndex {
    pub(super) const ROOT: Self = Self(0);

    fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("2^32 nodes stand for more entries than memory holds"))
    }

    fn at(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    sum: Sum,
    /// The first of four children that follow each other; 0, which is the root and nobody's child, in a leaf.
    first_child: u32,
}

/// The Merkle tree of one side.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
    expiry: ExpiryRule,
    side: u32,
}

/// A subtree that one thread builds: the node's place, its prefix and the indexes of its entries.
struct Task {
    node: usize,
    prefix: Prefix,
    entries: Range<usize>,
}

impl Tree {
    /// Builds the tree, on all threads of the current rayon pool.
    ///
    /// # Cost
    /// One blake3 per entry; about 4 bytes of memory per entry.
    pub fn build(entries: &SealedEntries, digester: &EntryDigester) -> Self {
        let mut nodes = vec![Node::default()];
        let mut tasks = Vec::new();
        let whole = Task {
            node: 0,
            prefix: Prefix::ROOT,
            entries: 0..entries.len(),
        };
        plan(entries, whole, &mut nodes, &mut tasks);
        let crown = nodes.len();
        let subtrees: Vec<Vec<Node>> = tasks
            .par_iter()
            .map_with(digester.clone(), |digester, task| {
                Growth::of(entries, digester, task)
            })
            .collect();
        for (task, subtree) in tasks.iter().zip(subtrees) {
            graft(&mut nodes, task.node, &subtree);
        }
        add_up(&mut nodes, crown);
        Self {
            nodes,
            expiry: digester.expiry(),
            side: digester.side(),
        }
    }

    /// Count and sum of all entries.
    pub fn root(&self) -> Sum {
        self.nodes[0].sum
    }

    /// Bytes in use, not counting capacity that was never touched.
    pub fn memory_bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>()
    }

    /// Count and sum of the entries below a prefix, however the tree was split. `entries` are those that the tree
    /// was built from and patched to.
    pub fn sum_at(
        &self,
        prefix: Prefix,
        entries: &SealedEntries,
        digester: &mut EntryDigester,
    ) -> Sum {
        let target = prefix.range().start;
        let (mut node, mut at) = (NodeIndex::ROOT, Prefix::ROOT);
        while at.length() + LEVEL_BITS <= prefix.length() {
            let Some(children) = self.children(node) else {
                break;
            };
            let number = at.child_of(target, LEVEL_BITS);
            (node, at) = (children[number], at.child(number as u64, LEVEL_BITS));
        }
        match self.children(node) {
            _ if at.length() == prefix.length() => self.sum(node),
            // The prefix ends between two levels.
            Some(children) => self.sum_of_half(children, at.child_of(target, 1)),
            None => sum_of(entries, entries.indexes(prefix.range()), digester),
        }
    }

    /// Takes the old entry of a key out of the sums and puts the new one in; `None` where the key is absent.
    ///
    /// The splits stay as they are: sums do not depend on them. A tree that has grown much since is better rebuilt.
    ///
    /// # Cost
    /// Two blake3 and one path from the root to a leaf.
    pub fn patch(
        &mut self,
        old: Option<Listed<'_>>,
        new: Option<Listed<'_>>,
        digester: &mut EntryDigester,
    ) {
        assert_eq!(
            (digester.expiry(), digester.side()),
            (self.expiry, self.side),
            "a tree is patched by the digester it was built by"
        );
        if let Some(old) = old {
            let digest = digester.digest(&old);
            self.on_path(old.position(), |sum| sum.remove(&digest));
        }
        if let Some(new) = new {
            let digest = digester.digest(&new);
            self.on_path(new.position(), |sum| sum.add(&digest));
        }
    }

    pub(super) fn sum(&self, node: NodeIndex) -> Sum {
        self.nodes[node.at()].sum
    }

    /// The four children in order; nothing for a leaf.
    pub(super) fn children(&self, node: NodeIndex) -> Option<[NodeIndex; FAN_OUT]> {
        let first = self.nodes[node.at()].first_child;
        (first != 0).then(|| std::array::from_fn(|number| NodeIndex(first + number as u32)))
    }

    pub(super) fn expiry(&self) -> ExpiryRule {
        self.expiry
    }

    pub(super) fn side(&self) -> u32 {
        self.side
    }

    fn on_path(&mut self, position: Position, mut change: impl FnMut(&mut Sum)) {
        let (mut node, mut at) = (NodeIndex::ROOT, Prefix::ROOT);
        loop {
            change(&mut self.nodes[node.at()].sum);
            let Some(children) = self.children(node) else {
                return;
            };
            let number = at.child_of(position, LEVEL_BITS);
            (node, at) = (children[number], at.child(number as u64, LEVEL_BITS));
        }
    }

    fn sum_of_half(&self, children: [NodeIndex; FAN_OUT], half: usize) -> Sum {
        let [first, second] = [half * 2, half * 2 + 1].map(|number| self.sum(children[number]));
        first.plus(&second)
    }
}

/// The prefixes of a node's children, in order.
pub(super) fn child_prefixes(prefix: Prefix) -> [Prefix; FAN_OUT] {
    std::array::from_fn(|number| prefix.child(number as u64, LEVEL_BITS))
}

/// Splits what is too large for one thread; subtrees come out in order.
fn plan(entries: &SealedEntries, task: Task, nodes: &mut Vec<Node>, tasks: &mut Vec<Task>) {
    if task.entries.len() <= TASK_ENTRIES || task.prefix.length() == Prefix::MAX_LENGTH {
        return tasks.push(task);
    }
    let first = split(nodes, task.node);
    for (number, (prefix, range)) in parts(entries, task.prefix, task.entries).enumerate() {
        let child = Task {
            node: first + number,
            prefix,
            entries: range,
        };
        plan(entries, child, nodes, tasks);
    }
}

/// Gives a node four empty children and says where the first is.
fn split(nodes: &mut Vec<Node>, node: usize) -> usize {
    let first = nodes.len();
    nodes[node].first_child = NodeIndex::new(first).0;
    nodes.resize(first + FAN_OUT, Node::default());
    first
}

/// The children's prefixes and the indexes of their entries.
fn parts(
    entries: &SealedEntries,
    prefix: Prefix,
    indexes: Range<usize>,
) -> impl Iterator<Item = (Prefix, Range<usize>)> {
    let mut rest = indexes;
    child_prefixes(prefix).into_iter().map(move |child| {
        let own = entries.indexes_within(child.range(), rest.clone());
        rest.start = own.end;
        (child, own)
    })
}

/// One thread's subtree while it grows.
struct Growth<'a> {
    entries: &'a SealedEntries,
    digester: &'a mut EntryDigester,
    nodes: Vec<Node>,
}

impl<'a> Growth<'a> {
    fn of(entries: &'a SealedEntries, digester: &'a mut EntryDigester, task: &Task) -> Vec<Node> {
        let mut growth = Self {
            entries,
            digester,
            nodes: vec![Node::default()],
        };
        growth.grow(0, task.prefix, task.entries.clone());
        growth.nodes
    }

    fn grow(&mut self, node: usize, prefix: Prefix, range: Range<usize>) -> Sum {
        let sum = if range.len() <= LEAF_ENTRIES || prefix.length() == Prefix::MAX_LENGTH {
            sum_of(self.entries, range, self.digester)
        } else {
            let first = split(&mut self.nodes, node);
            parts(self.entries, prefix, range)
                .enumerate()
                .fold(Sum::EMPTY, |sum, (number, (child, own))| {
                    sum.plus(&self.grow(first + number, child, own))
                })
        };
        self.nodes[node].sum = sum;
        sum
    }
}

fn sum_of(entries: &SealedEntries, indexes: Range<usize>, digester: &mut EntryDigester) -> Sum {
    let mut sum = Sum::EMPTY;
    for start in indexes.clone().step_by(LEAF_ENTRIES) {
        let few = start..indexes.end.min(start + LEAF_ENTRIES);
        entries.warm(few.clone());
        for index in few {
            sum.add(&digester.digest(&entries.get(index)));
        }
    }
    sum
}

/// Puts a subtree where its root's place was kept.
fn graft(nodes: &mut Vec<Node>, place: usize, subtree: &[Node]) {
    // The subtree's node 1 comes to stand at the present end.
    let shift = nodes.len() - 1;
    for (index, node) in subtree.iter().enumerate() {
        let first_child = match node.first_child {
            0 => 0,
            first => NodeIndex::new(first as usize + shift).0,
        };
        let sum = node.sum;
        let moved = Node { sum, first_child };
        match index {
            0 => nodes[place] = moved,
            _ => nodes.push(moved),
        }
    }
}

/// Adds up the sums of the first `crown` nodes from below: children stand behind their parents.
fn add_up(nodes: &mut [Node], crown: usize) {
    for index in (0..crown).rev() {
        let first = nodes[index].first_child as usize;
        if first != 0 {
            let children = &nodes[first..first + FAN_OUT];
            nodes[index].sum = children
                .iter()
                .fold(Sum::EMPTY, |sum, child| sum.plus(&child.sum));
        }
    }
}

#[cfg(test)]
mod tests;
