//! Values that do not stand in memory whole: compared element by element, merged a few elements at a time, copied
//! piece by piece.
//!
//! A large collection is a keyspace in small: its elements are entries of a tree, and the diff says which to look at.
//! What a replica lacks altogether is copied aside and takes the key's place in one transaction, so no half of a
//! value is ever seen under its key.

mod aged;
mod back;
mod copy;
mod elements;
mod join;
mod lead;
mod rebuild;
mod register;
mod stamped;
mod stamps_back;
mod trace;

use std::collections::BTreeSet;

use crate::crdt::Sibling;
use crate::model::{Digester, Expect, Key, Kind, Policy, ReplicaIndex, State};
use crate::store::{Capabilities, Capability, Observed, Piece, PieceCursor, StoreError};

use super::finding::{Change, Detail, Fate, Finding, Verdict};
use super::look::Look;
use super::loss::{Loss, Losses};
use super::notary::Recollection;
use super::round::{Candidate, Stage};
use super::run::{Mode, Shared};
use super::stamps::Stampings;

pub(crate) use back::{PutBack, Site, Trouble, put_back};
use lead::Lead;

/// What became of a large value.
pub(crate) enum Ended {
    /// This, for good.
    Decided(Verdict),
    /// It was written, and is to be verified.
    Wrote,
    /// What is left to write overwrites or removes something: that comes later.
    Deferred,
}

/// One large value on its way.
struct Large<'a> {
    shared: &'a Shared<'a>,
    stage: Stage,
    candidate: &'a Candidate<'a>,
    observed: &'a [Option<Observed>],
    /// What is remembered of it.
    recollection: Option<&'a Recollection>,
    /// Whether stamps tell of it.
    recorded: bool,
}

/// What the steps of one large value share.
struct Work<'a> {
    finding: &'a mut Finding,
    digester: &'a mut Digester,
    losses: Losses,
    /// The participant whose elements the others take over.
    follow: Option<usize>,
    /// Replicas whose stream is to be rebuilt aside, by index.
    rebuilds: BTreeSet<usize>,
    /// Why a replica cannot be brought to what was merged.
    stuck: Option<String>,
    /// Which replica's server cannot hold all of it, and why.
    refused: Option<Verdict>,
}

/// Why a large value could not be brought further.
enum Stopped {
    Verdict(Verdict),
    /// A conditional write lost, or a value moved: look again.
    Again,
    /// The answer to a write was lost: look again.
    Unclear,
    /// Destructive writes are not made yet.
    Deferred,
}

/// Repairs a key of which at least one sibling is large; in a run that writes nothing, only describes it. Says as well
/// what is taken from which replica.
pub(crate) async fn repair(
    shared: &Shared<'_>,
    stage: Stage,
    candidate: &Candidate<'_>,
    observed: &[Option<Observed>],
    (recollection, stamps): (Option<&Recollection>, &Stampings),
    finding: &mut Finding,
    digester: &mut Digester,
) -> (Ended, Losses) {
    let large = Large {
        shared,
        stage,
        candidate,
        observed,
        recollection,
        recorded: stamped::is_recorded(candidate, stamps),
    };
    let mut work = Work {
        finding,
        digester,
        losses: Losses::new(),
        follow: None,
        rebuilds: BTreeSet::new(),
        stuck: None,
        refused: None,
    };
    if let Some(all) = aged::of_string(candidate, stamps) {
        let result = large.choose_latest(&all, &mut work).await;
        return (ended(shared.run.settings.mode, result), work.losses);
    }
    let looks = candidate.looks.iter().flatten();
    let kinds: BTreeSet<Kind> = looks.filter_map(Look::kind).collect();
    let joined = kinds.len() == 1 && kinds.iter().all(|kind| is_joined(*kind));
    let result = match (large.lead(&mut work).await, kinds.first()) {
        (_, Some(&kind)) if large.recorded => large.join_recorded(kind, joined, &mut work).await,
        (Err(stopped), _) => Err(stopped),
        (Ok(Some(Lead::Removed)), _) => large.remove(&mut work).await,
        (Ok(Some(Lead::United(kind))), _) => large.join(kind, &mut work).await,
        (Ok(lead), Some(&kind)) if joined => {
            work.follow = followed(lead);
            large.join(kind, &mut work).await
        }
        (Ok(lead), Some(_)) => {
            work.follow = followed(lead);
            large.choose(&mut work).await
        }
        (Ok(_), None) => Ok(()),
    };
    (ended(shared.run.settings.mode, result), work.losses)
}

fn ended(mode: Mode, result: Result<(), Stopped>) -> Ended {
    match (result, mode) {
        (Err(Stopped::Verdict(verdict)), _) => Ended::Decided(verdict),
        (Ok(()), Mode::Diff) => Ended::Decided(Verdict::Diverged),
        (Ok(()), Mode::Plan) => Ended::Decided(Verdict::Planned),
        (Ok(()), Mode::Repair) | (Err(Stopped::Again | Stopped::Unclear), _) => Ended::Wrote,
        (Err(Stopped::Deferred), _) => Ended::Deferred,
    }
}

fn followed(lead: Option<Lead>) -> Option<usize> {
    match lead {
        Some(Lead::Held(replica)) => Some(replica),
        Some(Lead::Removed | Lead::United(_)) | None => None,
    }
}

fn is_joined(kind: Kind) -> bool {
    match kind {
        Kind::Hash | Kind::Set | Kind::SortedSet | Kind::Stream => true,
        Kind::String | Kind::List | Kind::Module => false,
    }
}

