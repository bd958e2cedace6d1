//! Writing over connections that get lost.

use crate::model::{DbIndex, DigestKey, Digester, Write};
use crate::store::seal::{Seal, SealError, Sealed};
use crate::store::transaction::Transaction;
use crate::store::wire::WireError;
use crate::store::{BATCH_KEYS, StoreError, WriteOutcome, Written};

use super::RedisReplica;

impl RedisReplica {
    /// One transaction. A connection that is lost before EXEC was sent is replaced, and all is compared again, the
    /// marker first; one that is lost later ends it, for only the marker tells what happened.
    pub(super) async fn write_sealed(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: &Seal,
    ) -> Result<Written, StoreError> {
        debug_assert!(
            seal.expect.is_some() || seal.register.is_some(),
            "a new marker is registered"
        );
        let all: Vec<usize> = (0..writes.len()).collect();
        self.write_some(db, writes, &all, digest_key, seal).await
    }

    /// The same for some of the writes, by index: those of one slot of a cluster. The others are left out.
    pub(in crate::store) async fn write_members(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        members: &[usize],
        digest_key: &DigestKey,
        seal: &Seal,
    ) -> Result<Written, StoreError> {
        let written = self
            .write_some(db, writes, members, digest_key, seal)
            .await?;
        self.count_written(&written);
        Ok(written)
    }

    async fn write_some(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        members: &[usize],
        digest_key: &DigestKey,
        seal: &Seal,
    ) -> Result<Written, StoreError> {
        assert_fits(writes);
        let mut digester = Digester::new(digest_key.clone());
        let mut pauses = self.pauses.iter();
        loop {
            let mut lease = self.lease(db, "write").await?;
            let mut sealed = Sealed::new(writes, members, seal, self.write_depth(writes));
            let error = match sealed.run(&mut lease.wire, &mut digester).await {
                Ok(written) => {
                    self.give_back(lease);
                    return Ok(written);
                }
                Err(error) => error,
            };
            // What is left on the connection is not known.
            drop(lease);
            match (sealed.unknown(), error, pauses.next()) {
                (Some(written), error, _) => {
                    let error = self.marker_failure("EXEC", error);
                    tracing::warn!("{error}; the marker will tell what was written");
                    return Ok(written);
                }
                (None, SealError::Wire(WireError::Lost(_)), Some(pause)) => {
                    tokio::time::sleep(*pause).await;
                }
                (None, error, _) => return Err(self.marker_failure("write", error)),
            }
        }
    }

    /// One transaction or several; what was sent and not answered is unknown, the rest goes on.
    pub(super) async fn write_unsealed(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        assert_fits(writes);
        let mut digester = Digester::new(digest_key.clone());
        let mut transaction = Transaction::new(writes, self.write_depth(writes));
        let mut pauses = self.pauses.iter();
        loop {
            let mut lease = match self.lease(db, "write").await {
                Ok(lease) => lease,
                Err(_) if transaction.has_begun() => break,
                Err(error) => return Err(error),
            };
            match transaction.run(&mut lease.wire, &mut digester).await {
                Ok(()) => {
                    self.give_back(lease);
                    break;
                }
                Err(error) => {
                    transaction.take_up();
                    match (error, pauses.next()) {
                        (WireError::Lost(_), Some(pause)) => tokio::time::sleep(*pause).await,
                        (_, _) if transaction.has_begun() => break,
                        (error, _) => return Err(self.failure("write", error)),
                    }
                }
            }
        }
        Ok(transaction.into_outcomes())
    }

    pub(super) fn count_written(&self, written: &Written) {
        let applied = written.outcomes.iter();
        let applied = applied.filter(|outcome| **outcome == WriteOutcome::Applied);
        let applied = applied.count() as u64;
        self.meter.count_written(applied);
    }

    /// How many commands may be under way: all of a batch's keys are described at once.
    fn write_depth(&self, writes: &[Write]) -> usize {
        self.depth.max(2 * writes.len())
    }
}

fn assert_fits(writes: &[Write]) {
    assert!(
        writes.len() <= BATCH_KEYS,
        "{} writes in one batch",
        writes.len()
    );
}
