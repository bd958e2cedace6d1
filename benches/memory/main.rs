//! What memory costs a whole run: the repair itself, through the library, on two replicas in memory.
//!
//! ```text
//! without memory   in sync · 1 % changed at one side
//! with memory      the first run, which learns all keys · in sync · 1 % changed at one side
//! in sync again    with and without, alternating
//! ```
//!
//! The replicas answer at once, so this is reknit's own work: what a run over a network waits for is not in it, and the
//! ratios are those of processor time.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::print_stderr, reason = "a benchmark says how far it is")]

mod meter;
mod site;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use clap::Parser;
use reknit::repair::Summary;

use meter::{Cost, Meter, disk_bytes};
use site::{KEY_BYTES, Site};

/// Measures what memory costs a run over keys in memory
#[derive(Debug, Parser)]
#[command(name = "make bench-memory")]
struct Args {
    /// Keys on each replica: strings
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// Of a hundred keys, so many are changed at one replica
    #[arg(long, default_value_t = 1)]
    percent: u64,
    /// What the entries of a run may take in memory
    #[arg(long, default_value = "8GiB")]
    memory: ByteSize,
    /// Further runs in sync of either kind
    #[arg(long, default_value_t = 2)]
    again: usize,
    /// Where to put the state directory; it is removed at the end
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = tempfile::tempdir_in(&args.dir).context("no temporary directory")?;
    let mut bench = Bench {
        runtime: tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?,
        site: Site::new(args.keys, args.memory.as_u64(), dir.path().join("state")),
        without: Vec::new(),
        with: Vec::new(),
    };
    println!(
        "{} keys of {KEY_BYTES} bytes on two replicas in memory, {} % of them changed\n",
        args.keys, args.percent
    );
    println!("| run | wall s | own CPU s | peak MiB beyond the replicas | written |");
    println!("|---|---|---|---|---|");
    bench.measure(&args)?;
    let disk = disk_bytes(&bench.site.dir)?;
    let beyond = disk as f64 / args.keys as f64 - KEY_BYTES as f64;
    println!(
        "\nstate directory: {}, {beyond:.1} bytes per key beyond the key's",
        ByteSize::b(disk)
    );
    let ratio = meter::median(&bench.with).own_ratio(&meter::median(&bench.without));
    println!("in sync, own CPU with memory: {ratio:.3} x without (medians)");
    Ok(())
}

/// What is measured, and what it cost in sync.
struct Bench {
    runtime: tokio::runtime::Runtime,
    site: Site,
    without: Vec<Cost>,
    with: Vec<Cost>,
}

impl Bench {
    fn measure(&mut self, args: &Args) -> Result<()> {
        let changed = args.keys * args.percent / 100;
        let (alone, summary) = self.run("in sync, no memory", false, None)?;
        ensure!(summary.total().differing() == 0, "{summary:?}");
        self.site.change(changed);
        let (repair, summary) = self.run("changed, no memory", false, None)?;
        ensure!(summary.total().repaired == changed, "{summary:?}");
        self.without.push(alone);
        let (_, summary) = self.run("first, memory", true, Some(&alone))?;
        ensure!(summary.learned == args.keys, "{summary:?}");
        let disk = disk_bytes(&self.site.dir)?;
        self.in_sync(true, &alone)?;
        for _ in 0..args.again {
            self.in_sync(false, &alone)?;
            self.in_sync(true, &alone)?;
        }
        let grown = disk_bytes(&self.site.dir)?.saturating_sub(disk);
        eprintln!("runs in sync grew the state directory by {grown} bytes");
        self.site.change(changed);
        let (_, summary) = self.run("changed, memory", true, Some(&repair))?;
        ensure!(summary.total().repaired == changed, "{summary:?}");
        Ok(())
    }

    fn in_sync(&mut self, with: bool, alone: &Cost) -> Result<()> {
        let what = match with {
            true => "in sync, memory",
            false => "in sync, no memory",
        };
        let (cost, summary) = self.run(what, with, Some(alone))?;
        ensure!(
            (summary.total().differing(), summary.learned) == (0, 0),
            "{summary:?}"
        );
        match with {
            true => self.with.push(cost),
            false => self.without.push(cost),
        }
        Ok(())
    }

    /// One run, from the opening of the state directory to its closing; printed beside the run that it is compared with.
    fn run(&mut self, what: &str, with: bool, beside: Option<&Cost>) -> Result<(Cost, Summary)> {
        let meter = Meter::start()?;
        let summary = self.runtime.block_on(self.site.run(with))?;
        let cost = meter.stop()?;
        println!("{}", cost.row(what, beside));
        Ok((cost, summary))
    }
}
