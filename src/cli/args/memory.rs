//! The commands that are about what runs remember: runs, undo, forget, rename.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::service::{ReachArgs, ServiceArgs};
use super::{Format, LimitArgs, Unparsed, parse_key};
use crate::model::Key;

pub(super) const RUNS_HELP: &str = "\
Examples:
  reknit runs -c reknit.yaml                        # the latest runs, the last one below
  reknit runs show 7 -c reknit.yaml                 # what run 7 wrote where, and why
  reknit runs show 7 -c reknit.yaml --format ndjson > run-7.ndjson

Only the state directory is opened; while a service holds it, the service is asked. Exits 0, 2 on
trouble, 4 while another command works on it.";

pub(super) const UNDO_HELP: &str = "\
Examples:
  reknit undo 7 -c reknit.yaml --dry-run
  reknit undo 7 -c reknit.yaml
  reknit undo 7 -c reknit.yaml --replica eu --key user:42
  reknit undo --journal pre-images --replica us=redis://a --replica eu=redis://b

Only what still holds what the run wrote is put back; what was written since stays. What was put back
is not repaired again until a repair names it with --key, or the policy of its keyspace changes. The
guards hold for an undo as for a repair. While a service holds the state directory it is the service
that undoes, at its own pace, and this waits for it.

Exits 0 if all was put back, 1 if something was kept, 2 on trouble, 3 if a replica was missed, 4 if a
guard stopped it or another process works on the state directory or the journal.";

pub(super) const FORGET_HELP: &str = "\
For a replica that never returns. What it lags behind in is dropped, so that nothing waits for it any
more; should it come back all the same, it is a newcomer, and what it lacks is no evidence of a delete.";

pub(super) const RENAME_HELP: &str = "\
Names are only shown: the replica keeps its identity and all that is remembered of it. Without this, a
new name in the configuration is a new replica.";

/// Where runs remember.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "State")]
pub struct StateArgs {
    /// The configuration file [env: REKNIT_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The state directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// `reknit runs`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    /// More about one run.
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Only the latest N runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one_run)]
    pub limit: usize,
    /// The form of what goes to standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// More about runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Show what a run wrote, where, by which rule and evidence
    Show(ShowArgs),
    /// Show the keys that a run of the service found to differ: of the one that works, and of the last twenty
    Divergences(DivergencesArgs),
}

/// `reknit runs divergences`
#[derive(Debug, Args)]
pub struct DivergencesArgs {
    /// The number of the run
    #[arg(value_name = "RUN")]
    pub run: u64,
    /// Only the first N keys [default: 100 for people, all that are kept for programs]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// `reknit runs show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The number of the run
    #[arg(value_name = "RUN")]
    pub run: u64,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Only this key, escaped as redis-cli shows it (repeatable)
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub key: Vec<Key>,
    /// Only this replica
    #[arg(long, value_name = "NAME")]
    pub replica: Option<String>,
    /// Only the first N writes [default: 100 for people, all for programs]
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// The form of what goes to standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// `reknit undo`
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The number of the run; with --journal the last one, if it is left out
    #[arg(value_name = "RUN", required_unless_present = "journal")]
    pub run: Option<u64>,
    /// Undo a run without memory, from the file in which it kept what it overwrote
    #[arg(long, value_name = "FILE", conflicts_with = "state_dir")]
    pub journal: Option<PathBuf>,
    /// With --journal: write although the replicas carry markers of another reknit
    #[arg(long, requires = "journal")]
    pub force_markers: bool,
    /// Print what would be put back; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Only at the replica of this name; NAME=URL names a replica, as for repair
    #[arg(long, value_name = "NAME", value_parser = Unparsed::take)]
    pub replica: Vec<Unparsed>,
    /// Only this key, escaped as redis-cli shows it (repeatable)
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub key: Vec<Key>,
    /// Overwrite up to N keys of a replica although guards.max_overwrite_ratio says no
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub force_overwrites: Option<u64>,
    /// Delete up to N keys of a replica although guards.max_delete_ratio says no
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub force_deletes: Option<u64>,
    /// Why, for the log of runs
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The configuration file [env: REKNIT_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The state directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The file with the password of a --replica
    #[arg(long, value_name = "NAME=FILE", value_parser = Unparsed::take)]
    pub password_file: Vec<Unparsed>,
    /// The environment variable with the password of a --replica
    #[arg(long, value_name = "NAME=VARIABLE", value_parser = Unparsed::take)]
    pub password_env: Vec<Unparsed>,
    /// Whom to ask.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// How fast.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How many writes the human report shows
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: usize,
    /// The form of what goes to standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// `reknit forget`
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The replica
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `reknit rename`
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The name so far
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The name from now on
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
}

fn at_least_one_run(text: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number"))?;
    match number {
        0 => Err("no runs would be shown".into()),
        number => Ok(number),
    }
}
