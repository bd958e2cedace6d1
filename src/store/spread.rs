//! Seals where a transaction reaches a part of a replica only: a slot of a cluster, a node of a rack. Every part that a
//! step writes to has a marker, and so have some parts in any case, its anchors, which are set last.
//!
//! ```text
//! step 7:  part ─ keys, marker 7 ┐
//!          part ─ keys, marker 7 ┴─▶ anchors: part ─ marker 7      what was read of the whole replica is proved
//! ```
//!
//! * What the lane's marker says is what the anchor says that is furthest behind: a part that lost writes is rolled
//!   back, and the whole replica with it.
//! * What happened of a step is what the markers say that are furthest ahead: each has the bits of its own keys.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use crate::model::{
    DbIndex, DigestKey, Key, Marker, OwnerToken, ReplicaName, RunNumber, Sequence, Write,
};

use super::{Seal, Sealing, StoreError, WriteOutcome, Written};

/// The writes of a step, and the key of their digests.
pub(super) type Batch<'a> = (&'a [Write], &'a DigestKey);

/// A replica of several parts, each with a number.
#[async_trait]
pub(super) trait Places: Sync {
    /// The replica.
    fn name(&self) -> &ReplicaName;

    /// Whether nothing happened because the part moves or is lost, and may be found again.
    fn is_elsewhere(&self, error: &StoreError) -> bool;

    /// Takes over the marker of a part; answers what it said.
    async fn fence_at(
        &self,
        db: Option<DbIndex>,
        lane: &Key,
        place: u16,
        by: (OwnerToken, RunNumber),
    ) -> Result<Option<Marker>, StoreError>;

    /// One transaction in one part, with its marker.
    async fn write_part(
        &self,
        db: Option<DbIndex>,
        place: u16,
        members: (Batch<'_>, &[usize]),
        seal: (&Seal, Option<Marker>),
    ) -> Result<Written, StoreError>;
}

/// What is known of a lane's markers.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    /// The parts with the anchors.
    pub(super) anchors: BTreeSet<u16>,
    /// The markers that this process has taken over or set, by part.
    pub(super) markers: BTreeMap<u16, Marker>,
}

impl Lane {
    /// One whose markers were found and taken over.
    pub(super) fn taken(
        anchors: BTreeSet<u16>,
        found: Vec<(u16, Marker)>,
        (owner, run): (OwnerToken, RunNumber),
    ) -> Self {
        let found = found.into_iter();
        let markers = found.map(|(place, marker)| {
            let taken = Marker {
                owner,
                run,
                ..marker
            };
            (place, taken)
        });
        Self {
            markers: markers.collect(),
            anchors,
        }
    }
}

/// What the anchor says that is furthest behind, without what it has written; or the first that cannot be read.
pub(super) fn furthest_behind(anchors: Vec<Bytes>) -> Option<Bytes> {
    let mut behind: Option<Marker> = None;
    for bytes in anchors {
        let Some(marker) = Marker::decode(&bytes) else {
            return Some(bytes);
        };
        if behind.is_none_or(|known| marker.sequence < known.sequence) {
            behind = Some(marker);
        }
    }
    let plain = Marker {
        written: 0,
        ..behind?
    };
    Some(Bytes::from(plain.encode()))
}

/// What the markers say that are furthest ahead, together.
pub(super) fn furthest_ahead(markers: impl Iterator<Item = Marker> + Clone) -> Option<Marker> {
    let last = markers.clone().map(|marker| marker.sequence).max();
    let of_step = markers.filter(|marker| Some(marker.sequence) == last);
    of_step.reduce(|known, marker| Marker {
        written: known.written | marker.written,
        ..marker
    })
}

/// Writes with the seal of a step: part by part, and the anchors last. Every part in it has a marker of this process.
pub(super) async fn seal_parts<P: Places>(
    places: &P,
    db: Option<DbIndex>,
    batch: Batch<'_>,
    seal: &Seal,
    (members, lane): (&BTreeMap<u16, Vec<usize>>, &mut Lane),
) -> Result<Written, StoreError> {
    let known = &*lane;
    let sent = members.iter().map(async |(place, members)| {
        let expect = known.markers.get(place).copied();
        let sent = places.write_part(db, *place, (batch, members), (seal, expect));
        sent.await
    });
    let sent = join_all(sent).await;
    let mut parts = Parts::new(batch.0.len());
    for ((place, members), written) in members.iter().zip(sent) {
        parts.take(places, (*place, members), written, lane);
    }
    if parts.sealing != Sealing::Unknown && parts.trouble.is_none() {
        set_anchors(places, db, batch, seal, (&mut parts, lane)).await;
    }
    parts.end(seal)
}

