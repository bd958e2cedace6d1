//! Random histories through the functions, on servers that hear of each other by repairs alone, end as their
//! operations do when they are played one after the other in the order of their stamps.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

#[path = "model_support/dice.rs"]
mod dice;
mod functions_support;
mod support;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use redis::Value;

use dice::Dice;
use functions_support::Writers;
use support::judge::{assert_equal, query};
use support::reknit::Reknit;

/// The seeds that are played; the last ones once found something. `REPLAY_SEEDS=FROM-TO` plays others.
const SEEDS: [u64; 9] = [0, 1, 2, 3, 4, 5, 70, 107, 206];
const STEPS: usize = 90;
const REPLICAS: usize = 3;

/// What an operation did to a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    /// An element was added, or a string set where it has no name.
    Add(Option<String>, String),
    /// An element was removed, or the key.
    Remove(Option<String>),
}

impl Deed {
    /// The order of deeds of one time: a string has overwritten elements, and a removal comes last.
    fn order(&self) -> (u8, &Self) {
        let place = match self {
            Self::Add(Some(_), _) => 0,
            Self::Add(None, _) => 1,
            Self::Remove(_) => 2,
        };
        (place, self)
    }
}

/// By the times of two deeds.
fn by_time(one: &(f64, Deed), other: &(f64, Deed)) -> Ordering {
    let deeds = || one.1.order().cmp(&other.1.order());
    one.0.total_cmp(&other.0).then_with(deeds)
}

/// When a counter began, by the bits of the stamp, and from what: a removal is behind all numbers.
type Beginning = (u64, Option<i64>);

/// All that was done, as far as it counts.
#[derive(Default)]
struct History {
    deeds: BTreeMap<String, Vec<(f64, Deed)>>,
    /// By counter: the latest beginning that each replica knows.
    begun: BTreeMap<String, [Beginning; REPLICAS]>,
    beginnings: BTreeMap<String, Vec<Beginning>>,
    /// By counter: since which beginning, and how much.
    counted: BTreeMap<String, Vec<(u64, i64)>>,
}

impl History {
    fn note(&mut self, key: &str, at: f64, deed: Deed) {
        self.deeds
            .entry(key.to_owned())
            .or_default()
            .push((at, deed));
    }

    fn begin(&mut self, key: &str, replica: usize, at: f64, base: Option<i64>) {
        let beginning = (at.to_bits(), base);
        self.begun.entry(key.to_owned()).or_default()[replica] = beginning;
        self.beginnings
            .entry(key.to_owned())
            .or_default()
            .push(beginning);
    }

    fn count(&mut self, key: &str, replica: usize, by: i64) {
        let since = self.begun.entry(key.to_owned()).or_default()[replica].0;
        self.counted
            .entry(key.to_owned())
            .or_default()
            .push((since, by));
    }

    /// A repair tells all replicas of the latest beginning.
    fn tell(&mut self) {
        for known in self.begun.values_mut() {
            let latest = *known.iter().max_by_key(|one| one.0).unwrap();
            *known = [latest; REPLICAS];
        }
    }

    /// What a counter stands at; nothing where it is gone.
    fn counter(&self, key: &str) -> Option<i64> {
        let all = self.beginnings.get(key).into_iter().flatten();
        let since = all.clone().map(|one| one.0).max().unwrap_or(0);
        let bases: Vec<Option<i64>> = all.filter(|one| one.0 == since).map(|one| one.1).collect();
        let is_removed = bases.contains(&None);
        let base = if is_removed {
            None
        } else {
            bases.into_iter().flatten().max()
        };
        let counted = self.counted.get(key).into_iter().flatten();
        let mut counted = counted.filter(|one| one.0 == since).peekable();
        (base.is_some() || counted.peek().is_some())
            .then(|| base.unwrap_or(0) + counted.map(|one| one.1).sum::<i64>())
    }

