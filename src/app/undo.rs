//! Undoes a run, as a run of its own in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::model::{Key, ReplicaId, RunNumber, Selection};
use crate::repair::{
    self, Mode, Participant, Run, RunError, Throttle, UndoListener, UndoRequest, UndoSummary,
};

use super::exit::Exit;
use super::fleet::{Fleet, Plan, Trouble, plan};
use super::logbook::{Ending, Logbook};
use super::memory::{Memory, Unremembered, open};
use super::preflight::preflight;
use super::session::result;

/// What is to be undone.
#[derive(Debug, Clone, Default)]
pub struct Undoing {
    /// The run; nothing means the last one, where a file keeps it.
    pub run: Option<RunNumber>,
    /// Only at the replica of this name.
    pub replica: Option<String>,
    /// Only these keys; all, if there are none.
    pub keys: Vec<Key>,
    /// Write nothing.
    pub dry_run: bool,
    /// Why, for the log.
    pub reason: Option<String>,
    /// Whether to write to replicas that carry markers, although there is no memory.
    pub force_markers: bool,
    /// So many keys of a replica may be overwritten whatever the guards say.
    pub force_overwrites: Option<u64>,
    /// So many keys of a replica may be deleted whatever the guards say.
    pub force_deletes: Option<u64>,
}

/// What an undo asks of a run.
pub(super) fn asked(undoing: &Undoing) -> Plan {
    Plan {
        mode: match undoing.dry_run {
            true => Mode::Plan,
            false => Mode::Repair,
        },
        limit: None,
        force_markers: undoing.force_markers,
        force_overwrites: undoing.force_overwrites,
        force_deletes: undoing.force_deletes,
    }
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
    let asked = asked(undoing);
    let mode = asked.mode;
    let number = named(undoing)?;
    preflight(fleet, mode, config.layout(), config.keyspaces.iter()).await?;
    let run = plan(config, fleet, everything(config), asked, stop)?;
    let memory = open(config, fleet, mode, run.clock.as_ref())?;
    let memory = memory
        .ok_or(Unremembered::NoMemory("undo"))
        .map_err(Trouble::from)?;
    let request = request(&memory, number, undoing)?;
    refuse_without_reason(undoing)?;
    memory.refuse_strangers(fleet, &run.scope).await?;
    memory.warn_of_others();
    let logbook = begin(config, &memory, &run, (number, undoing))?;
    let held = (&memory, logbook.as_ref());
    work(config, (run, mode), held, &request, listener).await
}

/// How a service steers an undo.
pub struct Steering<'a> {
    /// How gently it works.
    pub throttle: Arc<Throttle>,
    /// Tells it to stop.
    pub stop: CancellationToken,
    /// Is told who takes part, before anything is read.
    pub begins: &'a (dyn Fn(&[Participant]) + Sync),
}

/// Undoes a run for a service, which keeps its state directory open and has noted this run already.
///
/// # Errors
/// As [`undo`].
pub async fn undo_noted(
    config: &Config,
    undoing: &Undoing,
    (memory, logbook): (&Memory, &Logbook),
    listener: &mut dyn UndoListener,
    steering: Steering<'_>,
) -> Result<(UndoSummary, Exit), Undoable> {
    let asked = asked(undoing);
    let Steering {
        throttle,
        stop,
        begins,
    } = steering;
    let prepared = async {
        let fleet = Fleet::new(config)
            .map_err(Trouble::from)?
            .at_pace_of(throttle);
        preflight(&fleet, asked.mode, config.layout(), config.keyspaces.iter()).await?;
        let run = plan(config, &fleet, everything(config), asked, stop)?;
        let request = request(memory, named(undoing)?, undoing)?;
        refuse_without_reason(undoing)?;
        memory.refuse_strangers(&fleet, &run.scope).await?;
        Ok::<_, Trouble>((run, request))
    };
    match prepared.await {
        Ok((run, request)) => {
            begins(&run.participants);
            let held = (memory, Some(logbook));
            work(config, (run, asked.mode), held, &request, listener).await
        }
        Err(error) => {
            let ending = Ending {
                result: "failed",
                exit: Exit::Trouble,
                counts: BTreeMap::new(),
                trouble: Some(error.to_string()),
            };
            let ended = logbook.end(SystemClock.now(), ending);
            ended.map_err(|error| Trouble::from(Unremembered::from(error)))?;
            Err(error.into())
        }
    }
}

async fn work(
    config: &Config,
    (mut run, mode): (Run, Mode),
    (memory, logbook): (&Memory, Option<&Logbook>),
    request: &UndoRequest,
    listener: &mut dyn UndoListener,
) -> Result<(UndoSummary, Exit), Undoable> {
    run.digest_key = memory.state.digest_key();
    let number = logbook.map(|logbook| logbook.run);
    let number = number.unwrap_or_else(|| memory.state.last_run());
    run.memory = Some(memory.of_run(number, config, false)?);
    let undone = repair::undo(&run, request, listener).await;
    let exit = match &undone {
        Ok(summary) => exit_of(summary, mode),
        Err(_) => Exit::Trouble,
    };
    let noted = note(logbook, &run, &undone, exit);
    let summary = undone?;
    noted?;
    Ok((summary, exit))
}

fn named(undoing: &Undoing) -> Result<RunNumber, Trouble> {
    Ok(undoing.run.ok_or(Unremembered::Unnamed)?)
}

fn everything(config: &Config) -> Selection {
    let names = config.keyspaces.iter();
    Selection::of(names.map(|keyspace| keyspace.name.clone()).collect())
}

fn refuse_without_reason(undoing: &Undoing) -> Result<(), Trouble> {
    let forces = undoing.force_deletes.is_some() || undoing.force_overwrites.is_some();
    match forces && !undoing.dry_run && undoing.reason.is_none() {
        true => Err(Unremembered::NoReason.into()),
        false => Ok(()),
    }
}

fn request(memory: &Memory, number: RunNumber, undoing: &Undoing) -> Result<UndoRequest, Trouble> {
    let failed = |error| Trouble::from(Unremembered::State(error));
    if memory.state.run(number).map_err(failed)?.is_none() {
        return Err(Unremembered::NoRun(number).into());
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
        undone: number,
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
    (undone, undoing): (RunNumber, &Undoing),
) -> Result<Option<Logbook>, Trouble> {
    if undoing.dry_run {
        return Ok(None);
    }
    let begun = (run.clock.now(), format!("undo {undone}"));
    let (undoes, reason) = (Some(undone), undoing.reason.clone());
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
            trouble: shortfall(summary),
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

/// Why an undo came short of what it was asked, where a guard or a replica was in the way.
pub fn shortfall(summary: &UndoSummary) -> Option<String> {
    let guards = summary.tripped.iter().map(ToString::to_string);
    let lost = summary.lost.iter();
    let lost = lost.map(|(name, reason)| format!("{name}: {reason}"));
    let all: Vec<String> = guards.chain(lost).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

pub(super) fn exit_of(summary: &UndoSummary, mode: Mode) -> Exit {
    if summary.interrupted {
        Exit::Interrupted
    } else if mode == Mode::Repair && !summary.tripped.is_empty() {
        Exit::Stopped
    } else if !summary.lost.is_empty() || summary.count("missed") > 0 {
        Exit::Partial
    } else if summary.count("changed") + summary.count("kept") > 0 {
        Exit::Diverged
    } else {
        Exit::InSync
    }
}
