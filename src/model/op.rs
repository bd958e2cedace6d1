//! What is written to a replica: operations on one key, and what the key must still hold for them to happen.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Expiry, Key, Kind, Score, Stamps, State, StreamId, Value, ValueDigest};

/// One operation on a key. Applied in order, all or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Removes the key (UNLINK).
    Remove,
    /// Stores a whole value in the place of whatever the key holds, without expiry.
    Put(Value),
    /// Sets hash fields. A server that knows field expiry clears it.
    SetFields(Vec<(Bytes, Bytes)>),
    /// Removes hash fields.
    RemoveFields(Vec<Bytes>),
    /// Gives a hash field an expiry, or takes it away.
    ExpireField(Bytes, Expiry),
    /// Adds set members.
    AddMembers(Vec<Bytes>),
    /// Removes set members.
    RemoveMembers(Vec<Bytes>),
    /// Adds sorted-set members or changes their scores.
    SetScores(Vec<(Bytes, Score)>),
    /// Removes sorted-set members.
    RemoveScored(Vec<Bytes>),
    /// Puts elements before a list's head, so that they end up in this order.
    Prepend(Vec<Bytes>),
    /// Puts elements behind a list's tail, in this order.
    Append(Vec<Bytes>),
    /// Adds stream entries whose IDs are above the stream's last ID, ascending.
    AppendEntries(Vec<(StreamId, Vec<(Bytes, Bytes)>)>),
    /// Removes stream entries.
    RemoveEntries(Vec<StreamId>),
    /// Raises a stream's last ID.
    RaiseLastId(StreamId),
    /// Creates a consumer group that starts behind this ID; the stream is created if it is absent.
    CreateGroup(Bytes, StreamId),
    /// Adds to a counter.
    IncreaseBy(i64),
    /// Adds to hash fields that are counters.
    IncreaseFields(Vec<(Bytes, i64)>),
    /// Adds to scores that are counters, as long as they are integers.
    IncreaseScores(Vec<(Bytes, i64)>),
    /// Gives the key this expiry, or takes it away.
    Expire(Expiry),
    /// Replaces the key by the value that was built aside under this name, without expiry.
    TakeAside(Key),
    /// Puts what DUMP answered in the place of whatever the key holds, without expiry: the way back for streams with
    /// groups and for modules' values.
    Restore(Bytes),
    /// Gives the key and the listed elements exactly these stamps; other elements keep theirs. Only the time at which
    /// the key was added is never lowered. Counts are put over those that stand there, for they only rise; without any,
    /// those that stand there stay.
    Stamp(Stamps),
    /// Removes what was counted at the key.
    Uncount,
}

/// What a key must hold when a write is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// A value with exactly this digest and expiry.
    Exactly {
        /// Digest of the value.
        digest: ValueDigest,
        /// When the key ends.
        expiry: Expiry,
    },
    /// A large collection of this kind and expiry that, of the named elements, holds exactly these: the others may be
    /// anything. The digest is that of a collection of only those named elements that are present.
    Elements {
        /// The collection's kind.
        kind: Kind,
        /// The elements that are looked at, by name.
        names: Vec<Bytes>,
        /// Digest of a collection of those of them that are there.
        digest: ValueDigest,
        /// When the key ends.
        expiry: Expiry,
    },
    /// A canonical integer, whatever it is, that does not overflow by what is added. Its operations are one
    /// [`Op::IncreaseBy`] and perhaps an [`Op::Expire`] behind it. What clients add meanwhile is kept.
    Counter {
        /// When the key ends.
        expiry: Expiry,
    },
    /// A hash or sorted set in which everything that is increased is there, an integer and far from overflow, whatever
    /// it is, and everything else that the operations touch is exactly as in `held`: what is not in it is absent.
    /// Elements that are not touched may be anything. The operations are [`Op::IncreaseFields`], [`Op::SetFields`] and
    /// [`Op::RemoveFields`], or their like for scores, and perhaps an [`Op::Expire`] behind them.
    Counters {
        /// The touched elements that are not increased, as they must be, in a collection of the kind.
        held: Value,
        /// When the key ends.
        expiry: Expiry,
    },
    /// Stamps, and what they stand beside. Its operations are those of strings, hashes, sets and sorted sets, with one
    /// [`Op::Stamp`] behind them, perhaps an [`Op::Uncount`] before that, or these alone.
    Stamped(Box<Witness>),
}

/// What a stamped write was worked out from: it happens only where all of this still is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What the key holds; of a collection the touched elements that are there, if only those are looked at. Nothing
    /// where the key is absent.
    pub held: Option<State>,
    /// The elements that are looked at: those of them that are not in `held` are absent, all others may be anything, and
    /// the key may have been added to since. Nothing where `held` is all there may be.
    pub touched: Option<BTreeSet<Bytes>>,
    /// The stamps of the key and of the elements that are looked at.
    pub stamps: Stamps,
    /// Whether stamps alone are looked at by the script, and the key may hold anything.
    pub only_stamps: bool,
    /// The digest and the end of a value that is too large to be shown: the key is watched and compared before.
    pub watched: Option<(ValueDigest, Expiry)>,
    /// Whether the time of the key's last write must be as it was, also where only some elements are looked at.
    pub is_unraised: bool,
}

impl Witness {
    /// Whether clients may have raised the time of the key's last write, which is then kept.
    pub fn may_be_raised(&self) -> bool {
        !self.is_unraised && self.touched.is_some() && self.stamps.key.added.is_some()
    }
}

impl Expect {
    /// Whether it is compared in the moment of the write, so that what clients count meanwhile is kept.
    pub fn is_counted(&self) -> bool {
        match self {
            Self::Counter { .. } | Self::Counters { .. } => true,
            Self::Absent | Self::Exactly { .. } | Self::Elements { .. } | Self::Stamped(_) => false,
        }
    }

    /// Whether a script compares in the moment of the write, so that nothing need be watched.
    pub fn is_scripted(&self) -> bool {
        self.is_counted() || matches!(self, Self::Stamped(_))
    }

    /// Whether the key is watched and compared before the write.
    pub fn is_watched(&self) -> bool {
        match self {
            Self::Stamped(witness) => witness.watched.is_some(),
            other => !other.is_scripted(),
        }
    }
}

/// A conditional write to one key of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// What it must hold.
    pub expect: Expect,
    /// What happens then, in order.
    pub ops: Vec<Op>,
}