/// Sets the anchors, where all else is known; they prove what was read of every part.
async fn set_anchors<P: Places>(
    places: &P,
    db: Option<DbIndex>,
    batch: Batch<'_>,
    seal: &Seal,
    (parts, lane): (&mut Parts, &mut Lane),
) {
    let known = &*lane;
    let behind = |place: &&u16| {
        let marker = known.markers.get(place);
        marker.is_none_or(|marker| marker.sequence != seal.set.sequence)
    };
    let behind: Vec<u16> = known.anchors.iter().filter(behind).copied().collect();
    let set = behind.iter().map(async |place| {
        let expect = known.markers.get(place).copied();
        let sent = places.write_part(db, *place, (batch, &[]), (seal, expect));
        sent.await
    });
    for (place, written) in behind.iter().zip(join_all(set).await) {
        match written {
            Ok(written) => match written.sealing {
                Sealing::Set(marker) => {
                    lane.markers.insert(*place, marker);
                }
                Sealing::Unset | Sealing::Unasked | Sealing::Unknown => {
                    parts.sealing = Sealing::Unknown;
                }
            },
            Err(error) => parts.trouble = Some(error),
        }
    }
}

/// Takes over the marker of a part, or sets the first one there.
pub(super) async fn begin<P: Places>(
    places: &P,
    db: Option<DbIndex>,
    seal: &Seal,
    place: u16,
) -> Result<Marker, StoreError> {
    let (owner, run) = (seal.set.owner, seal.set.run);
    let found = places.fence_at(db, &seal.lane, place, (owner, run)).await?;
    if let Some(found) = found.filter(|found| found.state == seal.set.state) {
        return Ok(Marker {
            owner,
            run,
            ..found
        });
    }
    let first = Seal {
        set: Marker {
            sequence: Sequence::default(),
            ..seal.set
        },
        ..seal.clone()
    };
    let none = DigestKey::new([0; 32]);
    let batch: Batch<'_> = (&[], &none);
    let written = places
        .write_part(db, place, (batch, &[]), (&first, None))
        .await?;
    match written.sealing {
        Sealing::Set(marker) => Ok(marker),
        Sealing::Unset | Sealing::Unasked | Sealing::Unknown => Err(StoreError::Unreachable {
            replica: places.name().clone(),
            action: "write".into(),
            reason: format!("the first marker in part {place} was not set"),
        }),
    }
}

/// What became of the transactions of a step.
struct Parts {
    outcomes: Vec<WriteOutcome>,
    sealing: Sealing,
    trouble: Option<StoreError>,
    /// Whether anything happened, or may have.
    is_set: bool,
}

impl Parts {
    fn new(writes: usize) -> Self {
        Self {
            outcomes: vec![WriteOutcome::Superseded; writes],
            sealing: Sealing::Unset,
            trouble: None,
            is_set: false,
        }
    }

    fn take<P: Places>(
        &mut self,
        places: &P,
        (place, members): (u16, &[usize]),
        written: Result<Written, StoreError>,
        lane: &mut Lane,
    ) {
        let outcome = match written {
            Ok(written) => {
                for &index in members {
                    self.outcomes[index] = written.outcomes[index].clone();
                }
                return self.note(place, written.sealing, lane);
            }
            // The part moves, or is lost, for longer than was waited: nothing happened.
            Err(error) if places.is_elsewhere(&error) => WriteOutcome::Contended,
            Err(StoreError::Refused { reason, .. }) => WriteOutcome::Refused(reason),
            Err(error) => {
                self.trouble = Some(error);
                WriteOutcome::Contended
            }
        };
        for &index in members {
            self.outcomes[index] = outcome.clone();
        }
    }

    fn note(&mut self, place: u16, sealing: Sealing, lane: &mut Lane) {
        match sealing {
            Sealing::Set(marker) => {
                self.is_set = true;
                lane.markers.insert(place, marker);
            }
            Sealing::Unknown => {
                self.is_set = true;
                self.sealing = Sealing::Unknown;
                lane.markers.remove(&place);
            }
            Sealing::Unset | Sealing::Unasked => {}
        }
    }

    fn end(self, seal: &Seal) -> Result<Written, StoreError> {
        let sealing = match (self.trouble, self.sealing) {
            (Some(error), _) if !self.is_set => return Err(error),
            (Some(_), _) | (_, Sealing::Unknown) => Sealing::Unknown,
            (None, _) => Sealing::Set(seal.set),
        };
        Ok(Written {
            outcomes: self.outcomes,
            sealing,
        })
    }
}
