//! One function per command: configuration in, exit out.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use tokio_util::sync::CancellationToken;

use crate::app::{Ended, Exit, Fleet, Plan, Remembering, Session, Trouble, exit_of, preflight};
use crate::config::Config;
use crate::repair::{self, Listener, Mode, RunError};
use crate::report::{Report, Shape, progress};

use super::args::{
    ConnectionArgs, DiffArgs, GlobalArgs, LimitArgs, OutputArgs, RepairArgs, SelectionArgs,
};
use super::{selection, source};

/// What `diff` and `repair` have in common.
struct Request<'a> {
    connection: &'a ConnectionArgs,
    selection: &'a SelectionArgs,
    limits: &'a LimitArgs,
    output: &'a OutputArgs,
    plan: Plan,
    remembering: Remembering,
}

/// `reknit diff`
pub(super) async fn diff(
    global: &GlobalArgs,
    args: &DiffArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let plan = Plan {
        mode: Mode::Diff,
        limit: None,
        force_markers: false,
        force_overwrites: None,
        force_deletes: None,
    };
    let request = Request {
        connection: &args.connection,
        selection: &args.selection,
        limits: &args.limits,
        output: &args.output,
        plan,
        remembering: Remembering::default(),
    };
    compare(global, &request, stop).await
}

/// `reknit repair`
pub(super) async fn repair(
    global: &GlobalArgs,
    args: &RepairArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let mode = if args.dry_run {
        Mode::Plan
    } else {
        Mode::Repair
    };
    let plan = Plan {
        mode,
        limit: args.limit,
        force_markers: args.force_markers,
        force_overwrites: args.force_overwrites,
        force_deletes: args.force_deletes,
    };
    let request = Request {
        connection: &args.connection,
        selection: &args.selection,
        limits: &args.limits,
        output: &args.output,
        plan,
        remembering: Remembering {
            adopt: args.adopt,
            reason: args.reason.clone(),
        },
    };
    compare(global, &request, stop).await
}

async fn compare(
    global: &GlobalArgs,
    request: &Request<'_>,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let config = source::load(request.connection, request.limits, config_variable())?;
    let db = request.connection.db.map(crate::model::DbIndex);
    let selection = selection::resolve(request.selection, db, &config.keyspaces, std::io::stdin())?;
    let mode = request.plan.mode;
    let fleet = Fleet::new(&config)?;
    warn_without_effect(&config);
    let facts = preflight(&fleet, mode).await?;
    let asked = (request.plan, &request.remembering);
    let session = Session::open(&config, &fleet, selection, asked, (&facts, stop)).await?;
    let run = &session.run;
    let mut report = Report::new(
        shape(global, request.output),
        mode,
        fleet.columns(),
        request.output.show,
        stdout(),
    );
    let shown = !global.quiet && std::io::stderr().is_terminal();
    let bar = shown.then(|| progress::watch(run.progress.clone()));
    let result = repair::run(run, &mut report as &mut dyn Listener).await;
    if let Some(bar) = bar {
        bar.stop().await;
    }
    let summary = match result {
        Ok(summary) => summary,
        Err(error @ RunError::TooFew(_)) if run.stop.is_cancelled() => {
            tracing::debug!("{error}");
            let words = "interrupted before two replicas were read";
            note_failure(&session, words, Exit::Interrupted);
            report.fail(words, Exit::Interrupted.code())?;
            return Ok(Exit::Interrupted);
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            let (words, exit) = (format!("{error:#}"), exit_of_error(&error));
            note_failure(&session, &words, exit);
            report.fail(&words, exit.code())?;
            return Err(error);
        }
    };
    let exit = exit_of(&summary, mode);
    session.close(&Ended::With(&summary), exit)?;
    report.finish(&summary, exit.code())?;
    Ok(exit)
}

/// Notes in the log of runs that a run came to nothing. If that cannot be noted, why it came to nothing is still said.
fn note_failure(session: &Session, words: &str, exit: Exit) {
    if let Err(error) = session.close(&Ended::For(words), exit) {
        tracing::debug!("{error}");
    }
}

pub(super) fn warn_without_effect(config: &Config) {
    for key in &config.without_effect {
        tracing::warn!("`{key}` is checked but has no effect in this version");
    }
}

/// How this command's output looks.
pub(super) fn shape(global: &GlobalArgs, output: &OutputArgs) -> Shape {
    let is_terminal = std::io::stdout().is_terminal();
    let colour = global.color.enabled(is_terminal, no_color().as_deref());
    Shape::new(output.format, colour)
}

pub(super) fn config_variable() -> Option<OsString> {
    std::env::var_os(source::CONFIG_VARIABLE)
}

pub(super) fn no_color() -> Option<OsString> {
    std::env::var_os("NO_COLOR")
}

pub(super) fn stdout() -> Box<dyn Write + Send> {
    Box::new(std::io::BufWriter::new(std::io::stdout()))
}

/// The exit of a command that came to nothing.
pub(super) fn exit_of_error(error: &anyhow::Error) -> Exit {
    if error
        .downcast_ref::<Trouble>()
        .is_some_and(Trouble::is_locked)
    {
        return Exit::Stopped;
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Markers) => Exit::Stopped,
        Some(RunError::Memory(_)) => Exit::Trouble,
        Some(RunError::TooFew(_) | RunError::Spool(_)) | None => Exit::Trouble,
    }
}
