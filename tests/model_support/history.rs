//! One random history, and what must hold in the end.

use std::collections::{BTreeMap, BTreeSet};

use reknit::model::{DbIndex, Glob, Key, ListRule, Selection, State};

use super::dice::Dice;
use super::sight::{Family, items};
use super::site::{Ended, Plan, Site, keyspaces};
use super::watch::Trouble;
use super::world::{Place, World};

/// After so many undisturbed runs of all replicas nothing is left to be done.
const QUIET_RUNS: usize = 3;

/// A history under way.
pub(crate) struct History {
    site: Site,
    dice: Dice,
    replicas: usize,
}

/// What is wrong with a history, and how it came about.
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) told: Vec<String>,
}

fn places(databases: &[DbIndex], list: ListRule) -> BTreeMap<Place, Family> {
    let families = [
        ("set0", Family::Set),
        ("set1", Family::Set),
        ("few0", Family::Few),
        ("many0", Family::Many),
        ("many1", Family::Many),
        ("rank0", Family::Ranked),
        ("stream0", Family::Stream),
        ("str0", Family::Register),
        ("str1", Family::Register),
        ("count0", Family::Counter),
        ("count1", Family::Counter),
        (
            "list0",
            match list {
                ListRule::Lww => Family::List,
                ListRule::Append => Family::Loose,
            },
        ),
        ("mixed0", Family::Loose),
    ];
    let of = |db: &DbIndex| families.map(|(name, family)| ((*db, Key::from(name)), family));
    databases.iter().flat_map(of).collect()
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let replicas = 2 + dice.below(4) as usize;
        let databases = match dice.percent(10) {
            true => vec![DbIndex(0), DbIndex(1)],
            false => vec![DbIndex(0)],
        };
        let list = match dice.percent(50) {
            true => ListRule::Lww,
            false => ListRule::Append,
        };
        let mut world = World::new(Dice::new(seed ^ 0xabcd), places(&databases, list), replicas);
        world.tell(|| format!("{replicas} replicas"));
        let site = Site::new(world, databases.clone(), keyspaces(list, &databases));
        Self {
            site,
            dice,
            replicas,
        }
    }

    fn everyone(&self) -> Plan {
        Plan {
            present: (0..self.replicas).collect(),
            selection: Selection::default(),
            trouble: Trouble::default(),
        }
    }

    /// Fails with what the world has found out, if anything.
    fn check(&self) -> Result<(), String> {
        let world = self.site.world.lock().unwrap();
        world
            .wrong
            .first()
            .map_or(Ok(()), |first| Err(first.clone()))
    }

    async fn quiet(&mut self) -> Result<(), String> {
        for replica in &self.site.replicas {
            replica.set_reachable(true);
        }
        let plan = self.everyone();
        for _ in 0..QUIET_RUNS {
            let (ended, watch) = self.site.run(&plan).await;
            self.check()?;
            let Ended::Done(summary) = ended else {
                return Err("an undisturbed run of all replicas fails".into());
            };
            let lost = summary.replicas.iter().find(|one| one.lost.is_some());
            if let Some(lost) = lost {
                return Err(format!(
                    "a replica is lost in an undisturbed run: {:?}",
                    lost.lost
                ));
            }
            let is_done = summary.verdicts.is_empty() && summary.learned == 0;
            if is_done && watch.wrote.is_empty() {
                return self.settled();
            }
        }
        Err(format!(
            "after {QUIET_RUNS} undisturbed runs there is still something to do: {}",
            self.left()
        ))
    }

    /// The keys of which a replica still lags, or that differ.
    fn left(&self) -> String {
        let first = self.states(0);
        let world = self.site.world.lock().unwrap();
        let mut left = Vec::new();
        for place in world.places.keys() {
            let lags = self.site.state().lags(place.0, &place.1).unwrap();
            let agreement = self.site.state().agreement(place.0, &place.1).unwrap();
            let all: Vec<_> = (0..self.replicas)
                .map(|one| self.site.replicas[one].client_of(place.0).get(&place.1))
                .collect();
            if !lags.is_empty() || all.iter().any(|one| *one != first.get(place).cloned()) {
                left.push(format!("{}: {all:?} {lags:?} {agreement:?}", place.1));
            }
        }
        left.join("; ")
    }

    fn states(&self, replica: usize) -> BTreeMap<Place, State> {
        let mut all = BTreeMap::new();
        for (db, client) in self.site.clients(replica).0 {
            for key in client.keys().into_iter().filter(|key| !key.is_own()) {
                let state = client.get(&key).unwrap();
                all.insert((db, key), state);
            }
        }
        all
    }

    /// What holds when nothing is left to be done.
    fn settled(&self) -> Result<(), String> {
        let first = self.states(0);
        for replica in 1..self.replicas {
            let other = self.states(replica);
            if other != first {
                return Err(differing(replica, &first, &other));
            }
        }
        let world = self.site.world.lock().unwrap();
        for (place, family) in &world.places {
            let have = items(first.get(place));
            check_place(&world, place, *family, &have)?;
        }
        Ok(())
    }

    fn trouble(&mut self) -> Trouble {
        let dice = &mut self.dice;
        let mut trouble = Trouble::default();
        if dice.percent(40) {
            trouble.clients = *dice.one_of(&[2, 5, 15]);
        }
        if dice.percent(30) {
            trouble.losses = *dice.one_of(&[30, 100, 300]);
        }
        if dice.percent(30) {
            trouble.transactions = *dice.one_of(&[5, 20, 50]);
        }
        if dice.percent(30) {
            trouble.refusals = *dice.one_of(&[5, 20, 50]);
        }
        if dice.percent(35) {
            trouble.dies_at = Some(dice.below(250));
        }
        trouble
    }

    fn plan(&mut self) -> Plan {
        let quiet = self.dice.percent(30);
        let mut present: Vec<usize> = (0..self.replicas)
            .filter(|_| self.dice.percent(75))
            .collect();
        if present.len() < 2 {
            present = (0..self.replicas).collect();
        }
        let trouble = match quiet {
            true => Trouble::default(),
            false => self.trouble(),
        };
        let mut selection = Selection::default();
        match self.dice.below(10) {
            0 => selection.pattern = Some(Glob::new("*0")),
            1 => {
                let keys = ["set0", "many0", "count0", "str1", "stream0"];
                let keys = keys.into_iter().filter(|_| self.dice.percent(50));
                selection.keys = Some(keys.map(Key::from).collect::<BTreeSet<_>>());
            }
            _ => {}
        }
        Plan {
            present,
            selection,
            trouble,
        }
    }

    async fn round(&mut self) -> Result<(), String> {
        for _ in 0..self.dice.below(14) {
            let replica = self.dice.below(self.replicas as u64) as usize;
            self.site.client(replica);
        }
        for replica in 0..self.replicas {
            self.site.replicas[replica].set_reachable(!self.dice.percent(8));
            if self.dice.percent(40) {
                self.site.deliver_late(replica);
            }
        }
        if self.dice.percent(3) {
            self.site.reopen();
        }
        let plan = self.plan();
        {
            let mut world = self.site.world.lock().unwrap();
            world.tell(|| format!("run {plan:?}"));
        }
        self.site.run(&plan).await;
        self.check()
    }

    async fn pass(&mut self) -> Result<(), String> {
        for replica in 0..self.replicas {
            for _ in 0..self.dice.below(4) {
                self.site.client(replica);
            }
        }
        self.start_alike();
        self.quiet().await?;
        for _ in 0..4 + self.dice.below(5) {
            self.round().await?;
        }
        for replica in 0..self.replicas {
            self.site.deliver_late(replica);
        }
        self.quiet().await
    }

    /// Counters start from nothing: what is there before the first run is no sum.
    fn start_alike(&mut self) {
        let mut world = self.site.world.lock().unwrap();
        let counters: Vec<Place> = world
            .places
            .iter()
            .filter(|(_, family)| **family == Family::Counter)
            .map(|(place, _)| place.clone())
            .collect();
        for replica in 0..self.replicas {
            for place in &counters {
                self.site.replicas[replica]
                    .client_of(place.0)
                    .set_state(&place.1, None);
                world.holders[replica].states.remove(place);
                world.holders[replica].sights.remove(place);
            }
        }
        world.counts.clear();
    }
}

