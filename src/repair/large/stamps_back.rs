//! Putting back what a run wrote to a large collection together with its stamps: some elements, as they were, with the
//! stamps that they had. A large string goes back as a whole, with its stamps.
//!
//! Where the key is gone by now, or was not there before, it has none of the elements.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::model::{Digester, Expect, Expiry, Kind, Op, Restamping, Stamps, State};
use crate::state::{JournalEntry, Post, PreImage};

use super::super::ops::ops_within;
use super::super::resolve::describe_op;
use super::super::restamp;
use super::Stopped;
use super::back::{Now, Step, Trouble};
use super::stamped::nothing;
use super::trace::{Trace, elements_of};

/// What a write of some elements with their stamps was.
struct Written<'e> {
    kind: Kind,
    held: &'e State,
    names: &'e [Bytes],
    digest: Option<crate::model::ValueDigest>,
    expiry: Expiry,
    stamps: &'e Restamping,
}

/// How it stands: the elements, nothing where the key is gone, and the stamps.
pub(super) type Beside = (Option<State>, Stamps);

fn written(entry: &JournalEntry) -> Option<Written<'_>> {
    let (PreImage::Elements { kind, held, names }, Post::Elements { digest, expiry }) =
        (&entry.before, &entry.wrote)
    else {
        return None;
    };
    Some(Written {
        kind: *kind,
        held: held.as_ref()?,
        names,
        digest: *digest,
        expiry: *expiry,
        stamps: entry.stamps.as_deref()?,
    })
}

impl Now<'_> {
    /// The elements and stamps of an entry as they are, if they are what was written.
    pub(super) async fn beside(&self, entry: &JournalEntry) -> Result<Option<Beside>, Stopped> {
        let Some(written) = written(entry) else {
            return Ok(None);
        };
        let (run, key) = (self.large.shared.run, &self.large.candidate.key);
        let db = self.large.candidate.keyspace.db;
        let source = &run.participants[self.replica].replica;
        let found = source.fetch_elements(db, key, written.kind, written.names);
        let found = self.large.reached(self.replica, found.await)?;
        let empty = nothing(written.kind);
        let value = &found.as_ref().unwrap_or(&empty).value;
        let mut digester = Digester::new(run.digest_key.clone());
        let digest = digester.value(&elements_of(value, written.names));
        let mut all = self
            .large
            .fetch_stamps(&[self.replica], written.names)
            .await?;
        let stamps = all.pop().ok_or(Stopped::Again)?;
        let stands = Some(digest) == written.digest && written.stamps.stands_at_elements(&stamps);
        Ok(stands.then_some((found, stamps)))
    }

    /// Puts back the elements of an entry with their stamps.
    pub(super) async fn stamped(&self, entry: &JournalEntry) -> Step {
        let (Some(written), Some((now, stamps))) = (written(entry), self.beside(entry).await?)
        else {
            return Ok(None);
        };
        let held = now.clone().unwrap_or_else(|| nothing(written.kind));
        let wanted = State {
            value: written.held.value.clone(),
            // An end that the run did not set is not its to put back, unless the key went with it.
            expiry: match now.is_none() || was_set(&written, &held) {
                true => written.held.expiry,
                false => held.expiry,
            },
        };
        if wanted.expiry.has_passed(self.large.shared.now()) {
            return Err(Trouble::Kept(super::back::EXPIRED.into()));
        }
        let ops = match now.is_none() && wanted.value.is_void() {
            true => Vec::new(),
            false => {
                ops_within(&held, &wanted).map_err(|reason| Trouble::Kept(reason.to_string()))?
            }
        };
        let words = ops.iter().map(describe_op).collect();
        let names: BTreeSet<Bytes> = written.names.iter().cloned().collect();
        let back = written.stamps.back(&stamps);
        let write = restamp::back((now.as_ref(), Some(names)), ops, &stamps, &back);
        let Some((expect, ops)) = write else {
            return Ok(Some(Vec::new()));
        };
        let trace = Trace::Elements {
            held: &held,
            wanted: &wanted,
            names: written.names,
        };
        self.large.write(self.replica, expect, ops, trace).await?;
        Ok(Some(words))
    }
}

/// Whether a write left a large string as it was, but for its end and its stamps.
pub(super) fn is_end_of_string(entry: &JournalEntry) -> bool {
    match &entry.before {
        PreImage::Elements { kind, names, .. } => {
            *kind == Kind::String && names.is_empty() && entry.stamps.is_some()
        }
        _ => false,
    }
}

impl Now<'_> {
    /// The stamps beside a large string.
    async fn of_key(&self) -> Result<Stamps, Stopped> {
        let all = self.large.fetch_stamps(&[self.replica], &[]).await?;
        all.into_iter().next().ok_or(Stopped::Again)
    }

    /// Whether the stamps are still those that a write left; so they are where it left none.
    pub(super) async fn has_stamps_of(&self, entry: &JournalEntry) -> Result<bool, Stopped> {
        match &entry.stamps {
            None => Ok(true),
            Some(restamping) => Ok(restamping.stands(&self.of_key().await?)),
        }
    }

    /// Whether the key has the end that a write gave it, or left it.
    pub(super) fn ends_as(&self, entry: &JournalEntry) -> bool {
        match &entry.wrote {
            Post::Elements { expiry, .. } => self.look.expiry() == Some(*expiry),
            _ => false,
        }
    }

    /// On which condition the key as a whole is taken back, and by which operations its stamps are.
    pub(super) async fn replacing(
        &self,
        entry: &JournalEntry,
        ops: Vec<Op>,
    ) -> Result<(Expect, Vec<Op>), Trouble> {
        let Some(restamping) = &entry.stamps else {
            return Ok((self.expect()?, ops));
        };
        let now = self.of_key().await?;
        let back = restamp::back((None, None), ops, &now, &restamping.back(&now));
        let (mut expect, ops) = back.ok_or(Stopped::Again)?;
        if let Expect::Stamped(witness) = &mut expect {
            witness.watched = self.look.digest().zip(self.look.expiry());
        }
        Ok((expect, ops))
    }

    /// Puts back the end of a large string, and its stamps.
    pub(super) async fn end(&self, entry: &JournalEntry) -> Step {
        let (PreImage::Elements { held, .. }, Post::Elements { expiry, .. }) =
            (&entry.before, &entry.wrote)
        else {
            return Ok(None);
        };
        if !self.ends_as(entry) || !self.has_stamps_of(entry).await? {
            return Ok(None);
        }
        let before = held.as_ref().map_or(*expiry, |held| held.expiry);
        if before.has_passed(self.large.shared.now()) {
            return Err(Trouble::Kept(super::back::EXPIRED.into()));
        }
        let ops = match before == *expiry {
            true => Vec::new(),
            false => vec![Op::Expire(before)],
        };
        let (expect, ops) = self.replacing(entry, ops).await?;
        let words = ops.iter().map(describe_op).collect();
        let trace = Trace::Ends(before);
        self.large.write(self.replica, expect, ops, trace).await?;
        Ok(Some(words))
    }
}

/// Whether the run gave the key the end that it has.
fn was_set(written: &Written<'_>, now: &State) -> bool {
    written.held.expiry != written.expiry && now.expiry == written.expiry
}
