//! A run as its replicas see it: what it reads, writes and loses; and the scripts that disturb it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reknit::model::{DbIndex, Key, Sequence};
use reknit::state::State as StateDir;
use reknit::store::{Data, Fault, Step};

use super::sight::{Family, Merge, Sight, items};
use super::world::{Place, World};

/// How a run is disturbed, in percent of steps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// Clients write meanwhile.
    pub(crate) clients: u64,
    /// Connections are lost.
    pub(crate) losses: u64,
    /// Answers to EXEC are lost, or EXEC never arrives, or late.
    pub(crate) transactions: u64,
    /// The server refuses a key's operations.
    pub(crate) refusals: u64,
    /// The run dies at this step.
    pub(crate) dies_at: Option<u64>,
}

/// One run.
pub(crate) struct RunWatch {
    pub(crate) trouble: Trouble,
    pub(crate) state: StateDir,
    pub(crate) steps: u64,
    pub(crate) is_dead: bool,
    /// A key of the transaction that is under way was refused: then its answer is not lost as well.
    has_refused: bool,
    /// What the first pass read, and the last fresh read of each key.
    pub(crate) scanned: BTreeMap<Place, BTreeMap<usize, (u64, Sight)>>,
    pub(crate) fetched: BTreeMap<Place, BTreeMap<usize, (u64, Sight)>>,
    /// Who is reading afresh rather than scanning.
    pub(crate) is_fetching: bool,
    /// What the keys that are being written come to.
    pub(crate) merged: BTreeMap<Place, Merge>,
    /// The last step of which the specification has been told, by key.
    known: BTreeMap<Place, Sequence>,
    pub(crate) wrote: BTreeSet<(usize, Place)>,
}

impl RunWatch {
    pub(crate) fn new(state: StateDir, trouble: Trouble) -> Self {
        Self {
            trouble,
            state,
            steps: 0,
            is_dead: false,
            has_refused: false,
            scanned: BTreeMap::new(),
            fetched: BTreeMap::new(),
            is_fetching: false,
            merged: BTreeMap::new(),
            known: BTreeMap::new(),
            wrote: BTreeSet::new(),
        }
    }

    /// What a replica was asked for came to nothing: these keys, or, without any, the first pass.
    pub(crate) fn lose(&mut self, replica: usize, places: &[Place]) {
        for place in places {
            if let Some(read) = self.fetched.get_mut(place) {
                read.remove(&replica);
            }
        }
        if places.is_empty() {
            self.scanned
                .values_mut()
                .for_each(|read| drop(read.remove(&replica)));
        }
    }

    /// A new round of reading begins where a replica is asked for a key once more.
    pub(crate) fn fetch(&mut self, replica: usize, places: &[Place]) {
        for place in places {
            let read = self.fetched.entry(place.clone()).or_default();
            if read.contains_key(&replica) {
                read.clear();
            }
            self.merged.remove(place);
        }
    }
}

impl World {
    /// What happens at a step of a run; the script of every replica.
    pub(crate) fn at(
        &mut self,
        replica: usize,
        step: Step<'_>,
        db: DbIndex,
        data: &mut Data,
    ) -> Fault {
        if self.run.is_none() {
            return Fault::None;
        }
        self.tick();
        if let Step::Answer(keys) = step {
            for place in places(db, keys) {
                self.written(replica, &place, data);
            }
        }
        let trouble = self.watch().trouble;
        if trouble.clients > 0 && self.dice.percent(trouble.clients) {
            self.client(replica, data);
        }
        match step {
            Step::ReadKey(key) => self.read(replica, (db, key.clone())),
            Step::Compare(keys) => places(db, keys).for_each(|place| self.merge(&place)),
            _ => {}
        }
        let fault = self.fault(replica, step);
        if fault == Fault::Late
            && let Step::Execute(keys) = step
        {
            self.hold_up(replica, db, keys);
        }
        if fault != Fault::None {
            self.tell(|| format!("fault at {replica}: {fault:?} at {step:?}"));
        }
        fault
    }

    pub(crate) fn watch(&mut self) -> &mut RunWatch {
        self.run.as_mut().expect("a run is under way")
    }

