//! Undoes a run, as a run of its own in the log.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::model::{Key, ReplicaId, RunNumber, Selection};
use crate::repair::{self, Mode, Run, RunError, UndoListener, UndoRequest, UndoSummary};

use super::exit::Exit;
use super::fleet::{Fleet, Plan, Trouble, plan};
use super::logbook::{Ending, Logbook};
use super::memory::{Memory, Unremembered, open};
use super::preflight::preflight;
use super::session::result;

/// What is to be undone.
#[derive(Debug, Clone, Default)]
pub struct Undoing {
    /// The run.
    pub run: RunNumber,
    /// Only at the replica of this name.
    pub replica: Option<String>,
    /// Only these keys; all, if there are none.
    pub keys: Vec<Key>,
    /// Write nothing.
    pub dry_run: bool,
    /// Why, for the log.
    pub reason: Option<String>,
}

/// Why an undo came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Undoable {
    /// Before it began.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// On the way.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Undoes a run.
///
/// # Errors
/// When there is no such run, or the replicas or the state directory cannot be used.
pub async fn undo(
    config: &Config,
    fleet: &Fleet,
    undoing: &Undoing,
    listener: &mut dyn UndoListener,
    stop: CancellationToken,
) -> Result<(UndoSummary, Exit), Undoable> {
    let mode = if undoing.dry_run {
        Mode::Plan
    } else {
        Mode::Repair
    };
    preflight(fleet, mode).await?;
    let names = config
        .keyspaces
        .iter()
        .map(|keyspace| keyspace.name.clone());
    let asked = Plan {
        mode,
        limit: None,
        force_markers: false,
        force_overwrites: None,
        force_deletes: None,
    };
    let mut run = plan(config, fleet, Selection::of(names.collect()), asked, stop)?;
    let memory = open(config, fleet, mode, run.clock.as_ref())?;
    let memory = memory
        .ok_or(Unremembered::NoMemory("undo"))
        .map_err(Trouble::from)?;
    let request = request(&memory, undoing)?;
    memory.refuse_strangers(fleet, &run.scope).await?;
    memory.warn_of_others();
    run.digest_key = memory.state.digest_key();
    let logbook = begin(config, &memory, &run, undoing)?;
    let number = logbook.as_ref().map(|logbook| logbook.run);
    let number = number.unwrap_or_else(|| memory.state.last_run());
    run.memory = Some(memory.of_run(number, config, false)?);
    let undone = repair::undo(&run, &request, listener).await;
    let exit = match &undone {
        Ok(summary) => exit_of(summary),
        Err(_) => Exit::Trouble,
    };
    let noted = note(logbook.as_ref(), &run, &undone, exit);
    let summary = undone?;
    noted?;
    Ok((summary, exit))
}

fn request(memory: &Memory, undoing: &Undoing) -> Result<UndoRequest, Trouble> {
    let failed = |error| Trouble::from(Unremembered::State(error));
    if memory.state.run(undoing.run).map_err(failed)?.is_none() {
        return Err(Unremembered::NoRun(undoing.run).into());
    }
    let replica = match &undoing.replica {
        None => None,
        Some(name) => Some(
            id_of(memory, name)
                .map_err(failed)?
                .ok_or_else(|| Trouble::from(Unremembered::NoReplica(name.clone())))?,
        ),
    };
    Ok(UndoRequest {
        undone: undoing.run,
        replica,
        keys: undoing.keys.clone(),
    })
}

fn id_of(memory: &Memory, name: &str) -> Result<Option<ReplicaId>, crate::state::StateError> {
    let known = memory.state.replicas()?.into_iter();
    let mut named = known.filter(|one| one.forgotten.is_none() && one.name.0 == name);
    Ok(named.next().map(|one| one.id))
}

fn begin(
    config: &Config,
    memory: &Memory,
    run: &Run,
    undoing: &Undoing,
) -> Result<Option<Logbook>, Trouble> {
    if undoing.dry_run {
        return Ok(None);
    }
    let begun = (run.clock.now(), format!("undo {}", undoing.run));
    let (undoes, reason) = (Some(undoing.run), undoing.reason.clone());
    let logbook = Logbook::begin(config, memory, begun, undoes, reason);
    Ok(Some(logbook.map_err(Unremembered::from)?))
}

fn note(
    logbook: Option<&Logbook>,
    run: &Run,
    undone: &Result<UndoSummary, RunError>,
    exit: Exit,
) -> Result<(), Trouble> {
    let Some(logbook) = logbook else {
        return Ok(());
    };
    let ending = match undone {
        Ok(summary) => Ending {
            result: result(exit),
            exit,
            counts: summary
                .counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            trouble: None,
        },
        Err(error) => Ending {
            result: "failed",
            exit,
            counts: BTreeMap::new(),
            trouble: Some(error.to_string()),
        },
    };
    let ended = logbook.end(run.clock.now(), ending);
    Ok(ended.map_err(Unremembered::from)?)
}

fn exit_of(summary: &UndoSummary) -> Exit {
    if summary.interrupted {
        Exit::Interrupted
    } else if !summary.lost.is_empty() || summary.count("missed") > 0 {
        Exit::Partial
    } else if summary.count("changed") + summary.count("kept") > 0 {
        Exit::Diverged
    } else {
        Exit::InSync
    }
}
