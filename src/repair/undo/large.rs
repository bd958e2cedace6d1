//! Undoing what a run wrote to a large key: part by part, and then what is remembered of it.
//!
//! A large key is remembered by its digest alone, so what its parts teach is taken as a whole: a replica that was taken
//! back has its former base; one of which a part stays is taken as one of which nothing is known.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Body, Memory, ReplicaId, ReplicaName, Sequence};
use crate::repair::large::{PutBack, Site, Trouble, put_back};
use crate::repair::ledger::{Counting, Deed, Past, Presence, Undo};
use crate::repair::loss::{Loss, Losses};
use crate::repair::notary::Recollection;
use crate::repair::reading::is_large as is_observed_large;
use crate::state::{JournalEntry, Post, PreImage, StateError};
use crate::store::Observed;

use super::back::{Chain, Old, Standing, chains};
use super::plan::Draft;
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
        if self.is_open()? {
            let open = chains
                .iter()
                .map(|_| Done::stays(UndoFate::Kept(super::plan::OPEN.into())));
            let told = told(&standing, &chains, open.collect(), asked.names);
            return Ok((told, Losses::new()));
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
        let moved = self.has_large_moved();
        let (mut deeds, mut unknown) = (BTreeMap::new(), BTreeSet::new());
        let mut touched = Vec::new();
        for (chain, done) in chains.iter().zip(done) {
            if done.is_touched {
                touched.push(chain.id);
            }
            let left = match done.is_back {
                true => Some(Vec::new()),
                false if done.is_touched => None,
                false => chain.entries.iter().map(|entry| deed(entry)).collect(),
            };
            match left {
                Some(left) => {
                    deeds.insert(chain.id, (left, None));
                }
                None => {
                    unknown.insert(chain.id);
                }
            }
        }
        let mut parties = self.parties(deeds, first.sequence, moved)?;
        for party in parties
            .iter_mut()
            .filter(|party| unknown.contains(&party.id))
        {
            party.presence = Presence::Forgetful;
        }
        let undo = Undo {
            past: self.recollection.past.clone(),
            before: Past {
                agreement: first.agreement_before.clone(),
                lags: first.lags_before.clone(),
            },
            moved,
            first: first.evidence == "none",
            parties,
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

    /// Whether what is agreed is by now something that none of the replicas holds.
    fn has_large_moved(&self) -> bool {
        let Some(latest) = self.recollection.past.agreement.as_ref() else {
            return true;
        };
        let agreed = latest.memory.as_ref().map(|memory| memory.digest);
        let mut looks = self.candidate.looks.iter().flatten();
        !looks.any(|look| look.digest() == agreed)
    }
}

/// A write to a whole key, by its digests; nothing for one of which only a part is known.
fn deed(entry: &JournalEntry) -> Option<Deed> {
    let whole = |kind, digest, expiry| Memory {
        kind,
        digest,
        expiry,
        body: Body::Whole,
    };
    let read = match &entry.before {
        PreImage::Absent => None,
        PreImage::Parts {
            kind,
            digest,
            expiry,
            ..
        } => Some(whole(*kind, *digest, *expiry)),
        PreImage::Whole(_)
        | PreImage::Dumped(..)
        | PreImage::Elements { .. }
        | PreImage::Part(_) => return None,
    };
    let wrote = match (&entry.wrote, &read) {
        (Post::Absent, _) => None,
        (Post::Whole { digest, expiry }, Some(read)) => Some(whole(read.kind, *digest, *expiry)),
        (Post::Whole { .. }, None) | (Post::Elements { .. }, _) => return None,
    };
    Some(Deed {
        step: entry.sequence,
        read,
        wrote,
    })
}
