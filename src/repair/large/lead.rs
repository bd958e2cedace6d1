//! A large key with memory: it is remembered by its digest alone, so one changed side that had seen the agreed version
//! leads, and the others follow it. Only where several changed are they joined, as without memory.

use crate::crdt::{Base, MergeInput, Note, Outcome, Sibling, merge};
use crate::model::{Body, Kind, Memory, Op, Policy, ReplicaIndex, State, StringRule};

use crate::state::Post;

use super::super::finding::Verdict;
use super::super::look::Look;
use super::super::loss::Loss;
use super::super::notary::Recollection;
use super::super::resolve::describe_op;
use super::trace::Trace;
use super::{Large, Stopped, Work, fate, is_joined};

/// Whom the others follow.
pub(super) enum Lead {
    /// The key was removed.
    Removed,
    /// This participant holds what all should hold.
    Held(usize),
    /// The values of this kind are joined, and replace those of others.
    United(Kind),
}

impl Large<'_> {
    /// Who leads, by what is remembered; nobody without memory, or where several sides are to be joined.
    pub(super) async fn lead(&self, work: &mut Work<'_>) -> Result<Option<Lead>, Stopped> {
        // Stamps are stronger evidence, and reach down to elements.
        let Some(recollection) = self.recollection.filter(|_| !self.recorded) else {
            return Ok(None);
        };
        if self.policy().rules.string == StringRule::BitmapOr {
            return Ok(None);
        }
        let stand_ins = self.stand_ins().await?;
        let pasts = Pasts::new(Some(recollection), self.observed.len());
        let siblings = self.remembered(&stand_ins, &pasts);
        let agreed = recollection.agreed();
        let whole = pasts.agreed.as_ref();
        let agreed = agreed.map(|agreed| crate::crdt::Agreed {
            memory: whole,
            ..agreed
        });
        let policy = as_registers(self.policy());
        let input = MergeInput {
            agreed: agreed.as_ref(),
            ..MergeInput::without_memory(&siblings, &policy, self.shared.now())
        };
        let merged = merge(&input, work.digester);
        if agreed.is_none() {
            return Ok(None);
        }
        if merged.notes.contains(&Note::UnitedByWholeKey) {
            return Ok(united(&merged.outcome));
        }
        work.finding.rule = Some(merged.rule);
        work.finding.evidence = Some(merged.evidence);
        work.finding.notes = merged.notes.iter().map(ToString::to_string).collect();
        match merged.outcome {
            Outcome::Unresolved(reason) => {
                Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())))
            }
            Outcome::Target(ref target) => match &target.value {
                None => Ok(Some(Lead::Removed)),
                Some(value) => {
                    let holds = |state: &Option<State>| {
                        state.as_ref().is_some_and(|state| state.value == *value)
                    };
                    match stand_ins.iter().position(holds) {
                        Some(leader) => Ok(Some(Lead::Held(leader))),
                        // Several became of a kind that was not remembered.
                        None => united(&merged.outcome).ok_or(Stopped::Again).map(Some),
                    }
                }
            },
        }
    }

    /// A small value for each that holds the key.
    pub(super) async fn stand_ins(&self) -> Result<Vec<Option<State>>, Stopped> {
        let mut stand_ins = Vec::with_capacity(self.observed.len());
        for (replica, look) in self.candidate.looks.iter().enumerate() {
            stand_ins.push(match look {
                Some(Look::Present { .. }) => Some(self.stand_in(replica).await?),
                Some(Look::Absent | Look::Unreadable) | None => None,
            });
        }
        Ok(stand_ins)
    }

    pub(super) fn remembered<'s>(
        &'s self,
        stand_ins: &'s [Option<State>],
        pasts: &'s Pasts,
    ) -> Vec<Sibling<'s>> {
        let looks = self.candidate.looks.iter().enumerate();
        let taking_part = looks.filter_map(|(replica, look)| Some((replica, (*look)?)));
        taking_part
            .map(|(replica, look)| Sibling {
                replica: ReplicaIndex(replica),
                datacenter: &self.shared.run.participants[replica].datacenter,
                state: stand_ins[replica].as_ref(),
                digest: look.digest(),
                base: self.recollection.and_then(|known| {
                    let base = known.base(replica)?;
                    Some(Base {
                        memory: pasts.bases[replica].as_ref(),
                        ..base
                    })
                }),
                stamps: None,
                fields_can_end: true,
            })
            .collect()
    }

    /// Removes the key wherever it still is.
    pub(super) async fn remove(&self, work: &mut Work<'_>) -> Result<(), Stopped> {
        let holders = self.holders();
        holders
            .iter()
            .for_each(|replica| work.lose(*replica, Loss::Deleted));
        for replica in holders {
            let removed = match self.writes() && !self.defers() {
                true => {
                    let expect = self.expect(replica)?;
                    let trace = Trace::Whole(Post::Absent);
                    self.write(replica, expect, vec![Op::Remove], trace).await
                }
                false => Err(Stopped::Deferred),
            };
            self.note(work, replica, &[describe_op(&Op::Remove)], fate(&removed));
            if self.writes() {
                removed?;
            }
        }
        Ok(())
    }
}

/// Collections of which nobody holds what was merged are to be joined.
fn united(outcome: &Outcome) -> Option<Lead> {
    let Outcome::Target(target) = outcome else {
        return None;
    };
    let kind = target.value.as_ref()?.kind();
    is_joined(kind).then_some(Lead::United(kind))
}

/// What is remembered, by whole key.
pub(super) struct Pasts {
    pub(super) agreed: Option<Memory>,
    bases: Vec<Option<Memory>>,
}

impl Pasts {
    pub(super) fn new(recollection: Option<&Recollection>, participants: usize) -> Self {
        let agreed = recollection.and_then(|known| known.agreed());
        let base = |replica| recollection?.base(replica)?.memory.map(by_digest);
        Self {
            agreed: agreed.and_then(|agreed| agreed.memory.map(by_digest)),
            bases: (0..participants).map(base).collect(),
        }
    }
}

/// A memory without what is in the value.
fn by_digest(memory: &Memory) -> Memory {
    Memory {
        body: match memory.body {
            Body::Stream { first, last_id, .. } => Body::Stream {
                first,
                last_id,
                entries: None,
            },
            Body::Whole | Body::Counter(_) | Body::Elements(_) | Body::List { .. } => Body::Whole,
        },
        ..memory.clone()
    }
}

/// Stand-ins are compared, never counted or joined.
fn as_registers(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.rules.string = StringRule::Lww;
    policy.rules.list = crate::model::ListRule::Lww;
    policy
}
