//! Values that do not stand in memory whole: compared element by element, merged a few elements at a time, copied
//! piece by piece.
//!
//! A large collection is a keyspace in small: its elements are entries of a tree, and the diff says which to look at.
//! What a replica lacks altogether is copied aside and takes the key's place in one transaction, so no half of a
//! value is ever seen under its key.

mod copy;
mod register;

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::crdt::{MergeInput, Outcome, Sibling, Target, merge};
use crate::merkle::{Diff, Entries, EntryDigester, SealedEntries, Side, Tree};
use crate::model::{
    Digester, EntryRef, Expect, ExpiryRule, Key, Kind, Op, Policy, PositionRange, ReplicaIndex,
    State, Write,
};
use crate::store::{EntrySink, Observed, Piece, PieceCursor, StoreError, WriteOutcome};

use super::details::details;
use super::finding::{Change, Detail, Finding, Verdict};
use super::look::Look;
use super::ops::ops_within;
use super::resolve::describe_op;
use super::round::{Candidate, lose_or_report};
use super::run::{Mode, Shared};

/// Elements that are merged and written at a time.
const ELEMENTS_AT_A_TIME: usize = 512;

/// What became of a large value.
pub(crate) enum Ended {
    /// This, for good.
    Decided(Verdict),
    /// It was written, and is to be verified.
    Wrote,
}

/// One large value on its way.
struct Large<'a> {
    shared: &'a Shared<'a>,
    candidate: &'a Candidate<'a>,
    observed: &'a [Option<Observed>],
}

/// Why a large value could not be brought further.
enum Stopped {
    Verdict(Verdict),
    /// A conditional write lost, or a value moved: look again.
    Again,
}

