//! How far back each replica can be taken for one key: from the journal and a fresh read alone.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{
    DbIndex, Digester, Expiry, ExpiryRule, Op, ReplicaId, ReplicaName, Stamps, State, Write,
};
use crate::repair::look::Look;
use crate::repair::loss::{Losses, loss};
use crate::repair::noting::holds;
use crate::repair::ops::ops_to_reach;
use crate::repair::reading::state;
use crate::repair::resolve::describe_op;
use crate::repair::restamp;
use crate::repair::round::Candidate;
use crate::repair::run::Shared;
use crate::repair::stamps::{Stampings, stamps};
use crate::state::{JournalEntry, PreImage};
use crate::store::Observed;

use super::{UndoFate, UndoFinding, named};

/// What the run wrote at one replica.
pub(super) struct Chain<'e> {
    pub(super) id: ReplicaId,
    /// Its index, if it is configured.
    pub(super) replica: Option<usize>,
    /// Oldest first.
    pub(super) entries: Vec<&'e JournalEntry>,
}

/// What stood there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Old {
    Absent,
    Whole(State),
    /// A state, as DUMP answered it.
    Dumped(State, Bytes),
}

/// What is put back at one replica.
pub(super) struct Goal {
    pub(super) old: Old,
    /// The stamps beside it; nothing where the run wrote none.
    stamps: Option<Stamps>,
}

/// What can be done at one replica.
pub(super) enum Way {
    /// Put back what stood there before the write of this number.
    Back(usize, Box<Goal>),
    /// Nothing.
    Stay(UndoFate),
}

/// One key as it stands.
pub(super) struct Standing<'a, 'k> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) db: DbIndex,
    pub(super) candidate: &'a Candidate<'k>,
    pub(super) observed: &'a [Option<Observed>],
    pub(super) stampings: &'a Stampings,
    /// Only at this replica.
    pub(super) only: Option<ReplicaId>,
}

/// What is to be written for a key, and what is said of it.
#[derive(Default)]
pub(super) struct Steps {
    /// One per replica that the run wrote.
    pub(super) findings: Vec<UndoFinding>,
    pub(super) writes: Vec<(usize, Write)>,
    /// What each of these then holds.
    pub(super) targets: BTreeMap<usize, Option<State>>,
    /// What they take from what the replicas hold.
    pub(super) losses: Losses,
}

/// What the run wrote, replica by replica. The entries are in the order of their steps.
pub(super) fn chains<'e>(entries: &'e [JournalEntry], ids: &[ReplicaId]) -> Vec<Chain<'e>> {
    let mut by_id: BTreeMap<ReplicaId, Vec<&JournalEntry>> = BTreeMap::new();
    for entry in entries {
        by_id.entry(entry.replica).or_default().push(entry);
    }
    let chain = |(id, entries)| Chain {
        id,
        replica: ids.iter().position(|one| *one == id),
        entries,
    };
    by_id.into_iter().map(chain).collect()
}

impl Old {
    /// What a pre-image says; nothing for one that cannot be put back alone.
    pub(super) fn of(before: &PreImage) -> Option<Self> {
        match before {
            PreImage::Absent => Some(Self::Absent),
            PreImage::Whole(state) => Some(Self::Whole(state.clone())),
            PreImage::Dumped(state, dump) => Some(Self::Dumped(state.clone(), dump.clone())),
            PreImage::Elements { .. } | PreImage::Parts { .. } | PreImage::Part(_) => None,
        }
    }

    pub(super) fn state(&self) -> Option<&State> {
        match self {
            Self::Absent => None,
            Self::Whole(state) | Self::Dumped(state, _) => Some(state),
        }
    }
}

impl Standing<'_, '_> {
    pub(super) fn look(&self, replica: usize) -> Option<Look> {
        let look = self.candidate.looks.get(replica).copied().flatten();
        look.filter(|look| *look != Look::Unreadable)
    }

    /// The replica, if it is asked for and can be read.
    pub(super) fn reached(&self, chain: &Chain<'_>) -> Result<usize, UndoFate> {
        if self.only.is_some_and(|only| only != chain.id) {
            return Err(UndoFate::LeftOut);
        }
        let missed = |reason: &str| UndoFate::Missed(reason.into());
        let replica = chain.replica.ok_or_else(|| missed(NOT_CONFIGURED))?;
        match (self.look(replica), self.shared.lost().remove(&replica)) {
            (Some(_), _) => Ok(replica),
            (None, Some(why)) => Err(UndoFate::Missed(why)),
            (None, None) => Err(missed("it cannot be read there")),
        }
    }

    /// How far back a replica can be taken.
    pub(super) fn way(&self, chain: &Chain<'_>, digester: &mut Digester) -> Way {
        let reached = self.reached(chain);
        let looked = reached.and_then(|replica| {
            let gone = || UndoFate::Missed("it cannot be read there".into());
            self.look(replica).ok_or_else(gone)
        });
        let mut look = match looked {
            Ok(look) => look,
            Err(fate) => return Way::Stay(fate),
        };
        let mut back = chain.entries.len();
        let mut target = None;
        let mut beside = None;
        while back > 0 {
            let entry = chain.entries[back - 1];
            let policy = &self.candidate.keyspace.policy.expiry;
            if !holds(&look, &entry.wrote, policy) {
                break;
            }
            beside = match self.beside(chain, entry, beside.as_ref()) {
                Ok(Some(stamps)) => stamps,
                Ok(None) => break,
                Err(fate) => return Way::Stay(fate),
            };
            let Some(old) = Old::of(&entry.before) else {
                return Way::Stay(UndoFate::Kept(
                    "its journal is of a form that this version cannot put back".into(),
                ));
            };
            back -= 1;
            look = look_of(old.state(), digester);
            target = Some(old);
        }
        match target {
            None if is_back(chain, look, digester) => Way::Stay(UndoFate::Kept(ALREADY.into())),
            None => Way::Stay(UndoFate::Changed),
            Some(old) => {
                let stamps = beside;
                Way::Back(back, Box::new(Goal { old, stamps }))
            }
        }
    }

