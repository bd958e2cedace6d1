//! Reading a whole cluster while slots may move.
//!
//! ```text
//! all slots ─▶ SCAN every master ─▶ who holds what now? ─ the same ─▶ strays one by one ─▶ done
//!                     ▲                     │ moved, failed over
//!                     └──── those of them ◀─┘
//! ```
//!
//! A key counts only from the master that holds its slot. A slot that moves stands at both ends: its names are listed
//! where it comes from and then where it goes to, in this order, so that none is missed.

use futures::future::join_all;

use crate::model::{Digester, EntryRef, HostPort, Key, Position};
use crate::store::{EntrySink, Observed, Pace, ScanReport, ScanRequest, StoreError};

use super::map::is_elsewhere;
use super::shared::{InTurn, Joined};
use super::slot_map::{SlotMap, SlotSet, slot_of};
use super::{ClusterReplica, PAUSES};

/// Up to so many slots of a master are listed one by one; more are found by a SCAN of all.
const LISTED_SLOTS: usize = 64;

/// Keys that are fetched at a time.
const STRAYS_AT_ONCE: usize = 64;

impl ClusterReplica {
    pub(super) async fn scan_all(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let (joined, pace) = (Joined::new(sink), &InTurn::new(pace));
        let mut report = ScanReport::default();
        let mut left = SlotSet::all();
        let mut map = self.settled().await?;
        let mut pauses = PAUSES.iter();
        loop {
            let again = self.scan_slots(&map, &left, request, pace, &joined, &mut report);
            let mut again = again.await?;
            let now = self.settled().await?;
            // What moved after it was read in one piece has been read: a resharding may go on for as long as it likes.
            let moved = map.changed(&now);
            let moved = moved.iter().filter(|slot| left.contains(*slot));
            moved.for_each(|slot| again.insert(slot));
            map = now;
            if again.len() == 0 {
                self.read_strays(request, pace, &joined, &mut report)
                    .await?;
                return Ok(report);
            }
            tracing::info!(replica = %self.name, slots = %again, "slots moved meanwhile, they are read again");
            if again.len() < left.len() {
                pauses = PAUSES.iter();
            }
            left = again;
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => break,
            }
        }
        let reason =
            format!("slots {left} keep moving, start the run again when they have arrived");
        Err(self.unreachable("scan", reason))
    }

    /// Reads these slots as the map has them. Answers those whose node was lost.
    async fn scan_slots(
        &self,
        map: &SlotMap,
        slots: &SlotSet,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        joined: &Joined<'_>,
        report: &mut ScanReport,
    ) -> Result<SlotSet, StoreError> {
        let mut again = SlotSet::none();
        let mut resting = slots.clone();
        for (slot, moving) in map.moving.iter().filter(|(slot, _)| slots.contains(**slot)) {
            resting.remove(*slot);
            match self.list_both(*slot, &moving.from, &moving.to).await {
                Ok(names) => joined.stray(names),
                Err(error) if is_elsewhere(&error) => again.insert(*slot),
                Err(error) => return Err(error),
            }
        }
        let shares = map
            .masters()
            .iter()
            .map(|one| (one, map.held(one, &resting)));
        let shares: Vec<_> = shares.filter(|(_, share)| share.len() > 0).collect();
        let scans = shares
            .iter()
            .map(|(master, share)| self.scan_share(master, share, request, pace, joined));
        for ((master, share), scanned) in shares.iter().zip(join_all(scans).await) {
            match scanned {
                Ok(part) => *report = sum(*report, part),
                Err(error) if is_elsewhere(&error) => {
                    tracing::warn!("{error}; what {master} held is read again");
                    share.iter().for_each(|slot| again.insert(slot));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(again)
    }

    /// Reads some of a master's slots.
    async fn scan_share(
        &self,
        master: &HostPort,
        share: &SlotSet,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        joined: &Joined<'_>,
    ) -> Result<ScanReport, StoreError> {
        let node = self.node(master);
        if share.len() <= LISTED_SLOTS {
            for slot in share.iter() {
                joined.stray(node.names_in_slot(slot).await?);
            }
            return Ok(ScanReport::default());
        }
        let wanted = |key: &[u8]| share.contains(slot_of(key)) && (request.wanted)(key);
        let of_node = ScanRequest {
            db: request.db,
            pattern: request.pattern.clone(),
            wanted: &wanted,
            digest_key: request.digest_key,
        };
        crate::store::Replica::scan(&*node, &of_node, pace, &mut joined.sink()).await
    }

    async fn list_both(
        &self,
        slot: u16,
        from: &HostPort,
        to: &HostPort,
    ) -> Result<Vec<Key>, StoreError> {
        let mut names = self.node(from).names_in_slot(slot).await?;
        names.extend(self.node(to).names_in_slot(slot).await?);
        Ok(names)
    }

    /// Reads named keys where they are.
    pub(super) async fn scan_listed(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let (joined, pace) = (Joined::new(sink), &InTurn::new(pace));
        let map = self.current().await?;
        let mut report = ScanReport::default();
        let mut shares: Vec<(&HostPort, Vec<Key>)> = Vec::new();
        for master in map.masters() {
            let held = |key: &&Key| map.owner(slot_of(key.as_bytes())) == Some(master);
            shares.push((master, keys.iter().filter(held).cloned().collect()));
        }
        let scans = shares.iter().map(async |(master, keys)| {
            let node = self.node(master);
            crate::store::Replica::scan_keys(&*node, request, keys, pace, &mut joined.sink()).await
        });
        for ((_, keys), scanned) in shares.iter().zip(join_all(scans).await) {
            match scanned {
                Ok(part) => report = sum(report, part),
                Err(error) if is_elsewhere(&error) => joined.stray(keys.iter().cloned()),
                Err(error) => return Err(error),
            }
        }
        self.read_strays(request, pace, &joined, &mut report)
            .await?;
        Ok(report)
    }

    /// Reads the keys that were found on the move, one by one.
    async fn read_strays(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        joined: &Joined<'_>,
        report: &mut ScanReport,
    ) -> Result<(), StoreError> {
        let mut strays = joined.take_strays();
        strays.retain(|key| !key.is_own() && (request.wanted)(key.as_bytes()));
        let mut digester = Digester::new(request.digest_key.clone());
        for keys in strays.chunks(STRAYS_AT_ONCE) {
            pace.keys(keys.len() as u64).await;
            let found = self.fetch_routed(request.db, keys, request.digest_key);
            for (key, observed) in keys.iter().zip(found.await?) {
                report.keys_read += 1;
                emit(key, &observed, &mut digester, &mut joined.sink());
            }
        }
        Ok(())
    }
}

fn emit(key: &Key, observed: &Observed, digester: &mut Digester, sink: &mut dyn EntrySink) {
    let (kind, digest, expiry) = match observed {
        Observed::Absent => return,
        Observed::Unreadable(reason) => return sink.unreadable(key.as_bytes(), reason),
        Observed::Whole(state) => {
            let digest = digester.value(&state.value);
            (state.value.kind(), digest, state.expiry)
        }
        Observed::Large(large) => (large.kind, large.digest, large.expiry),
    };
    sink.entry(EntryRef {
        position: Position::of(key.as_bytes()),
        key: key.as_bytes(),
        kind,
        digest,
        expiry,
    });
}

fn sum(one: ScanReport, other: ScanReport) -> ScanReport {
    ScanReport {
        names_seen: one.names_seen + other.names_seen,
        keys_read: one.keys_read + other.keys_read,
        markers_seen: one.markers_seen || other.markers_seen,
    }
}
