//! The breaker of an undo: what it would take from each replica is counted before anything is written.

use crate::model::DbIndex;
use crate::repair::guard::{Stake, Toll, Tripped, tripped};
use crate::repair::loss::Losses;
use crate::repair::run::{Mode, Shared};

use super::{UndoFate, UndoFinding};

/// How far an undo has come: it goes through the journal twice.
pub(super) struct Scales {
    /// It only counts.
    weighing: bool,
    toll: Toll,
    /// It would take too much.
    stops: bool,
}

/// Why a write is not put back that could be.
const STOPPED: &str = "the guards stopped the undo before it wrote anything";

impl Scales {
    pub(super) fn new(shared: &Shared<'_>) -> Self {
        Self {
            weighing: true,
            toll: Toll::new(shared.run.participants.len()),
            stops: false,
        }
    }

    /// Whether anything is to be written.
    pub(super) fn writes(&self, shared: &Shared<'_>) -> bool {
        shared.run.settings.mode == Mode::Repair && !self.weighing && !self.stops
    }

    /// Counts a key. Nothing more is to be done with it if so.
    pub(super) fn weighs(&mut self, losses: &Losses) -> bool {
        if self.weighing {
            self.toll.add(losses);
        }
        self.weighing
    }

    /// Whether findings are not to be told yet.
    pub(super) fn is_weighing(&self) -> bool {
        self.weighing
    }

    /// The limits that the undo would exceed, once all keys are counted.
    pub(super) async fn weigh(&mut self, shared: &Shared<'_>) -> Vec<Tripped> {
        self.weighing = false;
        let run = shared.run;
        let participants = run.participants.iter().enumerate().zip(self.toll.iter());
        let mut stakes = Vec::new();
        for ((index, participant), planned) in participants {
            if planned.overwrites == 0 && planned.deletes == 0 {
                continue;
            }
            let held = match participant.replica.facts().await {
                Ok(facts) => {
                    let databases = run.scope.databases().into_iter();
                    let held = |db: Option<DbIndex>| {
                        let index = db.unwrap_or(participant.default_db);
                        facts.keys.get(&index).copied().unwrap_or(0)
                    };
                    databases.map(held).sum()
                }
                Err(error) => {
                    shared.lose(index, &error);
                    continue;
                }
            };
            stakes.push(Stake {
                replica: participant.replica.name(),
                held,
                planned,
            });
        }
        let tripped = tripped(&run.settings.breaker, stakes.into_iter());
        self.stops = !tripped.is_empty();
        tripped
    }

    /// Says of what could be put back that it is not, if the undo is stopped.
    pub(super) fn settle(&self, shared: &Shared<'_>, findings: &mut [UndoFinding]) {
        if !self.stops || shared.run.settings.mode != Mode::Repair {
            return;
        }
        let planned = findings
            .iter_mut()
            .filter(|finding| finding.fate == UndoFate::Planned);
        planned.for_each(|finding| finding.fate = UndoFate::Kept(STOPPED.into()));
    }
}
