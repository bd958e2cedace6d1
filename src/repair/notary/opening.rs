//! The beginning of a run: whose markers stand there, who forgot what, and what became of a run that died.
//!
//! The order matters. A lane is fenced before its marker is believed, so that nothing of a dead run can still arrive;
//! what a replica forgot is void on disk before its marker is written anew, because an intact marker would hide it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::join_all;

use crate::model::{DbIndex, Key, Lane, Marker, ReplicaId, ReplicaName, Sequence, StateId, Voids};
use crate::repair::ledger::{Knowledge, Memorable, WrongState, compare};
use crate::repair::run::{Mode, Run};
use crate::state::{Changes, JournalPlace, StateError};
use crate::store::{Facts, Replica, Seal, Sealing, StoreError};

use super::settle::parts;
use super::{Notary, RunMemory, Vouched, lane_name};

/// A replica whose memory does not reach as far as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgetful {
    /// The replica.
    pub replica: ReplicaName,
    /// The database.
    pub db: DbIndex,
    /// The step that it still remembers; nothing for a newcomer.
    pub remembers: Option<Sequence>,
    /// Whether it was ever seen before.
    pub known: bool,
}

impl std::fmt::Display for Forgetful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { replica, db, .. } = self;
        match (self.remembers, self.known) {
            (Some(step), _) => write!(
                f,
                "{replica} (database {db}) was rolled back to step {}: what it lost since is no evidence of a delete",
                step.0
            ),
            (None, true) => write!(
                f,
                "{replica} (database {db}) lost its marker: it was flushed, restarted empty or seeded from another \
                 server; what it lacks is filled in, and no evidence of a delete"
            ),
            (None, false) => write!(f, "{replica} (database {db}) takes part for the first time"),
        }
    }
}

/// Why a run's memory cannot be used with these replicas. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryTrouble {
    /// The marker of a replica does not fit.
    #[error(
        "replica {replica}: {wrong}; use the state directory that repaired it last, or take the replicas over as \
         newcomers with `reknit repair --adopt`"
    )]
    Wrong {
        /// The replica.
        replica: ReplicaName,
        /// What does not fit.
        wrong: WrongState,
    },
    /// Another state directory is registered with a replica.
    #[error(
        "replica {replica} is repaired with another state directory ({found}; this one is {ours}): two memories of \
         the same replicas contradict each other; use that one, or take the replicas over with \
         `reknit repair --adopt`"
    )]
    Foreign {
        /// The replica.
        replica: ReplicaName,
        /// The other's identity.
        found: String,
        /// Ours.
        ours: StateId,
    },
    /// Two names of the configuration were exchanged.
    #[error(
        "the replicas {0} and {1} carry each other's markers: their names or URLs were exchanged in the \
         configuration; put them right, or take the replicas over as newcomers with `reknit repair --adopt`"
    )]
    Swapped(ReplicaName, ReplicaName),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What one participant's lane was found to say.
struct Found {
    replica: usize,
    marker: Option<Marker>,
    /// What the marker said of the last step when the lane was taken over.
    told: Option<Marker>,
    memorable: Memorable,
    is_copy: bool,
    known: Option<Lane>,
    facts: Facts,
}

/// What a lane said of the last step when it was taken over, and its marker from then on.
type Taken = (Option<Marker>, Option<Vec<u8>>);

/// What happened to one participant.
enum Opened {
    Found(Box<Found>),
    Lost(usize, StoreError),
}

/// What an opening answers.
pub(crate) struct Opening<'a> {
    pub(crate) notary: Notary<'a>,
    pub(crate) forgetful: Vec<Forgetful>,
    /// Participants that could not be asked.
    pub(crate) lost: Vec<(usize, StoreError)>,
}

/// One database, at the beginning of a run.
struct Door<'a> {
    run: &'a Run,
    memory: &'a RunMemory,
    db: Option<DbIndex>,
    index: DbIndex,
}

