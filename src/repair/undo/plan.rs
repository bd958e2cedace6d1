//! What an undo puts back for one key, and what that teaches: from the journal, a fresh read, and what is remembered.

use std::collections::BTreeMap;

use crate::crdt::{Changes, Evidence, Merged, Outcome, Reason, Target, remember};
use crate::model::{
    Agreement, Digester, Expiry, Key, Lag, LagBase, Memory, Millis, ReplicaId, ReplicaName,
    Sequence, State, Version, Write,
};
use crate::repair::ledger::{Counting, Deed, Fate, Party, Past, Presence, Undo};
use crate::repair::loss::Losses;
use crate::repair::notary::{Case, Notary, Pupil, Recollection, Undoing};
use crate::repair::reading::state;
use crate::repair::round::Candidate;
use crate::repair::run::Shared;
use crate::state::{JournalEntry, Post, PreImage, StateError};
use crate::store::Observed;

use super::back::{Chain, Old, Standing, Steps, Way, chains};
use super::{UndoFate, UndoFinding};

/// What an undo is told.
pub(super) struct Asked<'a, 'n> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) notary: &'a Notary<'n>,
    pub(super) names: &'a BTreeMap<ReplicaId, ReplicaName>,
    /// Only at this replica.
    pub(super) only: Option<ReplicaId>,
    /// When the run that is undone began.
    pub(super) began: Option<Millis>,
}

/// What is to be done for a key.
pub(super) struct Planned<'a> {
    /// Nothing where nothing can be put back.
    pub(super) case: Option<Box<Case<'a>>>,
    /// One per replica that the run wrote.
    pub(super) findings: Vec<UndoFinding>,
    /// What that takes from what the replicas hold.
    pub(super) losses: Losses,
}

/// One key under way.
pub(super) struct Draft<'a, 'n, 'k, 'e> {
    pub(super) asked: &'a Asked<'a, 'n>,
    pub(super) candidate: Candidate<'k>,
    pub(super) observed: &'e [Option<Observed>],
    pub(super) recollection: Recollection,
    /// The latest agreement, and what it superseded.
    agreements: Vec<Agreement>,
}

/// A key, with what is remembered of it.
pub(super) fn draft<'a, 'n, 'k, 'e>(
    asked: &'a Asked<'a, 'n>,
    candidate: Candidate<'k>,
    observed: &'e [Option<Observed>],
) -> Result<Draft<'a, 'n, 'k, 'e>, StateError> {
    let recollection = asked.notary.recall_for(&candidate)?;
    let state = &asked.notary.memory.state;
    let latest = recollection.past.agreement.clone().into_iter();
    let kept = state.history(asked.notary.index, &candidate.key)?;
    Ok(Draft {
        asked,
        candidate,
        observed,
        recollection,
        agreements: latest.chain(kept).collect(),
    })
}

