//! What really happened, as the specification sees it: clients' writes, what runs read, what they wrote.
//!
//! ```text
//! client ─▶ its replica's sight gets a new dot, or loses what it had
//! run     read ─▶ remembered with its sight   first compare ─▶ merge: the state directory has it (intents are synced)
//!         EXEC ─▶ the replica has the merge; what it holds now must be what the merge says
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reknit::model::{DbIndex, Key, Millis, Op, Score, State, StreamId, Value};
use reknit::store::{Client, Data};

use super::dice::Dice;
use super::sight::{Dot, Family, Merge, Sight, items};
use super::watch::RunWatch;

pub(crate) const NOW: Millis = Millis(1_700_000_000_000);

/// A key of a database.
pub(crate) type Place = (DbIndex, Key);

/// One replica, as it really is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holder {
    pub(crate) sights: BTreeMap<Place, Sight>,
    /// What it held when it was last looked at.
    pub(crate) states: BTreeMap<Place, State>,
    /// What arrives if a transaction that is on its way does.
    pub(crate) late: Vec<(Place, Merge)>,
}

/// Everything that the scripts of a history share.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) places: BTreeMap<Place, Family>,
    pub(crate) holders: Vec<Holder>,
    pub(crate) directory: BTreeMap<Place, Sight>,
    /// Rises with everything that happens.
    pub(crate) time: u64,
    pub(crate) dots: Dot,
    /// What contradicts the specification.
    pub(crate) wrong: Vec<String>,
    /// What happened, to be read by whoever looks into a failing seed.
    pub(crate) told: Vec<String>,
    pub(crate) run: Option<RunWatch>,
    /// Every increment of a counter.
    pub(crate) counts: BTreeMap<Place, i64>,
    /// Elements that were added, and those that were ever removed by anybody.
    pub(crate) added: BTreeSet<(Place, Bytes)>,
    pub(crate) removed: BTreeSet<(Place, Bytes)>,
    /// A replica forgot something: merges are not told any more, what must not be lost is.
    pub(crate) blurred: bool,
}

/// Something that clients write through: a replica from outside, or its data inside a script.
pub(crate) trait Hand {
    fn get(&mut self, place: &Place) -> Option<State>;
    fn apply(&mut self, place: &Place, op: &Op) -> bool;
}

impl Hand for Data {
    fn get(&mut self, (db, key): &Place) -> Option<State> {
        Data::get(self, *db, key)
    }

    fn apply(&mut self, (db, key): &Place, op: &Op) -> bool {
        Data::apply(self, *db, key, op).is_ok()
    }
}

/// A replica's clients, by database.
pub(crate) struct Clients(pub(crate) BTreeMap<DbIndex, Client>);

impl Hand for Clients {
    fn get(&mut self, (db, key): &Place) -> Option<State> {
        self.0[db].get(key)
    }

    fn apply(&mut self, (db, key): &Place, op: &Op) -> bool {
        self.0[db].apply(key, op).is_ok()
    }
}

impl World {
    pub(crate) fn new(dice: Dice, places: BTreeMap<Place, Family>, replicas: usize) -> Self {
        Self {
            dice,
            places,
            holders: vec![Holder::default(); replicas],
            directory: BTreeMap::new(),
            time: 0,
            dots: 0,
            wrong: Vec::new(),
            told: Vec::new(),
            run: None,
            counts: BTreeMap::new(),
            added: BTreeSet::new(),
            removed: BTreeSet::new(),
            blurred: false,
        }
    }

