//! Forgetting and renaming replicas.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::bail;

use crate::app::{self, Exit};
use crate::clock::SystemClock;
use crate::state::State;

use super::args::memory::{ForgetArgs, RenameArgs, StateArgs};
use super::beside::{stop_first, with_advice};
use super::commands::{stdout, told};
use super::runs::open;

/// `reknit forget`
pub(super) fn forget(args: &ForgetArgs) -> anyhow::Result<Exit> {
    let state = held(&args.state)?;
    let replica = app::enrolled(&state, &args.name)?;
    if !args.yes && !confirm(&args.name)? {
        told(say("nothing was forgotten"))?;
        return Ok(Exit::Stopped);
    }
    app::forget(&state, &replica, &SystemClock)?;
    told(say(&format!(
        "replica {} is forgotten: nothing waits for it any more, and should it come back it is a newcomer",
        args.name
    )))?;
    Ok(Exit::InSync)
}

/// `reknit rename`
pub(super) fn rename(args: &RenameArgs) -> anyhow::Result<Exit> {
    let state = held(&args.state)?;
    app::rename(&state, &args.old, &args.new)?;
    told(say(&format!(
        "replica {} is called {} now: write that into the configuration too",
        args.old, args.new
    )))?;
    Ok(Exit::InSync)
}

/// The state directory, which no service may hold.
fn held(args: &StateArgs) -> anyhow::Result<State> {
    open(args).map_err(|error| with_advice(error, stop_first))
}

/// Asks somebody at a terminal.
fn confirm(name: &str) -> anyhow::Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("forgetting replica {name} cannot be undone: say --yes");
    }
    let question = format!(
        "Forget replica {name}? What it lags behind in is dropped, which cannot be undone. [y/N] "
    );
    let mut shown = std::io::stderr();
    shown.write_all(question.as_bytes())?;
    shown.flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}
