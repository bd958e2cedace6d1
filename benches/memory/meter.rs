//! What this process used: wall time, processor time, memory, as Linux tells it in /proc.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytesize::ByteSize;

/// Linux counts a process's CPU in these, on every machine that matters.
const TICK: Duration = Duration::from_millis(10);

/// What one run used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    wall: Duration,
    own: Duration,
    /// The peak of what is resident, beyond what was when it began.
    peak_kib: u64,
    /// What was written to files.
    written_bytes: u64,
}

/// A measurement under way.
pub(crate) struct Meter {
    start: Instant,
    own: Duration,
    resident_kib: u64,
    written_bytes: u64,
}

impl Meter {
    pub(crate) fn start() -> Result<Self> {
        // The kernel forgets the peak so far.
        fs::write("/proc/self/clear_refs", "5").context("the peak cannot be set back")?;
        Ok(Self {
            start: Instant::now(),
            own: own()?,
            resident_kib: figure("status", "VmRSS:")?,
            written_bytes: figure("io", "wchar:")?,
        })
    }

    pub(crate) fn stop(self) -> Result<Cost> {
        Ok(Cost {
            wall: self.start.elapsed(),
            own: own()?.saturating_sub(self.own),
            peak_kib: figure("status", "VmHWM:")?.saturating_sub(self.resident_kib),
            written_bytes: figure("io", "wchar:")?.saturating_sub(self.written_bytes),
        })
    }
}

impl Cost {
    /// A row of the table; in parentheses the ratios to another run.
    pub(crate) fn row(&self, what: &str, beside: Option<&Self>) -> String {
        let ratio = |of: fn(&Self) -> f64| {
            beside.map_or(String::new(), |beside| {
                format!(" ({:.2})", of(self) / of(beside))
            })
        };
        let seconds = |duration: Duration| duration.as_secs_f64();
        format!(
            "| {what} | {:.2}{} | {:.2}{} | {}{} | {} |",
            seconds(self.wall),
            ratio(|cost| cost.wall.as_secs_f64()),
            seconds(self.own),
            ratio(|cost| cost.own.as_secs_f64()),
            self.peak_kib / 1024,
            ratio(|cost| cost.peak_kib as f64),
            ByteSize::b(self.written_bytes)
        )
    }

    pub(crate) fn own_ratio(&self, other: &Self) -> f64 {
        self.own.as_secs_f64() / other.own.as_secs_f64()
    }
}

/// The one in the middle, by processor time.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    let mut costs = costs.to_vec();
    costs.sort_by_key(|cost| cost.own);
    costs[costs.len() / 2]
}

/// Bytes of the blocks that the files below a directory take: the log is reserved beyond its end.
pub(crate) fn disk_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += match about.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => about.blocks() * 512,
        };
    }
    Ok(bytes)
}

/// User and system time of this process and all its threads.
fn own() -> Result<Duration> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text
        .rsplit_once(')')
        .context("the name is in parentheses")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc(5) counts from 1 and from the process id: utime is field 14, the state field 3.
    let ticks = |index: usize| fields[index].parse::<u32>();
    Ok(TICK * (ticks(14 - 3)? + ticks(15 - 3)?))
}

/// A figure of this process.
fn figure(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("a figure is missing in /proc")?.parse()?)
}