/// Opens the memory of one database. A run that does not repair takes no lane over and writes nothing down.
pub(crate) async fn open<'a>(
    run: &'a Run,
    memory: &'a RunMemory,
    db: Option<DbIndex>,
    index: DbIndex,
    active: &[usize],
) -> Result<Opening<'a>, MemoryTrouble> {
    let door = Door {
        run,
        memory,
        db,
        index,
    };
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for opened in join_all(active.iter().map(|replica| door.find(*replica))).await {
        match opened? {
            Opened::Found(one) => found.push(*one),
            Opened::Lost(replica, error) => lost.push((replica, error)),
        }
    }
    door.refuse_swapped(&found).await?;
    if door.repairs() {
        found = door.take_over(found, &mut lost).await?;
        door.settle_intents(&found)?;
    }
    let mut opening = Opening {
        notary: door.notary()?,
        forgetful: Vec::new(),
        lost,
    };
    for one in found {
        door.admit(one, &mut opening).await?;
    }
    Ok(opening)
}

impl<'a> Door<'a> {
    fn repairs(&self) -> bool {
        self.run.settings.mode == Mode::Repair
    }

    fn replica(&self, replica: usize) -> &dyn Replica {
        self.run.participants[replica].replica.as_ref()
    }

    fn name(&self, replica: usize) -> ReplicaName {
        self.replica(replica).name().clone()
    }

