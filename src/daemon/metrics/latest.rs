//! What the latest runs came to, as far as it still holds between runs.

use std::collections::BTreeMap;

use crate::daemon::board::RunState;
use crate::daemon::planner::Outcome;
use crate::model::{Millis, Selection};
use crate::repair::{ReplicaSummary, Summary};
use crate::state::{RunRecord, State};

/// What the latest runs came to.
pub(super) struct Latest {
    /// Keys, and keys that differ still, by keyspace.
    pub(super) keyspaces: BTreeMap<String, (u64, u64)>,
    /// Every replica's part in the latest whole comparison.
    pub(super) replicas: BTreeMap<String, ReplicaSummary>,
    /// Whether a replica took part in the latest run to its end.
    pub(super) took_part: BTreeMap<String, bool>,
    /// When a repair last missed nothing.
    pub(super) agreement_updated: Option<Millis>,
    /// Runs in a row that were not complete, by schedule.
    pub(super) incomplete: BTreeMap<String, u64>,
    /// Whether the configuration was taken over when it was last read.
    pub(super) reloaded: bool,
}

impl Latest {
    /// What the log of runs tells.
    pub(super) fn remembered(state: Option<&State>) -> Self {
        let runs = state.map_or(Ok(Vec::new()), State::runs);
        let runs = runs.unwrap_or_else(|error| {
            tracing::warn!("metrics: the log of runs cannot be read: {error}");
            Vec::new()
        });
        let is_full = |run: &&RunRecord| run.start.purpose == "repair";
        let done = runs.iter().filter(is_full).filter_map(|run| {
            let end = run.end.as_ref()?;
            (end.result == "done").then_some(end.at)
        });
        Self {
            keyspaces: BTreeMap::new(),
            replicas: BTreeMap::new(),
            took_part: BTreeMap::new(),
            agreement_updated: done.max(),
            incomplete: BTreeMap::new(),
            reloaded: true,
        }
    }

    /// A run of a schedule has ended.
    pub(super) fn schedule_ended(&mut self, schedule: &str, outcome: Outcome) {
        let incomplete = self.incomplete.entry(schedule.into()).or_default();
        match outcome {
            Outcome::Done => *incomplete = 0,
            Outcome::Partial | Outcome::Failed | Outcome::Deadline => *incomplete += 1,
            Outcome::Stopped | Outcome::Closed => {}
        }
    }

    /// A comparison has ended. What it says of whole keyspaces counts only if it read them; one that went on after a
    /// rest says nothing of those that it had read before.
    pub(super) fn compared(
        &mut self,
        selection: &Selection,
        summary: &Summary,
        state: RunState,
        resumed: bool,
    ) {
        for part in &summary.replicas {
            let took_part = part.lost.is_none();
            self.took_part.insert(part.name.0.clone(), took_part);
        }
        if !summary.tripped.is_empty() && selection.is_whole() {
            self.stopped_by_a_guard(summary);
        }
        let came_to_its_end = matches!(state, RunState::Done | RunState::Partial);
        if !came_to_its_end || !selection.is_whole() {
            return;
        }
        let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        if !resumed {
            let selected = selection.keyspaces.iter();
            counted.extend(selected.map(|one| (one.0.clone(), (0, 0))));
        }
        for ((_, keyspace), tallies) in &summary.tallies {
            let sums = counted.entry(keyspace.0.clone()).or_default();
            sums.0 += tallies.values().map(|tally| tally.keys).sum::<u64>();
            sums.1 += tallies.values().map(|tally| tally.left).sum::<u64>();
        }
        self.keyspaces.extend(counted);
        let parts = summary.replicas.iter();
        self.replicas = parts.map(|one| (one.name.0.clone(), one.clone())).collect();
    }

    /// A guard stopped a run before its writes: at least what it found differs still.
    fn stopped_by_a_guard(&mut self, summary: &Summary) {
        for ((_, keyspace), tallies) in &summary.tallies {
            let (_, differ) = self.keyspaces.entry(keyspace.0.clone()).or_default();
            *differ = (*differ).max(tallies.values().map(|tally| tally.left).sum());
        }
    }
}
