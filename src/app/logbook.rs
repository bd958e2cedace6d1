//! A run in the log of runs: from its beginning to its end, also where it came to nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::model::{Millis, ReplicaId, ReplicaName, RunNumber};
use crate::state::{Retention, RunEnd, RunStart, State, StateError};

use super::exit::Exit;
use super::memory::Memory;

/// A run that is in the log and has not ended.
pub struct Logbook {
    state: State,
    /// Its number.
    pub run: RunNumber,
    /// Why guards are overruled, if they are.
    reason: Option<String>,
    history: Duration,
    journal: Retention,
}

/// What a run amounts to.
pub(super) struct Ending {
    /// How it ended, in a word.
    pub(super) result: &'static str,
    /// Its exit.
    pub(super) exit: Exit,
    /// Its counts by name.
    pub(super) counts: BTreeMap<String, u64>,
    /// Why it came to nothing.
    pub(super) trouble: Option<String>,
}

impl Logbook {
    /// Notes the beginning of a run.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub fn begin(
        config: &Config,
        memory: &Memory,
        (at, purpose): (Millis, String),
        undoes: Option<RunNumber>,
        reason: Option<String>,
    ) -> Result<Self, StateError> {
        let names = config.replicas.iter().map(|replica| replica.name.clone());
        let replicas: Vec<(ReplicaId, ReplicaName)> =
            memory.ids.iter().copied().zip(names).collect();
        let start = RunStart {
            at,
            purpose,
            replicas,
            undoes,
        };
        Ok(Self {
            run: memory.state.begin_run(start)?,
            state: memory.state.clone(),
            reason,
            history: config.agreement.history,
            journal: Retention {
                age: config.journal.age,
                bytes: config.journal.size.as_u64(),
            },
        })
    }

    /// Notes that the run could not begin.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub fn fail(&self, now: Millis, why: &str) -> Result<(), StateError> {
        let ending = Ending {
            result: "failed",
            exit: Exit::Trouble,
            counts: BTreeMap::new(),
            trouble: Some(format!("it could not begin: {why}")),
        };
        self.end(now, ending)
    }

    /// Notes the end of the run, and forgets what is old.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub(super) fn end(&self, now: Millis, ending: Ending) -> Result<(), StateError> {
        let notes = [self.reason.clone(), ending.trouble];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        let end = RunEnd {
            at: now,
            result: ending.result.into(),
            exit: ending.exit.code(),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            counts: ending.counts,
        };
        self.state.end_run(self.run, end)?;
        let pruned = self.state.prune(now, self.history, self.journal)?;
        tracing::debug!("forgotten: {pruned:?}");
        Ok(())
    }
}
