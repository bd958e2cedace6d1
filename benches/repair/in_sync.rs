//! What the agreement costs a run that finds everything in sync: the same repair with a memory and without.
//!
//! Both alternate, each first in turn, so that a busy machine is busy for both; the state directory is warm: the first
//! run, which learns all keys, is measured by itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::{self, Cost, Meter};
use crate::support::server::RedisServer;
use crate::{Args, report};

/// The costs of runs in sync.
#[derive(Debug)]
pub(crate) struct InSync {
    /// Of the first run with a memory, which learned everything.
    pub(crate) first: Cost,
    /// Of the others with a memory.
    pub(crate) with: Vec<Cost>,
    /// Without one.
    pub(crate) without: Vec<Cost>,
    /// What the state directory takes on disk.
    pub(crate) disk_bytes: u64,
}

/// Measures both, on servers that are alike.
pub(crate) fn measure(args: &Args, servers: &[RedisServer; 2]) -> Result<InSync> {
    let state = tempfile::tempdir().context("no temporary directory")?;
    let dir = state.path().join("state");
    report::note("in sync: the first run with a memory")?;
    let first = run(args, servers, Some(&dir))?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..args.in_sync_runs {
        if round % 2 == 0 {
            without.push(run(args, servers, None)?);
            with.push(run(args, servers, Some(&dir))?);
        } else {
            with.push(run(args, servers, Some(&dir))?);
            without.push(run(args, servers, None)?);
        }
        let done = round + 1;
        report::note(&format!("in sync: {done} of {} done", args.in_sync_runs))?;
    }
    Ok(InSync {
        first,
        with,
        without,
        disk_bytes: disk_bytes(&dir)?,
    })
}

/// One repair at the benchmark's pipeline depth that finds nothing to do.
fn run(args: &Args, servers: &[RedisServer; 2], state: Option<&Path>) -> Result<Cost> {
    let meter = Meter::start(servers)?;
    let mut command = process::command(&args.reknit, "repair", servers);
    command.args(["--pipeline", &args.pipeline.to_string(), "--settle", "0s"]);
    match state {
        Some(dir) => command.arg("--state-dir").arg(dir),
        // The servers carry the markers of the runs with a memory.
        None => command.arg("--force-markers"),
    };
    meter.stop_child(&mut command, 0)
}

/// What the files below a directory take on disk, as `du` counts it.
fn disk_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}
