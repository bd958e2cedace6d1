//! The elements on which the holders of a large collection differ, in the memory that the entries of the keys leave.
//!
//! ```text
//! listed ─▶ all of them fit ────────────────────────────────────▶ compared
//!    └────▶ sums by position ─▶ parts that fit by their counts ─▶ each listed again, compared
//! ```
//!
//! As for keys, but that one counting is enough: elements have no hash tags, so their positions are spread evenly.

use bytes::Bytes;
use futures::future::join_all;

use crate::merkle::{
    BucketSet, Buckets, Diff, Entries, EntryDigester, Listed, SealedEntries, Side, Tree,
};
use crate::model::{EntryRef, ExpiryRule, Kind, Position, PositionRange};
use crate::store::EntrySink;

use super::super::finding::Verdict;
use super::super::sweep::{Budget, ENTRY_BYTES, GRANT};
use super::{Large, Stopped};

/// What is still to be compared.
pub(super) enum Rest {
    /// Nothing any more, or all of it, already listed.
    AtOnce(Option<Part>),
    /// Parts that are still to be listed, the first one last.
    InParts(Vec<BucketSet>),
}

/// Elements of all holders, ready to be compared.
pub(super) struct Part(Vec<(SealedEntries, Tree)>);

impl Part {
    /// The names that differ, in the order of positions.
    pub(super) fn differing(&self) -> impl Iterator<Item = Bytes> {
        let sides = self.0.iter();
        let sides: Vec<Side<'_>> = sides
            .map(|(entries, tree)| Side { tree, entries })
            .collect();
        let diff = Diff::new(&sides, PositionRange::all());
        diff.map(|difference| Bytes::copy_from_slice(difference.key))
    }
}

/// What a name that is kept takes in memory.
pub(super) fn name_bytes(name: &Bytes) -> u64 {
    ENTRY_BYTES + name.len() as u64
}

impl Large<'_> {
    /// What the elements of a collection may take in memory; half of it for the entries of a stream, whose names are
    /// kept as well.
    pub(super) fn room(&self, kind: Kind) -> u64 {
        let room = self.shared.room_for_elements();
        if kind == Kind::Stream { room / 2 } else { room }
    }

    /// Lists the elements of all holders, or, where they do not fit, what is to be listed in parts.
    pub(super) async fn list(&self, kind: Kind, holders: &[usize]) -> Result<Rest, Stopped> {
        if holders.len() < 2 {
            return Ok(Rest::AtOnce(None));
        }
        let budget = Budget::new(self.room(kind));
        let sides = self.gather(kind, holders, None, &budget).await?;
        if !budget.is_exceeded() {
            return Ok(Rest::AtOnce(Some(self.sealed(sides))));
        }
        let numbered = sides.into_iter().enumerate();
        let sums: Vec<Buckets> = numbered
            .map(|(number, side)| side.into_sums(&self.digester(number)))
            .collect();
        let sums: Vec<&Buckets> = sums.iter().collect();
        let idle = GRANT * holders.len() as u64;
        let most = self.room(kind).saturating_sub(idle);
        let mut parts = Buckets::differing(&sums).split(most, ENTRY_BYTES);
        tracing::info!(
            key = %self.candidate.key,
            parts = parts.len(),
            "beyond the memory limit: reading the elements that differ again"
        );
        parts.reverse();
        Ok(Rest::InParts(parts))
    }

    /// The next elements to compare; nothing at the end.
    pub(super) async fn next_part(
        &self,
        kind: Kind,
        holders: &[usize],
        rest: &mut Rest,
    ) -> Result<Option<Part>, Stopped> {
        let parts = match rest {
            Rest::AtOnce(part) => return Ok(part.take()),
            Rest::InParts(parts) => parts,
        };
        let Some(set) = parts.pop() else {
            return Ok(None);
        };
        self.check_stop()?;
        let budget = Budget::new(self.room(kind));
        let sides = self.gather(kind, holders, Some(&set), &budget).await?;
        if budget.is_exceeded() {
            return Err(too_many("elements of one part"));
        }
        Ok(Some(self.sealed(sides)))
    }

    async fn gather(
        &self,
        kind: Kind,
        holders: &[usize],
        only: Option<&BucketSet>,
        budget: &Budget,
    ) -> Result<Vec<Gathered>, Stopped> {
        let numbered = holders.iter().enumerate();
        let lists = numbered.map(|(number, &replica)| async move {
            let mut side = Gathering {
                gathered: Gathered::Entries(Entries::new()),
                digester: self.digester(number),
                only,
                budget,
                granted: 0,
            };
            let (db, run) = (self.candidate.keyspace.db, self.shared.run);
            let source = &run.participants[replica].replica;
            let key = &self.candidate.key;
            let listed = source
                .elements(db, key, kind, &run.digest_key, &mut side)
                .await;
            match self.reached(replica, listed)? {
                None if !self.recorded => Err(Stopped::Again),
                Some(_) | None => Ok(side.gathered),
            }
        });
        let sides = join_all(lists).await.into_iter().collect();
        self.shared.used_by_elements(budget.most());
        self.check_stop()?;
        sides
    }

    /// What [`Large::gather`] answers while the budget lasts.
    fn sealed(&self, sides: Vec<Gathered>) -> Part {
        let numbered = sides.into_iter().enumerate();
        let sealed = numbered.map(|(number, side)| {
            let entries = match side {
                Gathered::Entries(entries) => entries.seal(),
                Gathered::Sums(_) => Entries::new().seal(),
            };
            let tree = Tree::build(&entries, &self.digester(number));
            (entries, tree)
        });
        Part(sealed.collect())
    }

    fn digester(&self, number: usize) -> EntryDigester {
        let secret = self.shared.run.digest_key.clone();
        EntryDigester::new(secret, ExpiryRule::Ignore, number as u32)
    }
}