impl Large<'_> {
    fn writes(&self) -> bool {
        self.shared.run.settings.mode == Mode::Repair
    }

    /// Whether what takes something from a replica is left to later.
    fn defers(&self) -> bool {
        self.writes() && self.stage == Stage::Additions
    }

    fn policy(&self) -> &Policy {
        &self.candidate.keyspace.policy
    }

    /// The replicas that hold the key, by index.
    fn holders(&self) -> Vec<usize> {
        let looks = self.candidate.looks.iter().enumerate();
        looks
            .filter(|(_, look)| look.is_some_and(|look| look.kind().is_some()))
            .map(|(index, _)| index)
            .collect()
    }

    /// The replicas that hold a value of this kind, by index.
    fn holders_of(&self, kind: Kind) -> Vec<usize> {
        let looks = self.candidate.looks.iter().enumerate();
        looks
            .filter(|(_, look)| look.is_some_and(|look| look.kind() == Some(kind)))
            .map(|(index, _)| index)
            .collect()
    }

    /// The replicas that hold a value of another kind, by index.
    fn holders_of_others(&self, kind: Kind) -> Vec<usize> {
        let mut holders = self.holders();
        holders.retain(|&at| {
            let look = self.candidate.looks[at];
            look.and_then(|look| look.kind()) != Some(kind)
        });
        holders
    }

    /// The replicas that take part and lack the key, by index.
    fn lacking(&self) -> Vec<usize> {
        let looks = self.candidate.looks.iter().enumerate();
        looks
            .filter(|(_, look)| **look == Some(Look::Absent))
            .map(|(index, _)| index)
            .collect()
    }

    fn siblings<'s>(&'s self, holders: &[usize], states: &'s [State]) -> Vec<Sibling<'s>> {
        let all = holders.iter().zip(states);
        all.map(|(&replica, state)| self.sibling(replica, Some(state)))
            .collect()
    }

    fn sibling<'s>(&'s self, replica: usize, state: Option<&'s State>) -> Sibling<'s> {
        let datacenter = &self.shared.run.participants[replica].datacenter;
        Sibling {
            fields_can_end: self.can(replica).has(Capability::FieldExpiry),
            ..Sibling::unknown(ReplicaIndex(replica), datacenter, state)
        }
    }

    /// What a replica's server can do.
    fn can(&self, replica: usize) -> Capabilities {
        self.shared.run.participants[replica].replica.capabilities()
    }

    /// The verdict on what a replica's server cannot hold.
    fn refused(&self, replica: usize, reason: String) -> Verdict {
        let name = self.shared.run.participants[replica].replica.name();
        Verdict::Refused(name.clone(), reason)
    }

    fn expect(&self, replica: usize) -> Result<Expect, Stopped> {
        self.candidate.looks[replica]
            .and_then(|look| look.expect())
            .ok_or(Stopped::Again)
    }

    async fn piece(
        &self,
        replica: usize,
        kind: Kind,
        cursor: PieceCursor,
    ) -> Result<(Piece, Option<PieceCursor>), Stopped> {
        let source = &self.shared.run.participants[replica].replica;
        let db = self.candidate.keyspace.db;
        let read = source.read_piece(db, &self.candidate.key, kind, cursor);
        match read.await {
            Err(StoreError::Changed { .. }) => Err(Stopped::Again),
            read => self.reached(replica, read),
        }
    }

    async fn drop_aside(&self, replica: usize, aside: &Key) {
        let target = &self.shared.run.participants[replica].replica;
        if let Err(error) = target.drop_aside(self.candidate.keyspace.db, aside).await {
            tracing::warn!("{error}; `reknit clean` removes what was built aside");
        }
    }

    fn reached<T>(&self, replica: usize, result: Result<T, StoreError>) -> Result<T, Stopped> {
        result.map_err(|error| {
            self.shared.lose(replica, &error);
            Stopped::Verdict(Verdict::Unfinished(error.to_string()))
        })
    }

    fn check_stop(&self) -> Result<(), Stopped> {
        if self.shared.run.stop.is_cancelled() {
            return Err(Stopped::Verdict(Verdict::Unfinished("interrupted".into())));
        }
        Ok(())
    }

    /// Notes a change to a replica, and what came of it.
    fn note(&self, work: &mut Work<'_>, replica: usize, ops: &[String], fate: Fate) {
        let name = self.shared.run.participants[replica].replica.name();
        let changes = &mut work.finding.changes;
        let alike = |change: &&mut Change| change.replica == *name && change.fate == fate;
        match changes.iter_mut().find(alike) {
            Some(change) => {
                let room = Detail::SHOWN.saturating_sub(change.ops.len());
                change.ops.extend(ops.iter().take(room).cloned());
            }
            None => changes.push(Change {
                replica: name.clone(),
                ops: ops.iter().take(Detail::SHOWN).cloned().collect(),
                fate,
            }),
        }
    }
}

impl Work<'_> {
    /// Notes what a write takes from a replica.
    fn lose(&mut self, replica: usize, loss: Loss) {
        let known = self.losses.entry(replica).or_insert(loss);
        *known = (*known).max(loss);
    }
}

/// What became of a write that ended so.
fn fate(written: &Result<(), Stopped>) -> Fate {
    match written {
        Ok(()) => Fate::Applied,
        Err(Stopped::Again) => Fate::Superseded,
        Err(Stopped::Unclear) => Fate::Unknown,
        Err(Stopped::Verdict(Verdict::Refused(..))) => Fate::Refused,
        Err(Stopped::Verdict(_) | Stopped::Deferred) => Fate::Planned,
    }
}
