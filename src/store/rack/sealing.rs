//! Seals in a rack: a transaction spans one node, so every node has the lane's marker, and a step sets all of them.
//!
//! A node that lacks the marker beside others was emptied, or added: then the rack has none. It takes part as a
//! newcomer, whose absences are no evidence; what its other nodes removed since is not heard, and comes back.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};

use crate::model::{DbIndex, DigestKey, Key, Marker, OwnerToken, ReplicaName, RunNumber, Write};
use crate::store::spread::{
    Batch, Lane, Places, begin, furthest_ahead, furthest_behind, seal_parts,
};
use crate::store::{Replica, Seal, StoreError, Written};

use super::RackReplica;

impl RackReplica {
    /// What a lane's marker says: nothing where a node has none.
    pub(super) async fn lane_marker(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
    ) -> Result<Option<Bytes>, StoreError> {
        let read = self.nodes.iter().map(|node| node.marker(db, lane));
        let found: Option<Vec<Bytes>> = try_join_all(read).await?.into_iter().collect();
        Ok(found.and_then(furthest_behind))
    }

    /// Takes all markers of a lane over; answers what the last step has written, as far as it was begun.
    pub(super) async fn fence_lane(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        by: (OwnerToken, RunNumber),
    ) -> Result<Option<Marker>, StoreError> {
        self.lanes().remove(lane);
        let fences = self
            .places()
            .map(async |place| Ok((place, self.fence_at(db, lane, place, by).await?)));
        let found = try_join_all(fences).await?.into_iter();
        let found: Vec<(u16, Marker)> = found
            .filter_map(|(place, marker)| Some((place, marker?)))
            .collect();
        let ahead = furthest_ahead(found.iter().map(|(_, marker)| *marker));
        let known = Lane::taken(self.places().collect(), found, by);
        self.lanes().insert(lane.clone(), known);
        Ok(ahead)
    }

    /// Writes with the seal of a step: node by node, and those last that hold none of its keys.
    pub(super) async fn write_sealed(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: &Seal,
    ) -> Result<Written, StoreError> {
        let shares = self.shares(writes.iter().map(|write| &write.key));
        let members = self.places().zip(shares);
        let members: BTreeMap<u16, Vec<usize>> =
            members.filter(|(_, share)| !share.is_empty()).collect();
        let mut lane = self.prepare(db, seal).await?;
        let batch = (writes, digest_key);
        let written = seal_parts(self, db, batch, seal, (&members, &mut lane)).await;
        self.lanes().insert(seal.lane.clone(), lane);
        written
    }

    /// Sees to it that every node has a marker of this process: fencing finds it, and aborts what a dead run has sent.
    async fn prepare(&self, db: Option<DbIndex>, seal: &Seal) -> Result<Lane, StoreError> {
        let mut lane = self.lanes().get(&seal.lane).cloned().unwrap_or_default();
        lane.anchors = self.places().collect();
        let new = self
            .places()
            .filter(|place| !lane.markers.contains_key(place));
        let new: Vec<u16> = new.collect();
        let begun = join_all(new.iter().map(|place| begin(self, db, seal, *place))).await;
        for (place, marker) in new.into_iter().zip(begun) {
            lane.markers.insert(place, marker?);
        }
        Ok(lane)
    }

    fn places(&self) -> impl Iterator<Item = u16> + Clone + use<> {
        0..u16::try_from(self.nodes.len()).unwrap_or(u16::MAX)
    }
}

#[async_trait]
impl Places for RackReplica {
    fn name(&self) -> &ReplicaName {
        &self.name
    }

    fn is_elsewhere(&self, _error: &StoreError) -> bool {
        false
    }

    async fn fence_at(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        place: u16,
        (owner, run): (OwnerToken, RunNumber),
    ) -> Result<Option<Marker>, StoreError> {
        let node = &self.nodes[usize::from(place)];
        node.fence(db, lane, owner, run).await
    }

    async fn write_part(
        &self,
        db: Option<DbIndex>,
        place: u16,
        (batch, members): (Batch<'_>, &[usize]),
        (seal, expect): (&Seal, Option<Marker>),
    ) -> Result<Written, StoreError> {
        let part = Seal {
            expect,
            ..seal.clone()
        };
        let node = &self.nodes[usize::from(place)];
        node.write_members(db, batch.0, members, batch.1, &part)
            .await
    }
}
