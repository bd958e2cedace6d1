//! `reknit demo`

use std::io::IsTerminal;

use tokio_util::sync::CancellationToken;

use crate::app::Exit;
use crate::app::demo::{self, Demo};
use crate::report::Shape;

use super::args::{DemoArgs, Format, GlobalArgs};
use super::commands;

/// Plays the demo.
pub(super) async fn demo(
    global: &GlobalArgs,
    args: &DemoArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let is_terminal = std::io::stdout().is_terminal();
    let no_color = commands::no_color();
    let colour = global.color.enabled(is_terminal, no_color.as_deref());
    let asked = Demo {
        keys: args.keys,
        keep: args.keep,
        shape: Shape::new(Format::Human, colour),
        bar: !global.quiet && std::io::stderr().is_terminal(),
        open: commands::stdout,
    };
    Ok(demo::demo(&asked, stop).await?)
}
