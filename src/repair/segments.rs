//! Segments: what a run reads of a database at a time, each finished by itself, so that a run that is cut off need not
//! begin anew.
//!
//! ```text
//! slots of a database ─▶ without what an earlier run finished ─▶ divided ─▶ read, compared, nothing left or waiting
//!                                      ▲                                                     │ proved, noted
//! next run, the same keys and replicas ┴───── if no replica has forgotten anything since ◀───┘
//! ```
//!
//! SCAN cannot seek: each segment costs a scan of all names of its database, and the reading of its own keys. So only a
//! large database is divided. What has to wait for the second stage, destructions, is done last; a segment that has any
//! is not finished before.
//!
//! # Correctness
//! A segment that is skipped stands as it was when it was finished: a run that takes long reads its first segment as
//! early. What was proved of it is on disk already; nothing more is claimed. Of a database is claimed that all keys were
//! seen once the segments of one run, taken up or its own, are all of its slots, and no replica has forgotten anything
//! since the first of them.

use std::collections::BTreeMap;

use crate::model::{DbIndex, RunNumber, SlotRange};
use crate::state::{Changes, Segment};

use super::notary::{MemoryTrouble, Proof, TakenUp};
use super::run::{Mode, Run, RunError, Shared};
use super::scope::Scope;
use super::summary::Summary;

/// What the segments of one kind are noted under: the same keys of the same replicas by the same rules.
pub type SegmentKind = [u8; blake3::OUT_LEN];

/// What a run took up of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// The earlier run.
    pub run: RunNumber,
    /// How many segments are not read again.
    pub finished: usize,
    /// How many there are.
    pub segments: usize,
    /// Keys that those which are not read again have left: no rule decides them.
    pub left: u64,
}

impl Resumed {
    /// What two parts of a run took up.
    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            run: self.run,
            finished: self.finished + other.finished,
            segments: self.segments + other.segments,
            left: self.left + other.left,
        }
    }
}

/// What the segments of each database of a run are noted under; `of_run` tells runs of one kind from others.
pub fn segment_kinds(run: &Run, of_run: &SegmentKind) -> BTreeMap<DbIndex, SegmentKind> {
    let databases = run.scope.databases().into_iter();
    let kind = |db| {
        let index = run.db_index(db);
        (index, kind_of(&run.scope, (db, index), of_run))
    };
    databases.map(kind).collect()
}

/// Not by the slots: a segment is some of them.
fn kind_of(
    scope: &Scope,
    (db, index): (Option<DbIndex>, DbIndex),
    of_run: &SegmentKind,
) -> SegmentKind {
    let mut digester = blake3::Hasher::new();
    digester.update(of_run);
    digester.update(&index.0.to_be_bytes());
    for keyspace in scope.worked_on(db) {
        digester.update(&(keyspace.name.0.len() as u64).to_be_bytes());
        digester.update(keyspace.name.0.as_bytes());
    }
    *digester.finalize().as_bytes()
}

/// What a run has to read of one database, and what it has read.
pub(super) struct Agenda {
    pub(super) db: Option<DbIndex>,
    pub(super) index: DbIndex,
    /// What it is noted under, if it is.
    kind: Option<SegmentKind>,
    /// What is to be read, in order.
    pub(super) segments: Vec<SlotRange>,
    /// What was read to its end.
    read: Vec<SlotRange>,
    /// Of that, what waits for the second stage, or has left something.
    unfinished: Vec<SlotRange>,
}

/// What is to be read of every database, and what is not, because an earlier run has finished it. That is noted as this
/// run's own, so that it can be taken up in turn.
///
/// # Errors
/// When the state directory takes no more.
pub(super) fn agendas(shared: &Shared<'_>) -> Result<(Vec<Agenda>, Option<Resumed>), RunError> {
    let databases = shared.run.scope.databases();
    let indexes: Vec<DbIndex> = databases.iter().map(|db| shared.db_index(*db)).collect();
    let is_one = |index| indexes.iter().filter(|other| **other == index).count() == 1;
    let (mut agendas, mut resumed) = (Vec::new(), None);
    for (db, index) in databases.into_iter().zip(indexes.iter().copied()) {
        let kind = shared.kind_of_run().filter(|_| is_one(index));
        let kind = kind.map(|of_run| kind_of(&shared.run.scope, (db, index), of_run));
        let agenda = Agenda::new(shared, (db, index), kind, &mut resumed)?;
        agendas.push(agenda);
    }
    Ok((agendas, resumed))
}

