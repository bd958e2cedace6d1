//! The service, and the commands that speak to it.

use std::path::PathBuf;

use clap::Args;

pub(super) const RUN_HELP: &str = "\
Examples:
  reknit run -c /etc/reknit/reknit.yaml
  kill -HUP PID        # reads the configuration anew; a bad one is refused and the old one stays
  kill PID             # ends within seconds; a run that is under way goes on when the service is back

Runs begin as `schedules` says. Status, metrics and the API are served on http.listen
(127.0.0.1:9310): reknit status, pause, resume, cancel, limits and run-now speak to it.

Exits 0 when it was told to stop, 2 if it cannot start, 4 if another reknit works on its state
directory.";

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
