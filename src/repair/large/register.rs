//! A large value that is a register: one sibling is chosen by its beginning and digest, and copied to the others.

use bytes::Bytes;

use crate::crdt::{MergeInput, Outcome, Target, merge};
use crate::model::{Expiry, Kind, ListRule, Op, State, StringRule, Value};
use crate::state::Post;
use crate::store::{Observed, PAGE_BYTES, PAGE_ELEMENTS, Piece, PieceCursor};

use super::super::finding::Verdict;
use super::super::look::Look;
use super::super::loss::{Loss, loss};
use super::super::resolve::describe_op;
use super::super::run::Mode;
use super::trace::Trace;
use super::{Large, Stopped, Work, fate, is_joined};

/// What brings one replica to the chosen value.
enum Step {
    /// The union of all bits.
    Unite(Expiry),
    /// It holds the value; only this is to be set.
    Expire(Expiry),
    /// A copy of the winner's value.
    Copy(Kind, Expiry),
}

impl Step {
    fn words(&self) -> String {
        match self {
            Self::Unite(_) => "put the union of the bits".into(),
            Self::Expire(expiry) => describe_op(&Op::Expire(*expiry)),
            Self::Copy(..) => "put a copy of the large value".into(),
        }
    }

    /// What it takes from a replica that holds this.
    fn loss(&self, held: Option<&State>) -> Option<Loss> {
        match self {
            Self::Unite(_) | Self::Copy(..) => held.map(|_| Loss::Overwritten),
            Self::Expire(expiry) => loss(held, &[Op::Expire(*expiry)]),
        }
    }
}

/// What a large register should be.
struct Choice {
    target: Target,
    /// Whether bits are united instead of one value chosen.
    united: bool,
    /// Who holds the chosen value; nobody where several collections of the chosen kind are to be joined.
    winner: Option<usize>,
}