impl Agenda {
    fn new(
        shared: &Shared<'_>,
        (db, index): (Option<DbIndex>, DbIndex),
        kind: Option<SegmentKind>,
        resumed: &mut Option<Resumed>,
    ) -> Result<Self, RunError> {
        let selected = shared.run.scope.slots();
        let is_selected = |one: &Segment| selected.without([one.slots]) != [selected];
        let mut finished = take_up(shared, (db, index), kind)?;
        finished.retain(is_selected);
        let gaps = selected.without(finished.iter().map(|one| one.slots));
        let parts = shared.run.segments.get(&db).copied().unwrap_or(1);
        let parts_of =
            |gap: &SlotRange| parts.saturating_mul(gap.count()).div_ceil(selected.count());
        let segments: Vec<_> = gaps
            .iter()
            .flat_map(|gap| gap.divided(parts_of(gap)))
            .collect();
        if let Some(taken_up) = shared.taken_up() {
            let one = Resumed {
                run: taken_up.run,
                finished: finished.len(),
                segments: finished.len() + segments.len(),
                left: finished.iter().map(|one| one.left).sum(),
            };
            *resumed = Some(resumed.map_or(one, |sum: Resumed| sum.plus(one)));
        }
        Ok(Self {
            db,
            index,
            kind,
            segments,
            read: Vec::new(),
            unfinished: Vec::new(),
        })
    }

    /// A segment was read and compared to its end. It is finished, and noted, if nothing of it is left or waits.
    pub(super) async fn was_read(
        &mut self,
        shared: &Shared<'_>,
        slots: SlotRange,
        is_settled: bool,
    ) {
        self.read.push(slots);
        match self.kind.filter(|_| is_settled && shared.lost().is_empty()) {
            Some(kind) => self.note(shared, vec![slots], Some(kind), 0).await,
            None => self.unfinished.push(slots),
        }
    }

    /// The run has come to its end: what was not finished by then is now, unless a replica or a key took no part.
    pub(super) async fn end(self, shared: &Shared<'_>, summary: &Summary) {
        if self.unfinished.is_empty() {
            return;
        }
        let all_took_part = shared.lost().is_empty() && !summary.is_partial();
        let is_finished = all_took_part && summary.tripped.is_empty();
        let left = summary.left_in(self.index);
        match self.kind.filter(|_| is_finished) {
            Some(kind) => {
                self.note(shared, self.unfinished.clone(), Some(kind), left)
                    .await
            }
            // What a run that read everything proves does not need all to have taken part.
            None => self.note(shared, self.read.clone(), None, left).await,
        }
    }

    async fn note(
        &self,
        shared: &Shared<'_>,
        slots: Vec<SlotRange>,
        kind: Option<SegmentKind>,
        left: u64,
    ) {
        let is_all = SlotRange::all().without(slots.iter().copied()).is_empty();
        let proves = kind.is_some() || is_all && shared.run.scope.is_whole_but_for_slots();
        let Some(notary) = shared
            .notary(self.db)
            .filter(|_| proves && shared.run.settings.mode == Mode::Repair)
        else {
            return;
        };
        let proof = Proof {
            slots,
            kind,
            unsettled: shared.take_unsettled(self.index),
            left,
        };
        if let Err(error) = notary.cover(shared, proof).await {
            shared.break_off(error);
        }
    }
}

/// The segments of an earlier run that are still right: all replicas show that they forgot nothing since. They are noted
/// as this run's.
fn take_up(
    shared: &Shared<'_>,
    (db, index): (Option<DbIndex>, DbIndex),
    kind: Option<SegmentKind>,
) -> Result<Vec<Segment>, RunError> {
    let (Some(memory), Some(notary)) = (&shared.run.memory, shared.notary(db)) else {
        return Ok(Vec::new());
    };
    let taken_up = shared.taken_up().filter(|_| shared.lost().is_empty());
    let found = taken_up.into_iter().flat_map(|taken_up| &taken_up.segments);
    let found = found.filter(|one| one.db == index && Some(one.digest) == kind);
    let right: Vec<Segment> = found.filter(|one| notary.remembers(one)).cloned().collect();
    let noted = memory
        .state
        .segments(memory.run)
        .map_err(MemoryTrouble::State)?;
    let mut changes = Changes::new(shared.run.clock.now());
    for one in &right {
        let is_there = noted
            .iter()
            .any(|other| other.db == index && other.slots == one.slots);
        if !is_there {
            changes.finish(memory.run, one.clone());
        }
    }
    memory.state.commit(changes).map_err(MemoryTrouble::State)?;
    Ok(right)
}

impl Shared<'_> {
    /// What tells runs of this kind from others, of one whose segments are noted.
    fn kind_of_run(&self) -> Option<&SegmentKind> {
        let memory = self.run.memory.as_ref()?;
        memory
            .digest
            .as_ref()
            .filter(|_| self.run.settings.mode == Mode::Repair)
    }

    fn taken_up(&self) -> Option<&TakenUp> {
        let memory = self.run.memory.as_ref()?;
        memory
            .taken_up
            .as_ref()
            .filter(|_| self.run.settings.mode == Mode::Repair)
    }
}

/// What a run has left open so far; a segment that adds to it is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    left: u64,
    waiting: u64,
}

impl Open {
    /// What is left open, and what waits for the second stage.
    pub(super) fn of(summary: &Summary, waiting: u64) -> Self {
        Self {
            left: summary.total().left,
            waiting,
        }
    }
}
