//! What every command takes: how much is said, in which form and colours.

use std::ffi::OsStr;

use clap::{Args, ValueEnum};

use super::Command;

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Print no progress and no log but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more (twice: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Colours: auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorWhen::Auto)]
    pub color: ColorWhen,
    /// The form of the log: auto means for people, and for a service what its reader takes
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// What fits: a service logs to the journal or as JSON, all else for people.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON document per line.
    Json,
    /// To systemd's journal.
    Journald,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorWhen {
    /// Whether to colour, given whether the output is a terminal and the value of `NO_COLOR` (no-color.org).
    pub fn enabled(self, is_terminal: bool, no_color: Option<&OsStr>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => is_terminal && no_color.is_none_or(OsStr::is_empty),
        }
    }
}

impl Command {
    /// Whether it runs until it is stopped, and nobody sits beside it.
    pub(in crate::cli) fn is_service(&self) -> bool {
        match self {
            Self::Diff(_)
            | Self::Repair(_)
            | Self::Check(_)
            | Self::Explain(_)
            | Self::Import(_)
            | Self::Functions(_)
            | Self::Clean(_)
            | Self::Runs(_)
            | Self::Undo(_)
            | Self::Forget(_)
            | Self::Rename(_)
            | Self::Demo(_)
            | Self::Status(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Cancel(_)
            | Self::Limits(_)
            | Self::RunNow(_)
            | Self::Reload(_)
            | Self::Completions(_) => false,
            Self::Run(_) => true,
        }
    }
}
