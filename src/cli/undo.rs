//! Undoing a run.

use tokio_util::sync::CancellationToken;

use crate::app::{self, Exit, Fleet, Undoing};
use crate::model::RunNumber;
use crate::repair::{UndoFinding, UndoListener};
use crate::report::UndoReport;

use super::args::memory::UndoArgs;
use super::args::{ConnectionArgs, GlobalArgs, OutputArgs, Unparsed};
use super::commands::{config_variable, exit_of_error, shape, stdout, told};
use super::source;

/// Passes what is found on to the report.
struct Told(UndoReport);

impl UndoListener for Told {
    fn finding(&mut self, finding: &UndoFinding) {
        self.0.finding(finding);
    }
}

/// `reknit undo`
pub(super) async fn undo(
    global: &GlobalArgs,
    args: &UndoArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let (connection, at) = connection(args);
    let config = source::load(&connection, &args.limits, config_variable())?;
    let fleet = Fleet::new(&config)?;
    let undoing = Undoing {
        run: args.run.map(RunNumber),
        replica: at,
        keys: args.key.clone(),
        dry_run: args.dry_run,
        reason: args.reason.clone(),
        force_markers: args.force_markers,
        force_overwrites: args.force_overwrites,
        force_deletes: args.force_deletes,
    };
    let output = OutputArgs {
        format: args.format,
        show: args.show,
    };
    let shape = shape(global, &output);
    let mut report = Told(UndoReport::new(
        shape,
        args.run.unwrap_or(0),
        args.dry_run,
        args.show,
        stdout(),
    ));
    let undone = match &args.journal {
        Some(path) => {
            let from = (path.as_path(), &undoing);
            app::undo_from_file(&config, &fleet, from, &mut report, stop).await
        }
        None => app::undo(&config, &fleet, &undoing, &mut report, stop).await,
    };
    match undone {
        Ok((summary, exit)) => {
            report.0.undoes(summary.undone.0);
            told(report.0.finish(&summary, exit.code()))?;
            Ok(exit)
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            let exit = exit_of_error(&error);
            told(report.0.fail(&format!("{error:#}"), exit.code()))?;
            Err(error)
        }
    }
}

/// `--replica NAME=URL` names one, `--replica NAME` selects one.
fn connection(args: &UndoArgs) -> (ConnectionArgs, Option<String>) {
    let (named, selected): (Vec<Unparsed>, Vec<Unparsed>) = args
        .replica
        .iter()
        .cloned()
        .partition(|one| one.0.contains('='));
    let connection = ConnectionArgs {
        config: args.config.clone(),
        replica: named,
        password_file: args.password_file.clone(),
        password_env: args.password_env.clone(),
        state_dir: args.state_dir.clone(),
        ..ConnectionArgs::default()
    };
    let selected = selected.into_iter().next_back();
    (connection, selected.map(|one| one.0))
}
