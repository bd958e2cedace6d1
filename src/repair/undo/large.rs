//! Undoing what a run wrote to a large key: part by part, and then what is remembered of it.
//!
//! A large key is remembered by its digest alone, so what its parts teach is taken as a whole: once all replicas are taken
//! back each has its former base. If one cannot be reached, is not asked for, or the agreement moved on, none is taken
//! back: nothing that is remembered could tell what one of them alone lacks. Where parts turn out to have been written
//! since, the replicas that were touched are taken as ones of which nothing is known.

use std::collections::BTreeMap;

use crate::model::{ReplicaId, ReplicaName, Sequence};
use crate::repair::large::{PutBack, Site, Trouble, put_back};
use crate::repair::ledger::{Counting, Party, Undo};
use crate::repair::loss::{Loss, Losses};
use crate::repair::notary::Recollection;
use crate::repair::reading::is_large as is_observed_large;
use crate::state::{JournalEntry, StateError};
use crate::store::Observed;

use super::back::{Chain, Old, Standing, chains};
use super::plan::{Draft, OPEN, Undone, before, next_version};
use super::{UndoFate, UndoFinding, named};

/// Reads the entry of a part.
pub(super) type Parts<'p> =
    &'p (dyn Fn(&JournalEntry, Sequence) -> Result<Option<JournalEntry>, StateError> + Sync);

/// Whether a key has to be undone part by part.
pub(super) fn is_large(observed: &[Option<Observed>], entries: &[JournalEntry]) -> bool {
    let in_parts = |entry: &JournalEntry| Old::of(&entry.before).is_none();
    is_observed_large(observed) || entries.iter().any(in_parts)
}

/// What became of one replica's writes.
pub(super) struct Done {
    fate: UndoFate,
    ops: Vec<String>,
    /// All that the run wrote there was put back.
    is_back: bool,
    /// Something was.
    is_touched: bool,
    /// What that takes.
    loss: Option<Loss>,
}

impl Done {
    fn stays(fate: UndoFate) -> Self {
        Self {
            fate,
            ops: Vec::new(),
            is_back: false,
            is_touched: false,
            loss: None,
        }
    }

    fn new(back: PutBack, writes: bool) -> Self {
        let all = back.undone + back.changed;
        let fate = match (&back.stopped, back.undone, back.changed) {
            (Some(Trouble::Missed(reason)), ..) => UndoFate::Missed(reason.clone()),
            (Some(Trouble::Kept(reason)), ..) => UndoFate::Kept(reason.clone()),
            (None, 0, _) => UndoFate::Changed,
            (None, _, 0) if writes => UndoFate::Undone,
            (None, _, 0) => UndoFate::Planned,
            (None, _, changed) => UndoFate::Kept(format!(
                "{changed} of {all} parts of it were written since and stay, the others were put back"
            )),
        };
        Self {
            is_back: back.stopped.is_none() && back.changed == 0,
            is_touched: writes && back.undone > 0,
            loss: back.loss,
            ops: back.ops,
            fate,
        }
    }
}

