//! What an undo puts back for one key, and what that teaches: from the journal, a fresh read, and what is remembered.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::{Changes, Evidence, Merged, Outcome, Reason, Target, remember};
use crate::model::{
    Agreement, Digester, Expiry, Key, Memory, Millis, ReplicaId, ReplicaName, Seen, Sequence,
    State, Version, Write,
};
use crate::repair::ledger::{Counting, Deed, Fate, Party, Past, Presence, Undo};
use crate::repair::loss::Losses;
use crate::repair::notary::{Case, Notary, Pupil, Recollection, Undoing};
use crate::repair::reading::state;
use crate::repair::round::Candidate;
use crate::repair::run::Shared;
use crate::repair::stamps::Stampings;
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
    /// Whether that run is an undo itself.
    pub(super) is_undo: bool,
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
    stampings: &'e Stampings,
    pub(super) recollection: Recollection,
    /// The latest agreement, and what it superseded.
    agreements: Vec<Agreement>,
}

/// A key, with what is remembered of it.
pub(super) fn draft<'a, 'n, 'k, 'e>(
    asked: &'a Asked<'a, 'n>,
    candidate: Candidate<'k>,
    (observed, stampings): (&'e [Option<Observed>], &'e Stampings),
) -> Result<Draft<'a, 'n, 'k, 'e>, StateError> {
    let recollection = asked.notary.recall_for(&candidate)?;
    let state = &asked.notary.memory.state;
    let latest = recollection.past.agreement.clone().into_iter();
    let kept = state.history(asked.notary.index, &candidate.key)?;
    Ok(Draft {
        asked,
        candidate,
        observed,
        stampings,
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
            true => match self.undo(&chains, &ways, entries, digester)? {
                Ok(undo) => Some(undo),
                Err(reason) => {
                    stay(&mut ways, reason);
                    None
                }
            },
            false => None,
        };
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
            stampings: self.stampings,
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

    /// What the undo teaches, or why nothing of the key is put back.
    fn undo(
        &self,
        chains: &[Chain<'_>],
        ways: &[Way],
        entries: &[JournalEntry],
        digester: &mut Digester,
    ) -> Result<Result<Undo, &'static str>, StateError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(Err(TOO_OLD));
        };
        let mut done = BTreeMap::new();
        for (chain, way) in chains.iter().zip(ways) {
            let deeds = chain.entries.iter();
            let deeds = deeds.map(|entry| self.deed(entry, entries, digester));
            let Some(deeds) = deeds.collect::<Option<Vec<Deed>>>() else {
                return Ok(Err(TOO_OLD));
            };
            let left = self.left(chain, way);
            let seen = seen_before(chain, left.unwrap_or_default());
            done.insert(chain.id, Done { deeds, left, seen });
        }
        let is_all = done.values().all(|one| one.left == Some(0));
        let parties = self.parties(done)?;
        let went_on = match self.asked.is_undo {
            false => self.has_moved(last) || self.was_delivered(&parties, first.sequence)?,
            true => match self.undone_undo(last)? {
                Undone::Partly => true,
                Undone::Wholly if is_all => false,
                Undone::Wholly => return Ok(Err(WHOLLY)),
                Undone::TakenUp => return Ok(Err(TAKEN_UP)),
            },
        };
        Ok(Ok(Undo {
            past: self.recollection.past.clone(),
            before: before(first),
            complete: is_all && !went_on,
            first: first.evidence == "none",
            parties,
            counting: Counting::of(&self.candidate.keyspace.policy),
        }))
    }

    /// How many of the writes to a replica stay; nothing if none of them is put back.
    fn left(&self, chain: &Chain<'_>, way: &Way) -> Option<usize> {
        match way {
            Way::Back(left, goal) => {
                let write = self.standing().write(chain.replica?, goal);
                write.ok().map(|_| *left)
            }
            Way::Stay(_) => None,
        }
    }

    /// How the undo stands that is to be undone.
    pub(super) fn undone_undo(&self, last: &JournalEntry) -> Result<Undone, StateError> {
        let (notary, key) = (self.asked.notary, self.key());
        let held = notary.memory.state.held(notary.index, key)?;
        if held.is_none_or(|hold| hold.run != last.run) {
            return Ok(Undone::TakenUp);
        }
        let version = |agreement: &Option<Agreement>| agreement.as_ref().map(|one| one.version);
        let latest = version(&self.recollection.past.agreement);
        Ok(match latest == version(&last.agreement_before) {
            true => Undone::Partly,
            false => Undone::Wholly,
        })
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
            None if next_version(last) < latest.version => true,
            None => latest.memory.as_ref().map(|memory| memory.digest) != last.wrote.digest(),
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
        Some(Deed { read, wrote })
    }

    fn memory(&self, state: &State, digester: &mut Digester) -> Memory {
        let elements = self.asked.notary.memory.elements;
        remember(state, elements, |_| Version::default(), digester)
    }

    pub(super) fn parties(
        &self,
        mut done: BTreeMap<ReplicaId, Done>,
    ) -> Result<Vec<Party>, StateError> {
        let memory = self.asked.notary.memory;
        let enrolled = memory.state.replicas()?;
        let ids = memory.ids.iter().chain(&memory.others).enumerate();
        let parties = ids.map(|(index, id)| {
            let known = enrolled.iter().find(|one| one.id == *id);
            let Done { deeds, left, seen } = done.remove(id).unwrap_or_default();
            Party {
                id: *id,
                deeds,
                left,
                seen_before: seen,
                presence: self.presence(index),
                is_new: known.is_none_or(|one| self.asked.began.is_some_and(|at| one.since > at)),
            }
        });
        Ok(parties.collect())
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

    /// Whether a later run brought what was agreed to a replica that the run had not written to.
    pub(super) fn was_delivered(
        &self,
        parties: &[Party],
        first: Sequence,
    ) -> Result<bool, StateError> {
        let (notary, key) = (self.asked.notary, self.key());
        for party in parties.iter().filter(|party| party.deeds.is_empty()) {
            if self.recollection.past.lags.contains_key(&party.id) {
                continue;
            }
            if party.is_new && party.presence == Presence::Here {
                return Ok(true);
            }
            let ended = notary
                .memory
                .state
                .lag_history(notary.index, key, party.id)?;
            if ended.iter().any(|lag| lag.since >= first) {
                return Ok(true);
            }
        }
        Ok(false)
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
            left_out: BTreeSet::new(),
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
            undoing: Some(Undoing {
                undo,
                targets,
                erases: false,
            }),
        }
    }
}

