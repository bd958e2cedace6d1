//! A run with the memory that its configuration says, noted in the log of runs from its beginning to its end.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::model::Selection;
use crate::repair::{Mode, Run, Summary};
use crate::store::Facts;

use super::division;
use super::exit::Exit;
use super::fleet::{Fleet, Plan, Trouble, plan};
use super::journal;
use super::logbook::{Ending, Logbook};
use super::memory::{Remembering, Unremembered, adopt, open};
use super::resuming;

/// A run, and where it is noted.
pub struct Session {
    /// The run.
    pub run: Run,
    logbook: Option<Logbook>,
}

/// How a run ended, for the log.
pub enum Ended<'a> {
    /// It came to a summary.
    With(&'a Summary),
    /// It came to nothing, for this reason.
    For(&'a str),
}

impl Session {
    /// A run of this plan; `facts` is what was learned of the replicas before it.
    ///
    /// # Errors
    /// When the state directory cannot be used for it: nothing was written to a replica then, but for what `--adopt`
    /// removed.
    pub async fn open(
        config: &Config,
        fleet: &Fleet,
        selection: Selection,
        (asked, remembering): (Plan, &Remembering),
        (facts, stop): (&[Option<Facts>], CancellationToken),
    ) -> Result<Self, Trouble> {
        let names_keys = selection.keys.is_some();
        let mut run = plan(config, fleet, selection, asked, stop)?;
        if let Some(path) = &remembering.journal {
            journal::refuse_with_memory(config)?;
            if asked.mode == Mode::Repair {
                journal::keep(&mut run, path)?;
            }
        }
        if remembering.adopt {
            refuse_unless_all(fleet, facts)?;
            adopt(config, fleet, &run.scope, run.clock.as_ref()).await?;
        }
        let Some(memory) = open(config, fleet, asked.mode, run.clock.as_ref())? else {
            return Ok(Self { run, logbook: None });
        };
        let forces = asked.force_deletes.is_some() || asked.force_overwrites.is_some();
        let writes = asked.mode == Mode::Repair;
        if forces && writes && remembering.reason.is_none() {
            return Err(Unremembered::NoReason.into());
        }
        memory.refuse_strangers(fleet, &run.scope).await?;
        memory.warn_of_others();
        run.digest_key = memory.state.digest_key();
        let begun = (run.clock.now(), "repair".to_owned());
        let reason = remembering.reason.clone();
        let logbook = writes.then(|| Logbook::begin(config, &memory, begun, None, reason));
        let logbook = logbook.transpose().map_err(Unremembered::from)?;
        let number = logbook.as_ref().map(|logbook| logbook.run);
        let number = number.unwrap_or_else(|| memory.state.last_run());
        let mut remembered = memory.of_run(number, config, names_keys)?;
        let kind = resuming::kind(&run, &remembered);
        remembered.digest = writes.then_some(kind);
        if let Some(age) = remembering.resume.filter(|_| writes) {
            remembered.taken_up =
                resuming::take_up(&run, &remembered, age).map_err(Unremembered::from)?;
        }
        run.memory = Some(remembered);
        run.segments = division::segments(&run, facts, config.limits.segment);
        Ok(Self { run, logbook })
    }

    /// Notes the end of the run, and forgets what is old.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub fn close(&self, ended: &Ended<'_>, exit: Exit) -> Result<(), Trouble> {
        let Some(logbook) = &self.logbook else {
            return Ok(());
        };
        let ending = match ended {
            Ended::With(summary) => Ending {
                result: result(exit),
                exit,
                counts: counts_of(summary),
                trouble: None,
            },
            Ended::For(words) => Ending {
                result: "failed",
                exit,
                counts: BTreeMap::new(),
                trouble: Some((*words).to_owned()),
            },
        };
        let ended = logbook.end(self.run.clock.now(), ending);
        Ok(ended.map_err(Unremembered::from)?)
    }
}

/// All replicas are taken over, or none: one that is not asked keeps the markers of another state directory.
fn refuse_unless_all(fleet: &Fleet, facts: &[Option<Facts>]) -> Result<(), Unremembered> {
    match facts.iter().position(Option::is_none) {
        None => Ok(()),
        Some(lost) => {
            let name = fleet.participants[lost].replica.name().clone();
            Err(Unremembered::Unadoptable(name))
        }
    }
}

/// How a run ended, in a word.
pub(super) fn result(exit: Exit) -> &'static str {
    match exit {
        Exit::InSync => "done",
        Exit::Diverged => "left",
        Exit::Trouble => "failed",
        Exit::Partial => "partial",
        Exit::Stopped => "stopped",
        Exit::Interrupted => "interrupted",
    }
}

/// What the log says of a run in numbers; noughts are left out.
pub fn counts_of(summary: &Summary) -> BTreeMap<String, u64> {
    let total = summary.total();
    let of_all = |count: fn(&crate::repair::ReplicaSummary) -> u64| {
        summary.replicas.iter().map(count).sum::<u64>()
    };
    // What a guard stopped was found, and not done.
    let done = |count| match summary.tripped.is_empty() {
        true => of_all(count),
        false => 0,
    };
    let counted = [
        ("keys", total.keys),
        ("differing", total.differing()),
        ("repaired", total.repaired),
        ("left", total.left),
        ("in flight", summary.in_flight),
        ("learned", summary.learned),
        ("written", of_all(|replica| replica.written)),
        ("overwrites", done(|replica| replica.overwrites)),
        ("deletes", done(|replica| replica.deletes)),
    ];
    let counted = counted.into_iter().filter(|(_, count)| *count > 0);
    counted
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
