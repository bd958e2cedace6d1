//! The commands that speak to the service: what it is asked, and what it says.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::args::memory::DivergencesArgs;
use super::args::service::{AskArgs, CancelArgs, PauseArgs, ServiceArgs, SetLimitsArgs};
use super::args::{Format, GlobalArgs, OutputArgs};
use super::client::{Client, part};
use super::commands::{config_variable, shape, stdout, told};
use super::remote::{OTHER_VERSION, SaidRun, read};
use crate::app::Exit;
use crate::report::{AskedReport, DivergencesReport, LimitsReport, Shape, StatusReport};

/// The pause between two questions how a run stands.
pub(super) const POLL: Duration = Duration::from_millis(250);

/// How many divergences are shown to people who ask for no number.
const DIVERGENCES_SHOWN: usize = 100;

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
    let (run, schedule) = (args.run, args.schedule.clone());
    asked(global, &args.service, stop, move |client, shape| {
        let Some(name) = schedule else {
            return act_on_run(client, shape, run, ("cancel", "is being ended"));
        };
        client.post(&format!("/schedules/{}/cancel", part(&name)))?;
        let report = AskedReport {
            done: format!("the run of schedule {name} that was asked for is taken back"),
            run: None,
            schedule: Some(name),
            state: None,
        };
        say(&report, shape, Exit::InSync)
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

/// `reknit runs divergences`
pub(super) async fn divergences(
    global: &GlobalArgs,
    args: &DivergencesArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let most = args.limit.unwrap_or(match args.service.format {
        Format::Human => DIVERGENCES_SHOWN,
        Format::Json | Format::Ndjson => usize::MAX,
    });
    let run = args.run;
    asked(global, &args.service, stop, move |client, shape| {
        let mut found = Vec::new();
        let total = loop {
            let limit = most.saturating_sub(found.len()).clamp(1, 1000);
            let path = format!(
                "/runs/{run}/divergences?offset={}&limit={limit}",
                found.len()
            );
            let mut page = client.get(&path)?;
            let total = page["total"].as_u64().context(OTHER_VERSION)?;
            let items: Vec<Value> = read(page["divergences"].take())?;
            let is_last = items.len() < limit;
            found.extend(items);
            if is_last || found.len() >= most {
                break total;
            }
        };
        let report = DivergencesReport::read(run, found, total).context(OTHER_VERSION)?;
        told(report.write(shape, Exit::InSync.code(), &mut stdout()))?;
        Ok(Exit::InSync)
    })
    .await
}

/// How a command ends that waited for a run.
pub(super) fn exit_of(run: &SaidRun) -> Exit {
    match (run.state.as_str(), run.exit_code) {
        ("stopped", _) => Exit::Stopped,
        (_, Some(code)) => exit_of_code(code),
        ("done", None) => Exit::InSync,
        ("partial", None) => Exit::Partial,
        (_, None) => Exit::Trouble,
    }
}

/// The exit of this code.
pub(super) fn exit_of_code(code: u8) -> Exit {
    let all = [
        Exit::InSync,
        Exit::Diverged,
        Exit::Partial,
        Exit::Stopped,
        Exit::Interrupted,
    ];
    let found = all.into_iter().find(|exit| exit.code() == code);
    found.unwrap_or(Exit::Trouble)
}

/// Asks on a thread that may wait, and leaves it alone when it is to stop.
pub(super) async fn asked(
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
            .context("no run is under way, `reknit status` shows the schedules; --schedule NAME is about one of those")?,
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

pub(super) fn say(report: &AskedReport, shape: &Shape, exit: Exit) -> anyhow::Result<Exit> {
    told(report.write(shape, exit.code(), &mut stdout()))?;
    Ok(exit)
}