    /// Elements with their values, in the order of stamps; a string has no name.
    fn replayed(&self, key: &str) -> BTreeMap<Option<String>, String> {
        let mut deeds = self.deeds.get(key).cloned().unwrap_or_default();
        deeds.sort_by(by_time);
        let mut held = BTreeMap::new();
        for (_, deed) in deeds {
            match deed {
                Deed::Add(None, value) => held = BTreeMap::from([(None, value)]),
                Deed::Add(name, value) => {
                    held.remove(&None);
                    held.insert(name, value);
                }
                Deed::Remove(None) => held.clear(),
                Deed::Remove(name) => drop(held.remove(&name)),
            }
        }
        held
    }
}

impl History {
    /// Whether that is how a key may end. Of elements that came and went before anybody else heard of them nothing is
    /// left that tells of their addition: then the string that they would have replaced stands as well.
    fn allows(&self, key: &str, found: &BTreeMap<Option<String>, String>) -> bool {
        let replayed = self.replayed(key);
        let whole = self.deeds.get(key).into_iter().flatten();
        let whole =
            whole.filter(|(_, deed)| matches!(deed, Deed::Add(None, _) | Deed::Remove(None)));
        let last = whole.max_by(|one, other| by_time(one, other));
        let stands = match last {
            Some((_, Deed::Add(None, value))) => BTreeMap::from([(None, value.clone())]),
            _ => BTreeMap::new(),
        };
        *found == replayed || replayed.is_empty() && *found == stands
    }
}

/// One operation at one replica.
fn step(dice: &mut Dice, writers: &mut Writers, history: &mut History) {
    let replica = dice.below(REPLICAS as u64) as usize;
    let key = *dice.one_of(&["s0", "s1", "h", "t", "z", "c0", "c1", "m", "n"]);
    let name = *dice.one_of(&["a", "b", "c"]);
    // As many digits each: then text and number have one order.
    let value = (100 + dice.below(900)).to_string();
    if dice.percent(12) {
        writers.call(replica, "del", key, &[]);
        let at = writers.score(replica, "._rem-set", key).unwrap();
        history.begin(key, replica, at, None);
        return history.note(key, at, Deed::Remove(None));
    }
    let is_removal = dice.percent(35);
    let (function, words): (&str, Vec<&str>) = match (key, is_removal) {
        ("c0" | "c1", _) if dice.percent(70) => {
            let by = dice.below(40) as i64 - 15;
            writers.call(replica, "incrby", key, &[&by.to_string()]);
            return history.count(key, replica, by);
        }
        ("c0" | "c1" | "s0" | "s1", _) => ("set", vec![&value]),
        ("m" | "n", _) if dice.percent(25) => ("set", vec![&value]),
        ("h" | "m", false) => ("hset", vec![name, &value]),
        ("h" | "m", true) => ("hdel", vec![name]),
        ("t" | "n", false) => ("sadd", vec![name]),
        ("t" | "n", true) => ("srem", vec![name]),
        ("z", false) => ("zadd", vec![&value, name]),
        (_, _) => ("zrem", vec![name]),
    };
    // Another type stands there: then nothing is done.
    if writers.try_call(replica, function, key, &words).is_err() {
        return;
    }
    let element = Some(name.to_owned());
    let (set, deed) = match function {
        "set" => ("._add-set".to_owned(), Deed::Add(None, value)),
        "sadd" => (
            format!("._add-set_{key}"),
            Deed::Add(element, String::new()),
        ),
        "hset" | "zadd" => (format!("._add-set_{key}"), Deed::Add(element, value)),
        _ => (format!("._rem-set_{key}"), Deed::Remove(element)),
    };
    let member = if function == "set" { key } else { name };
    let at = writers.score(replica, &set, member).unwrap();
    if let Deed::Add(None, value) = &deed {
        history.begin(key, replica, at, Some(value.parse().unwrap()));
    }
    history.note(key, at, deed);
}

