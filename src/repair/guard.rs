//! The breaker: a run that would delete or overwrite much of what a replica holds stops before it does. Pure.
//!
//! A replica that came back empty, or a wrong order of preference, looks like a mass of differences. Adding what is
//! missing does no harm and is never counted.

use std::fmt;

use crate::model::{Guards, Ratio, ReplicaName};

use super::loss::{Loss, Losses};

/// So many keys of a replica may always be overwritten, and so many deleted.
pub const ALWAYS_ALLOWED: u64 = 100;

/// How many of the keys that a replica holds a run may delete and overwrite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// The share that may be deleted.
    pub max_delete_ratio: Ratio,
    /// The share that may be overwritten.
    pub max_overwrite_ratio: Ratio,
    /// So many may be deleted whatever their share.
    pub force_deletes: u64,
    /// So many may be overwritten whatever their share.
    pub force_overwrites: u64,
    /// What the run did to a replica before, in other segments: what is allowed whatever the share is allowed once.
    pub before: Planned,
}

impl Default for Breaker {
    fn default() -> Self {
        let Guards {
            max_delete_ratio,
            max_overwrite_ratio,
            ..
        } = Guards::default();
        Self {
            max_delete_ratio,
            max_overwrite_ratio,
            force_deletes: 0,
            force_overwrites: 0,
            before: Planned::default(),
        }
    }
}

/// What is done to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destruction {
    /// A value, an element or a lifetime is overwritten, or elements are removed.
    Overwrite,
    /// The key is removed.
    Delete,
}

impl Destruction {
    /// The name in reports, and of its limit in the configuration: `max_<name>_ratio`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overwrite => "overwrite",
            Self::Delete => "delete",
        }
    }
}

/// A limit that a run would exceed at a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tripped {
    /// Where.
    pub replica: ReplicaName,
    /// What would be done to its keys.
    pub what: Destruction,
    /// To how many.
    pub keys: u64,
    /// How many it holds, of those that the run looked at.
    pub held: u64,
    /// To how many it may be done.
    pub limit: u64,
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            replica,
            what,
            keys,
            held,
            limit,
        } = self;
        let what = what.name();
        write!(
            f,
            "{replica}: {what}s {keys} of the {held} keys it holds, more than {limit}"
        )
    }
}

/// What a run would do to each replica, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toll(Vec<Planned>);

/// What a run would do to one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Planned {
    /// Keys of which something is overwritten or removed.
    pub overwrites: u64,
    /// Keys that are removed.
    pub deletes: u64,
}

/// What a replica holds, and what would be done to it.
pub(crate) struct Stake<'a> {
    pub(crate) replica: &'a ReplicaName,
    pub(crate) held: u64,
    pub(crate) planned: Planned,
}

impl Toll {
    pub(crate) fn new(replicas: usize) -> Self {
        Self(vec![Planned::default(); replicas])
    }

    /// Counts one key.
    pub(crate) fn add(&mut self, losses: &Losses) {
        for (&replica, loss) in losses {
            match loss {
                Loss::Overwritten => self.0[replica].overwrites += 1,
                Loss::Deleted => self.0[replica].deletes += 1,
            }
        }
    }

    /// By replica, in datacenter order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Planned> {
        self.0.iter().copied()
    }
}

/// The limits that would be exceeded; nothing where all is allowed.
pub(crate) fn tripped<'a>(
    breaker: &Breaker,
    stakes: impl Iterator<Item = Stake<'a>>,
) -> Vec<Tripped> {
    let of_replica = |stake: Stake<'a>| {
        let Planned {
            overwrites,
            deletes,
        } = stake.planned;
        let before = breaker.before;
        let deleting = share(breaker.max_delete_ratio, stake.held)
            .max(always(breaker.force_deletes, before.deletes));
        let overwriting = share(breaker.max_overwrite_ratio, stake.held)
            .max(always(breaker.force_overwrites, before.overwrites));
        let planned = [
            (Destruction::Delete, deletes, deleting),
            (Destruction::Overwrite, overwrites, overwriting),
        ];
        let over = planned.into_iter().filter(|(_, keys, limit)| keys > limit);
        over.map(move |(what, keys, limit)| Tripped {
            replica: stake.replica.clone(),
            what,
            keys,
            held: stake.held,
            limit,
        })
    };
    stakes.flat_map(of_replica).collect()
}