    fn notary(&self) -> Result<Notary<'a>, StateError> {
        let participants = self.run.participants.len();
        let all = self.memory.ids.iter().chain(&self.memory.others);
        let covered = all.map(|id| Ok((*id, self.memory.state.coverage(*id, self.index)?)));
        Ok(Notary {
            memory: self.memory,
            scope: &self.run.scope,
            replicates: self.run.settings.replicates,
            db: self.db,
            index: self.index,
            trusts: (0..participants).map(|_| None).collect(),
            covered: covered.collect::<Result<_, StateError>>()?,
            lanes: Mutex::new(vec![None; participants]),
            gate: tokio::sync::Mutex::new(()),
        })
    }

    async fn find(&self, replica: usize) -> Result<Opened, MemoryTrouble> {
        match self.look(replica).await {
            Ok(found) => Ok(Opened::Found(Box::new(found?))),
            Err(error) => Ok(Opened::Lost(replica, error)),
        }
    }

    /// Reads what a participant shows.
    async fn look(&self, replica: usize) -> Result<Result<Found, MemoryTrouble>, StoreError> {
        let (edge, id) = (self.replica(replica), self.memory.ids[replica]);
        let lane = lane_name(id);
        let facts = edge.facts().await?;
        let is_copy = match self.is_copy(replica).await? {
            Ok(is_copy) => is_copy,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let bytes = edge.marker(self.db, &lane).await?;
        let known = match self.memory.state.lane(id, self.index) {
            Ok(known) => known,
            Err(error) => return Ok(Err(error.into())),
        };
        let compared = self.compare(replica, bytes.as_deref(), known);
        Ok(compared.map(|memorable| Found {
            replica,
            marker: bytes.as_deref().and_then(Marker::decode),
            told: None,
            memorable: if is_copy {
                Memorable::Newcomer
            } else {
                memorable
            },
            is_copy,
            known,
            facts,
        }))
    }

    /// Takes the lanes over: only when nobody is refused, so that who is refused leaves everything as it was.
    async fn take_over(
        &self,
        found: Vec<Found>,
        lost: &mut Vec<(usize, StoreError)>,
    ) -> Result<Vec<Found>, MemoryTrouble> {
        let mut taken = Vec::with_capacity(found.len());
        for one in found {
            if one.marker.is_none() {
                taken.push(one);
                continue;
            }
            let replica = one.replica;
            match self.fence(replica).await {
                Ok(now) => taken.push(self.found_anew(one, now)?),
                Err(error) => lost.push((replica, error)),
            }
        }
        Ok(taken)
    }

    /// Takes a lane over, and answers what it says of the last step, and the marker as it stands from then on.
    async fn fence(&self, replica: usize) -> Result<(Option<Marker>, Option<Vec<u8>>), StoreError> {
        let (edge, lane) = (self.replica(replica), lane_name(self.memory.ids[replica]));
        let (owner, run) = (self.memory.owner, self.memory.run);
        let told = edge.fence(self.db, &lane, owner, run).await?;
        Ok((told, edge.marker(self.db, &lane).await?.map(Into::into)))
    }

    fn found_anew(&self, one: Found, now: Taken) -> Result<Found, MemoryTrouble> {
        let (told, bytes) = (now.0, now.1.as_deref());
        let memorable = self.compare(one.replica, bytes, one.known)?;
        Ok(Found {
            marker: bytes.and_then(Marker::decode),
            told,
            memorable: if one.is_copy {
                Memorable::Newcomer
            } else {
                memorable
            },
            ..one
        })
    }

    fn compare(
        &self,
        replica: usize,
        bytes: Option<&[u8]>,
        lane: Option<Lane>,
    ) -> Result<Memorable, MemoryTrouble> {
        let knowledge = Knowledge {
            state: self.memory.state.id(),
            last_run: self.memory.state.last_run(),
            last_step: self.memory.state.last_sequence(),
            lane,
        };
        compare(bytes, &knowledge).map_err(|wrong| MemoryTrouble::Wrong {
            replica: self.name(replica),
            wrong,
        })
    }

    /// Whether a replica holds what another one was: it is registered under that one's id. Refused where another state
    /// directory is registered.
    ///
    /// SUBTLE: its own marker may stand there too, and be of the time when that other one was seeded from it. What it
    /// lacks would then look like removed since. Where the datacenters replicate to each other, registers are copied all
    /// the time and say nothing.
    async fn is_copy(&self, replica: usize) -> Result<Result<bool, MemoryTrouble>, StoreError> {
        let (ours, id) = (self.memory.state.id(), self.memory.ids[replica]);
        let registered = self.replica(replica).states(self.db).await?;
        let other = registered
            .iter()
            .find(|(state, _)| *state != ours.to_string().as_bytes());
        if let Some((state, _)) = other {
            return Ok(Err(MemoryTrouble::Foreign {
                replica: self.name(replica),
                found: crate::model::escape(state),
                ours,
            }));
        }
        let is_other = registered
            .iter()
            .any(|(_, under)| *under != id.to_string().as_bytes());
        Ok(Ok(is_other && !self.memory.replicates))
    }

    /// Two replicas that lack their own markers and carry each other's are two names that were exchanged; a copied
    /// marker alone is just a newcomer's.
    async fn refuse_swapped(&self, found: &[Found]) -> Result<(), MemoryTrouble> {
        let without: Vec<usize> = found
            .iter()
            .filter(|one| one.marker.is_none() && one.known.is_some())
            .map(|one| one.replica)
            .collect();
        let mut carries: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &replica in &without {
            let others = without.iter().copied().filter(|other| *other != replica);
            let others: Vec<usize> = others.collect();
            let names: Vec<Key> = others
                .iter()
                .map(|other| lane_name(self.memory.ids[*other]))
                .collect();
            let markers = self.replica(replica).markers(self.db, &names).await;
            let markers = markers.unwrap_or_default().into_iter().zip(others);
            let carried = markers.filter_map(|(marker, other)| marker.map(|_| other));
            carries.insert(replica, carried.collect());
        }
        for (&replica, carried) in &carries {
            let back = carried
                .iter()
                .find(|other| carries[other].contains(&replica));
            if let Some(other) = back {
                return Err(MemoryTrouble::Swapped(
                    self.name(replica),
                    self.name(*other),
                ));
            }
        }
        Ok(())
    }

    /// What became of a run that died: the markers tell, now that its lanes are fenced.
    fn settle_intents(&self, found: &[Found]) -> Result<(), MemoryTrouble> {
        let told: BTreeMap<ReplicaId, Option<Marker>> = found
            .iter()
            .map(|one| (self.memory.ids[one.replica], one.told))
            .collect();
        let mut intents = self.memory.state.intents()?;
        // SUBTLE: a later run carried on what held while a late part was unknown; only then can that be told.
        intents.sort_by_key(|intent| (intent.late, intent.sequence));
        for intent in intents.iter().filter(|intent| intent.db == self.index) {
            let happened = |replica: ReplicaId, place: u8| {
                let marker = told.get(&replica)?;
                Some(marker.is_some_and(|marker| marker.proves(intent.sequence, place)))
            };
            let mut changes = intent.settle(self.run.clock.now(), happened);
            for (key, part) in parts(intent) {
                if let Some(applied) = happened(part.replica, part.place) {
                    let place = JournalPlace {
                        run: intent.run,
                        sequence: intent.sequence,
                        replica: part.replica,
                        db: intent.db,
                        key: key.clone(),
                    };
                    changes.journal_outcome(place, applied);
                }
            }
            self.memory.state.commit(changes)?;
        }
        Ok(())
    }

    /// Writes down what a participant forgot, sets its marker, and lets it take part.
    async fn admit(&self, found: Found, opening: &mut Opening<'_>) -> Result<(), MemoryTrouble> {
        let id = self.memory.ids[found.replica];
        let mut voids = self.memory.state.voids(id, self.index)?;
        let forgot = match found.memorable {
            Memorable::Intact(_) => None,
            Memorable::RolledBack(step) => Some(step),
            Memorable::Newcomer => Some(Sequence::default()),
        };
        if let Some(after) = forgot {
            opening.forgetful.push(Forgetful {
                replica: self.name(found.replica),
                db: self.index,
                remembers: (after > Sequence::default()).then_some(after),
                known: found.known.is_some(),
            });
            self.void(id, after, &mut voids)?;
        }
        let marker = match self.begin(&found).await? {
            Ok(marker) => marker,
            Err(error) => {
                opening.lost.push((found.replica, error));
                return Ok(());
            }
        };
        if let Some(marker) = marker {
            opening.notary.set_marker(found.replica, marker);
        }
        opening.notary.trusts[found.replica] = Some(Vouched {
            id,
            voids,
            evicts: self.evicts(id, &found.facts)?,
            evicted_keys: found.facts.evicted_keys,
        });
        Ok(())
    }

    /// Voids what was forgotten, on disk if this run repairs.
    fn void(&self, id: ReplicaId, after: Sequence, voids: &mut Voids) -> Result<(), StateError> {
        let state = &self.memory.state;
        if !self.repairs() {
            voids.add(after, state.last_sequence());
            return Ok(());
        }
        let forgotten = state.next_sequence()?;
        voids.add(after, forgotten);
        let mut changes = Changes::new(self.run.clock.now());
        changes.add_void(id, self.index, after, forgotten);
        state.commit(changes)
    }

    /// Sets a participant's marker before anything is read of it.
    ///
    /// SUBTLE: a replica that is lost in the middle of this run, and comes back with data from before it, may have told
    /// what it has no more. Its marker is then older than this one.
    async fn begin(
        &self,
        found: &Found,
    ) -> Result<Result<Option<Marker>, StoreError>, MemoryTrouble> {
        if !self.repairs() {
            return Ok(Ok(found.marker));
        }
        let (state, id) = (&self.memory.state, self.memory.ids[found.replica]);
        let step = state.next_sequence()?;
        let marker = match self.set_marker(found, step).await {
            Ok(marker) => marker,
            Err(error) => return Ok(Err(error)),
        };
        let mut changes = Changes::new(self.run.clock.now());
        let lane = Lane {
            first: found.known.map_or(step, |lane| lane.first),
            acknowledged: step,
        };
        changes.set_lane(id, self.index, lane);
        state.commit(changes)?;
        Ok(Ok(Some(marker)))
    }

    async fn set_marker(&self, found: &Found, step: Sequence) -> Result<Marker, StoreError> {
        let id = self.memory.ids[found.replica];
        let seal = Seal {
            lane: lane_name(id),
            expect: found.marker,
            set: Marker {
                state: self.memory.state.id(),
                owner: self.memory.owner,
                run: self.memory.run,
                sequence: step,
                written: 0,
            },
            register: Some(id),
        };
        let replica = self.replica(found.replica);
        let digest_key = &self.run.digest_key;
        let written = replica.write(self.db, &[], digest_key, Some(&seal)).await?;
        match written.sealing {
            Sealing::Set(marker) => Ok(marker),
            Sealing::Unasked | Sealing::Unset | Sealing::Unknown => Err(StoreError::Fenced {
                replica: replica.name().clone(),
                lane: seal.lane,
                found: None,
            }),
        }
    }

    /// Whether what a replica lacks may have been evicted: it evicts, and did so since it was last looked at, or is
    /// about to.
    fn evicts(&self, id: ReplicaId, facts: &Facts) -> Result<bool, StateError> {
        let before = self.memory.state.evicted(id)?.unwrap_or(0);
        let did = facts.evicted_keys > 0 && facts.evicted_keys != before;
        let may = facts.max_memory > 0 && facts.max_memory_policy != "noeviction";
        let full = facts.used_memory >= facts.max_memory / 10 * 9;
        Ok(did || may && full)
    }
}
