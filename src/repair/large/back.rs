//! Putting back what a run wrote to a large value at one replica, write by write, the last one first.
//!
//! Each write of the run stands for itself: elements that were written since stay, and the others come back all the
//! same. What was replaced whole is built aside from its parts, and takes the key's place only if its digest is that of
//! what stood there.

use bytes::Bytes;

use crate::model::{
    Digester, Expect, Expiry, Key, Kind, Op, Sequence, State, Stream, Value, ValueDigest,
};
use crate::repair::noting::holds;
use crate::state::{JournalEntry, Post, PreImage, StateError};

use super::super::finding::Verdict;
use super::super::look::Look;
use super::super::loss::Loss;
use super::super::notary::Recollection;
use super::super::ops::ops_within;
use super::super::resolve::describe_op;
use super::super::round::{Candidate, Stage};
use super::super::run::Shared;
use super::stamps_back::is_end_of_string;
use super::trace::{Trace, elements_of, piece_of};
use super::{Large, Stopped};
use crate::store::Observed;

/// Reads the entry of a part.
pub(crate) type Parts<'p> =
    &'p (dyn Fn(&JournalEntry, Sequence) -> Result<Option<JournalEntry>, StateError> + Sync);

/// A large key as it stands, at one replica.
pub(crate) struct Site<'s, 'k> {
    pub(crate) shared: &'s Shared<'s>,
    pub(crate) candidate: &'s Candidate<'k>,
    pub(crate) observed: &'s [Option<Observed>],
    pub(crate) recollection: Option<&'s Recollection>,
    pub(crate) replica: usize,
    /// Whether anything is written.
    pub(crate) writes: bool,
}

/// What became of the writes of a run to one large key at one replica.
#[derive(Debug, Default)]
pub(crate) struct PutBack {
    /// What was put back, in words.
    pub(crate) ops: Vec<String>,
    pub(crate) undone: usize,
    /// How many stay, because something else was written since.
    pub(crate) changed: usize,
    /// What that takes from what the replica holds.
    pub(crate) loss: Option<Loss>,
    /// Why it went no further.
    pub(crate) stopped: Option<Trouble>,
}

/// Why what a run wrote to a large key was not put back.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It cannot be.
    Kept(String),
    /// The replica was not reached.
    Missed(String),
}

/// What became of one write: put back in these words, or nothing where something else stands there.
pub(super) type Step = Result<Option<Vec<String>>, Trouble>;

impl From<Stopped> for Trouble {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Verdict(Verdict::Unfinished(reason)) => Self::Missed(reason),
            Stopped::Verdict(verdict) => {
                Self::Kept(verdict.reason().unwrap_or_else(|| "it was refused".into()))
            }
            Stopped::Again => Self::Kept("it was written meanwhile".into()),
            Stopped::Unclear => Self::Missed("its answer was lost".into()),
            Stopped::Deferred => Self::Kept("it has to wait".into()),
        }
    }
}

/// Puts back what a run wrote to a large key at one replica, where that still stands there; in a run that writes nothing,
/// says what would be. The entries are in the order of their steps.
pub(crate) async fn put_back(
    site: &Site<'_, '_>,
    entries: &[&JournalEntry],
    parts: Parts<'_>,
) -> PutBack {
    let mut done = PutBack::default();
    let mut planned = None;
    for entry in entries.iter().rev() {
        match site.step(entry, &mut planned, parts).await {
            Ok(Some(ops)) => {
                done.undone += 1;
                done.loss = done.loss.max(site.loss(entry));
                done.ops.extend(ops);
            }
            Ok(None) => done.changed += 1,
            Err(trouble) => {
                done.stopped = Some(trouble);
                break;
            }
        }
    }
    done
}

