//! A large string with stamps: the latest write or removal wins, and goes to the others together with its stamps.
//!
//! ```text
//! beginnings, digests and stamps ─▶ merge ─┬─ it was removed ─▶ remove, with the stamps of the removal
//!                                          └─ a winner ───────▶ build aside ─▶ in its place, with the winner's stamps
//! ```
//!
//! The script that writes stamps cannot compare a value of any size, so the key is watched and compared by its digest
//! before, in the same transaction.
//!
//! Deliberately absent: strings that are joined by another rule, and keys of several types. They are reported.

use std::collections::BTreeSet;

use crate::crdt::{Agreed, MergeInput, Outcome, Restamp, Sibling, Target, merge};
use crate::model::{Expect, Expiry, Kind, Op, Stamps, State, StringRule};
use crate::state::Post;

use super::super::finding::Verdict;
use super::super::look::Look;
use super::super::loss::loss;
use super::super::resolve::describe_op;
use super::super::restamp::stamped;
use super::super::round::Candidate;
use super::super::run::Mode;
use super::super::stamps::{Stampings, stamps};
use super::lead::Pasts;
use super::trace::Trace;
use super::{Large, Stopped, Work, fate};

/// What is said of a large string that is joined and has stamps.
const JOINED: &str = "it is a large string with stamps, and its rule joins values: whether it was removed cannot be told \
                      apart from what was added, remove it by hand where it is to go";

/// The stamps of a large string, by replica; nothing where there are none, or the key is of another type too.
pub(super) fn of_string(
    candidate: &Candidate<'_>,
    stampings: &Stampings,
) -> Option<Vec<Option<Stamps>>> {
    let looks = candidate.looks.iter().flatten();
    let kinds: BTreeSet<Kind> = looks.filter_map(Look::kind).collect();
    let all: Vec<Option<Stamps>> = stampings
        .iter()
        .map(|reading| stamps(reading.as_ref()).cloned())
        .collect();
    let is_stamped = all.iter().flatten().any(|one| !one.key.is_silent());
    (is_stamped && kinds.len() == 1 && kinds.contains(&Kind::String)).then_some(all)
}

impl Large<'_> {
    /// Brings all replicas to what was written or removed last.
    pub(super) async fn choose_latest(
        &self,
        all: &[Option<Stamps>],
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        if self.shared.run.settings.mode == Mode::Diff {
            return Ok(());
        }
        if self.policy().rules.string != StringRule::Lww {
            return Err(Stopped::Verdict(Verdict::Unresolved(JOINED.into())));
        }
        let stand_ins = self.stand_ins().await?;
        let (target, restamp) = self.merge_latest(&stand_ins, all, work)?;
        let holds = |state: &Option<State>| {
            state.as_ref().map(|state| &state.value) == target.value.as_ref()
        };
        let winner = stand_ins.iter().position(holds);
        let mut steps = Vec::new();
        for (replica, held) in all.iter().enumerate() {
            if self.candidate.looks[replica].is_none() {
                continue;
            }
            let held = held.as_ref().ok_or(Stopped::Again)?;
            let after = restamp
                .as_ref()
                .map_or_else(|| held.clone(), |all| all.at(held));
            let step = Step::of(stand_ins[replica].as_ref(), &target, (held, &after));
            work.losses.extend(step.loss().map(|loss| (replica, loss)));
            steps.push((replica, step));
        }
        let waits = self.defers() && !work.losses.is_empty();
        for (replica, step) in steps.iter().filter(|(_, step)| !step.is_nothing()) {
            let taken = match self.writes() && !waits {
                true => self.catch_up(*replica, step, winner, work).await,
                false => Err(Stopped::Deferred),
            };
            self.note(work, *replica, &step.words(), fate(&taken));
            if self.writes() && !waits {
                taken?;
            }
        }
        if waits {
            Err(Stopped::Deferred)
        } else {
            Ok(())
        }
    }

    fn merge_latest(
        &self,
        stand_ins: &[Option<State>],
        all: &[Option<Stamps>],
        work: &mut Work<'_>,
    ) -> Result<(Target, Option<Restamp>), Stopped> {
        let pasts = Pasts::new(self.recollection, self.observed.len());
        let siblings = self.remembered(stand_ins, &pasts).into_iter();
        let siblings: Vec<Sibling<'_>> = siblings
            .map(|sibling| Sibling {
                stamps: all[sibling.replica.0].as_ref(),
                ..sibling
            })
            .collect();
        let agreed = self.recollection.and_then(|known| known.agreed());
        let agreed = agreed.map(|agreed| Agreed {
            memory: pasts.agreed.as_ref(),
            ..agreed
        });
        let input = MergeInput {
            agreed: agreed.as_ref(),
            ..MergeInput::without_memory(&siblings, self.policy(), self.shared.now())
        };
        let merged = merge(&input, work.digester);
        work.finding.rule = Some(merged.rule);
        work.finding.evidence = Some(merged.evidence);
        work.finding.decided = merged.decided.as_ref().map(ToString::to_string);
        work.finding.notes = merged.notes.iter().map(ToString::to_string).collect();
        match merged.outcome {
            Outcome::Target(target) => Ok((target, merged.stamps)),
            Outcome::Unresolved(reason) => {
                Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())))
            }
        }
    }

    /// One replica's step.
    async fn catch_up(
        &self,
        replica: usize,
        step: &Step<'_>,
        winner: Option<usize>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        match step.wanted {
            Wanted::Copy(expiry) => {
                let source = winner.ok_or(Stopped::Again)?;
                let aside = self.shared.next_aside(&self.candidate.key);
                let placed = match self.build(source, replica, Kind::String, &aside).await {
                    Ok(()) => {
                        let placing = |ops| self.expectation(replica, step, ops);
                        let way = (source, replica);
                        self.place_as(way, Some(expiry), &aside, placing, work)
                            .await
                    }
                    Err(stopped) => Err(stopped),
                };
                self.drop_aside(replica, &aside).await;
                placed
            }
            Wanted::Removed | Wanted::Kept | Wanted::End(_) => {
                let (expect, ops) = self.expectation(replica, step, step.ops())?;
                let trace = match (&step.wanted, step.state) {
                    (Wanted::Removed, _) | (_, None) => Trace::Whole(Post::Absent),
                    (Wanted::End(expiry), _) => Trace::Ends(*expiry),
                    (_, Some(state)) => Trace::Ends(state.expiry),
                };
                self.write(replica, expect, ops, trace).await
            }
        }
    }

    /// On which condition, and with which stamps, something is written.
    fn expectation(
        &self,
        replica: usize,
        step: &Step<'_>,
        ops: Vec<Op>,
    ) -> Result<(Expect, Vec<Op>), Stopped> {
        let (held, after) = &step.stamps;
        let (mut expect, ops) = stamped(step.state, ops, held, after).ok_or(Stopped::Again)?;
        if let (Expect::Stamped(witness), Some(_)) = (&mut expect, step.state) {
            let look = self.candidate.looks[replica].ok_or(Stopped::Again)?;
            let digest = look.digest().ok_or(Stopped::Again)?;
            (witness.held, witness.watched) =
                (None, Some((digest, look.expiry().unwrap_or(Expiry::Never))));
        }
        Ok((expect, ops))
    }
}