/// Puts back what can be, replica by replica.
pub(super) async fn put_all_back(
    standing: &Standing<'_, '_>,
    chains: &[Chain<'_>],
    recollection: Option<&Recollection>,
    (parts, writes): (Parts<'_>, bool),
) -> Vec<Done> {
    let mut all = Vec::with_capacity(chains.len());
    for chain in chains {
        all.push(match standing.reached(chain) {
            Err(fate) => Done::stays(fate),
            Ok(replica) => {
                let site = Site {
                    shared: standing.shared,
                    candidate: standing.candidate,
                    observed: standing.observed,
                    recollection,
                    replica,
                    writes,
                };
                Done::new(put_back(&site, &chain.entries, parts).await, writes)
            }
        });
    }
    all
}

/// What this takes from each replica.
pub(super) fn losses(chains: &[Chain<'_>], done: &[Done]) -> Losses {
    let of_one = |(chain, done): (&Chain<'_>, &Done)| Some((chain.replica?, done.loss?));
    chains.iter().zip(done).filter_map(of_one).collect()
}

/// What is said of each replica.
pub(super) fn told(
    standing: &Standing<'_, '_>,
    chains: &[Chain<'_>],
    done: Vec<Done>,
    names: &BTreeMap<ReplicaId, ReplicaName>,
) -> Vec<UndoFinding> {
    let told = |(chain, done): (&Chain<'_>, Done)| UndoFinding {
        db: standing.db,
        key: standing.candidate.key.clone(),
        replica: named(names, chain.id),
        ops: done.ops.into_iter().take(SHOWN).collect(),
        fate: done.fate,
    };
    chains.iter().zip(done).map(told).collect()
}

/// So many operations of a key are told.
const SHOWN: usize = 20;

impl Draft<'_, '_, '_, '_> {
    /// Undoes a large key, with memory.
    pub(super) async fn undo_large(
        self,
        entries: &[JournalEntry],
        (parts, writes): (Parts<'_>, bool),
    ) -> Result<(Vec<UndoFinding>, Losses), StateError> {
        let asked = self.asked;
        let chains = chains(entries, &asked.notary.memory.ids);
        let standing = self.standing();
        if let Some(reason) = self.keeps_large(&chains, entries)? {
            let stays = |chain: &Chain<'_>| {
                let kept = || UndoFate::Kept(reason.into());
                Done::stays(standing.reached(chain).map_or_else(|fate| fate, |_| kept()))
            };
            let stay = chains.iter().map(stays).collect();
            return Ok((told(&standing, &chains, stay, asked.names), Losses::new()));
        }
        let key = &self.candidate.key;
        let was_held = asked.notary.memory.state.held(asked.notary.index, key)?;
        if writes {
            // Before the first write: a run must not do again what was undone.
            asked.notary.hold(asked.shared, &self.candidate)?;
        }
        let recollection = Some(&self.recollection);
        let done = put_all_back(&standing, &chains, recollection, (parts, writes)).await;
        if writes && done.iter().any(|one| one.is_touched) {
            self.learn_large(entries, &chains, &done).await?;
        } else if writes && was_held.is_none() {
            asked.notary.let_go(asked.shared, key)?;
        }
        let losses = losses(&chains, &done);
        Ok((told(&standing, &chains, done, asked.names), losses))
    }

    /// Takes what is remembered along.
    async fn learn_large(
        &self,
        entries: &[JournalEntry],
        chains: &[Chain<'_>],
        done: &[Done],
    ) -> Result<(), StateError> {
        let notary = self.asked.notary;
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let of_chains = chains.iter().zip(done);
        let touched = of_chains.filter(|(_, one)| one.is_touched);
        let touched: Vec<ReplicaId> = touched.map(|(chain, _)| chain.id).collect();
        let undo = Undo {
            past: self.recollection.past.clone(),
            before: before(first),
            complete: done.iter().all(|one| one.is_back),
            first: first.evidence == "none",
            parties: self.parties(BTreeMap::new())?,
            counting: Counting::of(&self.candidate.keyspace.policy),
        };
        let shared = self.asked.shared;
        let looks = &self.candidate.looks;
        let took_part = (0..looks.len()).filter(|at| looks[*at].is_some()).collect();
        let key = &self.candidate.key;
        notary
            .learn_undone(shared, key, (&took_part, &touched), &undo)
            .await
    }

    /// Why nothing of a large key is put back, if so.
    fn keeps_large(
        &self,
        chains: &[Chain<'_>],
        entries: &[JournalEntry],
    ) -> Result<Option<&'static str>, StateError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(None);
        };
        if self.is_open()? {
            return Ok(Some(OPEN));
        }
        let standing = self.standing();
        if !chains.iter().all(|chain| standing.reached(chain).is_ok()) {
            return Ok(Some(NOT_ALONE));
        }
        let went_on = match self.asked.is_undo {
            true => matches!(self.undone_undo(last)?, Undone::Partly | Undone::TakenUp),
            false => {
                let parties = self.parties(BTreeMap::new())?.into_iter();
                let written = |party: &Party| chains.iter().any(|one| one.id == party.id);
                let others: Vec<Party> = parties.filter(|party| !written(party)).collect();
                self.has_large_moved(last) || self.was_delivered(&others, first.sequence)?
            }
        };
        Ok(went_on.then_some(WENT_ON))
    }

    /// Whether what is agreed has moved on, or is by now something that none of the replicas holds.
    fn has_large_moved(&self, last: &JournalEntry) -> bool {
        let Some(latest) = self.recollection.past.agreement.as_ref() else {
            return true;
        };
        let agreed = latest.memory.as_ref().map(|memory| memory.digest);
        let mut looks = self.candidate.looks.iter().flatten();
        latest.version > next_version(last) || !looks.any(|look| look.digest() == agreed)
    }
}

/// Why a large key is kept where not everybody is reached.
const NOT_ALONE: &str =
    "a large value is taken back at all replicas that the run wrote, or at none";

/// Why a large key is kept that later runs brought somewhere.
const WENT_ON: &str = "later runs went on from it, and of a large value too little is remembered to take back one of them";
