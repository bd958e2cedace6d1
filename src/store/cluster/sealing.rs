//! Seals in a cluster: a transaction holds keys of one slot, so a step has a marker in every slot that it writes to,
//! and one at every master, its anchor, which is set last.
//!
//! ```text
//! step 7:  slot 11 ─ keys, marker 7        anchors: slot 0 ─ marker 7
//!          slot 99 ─ keys, marker 7                 slot 5461 ─ marker 7      what was read of any master is proved
//! ```
//!
//! * What the lane's marker says is what the anchor says that is furthest behind: a master that lost writes is rolled
//!   back, and the whole replica with it.
//! * What happened of a step is what the markers say that are furthest ahead: each has the bits of its own keys.
//! * A marker stands in a slot before keys are written there, so that fencing finds it, and what a dead run has sent is
//!   aborted. Which slots these are, and which hold the anchors, stands in the cluster before.
//!
//! An anchor that is missing beside others is a master that was emptied: what it lacks is no evidence, and of what was
//! removed elsewhere nothing is known any more. Such a cluster takes no part until it is taken over as a newcomer.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;

use crate::model::{
    DbIndex, DigestKey, Key, Marker, OwnerToken, ReplicaName, RunNumber, STATES_KEY, Slot, Write,
    slot_tag,
};
use crate::store::spread::{
    Batch, Lane, Places, begin, furthest_ahead, furthest_behind, seal_parts,
};
use crate::store::{Replica, Seal, StoreError, Written};

use super::map::is_elsewhere;
use super::slot_map::{SlotMap, SlotSet, slot_of};
use super::{ClusterReplica, PAUSES, map, slot_map};

/// The version of the lists below.
const FORMAT: &str = "1";

/// The name of a lane's marker in a slot.
fn in_slot(lane: &Key, slot: u16) -> Key {
    let tag = Slot::new(slot).map_or(0, slot_tag);
    Key::new([lane.as_bytes(), format!("{{{tag}}}").as_bytes()].concat())
}

/// The name of a list of slots that belongs to a lane.
fn list(lane: &Key, name: &str) -> Key {
    Key::new([lane.as_bytes(), b":", name.as_bytes()].concat())
}

const ANCHORS: &str = "anchors";
const WRITTEN: &str = "written";

impl ClusterReplica {
    /// What a lane's marker says: nothing where there are no anchors.
    pub(super) async fn lane_marker(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(anchors) = self.anchors(db, lane).await? else {
            return Ok(None);
        };
        let read = anchors.iter().map(async |slot| {
            let name = in_slot(lane, *slot);
            let found = at_owner!(self, name, |node| node.marker(db, &name))?;
            found.ok_or_else(|| self.emptied(lane, *slot))
        });
        Ok(furthest_behind(try_join_all(read).await?))
    }

    /// Takes all markers of a lane over; answers what the last step has written, as far as it was begun.
    pub(super) async fn fence_lane(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        owner: OwnerToken,
        run: RunNumber,
    ) -> Result<Option<Marker>, StoreError> {
        self.forget_lane(lane);
        let Some(anchors) = self.anchors(db, lane).await? else {
            return Ok(None);
        };
        let written = self.read_list(lane, WRITTEN).await?.unwrap_or_default();
        let slots: BTreeSet<u16> = anchors.union(&written).copied().collect();
        let fences = slots.iter().map(async |slot| {
            match self.fence_at(db, lane, *slot, (owner, run)).await? {
                None if anchors.contains(slot) => Err(self.emptied(lane, *slot)),
                found => Ok((*slot, found)),
            }
        });
        let found = try_join_all(fences).await?;
        let found: Vec<_> = found
            .into_iter()
            .filter_map(|(slot, marker)| Some((slot, marker?)))
            .collect();
        let ahead = furthest_ahead(found.iter().map(|(_, marker)| *marker));
        self.keep_lane(lane, Lane::taken(anchors, found, (owner, run)));
        Ok(ahead)
    }

