//! The log of runs: which there were, and what one of them wrote.

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};

use crate::app::{self, Exit};
use crate::clock::SystemClock;
use crate::model::{ReplicaId, ReplicaName, RunNumber};
use crate::report::{LoggedRun, RunsReport, WritesReport};
use crate::state::{RunRecord, State};

use super::args::memory::{RunsArgs, RunsCommand, ShowArgs, StateArgs};
use super::args::{Format, GlobalArgs, OutputArgs};
use super::commands::{config_variable, shape, stdout, told};
use super::source;

/// How many writes are shown to people who ask for no number.
const WRITES_SHOWN: u64 = 100;

/// `reknit runs`
pub(super) fn runs(global: &GlobalArgs, args: &RunsArgs) -> anyhow::Result<Exit> {
    if let Some(RunsCommand::Show(args)) = &args.command {
        return show(global, args);
    }
    let state = open(&args.state)?;
    let runs = state.runs()?;
    let left_out = runs.len().saturating_sub(args.limit);
    let report = RunsReport {
        runs: runs.into_iter().skip(left_out).map(logged).collect(),
        left_out: left_out as u64,
    };
    let shape = shape(global, &output(args.format));
    told(report.write(&shape, Exit::InSync.code(), &mut stdout()))?;
    Ok(Exit::InSync)
}

fn show(global: &GlobalArgs, args: &ShowArgs) -> anyhow::Result<Exit> {
    let state = open(&args.state)?;
    let number = RunNumber(args.run);
    let Some(record) = state.run(number)? else {
        bail!("there is no run {number} in the log, `reknit runs` lists them");
    };
    let names = app::known_names(&state)?;
    let at = match &args.replica {
        None => None,
        Some(name) => Some(
            id_of(&names, name)
                .ok_or_else(|| anyhow!("no replica `{name}` took part in runs with memory"))?,
        ),
    };
    let run = logged(record);
    let mut report = WritesReport::new(shape(global, &output(args.format)), &run, stdout());
    let most = args.limit.unwrap_or(match args.format {
        Format::Human => WRITES_SHOWN,
        Format::Json | Format::Ndjson => u64::MAX,
    });
    let (mut said, mut left_out, mut failed) = (0, 0, None);
    state.journal(number, &mut |entry| {
        let wanted = at.is_none_or(|at| at == entry.replica)
            && (args.key.is_empty() || args.key.contains(&entry.key))
            && app::is_whole(&entry);
        if !wanted {
            return;
        }
        if said == most {
            left_out += 1;
            return;
        }
        said += 1;
        let written = report.write(&app::written(&entry, &names));
        failed = failed.take().or(written.err());
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    told(report.finish(&run, left_out, Exit::InSync.code()))?;
    Ok(Exit::InSync)
}

/// The state directory that these arguments name.
pub(super) fn open(args: &StateArgs) -> anyhow::Result<State> {
    let dir = source::state_dir(args, config_variable())?;
    Ok(app::open_existing(dir, "look", &SystemClock)?)
}

fn output(format: Format) -> OutputArgs {
    OutputArgs { format, show: 0 }
}

fn id_of(names: &BTreeMap<ReplicaId, ReplicaName>, name: &str) -> Option<ReplicaId> {
    let mut found = names.iter().filter(|(_, known)| known.0 == name);
    found.next().map(|(id, _)| *id)
}

/// A run as the report shows it.
pub(super) fn logged(record: RunRecord) -> LoggedRun {
    let (end, start) = (record.end, record.start);
    LoggedRun {
        number: record.number.0,
        purpose: start.purpose,
        started: start.at,
        ended: end.as_ref().map(|end| end.at),
        result: end.as_ref().map(|end| end.result.clone()),
        exit_code: end.as_ref().map(|end| end.exit),
        note: end.as_ref().and_then(|end| end.note.clone()),
        undoes: start.undoes.map(|run| run.0),
        replicas: start.replicas.into_iter().map(|(_, name)| name).collect(),
        counts: end.map(|end| end.counts).unwrap_or_default(),
    }
}
