//! `reknit functions`: installs the functions by which applications stamp what they write, and prints them.

use std::fmt::Write as _;

use tokio_util::sync::CancellationToken;

use crate::app::{self, Exit, Fleet, InstalledServer, Installing};
use crate::model::{Layout, ReplicaName, escape};
use crate::store::{FUNCTION_LIBRARY, Installed, Library, function_library, function_script};

use super::args::LimitArgs;
use super::args::functions::{FunctionsArgs, FunctionsCommand, InstallArgs, ShowArgs};
use super::commands::{config_variable, stdout, told};
use super::source;

/// `reknit functions`
pub(super) async fn functions(
    args: &FunctionsArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    match &args.command {
        FunctionsCommand::Install(args) => install(args, stop).await,
        FunctionsCommand::Show(args) => show(args),
    }
}

async fn install(args: &InstallArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let config = source::load(&args.connection, &LimitArgs::default(), config_variable())?;
    let fleet = Fleet::new(&config)?;
    let installing = Installing {
        dry_run: args.dry_run,
        replace: args.replace,
        scripts: args.scripts,
    };
    let servers = app::install_functions(&fleet, installing, &stop).await;
    if config.layout() == Layout::Plain {
        tracing::warn!(
            "these replicas are repaired without stamps, write layout: dynomite beside each in a configuration"
        );
    }
    let lines: String = servers.iter().map(|one| line(one, args.dry_run)).collect();
    write(&lines)?;
    Ok(app::exit_of_installation(&servers, &stop))
}

fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let replica = ReplicaName(args.replica.clone());
    let script = args.script.as_ref();
    let text = script.map(|function| function_script(function, &replica).unwrap_or_default());
    write(&text.unwrap_or_else(|| function_library(&replica)))?;
    Ok(Exit::InSync)
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = stdout();
    told(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What became of one replica.
fn line(server: &InstalledServer, dry_run: bool) -> String {
    let name = &server.name;
    let all = match &server.installed {
        Ok(all) => all,
        Err(error) => return format!("{error}\n"),
    };
    let each = all.iter().map(|one| {
        let words = words(one, dry_run);
        format!("{name} at {}: {words}\n", server.endpoint)
    });
    each.collect()
}

fn words(installed: &Installed, dry_run: bool) -> String {
    let done = |done: &str, would: &str| if dry_run { would } else { done }.to_owned();
    match installed {
        Installed::There => format!("{FUNCTION_LIBRARY} is there already"),
        Installed::Loaded => done("loaded ", "would load ") + FUNCTION_LIBRARY,
        Installed::Replaced(others) => {
            let verb = done("loaded ", "would load ");
            format!("{verb}{FUNCTION_LIBRARY} in place of {}", named(others))
        }
        Installed::Differs(others) => {
            let others = named(others);
            format!("left as it is: there is {others}; --replace replaces it")
        }
        Installed::Scripts(scripts) => {
            let verb = done("loaded", "would load");
            let mut text = format!("{verb} {} scripts, call them with EVALSHA", scripts.len());
            for (function, sha) in scripts {
                // Writing into a string cannot fail.
                let _ = write!(text, "\n  {function:<8} {sha}");
            }
            text
        }
    }
}

/// Libraries of other versions, or that count under other names.
fn named(libraries: &[Library]) -> String {
    let each = libraries.iter().map(|one| match &one.counts_as {
        Some(name) => format!(
            "another {} that counts as {}",
            one.name,
            escape(name.as_bytes())
        ),
        None => format!("another {}", one.name),
    });
    each.collect::<Vec<_>>().join(" and ")
}
