//! Which keys differ between any number of sides, compared all at once.
//!
//! The diff descends only into nodes whose sums differ. Where one side has a leaf, it merges the sorted lists of all
//! sides over the leaf's positions: the side with the leaf has few entries there, so what the others list beyond that
//! are differences anyway.

use std::ops::Range;

use crate::model::{ExpiryRule, Position, PositionRange};

use super::tree::{FAN_OUT, NodeIndex, child_prefixes};
use super::{Listed, Prefix, SealedEntries, Tree};

/// One side of a diff: a replica, or the agreement.
///
/// A side that is remote would have to answer two questions, best for many prefixes at once: the sums of the children
/// of a prefix, and the entries below one. Both are independent of how its tree was split.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// The entries that the tree was built from and patched to.
    pub entries: &'a SealedEntries,
}

/// A key on which the sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Where the key lies.
    pub position: Position,
    /// The key's bytes.
    pub key: &'a [u8],
    /// What each side lists, in the order of the sides; `None` where the key is absent.
    pub sides: Vec<Option<Listed<'a>>>,
}

/// What a diff has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffCost {
    /// Nodes whose sums were compared between the sides; one for all sides together.
    pub nodes_compared: u64,
    /// Places where entries were listed; one for all sides together.
    pub leaves_listed: u64,
    /// Entries listed, of all sides.
    pub entries_listed: u64,
}

/// The differing keys, in the order of position and key.
///
/// # Cost
/// Its own memory is bounded by the depth of the trees and the number of sides, not by the number of differences.
#[derive(Debug)]
pub struct Diff<'a> {
    sides: Vec<Side<'a>>,
    range: PositionRange,
    expiry: ExpiryRule,
    /// Nodes still to be compared, the next one last.
    pending: Vec<Prefix>,
    /// The same nodes as every side has them: as many as there are sides for each prefix.
    nodes: Vec<NodeIndex>,
    /// What is left of each side's list in the leaf at hand.
    lists: Vec<Range<usize>>,
    cost: DiffCost,
}

impl<'a> Diff<'a> {
    /// Compares the sides over a range of positions.
    ///
    /// # Panics
    /// If there are fewer than two sides, two of them have the same number, or their expiry rules differ.
    pub fn new(sides: &[Side<'a>], range: PositionRange) -> Self {
        assert!(sides.len() >= 2, "a diff has at least two sides");
        let expiry = sides[0].tree.expiry();
        for (index, side) in sides.iter().enumerate() {
            assert_eq!(side.tree.expiry(), expiry, "all sides have one expiry rule");
            let mut others = sides[..index].iter().map(|other| other.tree.side());
            assert!(
                others.all(|number| number != side.tree.side()),
                "sides have different numbers"
            );
        }
        Self {
            range,
            expiry,
            pending: vec![Prefix::ROOT],
            nodes: vec![NodeIndex::ROOT; sides.len()],
            lists: vec![0..0; sides.len()],
            sides: sides.to_vec(),
            cost: DiffCost::default(),
        }
    }

    /// How expiries count.
    pub fn expiry(&self) -> ExpiryRule {
        self.expiry
    }

    /// What the diff has cost so far.
    pub fn cost(&self) -> DiffCost {
        self.cost
    }

    /// Compares the next pending node: goes down into it, lists it, or leaves it behind as equal.
    fn step(&mut self, prefix: Prefix) {
        let at = self.nodes.len() - self.sides.len();
        let nodes = self.nodes.split_off(at);
        self.cost.nodes_compared += 1;
        let sums = self.sides.iter().zip(&nodes);
        let mut sums = sums.map(|(side, node)| side.tree.sum(*node));
        let first = sums.next();
        if sums.all(|sum| Some(sum) == first) {
            return;
        }
        let children = self.sides.iter().zip(&nodes);
        let children: Option<Vec<_>> = children
            .map(|(side, node)| side.tree.children(*node))
            .collect();
        match children {
            Some(children) => self.descend(prefix, &children),
            None => self.list(prefix),
        }
    }

    /// `children` has every side's four children of the node.
    fn descend(&mut self, prefix: Prefix, children: &[[NodeIndex; FAN_OUT]]) {
        let prefixes = child_prefixes(prefix).into_iter().enumerate().rev();
        for (number, child) in prefixes {
            if child.overlaps(self.range) {
                self.pending.push(child);
                self.nodes
                    .extend(children.iter().map(|nodes| nodes[number]));
            }
        }
    }

    fn list(&mut self, prefix: Prefix) {
        self.cost.leaves_listed += 1;
        let range = intersection(prefix.range(), self.range);
        for (list, side) in self.lists.iter_mut().zip(&self.sides) {
            *list = side.entries.indexes(range);
        }
    }

    /// Takes the least key off the lists; nothing if they are used up.
    fn next_listed(&mut self) -> Option<Difference<'a>> {
        if self.lists.iter().all(Range::is_empty) {
            return None;
        }
        let heads = self.sides.iter().zip(&self.lists);
        let heads =
            heads.map(|(side, list)| (!list.is_empty()).then(|| side.entries.get(list.start)));
        let mut sides: Vec<Option<Listed<'a>>> = heads.collect();
        let least = sides.iter().flatten();
        let (position, key) = least
            .map(|listed| (listed.position(), listed.key()))
            .min()?;
        for (list, side) in self.lists.iter_mut().zip(&mut sides) {
            match side {
                Some(listed) if (listed.position(), listed.key()) == (position, key) => {
                    list.start += 1;
                    self.cost.entries_listed += 1;
                }
                _ => *side = None,
            }
        }
        Some(Difference {
            position,
            key,
            sides,
        })
    }
}

impl<'a> Iterator for Diff<'a> {
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Difference<'a>> {
        loop {
            while let Some(listed) = self.next_listed() {
                if differs(&listed.sides, self.expiry) {
                    return Some(listed);
                }
            }
            let prefix = self.pending.pop()?;
            self.step(prefix);
        }
    }
}

/// Whether not all sides hold the same. What cannot be read is never the same.
fn differs(sides: &[Option<Listed<'_>>], rule: ExpiryRule) -> bool {
    let mut readable = sides.iter().map(|side| match side {
        Some(Listed::Readable(entry)) => {
            let expiry = match rule {
                ExpiryRule::Longest => Some(entry.expiry),
                ExpiryRule::Ignore => None,
            };
            Some((entry.kind, entry.digest, expiry))
        }
        Some(Listed::Unreadable { .. }) | None => None,
    });
    // A listed key is on some side; so if all are alike, none is absent or unreadable.
    match readable.next().flatten() {
        None => true,
        first => readable.any(|other| other != first),
    }
}

fn intersection(a: PositionRange, b: PositionRange) -> PositionRange {
    PositionRange {
        start: a.start.max(b.start),
        end: match (a.end, b.end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (end, None) | (None, end) => end,
        },
    }
}

#[cfg(test)]
mod tests;
