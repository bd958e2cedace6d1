//! Values of any size, built aside piece by piece, digested, and only then put in the key's place.

use crate::model::{Expect, Expiry, Key, Kind, Op};
use crate::state::Post;
use crate::store::{Capabilities, Capability, Piece, PieceCursor, StoreError, refusal_of};

use super::super::finding::Verdict;
use super::super::look::Look;
use super::super::run::Mode;
use super::trace::Trace;
use super::{Large, Stopped, Work};

impl Large<'_> {
    /// Copies a value of any size to a replica and puts it in the key's place. The copy is digested before it is
    /// used: a source that changed meanwhile gives a value that nobody ever held.
    pub(super) async fn copy(
        &self,
        from: usize,
        to: usize,
        kind: Kind,
        expiry: Option<Expiry>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let expect = self.expect(to)?;
        let aside = self.shared.next_aside(&self.candidate.key);
        let built = self.build(from, to, kind, &aside).await;
        let placed = match built {
            Ok(()) => self.place(from, to, expiry, &aside, expect, work).await,
            Err(stopped) => Err(stopped),
        };
        self.drop_aside(to, &aside).await;
        placed
    }

    /// Why a run that only plans knows that a copy would be refused; as far as that can be told without writing.
    pub(super) async fn foreseen(
        &self,
        from: usize,
        to: usize,
        kind: Kind,
    ) -> Result<Option<Verdict>, Stopped> {
        let (can, source) = (self.can(to), self.can(from));
        let may_be_refused = match kind {
            Kind::Stream => !can.has(Capability::Streams),
            Kind::Hash => !can.has(Capability::FieldExpiry) && source.has(Capability::FieldExpiry),
            Kind::String | Kind::List | Kind::Set | Kind::SortedSet | Kind::Module => false,
        };
        let is_planned = self.shared.run.settings.mode == Mode::Plan;
        let mut cursor = (is_planned && may_be_refused).then_some(PieceCursor::Start);
        while let Some(at) = cursor {
            let (piece, next) = self.piece(from, kind, at).await?;
            if let Some(reason) = unheld(&piece, can) {
                return Ok(Some(self.refused(to, reason)));
            }
            cursor = next;
            self.check_stop()?;
        }
        Ok(None)
    }

    pub(super) async fn build(
        &self,
        from: usize,
        to: usize,
        kind: Kind,
        aside: &Key,
    ) -> Result<(), Stopped> {
        let mut cursor = Some(PieceCursor::Start);
        while let Some(at) = cursor {
            let (piece, next) = self.piece(from, kind, at).await?;
            self.add(to, aside, piece).await?;
            cursor = next;
            self.check_stop()?;
        }
        Ok(())
    }

    pub(super) async fn add(&self, to: usize, aside: &Key, piece: Piece) -> Result<(), Stopped> {
        if let Some(reason) = unheld(&piece, self.can(to)) {
            return Err(Stopped::Verdict(self.refused(to, reason)));
        }
        let target = &self.shared.run.participants[to].replica;
        let built = target
            .build_aside(self.candidate.keyspace.db, aside, piece)
            .await;
        match built {
            Err(StoreError::Refused { reason, .. }) => Err(Stopped::Verdict(Verdict::Refused(
                target.name().clone(),
                reason,
            ))),
            Err(StoreError::Changed { .. }) => Err(Stopped::Again),
            built => self.reached(to, built),
        }
    }

    async fn place(
        &self,
        from: usize,
        to: usize,
        expiry: Option<Expiry>,
        aside: &Key,
        expect: Expect,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let placing = |ops| Ok((expect, ops));
        self.place_as((from, to), expiry, aside, placing, work)
            .await
    }

    /// Puts what was built aside in the key's place, if it is what the source holds, by the write that is made of the
    /// operations for it.
    pub(super) async fn place_as(
        &self,
        (from, to): (usize, usize),
        expiry: Option<Expiry>,
        aside: &Key,
        placing: impl FnOnce(Vec<Op>) -> Result<(Expect, Vec<Op>), Stopped>,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let db = self.candidate.keyspace.db;
        let participants = &self.shared.run.participants;
        let digest_key = &self.shared.run.digest_key;
        let copied = participants[to]
            .replica
            .fetch(db, std::slice::from_ref(aside), digest_key)
            .await;
        let source = participants[from]
            .replica
            .fetch(db, std::slice::from_ref(&self.candidate.key), digest_key)
            .await;
        let copied = self
            .reached(to, copied)?
            .pop()
            .map(|found| Look::observed(&found, work.digester));
        let source = self
            .reached(from, source)?
            .pop()
            .map(|found| Look::observed(&found, work.digester));
        match (copied, source) {
            (
                Some(Look::Present { digest: copied, .. }),
                Some(Look::Present {
                    digest,
                    expiry: own,
                    ..
                }),
            ) if copied == digest => {
                let expiry = expiry.unwrap_or(own);
                let (expect, ops) =
                    placing(vec![Op::TakeAside(aside.clone()), Op::Expire(expiry)])?;
                let wrote = Post::Whole { digest, expiry };
                self.write(to, expect, ops, Trace::Whole(wrote)).await
            }
            _ => Err(Stopped::Again),
        }
    }

    /// Builds the bitwise or of all holders' strings aside and puts it in the key's place.
    pub(super) async fn unite(
        &self,
        to: usize,
        expiry: Expiry,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let expect = self.expect(to)?;
        let aside = self.shared.next_aside(&self.candidate.key);
        let built = self.build_union(to, &aside).await;
        let placed = match built {
            Err(stopped) => Err(stopped),
            Ok(()) => self.take_aside(to, &aside, (expect, expiry), work).await,
        };
        self.drop_aside(to, &aside).await;
        placed
    }

    /// Puts what was built aside in the key's place.
    pub(super) async fn take_aside(
        &self,
        to: usize,
        aside: &Key,
        (expect, expiry): (Expect, Expiry),
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        let (db, run) = (self.candidate.keyspace.db, self.shared.run);
        let target = &run.participants[to].replica;
        let keys = std::slice::from_ref(aside);
        let built = target.fetch(db, keys, &run.digest_key).await;
        let built = self.reached(to, built)?.pop();
        let built = built.map(|found| Look::observed(&found, work.digester));
        let Some(digest) = built.and_then(|look| look.digest()) else {
            return Err(Stopped::Again);
        };
        let ops = vec![Op::TakeAside(aside.clone()), Op::Expire(expiry)];
        let wrote = Post::Whole { digest, expiry };
        self.write(to, expect, ops, Trace::Whole(wrote)).await
    }

    pub(super) async fn build_union(&self, to: usize, aside: &Key) -> Result<(), Stopped> {
        let mut offset = 0;
        loop {
            let mut union: Vec<u8> = Vec::new();
            for replica in self.holders() {
                let (piece, _) = self
                    .piece(replica, Kind::String, PieceCursor::Offset(offset))
                    .await?;
                if let Piece::Bytes(bytes) = piece {
                    union.resize(union.len().max(bytes.len()), 0);
                    union
                        .iter_mut()
                        .zip(&bytes)
                        .for_each(|(bit, more)| *bit |= more);
                }
            }
            if union.is_empty() {
                return Ok(());
            }
            offset += union.len() as u64;
            self.add(to, aside, Piece::Bytes(union.into())).await?;
            self.check_stop()?;
        }
    }
}

/// Why a server cannot hold a piece, as far as its commands tell.
fn unheld(piece: &Piece, can: Capabilities) -> Option<String> {
    let needed = match piece {
        Piece::Entries(_) | Piece::StreamEnd { .. } => Capability::Streams,
        Piece::Fields(fields) if fields.iter().any(|(_, one)| one.expiry != Expiry::Never) => {
            Capability::FieldExpiry
        }
        Piece::Fields(_)
        | Piece::Bytes(_)
        | Piece::Elements(_)
        | Piece::Members(_)
        | Piece::Scored(_) => return None,
    };
    (!can.has(needed)).then(|| refusal_of(needed))
}
