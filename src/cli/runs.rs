//! The log of runs: which there were, and what one of them wrote.

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use crate::app::{self, Exit};
use crate::clock::SystemClock;
use crate::model::{Key, RunNumber};
use crate::report::{LoggedRun, LoggedWrite, RunsReport, Shape, WritesReport};
use crate::state::{RunRecord, State};

use super::args::memory::{RunsArgs, RunsCommand, ShowArgs, StateArgs};
use super::args::{Format, GlobalArgs, OutputArgs};
use super::beside::{Place, asking, place};
use super::commands::{config_variable, shape, stdout, told};
use super::{ask, remote, source};

/// How many writes are shown to people who ask for no number.
const WRITES_SHOWN: u64 = 100;

/// `reknit runs`
pub(super) async fn runs(
    global: &GlobalArgs,
    args: &RunsArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    match &args.command {
        Some(RunsCommand::Show(args)) => return show(global, args, stop).await,
        Some(RunsCommand::Divergences(args)) => return ask::divergences(global, args, stop).await,
        None => {}
    }
    let (shape, most) = (shape(global, &output(args.format)), args.limit);
    match place(&args.state, &args.reach)? {
        Place::Here(state) => {
            let runs = state.runs()?;
            let left_out = runs.len().saturating_sub(most);
            let shown = runs.into_iter().skip(left_out).map(logged).collect();
            list(&shape, shown, left_out as u64)
        }
        Place::There(client) => {
            let ask = move || {
                let (runs, left_out) = remote::runs(&client, most)?;
                list(&shape, runs, left_out)
            };
            asking(stop, ask).await
        }
    }
}

fn list(shape: &Shape, runs: Vec<LoggedRun>, left_out: u64) -> anyhow::Result<Exit> {
    let report = RunsReport { runs, left_out };
    told(report.write(shape, Exit::InSync.code(), &mut stdout()))?;
    Ok(Exit::InSync)
}

async fn show(
    global: &GlobalArgs,
    args: &ShowArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let shape = shape(global, &output(args.format));
    let number = RunNumber(args.run);
    let client = match place(&args.state, &args.reach)? {
        Place::There(client) => client,
        Place::Here(state) => {
            let Some(record) = state.run(number)? else {
                bail!("there is no run {number} in the log, `reknit runs` lists them");
            };
            let names = app::known_names(&state)?;
            let known = names.values().map(|name| name.0.as_str());
            let mut showing = Showing::new(shape, args, logged(record), known)?;
            state.journal(number, &mut |entry| {
                if app::is_whole(&entry) {
                    showing.write(&app::written(&entry, &names));
                }
            })?;
            return showing.finish();
        }
    };
    let wanted = Wanted::of(args);
    let ask = move || {
        let run = LoggedRun::from(remote::run(&client, number.0)?);
        let names = run.replicas.clone();
        let known = names.iter().map(|name| name.0.as_str());
        let mut showing = Showing::of(shape, wanted, run, known)?;
        remote::writes(&client, number.0, &mut |write| showing.write(write))?;
        showing.finish()
    };
    asking(stop, ask).await
}

/// Which writes are shown.
struct Wanted {
    keys: Vec<Key>,
    replica: Option<String>,
    most: u64,
}

impl Wanted {
    fn of(args: &ShowArgs) -> Self {
        Self {
            keys: args.key.clone(),
            replica: args.replica.clone(),
            most: args.limit.unwrap_or(match args.format {
                Format::Human => WRITES_SHOWN,
                Format::Json | Format::Ndjson => u64::MAX,
            }),
        }
    }

    fn has(&self, write: &LoggedWrite) -> bool {
        let at = self.replica.as_ref();
        at.is_none_or(|at| *at == write.replica.0)
            && (self.keys.is_empty() || self.keys.contains(&write.key))
    }
}

/// A report on what a run wrote, as it is told.
struct Showing {
    report: WritesReport,
    run: LoggedRun,
    wanted: Wanted,
    said: u64,
    left_out: u64,
    failed: Option<std::io::Error>,
}

impl Showing {
    fn new<'a>(
        shape: Shape,
        args: &ShowArgs,
        run: LoggedRun,
        known: impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        Self::of(shape, Wanted::of(args), run, known)
    }

    fn of<'a>(
        shape: Shape,
        wanted: Wanted,
        run: LoggedRun,
        mut known: impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        if let Some(name) = &wanted.replica
            && !known.any(|one| one == name)
        {
            bail!("no replica `{name}` took part in runs with memory");
        }
        Ok(Self {
            report: WritesReport::new(shape, &run, stdout()),
            run,
            wanted,
            said: 0,
            left_out: 0,
            failed: None,
        })
    }

    fn write(&mut self, write: &LoggedWrite) {
        if !self.wanted.has(write) {
            return;
        }
        if self.said == self.wanted.most {
            self.left_out += 1;
            return;
        }
        self.said += 1;
        let written = self.report.write(write);
        self.failed = self.failed.take().or(written.err());
    }

    fn finish(self) -> anyhow::Result<Exit> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        let ended = self
            .report
            .finish(&self.run, self.left_out, Exit::InSync.code());
        told(ended)?;
        Ok(Exit::InSync)
    }
}

/// The state directory that these arguments name.
pub(super) fn open(args: &StateArgs) -> anyhow::Result<State> {
    let dir = source::state_dir(args, config_variable())?;
    Ok(app::open_existing(dir, "look", &SystemClock)?)
}

fn output(format: Format) -> OutputArgs {
    OutputArgs { format, show: 0 }
}

/// A run as the report shows it.
pub(super) fn logged(record: RunRecord) -> LoggedRun {
    let (end, start) = (record.end, record.start);
    LoggedRun {
        number: record.number.0,
        purpose: start.purpose,
        started: start.at,
        ended: end.as_ref().map(|end| end.at),
        taken_up_by: record.taken_up_by.map(|run| run.0),
        result: end.as_ref().map(|end| end.result.clone()),
        exit_code: end.as_ref().map(|end| end.exit),
        note: end.as_ref().and_then(|end| end.note.clone()),
        undoes: start.undoes.map(|run| run.0),
        replicas: start.replicas.into_iter().map(|(_, name)| name).collect(),
        counts: end.map(|end| end.counts).unwrap_or_default(),
    }
}