/// Rounded down: a share of 1 % of 10,099 keys is 100 keys. No replica holds so many keys that a float is inexact.
fn share(ratio: Ratio, held: u64) -> u64 {
    (ratio.get() * held as f64) as u64
}

/// What is left, after what was done before, of what is allowed whatever the share.
fn always(forced: u64, before: u64) -> u64 {
    ALWAYS_ALLOWED.max(forced).saturating_sub(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(
        breaker: &Breaker,
        held: u64,
        overwrites: u64,
        deletes: u64,
    ) -> Vec<(Destruction, u64)> {
        let replica = ReplicaName("eu".into());
        let stake = Stake {
            replica: &replica,
            held,
            planned: Planned {
                overwrites,
                deletes,
            },
        };
        let tripped = tripped(breaker, std::iter::once(stake));
        tripped.iter().map(|one| (one.what, one.limit)).collect()
    }

    #[test]
    fn a_hundred_keys_are_always_allowed_and_then_a_share_of_what_is_held() {
        use Destruction::{Delete, Overwrite};
        let breaker = Breaker::default();
        let table = [
            (0, 0, 0, vec![]),
            (0, 100, 100, vec![]),
            (0, 101, 0, vec![(Overwrite, 100)]),
            (0, 0, 101, vec![(Delete, 100)]),
            (1_000, 200, 100, vec![]),
            (1_000, 201, 101, vec![(Delete, 100), (Overwrite, 200)]),
            (20_000, 4_000, 200, vec![]),
            (20_000, 4_001, 201, vec![(Delete, 200), (Overwrite, 4_000)]),
        ];
        for (held, overwrites, deletes, expected) in table {
            let found = over(&breaker, held, overwrites, deletes);
            assert_eq!(found, expected, "{overwrites} and {deletes} of {held}");
        }
    }

    #[test]
    fn what_is_allowed_whatever_the_share_is_allowed_once_in_all_segments() {
        let after = |overwrites, deletes| Breaker {
            before: Planned {
                overwrites,
                deletes,
            },
            ..Breaker::default()
        };
        assert_eq!(over(&after(0, 60), 1_000, 0, 40), []);
        assert_eq!(
            over(&after(0, 60), 1_000, 0, 41),
            [(Destruction::Delete, 40)]
        );
        // The share is of what the replica holds in this segment.
        assert_eq!(over(&after(500, 500), 20_000, 4_000, 200), []);
        assert_eq!(
            over(&after(500, 500), 20_000, 4_000, 201),
            [(Destruction::Delete, 200)]
        );
    }

    #[test]
    fn what_is_forced_is_allowed_up_to_its_number() {
        let forced = Breaker {
            force_overwrites: 500,
            ..Breaker::default()
        };
        assert_eq!(over(&forced, 0, 500, 0), []);
        assert_eq!(over(&forced, 0, 501, 0), [(Destruction::Overwrite, 500)]);
        assert_eq!(over(&forced, 0, 0, 101), [(Destruction::Delete, 100)]);
        assert_eq!(over(&forced, 10_000, 2_000, 0), []);
    }

    #[test]
    fn each_key_counts_once_at_each_replica_that_it_is_taken_from() {
        let mut toll = Toll::new(3);
        toll.add(&Losses::from([(0, Loss::Overwritten), (2, Loss::Deleted)]));
        toll.add(&Losses::from([(2, Loss::Overwritten)]));
        toll.add(&Losses::new());
        let planned: Vec<_> = toll
            .iter()
            .map(|one| (one.overwrites, one.deletes))
            .collect();
        assert_eq!(planned, [(1, 0), (0, 0), (1, 1)]);
    }

    #[test]
    fn a_trip_is_told_with_its_counts() {
        let tripped = Tripped {
            replica: ReplicaName("eu".into()),
            what: Destruction::Delete,
            keys: 500,
            held: 1_000,
            limit: 100,
        };
        assert_eq!(
            tripped.to_string(),
            "eu: deletes 500 of the 1000 keys it holds, more than 100"
        );
    }
}
