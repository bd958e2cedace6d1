//! About how much a replica holds, and what reading it would take: from a sample of its keys.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::model::{DbIndex, Keyspace, KeyspaceName, Millis};
use crate::repair::Scope;
use crate::store::{Deployment, Facts, Sample, StoreError};

use super::check::CheckedServer;

/// How many keys of a database are looked at.
const SAMPLE_KEYS: usize = 1_000;

/// What an entry costs in memory beside its key.
const ENTRY_BYTES: u64 = 64;

/// About what a replica holds of what is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Size {
    /// Keys, by database and keyspace.
    pub keyspaces: BTreeMap<(DbIndex, KeyspaceName), u64>,
    /// Bytes to read.
    pub bytes: u64,
    /// Bytes of all names.
    name_bytes: u64,
    /// How long reading them would take without a limit.
    time: Duration,
}

impl Size {
    fn keys(&self) -> u64 {
        self.keyspaces.values().sum()
    }

    /// Adds a database of so many keys, from a sample that took so many milliseconds.
    fn add<'a>(
        &mut self,
        db: DbIndex,
        keys: u64,
        sample: &Sample,
        millis: u64,
        owner: impl Fn(&[u8]) -> Option<&'a Keyspace>,
    ) {
        let named = sample.names.len() as u64;
        let (mut owned, mut name_bytes) = (BTreeMap::new(), 0);
        for name in &sample.names {
            if let Some(owner) = owner(name.as_bytes()) {
                *owned.entry(&owner.name).or_insert(0) += 1;
                name_bytes += name.as_bytes().len() as u64;
            }
        }
        let share = scaled(keys, owned.values().sum(), named);
        self.bytes += scaled(sample.bytes, share, sample.read);
        self.time += Duration::from_millis(scaled(millis, share, sample.read));
        self.name_bytes += scaled(name_bytes, keys, named);
        for (name, count) in owned {
            let count = scaled(count, keys, named);
            self.keyspaces.insert((db, name.clone()), count);
        }
    }
}

/// What a run would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Keys to read, on all replicas together.
    pub keys: u64,
    /// Bytes to read, on all replicas together.
    pub bytes: u64,
    /// How long it would take at the configured limits.
    pub time: Duration,
    /// Bytes of memory that it would use at the most.
    pub memory: u64,
}

/// Looks at some keys of every database that is compared.
pub(super) async fn measure(
    server: &dyn Deployment,
    facts: &Facts,
    scope: &Scope,
    clock: &dyn Clock,
) -> Result<Size, StoreError> {
    let mut size = Size::default();
    for db in scope.databases() {
        let Millis(before) = clock.now();
        let sample = server.sample(db, SAMPLE_KEYS).await?;
        let Millis(after) = clock.now();
        let index = db.unwrap_or(facts.default_db);
        let keys = facts.keys.get(&index).copied().unwrap_or(0);
        let time = u64::try_from(after - before).unwrap_or(0);
        size.add(index, keys, &sample, time, |name| scope.owner(db, name));
    }
    Ok(size)
}

/// What a part of a sample stands for.
fn scaled(part: u64, all: u64, sampled: u64) -> u64 {
    let product = u128::from(part) * u128::from(all) / u128::from(sampled.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// What a run over these replicas would take: they are read at the same time. Nothing where one was not measured.
pub(super) fn estimate(servers: &[CheckedServer], config: &Config) -> Option<Estimate> {
    let sizes: Vec<&Size> = servers.iter().filter_map(|one| one.size.as_ref()).collect();
    if sizes.len() < 2 {
        return None;
    }
    let limits = &config.limits;
    let at_rate = |amount: u64, rate: Option<std::num::NonZeroU64>| {
        rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(amount as f64 / rate.get() as f64)
        })
    };
    let time = |size: &&Size| {
        let by_keys = at_rate(size.keys(), limits.keys_per_second);
        let by_bytes = at_rate(size.bytes, limits.bytes_per_second);
        size.time.max(by_keys).max(by_bytes)
    };
    let keys = sizes.iter().map(|size| size.keys()).sum();
    let names: u64 = sizes.iter().map(|size| size.name_bytes).sum();
    Some(Estimate {
        keys,
        bytes: sizes.iter().map(|size| size.bytes).sum(),
        time: sizes.iter().map(time).max()? + config.guards.settle,
        memory: (names + keys * ENTRY_BYTES).min(limits.memory.as_u64()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;

    #[test]
    fn a_sample_stands_for_all() {
        assert_eq!(scaled(10, 1_000_000, 1_000), 10_000);
        assert_eq!(scaled(0, 5, 0), 0);
        assert_eq!(scaled(u64::MAX, u64::MAX, 1), u64::MAX);
        let everything = Keyspace::everything();
        let sample = Sample {
            names: ["a1", "a2", "b1", "b2"]
                .map(|name| Key::copied(name.as_bytes()))
                .into(),
            read: 4,
            bytes: 400,
        };
        let mut size = Size::default();
        for db in 0..2 {
            let owner = |name: &[u8]| name.starts_with(b"a").then_some(&everything);
            size.add(DbIndex(db), 1_000, &sample, 10, owner);
        }
        assert_eq!(size.keys(), 2 * 500);
        assert_eq!(size.bytes, 2 * 500 * 100);
        assert_eq!(size.name_bytes, 2 * 500 * 2);
    }
}