impl<'k> Draft<'_, '_, 'k, '_> {
    fn key(&self) -> &Key {
        &self.candidate.key
    }

    /// Works out what is to be put back. The entries are in the order of their steps.
    pub(super) fn plan(
        self,
        entries: &[JournalEntry],
        digester: &mut Digester,
    ) -> Result<Planned<'k>, StateError> {
        let asked = self.asked;
        let chains = chains(entries, &asked.notary.memory.ids);
        let standing = self.standing();
        let is_open = self.is_open()?;
        let mut ways: Vec<Way> = chains
            .iter()
            .map(|chain| match is_open {
                true => Way::Stay(UndoFate::Kept(OPEN.into())),
                false => standing.way(chain, digester),
            })
            .collect();
        let undo = match ways.iter().any(|way| matches!(way, Way::Back(..))) {
            true => self.undo(&chains, &ways, entries, digester)?,
            false => None,
        };
        if undo.is_none() {
            for way in &mut ways {
                if matches!(way, Way::Back(..)) {
                    *way = Way::Stay(UndoFate::Kept(TOO_OLD.into()));
                }
            }
        }
        let Steps {
            findings,
            writes,
            targets,
            losses,
        } = standing.steps(&chains, ways, asked.names);
        let case = undo
            .filter(|_| !writes.is_empty())
            .map(|undo| Box::new(self.case(undo, targets, writes)));
        Ok(Planned {
            case,
            findings,
            losses,
        })
    }

    /// The key as it stands.
    pub(super) fn standing(&self) -> Standing<'_, 'k> {
        Standing {
            shared: self.asked.shared,
            db: self.asked.notary.index,
            candidate: &self.candidate,
            observed: self.observed,
            only: self.asked.only,
        }
    }

    /// Whether what became of a write to the key is still unknown.
    pub(super) fn is_open(&self) -> Result<bool, StateError> {
        let (notary, key) = (self.asked.notary, self.key());
        let intents = notary.memory.state.intents()?;
        let mut here = intents
            .iter()
            .filter(|intent| intent.db == notary.index)
            .flat_map(|intent| &intent.keys);
        Ok(here.any(|one| one.key == *key))
    }

    /// What the undo teaches; nothing where what was written is not known any more.
    fn undo(
        &self,
        chains: &[Chain<'_>],
        ways: &[Way],
        entries: &[JournalEntry],
        digester: &mut Digester,
    ) -> Result<Option<Undo>, StateError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(None);
        };
        let mut deeds = BTreeMap::new();
        for (chain, way) in chains.iter().zip(ways) {
            let mut done = Vec::with_capacity(chain.entries.len());
            for entry in &chain.entries {
                let Some(deed) = self.deed(entry, entries, digester) else {
                    return Ok(None);
                };
                done.push(deed);
            }
            let left = match way {
                Way::Back(left, old) => chain
                    .replica
                    .and_then(|replica| self.standing().write(replica, old).ok())
                    .map(|_| *left),
                Way::Stay(_) => None,
            };
            deeds.insert(chain.id, (done, left));
        }
        let moved = self.has_moved(last);
        let parties = self.parties(deeds, first.sequence, moved)?;
        Ok(Some(Undo {
            past: self.recollection.past.clone(),
            before: Past {
                agreement: first.agreement_before.clone(),
                lags: first.lags_before.clone(),
            },
            moved,
            first: first.evidence == "none",
            parties,
            counting: Counting::of(&self.candidate.keyspace.policy),
        }))
    }

    /// Whether what is agreed has moved on since the run's last write.
    fn has_moved(&self, last: &JournalEntry) -> bool {
        let Some(latest) = self.recollection.past.agreement.as_ref() else {
            return true;
        };
        let then = self
            .agreements
            .iter()
            .find(|one| one.proved == last.sequence);
        match then {
            Some(then) => then.version != latest.version,
            // It is forgotten which version that was: the same content is as good.
            None => latest.memory.as_ref().map(|memory| memory.digest) != digest_of(&last.wrote),
        }
    }

    fn deed(
        &self,
        entry: &JournalEntry,
        entries: &[JournalEntry],
        digester: &mut Digester,
    ) -> Option<Deed> {
        let old = Old::of(&entry.before)?;
        let read = old.state().map(|state| self.memory(state, digester));
        let wrote = match &entry.wrote {
            Post::Absent => None,
            Post::Whole { digest, expiry } => {
                let agreed = self.agreements.iter().filter_map(|one| one.memory.as_ref());
                let mut agreed = agreed.filter(|memory| memory.digest == *digest);
                let held = self.observed.iter().filter_map(state);
                let read = entries.iter().filter_map(|one| match &one.before {
                    PreImage::Whole(state) | PreImage::Dumped(state, _) => Some(state),
                    PreImage::Absent
                    | PreImage::Elements { .. }
                    | PreImage::Parts { .. }
                    | PreImage::Part(_) => None,
                });
                let mut states = held.chain(read);
                let found = agreed.next().cloned().or_else(|| {
                    let same = |state: &&State| digester.value(&state.value) == *digest;
                    let state = states.find(same)?;
                    Some(self.memory(state, digester))
                })?;
                Some(Memory {
                    expiry: *expiry,
                    ..found
                })
            }
            Post::Elements { .. } => return None,
        };
        Some(Deed {
            step: entry.sequence,
            read,
            wrote,
        })
    }

    fn memory(&self, state: &State, digester: &mut Digester) -> Memory {
        let elements = self.asked.notary.memory.elements;
        remember(state, elements, |_| Version::default(), digester)
    }

    pub(super) fn parties(
        &self,
        mut deeds: BTreeMap<ReplicaId, (Vec<Deed>, Option<usize>)>,
        first: Sequence,
        moved: bool,
    ) -> Result<Vec<Party>, StateError> {
        let memory = self.asked.notary.memory;
        let enrolled = memory.state.replicas()?;
        let ids = memory.ids.iter().chain(&memory.others);
        let mut parties = Vec::new();
        for (index, id) in ids.enumerate() {
            let (deeds, left) = deeds.remove(id).unwrap_or_default();
            let known = enrolled.iter().find(|one| one.id == *id);
            let is_new = known.is_none_or(|one| self.asked.began.is_some_and(|at| one.since > at));
            let delivered = match deeds.is_empty() && !moved {
                true => self.delivered(*id, first)?,
                false => None,
            };
            parties.push(Party {
                id: *id,
                deeds,
                left,
                presence: self.presence(index),
                delivered,
                is_new,
            });
        }
        Ok(parties)
    }

    fn presence(&self, replica: usize) -> Presence {
        use crate::crdt::Standing;
        if self.standing().look(replica).is_none() {
            return Presence::Away;
        }
        match self.recollection.base(replica) {
            Some(base) if base.standing == Standing::Ordinary => Presence::Here,
            Some(_) | None => Presence::Forgetful,
        }
    }

    /// What a replica held that was brought to the run's version only by a later run.
    fn delivered(
        &self,
        id: ReplicaId,
        first: Sequence,
    ) -> Result<Option<Option<Memory>>, StateError> {
        let notary = self.asked.notary;
        if self.recollection.past.lags.contains_key(&id) {
            return Ok(None);
        }
        let lags = notary
            .memory
            .state
            .lag_history(notary.index, self.key(), id)?;
        let held = |lag: Lag| match lag.base {
            LagBase::Held(memory) if lag.since >= first => Some(memory),
            LagBase::Held(_) | LagBase::Agreed | LagBase::Unknown => None,
        };
        Ok(lags.into_iter().find_map(held))
    }

    fn case(
        self,
        undo: Undo,
        targets: BTreeMap<usize, Option<State>>,
        writes: Vec<(usize, Write)>,
    ) -> Case<'k> {
        let is_there = |replica: &usize| self.standing().look(*replica).is_some();
        let took_part = (0..self.candidate.looks.len()).filter(is_there);
        let pupil = |replica: usize| Pupil {
            replica,
            state: state(&self.observed[replica]).cloned(),
            fate: match writes.iter().any(|(one, _)| *one == replica) {
                true => Fate::Written,
                false => Fate::Left,
            },
        };
        Case {
            pupils: took_part.map(pupil).collect(),
            key: self.candidate.key,
            keyspace: self.candidate.keyspace,
            recollection: self.recollection,
            merged: unmerged(),
            target: nothing(),
            evicted: Vec::new(),
            writes,
            undoing: Some(Undoing { undo, targets }),
        }
    }
}

/// Why a key is kept whose steps are not settled.
pub(super) const OPEN: &str =
    "what became of a write to it is not known yet: undo it when the replica can be reached";

/// Why a key is kept of which too much was forgotten.
const TOO_OLD: &str = "what the run wrote is not remembered any more";

fn digest_of(post: &Post) -> Option<crate::model::ValueDigest> {
    match post {
        Post::Whole { digest, .. } => Some(*digest),
        Post::Absent | Post::Elements { .. } => None,
    }
}

/// An undo is no merge: what is remembered comes from elsewhere.
fn unmerged() -> Merged {
    Merged {
        outcome: Outcome::Unresolved(Reason::Skipped),
        kind: None,
        rule: "undo",
        evidence: Evidence::Agreed,
        decided: None,
        winner: None,
        changes: Changes::default(),
        notes: Vec::new(),
        stamps: None,
    }
}

fn nothing() -> Target {
    Target {
        value: None,
        expiry: Expiry::Never,
        keeps_own_expiry: false,
        untouched: BTreeMap::new(),
        partial: false,
    }
}
