//! Clients: random writes, each told to the specification and sent to a server as a plain command.
//!
//! Between two runs a client's write is left out where no memory could know of it: a member that comes and goes between
//! two runs, which is a change undone; a write to a server that was rolled back, to what it held before it was.

use std::collections::BTreeSet;

use super::dice::Dice;
use super::spec::{Name, Past, Spec};

const TEXTS: u64 = 150;
const COUNTERS: u64 = 20;
const SETS: u64 = 10;
const HASHES: u64 = 10;
const RANKS: u64 = 10;
const STREAMS: u64 = 5;
const LISTS: u64 = 10;
const MEMBERS: u64 = 20;
/// Far beyond every horizon; expiries lie further apart than the tolerance.
const EXPIRIES_FROM_MS: u64 = 4_000_000_000_000;
const EXPIRY_STEP_MS: u64 = 10_000;

/// A command, word by word.
pub(crate) type Command = Vec<String>;

fn command<const N: usize>(words: [&str; N]) -> Command {
    words.map(str::to_owned).to_vec()
}

fn whole(key: &str) -> Name {
    (key.to_owned(), String::new())
}

/// The clients of all servers.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) dice: Dice,
    /// What was written at each server since the last run that was undisturbed.
    touched: Vec<BTreeSet<Name>>,
    /// Counters that somebody deleted since.
    reset: BTreeSet<String>,
    /// A run is under way, or one was killed: only what nobody has touched since the last one is written.
    pub(crate) is_late: bool,
    /// Lists are written at several servers between two runs.
    pub(crate) joins_lists: bool,
}

impl Clients {
    pub(crate) fn new(dice: Dice, servers: usize) -> Self {
        Self {
            dice,
            touched: vec![BTreeSet::new(); servers],
            reset: BTreeSet::new(),
            is_late: false,
            joins_lists: true,
        }
    }

    /// A run of all servers was undisturbed.
    pub(crate) fn settle(&mut self) {
        self.touched.iter_mut().for_each(BTreeSet::clear);
        self.reset.clear();
        self.is_late = false;
    }

    /// What was written at a server is not there any more.
    pub(crate) fn forget(&mut self, server: usize) {
        self.touched[server].clear();
    }

    /// One write at a server, if chance finds one.
    pub(crate) fn write(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        match self.dice.below(100) {
            0..=24 => self.member(spec, server),
            25..=44 => self.field(spec, server),
            45..=56 => self.score(spec, server),
            57..=74 => self.text(spec, server),
            75..=86 => self.count(spec, server),
            87..=93 => self.entry(spec, server),
            _ => self.list(spec, server),
        }
    }

    fn key(&mut self, family: &str, most: u64) -> String {
        format!("{family}{}", self.dice.below(most))
    }

    /// Whether an element may be written here now; then it counts as written.
    fn take(&mut self, server: usize, name: &Name, repeats: bool) -> bool {
        let is_free = match (self.is_late, repeats) {
            (true, _) => self.touched.iter().all(|all| !all.contains(name)),
            (false, true) => !self.touched[server].contains(name),
            (false, false) => true,
        };
        if is_free {
            self.touched[server].insert(name.clone());
        }
        is_free
    }

    /// Removes a whole collection, if every element of it may be written.
    fn drop_all(&mut self, spec: &mut Spec, server: usize, key: &str) -> Option<Command> {
        let names = spec.sights[server].elements_of(key);
        let names: Vec<Name> = names.into_iter().map(|one| (key.to_owned(), one)).collect();
        let is_free = names.iter().all(|one| !self.touched[server].contains(one));
        if self.is_late || !is_free || names.is_empty() {
            return None;
        }
        for name in &names {
            self.touched[server].insert(name.clone());
            spec.remove(server, name);
        }
        Some(command(["DEL", key]))
    }

    fn member(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        let key = self.key("set", SETS);
        if self.dice.percent(6) {
            return self.drop_all(spec, server, &key);
        }
        let member = match spec.pasts[server] {
            Past::Intact => format!("m{}", self.dice.below(MEMBERS)),
            Past::RolledBack | Past::Newcomer if self.dice.percent(50) => {
                format!("m{}", self.dice.below(MEMBERS))
            }
            Past::RolledBack | Past::Newcomer => format!("new{}", spec.dot()),
        };
        let name = (key, member);
        let held = spec.sights[server].item(&name).is_some();
        // A member that it may have held since it was rolled back to looks like one that came back with old data.
        let is_replay = spec.pasts[server] == Past::RolledBack && spec.was_agreed(&name);
        if (!held && is_replay) || !self.take(server, &name, true) {
            return None;
        }
        let (key, member) = (&name.0, &name.1);
        if held {
            spec.remove(server, &name);
            return Some(command(["SREM", key, member]));
        }
        spec.put(server, &name, String::new());
        Some(command(["SADD", key, member]))
    }

