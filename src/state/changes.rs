//! Changes: what one commit writes, all or nothing.

use crate::model::{
    Agreement, DbIndex, Key, KeyspaceName, Lag, LagBase, Lane, Millis, PolicyMark, ReplicaId,
    RunNumber, Seen, Sequence,
};

use super::intent::Intent;
use super::journal::JournalEntry;
use super::layout::journal_place;
use super::runs::Segment;

/// What one commit writes. Later changes of the same thing win over earlier ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    pub(super) now: Millis,
    pub(super) list: Vec<Change>,
}

/// Why a key waits for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The run that undid it.
    pub run: RunNumber,
    /// The policy that it had then: with another it is let go. Nothing where that was not written down.
    pub policy: Option<PolicyMark>,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    PutAgreement(DbIndex, Key, Agreement),
    ForgetAgreement(DbIndex, Key),
    PutLag(DbIndex, Key, ReplicaId, Lag),
    DropLag(DbIndex, Key, ReplicaId),
    Reached(DbIndex, Key, ReplicaId, Reached),
    Replaced(DbIndex, Key, ReplicaId, Lag),
    Correct(DbIndex, Key, ReplicaId, Lag),
    SetLane(ReplicaId, DbIndex, Lane),
    AddVoid(ReplicaId, DbIndex, Sequence, Sequence),
    OpenIntent(Intent),
    KeepIntent(Intent),
    CloseIntent(Sequence),
    Journal(JournalEntry),
    Outcome(JournalPlace, bool),
    Hold(DbIndex, Key, Hold),
    Unhold(DbIndex, Key),
    Cover(ReplicaId, DbIndex, KeyspaceName, Sequence),
    SetEvicted(ReplicaId, u64),
    Finish(RunNumber, Segment),
}

/// A replica turned out to have taken what a late intent agreed upon on a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reached {
    /// What was agreed then.
    pub(super) then: Agreement,
    /// The step that proves it.
    pub(super) proved: Sequence,
    /// The lag entry, if one is left even so; its base is what was agreed then.
    pub(super) lag: Option<Lag>,
}

impl Reached {
    /// The entry of a replica that has everything of what was agreed then.
    pub(super) fn at_version(&self) -> Lag {
        Lag {
            base: LagBase::Agreed,
            seen: Seen::all(self.then.version),
            proved: self.proved,
            since: self.proved,
            evicted: false,
        }
    }
}

/// Where a journal entry stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPlace {
    /// The run.
    pub run: RunNumber,
    /// The step.
    pub sequence: Sequence,
    /// The replica that was written.
    pub replica: ReplicaId,
    /// The key's database.
    pub db: DbIndex,
    /// The key.
    pub key: Key,
}

impl JournalPlace {
    pub(super) fn row(&self) -> Vec<u8> {
        journal_place(self.run, self.sequence, self.replica, self.db, &self.key)
    }
}

impl Changes {
    /// Nothing yet. `now` is when what these changes replace is taken to have ended.
    pub fn new(now: Millis) -> Self {
        Self {
            now,
            list: Vec::new(),
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Appends other changes; they keep this one's time.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.list.extend(other.list);
        self
    }

    /// Agrees on a key. What was agreed before goes to its history.
    pub fn put_agreement(&mut self, db: DbIndex, key: Key, agreement: Agreement) -> &mut Self {
        self.push(Change::PutAgreement(db, key, agreement))
    }

    /// Forgets a key, with its history: as if it had never been agreed on.
    pub fn forget_agreement(&mut self, db: DbIndex, key: Key) -> &mut Self {
        self.push(Change::ForgetAgreement(db, key))
    }

    /// Lets a replica lag. What stood there before goes to the history of lags.
    pub fn put_lag(&mut self, db: DbIndex, key: Key, replica: ReplicaId, lag: Lag) -> &mut Self {
        self.push(Change::PutLag(db, key, replica, lag))
    }

    /// Brings a replica to the version. What stood there before goes to the history of lags.
    pub fn drop_lag(&mut self, db: DbIndex, key: Key, replica: ReplicaId) -> &mut Self {
        self.push(Change::DropLag(db, key, replica))
    }

    /// Notes what a replica's markers acknowledged.
    pub fn set_lane(&mut self, replica: ReplicaId, db: DbIndex, lane: Lane) -> &mut Self {
        self.push(Change::SetLane(replica, db, lane))
    }

    /// Voids the steps `(after, to]` for a replica and database.
    pub fn add_void(
        &mut self,
        replica: ReplicaId,
        db: DbIndex,
        after: Sequence,
        to: Sequence,
    ) -> &mut Self {
        self.push(Change::AddVoid(replica, db, after, to))
    }

    /// Notes what a step is about to do.
    pub fn open_intent(&mut self, intent: Intent) -> &mut Self {
        self.push(Change::OpenIntent(intent))
    }

    /// Ends an intent.
    pub fn close_intent(&mut self, sequence: Sequence) -> &mut Self {
        self.push(Change::CloseIntent(sequence))
    }

    /// Adds to the journal.
    pub fn journal(&mut self, entry: JournalEntry) -> &mut Self {
        self.push(Change::Journal(entry))
    }

    /// Notes whether a journalled write happened.
    pub fn journal_outcome(&mut self, place: JournalPlace, applied: bool) -> &mut Self {
        self.push(Change::Outcome(place, applied))
    }

    /// Holds a key that this run undid: it waits until the operator names it.
    pub fn hold(&mut self, db: DbIndex, key: Key, hold: Hold) -> &mut Self {
        self.push(Change::Hold(db, key, hold))
    }

    /// Lets a held key go.
    pub fn unhold(&mut self, db: DbIndex, key: Key) -> &mut Self {
        self.push(Change::Unhold(db, key))
    }

    /// Notes that a keyspace was read completely at a replica: what nobody remembers was absent there.
    pub fn cover(
        &mut self,
        replica: ReplicaId,
        db: DbIndex,
        keyspace: KeyspaceName,
        proved: Sequence,
    ) -> &mut Self {
        self.push(Change::Cover(replica, db, keyspace, proved))
    }

    /// Notes that a run has finished a segment.
    pub fn finish(&mut self, run: RunNumber, segment: Segment) -> &mut Self {
        self.push(Change::Finish(run, segment))
    }

    /// Notes how many keys a replica has evicted.
    pub fn set_evicted(&mut self, replica: ReplicaId, keys: u64) -> &mut Self {
        self.push(Change::SetEvicted(replica, keys))
    }

    pub(super) fn push(&mut self, change: Change) -> &mut Self {
        self.list.push(change);
        self
    }
}
