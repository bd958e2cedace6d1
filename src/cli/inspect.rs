//! The commands that look at replicas and do not repair them: check, explain, clean.

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::app::{self, Cleaning, Exit, Fleet};
use crate::clock::SystemClock;
use crate::model::{DbIndex, Key, escape};
use crate::report::{ExplainedThere, Shape};

use super::args::{CheckArgs, CleanArgs, ExplainArgs, GlobalArgs, LimitArgs};
use super::client::{Client, part};
use super::commands::{config_variable, shape, stdout, told};
use super::{ask, beside, remote, reports, source};

/// `reknit check`
pub(super) async fn check(
    global: &GlobalArgs,
    args: &CheckArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let config = source::load(&args.connection, &args.limits, config_variable())?;
    let fleet = Fleet::new(&config)?;
    let checkup = tokio::select! {
        checkup = app::check(&config, &fleet, &SystemClock) => checkup,
        () = stop.cancelled() => return Ok(Exit::Interrupted),
    };
    let exit = checkup.exit();
    let report = reports::check(checkup);
    told(report.write(&shape(global, &args.output), exit.code(), &mut stdout()))?;
    Ok(exit)
}

/// `reknit explain`
pub(super) async fn explain(
    global: &GlobalArgs,
    args: &ExplainArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let shape = shape(global, &args.output);
    let file = args.connection.config.as_ref();
    if let Some(client) = beside::named(file, &args.reach)? {
        return explain_there(client, shape, &args.key, stop).await;
    }
    let limits = LimitArgs::default();
    let config = source::load(&args.connection, &limits, config_variable())?;
    let fleet = Fleet::new(&config)?;
    let explanation = tokio::select! {
        explained = app::explain(&config, &fleet, args.key.clone(), stop.child_token()) => explained,
        () = stop.cancelled() => return Ok(Exit::Interrupted),
    };
    let explanation = match explanation {
        Ok(explanation) => explanation,
        Err(error) => {
            let client = beside::holder(error.into(), file, &args.reach)?;
            return explain_there(client, shape, &args.key, stop).await;
        }
    };
    let exit = app::exit_of_explanation(&explanation);
    let report = app::explained(explanation, &fleet.columns());
    told(report.write(&shape, exit.code(), &mut stdout()))?;
    Ok(exit)
}

/// Lets the service explain that holds the state directory.
async fn explain_there(
    client: Client,
    shape: Shape,
    key: &Key,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let path = format!("/explain?key={}", part(&escape(key.as_bytes())));
    let ask = move || {
        let report = ExplainedThere::read(client.get(&path)?).context(remote::OTHER_VERSION)?;
        let exit = ask::exit_of_code(report.exit_code);
        told(report.write(&shape, &mut stdout()))?;
        Ok(exit)
    };
    beside::asking(stop, ask).await
}

/// `reknit clean`
pub(super) async fn clean(
    global: &GlobalArgs,
    args: &CleanArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let config = source::load(&args.connection, &args.limits, config_variable())?;
    let fleet = Fleet::new(&config)?;
    let cleaning = Cleaning {
        dry_run: args.dry_run,
        markers: args.markers,
        db: args.connection.db.map(DbIndex),
    };
    // Markers that are removed under a run that is under way make it, and all after it, strangers.
    let _held = match args.markers && !args.dry_run {
        true => app::hold(&config, &SystemClock)
            .map_err(|error| beside::with_advice(error.into(), beside::stop_first))?,
        false => None,
    };
    let servers = app::clean(&fleet, cleaning, &stop).await;
    let exit = app::exit_of_clean(&servers, &stop);
    let report = reports::clean(servers, args.dry_run);
    told(report.write(&shape(global, &args.output), exit.code(), &mut stdout()))?;
    Ok(exit)
}