/// Why a key is kept whose steps are not settled.
pub(super) const OPEN: &str =
    "what became of a write to it is not known yet: undo it when the replica can be reached";

/// Why a key is kept that is not what an undo left.
const TAKEN_UP: &str = "it was taken up or undone again after this undo: name it in a repair (--key), which resolves it";

/// Why a key is kept of which an undo can be undone only as a whole.
const WHOLLY: &str = "this undo took it back everywhere: it can be undone at all replicas only, or \
    named in a repair (--key)";

/// Why a key is kept of which too much was forgotten.
const TOO_OLD: &str = "what the run wrote is not remembered any more";

/// What of a run's writes to a replica is put back.
#[derive(Default)]
pub(super) struct Done {
    pub(super) deeds: Vec<Deed>,
    /// How many of them stay; nothing if none is put back.
    pub(super) left: Option<usize>,
    /// What the replica had seen before those that are put back.
    pub(super) seen: Seen,
}

/// How an undo of a key stands.
pub(super) enum Undone {
    /// What was agreed stayed.
    Partly,
    /// The old content is agreed again.
    Wholly,
    /// Runs resolved it since, or other undos took it back.
    TakenUp,
}

/// The version after an entry's step, if that made one.
pub(super) fn next_version(entry: &JournalEntry) -> Version {
    let before = entry.agreement_before.as_ref();
    Version(before.map_or(0, |before| before.version.0) + 1)
}

/// What was remembered before an entry's step.
pub(super) fn before(entry: &JournalEntry) -> Past {
    Past {
        agreement: entry.agreement_before.clone(),
        lags: entry.lags_before.clone(),
    }
}

/// What a replica had seen before its write of this number.
fn seen_before(chain: &Chain<'_>, number: usize) -> Seen {
    let Some(entry) = chain.entries.get(number) else {
        return Seen::default();
    };
    match (entry.lags_before.get(&chain.id), &entry.agreement_before) {
        (Some(lag), _) => lag.seen.clone(),
        (None, Some(agreement)) => Seen::all(agreement.version),
        (None, None) => Seen::default(),
    }
}

/// Nothing is put back, for a reason.
fn stay(ways: &mut [Way], reason: &str) {
    let back = ways.iter_mut().filter(|way| matches!(way, Way::Back(..)));
    back.for_each(|way| *way = Way::Stay(UndoFate::Kept(reason.into())));
}

/// What is to be remembered once all writes of a case happened, in a step that writes nothing; nothing where what is
/// agreed stays.
pub(super) fn erasure<'k>(
    notary: &Notary<'_>,
    case: &Case<'k>,
) -> Result<Option<Case<'k>>, StateError> {
    let Some(undoing) = case.undoing.as_ref().filter(|one| one.undo.complete) else {
        return Ok(None);
    };
    let recollection = notary.recall(&case.key, case.keyspace, &[])?;
    if recollection.past.agreement != undoing.undo.past.agreement {
        return Ok(None);
    }
    let pupil = |pupil: &Pupil| Pupil {
        replica: pupil.replica,
        state: None,
        fate: Fate::Left,
        left_out: BTreeSet::new(),
    };
    Ok(Some(Case {
        key: case.key.clone(),
        keyspace: case.keyspace,
        recollection,
        merged: unmerged(),
        target: nothing(),
        pupils: case.pupils.iter().map(pupil).collect(),
        evicted: Vec::new(),
        writes: Vec::new(),
        undoing: Some(Undoing {
            undo: undoing.undo.clone(),
            targets: BTreeMap::new(),
            erases: true,
        }),
    }))
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
