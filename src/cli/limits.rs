//! Limits of the command line, laid over those of the configuration.

use std::num::{NonZeroU64, NonZeroUsize};

use bytesize::ByteSize;

use super::args::LimitArgs;
use crate::config::{self, Config};
use crate::model::Limits;

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

/// Reads the depth of a pipeline.
pub(super) fn pipeline(text: &str) -> Result<NonZeroUsize, String> {
    let most = Limits::MAX_PIPELINE;
    text.parse()
        .ok()
        .filter(|found: &NonZeroUsize| found.get() <= most)
        .ok_or_else(|| format!("pipeline {text} is not between 1 and {most}"))
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