/// It cannot be done within the limit, and is left as it is.
pub(super) fn too_many(what: &str) -> Stopped {
    Stopped::Verdict(Verdict::Unresolved(format!(
        "the {what} take more than the memory limit leaves; raise limits.memory"
    )))
}

/// The elements of one holder: entries, until all holders together exceed the budget, then sums.
enum Gathered {
    Entries(Entries),
    Sums(Box<Buckets>),
}

impl Gathered {
    fn into_sums(self, digester: &EntryDigester) -> Buckets {
        match self {
            Self::Entries(entries) => {
                let mut sums = Buckets::new(Buckets::DEFAULT_BITS);
                sums.fold(&entries, digester);
                sums
            }
            Self::Sums(sums) => *sums,
        }
    }
}

struct Gathering<'a> {
    gathered: Gathered,
    digester: EntryDigester,
    /// The elements that are wanted; all of them without it.
    only: Option<&'a BucketSet>,
    budget: &'a Budget,
    /// Bytes that the budget has granted and that are not used yet.
    granted: u64,
}

impl Gathering<'_> {
    /// Whether one more entry fits into the budget.
    fn has_room(&mut self, name: &[u8]) -> bool {
        let needed = ENTRY_BYTES + name.len() as u64;
        if self.granted < needed {
            let more = (needed - self.granted).max(GRANT);
            if !self.budget.grant(more) {
                return false;
            }
            self.granted += more;
        }
        self.granted -= needed;
        true
    }

    fn wants(&self, position: Position) -> bool {
        self.only.is_none_or(|only| only.contains(position))
    }
}

impl EntrySink for Gathering<'_> {
    fn entry(&mut self, entry: EntryRef<'_>) {
        if !self.wants(entry.position) {
            return;
        }
        let has_room = match self.gathered {
            Gathered::Entries(_) => self.has_room(entry.key),
            Gathered::Sums(_) => false,
        };
        if !has_room && let Gathered::Entries(entries) = &mut self.gathered {
            let entries = std::mem::take(entries);
            let sums = Gathered::Entries(entries).into_sums(&self.digester);
            self.gathered = Gathered::Sums(Box::new(sums));
        }
        match &mut self.gathered {
            Gathered::Entries(entries) => entries.push(entry),
            Gathered::Sums(sums) => sums.add(&Listed::Readable(entry), &mut self.digester),
        }
    }

    fn unreadable(&mut self, _key: &[u8], _reason: &str) {}
}
