//! Histories in which replicas forget: they are flushed, restart with old data, evict keys; in the midst of partitions,
//! runs that die, transactions that arrive late.
//!
//! Every element has a name of its own, is added once and removed at most once, so what must hold is told without
//! dots, from what clients did and what the replicas hold:
//! * what a replica holds at the end, and no client ever removed, is everywhere;
//! * what a client removed is gone, if a run that nothing disturbed has read that its replica lacks it, unless an old
//!   snapshot brought back what its replica's clients had added and no run was sure to have read;
//! * a counter is the sum of what was added to it, but for what a forgetful replica lost before it was read, or added
//!   before it was told again what is agreed: that counts or not; and what it may tell again counts once more each time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reknit::model::{DbIndex, Key, ListRule, Op, Score, Selection, State, Value};
use reknit::store::Client;

use super::dice::Dice;
use super::history::Wrong;
use super::sight::items;
use super::site::{Ended, Plan, Site, keyspaces};
use super::watch::Trouble;
use super::world::World;

mod kept;
mod verdict;

use kept::{Kept, Unread};

/// After so many undisturbed runs of all replicas nothing is left to be done.
const QUIET_RUNS: usize = 3;
const DB: DbIndex = DbIndex(0);

/// Where an element is: a member of a collection, or a key of its own.
type Name = (Key, Bytes);

/// One element.
#[derive(Debug, Clone, Default)]
struct Life {
    added_at: usize,
    /// It was added where a replica had forgotten something: where that is known to be removed, it does not count.
    is_weak: bool,
    /// A run that nothing disturbed has read it since.
    is_read: bool,
    removed_at: Option<usize>,
    /// A run that nothing disturbed has read that it was removed.
    is_gone: bool,
    /// It may come back with old data.
    may_return: bool,
}

/// One increment of a counter.
#[derive(Debug, Clone)]
struct Increment {
    key: Key,
    replica: usize,
    amount: i64,
    is_read: bool,
    may_be_read: bool,
    /// How often it counts: at least, and at most.
    times: (i64, i64),
}

struct Forgetting {
    site: Site,
    dice: Dice,
    replicas: usize,
    lives: BTreeMap<Name, Life>,
    increments: Vec<Increment>,
    kept: Vec<Option<Kept>>,
    /// Keys that a replica holds again as a run has read them before: that is no change, until a client makes it one.
    again: BTreeMap<(usize, Key), Unread>,
    /// Replicas that forgot something and have not taken part in an undisturbed run since.
    doubtful: BTreeSet<usize>,
    evicting: BTreeSet<usize>,
    /// Which keys were evicted where.
    evicted: BTreeSet<(usize, Key)>,
    tokens: u64,
}

