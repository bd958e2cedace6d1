//! What a client feels: GETs and SETs in turn at a steady rate, alone and beside runs.
//!
//! The ways alternate, so that a busy machine is busy for all of them.
//!
//! A request that is late because the one before it hung is counted from when it was due, so that a stall counts for
//! every request it delayed, not for one.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::support::generate::{Shape, name, shape, write_key};
use crate::support::resp::{RawClient, command as command_bytes};
use crate::support::server::RedisServer;
use crate::{Args, process, report};

/// Requests before the first that counts.
const WARM_UP: usize = 100;
/// How often is looked whether a run has ended.
const POLL: Duration = Duration::from_millis(5);

/// Latencies, sorted when all are there.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// The latency that this share of the requests did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        self.0[(last as f64 * share).round() as usize]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What a client shares the server with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody.
    Alone,
    /// `reknit diff` at its default limits.
    Defaults,
    /// `reknit diff` with a long pipeline.
    Unlimited,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Alone, Self::Defaults, Self::Unlimited];

    /// In words.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Defaults => "beside reknit diff, default limits",
            Self::Unlimited => "beside reknit diff, long pipeline",
        }
    }
}

/// What was felt in one way.
#[derive(Debug, Default)]
pub(crate) struct Felt {
    /// The client's latencies.
    pub(crate) latencies: Latencies,
    /// How long the runs took that came to their end beside the client.
    pub(crate) runs: Vec<Duration>,
}

/// Measures every way, in alternating parts.
pub(crate) fn measure(args: &Args, servers: &[RedisServer; 2]) -> Result<[Felt; 3]> {
    let (samples, rate) = (args.samples, args.rate);
    report::note(&format!(
        "foreground: {samples} requests at {rate}/s in each way"
    ))?;
    let mut felt: [Felt; 3] = Default::default();
    for part in 0..args.parts {
        for (way, felt) in Way::ALL.into_iter().zip(&mut felt) {
            one_part(way, part == 0, args, servers, felt)?;
        }
        report::note(&format!("part {} of {} done", part + 1, args.parts))?;
    }
    for one in &mut felt {
        one.latencies.0.sort_unstable();
    }
    Ok(felt)
}

/// One part of the samples. Where a run is to be waited for, the client goes on until it ends.
fn one_part(
    way: Way,
    whole: bool,
    args: &Args,
    servers: &[RedisServer; 2],
    felt: &mut Felt,
) -> Result<()> {
    let port = servers[0].port();
    let samples = args.samples.div_ceil(args.parts);
    if way == Way::Alone {
        felt.latencies
            .0
            .extend(sample(port, args, samples, &AtomicBool::new(true))?);
        return Ok(());
    }
    let (needless, waited) = (AtomicBool::new(false), AtomicBool::new(!whole));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let latencies = sample(port, args, samples, &waited);
            needless.store(true, Ordering::Release);
            latencies
        });
        let runs = repeat(way, servers, args, (&needless, &waited));
        // Also where a run failed: the client ends by itself then.
        waited.store(true, Ordering::Release);
        felt.latencies
            .0
            .extend(client.join().expect("the client does not panic")?);
        felt.runs.extend(runs?);
        Ok(())
    })
}

/// Runs until the client has enough; how long each run took that ended by itself.
fn repeat(
    way: Way,
    servers: &[RedisServer; 2],
    args: &Args,
    (needless, waited): (&AtomicBool, &AtomicBool),
) -> Result<Vec<Duration>> {
    let mut ended = Vec::new();
    while !needless.load(Ordering::Acquire) {
        let start = Instant::now();
        let mut child = command(way, servers, args)
            .spawn()
            .context("reknit cannot be run")?;
        if wait(&mut child, || needless.load(Ordering::Acquire))? {
            ended.push(start.elapsed());
            waited.store(true, Ordering::Release);
        }
    }
    Ok(ended)
}

fn command(way: Way, servers: &[RedisServer; 2], args: &Args) -> Command {
    let settle = humantime::format_duration(args.diff_settle).to_string();
    let mut command = process::command(&args.reknit, "diff", servers);
    command.args(["--settle", &settle]).stderr(Stdio::null());
    if way == Way::Unlimited {
        command.args(["--pipeline", &args.unlimited_pipeline.to_string()]);
    }
    command
}

/// Waits for a run. False: it was not needed any longer and stopped.
fn wait(child: &mut Child, needless: impl Fn() -> bool) -> Result<bool> {
    loop {
        if let Some(status) = child.try_wait()? {
            return match status.code() {
                Some(0 | 1) => Ok(true),
                Some(_) | None => bail!("the diff beside the client ended with {status}"),
            };
        }
        if needless() {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(POLL);
    }
}

/// So many latencies, and more until `enough`.
fn sample(
    port: u16,
    args: &Args,
    samples: usize,
    enough: &AtomicBool,
) -> io::Result<Vec<Duration>> {
    let mut client = RawClient::connect(port)?;
    let interval = Duration::from_secs(1) / args.rate;
    let strings = (0..args.keys).cycle().step_by(7919);
    let mut keys = strings.filter(|&index| shape(index) == Shape::String);
    let mut latencies = Vec::with_capacity(samples);
    let mut due = Instant::now();
    for round in 0.. {
        if latencies.len() >= samples && enough.load(Ordering::Acquire) {
            break;
        }
        due += interval;
        let from = wait_until(due);
        client.exchange(&request(round, keys.next().unwrap_or(0)), 1)?;
        if round >= WARM_UP {
            latencies.push(from.elapsed());
        }
    }
    Ok(latencies)
}

/// A GET, or a SET to what the key holds already, so that the servers stay equal.
fn request(round: usize, index: u64) -> Vec<u8> {
    let mut request = Vec::new();
    match round % 2 {
        0 => command_bytes(&mut request, &[b"GET", name(index).as_bytes()]),
        _ => write_key(&mut request, index),
    }
    request
}

/// The moment from which a request counts: when the client woke for it, or when it was due if that had passed.
fn wait_until(due: Instant) -> Instant {
    let now = Instant::now();
    if now >= due {
        return due;
    }
    thread::sleep(due - now);
    Instant::now()
}