/// Repairs a key of which at least one sibling is large; in a run that writes nothing, only describes it.
pub(crate) async fn repair(
    shared: &Shared<'_>,
    candidate: &Candidate<'_>,
    observed: &[Option<Observed>],
    finding: &mut Finding,
    digester: &mut Digester,
) -> Ended {
    let large = Large {
        shared,
        candidate,
        observed,
    };
    let kinds: BTreeSet<Kind> = candidate
        .looks
        .iter()
        .flatten()
        .filter_map(Look::kind)
        .collect();
    let joined = kinds.len() == 1 && kinds.iter().all(|kind| is_joined(*kind));
    let result = match kinds.first() {
        Some(&kind) if joined => large.join(kind, finding, digester).await,
        Some(_) => large.choose(finding, digester).await,
        None => Ok(()),
    };
    match result {
        Err(Stopped::Verdict(verdict)) => Ended::Decided(verdict),
        Ok(()) if shared.run.settings.mode == Mode::Diff => Ended::Decided(Verdict::Diverged),
        Ok(()) if shared.run.settings.mode == Mode::Plan => Ended::Decided(Verdict::Planned),
        Ok(()) | Err(Stopped::Again) => Ended::Wrote,
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

    /// The replicas that take part and lack the key, by index.
    fn lacking(&self) -> Vec<usize> {
        let looks = self.candidate.looks.iter().enumerate();
        looks
            .filter(|(_, look)| **look == Some(Look::Absent))
            .map(|(index, _)| index)
            .collect()
    }

    /// Joins collections of one kind, element by element; then copies to those who lack the key.
    async fn join(
        &self,
        kind: Kind,
        finding: &mut Finding,
        digester: &mut Digester,
    ) -> Result<(), Stopped> {
        let holders = self.holders();
        finding.rule = Some(self.policy().rules.name_for(kind));
        let names = self.differing_elements(kind, &holders).await?;
        let mut first = true;
        for chunk in names.chunks(ELEMENTS_AT_A_TIME) {
            self.join_elements(kind, &holders, chunk, finding, digester)
                .await?;
            first = false;
            if self.shared.run.settings.mode != Mode::Repair
                && finding.details.len() >= Detail::SHOWN
            {
                break;
            }
            self.check_stop()?;
        }
        if first {
            self.join_elements(kind, &holders, &[], finding, digester)
                .await?;
        }
        for replica in self.lacking() {
            note_change(self, finding, replica, "put a copy of the large value");
            if self.writes() {
                self.copy(holders[0], replica, kind, None, digester).await?;
            }
        }
        Ok(())
    }

    /// The names of the elements on which the holders differ, in the order of their positions.
    async fn differing_elements(
        &self,
        kind: Kind,
        holders: &[usize],
    ) -> Result<Vec<Bytes>, Stopped> {
        if holders.len() < 2 {
            return Ok(Vec::new());
        }
        let mut sides: Vec<(SealedEntries, Tree)> = Vec::with_capacity(holders.len());
        for &replica in holders {
            let mut listing = Listing::default();
            let db = self.candidate.keyspace.db;
            let source = &self.shared.run.participants[replica].replica;
            let listed = source.elements(
                db,
                &self.candidate.key,
                kind,
                &self.shared.run.digest_key,
                &mut listing,
            );
            if self.reached(replica, listed.await)?.is_none() {
                return Err(Stopped::Again);
            }
            let number = sides.len() as u32;
            let digester = EntryDigester::new(
                self.shared.run.digest_key.clone(),
                ExpiryRule::Ignore,
                number,
            );
            let sealed = listing.entries.seal();
            let tree = Tree::build(&sealed, &digester);
            sides.push((sealed, tree));
            self.check_stop()?;
        }
        let sides: Vec<Side<'_>> = sides
            .iter()
            .map(|(entries, tree)| Side { tree, entries })
            .collect();
        let diff = Diff::new(&sides, PositionRange::all());
        Ok(diff
            .map(|difference| Bytes::copy_from_slice(difference.key))
            .collect())
    }

    /// Merges some elements, which may be none: then only the expiry.
    async fn join_elements(
        &self,
        kind: Kind,
        holders: &[usize],
        names: &[Bytes],
        finding: &mut Finding,
        digester: &mut Digester,
    ) -> Result<(), Stopped> {
        let mut states = Vec::with_capacity(holders.len());
        for &replica in holders {
            let source = &self.shared.run.participants[replica].replica;
            let fetched = source
                .fetch_elements(self.candidate.keyspace.db, &self.candidate.key, kind, names)
                .await;
            states.push(self.reached(replica, fetched)?.ok_or(Stopped::Again)?);
        }
        self.show(holders, &states, finding);
        if self.shared.run.settings.mode == Mode::Diff {
            return Ok(());
        }
        let target = self.merge_elements(holders, &states, names, finding, digester)?;
        for (&replica, state) in holders.iter().zip(&states) {
            let Some(wanted) = target.at(Some(state)) else {
                continue;
            };
            let ops = ops_within(state, &wanted)
                .map_err(|reason| Stopped::Verdict(Verdict::Unresolved(reason.to_string())))?;
            if ops.is_empty() {
                continue;
            }
            ops.iter()
                .for_each(|op| note_change(self, finding, replica, &describe_op(op)));
            if self.writes() {
                let digest = digester.value(&state.value);
                let expect = Expect::Elements {
                    kind,
                    names: names.to_vec(),
                    digest,
                    expiry: state.expiry,
                };
                self.write(replica, expect, ops).await?;
            }
        }
        match target.untouched.values().next() {
            Some(reason) => Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string()))),
            None => Ok(()),
        }
    }

    fn merge_elements(
        &self,
        holders: &[usize],
        states: &[State],
        names: &[Bytes],
        finding: &mut Finding,
        digester: &mut Digester,
    ) -> Result<Target, Stopped> {
        let shown: BTreeSet<Bytes> = names.iter().cloned().collect();
        let siblings = self.siblings(holders, states);
        let input = MergeInput {
            siblings: &siblings,
            agreed: None,
            policy: self.policy(),
            now: self.shared.now(),
            shown: Some(&shown),
        };
        let merged = merge(&input, digester);
        finding.rule = Some(merged.rule);
        finding.notes = merged.notes.iter().map(ToString::to_string).collect();
        match merged.outcome {
            Outcome::Target(target) => Ok(target),
            Outcome::Unresolved(reason) => {
                Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())))
            }
        }
    }

    fn siblings<'s>(&'s self, holders: &[usize], states: &'s [State]) -> Vec<Sibling<'s>> {
        let sibling = |(&replica, state): (&usize, &'s State)| {
            let datacenter = &self.shared.run.participants[replica].datacenter;
            Sibling::unknown(ReplicaIndex(replica), datacenter, Some(state))
        };
        holders.iter().zip(states).map(sibling).collect()
    }

    fn show(&self, holders: &[usize], states: &[State], finding: &mut Finding) {
        let mut siblings: Vec<Option<&State>> = vec![None; self.observed.len()];
        for (&replica, state) in holders.iter().zip(states) {
            siblings[replica] = Some(state);
        }
        let room = Detail::SHOWN.saturating_sub(finding.details.len());
        finding
            .details
            .extend(details(&siblings).into_iter().take(room));
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
        match source
            .read_piece(
                self.candidate.keyspace.db,
                &self.candidate.key,
                kind,
                cursor,
            )
            .await
        {
            Err(StoreError::Changed { .. }) => Err(Stopped::Again),
            read => self.reached(replica, read),
        }
    }

    async fn write(&self, replica: usize, expect: Expect, ops: Vec<Op>) -> Result<(), Stopped> {
        let target = &self.shared.run.participants[replica].replica;
        let write = Write {
            key: self.candidate.key.clone(),
            expect,
            ops,
        };
        let written = target
            .write(
                self.candidate.keyspace.db,
                &[write],
                &self.shared.run.digest_key,
                None,
            )
            .await;
        match self.reached(replica, written)?.outcomes.pop() {
            Some(WriteOutcome::Applied) => Ok(()),
            Some(WriteOutcome::Refused(words)) => Err(Stopped::Verdict(Verdict::Refused(
                target.name().clone(),
                words,
            ))),
            Some(WriteOutcome::Superseded | WriteOutcome::Contended | WriteOutcome::Unknown)
            | None => Err(Stopped::Again),
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
            lose_or_report(self.shared, replica, &error);
            Stopped::Verdict(Verdict::Unfinished(error.to_string()))
        })
    }

    fn check_stop(&self) -> Result<(), Stopped> {
        if self.shared.run.stop.is_cancelled() {
            return Err(Stopped::Verdict(Verdict::Unfinished("interrupted".into())));
        }
        Ok(())
    }
}

fn note_change(large: &Large<'_>, finding: &mut Finding, replica: usize, what: &str) {
    let name = large.shared.run.participants[replica].replica.name();
    match finding
        .changes
        .iter_mut()
        .find(|change| change.replica == *name)
    {
        Some(change) if change.ops.len() < Detail::SHOWN => change.ops.push(what.to_owned()),
        Some(_) => {}
        None => finding.changes.push(Change {
            replica: name.clone(),
            ops: vec![what.to_owned()],
        }),
    }
}

/// The elements of one large collection.
#[derive(Default)]
struct Listing {
    entries: Entries,
}

impl EntrySink for Listing {
    fn entry(&mut self, entry: EntryRef<'_>) {
        self.entries.push(entry);
    }

    fn unreadable(&mut self, _key: &[u8], _reason: &str) {}
}
