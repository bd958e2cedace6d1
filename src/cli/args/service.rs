//! The service, and the commands that speak to it.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;

use super::Format;

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

The run begins as soon as the schedule's window is open and no other works. Exits 0, or 2 if the
service cannot be reached or refuses; with --wait also 2 if the run failed, 3 if a replica or a part
was missed, 4 if it was stopped.";

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
    #[arg(value_name = "RUN")]
    pub run: Option<u64>,
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
    /// The share of time spent working, above 0 and at most 1
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
    /// The schedule
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// Wait until the run has ended
    #[arg(long)]
    pub wait: bool,
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
}
