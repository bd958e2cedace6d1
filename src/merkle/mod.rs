//! Where replicas differ: entries, the Merkle tree over them, and the diff of any number of trees at once.
//!
//! ```text
//! scan -> Entries -> seal -> SealedEntries -> Tree::build -> Side --+
//!                                                    ... -> Side --+-> Diff -> the keys to look at
//! ```
//!
//! Pure: the reading of replicas, the second look and the merge are other rooms' work. Replicas that do not fit into
//! memory go through [`Buckets`] first, which say what to read at all.

mod buckets;
mod diff;
mod entries;
mod entry_digester;
#[cfg(test)]
mod fixture;
mod prefix;
mod tree;

pub use buckets::{BucketSet, Buckets};
pub use diff::{Diff, DiffCost, Difference, Side};
pub use entries::{Entries, Listed, SealedEntries};
pub use entry_digester::EntryDigester;
pub use prefix::Prefix;
pub use tree::{LEAF_ENTRIES, Tree};
