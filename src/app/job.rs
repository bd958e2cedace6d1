//! A run of a service: worked on in segments, each a run over a part of the keys, and noted in the log as one.
//!
//! ```text
//! begin (a number in the log) ─ segment ─ segment ─ … ─ end
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::model::{DigestKey, RunNumber, Selection, SlotRange};
use crate::repair::{self, Listener, Mode, Progress, Run, RunError, Summary, Throttle};
use crate::store::Facts;

use super::division;
use super::exit::Exit;
use super::fleet::{Fleet, Plan, Trouble, plan, random};
use super::logbook::{Ending, Logbook};
use super::memory::{Memory, Unremembered};
use super::preflight::{expect, preflight};
use super::resuming;
use super::session::{counts_of, result};

/// How old what a run finished may be for another to go on with it: from one night's window to the next but one.
const RESUMABLE: Duration = Duration::from_secs(48 * 3600);

/// Why a segment came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Before it began.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// On the way.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl JobError {
    /// Whether another attempt may fare better: a replica could not be reached, or not read to the end.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Trouble(trouble) => matches!(
                trouble,
                Trouble::TooFew(_) | Trouble::Store(_) | Trouble::Unfit { .. }
            ),
            Self::Run(error) => matches!(error, RunError::TooFew(_)),
        }
    }
}

/// A run of a service.
pub struct Job<'a> {
    config: &'a Config,
    /// Its replicas.
    pub fleet: Fleet,
    asked: Plan,
    memory: Option<Memory>,
    logbook: Option<Logbook>,
    digest_key: DigestKey,
    stop: CancellationToken,
}

impl<'a> Job<'a> {
    /// A run that is to be worked on, with its memory.
    ///
    /// # Errors
    /// When a password cannot be read, or the system gives no random bytes.
    pub fn new(
        config: &'a Config,
        asked: Plan,
        memory: Option<Memory>,
        (throttle, stop): (Arc<Throttle>, CancellationToken),
    ) -> Result<Self, Trouble> {
        let digest_key = match &memory {
            Some(memory) => memory.state.digest_key(),
            None => DigestKey::new(random()?),
        };
        Ok(Self {
            config,
            fleet: Fleet::new(config)?.at_pace_of(throttle),
            asked,
            memory,
            logbook: None,
            digest_key,
            stop,
        })
    }

    /// The same, noted in the log of runs.
    #[must_use]
    pub fn noted(self, logbook: Option<Logbook>) -> Self {
        Self { logbook, ..self }
    }

    /// The run over some of its keys, with a progress of its own or of the whole.
    ///
    /// # Errors
    /// When the system gives no random bytes, or the state directory is not that of these replicas.
    pub async fn segment(
        &self,
        selection: Selection,
        progress: Arc<Progress>,
        resumes: bool,
    ) -> Result<Run, Trouble> {
        let names_keys = selection.keys.is_some();
        let (config, stop) = (self.config, self.stop.clone());
        let mut run = plan(config, &self.fleet, selection, self.asked, stop)?;
        run.digest_key = self.digest_key.clone();
        run.progress = progress;
        if let Some(memory) = &self.memory {
            memory.refuse_strangers(&self.fleet, &run.scope).await?;
            let number = self.number(memory);
            let mut remembered = memory.of_run(number, config, names_keys)?;
            let kind = resuming::kind(&run, &remembered);
            remembered.digest = (self.asked.mode == Mode::Repair).then_some(kind);
            if resumes {
                remembered.taken_up =
                    resuming::take_up(&run, &remembered, RESUMABLE).map_err(Unremembered::from)?;
            }
            run.memory = Some(remembered);
        }
        Ok(run)
    }

    fn number(&self, memory: &Memory) -> RunNumber {
        let noted = self.logbook.as_ref().map(|logbook| logbook.run);
        noted.unwrap_or_else(|| memory.state.last_run())
    }

    /// Looks at all replicas before a segment. Unless it is `content` with fewer, all have to be there before anything is
    /// read: one that is missed costs a reading of all others.
    ///
    /// # Errors
    /// When fewer than two replicas can be reached, or one is not fit.
    pub async fn look(&self, content: bool) -> Result<Vec<Option<Facts>>, JobError> {
        let config = &self.config;
        let looking = preflight(
            &self.fleet,
            self.asked.mode,
            config.layout(),
            config.keyspaces.iter(),
        );
        // A server that is silent is waited for longer than somebody who wants to stop would wait.
        let facts = tokio::select! {
            facts = looking => facts?,
            () = self.stop.cancelled() => return Err(Trouble::TooFew("told to stop".into()).into()),
        };
        if let Some(missed) = facts.iter().position(Option::is_none).filter(|_| !content) {
            let name = self.fleet.servers[missed].name();
            let words = format!("replica {name} cannot be reached");
            return Err(Trouble::TooFew(words).into());
        }
        Ok(facts)
    }

    /// The segments of a database: what an earlier run has finished, and the rest, divided if it takes longer than
    /// `target`.
    pub fn divide(&self, run: &Run, facts: &[Option<Facts>], target: Duration) -> Vec<SlotRange> {
        let parts = division::segments(run, facts, target);
        let parts = parts.values().copied().max().unwrap_or(1);
        let taken_up = run.memory.as_ref().and_then(|one| one.taken_up.as_ref());
        let finished = taken_up.map_or(&[][..], |taken_up| &taken_up.segments);
        let finished: Vec<SlotRange> = finished.iter().map(|one| one.slots).collect();
        division::cut(run.scope.slots(), &finished, parts)
    }

    /// Works on a segment.
    ///
    /// # Errors
    /// When fewer than two replicas can be read, or the state directory cannot be used.
    pub async fn work(
        &self,
        run: &Run,
        facts: &[Option<Facts>],
        listener: &mut dyn Listener,
    ) -> Result<Summary, JobError> {
        expect(run, facts);
        Ok(repair::run(run, listener).await?)
    }

    /// Notes the end of the run, and forgets what is old.
    ///
    /// # Errors
    /// When the state directory takes no more.
    pub fn end(
        &self,
        summary: Option<&Summary>,
        exit: Exit,
        trouble: Option<String>,
        now: crate::model::Millis,
    ) -> Result<(), Trouble> {
        let Some(logbook) = &self.logbook else {
            return Ok(());
        };
        let ending = Ending {
            result: result(exit),
            exit,
            counts: summary.map_or_else(BTreeMap::new, counts_of),
            trouble,
        };
        Ok(logbook.end(now, ending).map_err(Unremembered::from)?)
    }

    /// How far it goes.
    pub fn mode(&self) -> Mode {
        self.asked.mode
    }
}