impl Site<'_, '_> {
    /// Puts back one write. `planned` is what would stand there by now, in a run that writes nothing.
    async fn step(
        &self,
        entry: &JournalEntry,
        planned: &mut Option<Look>,
        parts: Parts<'_>,
    ) -> Step {
        // A value of any size is not read anew for each of its parts.
        let fresh = match &entry.before {
            PreImage::Elements { names, .. } if !names.is_empty() || entry.stamps.is_some() => None,
            _ => Some(self.afresh().await?),
        };
        let (candidate, observed) = match &fresh {
            Some((candidate, observed)) => (candidate, &observed[..]),
            None => (self.candidate, self.observed),
        };
        let now = Now {
            large: Large {
                shared: self.shared,
                stage: Stage::Destructions,
                candidate,
                observed,
                recollection: self.recollection,
                recorded: false,
            },
            replica: self.replica,
            look: candidate.looks[self.replica].ok_or(Stopped::Again)?,
        };
        if !self.writes {
            return now.plan(entry, planned).await;
        }
        match (&entry.before, &entry.wrote) {
            (PreImage::Elements { .. }, _) if is_end_of_string(entry) => now.end(entry).await,
            (PreImage::Elements { .. }, _) if entry.stamps.is_some() => now.stamped(entry).await,
            (PreImage::Elements { kind, held, names }, Post::Elements { digest, expiry }) => {
                let wrote = (*kind, *digest, *expiry);
                now.elements(held.as_ref(), names, wrote).await
            }
            (_, wrote) if !now.holds(wrote) => Ok(None),
            _ if !now.has_stamps_of(entry).await? => Ok(None),
            (
                PreImage::Parts {
                    digest,
                    expiry,
                    steps,
                    ..
                },
                _,
            ) => {
                let read = |step| parts(entry, step);
                now.parts(entry, steps, &read, (*digest, *expiry)).await
            }
            _ => now.whole(entry).await,
        }
    }

    /// What putting back a write takes.
    fn loss(&self, entry: &JournalEntry) -> Option<Loss> {
        if self.candidate.looks[self.replica] == Some(Look::Absent) {
            return None;
        }
        Some(match entry.before {
            PreImage::Absent => Loss::Deleted,
            _ => Loss::Overwritten,
        })
    }

    /// The key as it stands now: what was put back already is part of it.
    async fn afresh(&self) -> Result<(Candidate<'_>, Vec<Option<Observed>>), Stopped> {
        let run = self.shared.run;
        let source = &run.participants[self.replica].replica;
        let keys = std::slice::from_ref(&self.candidate.key);
        let fetched = source
            .fetch(self.candidate.keyspace.db, keys, &run.digest_key)
            .await;
        let found = fetched.map_err(|error| {
            self.shared.lose(self.replica, &error);
            Stopped::Verdict(Verdict::Unfinished(error.to_string()))
        });
        let found = found?.pop().ok_or(Stopped::Again)?;
        let mut digester = Digester::new(run.digest_key.clone());
        let (mut candidate, mut observed) = (self.candidate.clone(), self.observed.to_vec());
        candidate.looks[self.replica] = Some(Look::observed(&found, &mut digester));
        observed[self.replica] = Some(found);
        Ok((candidate, observed))
    }
}

/// A large key as it stands now, at the replica.
pub(super) struct Now<'n> {
    pub(super) large: Large<'n>,
    pub(super) replica: usize,
    pub(super) look: Look,
}

