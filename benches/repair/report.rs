//! The figures as tables that can be pasted into the README, targets beside them.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;

use crate::Args;
use crate::foreground::{Felt, Latencies, Way};
use crate::in_sync::InSync;
use crate::process::Cost;
use crate::support::generate::name_bytes;

const MIB: u64 = 1024 * 1024;
/// Memory that a run may take for each key and replica, beside the key's name.
const ENTRY_BYTES: u64 = 48;
/// Memory that a run may take whatever there is to read.
const FIXED_BYTES: u64 = 64 * MIB;

/// The costs of all runs.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// The floor's.
    pub(crate) floor: Vec<Cost>,
    /// Those of `reknit diff`.
    pub(crate) diff: Vec<Cost>,
    /// Those of `reknit repair`.
    pub(crate) repair: Vec<Cost>,
}

/// Says how far the benchmark is.
pub(crate) fn note(text: &str) -> Result<()> {
    Ok(writeln!(io::stderr().lock(), "{text}")?)
}

/// Passes on what reknit logged.
pub(crate) fn log(text: &str) -> Result<()> {
    Ok(write!(io::stderr().lock(), "{text}")?)
}

/// Prints the medians of the runs side by side.
pub(crate) fn print_costs(args: &Args, figures: &Figures) -> Result<()> {
    let mut out = io::stdout().lock();
    let Args {
        keys,
        differing,
        pipeline,
        page,
        runs,
        ..
    } = args;
    writeln!(
        out,
        "\n{keys} keys, {differing} differing, pipeline {pipeline}, page {page}:"
    )?;
    writeln!(
        out,
        "medians of {runs} alternating runs; in parentheses the ratio to the floor\n"
    )?;
    writeln!(out, "| run | wall s | redis CPU s | own CPU s | peak MiB |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    let floor = median(&figures.floor);
    writeln!(out, "{}", row("(a) floor", &floor, &floor))?;
    if figures.diff.is_empty() {
        return Ok(());
    }
    let (diff, repair) = (median(&figures.diff), median(&figures.repair));
    writeln!(out, "{}", row("(b) reknit diff", &diff, &floor))?;
    writeln!(out, "{}", row("(c) reknit repair", &repair, &floor))?;
    writeln!(out, "\n| target | at most | is | |\n|---|---|---|---|")?;
    for line in targets(args, [&floor, &diff, &repair]) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Prints what the agreement costs a run that finds everything in sync.
pub(crate) fn print_in_sync(args: &Args, in_sync: &InSync) -> Result<()> {
    let mut out = io::stdout().lock();
    let runs = args.in_sync_runs;
    writeln!(
        out,
        "\nin sync, medians of {runs} alternating runs; in parentheses the ratio to the run without a memory\n"
    )?;
    writeln!(
        out,
        "| repair | wall s | redis CPU s | own CPU s | peak MiB |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    let (with, without) = (median(&in_sync.with), median(&in_sync.without));
    writeln!(out, "{}", row("without a memory", &without, &without))?;
    writeln!(out, "{}", row("with a memory", &with, &without))?;
    writeln!(
        out,
        "{}",
        row("the first with one", &in_sync.first, &without)
    )?;
    writeln!(out, "\n| target | at most | is | |\n|---|---|---|---|")?;
    let ratio = with.wall.as_secs_f64() / without.wall.as_secs_f64();
    writeln!(
        out,
        "{}",
        target("in sync: wall, ratio to no memory", 1.10, ratio, "×")
    )?;
    let mib = in_sync.disk_bytes / MIB;
    Ok(writeln!(out, "\nthe state directory takes {mib} MiB")?)
}

/// Prints what the client felt in each way.
pub(crate) fn print_foreground(args: &Args, felt: &[Felt; 3]) -> Result<()> {
    let mut out = io::stdout().lock();
    let [alone, defaults, unlimited] = felt.each_ref().map(|one| &one.latencies);
    let (keys, rate, least) = (args.keys, args.rate, args.samples);
    writeln!(
        out,
        "\n{keys} keys; GET and SET in turn at {rate}/s on the first server, {least} samples or more in each way, \
         in {} alternating parts\n",
        args.parts
    )?;
    writeln!(
        out,
        "| foreground | samples | p50 µs | p99 µs | p99.9 µs |\n|---|---|---|---|---|"
    )?;
    for (way, one) in Way::ALL.iter().zip(felt) {
        writeln!(out, "{}", latency_row(way.label(), &one.latencies))?;
    }
    writeln!(out, "\n| target | at most | is | |\n|---|---|---|---|")?;
    for (share, label, most) in [(0.5, "p50", 1.2), (0.99, "p99", 3.0)] {
        let label = format!("{label} at defaults, ratio to alone");
        let is = ratio(defaults, alone, share);
        writeln!(out, "{}", target(&label, most, is, "×"))?;
    }
    let [p50, p99] = [0.5, 0.99].map(|share| ratio(unlimited, alone, share));
    let pipeline = args.unlimited_pipeline;
    writeln!(
        out,
        "\nwith a pipeline of {pipeline}: p50 {p50:.2} ×, p99 {p99:.2} ×"
    )?;
    for (way, one) in Way::ALL.iter().zip(felt).skip(1) {
        let median = middle(one.runs.iter().copied()).as_secs_f64();
        let runs = one.runs.len();
        writeln!(
            out,
            "{}: a full run took {median:.1} s (median of {runs})",
            way.label()
        )?;
    }
    Ok(())
}

fn ratio(with: &Latencies, without: &Latencies, share: f64) -> f64 {
    with.quantile(share).as_secs_f64() / without.quantile(share).as_secs_f64()
}

fn targets(args: &Args, [floor, diff, repair]: [&Cost; 3]) -> Vec<String> {
    let seconds = |time: Duration| time.as_secs_f64();
    let millions = 2.0 * args.keys as f64 / 1e6;
    let allowed = 2 * (name_bytes(args.keys) + ENTRY_BYTES * args.keys) + FIXED_BYTES;
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let peak = diff.peak_bytes.max(repair.peak_bytes).unwrap_or_default();
    let most = 1.05 * seconds(diff.wall.saturating_sub(args.diff_settle)) + seconds(args.settle);
    let wall = seconds(diff.wall) / seconds(floor.wall);
    let servers = seconds(diff.servers) / seconds(floor.servers);
    vec![
        target("diff: wall, ratio to the floor", 1.35, wall, "×"),
        target("diff: redis CPU, ratio to the floor", 1.05, servers, "×"),
        target(
            "diff: own CPU per million keys and replica",
            1.0,
            seconds(diff.own) / millions,
            "s",
        ),
        target(
            "repair: wall, 1.05 × diff + settle",
            most,
            seconds(repair.wall),
            "s",
        ),
        target(
            "peak memory, names + 48 B each + 64 MiB",
            mib(allowed),
            mib(peak),
            "MiB",
        ),
    ]
}

fn target(label: &str, most: f64, is: f64, unit: &str) -> String {
    let met = if is <= most { "MET" } else { "MISSED" };
    format!("| {label} | {most:.2} {unit} | {is:.2} {unit} | {met} |")
}

fn row(label: &str, cost: &Cost, floor: &Cost) -> String {
    let figure = |time: Duration, floor: Duration| {
        let (time, floor) = (time.as_secs_f64(), floor.as_secs_f64());
        format!("{time:.2} ({:.2}×)", time / floor)
    };
    let peak = cost
        .peak_bytes
        .map(|bytes| (bytes / MIB).to_string())
        .unwrap_or_default();
    let (wall, servers) = (
        figure(cost.wall, floor.wall),
        figure(cost.servers, floor.servers),
    );
    format!(
        "| {label} | {wall} | {servers} | {:.2} | {peak} |",
        cost.own.as_secs_f64()
    )
}

fn latency_row(label: &str, latencies: &Latencies) -> String {
    let micros = |share| latencies.quantile(share).as_micros();
    format!(
        "| {label} | {} | {} | {} | {} |",
        latencies.len(),
        micros(0.5),
        micros(0.99),
        micros(0.999)
    )
}

/// The median of each figure by itself.
fn median(costs: &[Cost]) -> Cost {
    Cost {
        wall: middle(costs.iter().map(|cost| cost.wall)),
        servers: middle(costs.iter().map(|cost| cost.servers)),
        own: middle(costs.iter().map(|cost| cost.own)),
        peak_bytes: middle(costs.iter().map(|cost| cost.peak_bytes)),
    }
}

fn middle<T: Ord + Copy>(figures: impl Iterator<Item = T>) -> T {
    let mut sorted: Vec<T> = figures.collect();
    sorted.sort();
    sorted[sorted.len() / 2]
}