    /// The stamps as they were before a write, given what later ones are taken back to; nothing in place of all where
    /// others were written since.
    fn beside(
        &self,
        chain: &Chain<'_>,
        entry: &JournalEntry,
        later: Option<&Stamps>,
    ) -> Result<Option<Option<Stamps>>, UndoFate> {
        let kept = |reason: &str| UndoFate::Kept(reason.into());
        let Some(restamping) = &entry.stamps else {
            let lacks = entry.evidence == RECORDED;
            return match lacks {
                true => Err(kept(UNSTAMPED)),
                false => Ok(Some(later.cloned())),
            };
        };
        let reading = chain
            .replica
            .and_then(|at| self.stampings.get(at)?.as_ref());
        let now = match (later, reading) {
            (Some(later), _) => later.clone(),
            (None, Some(Ok(now))) => now.clone(),
            (None, Some(Err(words))) => return Err(kept(words)),
            (None, None) => return Err(kept(UNREAD)),
        };
        let stands = restamping.stands(&now);
        Ok(stands.then(|| Some(restamping.back(&now))))
    }

    /// The write that puts something back.
    pub(super) fn write(&self, replica: usize, goal: &Goal) -> Result<Write, UndoFate> {
        let old = &goal.old;
        let kept = |reason: &str| UndoFate::Kept(reason.into());
        let now = self.shared.now();
        if old
            .state()
            .is_some_and(|state| state.expiry.has_passed(now))
        {
            return Err(kept("what stood there has expired since"));
        }
        let held = state(&self.observed[replica]);
        let policy = &self.candidate.keyspace.policy.expiry;
        let keeps_expiry = policy.rule == ExpiryRule::Ignore;
        let ops = match old {
            Old::Dumped(state, dump) => restore(dump, state.expiry),
            Old::Absent | Old::Whole(_) => ops_to_reach(held, old.state(), keeps_expiry)
                .map_err(|unreachable| kept(&unreachable.to_string()))?,
        };
        let beside = goal
            .stamps
            .as_ref()
            .zip(stamps(self.stampings[replica].as_ref()));
        let (expect, ops) = match beside {
            Some((wanted, now)) => {
                restamp::back((held, None), ops, now, wanted).ok_or_else(|| kept(ALREADY))?
            }
            None if ops.is_empty() => return Err(kept(ALREADY)),
            None => {
                let expect = self.look(replica).and_then(|look| look.expect());
                (expect.ok_or_else(|| kept("it cannot be read there"))?, ops)
            }
        };
        Ok(Write {
            key: self.candidate.key.clone(),
            expect,
            ops,
        })
    }

    /// What is to be written, and what is said of each replica.
    pub(super) fn steps(
        &self,
        chains: &[Chain<'_>],
        ways: Vec<Way>,
        names: &BTreeMap<ReplicaId, ReplicaName>,
    ) -> Steps {
        let mut steps = Steps::default();
        for (chain, way) in chains.iter().zip(ways) {
            let (ops, fate) = match (way, chain.replica) {
                (Way::Back(_, goal), Some(replica)) => match self.write(replica, &goal) {
                    Ok(write) => {
                        let ops = write.ops.iter().map(describe_op).collect();
                        let lost = loss(state(&self.observed[replica]), &write.ops);
                        steps.losses.extend(lost.map(|lost| (replica, lost)));
                        steps.writes.push((replica, write));
                        steps.targets.insert(replica, goal.old.state().cloned());
                        (ops, UndoFate::Planned)
                    }
                    Err(fate) => (Vec::new(), fate),
                },
                (Way::Back(..), None) => (Vec::new(), UndoFate::Missed(NOT_CONFIGURED.into())),
                (Way::Stay(fate), _) => (Vec::new(), fate),
            };
            steps.findings.push(UndoFinding {
                db: self.db,
                key: self.candidate.key.clone(),
                replica: named(names, chain.id),
                ops,
                fate,
            });
        }
        steps
    }
}

const NOT_CONFIGURED: &str = "it is not configured";

/// Evidence that is written with stamps.
const RECORDED: &str = "recorded";

const UNSTAMPED: &str = "its journal has no stamps, an older version wrote it: put back alone, the key would be decided \
                         by stamps of what it no longer holds";

const UNREAD: &str = "the stamps beside it cannot be read there: all replicas need `layout: dynomite`, as in the run";

const ALREADY: &str = "it holds already what stood there before";

/// Whether a replica holds what it held before the run.
fn is_back(chain: &Chain<'_>, look: Look, digester: &mut Digester) -> bool {
    let first = chain.entries.first();
    let old = first.and_then(|entry| Old::of(&entry.before));
    old.is_some_and(|old| look == look_of(old.state(), digester))
}

fn restore(dump: &Bytes, expiry: Expiry) -> Vec<Op> {
    let restored = [Op::Restore(dump.clone())].into_iter();
    let ending = (expiry != Expiry::Never).then_some(Op::Expire(expiry));
    restored.chain(ending).collect()
}

fn look_of(state: Option<&State>, digester: &mut Digester) -> Look {
    let observed = state.map_or(Observed::Absent, |state| Observed::Whole(state.clone()));
    Look::observed(&observed, digester)
}
