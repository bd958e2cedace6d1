//! A large value that is a register: one sibling is chosen by its beginning and digest, and copied to the others.

use bytes::Bytes;

use crate::crdt::{MergeInput, Outcome, Target, merge};
use crate::model::{Digester, Kind, ListRule, Op, State, StringRule, Value};
use crate::store::{Observed, PAGE_BYTES, PAGE_ELEMENTS, Piece, PieceCursor};

use super::super::finding::{Finding, Verdict};
use super::super::look::Look;
use super::super::resolve::describe_op;
use super::super::run::Mode;
use super::{Large, Stopped, note_change};

impl Large<'_> {
    /// A register: one sibling is chosen, and copied to the others.
    pub(super) async fn choose(
        &self,
        finding: &mut Finding,
        digester: &mut Digester,
    ) -> Result<(), Stopped> {
        let holders = self.holders();
        let mut stand_ins = Vec::with_capacity(holders.len());
        for &replica in &holders {
            stand_ins.push(self.stand_in(replica).await?);
        }
        let mut policy = self.policy().clone();
        let united = policy.rules.string == StringRule::BitmapOr
            && stand_ins
                .iter()
                .all(|state| state.value.kind() == Kind::String);
        (policy.rules.string, policy.rules.list) = (StringRule::Lww, ListRule::Lww);
        if self.shared.run.settings.mode == Mode::Diff {
            return Ok(());
        }
        let siblings = self.siblings(&holders, &stand_ins);
        let merged = merge(
            &MergeInput::without_memory(&siblings, &policy, self.shared.now()),
            digester,
        );
        finding.rule = Some(if united { "bitmap-or" } else { merged.rule });
        finding.decided = merged.decided.as_ref().map(ToString::to_string);
        finding.notes = merged.notes.iter().map(ToString::to_string).collect();
        let target = match merged.outcome {
            Outcome::Target(target) => target,
            Outcome::Unresolved(reason) => {
                return Err(Stopped::Verdict(Verdict::Unresolved(reason.to_string())));
            }
        };
        let Some(winner) = holders
            .iter()
            .copied()
            .zip(&stand_ins)
            .find_map(|(replica, state)| {
                (target.value.as_ref() == Some(&state.value)).then_some(replica)
            })
        else {
            return Err(Stopped::Again);
        };
        let taking_part: Vec<usize> = (0..self.observed.len())
            .filter(|&index| self.candidate.looks[index].is_some())
            .collect();
        for replica in taking_part {
            let stand_in = holders
                .iter()
                .position(|&holder| holder == replica)
                .map(|at| &stand_ins[at]);
            self.bring(
                replica, winner, stand_in, &target, united, finding, digester,
            )
            .await?;
        }
        Ok(())
    }

    /// Brings one replica to the chosen value, or only to its expiry where it holds the value.
    #[allow(clippy::too_many_arguments)] // one step of one loop; the arguments are the loop's variables
    pub(super) async fn bring(
        &self,
        replica: usize,
        winner: usize,
        stand_in: Option<&State>,
        target: &Target,
        united: bool,
        finding: &mut Finding,
        digester: &mut Digester,
    ) -> Result<(), Stopped> {
        let Some(wanted) = target.at(stand_in) else {
            return Ok(());
        };
        let same_value = stand_in.is_some_and(|state| state.value == wanted.value);
        if united {
            note_change(self, finding, replica, "put the union of the bits");
            return if self.writes() {
                self.unite(replica, wanted.expiry).await
            } else {
                Ok(())
            };
        }
        if same_value && stand_in.is_some_and(|state| state.expiry == wanted.expiry) {
            return Ok(());
        }
        if same_value {
            let op = Op::Expire(wanted.expiry);
            note_change(self, finding, replica, &describe_op(&op));
            return if self.writes() {
                self.write(replica, self.expect(replica)?, vec![op]).await
            } else {
                Ok(())
            };
        }
        note_change(self, finding, replica, "put a copy of the large value");
        if !self.writes() {
            return Ok(());
        }
        let kind = wanted.value.kind();
        if let (Kind::Module, Some(Observed::Whole(state))) = (kind, self.observed[winner].as_ref())
        {
            let ops = vec![Op::Put(state.value.clone()), Op::Expire(wanted.expiry)];
            return self.write(replica, self.expect(replica)?, ops).await;
        }
        self.copy(winner, replica, kind, Some(wanted.expiry), digester)
            .await
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
                    .chain([(mark.clone(), mark)])
                    .map(|(name, value)| (name, crate::model::Field::lasting(value)))
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