    fn fault(&mut self, replica: usize, step: Step<'_>) -> Fault {
        let watch = self.watch();
        watch.steps += 1;
        let trouble = watch.trouble;
        if trouble.dies_at == Some(watch.steps) {
            watch.is_dead = true;
            self.tell(|| format!("the run dies at {replica}, {step:?}"));
            return match step {
                Step::Execute(_) if self.dice.percent(50) => Fault::Late,
                Step::Execute(_) | Step::Answer(_) => Fault::Disconnect,
                _ => Fault::None,
            };
        }
        match step {
            Step::Execute(_) if self.dice.percent(trouble.transactions) => {
                match self.dice.percent(50) {
                    true => Fault::Late,
                    false => Fault::Disconnect,
                }
            }
            // Before EXEC a server refuses the whole transaction.
            Step::Execute(_) if self.dice.percent(trouble.refusals / 2) => {
                Fault::Refuse("OOM".into())
            }
            Step::Execute(_) => {
                self.watch().has_refused = false;
                Fault::None
            }
            Step::Answer(_) if self.watch().has_refused => Fault::None,
            Step::Answer(_) if self.dice.percent(trouble.transactions) => Fault::Disconnect,
            // Inside of EXEC it refuses single keys; whoever loses the answer as well cannot know of it.
            Step::ExecuteKey(_)
                if trouble.dies_at.is_none() && self.dice.percent(trouble.refusals) =>
            {
                self.watch().has_refused = true;
                Fault::Refuse("OOM".into())
            }
            Step::Answer(_) | Step::ExecuteKey(_) => Fault::None,
            _ if self.dice.below(10_000) < trouble.losses => Fault::Disconnect,
            _ => Fault::None,
        }
    }

    fn read(&mut self, replica: usize, place: Place) {
        let Some(family) = self.places.get(&place).copied() else {
            return;
        };
        let time = self.time;
        let sight = self.holders[replica].sights.get(&place);
        let sight = sight.cloned().unwrap_or_default();
        let watch = self.watch();
        let all = match watch.is_fetching {
            true => &mut watch.fetched,
            false => &mut watch.scanned,
        };
        if family != Family::Loose {
            let of_place = all.entry(place).or_default();
            of_place.insert(replica, (time, sight));
        }
    }

    /// A key is about to be written somewhere: it was merged, and what it came to is on disk.
    fn merge(&mut self, place: &Place) {
        let Some(family) = self.told_family(place) else {
            return;
        };
        let watch = self.watch();
        if watch.merged.contains_key(place) {
            return;
        }
        let read = watch.fetched.get(place).cloned().unwrap_or_default();
        if let Some(step) = last_step(&watch.state, place) {
            watch.known.insert(place.clone(), step);
        }
        let merge = Merge::of(family, &read, &self.agreed(place));
        self.teach(place, &merge);
        self.watch().merged.insert(place.clone(), merge);
    }

    pub(crate) fn told_family(&self, place: &Place) -> Option<Family> {
        let family = self.places.get(place).copied();
        family.filter(|family| *family != Family::Loose && !self.blurred)
    }

    pub(crate) fn agreed(&self, place: &Place) -> Sight {
        self.directory.get(place).cloned().unwrap_or_default()
    }

    /// The state directory, and the replicas that took part, have a merge.
    pub(crate) fn teach(&mut self, place: &Place, merge: &Merge) {
        self.tell(|| {
            let of = |(replica, (_, sight)): (&usize, &(u64, Sight))| {
                format!("{replica}:{}", shown(sight))
            };
            let read: Vec<String> = merge.read.iter().map(of).collect();
            format!("merge {}:{} of {}", place.0, place.1, read.join(" "))
        });
        if merge.waits() {
            return;
        }
        merge.teach_directory(self.directory.entry(place.clone()).or_default());
        for (replica, holder) in self.holders.iter_mut().enumerate() {
            merge.teach_reader(replica, holder.sights.entry(place.clone()).or_default());
        }
        let agreed = shown(&self.directory[place]);
        self.tell(|| format!("  agreed {agreed}"));
    }

    fn hold_up(&mut self, replica: usize, db: DbIndex, keys: &[Key]) {
        for place in places(db, keys) {
            if let Some(merge) = self.watch().merged.get(&place).cloned() {
                self.holders[replica].late.push((place, merge));
            }
        }
    }

