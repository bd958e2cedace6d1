//! The commands that speak to the service: what it is asked, and what it says.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::args::service::{
    AskArgs, CancelArgs, PauseArgs, RunNowArgs, ServiceArgs, SetLimitsArgs,
};
use super::args::{GlobalArgs, OutputArgs};
use super::client::{Client, part};
use super::commands::{config_variable, shape, stdout, told};
use crate::app::Exit;
use crate::report::{AskedReport, LimitsReport, SeenRun, Shape, StatusReport};

/// The pause between two questions how a run stands.
const POLL: Duration = Duration::from_millis(250);

/// What answers that belong to another version are met with.
const OTHER_VERSION: &str = "the service speaks otherwise than expected: is it the same version?";

/// `reknit status`
pub(super) async fn status(
    global: &GlobalArgs,
    args: &AskArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    asked(global, &args.service, stop, |client, shape| {
        let report = status_of(client)?;
        told(report.write(shape, Exit::InSync.code(), &mut stdout()))?;
        Ok(Exit::InSync)
    })
    .await
}

/// `reknit pause`, `reknit resume`
pub(super) async fn set_paused(
    global: &GlobalArgs,
    args: &PauseArgs,
    paused: bool,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let (verb, state) = match paused {
        true => ("pause", "is paused"),
        false => ("resume", "goes on"),
    };
    let (run, schedule) = (args.run, args.schedule.clone());
    asked(global, &args.service, stop, move |client, shape| {
        let Some(name) = schedule else {
            return act_on_run(client, shape, run, (verb, state));
        };
        client.post(&format!("/schedules/{}/{verb}", part(&name)))?;
        let report = AskedReport {
            done: format!("schedule {name} {state}"),
            run: None,
            schedule: Some(name),
            state: None,
        };
        say(&report, shape, Exit::InSync)
    })
    .await
}

/// `reknit cancel`
pub(super) async fn cancel(
    global: &GlobalArgs,
    args: &CancelArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let run = args.run;
    asked(global, &args.service, stop, move |client, shape| {
        act_on_run(client, shape, run, ("cancel", "is being ended"))
    })
    .await
}

/// `reknit limits`
pub(super) async fn limits(
    global: &GlobalArgs,
    args: &SetLimitsArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let mut body = Map::new();
    let numbers = [
        ("keys_per_second", args.keys_per_second),
        (
            "bytes_per_second",
            args.bytes_per_second.map(|size| size.as_u64()),
        ),
    ];
    for (name, number) in numbers {
        body.extend(number.map(|number| (name.to_owned(), json!(number))));
    }
    let intensity = args.intensity;
    body.extend(intensity.map(|share| ("intensity".to_owned(), json!(share))));
    asked(global, &args.service, stop, move |client, shape| {
        let answer = match body.is_empty() {
            true => client.get("/limits")?,
            false => client.put("/limits", &Value::Object(body))?,
        };
        let report = LimitsReport::read(answer).context(OTHER_VERSION)?;
        told(report.write(shape, Exit::InSync.code(), &mut stdout()))?;
        Ok(Exit::InSync)
    })
    .await
}

/// `reknit reload`
pub(super) async fn reload(
    global: &GlobalArgs,
    args: &AskArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    asked(global, &args.service, stop, |client, shape| {
        client.post("/reload")?;
        let report = AskedReport {
            done: "the configuration was read anew; a run that is under way keeps its own".into(),
            run: None,
            schedule: None,
            state: None,
        };
        say(&report, shape, Exit::InSync)
    })
    .await
}

/// `reknit run-now`
pub(super) async fn run_now(
    global: &GlobalArgs,
    args: &RunNowArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let (name, wait) = (args.schedule.clone(), args.wait);
    asked(global, &args.service, stop, move |client, shape| {
        let before = latest_run(client)?;
        client.post(&format!("/schedules/{}/run", part(&name)))?;
        if !wait {
            let report = AskedReport {
                done: format!("a run of schedule {name} begins as soon as it can"),
                run: None,
                schedule: Some(name),
                state: None,
            };
            return say(&report, shape, Exit::InSync);
        }
        let run = ended_run(client, &name, before)?;
        let note = run.note.as_ref();
        let note = note.map_or_else(String::new, |note| format!(": {note}"));
        let report = AskedReport {
            done: format!("run {} of schedule {name} is {}{note}", run.id, run.state),
            run: Some(run.id),
            schedule: Some(name),
            state: Some(run.state.clone()),
        };
        say(&report, shape, exit_of(&run.state))
    })
    .await
}

/// How a command ends that waited for a run.
fn exit_of(state: &str) -> Exit {
    match state {
        "done" => Exit::InSync,
        "partial" => Exit::Partial,
        "stopped" => Exit::Stopped,
        _ => Exit::Trouble,
    }
}

/// Asks on a thread that may wait, and leaves it alone when it is to stop.
async fn asked(
    global: &GlobalArgs,
    service: &ServiceArgs,
    stop: CancellationToken,
    ask: impl FnOnce(&Client, &Shape) -> anyhow::Result<Exit> + Send + 'static,
) -> anyhow::Result<Exit> {
    let client = Client::new(service, config_variable())?;
    let output = OutputArgs {
        format: service.format,
        show: 0,
    };
    let shape = shape(global, &output);
    let asking = tokio::task::spawn_blocking(move || ask(&client, &shape));
    tokio::select! {
        answered = asking => answered?,
        () = stop.cancelled() => Ok(Exit::Interrupted),
    }
}

fn status_of(client: &Client) -> anyhow::Result<StatusReport> {
    StatusReport::read(client.get("/status")?).context(OTHER_VERSION)
}

/// Does something to a run: the one that is named, else the one that is under way.
fn act_on_run(
    client: &Client,
    shape: &Shape,
    run: Option<u64>,
    (verb, state): (&str, &str),
) -> anyhow::Result<Exit> {
    let run = match run {
        Some(run) => run,
        None => status_of(client)?
            .current()
            .map(|run| run.id)
            .context("no run is under way, `reknit status` shows the schedules")?,
    };
    client.post(&format!("/runs/{run}/{verb}"))?;
    let report = AskedReport {
        done: format!("run {run} {state}"),
        run: Some(run),
        schedule: None,
        state: None,
    };
    say(&report, shape, Exit::InSync)
}

fn runs(client: &Client, most: usize) -> anyhow::Result<Vec<SeenRun>> {
    let mut page = client.get(&format!("/runs?limit={most}"))?;
    serde_json::from_value(page["runs"].take()).context(OTHER_VERSION)
}

/// The number of the latest run; 0 if there was none.
fn latest_run(client: &Client) -> anyhow::Result<u64> {
    Ok(runs(client, 1)?.first().map_or(0, |run| run.id))
}

/// Waits until the schedule's first run after another has ended.
fn ended_run(client: &Client, schedule: &str, after: u64) -> anyhow::Result<SeenRun> {
    loop {
        let runs = runs(client, 20)?;
        let ours = |run: &&SeenRun| run.id > after && run.schedule.as_deref() == Some(schedule);
        match runs.into_iter().rev().find(|run| ours(&run)) {
            Some(run) if run.is_ended() => return Ok(run),
            _ => std::thread::sleep(POLL),
        }
    }
}

fn say(report: &AskedReport, shape: &Shape, exit: Exit) -> anyhow::Result<Exit> {
    told(report.write(shape, exit.code(), &mut stdout()))?;
    Ok(exit)
}
