//! `reknit import`: what other programs' configurations say, as a configuration of reknit.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow};

use crate::app::Exit;
use crate::config;

use super::args::import::{ImportArgs, ImportCommand, ImportDynomiteArgs};
use super::commands::{stdout, told};

/// `reknit import`
pub(super) fn import(args: &ImportArgs) -> anyhow::Result<Exit> {
    match &args.command {
        ImportCommand::Dynomite(args) => dynomite(args),
    }
}

fn dynomite(args: &ImportDynomiteArgs) -> anyhow::Result<Exit> {
    let read = |path: &std::path::PathBuf| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {name}, name a node's file"))?;
        anyhow::Ok((name, text))
    };
    let files: Vec<(String, String)> = args.nodes.iter().map(read).collect::<Result<_, _>>()?;
    let imported = config::import(&files)?;
    for note in &imported.notes {
        tracing::warn!("{note}");
    }
    match &args.output {
        Some(path) => write_new(path, &imported.text)?,
        None => {
            let mut out = stdout();
            told(
                out.write_all(imported.text.as_bytes())
                    .and_then(|()| out.flush()),
            )?;
        }
    }
    Ok(Exit::InSync)
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = std::fs::File::create_new(path);
    let mut file = file.map_err(|error| {
        let advice = "name a file that is not there yet, in a directory that is";
        anyhow!("cannot create {}: {error}, {advice}", path.display())
    })?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", path.display()))
}
