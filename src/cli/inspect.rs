//! The commands that look at replicas and do not repair them: check, explain, clean.

use tokio_util::sync::CancellationToken;

use crate::app::{self, Cleaning, Exit, Fleet};
use crate::clock::SystemClock;
use crate::model::DbIndex;

use super::args::{CheckArgs, CleanArgs, ExplainArgs, GlobalArgs, LimitArgs};
use super::commands::{config_variable, shape, stdout, told};
use super::{reports, source};

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
    let limits = LimitArgs::default();
    let config = source::load(&args.connection, &limits, config_variable())?;
    let fleet = Fleet::new(&config)?;
    let explanation = tokio::select! {
        explained = app::explain(&config, &fleet, args.key.clone(), stop.child_token()) => explained?,
        () = stop.cancelled() => return Ok(Exit::Interrupted),
    };
    let exit = app::exit_of_explanation(&explanation);
    let report = reports::explain(explanation, &fleet.columns());
    told(report.write(&shape(global, &args.output), exit.code(), &mut stdout()))?;
    Ok(exit)
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
        true => app::hold(&config, &SystemClock)?,
        false => None,
    };
    let servers = app::clean(&fleet, cleaning, &stop).await;
    let exit = app::exit_of_clean(&servers, &stop);
    let report = reports::clean(servers, args.dry_run);
    told(report.write(&shape(global, &args.output), exit.code(), &mut stdout()))?;
    Ok(exit)
}
