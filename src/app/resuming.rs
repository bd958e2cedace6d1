//! What a run may take up of the one before it: that was cut off, was of the same kind, and is not long ago.

use std::time::Duration;

use crate::model::{Millis, RunNumber};
use crate::repair::{Run, RunMemory, TakenUp};
use crate::state::{RunRecord, Segment, State, StateError};

/// Results of runs that were cut off; those of a run that was killed it has none.
const CUT_OFF: [&str; 3] = ["interrupted", "partial", "failed"];

/// Tells runs of one kind from others: the same keys of the same replicas by the same rules, by the same version.
pub(super) fn digest(run: &Run, memory: &RunMemory) -> [u8; 32] {
    let RunMemory {
        ids,
        others,
        elements,
        ..
    } = memory;
    let kind = format!(
        "{} {:?} {ids:?} {others:?} {elements} {:?}",
        env!("CARGO_PKG_VERSION"),
        run.scope,
        run.settings.limit
    );
    *blake3::hash(kind.as_bytes()).as_bytes()
}

/// What the run before `current` finished, if it was cut off: segments of the same kind that are no older than `age`.
///
/// # Errors
/// When the log cannot be read.
pub(super) fn find(
    state: &State,
    (current, digest): (RunNumber, [u8; 32]),
    now: Millis,
    age: Duration,
) -> Result<Option<TakenUp>, StateError> {
    let runs = state.runs()?;
    let mut before = runs.iter().rev().filter(|run| run.number < current);
    let Some(last) = before.next().filter(|run| is_cut_off(run)) else {
        return Ok(None);
    };
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    // A clock that jumped back makes what was finished later than now: it is not trusted.
    let is_recent =
        |segment: &Segment| (0..=age).contains(&now.0.saturating_sub(segment.finished.0));
    let mut segments = state.segments(last.number)?;
    segments.retain(|segment| segment.digest == digest && is_recent(segment));
    Ok(Some(TakenUp {
        run: last.number,
        segments,
    }))
}

fn is_cut_off(run: &RunRecord) -> bool {
    let cut_off = |result: &str| CUT_OFF.contains(&result);
    let ended = run.end.as_ref();
    run.start.purpose == "repair" && ended.is_none_or(|end| cut_off(&end.result))
}
