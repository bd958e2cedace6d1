//! Undoing a run.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::app::{self, Exit, Fleet, Undoing};
use crate::model::{RunNumber, escape};
use crate::repair::{UndoFinding, UndoListener, UndoSummary};
use crate::report::{Shape, UndoReport};

use super::args::memory::UndoArgs;
use super::args::{ConnectionArgs, GlobalArgs, OutputArgs, Unparsed};
use super::client::Client;
use super::commands::{config_variable, exit_of_error, shape, stdout, told};
use super::{ask, beside, remote, source};

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
    if let Some(client) = beside::named(args.config.as_ref(), &args.reach)? {
        return there(client, shape_of(global, args), args, stop).await;
    }
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
    let shape = shape_of(global, args);
    let mut report = Told(report(shape, args));
    let undone = match &args.journal {
        Some(path) => {
            let from = (path.as_path(), &undoing);
            app::undo_from_file(&config, &fleet, from, &mut report, stop.clone()).await
        }
        None => app::undo(&config, &fleet, &undoing, &mut report, stop.clone()).await,
    };
    match undone {
        Ok((summary, exit)) => {
            report.0.undoes(summary.undone.0);
            told(report.0.finish(&summary, exit.code()))?;
            Ok(exit)
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            if beside::service_of(&error).is_some() {
                let client = beside::holder(error, args.config.as_ref(), &args.reach)?;
                return there(client, shape, args, stop).await;
            }
            let exit = exit_of_error(&error);
            told(report.0.fail(&format!("{error:#}"), exit.code()))?;
            Err(error)
        }
    }
}

fn shape_of(global: &GlobalArgs, args: &UndoArgs) -> Shape {
    let output = OutputArgs {
        format: args.format,
        show: args.show,
    };
    shape(global, &output)
}

fn report(shape: Shape, args: &UndoArgs) -> UndoReport {
    let run = args.run.unwrap_or(0);
    UndoReport::new(shape, run, args.dry_run, args.show, stdout())
}

/// Lets the service undo that holds the state directory, and waits for it.
async fn there(
    client: Client,
    shape: Shape,
    args: &UndoArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let Some(run) = args.run else {
        bail!("which run? `reknit runs` lists them");
    };
    let (_, at) = connection(args);
    let keys = args.key.iter().map(|key| escape(key.as_bytes()));
    let keys: Vec<String> = keys.collect();
    let body = json!({
        "replica": at,
        "keys": (!keys.is_empty()).then_some(keys),
        "dry_run": args.dry_run,
        "force_overwrites": args.force_overwrites,
        "force_deletes": args.force_deletes,
        "reason": args.reason,
    });
    if args.limits.are_set() {
        tracing::warn!("the service undoes at its own pace: `reknit limits` sets it");
    }
    let report = report(shape, args);
    beside::asking(stop, move || wait(&client, run, &body, report)).await
}

fn wait(client: &Client, run: u64, body: &Value, mut report: UndoReport) -> anyhow::Result<Exit> {
    let begun = client.post_body(&format!("/runs/{run}/undo"), body)?;
    let undo = begun["id"].as_u64().context(remote::OTHER_VERSION)?;
    tracing::info!("the service undoes run {run} as run {undo}");
    let undone = loop {
        let undone = remote::undone(client, undo)?;
        match undone.ended {
            true => break undone,
            false => std::thread::sleep(ask::POLL),
        }
    };
    let ended = remote::run(client, undo)?;
    let exit = ask::exit_of(&ended);
    if exit == Exit::Trouble {
        let why = ended.note.unwrap_or_else(|| "its log says why".into());
        told(report.fail(&why, exit.code()))?;
        bail!("run {undo} of the service failed: {why}");
    }
    remote::findings(client, undo, &mut |finding| report.finding(finding))?;
    told(report.finish(&UndoSummary::try_from(undone)?, exit.code()))?;
    Ok(exit)
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