    /// Writes with the seal of a step: slot by slot, and the anchors last.
    pub(super) async fn write_sealed(
        &self,
        db: Option<DbIndex>,
        writes: &[Write],
        digest_key: &DigestKey,
        seal: &Seal,
    ) -> Result<Written, StoreError> {
        let mut slots: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, write) in writes.iter().enumerate() {
            let slot = slot_of(write.key.as_bytes());
            slots.entry(slot).or_default().push(index);
        }
        let mut lane = self.prepare(db, seal, &slots).await?;
        let written = seal_parts(self, db, (writes, digest_key), seal, (&slots, &mut lane)).await;
        self.keep_lane(&seal.lane, lane);
        written
    }

    /// Sees to it that every slot of a step has a marker of this process, and that the slots can be found again.
    async fn prepare(
        &self,
        db: Option<DbIndex>,
        seal: &Seal,
        slots: &BTreeMap<u16, Vec<usize>>,
    ) -> Result<Lane, StoreError> {
        if let Some(id) = seal.register {
            let (state, id) = (seal.set.state.to_string(), id.to_string());
            let words: [&[u8]; 4] = [b"HSET", STATES_KEY, state.as_bytes(), id.as_bytes()];
            self.order(&Key::copied(STATES_KEY), &words).await?;
        }
        let mut lane = self.known_lane(&seal.lane).unwrap_or_default();
        if seal.expect.is_none() && lane.anchors.is_empty() {
            let stands = self.lane_marker(db, &seal.lane).await?;
            if let Some(stands) = stands {
                return Err(StoreError::Fenced {
                    replica: self.name.clone(),
                    lane: seal.lane.clone(),
                    found: Marker::decode(&stands),
                });
            }
        }
        let anchors = with_all_masters(&*self.current().await?, &lane.anchors);
        if anchors != lane.anchors {
            self.write_list(&seal.lane, ANCHORS, &anchors).await?;
            lane.anchors = anchors;
        }
        if !slots.is_empty() {
            let written = slots.keys().copied().collect();
            self.write_list(&seal.lane, WRITTEN, &written).await?;
        }
        let new = slots.keys().chain(&lane.anchors);
        let new: BTreeSet<u16> = new
            .copied()
            .filter(|slot| !lane.markers.contains_key(slot))
            .collect();
        let begun = new
            .iter()
            .map(async |slot| begin(self, db, seal, *slot).await);
        let begun = try_join_all(begun).await?;
        lane.markers.extend(new.into_iter().zip(begun));
        Ok(lane)
    }

    /// The slots with a lane's anchors; nothing where it has none.
    async fn anchors(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
    ) -> Result<Option<BTreeSet<u16>>, StoreError> {
        if let Some(known) = self
            .known_lane(lane)
            .filter(|known| !known.anchors.is_empty())
        {
            return Ok(Some(known.anchors));
        }
        if let Some(anchors) = self.read_list(lane, ANCHORS).await? {
            return Ok(Some(anchors));
        }
        // The list is gone with its slot, or there never was one: the anchors themselves tell.
        for slot in with_all_masters(&*self.current().await?, &BTreeSet::new()) {
            let name = in_slot(lane, slot);
            if at_owner!(self, name, |node| node.marker(db, &name))?.is_some() {
                return Err(self.emptied(lane, slot_of(list(lane, ANCHORS).as_bytes())));
            }
        }
        Ok(None)
    }

    fn emptied(&self, lane: &Key, slot: u16) -> StoreError {
        StoreError::Marker {
            replica: self.name.clone(),
            key: in_slot(lane, slot),
            reason: "it is missing beside others: a master of the cluster was emptied or seeded from another, and what \
                     it lacks is no evidence of a delete; take the replicas over as newcomers with --adopt"
                .into(),
        }
    }

    async fn read_list(&self, lane: &Key, name: &str) -> Result<Option<BTreeSet<u16>>, StoreError> {
        let key = list(lane, name);
        let found = at_owner!(self, key, |node| node.marker(None, &key))?;
        let parsed = found.map(|bytes| {
            let text = std::str::from_utf8(&bytes).ok()?;
            let slots = text.strip_prefix(FORMAT)?.strip_prefix(' ')?;
            let slots = slots.split(',').map(|slot| slot.parse().ok());
            slots.collect::<Option<BTreeSet<u16>>>()
        });
        match parsed {
            None => Ok(None),
            Some(Some(slots)) => Ok(Some(slots)),
            Some(None) => Err(StoreError::Marker {
                replica: self.name.clone(),
                key,
                reason: "it is no list of slots that this version reads".into(),
            }),
        }
    }

    async fn write_list(
        &self,
        lane: &Key,
        name: &str,
        slots: &BTreeSet<u16>,
    ) -> Result<(), StoreError> {
        let key = list(lane, name);
        let slots: Vec<String> = slots.iter().map(u16::to_string).collect();
        let text = format!("{FORMAT} {}", slots.join(","));
        self.order(&key, &[b"SET", key.as_bytes(), text.as_bytes()])
            .await
    }

    /// One command about a key, which may be done twice as well as once.
    async fn order(&self, key: &Key, words: &[&[u8]]) -> Result<(), StoreError> {
        at_owner!(self, key, |node| node.order(words))
    }

    fn known_lane(&self, lane: &Key) -> Option<Lane> {
        self.lanes().get(lane).cloned()
    }

    fn keep_lane(&self, lane: &Key, known: Lane) {
        self.lanes().insert(lane.clone(), known);
    }

    fn forget_lane(&self, lane: &Key) {
        self.lanes().remove(lane);
    }
}

#[async_trait]
impl Places for ClusterReplica {
    fn name(&self) -> &ReplicaName {
        &self.name
    }

    fn is_elsewhere(&self, error: &StoreError) -> bool {
        is_elsewhere(error)
    }

    async fn fence_at(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        slot: u16,
        (owner, run): (OwnerToken, RunNumber),
    ) -> Result<Option<Marker>, StoreError> {
        let name = in_slot(lane, slot);
        at_owner!(self, name, |node| node.fence(db, &name, owner, run))
    }

    /// One transaction in one slot, with its marker; again where it was not sent.
    async fn write_part(
        &self,
        db: Option<DbIndex>,
        slot: u16,
        (batch, members): (Batch<'_>, &[usize]),
        (seal, expect): (&Seal, Option<Marker>),
    ) -> Result<Written, StoreError> {
        let part = Seal {
            lane: in_slot(&seal.lane, slot),
            expect,
            set: seal.set,
            register: None,
        };
        let mut pauses = PAUSES.iter();
        loop {
            let node = self.owner(slot).await?;
            let sent = node.write_members(db, batch.0, members, batch.1, &part);
            match (sent.await, pauses.next()) {
                (Err(error), Some(pause)) if is_elsewhere(&error) => {
                    tokio::time::sleep(*pause).await;
                    self.settled().await?;
                }
                (answer, _) => return answer,
            }
        }
    }
}

/// The anchors, with one more for every master that holds none of them.
fn with_all_masters(map: &SlotMap, anchors: &BTreeSet<u16>) -> BTreeSet<u16> {
    let mut all = anchors.clone();
    for master in map.masters() {
        let held = map.held(master, &SlotSet::all());
        let has_one = all.iter().any(|slot| held.contains(*slot));
        let resting = held.iter().find(|slot| !map.moving.contains_key(slot));
        if !has_one {
            all.extend(resting);
        }
    }
    all
}
