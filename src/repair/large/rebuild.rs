//! A stream that lacks older entries: IDs only rise, so it is built aside with them and takes its own place.
//!
//! ```text
//! own pages, in the order of IDs ──┐
//!                                  ├─▶ patched pages ─▶ aside ─▶ in the key's place, if that did not change meanwhile
//! differing entries, merged ───────┘
//! ```
//!
//! Deliberately absent: streams with consumer groups. Their positions and pending entries would be lost.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Expiry, Key, Kind, Stream, StreamId, Value};
use crate::store::{Observed, Piece, PieceCursor};

use super::super::describe::REBUILD;
use super::super::finding::Fate;
use super::super::look::Look;
use super::super::ops::{REBUILD_ASIDE_ENTRIES, Unreachable};
use super::join::ELEMENTS_AT_A_TIME;
use super::{Large, Stopped, Work, fate};

type Entries = BTreeMap<StreamId, Vec<(Bytes, Bytes)>>;

/// What is known of a stream that is being rebuilt.
struct Rebuild<'r> {
    replica: usize,
    holders: &'r [usize],
    aside: Key,
    /// The differing entries that are still to come, in the order of their IDs.
    left: &'r [Bytes],
    /// What the stream ends with, and when.
    end: Option<(Stream, Expiry)>,
}

impl Large<'_> {
    /// Rebuilds the stream of one replica with what was merged of the named entries, which are in the order of IDs.
    pub(super) async fn rebuild(
        &self,
        replica: usize,
        holders: &[usize],
        names: &[Bytes],
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let entries: u64 = self.observed.iter().flatten().map(length).sum();
        if entries > REBUILD_ASIDE_ENTRIES {
            let reason = Unreachable::TooLong { entries };
            work.stuck.get_or_insert(reason.to_string());
            return Ok(());
        }
        let words = [REBUILD.to_owned()];
        if !self.writes() {
            self.note(work, replica, &words, Fate::Planned);
            return Ok(());
        }
        let rebuild = Rebuild {
            replica,
            holders,
            aside: self.shared.next_aside(&self.candidate.key),
            left: names,
            end: None,
        };
        let rebuilt = self.rebuild_aside(rebuild, work).await;
        self.note(work, replica, &words, fate(&rebuilt));
        rebuilt
    }

    async fn rebuild_aside(
        &self,
        mut rebuild: Rebuild<'_>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        // What other steps wrote to it is part of it: it is looked at once more, and must then stay.
        let expect = self.look_afresh(rebuild.replica, work).await?;
        let expect = expect.expect().ok_or(Stopped::Again)?;
        let built = self.build_patched(&mut rebuild, work).await;
        let placed = match (built, rebuild.end) {
            (Ok(()), Some((_, expiry))) => {
                let placing = (expect, expiry);
                self.take_aside(rebuild.replica, &rebuild.aside, placing, work)
                    .await
            }
            (Ok(()), None) => Err(Stopped::Again),
            (Err(stopped), _) => Err(stopped),
        };
        self.drop_aside(rebuild.replica, &rebuild.aside).await;
        placed
    }

    async fn look_afresh(&self, replica: usize, work: &mut Work<'_>) -> Result<Look, Stopped> {
        let keys = std::slice::from_ref(&self.candidate.key);
        let (db, run) = (self.candidate.keyspace.db, self.shared.run);
        let source = &run.participants[replica].replica;
        let fetched = source.fetch(db, keys, &run.digest_key).await;
        let found = self.reached(replica, fetched)?.pop();
        let look = found.map(|found| Look::observed(&found, work.digester));
        look.ok_or(Stopped::Again)
    }

    /// Goes through the replica's own pages, and puts what was merged between and over them.
    async fn build_patched(
        &self,
        rebuild: &mut Rebuild<'_>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let mut cursor = Some(PieceCursor::Start);
        while let Some(at) = cursor {
            let (piece, next) = self.piece(rebuild.replica, Kind::Stream, at).await?;
            if let Piece::Entries(own) = piece {
                let here = match &next {
                    Some(PieceCursor::Id(next)) => before(rebuild.left, *next),
                    _ => rebuild.left.len(),
                };
                let (here, left) = rebuild.left.split_at(here);
                rebuild.left = left;
                self.patch(own.into_iter().collect(), here, rebuild, work)
                    .await?;
            }
            cursor = next;
            self.check_stop()?;
        }
        let Some((stream, _)) = &rebuild.end else {
            return Err(Stopped::Again);
        };
        let end = Piece::StreamEnd {
            last_id: stream.last_id,
            groups: stream.groups.clone().into_iter().collect(),
        };
        self.add(rebuild.replica, &rebuild.aside, end).await
    }

    /// Adds a page of own entries, and what was merged of the differing ones up to its end.
    async fn patch(
        &self,
        mut own: Entries,
        names: &[Bytes],
        rebuild: &mut Rebuild<'_>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        for chunk in names.chunks(ELEMENTS_AT_A_TIME) {
            let merged = self.merged(chunk, rebuild, work).await?;
            let ids = || chunk.iter().filter_map(|name| StreamId::parse(name));
            let behind = ids().next_back().and_then(StreamId::next);
            let rest = behind.map_or_else(Entries::new, |behind| own.split_off(&behind));
            ids().for_each(|id| {
                own.remove(&id);
            });
            own.extend(merged);
            self.add_entries(std::mem::replace(&mut own, rest), rebuild)
                .await?;
            self.check_stop()?;
        }
        self.add_entries(own, rebuild).await
    }

    /// What the replica should hold of the named entries.
    async fn merged(
        &self,
        names: &[Bytes],
        rebuild: &mut Rebuild<'_>,
        work: &mut Work<'_>,
    ) -> Result<Entries, Stopped> {
        let states = self
            .fetch_elements(Kind::Stream, rebuild.holders, names)
            .await?;
        let target = self.merge_elements(rebuild.holders, &states, names, work)?;
        let holder = rebuild.holders.iter().position(|&at| at == rebuild.replica);
        let wanted = target.at(holder.map(|at| &states[at]));
        let Some((Value::Stream(mut stream), expiry)) =
            wanted.map(|wanted| (wanted.value, wanted.expiry))
        else {
            return Err(Stopped::Again);
        };
        let entries = std::mem::take(&mut stream.entries);
        rebuild.end = Some((stream, expiry));
        Ok(entries)
    }

    async fn add_entries(&self, entries: Entries, rebuild: &Rebuild<'_>) -> Result<(), Stopped> {
        if entries.is_empty() {
            return Ok(());
        }
        let piece = Piece::Entries(entries.into_iter().collect());
        self.add(rebuild.replica, &rebuild.aside, piece).await
    }
}

/// How many of the names, in the order of IDs, come before this ID.
fn before(names: &[Bytes], id: StreamId) -> usize {
    names.partition_point(|name| StreamId::parse(name).is_some_and(|name| name < id))
}

fn length(observed: &Observed) -> u64 {
    match observed {
        Observed::Absent | Observed::Unreadable(_) => 0,
        Observed::Large(large) => large.length,
        Observed::Whole(state) => state.value.element_count() as u64,
    }
}
