//! Writing where keys are: a transaction holds keys of one slot, and goes to the node that holds it.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::model::{DbIndex, DigestKey, Write};
use crate::store::{Replica, StoreError, WriteOutcome};

use super::map::is_elsewhere;
use super::slot_map::slot_of;
use super::{ClusterReplica, PAUSES};

impl ClusterReplica {
    /// Compares and writes, slot by slot. What was not sent, because its slot moves or its node is lost, is planned
    /// anew; what was sent and not answered is unknown, and not sent again.
    pub(super) async fn write_routed(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let mut outcomes: Vec<Option<WriteOutcome>> = vec![None; writes.len()];
        let mut lost = None;
        for pause in &PAUSES {
            let mut slots: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
            for index in (0..writes.len()).filter(|&index| outcomes[index].is_none()) {
                let slot = slot_of(writes[index].key.as_bytes());
                slots.entry(slot).or_default().push(index);
            }
            let sent = slots.iter().map(async |(slot, share)| {
                let share: Vec<Write> = share.iter().map(|&index| writes[index].clone()).collect();
                let owner = self.owner(*slot).await?;
                owner.write(db, &share, digest_key, None).await
            });
            let sent = join_all(sent).await;
            for (share, written) in slots.values().zip(sent) {
                match written {
                    Ok(written) => {
                        for (&index, outcome) in share.iter().zip(written.outcomes) {
                            outcomes[index] = Some(outcome);
                        }
                    }
                    Err(error) if is_elsewhere(&error) => lost = Some(error),
                    Err(error) => return self.broken_off(outcomes, error),
                }
            }
            if outcomes.iter().all(Option::is_some) {
                break;
            }
            tokio::time::sleep(*pause).await;
            if let Err(error) = self.settled().await {
                return self.broken_off(outcomes, error);
            }
        }
        match lost {
            Some(error) => self.broken_off(outcomes, error),
            None => Ok(outcomes.into_iter().map(or_superseded).collect()),
        }
    }

    /// What was written stays written, and the rest was not sent.
    fn broken_off(
        &self,
        outcomes: Vec<Option<WriteOutcome>>,
        error: StoreError,
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        match outcomes.iter().any(Option::is_some) {
            true => Ok(outcomes.into_iter().map(or_superseded).collect()),
            false => Err(error),
        }
    }
}

/// Nothing was sent of it: it is looked at again, as if a client had been quicker.
fn or_superseded(outcome: Option<WriteOutcome>) -> WriteOutcome {
    outcome.unwrap_or(WriteOutcome::Superseded)
}