impl Now<'_> {
    fn holds(&self, wrote: &Post) -> bool {
        holds(&self.look, wrote, &self.large.policy().expiry)
    }

    pub(super) fn expect(&self) -> Result<Expect, Stopped> {
        self.look.expect().ok_or(Stopped::Again)
    }

    /// What would be put back.
    async fn plan(&self, entry: &JournalEntry, planned: &mut Option<Look>) -> Step {
        let holds = match (&entry.before, &entry.wrote, &planned) {
            (PreImage::Elements { .. }, ..) if is_end_of_string(entry) => {
                self.ends_as(entry) && self.has_stamps_of(entry).await?
            }
            (PreImage::Elements { .. }, ..) if entry.stamps.is_some() => {
                self.beside(entry).await?.is_some()
            }
            (PreImage::Elements { kind, names, .. }, Post::Elements { digest, expiry }, None) => {
                let wrote = (*kind, *digest, *expiry);
                self.shows(names, wrote).await?.is_some()
            }
            // What stood there before a later write of the run is what this one wrote.
            (PreImage::Elements { .. }, _, Some(_)) => true,
            (_, wrote, planned) => {
                let look = planned.unwrap_or(self.look);
                holds(&look, wrote, &self.large.policy().expiry)
                    && (planned.is_some() || self.has_stamps_of(entry).await?)
            }
        };
        if !holds {
            return Ok(None);
        }
        let mut digester = Digester::new(self.large.shared.run.digest_key.clone());
        let (look, words) = match &entry.before {
            PreImage::Absent => (Some(Look::Absent), describe_op(&Op::Remove)),
            PreImage::Whole(state) | PreImage::Dumped(state, _) => {
                let held = Observed::Whole(state.clone());
                (
                    Some(Look::observed(&held, &mut digester)),
                    describe_op(&Op::Put(state.value.clone())),
                )
            }
            PreImage::Parts {
                kind,
                digest,
                expiry,
                ..
            } => {
                let look = Look::Present {
                    kind: *kind,
                    digest: *digest,
                    expiry: *expiry,
                };
                (Some(look), PUT.to_owned())
            }
            PreImage::Elements { names, .. } if names.is_empty() => match entry.stamps {
                Some(_) => (None, "put back its stamps".to_owned()),
                None => (None, "set its end".to_owned()),
            },
            PreImage::Elements { names, .. } => {
                (None, format!("put back {} elements", names.len()))
            }
            PreImage::Part(_) => return Ok(None),
        };
        *planned = look.or(*planned);
        Ok(Some(vec![words]))
    }

    /// The named elements as they are, if they are what was written; of no elements, the end of the key.
    async fn shows(
        &self,
        names: &[Bytes],
        (kind, digest, expiry): (Kind, Option<ValueDigest>, Expiry),
    ) -> Result<Option<State>, Stopped> {
        if names.is_empty() {
            let state = State {
                value: Value::String(Bytes::new()),
                expiry,
            };
            return Ok((self.look.expiry() == Some(expiry)).then_some(state));
        }
        let (run, key) = (self.large.shared.run, &self.large.candidate.key);
        let (source, db) = (
            &run.participants[self.replica].replica,
            self.large.candidate.keyspace.db,
        );
        let found = source.fetch_elements(db, key, kind, names).await;
        let Some(found) = self.large.reached(self.replica, found)? else {
            return Ok(None);
        };
        let mut digester = Digester::new(self.large.shared.run.digest_key.clone());
        let same = Some(digester.value(&elements_of(&found.value, names))) == digest;
        Ok(same.then_some(found))
    }

    async fn elements(
        &self,
        held: Option<&State>,
        names: &[Bytes],
        wrote: (Kind, Option<ValueDigest>, Expiry),
    ) -> Step {
        let (Some(now), Some(held)) = (self.shows(names, wrote).await?, held) else {
            return Ok(None);
        };
        if names.is_empty() {
            let ops = vec![Op::Expire(held.expiry)];
            let words = ops.iter().map(describe_op).collect();
            let trace = Trace::Ends(held.expiry);
            self.large
                .write(self.replica, self.expect()?, ops, trace)
                .await?;
            return Ok(Some(words));
        }
        let wanted = State {
            value: former(&now.value, &held.value),
            // An end that the run did not set is not its to put back.
            expiry: match held.expiry != wrote.2 && now.expiry == wrote.2 {
                true => held.expiry,
                false => now.expiry,
            },
        };
        let ops = ops_within(&now, &wanted).map_err(|reason| Trouble::Kept(reason.to_string()))?;
        let words = ops.iter().map(describe_op).collect();
        let mut digester = Digester::new(self.large.shared.run.digest_key.clone());
        let expect = Expect::Elements {
            kind: now.value.kind(),
            names: names.to_vec(),
            digest: digester.value(&now.value),
            expiry: now.expiry,
        };
        let trace = Trace::Elements {
            held: &now,
            wanted: &wanted,
            names,
        };
        self.large.write(self.replica, expect, ops, trace).await?;
        Ok(Some(words))
    }

    async fn whole(&self, entry: &JournalEntry) -> Step {
        let now = self.large.shared.now();
        let (state, ops) = match &entry.before {
            PreImage::Absent => (None, vec![Op::Remove]),
            PreImage::Whole(state) => (Some(state), vec![Op::Put(state.value.clone())]),
            PreImage::Dumped(state, dump) => (Some(state), vec![Op::Restore(dump.clone())]),
            PreImage::Elements { .. } | PreImage::Parts { .. } | PreImage::Part(_) => {
                return Ok(None);
            }
        };
        if state.is_some_and(|state| state.expiry.has_passed(now)) {
            return Err(Trouble::Kept(EXPIRED.into()));
        }
        let ending = state.map(|state| Op::Expire(state.expiry));
        let words = ops.iter().map(describe_op).collect();
        let ops = ops.into_iter().chain(ending).collect();
        let (expect, ops) = self.replacing(entry, ops).await?;
        let mut digester = Digester::new(self.large.shared.run.digest_key.clone());
        let wrote = crate::repair::noting::post(state, &mut digester);
        let trace = Trace::Whole(wrote);
        self.large.write(self.replica, expect, ops, trace).await?;
        Ok(Some(words))
    }

    async fn parts(
        &self,
        entry: &JournalEntry,
        steps: &[Sequence],
        read: &(dyn Fn(Sequence) -> Result<Option<JournalEntry>, StateError> + Sync),
        (digest, expiry): (ValueDigest, Expiry),
    ) -> Step {
        if expiry.has_passed(self.large.shared.now()) {
            return Err(Trouble::Kept(EXPIRED.into()));
        }
        let aside = self.large.shared.next_aside(&self.large.candidate.key);
        let built = self.build(&aside, steps, read).await;
        let placed = match built {
            Ok(()) => self.place(entry, &aside, (digest, expiry)).await,
            Err(trouble) => Err(trouble),
        };
        self.large.drop_aside(self.replica, &aside).await;
        placed.map(|()| Some(vec![PUT.to_owned()]))
    }

    async fn build(
        &self,
        aside: &Key,
        steps: &[Sequence],
        read: &(dyn Fn(Sequence) -> Result<Option<JournalEntry>, StateError> + Sync),
    ) -> Result<(), Trouble> {
        for step in steps {
            let entry = read(*step).map_err(|error| self.large.broken(error))?;
            let piece = entry.and_then(|entry| match entry.before {
                PreImage::Part(state) => piece_of(state.value),
                _ => None,
            });
            let piece = piece
                .ok_or_else(|| Trouble::Kept("a part of it is missing in the journal".into()))?;
            self.large.add(self.replica, aside, piece).await?;
            self.large.check_stop()?;
        }
        Ok(())
    }

    async fn place(
        &self,
        entry: &JournalEntry,
        aside: &Key,
        (digest, expiry): (ValueDigest, Expiry),
    ) -> Result<(), Trouble> {
        let (db, run) = (self.large.candidate.keyspace.db, self.large.shared.run);
        let target = &run.participants[self.replica].replica;
        let built = target
            .fetch(db, std::slice::from_ref(aside), &run.digest_key)
            .await;
        let built = self.large.reached(self.replica, built)?.pop();
        let mut digester = Digester::new(run.digest_key.clone());
        let built = built.and_then(|found| Look::observed(&found, &mut digester).digest());
        if built != Some(digest) {
            let reason =
                "what the journal has of it is not what stood there: it changed while it was read";
            return Err(Trouble::Kept(reason.into()));
        }
        let ops = vec![Op::TakeAside(aside.clone()), Op::Expire(expiry)];
        let (expect, ops) = self.replacing(entry, ops).await?;
        let trace = Trace::Whole(Post::Whole { digest, expiry });
        Ok(self.large.write(self.replica, expect, ops, trace).await?)
    }
}

const PUT: &str = "put back the large value";

pub(super) const EXPIRED: &str = "what stood there has expired since";

/// The elements as they were. What is said of a whole stream stays: its last ID only rises, and its groups go on.
fn former(now: &Value, held: &Value) -> Value {
    match (now, held) {
        (Value::Stream(now), Value::Stream(held)) => Value::Stream(Stream {
            entries: held.entries.clone(),
            last_id: now.last_id,
            groups: now.groups.clone(),
        }),
        _ => held.clone(),
    }
}
