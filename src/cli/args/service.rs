//! The service, and the commands that speak to it.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;

use super::{Format, SelectionArgs};

pub(super) const RUN_HELP: &str = "\
Examples:
  reknit run -c /etc/reknit/reknit.yaml
  kill -HUP PID        # reads the configuration anew; a bad one is refused and the old one stays
  kill PID             # ends within seconds; a run that is under way goes on when the service is back

Runs begin as `schedules` says. Status, metrics and the API are served on http.listen
(127.0.0.1:9310): reknit status, pause, resume, cancel, limits, run-now and reload speak to it.

Exits 0 when it was told to stop, 2 if it cannot start, 4 if another reknit works on its state
directory.";

pub(super) const STATUS_HELP: &str = "\
Examples:
  reknit status -c /etc/reknit/reknit.yaml
  reknit status --url https://reknit.example:9310 --token-file token --ca-file ca.pem
  reknit status -c reknit.yaml --format json

Exits 0, or 2 if the service cannot be reached or refuses.";

pub(super) const PAUSE_HELP: &str = "\
Examples:
  reknit pause -c reknit.yaml                       # the run that is under way
  reknit pause -c reknit.yaml --schedule nightly    # no further run of it begins

A paused run reads and writes nothing until `reknit resume`. Exits 0, or 2 if the service cannot be
reached or refuses.";

pub(super) const RESUME_HELP: &str = "\
Examples:
  reknit resume -c reknit.yaml
  reknit resume -c reknit.yaml --schedule nightly

Exits 0, or 2 if the service cannot be reached or refuses.";

pub(super) const CANCEL_HELP: &str = "\
Examples:
  reknit cancel -c reknit.yaml                      # the run that is under way
  reknit cancel -c reknit.yaml --schedule nightly   # one that was asked for and waits

What the run wrote stays: `reknit undo` puts it back. Its schedule begins another when that is due; to
keep it from that, pause the schedule.

Exits 0, or 2 if the service cannot be reached or refuses.";

pub(super) const SET_LIMITS_HELP: &str = "\
Examples:
  reknit limits -c reknit.yaml
  reknit limits -c reknit.yaml --keys-per-second 5000 --bytes-per-second 10MiB
  reknit limits -c reknit.yaml --intensity 0.2      # works a fifth of the time
  reknit limits -c reknit.yaml --keys-per-second 0  # unlimited

They hold for each replica, at once also for a run that works, until the service reads its
configuration anew. Exits 0, or 2 if the service cannot be reached or refuses.";

pub(super) const RUN_NOW_HELP: &str = "\
Examples:
  reknit run-now nightly -c reknit.yaml
  reknit run-now nightly -c reknit.yaml --wait
  reknit run-now -c reknit.yaml --match 'user:*' --diff --wait
  reknit run-now -c reknit.yaml --key user:42 --wait
  reknit run-now -c reknit.yaml --keyspace carts --force-deletes 5000 --reason 'sale is over'

A schedule's run begins as soon as its window is open and no other works; until then `reknit cancel
--schedule` takes it back. A run of selected keys begins at once, whatever the windows say, and is
refused while another works. `reknit runs divergences RUN` shows the keys that differ.

Exits 0, or 2 if the service cannot be reached or refuses; with --wait as the run: also 1 if
something differs or is left, 2 if it failed, 3 if a replica or a part was missed, 4 if it was
stopped.";

pub(super) const RELOAD_HELP: &str = "\
As kill -HUP does: a bad configuration is refused, and the old one stays. Limits that were set by
`reknit limits` are those of the configuration again.

Exits 0, or 2 if the service cannot be reached or refuses.";

/// `reknit run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", env = "REKNIT_CONFIG")]
    pub config: PathBuf,
    /// Where runs are remembered, in place of state.dir
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Where the service is, and what lets one in.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct ServiceArgs {
    /// The service's configuration: its address, token and certificate [env: REKNIT_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Its address, instead of the configuration's [default: http://127.0.0.1:9310]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The file with its token, instead of the configuration's
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The PEM file with the certificate that its own is signed by, or that itself
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The form of what goes to standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// How a service is asked that holds the state directory.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Service")]
pub struct ReachArgs {
    /// Ask the service at this address [default: the one that holds the state directory, if one does]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The file with its token, instead of the configuration's
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The PEM file with the certificate that its own is signed by, or that itself
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// `reknit status`, `reknit reload`
#[derive(Debug, Args)]
pub struct AskArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// `reknit pause`, `reknit resume`
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The run; without it, the one that is under way
    #[arg(value_name = "RUN", conflicts_with = "schedule")]
    pub run: Option<u64>,
    /// A schedule, instead of a run
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<String>,
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// `reknit cancel`
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run; without it, the one that is under way
    #[arg(value_name = "RUN", conflicts_with = "schedule")]
    pub run: Option<u64>,
    /// A run of this schedule that was asked for and has not begun
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<String>,
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// `reknit limits`
#[derive(Debug, Args)]
pub struct SetLimitsArgs {
    /// Keys read and written per second and replica, 0 for unlimited
    #[arg(long, value_name = "N", value_parser = crate::cli::limits::number)]
    #[arg(allow_negative_numbers = true)]
    pub keys_per_second: Option<u64>,
    /// Bytes received and sent per second and replica, 0 for unlimited
    #[arg(long, value_name = "SIZE", value_parser = crate::config::size, allow_hyphen_values = true)]
    pub bytes_per_second: Option<ByteSize>,
    /// The share of time spent working, from 0.001 to 1
    #[arg(long, value_name = "X", value_parser = crate::cli::limits::intensity)]
    #[arg(allow_negative_numbers = true)]
    pub intensity: Option<f64>,
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// `reknit run-now`
#[derive(Debug, Args)]
pub struct RunNowArgs {
    /// The schedule; without it, a run of the keys that are selected, or of --all
    #[arg(value_name = "SCHEDULE", conflicts_with_all = ["all", "diff", "dry_run", "limit", "force_overwrites",
        "force_deletes", "reason"])]
    pub schedule: Option<String>,
    /// Wait until the run has ended
    #[arg(long)]
    pub wait: bool,
    /// All keys of all keyspaces
    #[arg(long)]
    pub all: bool,
    /// Compare; write nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub diff: bool,
    /// Work out what would be written; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Repair only the first N divergences (a canary)
    #[arg(long, value_name = "N", value_parser = crate::cli::limits::at_least_one)]
    #[arg(allow_negative_numbers = true)]
    pub limit: Option<u64>,
    /// Overwrite up to N keys of a replica although guards.max_overwrite_ratio says no
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "reason")]
    pub force_overwrites: Option<u64>,
    /// Delete up to N keys of a replica although guards.max_delete_ratio says no
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "reason")]
    pub force_deletes: Option<u64>,
    /// Why, for the log of runs
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Which keys.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
}
