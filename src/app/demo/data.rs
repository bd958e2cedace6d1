//! What the servers are filled with: keys of every type with plausible names, the same from the same number.
//!
//! Deliberately absent: randomness. A key is a function of its number, so that three servers are filled alike and a
//! demo can be repeated.

use redis::Pipeline;

use crate::model::Millis;

/// How often the kinds repeat: the last digit of twenty chooses the kind of a key.
const CYCLE: u64 = 20;
const HOUR_MS: u64 = 60 * 60 * 1000;
/// The latest entry of every stream when the servers are filled.
pub(super) const STREAM_TIME: u64 = 1_700_000_000_000;

const FIRST_NAMES: [&str; 8] = [
    "Ada", "Bela", "Chidi", "Dana", "Emil", "Farah", "Goro", "Hana",
];
const LAST_NAMES: [&str; 8] = [
    "Abara", "Berg", "Costa", "Dogan", "Endo", "Fischer", "Gupta", "Haas",
];
const WORDS: [&str; 8] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "hazel",
];

/// What a key is, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// A string.
    Product,
    /// A string with an expiry.
    Session,
    /// A hash.
    User,
    /// A set.
    Cart,
    /// A sorted set.
    Board,
    /// A list.
    Inbox,
    /// A stream with a group.
    Events,
    /// A HyperLogLog.
    Visitors,
    /// A bitmap, with an expiry.
    Active,
    /// A sorted set of places.
    Couriers,
}

impl Family {
    /// The family of the key with this number.
    pub(super) fn of(number: u64) -> Self {
        match number % CYCLE {
            0..=4 => Self::Product,
            5..=8 => Self::Session,
            9..=12 => Self::User,
            13 | 14 => Self::Cart,
            15 => Self::Board,
            16 => Self::Inbox,
            17 => Self::Events,
            18 if (number / CYCLE).is_multiple_of(2) => Self::Visitors,
            18 => Self::Active,
            _ => Self::Couriers,
        }
    }
}

/// The name of the key with this number.
pub(super) fn name(number: u64) -> String {
    match Family::of(number) {
        Family::Product => format!("product:{number}"),
        Family::Session => format!("session:{:016x}", Dice::new(number).next()),
        Family::User => format!("user:{number}"),
        Family::Cart => format!("cart:{number}"),
        Family::Board => format!("leaderboard:{number}"),
        Family::Inbox => format!("inbox:{number}"),
        Family::Events => format!("events:{number}"),
        Family::Visitors => format!("visitors:{number}"),
        Family::Active => format!("active:{number}"),
        Family::Couriers => format!("couriers:{number}"),
    }
}

/// Appends the commands that make the key with this number.
pub(super) fn fill(number: u64, now: Millis, to: &mut Pipeline) {
    let key = name(number);
    let mut dice = Dice::new(number ^ 0x5eed);
    match Family::of(number) {
        Family::Product => {
            let (word, price) = (dice.pick(&WORDS), dice.below(90_000) + 99);
            let json = format!(r#"{{"sku":"{word}-{number}","price_cents":{price}}}"#);
            to.cmd("SET").arg(key).arg(json);
        }
        Family::Session => {
            let token = format!(
                "uid={};ip=10.{}.{}.7",
                number,
                dice.below(256),
                dice.below(256)
            );
            to.cmd("SET").arg(key).arg(token);
            to.arg("PXAT").arg(ends(now, 24 + dice.below(480)));
        }
        Family::User => user(key, &mut dice, to),
        Family::Cart => elements("SADD", key, &mut dice, to, |dice| {
            format!("sku:{}", dice.below(10_000))
        }),
        Family::Board => {
            to.cmd("ZADD").arg(key);
            for _ in 0..5 + dice.below(8) {
                let score = dice.below(100_000);
                to.arg(score).arg(format!("player:{}", dice.below(5_000)));
            }
        }
        Family::Inbox => elements("RPUSH", key, &mut dice, to, |dice| {
            let word = dice.pick(&WORDS);
            format!("message {} about {word}", dice.below(1_000_000))
        }),
        Family::Events => events(&key, &mut dice, to),
        Family::Visitors => elements("PFADD", key, &mut dice, to, |dice| {
            format!("visitor-{:x}", dice.next())
        }),
        Family::Active => {
            for _ in 0..4 {
                to.cmd("SETBIT").arg(&key).arg(dice.below(2_048)).arg(1);
            }
            to.cmd("PEXPIREAT").arg(&key).arg(ends(now, 2_000));
        }
        Family::Couriers => couriers(key, &mut dice, to),
    }
}

/// An expiry so many hours from now.
pub(super) fn ends(now: Millis, hours: u64) -> u64 {
    u64::try_from(now.0).unwrap_or_default() + hours * HOUR_MS
}

fn user(key: String, dice: &mut Dice, to: &mut Pipeline) {
    let (first, last) = (dice.pick(&FIRST_NAMES), dice.pick(&LAST_NAMES));
    to.cmd("HSET").arg(key);
    to.arg("name").arg(format!("{first} {last}"));
    to.arg("email").arg(format!(
        "{}.{}@example.com",
        first.to_lowercase(),
        last.to_lowercase()
    ));
    to.arg("visits").arg(dice.below(1_000));
}

fn elements(
    command: &str,
    key: String,
    dice: &mut Dice,
    to: &mut Pipeline,
    element: impl Fn(&mut Dice) -> String,
) {
    to.cmd(command).arg(key);
    for _ in 0..3 + dice.below(6) {
        to.arg(element(dice));
    }
}

fn events(key: &str, dice: &mut Dice, to: &mut Pipeline) {
    let count = 2 + dice.below(4);
    for entry in 0..count {
        let id = format!("{}-0", STREAM_TIME - (count - 1 - entry) * 1_000);
        to.cmd("XADD").arg(key).arg(id).arg("event");
        to.arg(dice.pick(&WORDS)).arg("by").arg(dice.below(5_000));
    }
    let group = to.cmd("XGROUP").arg("CREATE").arg(key);
    group.arg("billing").arg("$");
}

fn couriers(key: String, dice: &mut Dice, to: &mut Pipeline) {
    to.cmd("GEOADD").arg(key);
    for _ in 0..3 + dice.below(4) {
        let (longitude, latitude) = (dice.below(360_000), dice.below(160_000));
        to.arg(longitude as f64 / 1_000.0 - 180.0);
        to.arg(latitude as f64 / 1_000.0 - 80.0);
        to.arg(format!("courier:{}", dice.below(500)));
    }
}

/// A small generator (SplitMix64): the same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a>(&mut self, words: &[&'a str; 8]) -> &'a str {
        words[self.below(8) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn packed(number: u64) -> Vec<u8> {
        let mut commands = Pipeline::new();
        fill(number, Millis(1_000), &mut commands);
        commands.get_packed_pipeline()
    }

    #[test]
    fn the_same_number_is_the_same_key() {
        for number in 0..200 {
            assert_eq!(packed(number), packed(number));
        }
    }

    #[test]
    fn the_fewest_keys_a_demo_takes_have_every_family_and_distinct_names() {
        let names: BTreeSet<String> = (0..100).map(name).collect();
        assert_eq!(names.len(), 100);
        let families: BTreeSet<String> = (0..100)
            .map(|number| format!("{:?}", Family::of(number)))
            .collect();
        assert_eq!(families.len(), 10);
    }
}
