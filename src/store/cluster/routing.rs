//! Reading keys where they are: at the node that holds the slot, or at both ends of a slot that moves.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::model::{DbIndex, DigestKey, HostPort, Key};
use crate::store::observe::is_elsewhere as says_elsewhere;
use crate::store::{Observed, Replica, StoreError};

use super::map::is_elsewhere;
use super::slot_map::{Move, slot_of};
use super::{ClusterReplica, PAUSES};

impl ClusterReplica {
    /// Reads keys afresh, one answer per key; those that are on the move as often as it takes.
    pub(super) async fn fetch_routed(
        &self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        let mut found: Vec<Option<Observed>> = vec![None; keys.len()];
        let mut lost = None;
        let mut map = self.current().await?;
        for pause in &PAUSES {
            let left = (0..keys.len()).filter(|&index| found[index].is_none());
            let (mut shares, mut moving) = (BTreeMap::<&HostPort, Vec<usize>>::new(), Vec::new());
            for index in left {
                let slot = slot_of(keys[index].as_bytes());
                match (map.moving.get(&slot), map.owner(slot)) {
                    (Some(between), _) => moving.push((index, between)),
                    (None, Some(owner)) => shares.entry(owner).or_default().push(index),
                    (None, None) => {}
                }
            }
            let reads = shares.iter().map(async |(owner, share)| {
                let share: Vec<Key> = share.iter().map(|&index| keys[index].clone()).collect();
                self.node(owner).fetch(db, &share, digest_key).await
            });
            let reads = join_all(reads).await;
            for (share, read) in shares.values().zip(reads) {
                match read {
                    Ok(read) => place(share, read, &mut found),
                    Err(error) if is_elsewhere(&error) => lost = Some(error),
                    Err(error) => return Err(error),
                }
            }
            for (index, between) in moving {
                found[index] = self
                    .fetch_moving(db, &keys[index], between, digest_key)
                    .await?;
            }
            if found.iter().all(Option::is_some) {
                break;
            }
            tokio::time::sleep(*pause).await;
            map = self.settled().await?;
        }
        match lost {
            Some(error) if found.iter().all(Option::is_none) && !keys.is_empty() => Err(error),
            _ => Ok(found.into_iter().map(or_unreadable).collect()),
        }
    }

    /// A key of a slot that moves: it is where the slot comes from, or else where it goes to.
    async fn fetch_moving(
        &self,
        db: Option<DbIndex>,
        key: &Key,
        between: &Move,
        digest_key: &DigestKey,
    ) -> Result<Option<Observed>, StoreError> {
        let key = std::slice::from_ref(key);
        for node in [self.node(&between.from), self.asking(&between.to)] {
            match node.fetch(db, key, digest_key).await {
                Ok(mut read) => match read.pop() {
                    Some(Observed::Unreadable(words)) if says_elsewhere(&words) => {}
                    observed => return Ok(observed),
                },
                Err(error) if is_elsewhere(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Takes what a node answered, but for keys that are elsewhere.
fn place(share: &[usize], read: Vec<Observed>, found: &mut [Option<Observed>]) {
    for (&index, observed) in share.iter().zip(read) {
        match observed {
            Observed::Unreadable(words) if says_elsewhere(&words) => {}
            observed => found[index] = Some(observed),
        }
    }
}

fn or_unreadable(found: Option<Observed>) -> Observed {
    found.unwrap_or_else(|| {
        let words = "its slot keeps moving, or its node does not answer";
        Observed::Unreadable(words.into())
    })
}
