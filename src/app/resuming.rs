//! What a run takes up of the last one of the same kind: if that was cut off, and is not long ago.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Millis, RunNumber};
use crate::repair::{Run, RunMemory, SegmentKind, TakenUp, segment_kinds};
use crate::state::{RunRecord, Segment, StateError};

/// Results of runs that were cut off; those of a run that was killed it has none.
const CUT_OFF: [&str; 3] = ["interrupted", "partial", "failed"];

/// Tells runs of one kind from others: the same keys of the same replicas by the same rules, by the same version. Not by
/// their databases and slots, which segments are told apart by.
pub(super) fn kind(run: &Run, memory: &RunMemory) -> SegmentKind {
    let RunMemory {
        ids,
        others,
        elements,
        ..
    } = memory;
    let kind = format!(
        "{} {:?} {ids:?} {others:?} {elements} {:?}",
        env!("CARGO_PKG_VERSION"),
        run.scope.kind(),
        run.settings.limit
    );
    *blake3::hash(kind.as_bytes()).as_bytes()
}

/// What runs before that of this memory finished, if the last one of the same kind was cut off: segments that are no
/// older than `age`. Nothing where there are none. The log says of those runs that this one took them up.
///
/// # Errors
/// When the log cannot be read, or takes no more.
pub(super) fn take_up(
    run: &Run,
    memory: &RunMemory,
    age: Duration,
) -> Result<Option<TakenUp>, StateError> {
    let (Some(kind), state) = (&memory.digest, &memory.state) else {
        return Ok(None);
    };
    let mut all = state.all_segments()?;
    all.retain(|(run, _)| *run < memory.run);
    let latest: BTreeMap<SegmentKind, RunNumber> =
        all.iter().map(|(run, one)| (one.digest, *run)).collect();
    let mut cut_off = BTreeSet::new();
    for kind in segment_kinds(run, kind).into_values() {
        let record = latest.get(&kind).map(|run| state.run(*run)).transpose()?;
        cut_off.extend(
            record
                .flatten()
                .filter(is_cut_off)
                .map(|one| (kind, one.number)),
        );
    }
    let Some(latest) = cut_off.iter().map(|(_, run)| *run).max() else {
        return Ok(None);
    };
    let now = run.clock.now();
    all.retain(|(run, one)| cut_off.contains(&(one.digest, *run)) && is_recent(one, now, age));
    for run in all.iter().map(|(run, _)| *run).collect::<BTreeSet<_>>() {
        state.take_up_run(run, memory.run)?;
    }
    Ok(Some(TakenUp {
        run: latest,
        segments: all.into_iter().map(|(_, one)| one).collect(),
    }))
}

/// A clock that jumped back makes what was finished later than now: it is not trusted.
fn is_recent(segment: &Segment, now: Millis, age: Duration) -> bool {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    (0..=age).contains(&now.0.saturating_sub(segment.finished.0))
}

fn is_cut_off(run: &RunRecord) -> bool {
    let cut_off = |result: &str| CUT_OFF.contains(&result);
    let ended = run.end.as_ref();
    run.start.purpose == "repair" && ended.is_none_or(|end| cut_off(&end.result))
}
