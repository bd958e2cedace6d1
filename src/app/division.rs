//! Into how many segments a database is divided, by how long it takes to read. Each costs a scan of all names, so small
//! ones are not divided, and of the time of large ones the scans are a small share.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::model::{DbIndex, SlotRange};
use crate::repair::{Mode, Rates, Run};
use crate::store::Facts;

/// Keys of a replica that are read in a second where no limit says less.
const KEYS_PER_SECOND: f64 = 100_000.0;

/// What a scan of names takes for each key that is not read, in seconds.
const SCAN_OF_NAME: f64 = 0.7e-6;

/// Of the time of a run, the share that the scans of all segments but the first may take: one of so many.
const SHARE_OF_SCANS: f64 = 5.0;

/// The most segments of a database.
const MOST: u32 = 1024;

/// How large a database is, on the replica where it takes longest.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    keys: u64,
    bytes: u64,
}

/// Into how many segments each database of a run is divided that is not to be one; about one takes as long as `target`.
pub(super) fn segments(
    run: &Run,
    facts: &[Option<Facts>],
    target: Duration,
) -> BTreeMap<Option<DbIndex>, u32> {
    let is_noted = run.settings.mode == Mode::Repair && run.memory.is_some();
    // A run of the first so many divergences is not a large one, and neither is one of some keys.
    if !is_noted || run.settings.limit.is_some() || run.scope.lists_keys() {
        return BTreeMap::new();
    }
    let databases = run.scope.databases().into_iter();
    let rates = run.throttle.rates();
    databases
        .map(|db| {
            let sizes = facts.iter().flatten().map(|facts| size_of(facts, db));
            let parts = sizes.map(|size| parts(size, &rates, target)).max();
            (db, parts.unwrap_or(1))
        })
        .collect()
}

/// These slots in order: what is finished of them, and the rest in as many parts as its share of all of them.
pub(super) fn cut(slots: SlotRange, finished: &[SlotRange], parts: u32) -> Vec<SlotRange> {
    let gaps = slots.without(finished.iter().copied());
    let of_gap = |gap: &SlotRange| {
        let share = u64::from(parts) * u64::from(gap.count());
        let share = share.div_ceil(u64::from(slots.count()));
        gap.divided(u32::try_from(share).unwrap_or(u32::MAX))
    };
    let open: Vec<SlotRange> = gaps.iter().flat_map(of_gap).collect();
    let mut all = slots.without(open.iter().copied());
    all.extend(open);
    all.sort_by_key(|one| one.first());
    all
}

/// About: what all databases take, shared out by their keys.
fn size_of(facts: &Facts, db: Option<DbIndex>) -> Size {
    let index = db.unwrap_or(facts.default_db);
    let keys = facts.keys.get(&index).copied().unwrap_or(0);
    let all: u64 = facts.keys.values().sum();
    let bytes = u128::from(facts.used_memory) * u128::from(keys) / u128::from(all.max(1));
    Size {
        keys,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

fn parts(size: Size, rates: &Rates, target: Duration) -> u32 {
    let keys = size.keys as f64;
    let at =
        |amount: f64, rate: Option<NonZeroU64>| rate.map_or(0.0, |rate| amount / rate.get() as f64);
    let limited =
        at(keys, rates.keys_per_second).max(at(size.bytes as f64, rates.bytes_per_second));
    let seconds = (keys / KEYS_PER_SECOND / rates.intensity.get()).max(limited);
    let wanted = seconds / target.as_secs_f64().max(f64::MIN_POSITIVE);
    let affordable = 1.0 + seconds / SHARE_OF_SCANS / (keys * SCAN_OF_NAME).max(f64::MIN_POSITIVE);
    // A cast of a float stays within the bounds of the number.
    (wanted.ceil().min(affordable) as u32).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Intensity;

    const TARGET: Duration = Duration::from_secs(300);

    fn parts_of(keys: u64, rates: Rates) -> u32 {
        let bytes = keys * 100;
        parts(Size { keys, bytes }, &rates, TARGET)
    }

    #[test]
    fn what_is_read_within_the_target_is_one_segment() {
        for keys in [0, 1, 1_000_000, 30_000_000] {
            assert_eq!(parts_of(keys, Rates::UNLIMITED), 1, "{keys} keys");
        }
    }

    #[test]
    fn what_takes_longer_is_divided_as_the_limits_say() {
        let rate = |keys: u64| Rates {
            keys_per_second: NonZeroU64::new(keys),
            ..Rates::UNLIMITED
        };
        assert_eq!(parts_of(1_000_000, rate(5_000)), 1);
        assert_eq!(parts_of(3_000_000, rate(1_000)), 10);
        assert_eq!(parts_of(3_000_001, rate(1_000)), 11);
        let bytes = Rates {
            bytes_per_second: NonZeroU64::new(100_000),
            ..Rates::UNLIMITED
        };
        assert_eq!(parts_of(3_000_000, bytes), 10);
        let gentle = Rates {
            intensity: Intensity::new(0.01).unwrap(),
            ..Rates::UNLIMITED
        };
        assert_eq!(parts_of(3_000_000, gentle), 10);
        assert_eq!(parts_of(u64::MAX / 200, rate(1)), MOST);
    }

    #[test]
    fn what_is_finished_is_a_segment_and_the_rest_is_divided_by_its_share() {
        let range = |text: &str| text.parse::<SlotRange>().unwrap();
        let table = [
            ("0-99", vec![], 1, "0-99"),
            ("0-99", vec![], 2, "0-49 50-99"),
            ("0-99", vec!["0-49"], 1, "0-49 50-99"),
            ("0-99", vec!["0-49"], 4, "0-49 50-74 75-99"),
            ("0-99", vec!["90-200", "0-49"], 4, "0-49 50-69 70-89 90-99"),
            ("0-99", vec!["0-16383"], 4, "0-99"),
            ("5-5", vec![], 9, "5-5"),
        ];
        for (slots, finished, parts, expected) in table {
            let finished: Vec<SlotRange> = finished.iter().map(|text| range(text)).collect();
            let found = cut(range(slots), &finished, parts);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{slots} in {parts}");
        }
    }

    #[test]
    fn scans_of_names_take_a_small_share_of_the_time() {
        // A scan of so many names takes twelve minutes, the reading almost three hours.
        assert_eq!(parts_of(1_000_000_000, Rates::UNLIMITED), 3);
    }
}