    fn field(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        let key = self.key("hash", HASHES);
        if self.dice.percent(6) {
            return self.drop_all(spec, server, &key);
        }
        let name = (key, format!("f{}", self.dice.below(MEMBERS)));
        if !self.take(server, &name, false) {
            return None;
        }
        let held = spec.sights[server].item(&name).is_some();
        if held && self.dice.percent(45) {
            spec.remove(server, &name);
            return Some(command(["HDEL", &name.0, &name.1]));
        }
        let value = format!("v{}", spec.dot());
        spec.put(server, &name, value.clone());
        Some(command(["HSET", &name.0, &name.1, &value]))
    }

    fn score(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        let name = (
            self.key("rank", RANKS),
            format!("p{}", self.dice.below(MEMBERS)),
        );
        if !self.take(server, &name, false) {
            return None;
        }
        let held = spec.sights[server].item(&name).is_some();
        if held && self.dice.percent(40) {
            spec.remove(server, &name);
            return Some(command(["ZREM", &name.0, &name.1]));
        }
        let score = spec.dot().to_string();
        spec.put(server, &name, score.clone());
        Some(command(["ZADD", &name.0, &score, &name.1]))
    }

    fn text(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        let name = whole(&self.key("text", TEXTS));
        if !self.take(server, &name, false) {
            return None;
        }
        let held = spec.sights[server].item(&name).is_some();
        if held && self.dice.percent(40) {
            spec.remove(server, &name);
            return Some(command(["DEL", &name.0]));
        }
        let number = spec.dot();
        let value = format!("t{number}");
        if self.dice.percent(20) {
            let expiry = (EXPIRIES_FROM_MS + number * EXPIRY_STEP_MS).to_string();
            spec.put(server, &name, format!("{value} until {expiry}"));
            return Some(command(["SET", &name.0, &value, "PXAT", &expiry]));
        }
        spec.put(server, &name, value.clone());
        Some(command(["SET", &name.0, &value]))
    }

    fn count(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        let key = self.key("count", COUNTERS);
        let name = whole(&key);
        let is_idle = self.touched.iter().all(|all| !all.contains(&name));
        let held = spec.sights[server].item(&name).is_some();
        // A counter that was never agreed on takes the greatest, and deletes among increments are told elsewhere.
        let is_forgetful = spec.pasts[server] != Past::Intact;
        if self.reset.contains(&key) || (is_forgetful && !spec.was_agreed(&name)) {
            return None;
        }
        if held && is_idle && !self.is_late && !is_forgetful && self.dice.percent(25) {
            self.reset.insert(key.clone());
            self.touched[server].insert(name);
            spec.reset(server, &key);
            return Some(command(["DEL", &key]));
        }
        self.touched[server].insert(name);
        // A sum that a server held before it was rolled back would look like old data: there increments are large.
        let amount = match is_forgetful {
            true => (1 << 24) + self.dice.below(1 << 40) as i64,
            false => *self.dice.one_of(&[1, 1, 2, 5, 40, -3]),
        };
        spec.increase(server, &key, amount);
        Some(command(["INCRBY", &key, &amount.to_string()]))
    }

    fn entry(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        let key = self.key("stream", STREAMS);
        let mut ids = spec.sights[server].elements_of(&key);
        if self.dice.percent(5) {
            return self.drop_all(spec, server, &key);
        }
        // The first entry stays: when it goes, that is a trim, which takes along what its client has not seen.
        if ids.len() > 1 && self.dice.percent(40) {
            let id = ids.remove(1 + self.dice.below(ids.len() as u64 - 1) as usize);
            let name = (key, id);
            if !self.take(server, &name, true) {
                return None;
            }
            spec.remove(server, &name);
            return Some(command(["XDEL", &name.0, &name.1]));
        }
        let name = (key, format!("{}-1", 1_000_000 + spec.dot()));
        self.take(server, &name, false);
        spec.put(server, &name, String::new());
        Some(command(["XADD", &name.0, &name.1, "id", &name.1]))
    }

    fn list(&mut self, spec: &mut Spec, server: usize) -> Option<Command> {
        let key = self.key("list", LISTS);
        let name = whole(&key);
        let mut others = self
            .touched
            .iter()
            .enumerate()
            .filter(|(one, _)| *one != server);
        let is_alone = others.all(|(_, all)| !all.contains(&name));
        if spec.pasts[server] != Past::Intact
            || !(is_alone || self.joins_lists)
            || !self.take(server, &name, false)
        {
            return None;
        }
        let token = format!("e{}", spec.dot());
        let list = spec.list(server, &key);
        Some(match self.dice.below(10) {
            0..=3 => {
                list.push(token.clone());
                command(["RPUSH", &key, &token])
            }
            4..=6 => {
                list.insert(0, token.clone());
                command(["LPUSH", &key, &token])
            }
            _ if list.is_empty() => return None,
            7 => {
                list.remove(0);
                command(["LPOP", &key])
            }
            8 => {
                list.pop();
                command(["RPOP", &key])
            }
            _ => {
                list.clear();
                command(["DEL", &key])
            }
        })
    }
}
