//! The log: on stderr, whatever stdout is for, in the form that suits who reads it.
//!
//! | `--log-format` | where it goes |
//! |---|---|
//! | `human` | lines for people, coloured on a terminal |
//! | `json` | one JSON document per line |
//! | `journald` | systemd's journal, with levels and fields |
//! | `auto` | a service: the journal if stderr is connected to it, JSON if stderr is no terminal; all else: `human` |

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::{Cli, GlobalArgs, LogFormat};
use super::commands;

/// Begins the log of this process.
pub(super) fn begin(cli: &Cli) {
    let global = &cli.global;
    let is_service = cli.command.is_service();
    let format = match global.log_format {
        LogFormat::Auto => fitting(
            is_service,
            std::io::stderr().is_terminal(),
            stderr_is_journal(),
        ),
        LogFormat::Human | LogFormat::Json | LogFormat::Journald => global.log_format,
    };
    match format {
        LogFormat::Journald => to_journal(global, is_service),
        LogFormat::Json => to_stderr_as_json(filter(global, is_service)),
        LogFormat::Human | LogFormat::Auto => for_people(global, filter(global, is_service)),
    }
}

/// What `auto` means.
fn fitting(is_service: bool, is_terminal: bool, is_journal: bool) -> LogFormat {
    match (is_service, is_terminal, is_journal) {
        (false, _, _) | (true, true, _) => LogFormat::Human,
        (true, false, true) => LogFormat::Journald,
        (true, false, false) => LogFormat::Json,
    }
}

fn filter(global: &GlobalArgs, is_service: bool) -> EnvFilter {
    // A service tells what it does: nobody sits beside it.
    let level = match (global.quiet, global.verbose, is_service) {
        (true, _, _) => "error",
        (false, 0, false) => "warn",
        (false, 0, true) | (false, 1, false) => "info",
        (false, 1, true) | (false, 2, _) => "debug",
        (false, _, _) => "trace",
    };
    EnvFilter::try_from_env("REKNIT_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("reknit={level}")))
}

fn for_people(global: &GlobalArgs, filter: EnvFilter) {
    let color = global.color.enabled(
        std::io::stderr().is_terminal(),
        commands::no_color().as_deref(),
    );
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color);
    log.with_target(false).init();
}

fn to_stderr_as_json(filter: EnvFilter) {
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    log.init();
}

fn to_journal(global: &GlobalArgs, is_service: bool) {
    match tracing_journald::layer() {
        Ok(journal) => tracing_subscriber::registry()
            .with(filter(global, is_service))
            .with(journal.with_syslog_identifier("reknit".into()))
            .init(),
        Err(error) => {
            to_stderr_as_json(filter(global, is_service));
            tracing::warn!("the journal cannot be reached, logging JSON instead: {error}");
        }
    }
}

/// Whether stderr is the journal's own stream, as systemd says by `JOURNAL_STREAM`.
fn stderr_is_journal() -> bool {
    let Ok(said) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stream = std::io::stderr().as_fd().try_clone_to_owned();
    let metadata = stream.and_then(|stream| File::from(stream).metadata());
    metadata.is_ok_and(|found| is_stream(&said, found.dev(), found.ino()))
}

/// `DEVICE:INODE`. SUBTLE: a child whose stderr was put elsewhere still has the variable.
fn is_stream(said: &str, device: u64, inode: u64) -> bool {
    let parsed = said
        .split_once(':')
        .and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    parsed == Some((device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_logs_for_whoever_reads_it_and_a_command_for_people() {
        for (is_terminal, is_journal) in [(false, false), (false, true), (true, false)] {
            assert_eq!(fitting(false, is_terminal, is_journal), LogFormat::Human);
        }
        assert_eq!(fitting(true, true, false), LogFormat::Human);
        assert_eq!(fitting(true, true, true), LogFormat::Human);
        assert_eq!(fitting(true, false, true), LogFormat::Journald);
        assert_eq!(fitting(true, false, false), LogFormat::Json);
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_stream("8:12345", 8, 12345));
        for other in ["8:12346", "9:12345", "", "8", "8:x", "8:12345:1"] {
            assert!(!is_stream(other, 8, 12345), "{other}");
        }
    }
}
