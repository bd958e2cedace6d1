//! A large collection: its differing elements are merged a few at a time, as the key itself would be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::crdt::{Evidence, MergeInput, Note, Outcome, Target, merge};
use crate::model::{Expect, Kind, Op, ReplicaIndex, State, StreamId};
use crate::store::{Capability, refusal_of};

use super::super::details::details;
use super::super::finding::{Detail, Fate, Verdict};
use super::super::fit::left_out;
use super::super::loss::{Loss, loss};
use super::super::ops::{Unreachable, ops_within};
use super::super::resolve::describe_op;
use super::super::run::Mode;
use super::elements::{name_bytes, too_many};
use super::stamped::Shown;
use super::trace::Trace;
use super::{Large, Stopped, Work, fate};

/// Elements that are merged and written at a time.
pub(super) const ELEMENTS_AT_A_TIME: usize = 512;

impl Large<'_> {
    /// Joins collections of one kind, element by element; then rebuilds streams that lack older entries, and copies to
    /// those who lack the key or hold another kind. Elements that take nothing from a replica are written as they come;
    /// the others, and all behind them, may have to wait.
    pub(super) async fn join(&self, kind: Kind, work: &mut Work<'_>) -> Result<(), Stopped> {
        let (mut holders, others) = (self.holders_of(kind), self.holders_of_others(kind));
        if holders.is_empty() {
            return Err(Stopped::Again);
        }
        work.finding.rule = Some(self.policy().rules.name_for(kind));
        work.finding.evidence = Some(Evidence::None);
        let mut lacking = self.lacking();
        // Where every element has its stamps, who lacks the key lacks each of them.
        if self.recorded {
            holders.append(&mut lacking);
        }
        let _one_at_a_time = self.shared.elements.lock().await;
        let names = match kind {
            Kind::Stream => self.join_in_order(kind, &holders, work).await?,
            _ => self.join_in_parts(kind, &holders, work).await?,
        };
        self.replace(kind, &others, work);
        if self.defers() && !work.losses.is_empty() {
            return Err(Stopped::Deferred);
        }
        for replica in std::mem::take(&mut work.rebuilds) {
            self.rebuild(replica, &holders, &names, work).await?;
        }
        for replica in lacking.into_iter().chain(others) {
            let source = work.follow.unwrap_or(holders[0]);
            self.copy_whole(kind, source, replica, work).await?;
        }
        if let Some(verdict) = work.refused.take() {
            return Err(Stopped::Verdict(verdict));
        }
        match work.stuck.take() {
            Some(reason) => Err(Stopped::Verdict(Verdict::Unresolved(reason))),
            None => Ok(()),
        }
    }

    /// Notes that the values of other kinds go.
    fn replace(&self, kept: Kind, others: &[usize], work: &mut Work<'_>) {
        if others.is_empty() {
            return;
        }
        for &replica in others {
            work.lose(replica, Loss::Overwritten);
        }
        let replaced = others.iter().map(|&at| ReplicaIndex(at)).collect();
        let note = Note::TypesDiffer { kept, replaced };
        work.finding.notes.push(note.to_string());
    }

    async fn copy_whole(
        &self,
        kind: Kind,
        from: usize,
        to: usize,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let words = ["put a copy of the large value".to_owned()];
        if !self.writes() {
            let planned = match self.foreseen(from, to, kind).await? {
                Some(refused) => Err(Stopped::Verdict(refused)),
                None => Ok(()),
            };
            self.note(work, to, &words, planned_fate(&planned));
            return planned;
        }
        let copied = self.copy(from, to, kind, None, work).await;
        self.note(work, to, &words, fate(&copied));
        copied
    }

    /// Joins the elements in the order of their positions, as far as they fit into memory at a time. Answers no names.
    async fn join_in_parts(
        &self,
        kind: Kind,
        holders: &[usize],
        work: &mut Work<'_>,
    ) -> Result<Vec<Bytes>, Stopped> {
        let mut rest = self.list(kind, holders).await?;
        let mut chunk: Vec<Bytes> = Vec::new();
        while let Some(part) = self.next_part(kind, holders, &mut rest).await? {
            let mut names = part.differing();
            loop {
                let next: Vec<Bytes> = names.by_ref().take(ELEMENTS_AT_A_TIME).collect();
                if next.is_empty() {
                    break;
                }
                let before = std::mem::replace(&mut chunk, next);
                if before.is_empty() {
                    continue;
                }
                self.join_elements(kind, holders, &before, false, work)
                    .await?;
                if self.has_shown_enough(work) {
                    return Ok(Vec::new());
                }
                self.check_stop()?;
            }
        }
        self.join_elements(kind, holders, &chunk, true, work)
            .await?;
        Ok(Vec::new())
    }

    /// Joins the entries of a stream: they can only be appended in the order of their IDs, so all names are kept, and
    /// answered.
    async fn join_in_order(
        &self,
        kind: Kind,
        holders: &[usize],
        work: &mut Work<'_>,
    ) -> Result<Vec<Bytes>, Stopped> {
        let mut room = self.room(kind);
        let mut rest = self.list(kind, holders).await?;
        let mut names: Vec<Bytes> = Vec::new();
        while let Some(part) = self.next_part(kind, holders, &mut rest).await? {
            for name in part.differing() {
                let left = room.checked_sub(name_bytes(&name));
                room = left.ok_or_else(|| too_many("IDs of the entries that differ"))?;
                names.push(name);
            }
        }
        names.sort_by_cached_key(|name| StreamId::parse(name));
        let mut rest = &names[..];
        loop {
            let (chunk, behind) = rest.split_at(rest.len().min(ELEMENTS_AT_A_TIME));
            let is_last = behind.is_empty();
            self.join_elements(kind, holders, chunk, is_last, work)
                .await?;
            if is_last || self.has_shown_enough(work) {
                return Ok(names);
            }
            rest = behind;
            self.check_stop()?;
        }
    }

    /// Whether a run that writes nothing has found all that is shown.
    fn has_shown_enough(&self, work: &Work<'_>) -> bool {
        !self.writes() && work.finding.details.len() >= Detail::SHOWN
    }

    /// Merges some elements, which may be none: then only the expiry.
    async fn join_elements(
        &self,
        kind: Kind,
        holders: &[usize],
        names: &[Bytes],
        is_last: bool,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let states = self.fetch_any(kind, holders, names).await?;
        self.show(holders, &states, work);
        if self.shared.run.settings.mode == Mode::Diff {
            return Ok(());
        }
        if self.recorded {
            let part = Shown {
                kind,
                names,
                is_last,
            };
            return self.join_stamped(part, (holders, &states), work).await;
        }
        let states = all_there(states)?;
        let target = self.merge_elements(holders, &states, names, work)?;
        for (&replica, state) in holders.iter().zip(&states) {
            let all = holders.iter().zip(&states);
            let all = all.map(|(&at, state)| (self.can(at), Some(state)));
            let names_left = left_out(&target, all, self.can(replica));
            let own = match names_left.is_empty() {
                true => target.at(Some(state)),
                false => {
                    let reason = refusal_of(Capability::FieldExpiry);
                    work.refused.get_or_insert(self.refused(replica, reason));
                    target.leaving(&names_left).at(Some(state))
                }
            };
            let Some(wanted) = own else {
                continue;
            };
            match ops_within(state, &wanted) {
                _ if work.rebuilds.contains(&replica) => {}
                Ok(mut ops) => {
                    // Behind a raised last ID nothing could be appended.
                    ops.retain(|op| is_last || !matches!(op, Op::RaiseLastId(_)));
                    self.write_elements(replica, (state, &wanted), names, ops, work)
                        .await?;
                }
                Err(Unreachable::Aside) => {
                    let put = [Op::Put(wanted.value), Op::Expire(wanted.expiry)];
                    if let Some(loss) = loss(Some(state), &put) {
                        work.lose(replica, loss);
                    }
                    work.rebuilds.insert(replica);
                }
                Err(reason @ (Unreachable::HasGroups | Unreachable::TooLong { .. })) => {
                    work.stuck.get_or_insert(reason.to_string());
                }
            }
        }
        if let Some(reason) = target.untouched.values().next() {
            work.stuck.get_or_insert(reason.to_string());
        }
        Ok(())
    }

    /// The named elements as each holder has them.
    pub(super) async fn fetch_elements(
        &self,
        kind: Kind,
        holders: &[usize],
        names: &[Bytes],
    ) -> Result<Vec<State>, Stopped> {
        all_there(self.fetch_any(kind, holders, names).await?)
    }

    /// The same; nothing of one that lacks the key.
    async fn fetch_any(
        &self,
        kind: Kind,
        holders: &[usize],
        names: &[Bytes],
    ) -> Result<Vec<Option<State>>, Stopped> {
        let mut states = Vec::with_capacity(holders.len());
        for &replica in holders {
            let source = &self.shared.run.participants[replica].replica;
            let fetched = source
                .fetch_elements(self.candidate.keyspace.db, &self.candidate.key, kind, names)
                .await;
            states.push(self.reached(replica, fetched)?);
        }
        Ok(states)
    }

    /// Brings the shown elements of one replica to what they should be, unless that has to wait.
    async fn write_elements(
        &self,
        replica: usize,
        (state, wanted): (&State, &State),
        names: &[Bytes],
        ops: Vec<Op>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        if ops.is_empty() {
            return Ok(());
        }
        let expect = Expect::Elements {
            kind: state.value.kind(),
            names: names.to_vec(),
            digest: work.digester.value(&state.value),
            expiry: state.expiry,
        };
        self.write_as_expected(replica, (state, wanted), names, (expect, ops), work)
            .await
    }

    /// The same, on this condition.
    pub(super) async fn write_as_expected(
        &self,
        replica: usize,
        (state, wanted): (&State, &State),
        names: &[Bytes],
        (expect, ops): (Expect, Vec<Op>),
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let words: Vec<String> = ops.iter().map(describe_op).collect();
        let lost = loss(Some(state), &ops);
        if let Some(loss) = lost {
            work.lose(replica, loss);
        }
        if !self.writes() || (self.defers() && lost.is_some()) {
            self.note(work, replica, &words, Fate::Planned);
            return Ok(());
        }
        let trace = Trace::Elements {
            held: state,
            wanted,
            names,
        };
        let written = self.write(replica, expect, ops, trace).await;
        self.note(work, replica, &words, fate(&written));
        written
    }

    pub(super) fn merge_elements(
        &self,
        holders: &[usize],
        states: &[State],
        names: &[Bytes],
        work: &mut Work<'_>,
    ) -> Result<Target, Stopped> {
        if let Some(leader) = work.follow {
            return led(leader, holders, states);
        }
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
        work.finding.evidence = Some(merged.evidence);
        work.finding.notes = merged.notes.iter().map(ToString::to_string).collect();
        match merged.outcome {
            Outcome::Target(target) => Ok(target),
            Outcome::Unresolved(reason) => {
                Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())))
            }
        }
    }

    fn show(&self, holders: &[usize], states: &[Option<State>], work: &mut Work<'_>) {
        let mut siblings: Vec<Option<&State>> = vec![None; self.observed.len()];
        for (&replica, state) in holders.iter().zip(states) {
            siblings[replica] = state.as_ref();
        }
        let shown = &mut work.finding.details;
        let room = Detail::SHOWN.saturating_sub(shown.len());
        shown.extend(details(&siblings).into_iter().take(room));
    }
}

/// What becomes of a write in a run that only plans.
pub(super) fn planned_fate(planned: &Result<(), Stopped>) -> Fate {
    match planned {
        Ok(()) => Fate::Planned,
        Err(_) => fate(planned),
    }
}

fn all_there(states: Vec<Option<State>>) -> Result<Vec<State>, Stopped> {
    let all: Option<Vec<State>> = states.into_iter().collect();
    all.ok_or(Stopped::Again)
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