impl Large<'_> {
    /// A register: one sibling is chosen, and copied to the others. Where kinds differ, the kind is the register: of
    /// several collections of the chosen kind none is the whole, so they are joined.
    pub(super) async fn choose(&self, work: &mut Work<'_>) -> Result<(), Stopped> {
        let holders = self.holders();
        let mut stand_ins = Vec::with_capacity(holders.len());
        for &replica in &holders {
            stand_ins.push(self.stand_in(replica).await?);
        }
        if self.shared.run.settings.mode == Mode::Diff {
            return Ok(());
        }
        let choice = self.merge_registers(&holders, &stand_ins, work)?;
        let winner = match (choice.winner, &choice.target.value) {
            (Some(winner), _) => winner,
            (None, Some(value)) if is_joined(value.kind()) => {
                return self.join(value.kind(), work).await;
            }
            (None, _) => return Err(Stopped::Again),
        };
        let mut steps = Vec::new();
        for replica in (0..self.observed.len()).filter(|&at| self.candidate.looks[at].is_some()) {
            let holder = holders.iter().position(|&holder| holder == replica);
            let held = holder.map(|at| &stand_ins[at]);
            if let Some(step) = choice.step(held) {
                if let Some(loss) = step.loss(held) {
                    work.lose(replica, loss);
                }
                steps.push((replica, step));
            }
        }
        let waits = self.defers() && !work.losses.is_empty();
        for (replica, step) in steps {
            let taken = match self.writes() && !waits {
                true => self.take(replica, &step, winner, work).await,
                false => Err(self.plan(replica, &step, winner).await?),
            };
            self.note(work, replica, &[step.words()], fate(&taken));
            match taken {
                Err(Stopped::Deferred) => {}
                taken => taken?,
            }
        }
        if waits {
            Err(Stopped::Deferred)
        } else {
            Ok(())
        }
    }

    fn merge_registers(
        &self,
        holders: &[usize],
        stand_ins: &[State],
        work: &mut Work<'_>,
    ) -> Result<Choice, Stopped> {
        let mut policy = self.policy().clone();
        let united = policy.rules.string == StringRule::BitmapOr
            && stand_ins
                .iter()
                .all(|state| state.value.kind() == Kind::String);
        (policy.rules.string, policy.rules.list) = (StringRule::Lww, ListRule::Lww);
        let siblings = self.siblings(holders, stand_ins);
        let input = MergeInput::without_memory(&siblings, &policy, self.shared.now());
        let merged = merge(&input, work.digester);
        work.finding.rule = Some(if united { "bitmap-or" } else { merged.rule });
        work.finding.evidence = Some(merged.evidence);
        work.finding.decided = merged.decided.as_ref().map(ToString::to_string);
        work.finding.notes = merged.notes.iter().map(ToString::to_string).collect();
        let target = match merged.outcome {
            Outcome::Target(target) => target,
            Outcome::Unresolved(reason) => {
                return Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())));
            }
        };
        if let Some(leader) = work.follow {
            let place = holders.iter().position(|holder| *holder == leader);
            let state = &stand_ins[place.ok_or(Stopped::Again)?];
            return Ok(Choice {
                target: Target {
                    value: Some(state.value.clone()),
                    expiry: state.expiry,
                    ..target
                },
                united: false,
                winner: Some(leader),
            });
        }
        let holds = |state: &State| target.value.as_ref() == Some(&state.value);
        let mut pairs = holders.iter().zip(stand_ins);
        let winner = pairs.find_map(|(&replica, state)| holds(state).then_some(replica));
        Ok(Choice {
            winner,
            target,
            united,
        })
    }

    /// Why a step is not taken: it waits, or would be refused.
    async fn plan(&self, replica: usize, step: &Step, winner: usize) -> Result<Stopped, Stopped> {
        let refused = match step {
            Step::Copy(kind, _) => self.foreseen(winner, replica, *kind).await?,
            Step::Unite(_) | Step::Expire(_) => None,
        };
        Ok(refused.map_or(Stopped::Deferred, Stopped::Verdict))
    }

    async fn take(
        &self,
        replica: usize,
        step: &Step,
        winner: usize,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        match (step, &self.observed[winner]) {
            (Step::Unite(expiry), _) => self.unite(replica, *expiry, work).await,
            (Step::Expire(expiry), _) => {
                let (ops, trace) = (vec![Op::Expire(*expiry)], Trace::Ends(*expiry));
                self.write(replica, self.expect(replica)?, ops, trace).await
            }
            (Step::Copy(Kind::Module, expiry), Some(Observed::Whole(state))) => {
                let ops = vec![Op::Put(state.value.clone()), Op::Expire(*expiry)];
                let digest = work.digester.value(&state.value);
                let wrote = Post::Whole {
                    digest,
                    expiry: *expiry,
                };
                let expect = self.expect(replica)?;
                self.write(replica, expect, ops, Trace::Whole(wrote)).await
            }
            (Step::Copy(kind, expiry), _) => {
                self.copy(winner, replica, *kind, Some(*expiry), work).await
            }
        }
    }

    /// A small value that compares like the large one: its beginning, and its digest.
    pub(super) async fn stand_in(&self, replica: usize) -> Result<State, Stopped> {
        let (kind, digest, expiry) = match self.candidate.looks[replica] {
            Some(Look::Present {
                kind,
                digest,
                expiry,
            }) => (kind, digest, expiry),
            _ => return Err(Stopped::Again),
        };
        let mark = Bytes::copy_from_slice(digest.as_bytes());
        let value = match self.observed[replica].as_ref() {
            Some(Observed::Whole(state)) if kind == Kind::Module => state.value.clone(),
            Some(Observed::Whole(State {
                value: Value::String(bytes),
                ..
            })) => Value::String(
                [&bytes[..bytes.len().min(PAGE_BYTES)], &mark]
                    .concat()
                    .into(),
            ),
            Some(Observed::Whole(State {
                value: Value::List(elements),
                ..
            })) => Value::List(
                elements
                    .iter()
                    .take(PAGE_ELEMENTS)
                    .cloned()
                    .chain([mark])
                    .collect(),
            ),
            Some(Observed::Whole(state)) => state.value.clone(),
            Some(Observed::Large(_)) => self.beginning(replica, kind, mark).await?,
            Some(Observed::Absent | Observed::Unreadable(_)) | None => return Err(Stopped::Again),
        };
        Ok(State { value, expiry })
    }

    pub(super) async fn beginning(
        &self,
        replica: usize,
        kind: Kind,
        mark: Bytes,
    ) -> Result<Value, Stopped> {
        let (piece, _) = self.piece(replica, kind, PieceCursor::Start).await?;
        Ok(match piece {
            Piece::Bytes(bytes) => Value::String([&bytes[..], &mark].concat().into()),
            Piece::Elements(elements) => Value::List(elements.into_iter().chain([mark]).collect()),
            Piece::Members(members) => Value::Set(members.into_iter().chain([mark]).collect()),
            Piece::Fields(fields) => Value::Hash(
                fields
                    .into_iter()
                    .chain([(mark.clone(), crate::model::Field::lasting(mark))])
                    .collect(),
            ),
            Piece::Scored(members) => {
                let zero = crate::model::Score::new(0.0).ok_or(Stopped::Again)?;
                Value::SortedSet(members.into_iter().chain([(mark, zero)]).collect())
            }
            Piece::Entries(_) | Piece::StreamEnd { .. } => Value::Stream(crate::model::Stream {
                groups: [(mark, crate::model::StreamId::MIN)].into(),
                ..crate::model::Stream::default()
            }),
        })
    }
}

impl Choice {
    /// What a replica that holds this needs, if anything.
    fn step(&self, held: Option<&State>) -> Option<Step> {
        let wanted = self.target.at(held)?;
        if self.united {
            return Some(Step::Unite(wanted.expiry));
        }
        match held {
            Some(held) if held.value == wanted.value => {
                (held.expiry != wanted.expiry).then_some(Step::Expire(wanted.expiry))
            }
            Some(_) | None => Some(Step::Copy(wanted.value.kind(), wanted.expiry)),
        }
    }
}
