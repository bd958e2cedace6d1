//! Limits of the command line, laid over those of the configuration.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::args::LimitArgs;
use crate::config::{self, Config};
use crate::model::{Guards, Intensity, Limits};

/// How many keys a demo can have.
const DEMO_KEYS: RangeInclusive<u64> = 100..=10_000_000;

impl LimitArgs {
    /// Lays what was given over the configuration; settle still waits for the datacenters' own replication.
    pub fn apply(&self, config: &mut Config) {
        let limits = &mut config.limits;
        limits.pipeline = self.pipeline.unwrap_or(limits.pipeline);
        limits.memory = self.memory.unwrap_or(limits.memory);
        if let Some(rate) = self.keys_per_second {
            limits.keys_per_second = NonZeroU64::new(rate);
        }
        let settle = self.settle.unwrap_or(config.guards.settle);
        config.guards.settle = settle.max(config.replicates.unwrap_or_default());
    }
}

/// Reads a number, 0 or more.
pub(super) fn number(text: &str) -> Result<u64, String> {
    let complaint = |_| format!("`{text}` is not a number, write 0 or more");
    text.parse().map_err(complaint)
}

/// Reads a number of things to show.
pub(super) fn count(text: &str) -> Result<usize, String> {
    Ok(usize::try_from(number(text)?).unwrap_or(usize::MAX))
}

/// Reads a number of things to do.
pub(super) fn at_least_one(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("nothing would be repaired, write 1 or more".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{text}` is not a number, write 1 or more")),
    }
}

/// Reads how many keys a demo has.
pub(super) fn demo_keys(text: &str) -> Result<u64, String> {
    number(text)
        .ok()
        .filter(|number| DEMO_KEYS.contains(number))
        .ok_or_else(|| {
            let (least, most) = (DEMO_KEYS.start(), DEMO_KEYS.end());
            format!("`{text}` is not between {least} and {most}")
        })
}

/// Reads the number of a database.
pub(super) fn database(text: &str) -> Result<u32, String> {
    let complaint = |_| format!("`{text}` is not the number of a database, write 0 or more");
    text.parse().map_err(complaint)
}

/// Reads the settle pause.
pub(super) fn settle(text: &str) -> Result<Duration, String> {
    match config::duration(text)? {
        settle if settle > Guards::MAX_SETTLE => Err(
            "it is longer than an hour, write the time that writes are under way, such as 1s"
                .into(),
        ),
        settle => Ok(settle),
    }
}

/// Reads the depth of a pipeline.
pub(super) fn pipeline(text: &str) -> Result<NonZeroUsize, String> {
    let most = Limits::MAX_PIPELINE;
    text.parse()
        .ok()
        .filter(|found: &NonZeroUsize| found.get() <= most)
        .ok_or_else(|| format!("pipeline {text} is not between 1 and {most}"))
}

/// Reads the share of time spent working.
pub(super) fn intensity(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().and_then(Intensity::new);
    let complaint = || format!("intensity {text} is not between 0.001 and 1");
    number.map(Intensity::get).ok_or_else(complaint)
}

/// Reads a limit of memory.
pub(super) fn memory(text: &str) -> Result<ByteSize, String> {
    match config::size(text)? {
        size if size.as_u64() == 0 => {
            Err("nothing works in no memory, write one like 512MiB".into())
        }
        size => Ok(size),
    }
}
