//! A large collection: its differing elements are merged a few at a time, as the key itself would be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::crdt::{MergeInput, Outcome, Target, merge};
use crate::merkle::{Diff, Entries, EntryDigester, SealedEntries, Side, Tree};
use crate::model::{EntryRef, Expect, ExpiryRule, Kind, Op, PositionRange, State};
use crate::store::EntrySink;

use super::super::details::details;
use super::super::finding::{Detail, Fate, Verdict};
use super::super::loss::loss;
use super::super::ops::ops_within;
use super::super::resolve::describe_op;
use super::super::run::Mode;
use super::{Large, Stopped, Work, fate};

/// Elements that are merged and written at a time.
const ELEMENTS_AT_A_TIME: usize = 512;

impl Large<'_> {
    /// Joins collections of one kind, element by element; then copies to those who lack the key. Elements that take
    /// nothing from a replica are written as they come; the others, and the copies behind them, may have to wait.
    pub(super) async fn join(&self, kind: Kind, work: &mut Work<'_>) -> Result<(), Stopped> {
        let holders = self.holders();
        work.finding.rule = Some(self.policy().rules.name_for(kind));
        let names = self.differing_elements(kind, &holders).await?;
        // Without differing elements, the expiry is still to be merged.
        let none: [&[Bytes]; 1] = [&[]];
        let chunks = names.chunks(ELEMENTS_AT_A_TIME);
        let last_resort = none.into_iter().filter(|_| names.is_empty());
        for chunk in chunks.chain(last_resort) {
            self.join_elements(kind, &holders, chunk, work).await?;
            if !self.writes() && work.finding.details.len() >= Detail::SHOWN {
                break;
            }
            self.check_stop()?;
        }
        if self.defers() && !work.losses.is_empty() {
            return Err(Stopped::Deferred);
        }
        for replica in self.lacking() {
            let copied = match self.writes() {
                true => {
                    let source = work.follow.unwrap_or(holders[0]);
                    self.copy(source, replica, kind, None, work).await
                }
                false => Err(Stopped::Deferred),
            };
            self.note(
                work,
                replica,
                &["put a copy of the large value".into()],
                fate(&copied),
            );
            if self.writes() {
                copied?;
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
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let mut states = Vec::with_capacity(holders.len());
        for &replica in holders {
            let source = &self.shared.run.participants[replica].replica;
            let fetched = source
                .fetch_elements(self.candidate.keyspace.db, &self.candidate.key, kind, names)
                .await;
            states.push(self.reached(replica, fetched)?.ok_or(Stopped::Again)?);
        }
        self.show(holders, &states, work);
        if self.shared.run.settings.mode == Mode::Diff {
            return Ok(());
        }
        let target = match work.follow {
            Some(leader) => led(leader, holders, &states)?,
            None => self.merge_elements(holders, &states, names, work)?,
        };
        for (&replica, state) in holders.iter().zip(&states) {
            if let Some(wanted) = target.at(Some(state)) {
                let ops = ops_within(state, &wanted)
                    .map_err(|reason| Stopped::Verdict(Verdict::Unresolved(reason.to_string())))?;
                self.write_elements(replica, state, names, ops, work)
                    .await?;
            }
        }
        match target.untouched.values().next() {
            Some(reason) => Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string()))),
            None => Ok(()),
        }
    }

    /// Brings the shown elements of one replica to what they should be, unless that has to wait.
    async fn write_elements(
        &self,
        replica: usize,
        state: &State,
        names: &[Bytes],
        ops: Vec<Op>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        if ops.is_empty() {
            return Ok(());
        }
        let words: Vec<String> = ops.iter().map(describe_op).collect();
        let lost = loss(Some(state), &ops);
        if let Some(loss) = lost {
            work.lose(replica, loss);
        }
        if !self.writes() || (self.defers() && lost.is_some()) {
            self.note(work, replica, &words, Fate::Planned);
            return Ok(());
        }
        let expect = Expect::Elements {
            kind: state.value.kind(),
            names: names.to_vec(),
            digest: work.digester.value(&state.value),
            expiry: state.expiry,
        };
        let written = self.write(replica, expect, ops).await;
        self.note(work, replica, &words, fate(&written));
        written
    }

    fn merge_elements(
        &self,
        holders: &[usize],
        states: &[State],
        names: &[Bytes],
        work: &mut Work<'_>,
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
        let merged = merge(&input, work.digester);
        work.finding.rule = Some(merged.rule);
        work.finding.notes = merged.notes.iter().map(ToString::to_string).collect();
        match merged.outcome {
            Outcome::Target(target) => Ok(target),
            Outcome::Unresolved(reason) => {
                Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())))
            }
        }
    }

    fn show(&self, holders: &[usize], states: &[State], work: &mut Work<'_>) {
        let mut siblings: Vec<Option<&State>> = vec![None; self.observed.len()];
        for (&replica, state) in holders.iter().zip(states) {
            siblings[replica] = Some(state);
        }
        let shown = &mut work.finding.details;
        let room = Detail::SHOWN.saturating_sub(shown.len());
        shown.extend(details(&siblings).into_iter().take(room));
    }
}

/// What the leader shows is what all should show.
fn led(leader: usize, holders: &[usize], states: &[State]) -> Result<Target, Stopped> {
    let place = holders.iter().position(|holder| *holder == leader);
    let state = &states[place.ok_or(Stopped::Again)?];
    Ok(Target {
        value: Some(state.value.clone()),
        expiry: state.expiry,
        keeps_own_expiry: false,
        untouched: BTreeMap::new(),
        partial: true,
    })
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
