//! Segments: the databases of a run, each finished by itself, so that a run that is cut off need not begin anew.
//!
//! ```text
//! database read, compared, nothing of it left or waiting ─▶ covered ─▶ noted as finished
//!                                                                           │ --resume, the same keys and replicas
//! next run ◀──────────── skipped, if no replica has forgotten anything ◀────┘
//! ```
//!
//! A segment is a whole database, because SCAN cannot seek: a part of one costs as much to read as all of it. What a
//! database has in the second stage, destructions, is done last; so it is not finished before.
//!
//! # Correctness
//! A segment that is skipped stands as it was when it was finished: a run that takes long reads its first database as
//! early. What was proved of it is on disk already; nothing more is claimed.

use crate::model::{DbIndex, RunNumber};
use crate::state::{Changes, Segment};

use super::notary::Forgetful;
use super::notary::MemoryTrouble;
use super::run::{Mode, RunError, Shared};
use super::summary::Summary;

/// What a run took up of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// The earlier run.
    pub run: RunNumber,
    /// How many of its segments were finished.
    pub finished: usize,
    /// How many there are.
    pub segments: usize,
}

/// The segments of an earlier run that are still right: all replicas show that they forgot nothing there.
fn still_right<'s>(
    shared: &'s Shared<'_>,
    forgetful: &[Forgetful],
) -> impl Iterator<Item = &'s Segment> {
    let taken_up = shared
        .run
        .memory
        .as_ref()
        .and_then(|memory| memory.taken_up.as_ref());
    let all_there = shared.lost().is_empty() && shared.run.settings.mode == Mode::Repair;
    let segments = taken_up.filter(|_| all_there).into_iter();
    let forgot: Vec<DbIndex> = forgetful.iter().map(|one| one.db).collect();
    segments
        .flat_map(|taken_up| &taken_up.segments)
        .filter(move |segment| !forgot.contains(&segment.db))
}

/// What a run takes up, noted as its own: so that it can be taken up in turn.
///
/// # Errors
/// When the state directory takes no more.
pub(super) fn take_up(
    shared: &Shared<'_>,
    forgetful: &[Forgetful],
) -> Result<(Vec<DbIndex>, Option<Resumed>), RunError> {
    let Some(memory) = &shared.run.memory else {
        return Ok((Vec::new(), None));
    };
    let Some(taken_up) = &memory.taken_up else {
        return Ok((Vec::new(), None));
    };
    let mut changes = Changes::new(shared.run.clock.now());
    let mut finished = Vec::new();
    for segment in still_right(shared, forgetful) {
        finished.push(segment.db);
        changes.finish(memory.run, *segment);
    }
    memory.state.commit(changes).map_err(MemoryTrouble::State)?;
    let resumed = Resumed {
        run: taken_up.run,
        finished: finished.len(),
        segments: shared.run.scope.databases().len(),
    };
    Ok((finished, Some(resumed)))
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

/// Notes that a database is finished: everything in it was read, of all replicas, and nothing is left to do. Answers
/// whether what that proves was noted. A state directory that takes no more ends the run.
pub(super) async fn finish(shared: &Shared<'_>, db: DbIndex) -> bool {
    let Some(memory) = &shared.run.memory else {
        return false;
    };
    let digest = memory
        .digest
        .filter(|_| shared.run.settings.mode == Mode::Repair);
    let Some(digest) = digest.filter(|_| shared.lost().is_empty()) else {
        return false;
    };
    let is_covered = shared.cover_one(db).await;
    // A replica can be lost in that; and what is not covered is not finished.
    if !is_covered || !shared.lost().is_empty() || shared.is_broken() {
        return true;
    }
    let now = shared.run.clock.now();
    let mut changes = Changes::new(now);
    let segment = Segment {
        db,
        finished: now,
        digest,
    };
    changes.finish(memory.run, segment);
    if let Err(error) = memory.state.commit(changes) {
        shared.break_off(error);
    }
    true
}