fn differing(
    replica: usize,
    first: &BTreeMap<Place, State>,
    other: &BTreeMap<Place, State>,
) -> String {
    let keys: BTreeSet<&Place> = first.keys().chain(other.keys()).collect();
    let key = keys
        .into_iter()
        .find(|key| first.get(*key) != other.get(*key));
    let key = key.expect("they differ in a key");
    format!(
        "replica {replica} differs from the first in {}: {:?} and {:?}",
        key.1,
        other.get(key),
        first.get(key)
    )
}

/// What must hold of one key, told from the clients' writes alone.
fn check_place(
    world: &World,
    place: &Place,
    family: Family,
    have: &BTreeMap<bytes::Bytes, bytes::Bytes>,
) -> Result<(), String> {
    let name = &place.1;
    if family == Family::Counter {
        let want = world.counts.get(place).map(|sum| sum.to_string());
        let have = have
            .values()
            .next()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        return match want == have {
            true => Ok(()),
            false => Err(format!("{name} is {have:?}, clients added up to {want:?}")),
        };
    }
    if world.told_family(place).is_some() {
        let want = world.agreed(place).items();
        if want != *have {
            return Err(format!("{name} is {have:?}, it should be {want:?}"));
        }
    }
    let of_place = world.added.iter().filter(|(of, _)| of == place);
    for added in of_place.filter(|added| !world.removed.contains(*added)) {
        if !have.contains_key(&added.1) {
            return Err(format!("{name} lost {}", added.1.escape_ascii()));
        }
    }
    Ok(())
}

/// Lives through the history of a seed.
pub(crate) async fn live(seed: u64) -> Result<(), Wrong> {
    let mut history = History::new(seed);
    match history.pass().await {
        Ok(()) => Ok(()),
        Err(what) => Err(Wrong {
            what,
            told: std::mem::take(&mut history.site.world.lock().unwrap().told),
        }),
    }
}