impl Forgetting {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0xf0f0);
        let replicas = 2 + dice.below(4) as usize;
        let world = World::new(Dice::new(seed), BTreeMap::new(), replicas);
        let site = Site::new(world, vec![DB], keyspaces(ListRule::Append, &[DB]));
        Self {
            site,
            dice,
            replicas,
            lives: BTreeMap::new(),
            increments: Vec::new(),
            kept: vec![None; replicas],
            again: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            evicting: BTreeSet::new(),
            evicted: BTreeSet::new(),
            tokens: 0,
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        self.site.world.lock().unwrap().tell(what);
    }

    fn hand(&self, replica: usize) -> Client {
        self.site.replicas[replica].client()
    }

    fn holds(&self, replica: usize, (key, name): &Name) -> bool {
        items(self.hand(replica).get(key).as_ref()).contains_key(name)
    }

    fn client(&mut self) {
        let replica = self.dice.below(self.replicas as u64) as usize;
        match self.dice.below(10) {
            0..=2 => self.count(replica),
            3..=6 => self.add(replica),
            _ => self.remove(replica),
        }
    }

    fn count(&mut self, replica: usize) {
        let key = Key::from(*self.dice.one_of(&["count0", "count1"]));
        // A counter that was evicted starts again from nothing: what it was is not asked here.
        if self.evicting.contains(&replica) && self.hand(replica).get(&key).is_none() {
            return;
        }
        self.touch(replica, &key);
        let amount = *self.dice.one_of(&[1, 2, 5, 10]);
        self.hand(replica)
            .apply(&key, &Op::IncreaseBy(amount))
            .unwrap();
        self.tell(|| format!("client of {replica}: {key} + {amount}"));
        let least = i64::from(!self.doubtful.contains(&replica));
        self.increments.push(Increment {
            key,
            replica,
            amount,
            is_read: false,
            may_be_read: false,
            times: (least, 1),
        });
    }

    fn add(&mut self, replica: usize) {
        self.tokens += 1;
        let token = Bytes::from(format!("{:04}", self.tokens));
        let (key, name, op) = match self.dice.below(4) {
            0 => ("set", token.clone(), Op::AddMembers(vec![token])),
            1 => (
                "hash",
                token.clone(),
                Op::SetFields(vec![(token.clone(), token)]),
            ),
            2 => {
                let score = Score::new(self.tokens as f64).unwrap();
                ("rank", token.clone(), Op::SetScores(vec![(token, score)]))
            }
            _ => ("", Bytes::new(), Op::Put(Value::String(token))),
        };
        let key = match key {
            "" => Key::from(format!("str{}", self.tokens).as_str()),
            key => Key::from(key),
        };
        // A collection that was evicted and begins anew is asked for by a test of its own.
        if self.evicting.contains(&replica) && self.hand(replica).get(&key).is_none() {
            return;
        }
        self.touch(replica, &key);
        self.hand(replica).apply(&key, &op).unwrap();
        self.tell(|| format!("client of {replica}: {key} {op:?}"));
        let life = Life {
            added_at: replica,
            is_weak: self.doubtful.contains(&replica),
            ..Life::default()
        };
        self.lives.insert((key, name), life);
    }

    fn remove(&mut self, replica: usize) {
        let held: Vec<Name> = self
            .lives
            .keys()
            .filter(|name| self.holds(replica, name))
            .cloned()
            .collect();
        let held: Vec<Name> = held
            .into_iter()
            .filter(|name| self.lives[name].removed_at.is_none())
            .collect();
        if held.is_empty() {
            return;
        }
        let name = self.dice.one_of(&held).clone();
        let element = vec![name.1.clone()];
        let op = match name.0.as_bytes() {
            b"set" => Op::RemoveMembers(element),
            b"hash" => Op::RemoveFields(element),
            b"rank" => Op::RemoveScored(element),
            _ => Op::Remove,
        };
        self.touch(replica, &name.0);
        self.hand(replica).apply(&name.0, &op).unwrap();
        self.tell(|| format!("client of {replica}: {} {op:?}", name.0));
        let life = self.lives.get_mut(&name).unwrap();
        // What a replica lacks that forgot or evicts is no evidence.
        let is_heard = !self.doubtful.contains(&replica) && !self.evicting.contains(&replica);
        life.removed_at = Some(if is_heard { replica } else { usize::MAX });
    }

    /// Something that makes a replica forget.
    fn forget(&mut self) {
        let replica = self.dice.below(self.replicas as u64) as usize;
        match self.dice.below(6) {
            0 | 1 => self.keep(replica),
            // A restart sets the count of evicted keys back to nothing: what went before it cannot be told from deletes.
            2 | 3 if self.kept[replica].is_some() && !self.evicting.contains(&replica) => {
                self.restore(replica);
            }
            4 => self.flush(replica),
            5 => self.evict(replica),
            _ => {}
        }
    }

    fn keep(&mut self, replica: usize) {
        self.tell(|| format!("snapshot of {replica}"));
        let added = self
            .lives
            .iter()
            .filter(|(_, life)| life.added_at == replica && !life.is_read);
        let counted = self.increments.iter().enumerate();
        let counted = counted.filter(|(_, one)| one.replica == replica);
        let mut unread: BTreeSet<Name> = added.map(|(name, _)| name.clone()).collect();
        let mut counted: BTreeMap<usize, bool> =
            counted.map(|(number, one)| (number, one.is_read)).collect();
        // What it holds again is no better known by its marker than it was in the older snapshot.
        let again = self.again.iter().filter(|((at, _), _)| *at == replica);
        for (_, again) in again {
            unread.extend(again.names.iter().cloned());
            counted.extend(again.increments.iter().map(|number| (*number, false)));
        }
        self.kept[replica] = Some(Kept {
            snapshot: self.site.replicas[replica].snapshot(),
            states: self.states(replica),
            unread,
            counted,
            told: BTreeSet::new(),
        });
    }

    fn restore(&mut self, replica: usize) {
        let kept = self.kept[replica].clone().unwrap();
        self.tell(|| format!("{replica} restarts with old data"));
        self.site.replicas[replica].restore(&kept.snapshot);
        self.forgot(replica);
        for key in kept.states.keys() {
            let unread = kept.unread_of(&self.increments, key);
            match kept.told.contains(key) {
                true => drop(self.again.insert((replica, key.clone()), unread)),
                false => self.may_be_told_twice(&unread),
            }
        }
        for (number, one) in self.increments.iter_mut().enumerate() {
            let is_lost = !kept.counted.contains_key(&number) && !one.is_read;
            if is_lost && one.replica == replica {
                one.times = (0, one.times.1.min(i64::from(one.may_be_read) * 2));
            }
        }
    }

    /// A replica holds unread increments and elements of its snapshot as if they were new.
    fn may_be_told_twice(&mut self, unread: &Unread) {
        for name in &unread.names {
            self.lives.get_mut(name).unwrap().may_return = true;
        }
        for number in &unread.increments {
            let one = &mut self.increments[*number];
            one.times.1 += i64::from(one.may_be_read);
        }
    }

    /// A client writes: what is there is no longer what was read before.
    fn touch(&mut self, replica: usize, key: &Key) {
        if let Some(unread) = self.again.remove(&(replica, key.clone())) {
            self.may_be_told_twice(&unread);
        }
    }

    fn flush(&mut self, replica: usize) {
        self.tell(|| format!("{replica} is flushed"));
        self.hand(replica).flush();
        for one in self
            .increments
            .iter_mut()
            .filter(|one| one.replica == replica && !one.is_read)
        {
            one.times = (0, one.times.1.min(i64::from(one.may_be_read) * 2));
        }
        self.forgot(replica);
    }

    /// What it had removed, and what no run is sure to have read, it will not tell.
    fn forgot(&mut self, replica: usize) {
        self.again.retain(|(at, _), _| *at != replica);
        for life in self.lives.values_mut() {
            if life.removed_at == Some(replica) && !life.is_gone {
                life.removed_at = Some(usize::MAX);
            }
        }
        self.doubtful.insert(replica);
    }

    fn evict(&mut self, replica: usize) {
        let keys = self.hand(replica).keys();
        let keys: Vec<Key> = keys.into_iter().filter(|key| !key.is_own()).collect();
        if keys.is_empty() || self.dice.percent(50) {
            return;
        }
        let key = self.dice.one_of(&keys).clone();
        self.tell(|| format!("{replica} evicts {key}"));
        self.site.replicas[replica].evict(DB, &key);
        self.evicting.insert(replica);
        self.evicted.insert((replica, key.clone()));
        let unread = self.increments.iter_mut();
        for one in unread.filter(|one| one.replica == replica && one.key == key && !one.is_read) {
            one.times = (0, one.times.1);
        }
        for life in self.lives.values_mut() {
            if life.removed_at == Some(replica) && !life.is_gone {
                life.removed_at = Some(usize::MAX);
            }
        }
    }

    fn plan(&mut self) -> Plan {
        let mut present: Vec<usize> = (0..self.replicas)
            .filter(|_| self.dice.percent(75))
            .collect();
        if present.len() < 2 {
            present = (0..self.replicas).collect();
        }
        let mut trouble = Trouble::default();
        if self.dice.percent(50) {
            trouble.losses = *self.dice.one_of(&[0, 100, 300]);
            trouble.transactions = *self.dice.one_of(&[0, 20, 50]);
            trouble.refusals = *self.dice.one_of(&[0, 0, 30]);
            trouble.dies_at = self.dice.percent(40).then(|| self.dice.below(250));
        }
        Plan {
            present,
            selection: Selection::default(),
            trouble,
        }
    }

    /// The keys that a replica holds as its snapshot does.
    fn as_kept(&self, replica: usize) -> BTreeSet<Key> {
        let Some(kept) = &self.kept[replica] else {
            return BTreeSet::new();
        };
        let now = self.states(replica);
        let same = kept
            .states
            .iter()
            .filter(|(key, state)| now.get(*key) == Some(*state));
        same.map(|(key, _)| key.clone()).collect()
    }

    /// A run, and what is sure to have been read if nothing disturbed it.
    async fn run(&mut self, plan: &Plan) -> bool {
        let present: BTreeSet<usize> = plan.present.iter().copied().collect();
        let as_kept: Vec<(usize, BTreeSet<Key>)> = present
            .iter()
            .map(|replica| (*replica, self.as_kept(*replica)))
            .collect();
        let ended = self.site.run(plan).await.0;
        for one in self
            .increments
            .iter_mut()
            .filter(|one| present.contains(&one.replica))
        {
            one.may_be_read = true;
        }
        let Ended::Done(summary) = ended else {
            return false;
        };
        let is_lost = summary.replicas.iter().any(|one| one.lost.is_some());
        let is_repaired = summary
            .verdicts
            .keys()
            .all(|verdict| *verdict == "repaired");
        if is_lost || !is_repaired || summary.in_flight > 0 {
            return is_repaired && !is_lost && summary.verdicts.is_empty();
        }
        for life in self.lives.values_mut() {
            life.is_read |= present.contains(&life.added_at);
            life.is_gone |= life.removed_at.is_some_and(|at| present.contains(&at));
        }
        for one in self
            .increments
            .iter_mut()
            .filter(|one| present.contains(&one.replica))
        {
            one.is_read = true;
        }
        for (replica, keys) in as_kept {
            if let Some(kept) = &mut self.kept[replica] {
                kept.told.extend(keys);
            }
        }
        self.doubtful.retain(|replica| !present.contains(replica));
        self.again
            .retain(|(replica, _), _| !present.contains(replica));
        summary.verdicts.is_empty() && summary.learned == 0
    }

    async fn round(&mut self) {
        for _ in 0..self.dice.below(10) {
            self.client();
        }
        if self.dice.percent(60) {
            self.forget();
        }
        for _ in 0..self.dice.below(4) {
            self.client();
        }
        for replica in 0..self.replicas {
            self.site.replicas[replica].set_reachable(!self.dice.percent(8));
            if self.dice.percent(40) {
                self.site.deliver_late(replica);
            }
        }
        let plan = self.plan();
        self.run(&plan).await;
    }

    async fn pass(&mut self) -> Result<(), String> {
        let everyone = Plan {
            present: (0..self.replicas).collect(),
            selection: Selection::default(),
            trouble: Trouble::default(),
        };
        self.run(&everyone).await;
        for _ in 0..5 + self.dice.below(5) {
            self.round().await;
        }
        for replica in 0..self.replicas {
            self.site.deliver_late(replica);
            self.site.replicas[replica].set_reachable(true);
        }
        let held = self
            .lives
            .keys()
            .filter(|name| (0..self.replicas).any(|replica| self.holds(replica, name)));
        let held: BTreeSet<Name> = held.cloned().collect();
        let mut is_done = false;
        for _ in 0..QUIET_RUNS {
            is_done = is_done || self.run(&everyone).await;
        }
        // What a replica that evicts lacks is looked at in every run.
        if !is_done && self.evicting.is_empty() {
            return Err(format!(
                "after {QUIET_RUNS} undisturbed runs there is still something to do"
            ));
        }
        self.check(&held)
    }

    fn states(&self, replica: usize) -> BTreeMap<Key, State> {
        let client = self.hand(replica);
        let keys = client.keys().into_iter().filter(|key| !key.is_own());
        keys.filter_map(|key| client.get(&key).map(|state| (key, state)))
            .collect()
    }
}

/// Lives through the history of a seed.
pub(crate) async fn live(seed: u64) -> Result<(), Wrong> {
    let mut history = Forgetting::new(seed);
    match history.pass().await {
        Ok(()) => Ok(()),
        Err(what) => Err(Wrong {
            what,
            told: std::mem::take(&mut history.site.world.lock().unwrap().told),
        }),
    }
}
