//! What a run costs, beside the least that reading everything can cost, and what a client feels meanwhile.
//!
//! ```text
//! (a) floor     the same commands in the same pipelines to both servers, the answers thrown away
//! (b) diff      reknit diff
//! (c) repair    reknit repair, then the servers are made to differ anew
//! in sync       reknit repair where nothing differs, with a memory and without
//! foreground    GETs and SETs at a steady rate: alone, beside `reknit diff` at its default limits, and at none
//! ```
//!
//! (a), (b) and (c) alternate, so that a busy machine is busy for all of them; medians are printed.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod floor;
mod foreground;
mod in_sync;
mod process;
mod report;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use process::{Cost, Meter};
use report::Figures;
use support::generate;
use support::server::RedisServer;

/// Measures reknit against two servers that it starts and fills itself.
#[derive(Debug, Parser)]
#[command(name = "make bench")]
struct Args {
    /// Keys on each server: half strings of 100 bytes, a fifth hashes of 10 fields, the rest sets and sorted sets of 10
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Keys that differ between the servers
    #[arg(long, default_value_t = 1000)]
    differing: u64,
    /// Commands outstanding at each server, for the floor, diff and repair
    #[arg(long, default_value_t = 100)]
    pipeline: usize,
    /// COUNT of the floor's SCAN
    #[arg(long, default_value_t = 1000)]
    page: usize,
    /// Alternating runs of the floor, diff and repair
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Alternating repairs with and without a memory of servers that are in sync; 0 leaves them out
    #[arg(long, default_value_t = 5)]
    in_sync_runs: usize,
    /// Settle pause of the measured diff: its own work is compared with the floor's, so none
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    diff_settle: Duration,
    /// Settle pause of the measured repair
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// Latencies taken alone, and again beside a run; 0 leaves the foreground out
    #[arg(long, default_value_t = 20_000)]
    samples: usize,
    /// GETs and SETs a second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Measure what a client feels, and nothing else
    #[arg(long)]
    foreground_only: bool,
    /// In how many alternating parts the latencies are taken
    #[arg(long, default_value_t = 5)]
    parts: usize,
    /// Commands outstanding of the diff without limits that a client is measured beside
    #[arg(long, default_value_t = 1000)]
    unlimited_pipeline: usize,
    /// Measure the floor and the foreground alone, without reknit
    #[arg(long)]
    floor_only: bool,
    /// The binary to measure; without it, the one that was built together with the benchmark
    #[arg(long, default_value = env!("CARGO_BIN_EXE_reknit"), hide_default_value = true)]
    reknit: PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.differing <= args.keys && args.runs > 0,
        "nothing to measure"
    );
    let servers = [(); 2].map(|()| RedisServer::start());
    fill(&args, &servers)?;
    if !args.foreground_only {
        let figures = measure(&args, &servers)?;
        report::print_costs(&args, &figures)?;
        if !args.floor_only {
            judge(&servers)?;
            if args.in_sync_runs > 0 {
                report::print_in_sync(&args, &in_sync::measure(&args, &servers)?)?;
            }
        }
    }
    if args.samples > 0 {
        let felt = foreground::measure(&args, &servers)?;
        report::print_foreground(&args, &felt)?;
    }
    Ok(())
}

/// Fills both servers with the same keys.
fn fill(args: &Args, servers: &[RedisServer; 2]) -> Result<()> {
    let ports = servers.each_ref().map(RedisServer::port);
    report::note(&format!("filling two servers with {} keys each", args.keys))?;
    thread::scope(|scope| {
        let loads = ports.map(|port| scope.spawn(move || generate::load(port, args.keys)));
        loads.map(|load| load.join().expect("loading does not panic"))
    })
    .into_iter()
    .collect::<Result<Vec<()>, _>>()
    .context("the servers cannot be filled")?;
    Ok(())
}

/// Runs floor, diff and repair in turn.
fn measure(args: &Args, servers: &[RedisServer; 2]) -> Result<Figures> {
    let ports = servers.each_ref().map(RedisServer::port);
    let mut figures = Figures::default();
    for round in 0..args.runs {
        generate::diverge(ports, args.keys, args.differing, round as u64)?;
        figures.floor.push(run_floor(args, servers)?);
        if !args.floor_only {
            figures
                .diff
                .push(run_reknit(args, servers, "diff", args.diff_settle, 1)?);
            figures
                .repair
                .push(run_reknit(args, servers, "repair", args.settle, 0)?);
        }
        report::note(&format!("run {} of {} done", round + 1, args.runs))?;
    }
    Ok(figures)
}

fn run_floor(args: &Args, servers: &[RedisServer; 2]) -> Result<Cost> {
    let meter = Meter::start(servers)?;
    let read = floor::read_both(servers.each_ref().map(RedisServer::port), args)?;
    let cost = meter.stop_own()?;
    // Keys of differing names may be missing from one server, nothing else.
    let least = args.keys - args.differing;
    ensure!(
        read.iter().all(|&keys| keys >= least),
        "the floor read {read:?} keys only"
    );
    Ok(cost)
}

/// One run of reknit at the benchmark's pipeline depth; another exit code than the expected one is an error, for then
/// it was not the work that was measured.
fn run_reknit(
    args: &Args,
    servers: &[RedisServer; 2],
    verb: &str,
    settle: Duration,
    code: i32,
) -> Result<Cost> {
    let meter = Meter::start(servers)?;
    let mut command = process::command(&args.reknit, verb, servers);
    command.args(["--pipeline", &args.pipeline.to_string()]);
    command.args(["--settle", &humantime::format_duration(settle).to_string()]);
    meter.stop_child(&mut command, code)
}

/// The servers must be equal after the last repair, by their own digest.
fn judge(servers: &[RedisServer; 2]) -> Result<()> {
    let digests = thread::scope(|scope| {
        let asked = servers
            .each_ref()
            .map(|server| scope.spawn(|| server.cmd(["DEBUG", "DIGEST"])));
        asked.map(|answer| answer.join().expect("DEBUG DIGEST answers"))
    });
    ensure!(
        digests[0] == digests[1],
        "the servers differ after the repair: {digests:?}"
    );
    report::note("equal after the last repair, by DEBUG DIGEST")
}