/// What a replica holds of a key, told as a history tells it.
fn held(writers: &mut Writers, replica: usize, key: &str) -> BTreeMap<Option<String>, String> {
    let client = &mut writers.clients[replica];
    let kind: String = query(client, &[b"TYPE", key.as_bytes()]);
    let pairs: Vec<String> = match kind.as_str() {
        "none" => return BTreeMap::new(),
        "string" => {
            let value = query(client, &[b"GET", key.as_bytes()]);
            return BTreeMap::from([(None, value)]);
        }
        "hash" => query(client, &[b"HGETALL", key.as_bytes()]),
        "zset" => query(
            client,
            &[b"ZRANGE", key.as_bytes(), b"0", b"-1", b"WITHSCORES"],
        ),
        _ => {
            let members: Vec<String> = query(client, &[b"SMEMBERS", key.as_bytes()]);
            return members
                .into_iter()
                .map(|one| (Some(one), String::new()))
                .collect();
        }
    };
    let pairs = pairs.chunks(2);
    pairs
        .map(|pair| (Some(pair[0].clone()), pair[1].clone()))
        .collect()
}

/// Clocks that are coarse, so that stamps collide, and that go ahead of others and fall behind.
fn set_clock(dice: &mut Dice, writers: &Writers, replica: usize) {
    let name = format!("rack{}", replica + 1);
    let library = Reknit::new(["functions", "show", &name]).run().stdout;
    let exact = "time[1] * 1000 + math.floor(time[2] / 1000)";
    assert!(library.contains(exact), "{library}");
    let skew = *dice.one_of(&[0_i64, 0, 5000, -5000, 40]);
    let grain = *dice.one_of(&[1, 64, 2000]);
    let coarse = format!("math.floor(({exact}) / {grain}) * {grain} + ({skew})");
    let library = library.replace(exact, &coarse);
    writers.racks.servers[replica].cmd(["FUNCTION", "LOAD", "REPLACE", &library]);
}

fn seeds() -> Vec<u64> {
    let Ok(asked) = std::env::var("REPLAY_SEEDS") else {
        return SEEDS.to_vec();
    };
    let (from, to) = asked.split_once('-').unwrap();
    (from.parse().unwrap()..to.parse().unwrap()).collect()
}

#[test]
fn a_history_ends_as_its_operations_do_in_the_order_of_their_stamps() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let mut writers = Writers::new(REPLICAS);
        let mut history = History::default();
        for _ in 0..STEPS {
            if dice.percent(4) {
                writers.racks.repair();
                history.tell();
            }
            if dice.percent(8) {
                let replica = dice.below(REPLICAS as u64) as usize;
                set_clock(&mut dice, &writers, replica);
            }
            step(&mut dice, &mut writers, &mut history);
        }
        writers.racks.repair();
        for replica in 0..REPLICAS {
            for key in ["s0", "s1", "h", "t", "z", "m", "n"] {
                let found = held(&mut writers, replica, key);
                let (replayed, deeds) = (history.replayed(key), history.deeds.get(key));
                assert!(
                    history.allows(key, &found),
                    "seed {seed}: {key} at {replica} is {found:?}, not {replayed:?}, of {deeds:?}"
                );
            }
            for key in ["c0", "c1"] {
                let found = writers
                    .get(replica, key)
                    .map(|text| text.parse::<i64>().unwrap());
                assert_eq!(
                    found,
                    history.counter(key),
                    "seed {seed}: {key} at {replica}"
                );
            }
        }
        let servers: Vec<_> = writers.racks.servers.iter().collect();
        let again = writers.racks.reknit("repair").run();
        again.assert_code(0);
        assert!(
            again.stdout.contains("in sync: "),
            "seed {seed}\n{}",
            again.stdout
        );
        let _: Vec<Value> = servers
            .iter()
            .map(|server| server.cmd(["DEL", "._add-set", "._rem-set"]))
            .collect();
        for server in &servers {
            let stamps: Vec<String> = query(&mut server.client(), &[b"KEYS", b"._*"]);
            for name in stamps {
                server.cmd(["DEL", &name]);
            }
        }
        assert_equal(&servers);
    }
}
