//! What processes used: wall time, CPU, memory, as Linux tells it in /proc.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::support::server::RedisServer;

/// Linux counts a process's CPU in these, on every machine that matters.
const TICK: Duration = Duration::from_millis(10);
/// How often a child's memory is looked at; the kernel keeps the peak, so only the very end can be missed.
const MEMORY_INTERVAL: Duration = Duration::from_millis(10);

/// What one run used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// CPU of both servers.
    pub(crate) servers: Duration,
    /// CPU of the run itself.
    pub(crate) own: Duration,
    /// Peak of its resident memory, in bytes; none for the floor, which shares the benchmark's process.
    pub(crate) peak_bytes: Option<u64>,
}

/// `reknit VERB` over two servers, its data thrown away.
pub(crate) fn command(binary: &Path, verb: &str, servers: &[RedisServer; 2]) -> Command {
    let mut command = Command::new(binary);
    command.arg(verb).args(["--format", "json"]);
    for (name, server) in ["left", "right"].into_iter().zip(servers) {
        command.args(["--replica", &format!("{name}={}", server.url())]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// A measurement under way.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    servers: &'a [RedisServer; 2],
    start: Instant,
    servers_before: Duration,
    own_before: Duration,
}

impl<'a> Meter<'a> {
    /// Begins to measure.
    pub(crate) fn start(servers: &'a [RedisServer; 2]) -> Result<Self> {
        let servers_before = servers_cpu(servers)?;
        let own_before = cpu("self")?;
        Ok(Self {
            servers,
            start: Instant::now(),
            servers_before,
            own_before,
        })
    }

    /// What this process and the servers used since.
    pub(crate) fn stop_own(self) -> Result<Cost> {
        let wall = self.start.elapsed();
        let own = cpu("self")?.saturating_sub(self.own_before);
        self.cost(wall, own, None)
    }

    /// Runs a child to its end: what it and the servers used since.
    pub(crate) fn stop_child(self, command: &mut Command, code: i32) -> Result<Cost> {
        let shown = format!("{command:?}");
        let mut child = command
            .spawn()
            .with_context(|| format!("{shown} cannot be run"))?;
        let id = child.id().to_string();
        let peak_bytes = watch_memory(&mut child)?;
        let wall = self.start.elapsed();
        // Not waited for yet: the kernel still knows what it used.
        let own = cpu(&id)?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.code() == Some(code),
            "{shown}: {}, expected exit code {code}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        self.cost(wall, own, Some(peak_bytes))
    }

    fn cost(&self, wall: Duration, own: Duration, peak_bytes: Option<u64>) -> Result<Cost> {
        let servers = servers_cpu(self.servers)?.saturating_sub(self.servers_before);
        Ok(Cost {
            wall,
            servers,
            own,
            peak_bytes,
        })
    }
}

/// Follows a child until it is a zombie; the peak of its memory.
fn watch_memory(child: &mut Child) -> Result<u64> {
    let id = child.id().to_string();
    let mut peak = 0;
    // Its log must not fill the pipe; it is wanted only where the run fails.
    let mut log = child.stderr.take().context("stderr is piped")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        drop(log.read_to_string(&mut text));
        text
    });
    while !has_ended(&id)? {
        peak = peak.max(peak_bytes(&id)?);
        thread::sleep(MEMORY_INTERVAL);
    }
    let Ok(log) = reader.join() else {
        bail!("the reader of stderr panicked")
    };
    if !log.is_empty() {
        crate::report::log(&log)?;
    }
    Ok(peak)
}

fn servers_cpu(servers: &[RedisServer; 2]) -> Result<Duration> {
    Ok(cpu(&servers[0].pid().to_string())? + cpu(&servers[1].pid().to_string())?)
}

/// User and system time of a process and all its threads.
fn cpu(process: &str) -> Result<Duration> {
    let fields = stat(process)?;
    let ticks = |index: usize| fields[index].parse::<u32>();
    // proc(5) counts from 1 and from the process id: utime is field 14, the state field 3.
    Ok(TICK * (ticks(14 - 3)? + ticks(15 - 3)?))
}

fn has_ended(process: &str) -> Result<bool> {
    Ok(stat(process)?[0] == "Z")
}

/// The fields of /proc/PID/stat from the state on; the name before it may hold anything.
fn stat(process: &str) -> Result<Vec<String>> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    let (_, fields) = text
        .rsplit_once(')')
        .context("the name is in parentheses")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// The peak so far; 0 for a process that has ended.
fn peak_bytes(process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let Some(kibibytes) = line.and_then(|line| line.split_whitespace().next()) else {
        return Ok(0);
    };
    Ok(kibibytes.parse::<u64>()? * 1024)
}
