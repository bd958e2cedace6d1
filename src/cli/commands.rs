//! One function per command: configuration in, exit out.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::app::{
    Ended, Exit, Fleet, Plan, Remembering, Session, Trouble, Undoable, Unexplained, exit_of,
    expect, preflight,
};
use crate::config::Config;
use crate::daemon::Unstarted;
use crate::model::{Keyspace, Selection};
use crate::repair::{self, Listener, Mode, RunError, Summary};
use crate::report::{Report, Shape, progress};

use super::args::{
    ConnectionArgs, DiffArgs, GlobalArgs, LimitArgs, OutputArgs, RepairArgs, SelectionArgs,
};
use super::begin::instead;
use super::beside::with_advice;
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
            journal: args.journal.clone(),
            resume: args.resume,
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
    let (args, keyspaces) = (request.selection.clone(), config.keyspaces.clone());
    // Standard input may be a terminal where nobody types anything: on a thread of its own, which can be left alone.
    let reading = tokio::task::spawn_blocking(move || {
        selection::resolve(&args, db, &keyspaces, std::io::stdin())
    });
    let selection = tokio::select! {
        selection = reading => selection??,
        () = stop.cancelled() => return Ok(Exit::Interrupted),
    };
    let mode = request.plan.mode;
    let fleet = Fleet::new(&config)?;
    let mut report = Report::new(
        shape(global, request.output),
        mode,
        fleet.columns(),
        request.output.show,
        stdout(),
    );
    let work = Work {
        config: &config,
        fleet: &fleet,
        plan: request.plan,
        remembering: &request.remembering,
        bar: !global.quiet && std::io::stderr().is_terminal(),
    };
    match work.run(selection, &mut report, &stop).await {
        Ok(summary) => {
            warn_if_nothing_was_selected(request.selection, &summary);
            let exit = exit_of(&summary, mode);
            told(report.finish(&summary, exit.code()))?;
            Ok(exit)
        }
        Err(error) if stop.is_cancelled() => {
            tracing::debug!("{error}");
            let words = "interrupted before two replicas were read, nothing was written";
            tracing::warn!("{words}");
            told(report.fail(words, Exit::Interrupted.code()))?;
            Ok(Exit::Interrupted)
        }
        Err(error) => {
            let error = with_advice(error, || instead(mode, request.selection));
            told(report.fail(&format!("{error:#}"), exit_of_error(&error).code()))?;
            Err(error)
        }
    }
}

/// What a run is made of beside its selection.
struct Work<'a> {
    config: &'a Config,
    fleet: &'a Fleet,
    plan: Plan,
    remembering: &'a Remembering,
    /// Whether its progress is shown.
    bar: bool,
}

impl Work<'_> {
    async fn run(
        &self,
        selection: Selection,
        report: &mut Report,
        stop: &CancellationToken,
    ) -> anyhow::Result<Summary> {
        // A server that is silent is waited for longer than somebody who wants to stop would wait.
        let named = |one: &&Keyspace| selection.keyspaces.contains(&one.name);
        let keyspaces = self.config.keyspaces.iter().filter(named);
        let facts = tokio::select! {
            ready = preflight(self.fleet, self.plan.mode, self.config.layout(), keyspaces) => ready?,
            () = stop.cancelled() => anyhow::bail!("stopped before the run began"),
        };
        let asked = (self.plan, self.remembering);
        let known = (&facts[..], stop.clone());
        let session = Session::open(self.config, self.fleet, selection, asked, known).await?;
        let run = &session.run;
        expect(run, &facts);
        let bar = self.bar.then(|| progress::watch(run.progress.clone()));
        let result = repair::run(run, report as &mut dyn Listener).await;
        if let Some(bar) = bar {
            bar.stop().await;
        }
        self.note(&session, result, stop)
    }

    /// Notes in the log of runs how it ended.
    fn note(
        &self,
        session: &Session,
        result: Result<Summary, RunError>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Summary> {
        let error = match result {
            Ok(summary) => {
                session.close(&Ended::With(&summary), exit_of(&summary, self.plan.mode))?;
                return Ok(summary);
            }
            Err(error) => anyhow::Error::from(error),
        };
        let exit = match stop.is_cancelled() {
            true => Exit::Interrupted,
            false => exit_of_error(&error),
        };
        // If that cannot be noted, why it came to nothing is said all the same.
        if let Err(more) = session.close(&Ended::For(&format!("{error:#}")), exit) {
            tracing::debug!("{more}");
        }
        Err(error)
    }
}

/// In sync because of a mistyped pattern is worse than an error: nobody looks again.
fn warn_if_nothing_was_selected(selection: &SelectionArgs, summary: &Summary) {
    let none = summary.replicas.iter().all(|replica| replica.keys == 0);
    if none && !summary.interrupted && !selection.is_everything() {
        tracing::warn!("no replica has a key that is selected, so nothing was compared");
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

/// The error of an output that cannot be written, for people.
pub(super) fn told(written: std::io::Result<()>) -> anyhow::Result<()> {
    written.context("cannot write to standard output")
}

pub(super) fn stdout() -> Box<dyn Write + Send> {
    Box::new(std::io::BufWriter::new(std::io::stdout()))
}

/// What stood in the way before a command began, if that was it.
pub(super) fn trouble_of(error: &anyhow::Error) -> Option<&Trouble> {
    if let Some(Unstarted::Trouble(trouble)) = error.downcast_ref() {
        return Some(trouble);
    }
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(Undoable::Trouble(trouble)), _) | (_, Some(Unexplained::Trouble(trouble))) => {
            Some(trouble)
        }
        (Some(Undoable::Run(_)), _) | (_, Some(_)) => None,
        (None, None) => error.downcast_ref(),
    }
}

/// The exit of a command that came to nothing.
pub(super) fn exit_of_error(error: &anyhow::Error) -> Exit {
    if trouble_of(error).is_some_and(Trouble::is_locked) {
        return Exit::Stopped;
    }
    let of_undo = match error.downcast_ref() {
        Some(Undoable::Run(error)) => Some(error),
        Some(Undoable::Trouble(_)) | None => None,
    };
    match of_undo.or_else(|| error.downcast_ref::<RunError>()) {
        Some(RunError::Markers) => Exit::Stopped,
        Some(RunError::Memory(_)) => Exit::Trouble,
        Some(RunError::TooFew(_) | RunError::Spool(_) | RunError::Journal(_)) | None => {
            Exit::Trouble
        }
    }
}