/// What a replica's value is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It stays as it is; only stamps may change.
    Kept,
    /// It is removed.
    Removed,
    /// It is the winner's already, but for this end.
    End(Expiry),
    /// A copy of the winner's, with this end.
    Copy(Expiry),
}

/// What brings one replica to the latest value and its stamps.
struct Step<'s> {
    state: Option<&'s State>,
    wanted: Wanted,
    /// As they are, and as they are to be.
    stamps: (&'s Stamps, Stamps),
}

impl<'s> Step<'s> {
    fn of(state: Option<&'s State>, target: &Target, (held, after): (&'s Stamps, &Stamps)) -> Self {
        let wanted = match (state, target.at(state)) {
            (None, None) => Wanted::Kept,
            (Some(_), None) => Wanted::Removed,
            (Some(held), Some(wanted)) if held.value == wanted.value => {
                match held.expiry == wanted.expiry {
                    true => Wanted::Kept,
                    false => Wanted::End(wanted.expiry),
                }
            }
            (_, Some(wanted)) => Wanted::Copy(wanted.expiry),
        };
        Self {
            state,
            wanted,
            stamps: (held, after.clone()),
        }
    }

    fn is_nothing(&self) -> bool {
        self.wanted == Wanted::Kept && *self.stamps.0 == self.stamps.1
    }

    /// What is done to the value, but for a copy, whose name is not known yet.
    fn ops(&self) -> Vec<Op> {
        match self.wanted {
            Wanted::Kept | Wanted::Copy(_) => Vec::new(),
            Wanted::Removed => vec![Op::Remove],
            Wanted::End(expiry) => vec![Op::Expire(expiry)],
        }
    }

    fn loss(&self) -> Option<super::Loss> {
        match self.wanted {
            Wanted::Copy(_) => self.state.map(|_| super::Loss::Overwritten),
            _ => loss(self.state, &self.ops()),
        }
    }

    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = match self.wanted {
            Wanted::Copy(_) => vec!["put a copy of the large value".into()],
            _ => self.ops().iter().map(describe_op).collect(),
        };
        if *self.stamps.0 != self.stamps.1 {
            words.push(describe_op(&Op::Stamp(self.stamps.1.clone())));
        }
        words
    }
}