    pub(crate) fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        let what = what();
        self.told.push(format!("{:>5} {what}", self.time));
    }

    fn dot(&mut self) -> Dot {
        self.dots += 1;
        self.dots
    }

    /// One write of one client, if chance finds one that can be seen afterwards.
    pub(crate) fn client(&mut self, replica: usize, hand: &mut dyn Hand) {
        self.tick();
        let all: Vec<(Place, Family)> = self.places.clone().into_iter().collect();
        let (place, family) = self.dice.one_of(&all).clone();
        match family {
            Family::Counter => self.count(replica, &place, hand),
            Family::Loose => self.loose(replica, &place, hand),
            Family::Stream => self.stream(replica, &place, hand),
            Family::Register | Family::List => self.register(replica, &place, family, hand),
            Family::Set | Family::Few | Family::Many | Family::Ranked => {
                self.collection(replica, &place, family, hand);
            }
        }
        self.look(replica, &place, hand);
    }

    /// Notes what the replica holds now.
    pub(crate) fn look(&mut self, replica: usize, place: &Place, hand: &mut dyn Hand) {
        let states = &mut self.holders[replica].states;
        match hand.get(place) {
            Some(state) => drop(states.insert(place.clone(), state)),
            None => drop(states.remove(place)),
        }
    }

    fn sight(&mut self, replica: usize, place: &Place) -> &mut Sight {
        let sights = &mut self.holders[replica].sights;
        sights.entry(place.clone()).or_default()
    }

    fn write(&mut self, replica: usize, place: &Place, op: &Op, hand: &mut dyn Hand) {
        let done = hand.apply(place, op);
        self.tell(|| format!("client of {replica}: {}:{} {op:?}", place.0, place.1));
        assert!(done, "clients only do what can be done: {op:?}");
    }

    fn count(&mut self, replica: usize, place: &Place, hand: &mut dyn Hand) {
        let amount = *self.dice.one_of(&[1, 1, 2, 3, 5, -2]);
        self.write(replica, place, &Op::IncreaseBy(amount), hand);
        let dot = self.dot();
        self.sight(replica, place).counted.insert(dot, amount);
        *self.counts.entry(place.clone()).or_default() += amount;
    }

    /// Notes that a client gave an element this value.
    fn add(&mut self, replica: usize, place: &Place, name: &Bytes, item: Bytes) {
        let (dot, time) = (self.dot(), self.time);
        let element = self.sight(replica, place).element(name);
        element.live = BTreeMap::from([(dot, item)]);
        element.seen.insert(dot);
        element.touched = time;
        self.added.insert((place.clone(), name.clone()));
    }

    /// Notes that a client removed an element.
    fn remove(&mut self, replica: usize, place: &Place, name: &Bytes) {
        let time = self.time;
        let element = self.sight(replica, place).element(name);
        element.live.clear();
        element.touched = time;
        self.removed.insert((place.clone(), name.clone()));
    }

    fn register(&mut self, replica: usize, place: &Place, family: Family, hand: &mut dyn Hand) {
        let name = Bytes::new();
        let held = hand.get(place);
        if held.is_some() && self.dice.percent(25) {
            self.write(replica, place, &Op::Remove, hand);
            return self.remove(replica, place, &name);
        }
        let (chance, token) = (self.dice.below(1 << 24), self.dots + 1);
        let token = Bytes::from(format!("{chance:07x}-{token:05}"));
        let op = match family {
            Family::Register => Op::Put(Value::String(token)),
            _ if self.dice.percent(40) => Op::Prepend(vec![token]),
            _ => Op::Append(vec![token]),
        };
        self.write(replica, place, &op, hand);
        let item = items(hand.get(place).as_ref()).remove(&name);
        self.add(replica, place, &name, item.expect("it was just written"));
    }

    fn collection(&mut self, replica: usize, place: &Place, family: Family, hand: &mut dyn Hand) {
        let held = items(hand.get(place).as_ref());
        if !held.is_empty() && self.dice.percent(10) {
            return self.remove_all(replica, place, family, &held, hand);
        }
        let name = Bytes::copy_from_slice(&[b'a' + self.dice.below(4) as u8]);
        if !self.is_free(replica, place, family, &name) {
            return;
        }
        let is_held = held.contains_key(&name);
        if is_held && (family == Family::Set || self.dice.percent(45)) {
            let op = removal(family, &name);
            self.write(replica, place, &op, hand);
            return self.remove(replica, place, &name);
        }
        let op = self.addition(family, &name, held.get(&name));
        self.write(replica, place, &op, hand);
        let item = items(hand.get(place).as_ref()).remove(&name);
        self.add(replica, place, &name, item.expect("it was just written"));
    }

    fn remove_all(
        &mut self,
        replica: usize,
        place: &Place,
        family: Family,
        held: &BTreeMap<Bytes, Bytes>,
        hand: &mut dyn Hand,
    ) {
        if held
            .keys()
            .all(|name| self.is_free(replica, place, family, name))
        {
            self.write(replica, place, &Op::Remove, hand);
            held.keys()
                .for_each(|name| self.remove(replica, place, name));
        }
    }

    /// Whether a change of the element would be seen: where values come again, it changes once between two runs.
    fn is_free(&mut self, replica: usize, place: &Place, family: Family, name: &Bytes) -> bool {
        let element = self.sight(replica, place).element(name);
        !family.repeats() || element.touched <= element.base
    }

    fn addition(&mut self, family: Family, name: &Bytes, held: Option<&Bytes>) -> Op {
        let mut number = self.dice.below(9) + 1;
        loop {
            let (token, score) = (self.dots + 1, Score::new(number as f64));
            let chance = self.dice.below(1 << 24);
            let (op, item) = match family {
                Family::Set => return Op::AddMembers(vec![name.clone()]),
                Family::Ranked => {
                    let score = score.expect("it is a number");
                    let item = super::sight::score_item(score);
                    (Op::SetScores(vec![(name.clone(), score)]), item)
                }
                Family::Few => {
                    let item = Bytes::from(number.to_string());
                    (Op::SetFields(vec![(name.clone(), item.clone())]), item)
                }
                _ => {
                    let item = Bytes::from(format!("{chance:07x}-{token:05}"));
                    (Op::SetFields(vec![(name.clone(), item.clone())]), item)
                }
            };
            if held != Some(&item) {
                return op;
            }
            number = number % 9 + 1;
        }
    }

    fn stream(&mut self, replica: usize, place: &Place, hand: &mut dyn Hand) {
        let held = hand.get(place).map(|state| state.value);
        let ids: Vec<StreamId> = match held {
            Some(Value::Stream(stream)) => stream.entries.keys().copied().collect(),
            _ => Vec::new(),
        };
        // The first entry stays: when it goes, that is a trim, which takes along what its client has not seen.
        if ids.len() > 1 && self.dice.percent(35) {
            let id = *self.dice.one_of(&ids[1..]);
            self.write(replica, place, &Op::RemoveEntries(vec![id]), hand);
            return self.remove(replica, place, &Bytes::from(id.to_string()));
        }
        let id = StreamId {
            ms: self.dots + 1,
            seq: 1,
        };
        let entry = (id, vec![(Bytes::from("n"), Bytes::from(id.to_string()))]);
        self.write(replica, place, &Op::AppendEntries(vec![entry]), hand);
        self.add(replica, place, &Bytes::from(id.to_string()), Bytes::new());
    }

    /// A key that changes its type now and then, or a list that is appended to.
    fn loose(&mut self, replica: usize, place: &Place, hand: &mut dyn Hand) {
        let token = Bytes::from(format!("{:05}", self.dot()));
        let op = match self.dice.below(6) {
            0 => Op::Remove,
            1 => Op::Put(Value::String(token)),
            2 => Op::Put(Value::Set([token].into())),
            3 => Op::AddMembers(vec![token]),
            4 => Op::Prepend(vec![token]),
            _ => Op::Append(vec![token]),
        };
        let _refused = !hand.apply(place, &op);
        self.tell(|| format!("client of {replica}: {}:{} {op:?}", place.0, place.1));
    }
}

fn removal(family: Family, name: &Bytes) -> Op {
    let name = vec![name.clone()];
    match family {
        Family::Set => Op::RemoveMembers(name),
        Family::Ranked => Op::RemoveScored(name),
        _ => Op::RemoveFields(name),
    }
}
