//! What a client feels: GETs at a steady rate, alone and beside a run.
//!
//! A GET that is late because the one before it hung is counted from when it was due, so that a stall counts for
//! every request it delayed, not for one.

use std::io;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::support::generate::{Shape, name, shape};
use crate::support::resp::{RawClient, command};
use crate::support::server::RedisServer;
use crate::{Args, process};

/// GETs before the first that counts.
const WARM_UP: usize = 100;
/// How often is looked whether a run has ended.
const POLL: Duration = Duration::from_millis(5);

/// Latencies, sorted.
#[derive(Debug)]
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

/// What was measured beside runs.
#[derive(Debug)]
pub(crate) struct Beside {
    /// The client's latencies.
    pub(crate) latencies: Latencies,
    /// How long the first run took.
    pub(crate) run: Duration,
    /// How many runs were needed, the last of them perhaps cut short.
    pub(crate) runs: usize,
}

/// Latencies with nothing beside.
pub(crate) fn alone(port: u16, args: &Args) -> Result<Latencies> {
    Ok(Latencies(sample(port, args)?))
}

/// Latencies beside `reknit diff` at its default limits, run as often as the samples take.
pub(crate) fn beside(servers: &[RedisServer; 2], args: &Args) -> Result<Beside> {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let latencies = sample(servers[0].port(), args);
            enough.store(true, Ordering::Release);
            latencies
        });
        let runs = repeat(servers, args, &enough);
        // Runs that fail let the client end by itself.
        let latencies = client.join().expect("the client does not panic")?;
        let (run, runs) = runs?;
        Ok(Beside {
            latencies: Latencies(latencies),
            run,
            runs,
        })
    })
}

/// Runs until the client has enough; the first run is always waited for.
fn repeat(
    servers: &[RedisServer; 2],
    args: &Args,
    enough: &AtomicBool,
) -> Result<(Duration, usize)> {
    let mut first = None;
    let mut runs = 0;
    while first.is_none() || !enough.load(Ordering::Acquire) {
        let settle = humantime::format_duration(args.diff_settle).to_string();
        let mut command = process::command(&args.reknit, "diff", servers);
        command.args(["--settle", &settle]).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn().context("reknit cannot be run")?;
        let ended = wait(&mut child, || {
            first.is_some() && enough.load(Ordering::Acquire)
        })?;
        runs += 1;
        if ended {
            first.get_or_insert(start.elapsed());
        }
    }
    Ok((first.unwrap_or_default(), runs))
}

/// Waits for a run. False: it was not needed any longer and stopped.
fn wait(child: &mut Child, needless: impl Fn() -> bool) -> Result<bool> {
    loop {
        if let Some(status) = child.try_wait()? {
            return match status.code() {
                Some(0 | 1) => Ok(true),
                Some(_) | None => bail!("the gentle diff ended with {status}"),
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

fn sample(port: u16, args: &Args) -> io::Result<Vec<Duration>> {
    let mut client = RawClient::connect(port)?;
    let interval = Duration::from_secs(1) / args.rate;
    let strings = (0..args.keys).cycle().step_by(7919);
    let mut keys = strings.filter(|&index| shape(index) == Shape::String);
    let mut latencies = Vec::with_capacity(args.samples);
    let mut due = Instant::now();
    for round in 0..args.samples + WARM_UP {
        due += interval;
        let from = wait_until(due);
        let mut get = Vec::new();
        command(
            &mut get,
            &[b"GET", name(keys.next().unwrap_or(0)).as_bytes()],
        );
        client.exchange(&get, 1)?;
        if round >= WARM_UP {
            latencies.push(from.elapsed());
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
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
