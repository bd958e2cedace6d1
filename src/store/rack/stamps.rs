//! Stamps of a rack: each node keeps those of the keys that it holds.

use bytes::Bytes;
use futures::future::join_all;

use crate::model::{DbIndex, Key, Stamp};
use crate::store::{Beside, Replica, StampQuery, StampReading, StoreError};

use super::{RackReplica, pick, put_together};

/// Bits of a cursor below the node that it belongs to.
const CURSOR_BITS: u32 = 56;

impl RackReplica {
    pub(super) async fn stamps_of_owners(
        &self,
        db: Option<DbIndex>,
        queries: &[StampQuery],
    ) -> Result<Vec<StampReading>, StoreError> {
        let shares = self.shares(queries.iter().map(|query| &query.key));
        let asked =
            self.nodes
                .iter()
                .zip(&shares)
                .map(async |(node, share)| match share.is_empty() {
                    true => Ok(Vec::new()),
                    false => node.stamps(db, &pick(queries, share)).await,
                });
        put_together(&shares, join_all(asked).await)
    }

    /// One node's page after the other's; what a node lists of keys that it does not own does not count.
    pub(super) async fn removals_of_keys(
        &self,
        db: Option<DbIndex>,
        cursor: u64,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        let (index, inner) = self.node_of(cursor);
        let (mut removed, next) = self.nodes[index].removals(db, None, inner).await?;
        removed.retain(|(name, _)| self.ring.owner(name) == index);
        Ok((removed, self.next(index, next)))
    }

    pub(super) async fn keys_of_nodes(
        &self,
        db: Option<DbIndex>,
        what: Beside,
        cursor: u64,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        let (index, inner) = self.node_of(cursor);
        let (mut keys, next) = self.nodes[index].keys_beside(db, what, inner).await?;
        keys.retain(|key| self.ring.owner(key.as_bytes()) == index);
        Ok((keys, self.next(index, next)))
    }

    /// The node that a cursor is at, and its own cursor.
    fn node_of(&self, cursor: u64) -> (usize, u64) {
        let index = usize::try_from(cursor >> CURSOR_BITS).unwrap_or(0);
        (
            index.min(self.nodes.len() - 1),
            cursor & ((1 << CURSOR_BITS) - 1),
        )
    }

    fn next(&self, index: usize, inner: u64) -> u64 {
        match inner {
            0 if index + 1 == self.nodes.len() => 0,
            0 => (index as u64 + 1) << CURSOR_BITS,
            _ => (index as u64) << CURSOR_BITS | inner,
        }
    }
}