    /// After EXEC: was the key written, and with what it should be?
    fn written(&mut self, replica: usize, place: &Place, data: &mut Data) {
        let before = self.holders[replica].states.get(place).cloned();
        let now = Data::get(data, place.0, &place.1);
        if before == now {
            return;
        }
        let watch = self.watch();
        watch.wrote.insert((replica, place.clone()));
        let merge = watch.merged.get(place).cloned();
        self.look(replica, place, data);
        if let Some(merge) = merge {
            self.arrive(replica, place, &merge);
        }
    }

    /// A merge was written to a replica.
    pub(crate) fn arrive(&mut self, replica: usize, place: &Place, merge: &Merge) {
        let time = self.tick();
        let Some(family) = self.told_family(place) else {
            return;
        };
        let sights = &mut self.holders[replica].sights;
        let sight = sights.entry(place.clone()).or_default();
        merge.write(time, sight);
        let want = match family {
            Family::Counter => BTreeMap::from([(Bytes::new(), sight.total().to_string().into())]),
            _ => sight.items(),
        };
        let have = items(self.holders[replica].states.get(place));
        self.tell(|| format!("written to {replica}: {}:{} {have:?}", place.0, place.1));
        if have != want {
            self.wrong.push(format!(
                "at {}: {} of replica {replica} was written as {have:?}, it should be {want:?}",
                self.time, place.1
            ));
        }
    }

    /// At the end of a run: what it learned without writing.
    pub(crate) fn learned(&mut self) -> RunWatch {
        let watch = self.run.take().expect("a run is under way");
        let all: Vec<Place> = self.places.keys().cloned().collect();
        for place in all {
            if last_step(&watch.state, &place) > watch.known.get(&place).copied() {
                self.tell(|| format!("learned {}:{}", place.0, place.1));
            }
            let Some(family) = self.told_family(&place) else {
                continue;
            };
            if last_step(&watch.state, &place) <= watch.known.get(&place).copied() {
                continue;
            }
            let fetched = watch.fetched.get(&place).filter(|read| read.len() > 1);
            let read = fetched.or_else(|| watch.scanned.get(&place));
            let Some(read) = read else { continue };
            let merge = Merge::of(family, read, &self.agreed(&place));
            self.teach(&place, &merge);
        }
        watch
    }
}

/// The last step that the state directory has taken with a key, or will find that it has taken.
fn last_step(state: &StateDir, (db, key): &Place) -> Option<Sequence> {
    let agreement = state.agreement(*db, key).unwrap();
    let intents = state.intents().unwrap();
    let open = intents.iter().filter(|one| !one.late && one.db == *db);
    let open = open.filter(|one| one.keys.iter().any(|of| of.key == *key));
    let proved = agreement.map(|one| one.proved);
    proved.into_iter().chain(open.map(|one| one.sequence)).max()
}

pub(crate) fn places(db: DbIndex, keys: &[Key]) -> impl Iterator<Item = Place> {
    let clients = keys.iter().filter(|key| !key.is_own());
    clients.map(move |key| (db, key.clone()))
}

/// A sight in one line.
pub(crate) fn shown(sight: &Sight) -> String {
    let dots = |element: &super::sight::Element| {
        let live: Vec<String> = element.live.keys().map(ToString::to_string).collect();
        format!("{}/{:?}", live.join("+"), element.seen)
    };
    let elements = sight.elements.iter();
    let elements: Vec<String> = elements
        .map(|(name, element)| {
            format!(
                "{}={:?} {}",
                name.escape_ascii(),
                element.item(),
                dots(element)
            )
        })
        .collect();
    match sight.counted.is_empty() {
        true => format!("{{{}}}", elements.join(", ")),
        false => format!(
            "{}={:?}",
            sight.total(),
            sight.counted.keys().collect::<Vec<_>>()
        ),
    }
}

impl World {
    /// A run begins.
    pub(crate) fn begin(&mut self, mut watch: RunWatch, plan: &super::site::Plan) {
        self.tick();
        for place in self.places.keys() {
            if let Some(step) = last_step(&watch.state, place) {
                watch.known.insert(place.clone(), step);
            }
        }
        self.tell(|| format!("run of {:?}, {:?}", plan.present, plan.trouble));
        self.run = Some(watch);
    }
}
