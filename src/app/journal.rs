//! The file in which a run without memory keeps what it overwrites, and the way back from it.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::model::{ReplicaName, RunNumber, Selection};
use crate::repair::{self, Mode, Run, RunJournal, UndoListener, UndoRequest, UndoSummary};
use crate::state::{JournalFile, RunStart, StateError};

use super::exit::Exit;
use super::fleet::{Fleet, Trouble, plan, random};
use super::memory::state_dir;
use super::preflight::preflight;
use super::undo::{Undoable, Undoing, asked, exit_of};

/// Why there is no file with pre-images. Nothing was written to a replica.
#[derive(Debug, thiserror::Error)]
pub enum Unkept {
    /// The file.
    #[error("journal {0}")]
    File(StateError),
    /// What it would keep is kept already.
    #[error(
        "--journal is for runs without memory: the state directory {dir} keeps pre-images already; leave --journal out, \
         or write state: none for a run without memory", dir = .0.display()
    )]
    Remembered(PathBuf),
    /// It keeps nothing to undo.
    #[error("journal {path}: it keeps no run", path = .0.display())]
    Empty(PathBuf),
    /// There is no such run in it.
    #[error("journal {path}: there is no run {run} in it, the last one is {last}", path = .path.display())]
    NoRun {
        /// The file.
        path: PathBuf,
        /// The run that was asked for.
        run: RunNumber,
        /// The last one.
        last: u64,
    },
    /// Nobody has that name.
    #[error("no replica `{0}` is configured")]
    NoReplica(String),
}

/// Refuses a file where a state directory keeps pre-images.
pub(super) fn refuse_with_memory(config: &Config) -> Result<(), Trouble> {
    match state_dir(&config.state)? {
        Some(dir) => Err(Unkept::Remembered(dir).into()),
        None => Ok(()),
    }
}

/// Lets a run keep what it overwrites in a file.
pub(super) fn keep(run: &mut Run, path: &Path) -> Result<(), Trouble> {
    let file = JournalFile::open(path, random()?).map_err(Unkept::File)?;
    begin(run, file, "repair".into(), None)
}

fn begin(
    run: &mut Run,
    file: JournalFile,
    purpose: String,
    undoes: Option<RunNumber>,
) -> Result<(), Trouble> {
    let names = run.participants.iter().map(|one| one.replica.name());
    let start = RunStart {
        at: run.clock.now(),
        purpose,
        replicas: names
            .map(|name| (JournalFile::id_of(name), name.clone()))
            .collect(),
        undoes,
    };
    let number = file.begin_run(start).map_err(Unkept::File)?;
    run.digest_key = file.digest_key();
    run.journal = Some(RunJournal { file, run: number });
    Ok(())
}

/// Undoes a run that a file keeps: the one that is named, else the last that undid nothing. Answers which.
///
/// # Errors
/// When the file cannot be used, keeps no such run, or the replicas cannot be used.
pub async fn undo_from_file(
    config: &Config,
    fleet: &Fleet,
    (path, undoing): (&Path, &Undoing),
    listener: &mut dyn UndoListener,
    stop: CancellationToken,
) -> Result<(UndoSummary, Exit), Undoable> {
    let asked = asked(undoing);
    refuse_with_memory(config)?;
    let writes = asked.mode == Mode::Repair;
    let file = JournalFile::open_existing(path, writes)
        .map_err(|error| Trouble::from(Unkept::File(error)))?;
    let undone = undone(&file, undoing.run)?;
    if let Some(torn) = file.torn() {
        let path = path.display();
        tracing::warn!(
            "journal {path}: its end is cut off at byte {}, what is whole is undone",
            torn.at
        );
    }
    preflight(fleet, asked.mode, config.layout(), config.keyspaces.iter()).await?;
    let names = config
        .keyspaces
        .iter()
        .map(|keyspace| keyspace.name.clone());
    let mut run = plan(config, fleet, Selection::of(names.collect()), asked, stop)?;
    match writes {
        true => begin(&mut run, file, format!("undo {undone}"), Some(undone))?,
        false => {
            run.digest_key = file.digest_key();
            run.journal = Some(RunJournal {
                file,
                run: RunNumber(0),
            });
        }
    }
    let request = UndoRequest {
        undone,
        replica: undoing
            .replica
            .as_deref()
            .map(|name| configured(&run, name))
            .transpose()?,
        keys: undoing.keys.clone(),
    };
    let summary = repair::undo_from_file(&run, &request, listener).await?;
    let exit = exit_of(&summary, asked.mode);
    Ok((summary, exit))
}

/// The run of a file that is to be undone.
fn undone(file: &JournalFile, asked: Option<RunNumber>) -> Result<RunNumber, Trouble> {
    let (runs, path) = (file.runs(), file.path().to_owned());
    let found = match asked {
        Some(number) => runs.iter().find(|run| run.number == number),
        None => runs.iter().rev().find(|run| run.start.undoes.is_none()),
    };
    match (found, asked) {
        (Some(run), _) => Ok(run.number),
        (None, Some(run)) if !runs.is_empty() => Err(Unkept::NoRun {
            path,
            run,
            last: runs.len() as u64,
        }
        .into()),
        (None, _) => Err(Unkept::Empty(path).into()),
    }
}

fn configured(run: &Run, name: &str) -> Result<crate::model::ReplicaId, Trouble> {
    let mut names = run.participants.iter().map(|one| one.replica.name());
    let found = names.find(|one| one.0 == name);
    let id = found.map(|name: &ReplicaName| JournalFile::id_of(name));
    id.ok_or_else(|| Unkept::NoReplica(name.to_owned()).into())
}
