//! The commands and options, as clap reads them.
//! URLs may hold passwords: they are parsed later, and what clap says goes through [`Refusal`], which takes them out.

mod examples;
pub mod functions;
mod global;
pub mod import;
pub mod memory;
pub mod service;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use examples::{DIFF_EXAMPLES, REPAIR_EXAMPLES};
pub use global::{ColorWhen, GlobalArgs, LogFormat};

use crate::config;
use crate::model::{Key, Kind, SlotRange, unescape};

const EXIT_CODES: &str = "\
Exit codes:
  0    in sync, or repaired and verified (keys in flight count as in sync)
  1    divergence found, or left after a repair
  2    trouble: usage, configuration, fewer than two replicas reached
  3    partial: a replica or a part of the keys did not take part
  4    stopped by a guard, a window or a lock
  130  interrupted

Passwords:
  A password in a URL can be seen by everybody on the machine (ps) and stays in the shell's
  history. Put it into a file or an environment variable: password_file and password_env in the
  configuration, --password-file and --password-env beside --replica.";

const CHECK_HELP: &str = "\
Nothing is written: reading commands are tried on a key that nobody has, writing ones are queued in
a transaction and discarded.

Exits 0 if diff and repair would run, 2 if something stops one of them, 3 if a replica cannot be
reached and two others can. Warnings do not change the exit code.";

const EXPLAIN_HELP: &str = "\
Examples:
  reknit explain -c reknit.yaml user:42
  reknit explain -c reknit.yaml 'bin\\x00\\xff' --format json   # escaped as redis-cli shows it

Nothing is written. Exits 0 if the key is in sync, 1 if it differs, 2 on trouble, 3 if a replica was
missed or cannot read it.";

const CLEAN_HELP: &str = "\
Every database that has keys is looked through, or that of --db. What is removed are keys below
reknit: and no others: values that a killed run was building under reknit:aside:, and, with
--markers, the markers under reknit:marker:. A repair that is under way loses the value that it is
building, and says so of that key: clean when none is.

Exits 0 if all was looked through, 2 on trouble, 3 if a replica was missed.";

const REPLICA_HELP: &str = "A replica; twice or more, in order of preference: \
    us=redis://[user@]host[:port][/db] or us=unix:///path";

/// Finds the keys on which Redis replicas differ, and repairs them.
///
/// reknit compares two or more complete copies of the same data, works out with merge rules what each differing key
/// should be, and writes that back with conditional writes: no client write is ever overwritten unseen.
#[derive(Debug, Parser)]
#[command(name = "reknit", bin_name = "reknit", version, after_long_help = EXIT_CODES)]
#[command(propagate_version = true)]
#[command(max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare replicas; write nothing
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Compare replicas, merge, write back, verify
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(RepairArgs),
    /// Run as a service: repairs by schedule, HTTP, metrics
    #[command(after_help = service::RUN_HELP)]
    Run(service::RunArgs),
    /// Ask the service how it stands: its run, schedules, replicas, limits
    #[command(after_help = service::STATUS_HELP)]
    Status(service::AskArgs),
    /// Pause a run of the service, or a schedule
    #[command(after_help = service::PAUSE_HELP)]
    Pause(service::PauseArgs),
    /// Resume a run of the service, or a schedule
    #[command(after_help = service::RESUME_HELP)]
    Resume(service::PauseArgs),
    /// End a run of the service, or take back one that was asked for
    #[command(after_help = service::CANCEL_HELP)]
    Cancel(service::CancelArgs),
    /// Show or set how fast runs of the service work
    #[command(after_help = service::SET_LIMITS_HELP)]
    Limits(service::SetLimitsArgs),
    /// Let the service begin a run, of a schedule or of selected keys
    #[command(after_help = service::RUN_NOW_HELP)]
    RunNow(service::RunNowArgs),
    /// Let the service read its configuration anew
    #[command(after_help = service::RELOAD_HELP)]
    Reload(service::AskArgs),
    /// Test configuration, connections, permissions and clocks
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Show one key on every replica, and what a repair would make of it and why
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Functions by which applications stamp what they write: install or show them
    #[command(after_help = functions::FUNCTIONS_HELP)]
    Functions(functions::FunctionsArgs),
    /// Make a configuration of another program's
    #[command(after_help = import::IMPORT_HELP)]
    Import(import::ImportArgs),
    /// Remove what reknit left in the replicas
    #[command(after_help = CLEAN_HELP)]
    Clean(CleanArgs),
    /// Show the log of runs, or what one of them wrote
    #[command(after_help = memory::RUNS_HELP)]
    Runs(memory::RunsArgs),
    /// Put back what a run overwrote or removed, where nothing was written since
    #[command(after_help = memory::UNDO_HELP)]
    Undo(memory::UndoArgs),
    /// Forget a replica that never returns
    #[command(after_help = memory::FORGET_HELP)]
    Forget(memory::ForgetArgs),
    /// Give a replica another name
    #[command(after_help = memory::RENAME_HELP)]
    Rename(memory::RenameArgs),
    /// Start three local redis-servers, let them diverge, and repair them
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// `reknit diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Replicas and policy.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which keys.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How fast.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reknit repair`
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Print what would be written; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Repair only the first N divergences (a canary)
    #[arg(long, value_name = "N", value_parser = super::limits::at_least_one)]
    #[arg(allow_negative_numbers = true)]
    pub limit: Option<u64>,
    /// Write although the replicas carry markers of another reknit
    #[arg(long)]
    pub force_markers: bool,
    /// Overwrite up to N keys of a replica although guards.max_overwrite_ratio says no
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub force_overwrites: Option<u64>,
    /// Delete up to N keys of a replica although guards.max_delete_ratio says no
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub force_deletes: Option<u64>,
    /// Keep what is overwritten and deleted in this file, for `reknit undo --journal`; for runs without memory
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Why limits are overruled, for the log of runs
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// If the run before was cut off, do not read again the databases that it finished, not longer than AGE ago
    #[arg(long, value_name = "AGE", num_args = 0..=1, default_missing_value = "1h", require_equals = true,
        value_parser = humantime::parse_duration)]
    pub resume: Option<std::time::Duration>,
    /// Set aside what is remembered, take all replicas over, and begin as a first run
    #[arg(long, conflicts_with_all = ["dry_run", "resume"])]
    pub adopt: bool,
    /// Replicas and policy.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which keys.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How fast.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reknit check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Replicas and policy.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How fast.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reknit explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The key, escaped as redis-cli shows it (\xff, \n, \\)
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: Key,
    /// Replicas and policy.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub reach: service::ReachArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reknit clean`
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Print what would be removed; remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Remove markers too: to a reknit with a memory the replicas are then newcomers
    #[arg(long)]
    pub markers: bool,
    /// Replicas and policy.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How fast.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reknit demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many keys each server is filled with
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = super::limits::demo_keys, allow_negative_numbers = true)]
    pub keys: u64,
    /// Leave the servers running and say how to reach them
    #[arg(long)]
    pub keep: bool,
}

/// `reknit completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Replicas and policy: from a file, or ad hoc.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Replicas")]
pub struct ConnectionArgs {
    /// The configuration file [env: REKNIT_CONFIG]
    #[arg(short, long, value_name = "FILE", conflicts_with = "replica")]
    pub config: Option<PathBuf>,
    /// A replica; twice or more, in order of preference.
    #[arg(help = REPLICA_HELP)]
    #[arg(long, value_name = "NAME=URL", value_parser = Unparsed::take)]
    pub replica: Vec<Unparsed>,
    /// The file with the password of a --replica
    #[arg(long, value_name = "NAME=FILE", requires = "replica", value_parser = Unparsed::take)]
    pub password_file: Vec<Unparsed>,
    /// The environment variable with the password of a --replica
    #[arg(long, value_name = "NAME=VARIABLE", requires = "replica", value_parser = Unparsed::take)]
    pub password_env: Vec<Unparsed>,
    /// Who wins between concurrent values: names of --replica, majority, greatest, skip [default: their order]
    #[arg(long, value_name = "LIST", requires = "replica", value_delimiter = ',')]
    pub prefer: Vec<String>,
    /// The merge rule of a type, such as string=counter
    #[arg(long, value_name = "TYPE=RULE", requires = "replica")]
    pub rule: Vec<String>,
    /// The database, on all replicas
    #[arg(long, value_name = "N", value_parser = super::limits::database)]
    #[arg(allow_negative_numbers = true)]
    pub db: Option<u32>,
    /// Where to remember what replicas agreed on, instead of state.dir; a --replica has no memory without
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// A value that may hold a password: taken as it comes, parsed later, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Unparsed(pub(super) String);

impl Unparsed {
    pub(super) fn take(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Unparsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unparsed(***)")
    }
}

/// Which keys; all parts must agree.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct SelectionArgs {
    /// Only this keyspace (repeatable)
    #[arg(long, value_name = "NAME")]
    pub keyspace: Vec<String>,
    /// Only keys that match, as in KEYS and SCAN
    #[arg(long = "match", value_name = "GLOB", allow_hyphen_values = true)]
    pub pattern: Option<String>,
    /// Only this key, escaped as redis-cli shows it (repeatable)
    #[arg(long, value_name = "KEY", value_parser = parse_key, allow_hyphen_values = true)]
    pub key: Vec<Key>,
    /// Only keys of this file, one escaped key per line, in quotes or not; - is standard input
    #[arg(long, value_name = "FILE")]
    pub keys_from: Option<PathBuf>,
    /// Only keys from this one on, by bytes
    #[arg(long, value_name = "KEY", value_parser = parse_key, allow_hyphen_values = true)]
    pub from: Option<Key>,
    /// Only keys before this one, by bytes
    #[arg(long, value_name = "KEY", value_parser = parse_key, allow_hyphen_values = true)]
    pub to: Option<Key>,
    /// Only keys in these cluster slots
    #[arg(long, value_name = "A-B", allow_negative_numbers = true)]
    pub slots: Option<SlotRange>,
    /// Only keys of this type on any replica: string, list, hash, set, zset, stream, module (repeatable)
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Vec<Kind>,
}

impl SelectionArgs {
    /// Whether nothing restricts it but the configuration.
    pub(super) fn is_everything(&self) -> bool {
        let names_none = self.keyspace.is_empty() && self.key.is_empty() && self.kind.is_empty();
        let bounds_none = self.from.is_none() && self.to.is_none() && self.slots.is_none();
        names_none && bounds_none && self.pattern.is_none() && self.keys_from.is_none()
    }
}

/// How fast and how big; each flag overrides the file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Commands on the way to a server at once [default: 10]
    #[arg(long, value_name = "N", value_parser = super::limits::pipeline)]
    #[arg(allow_negative_numbers = true)]
    pub pipeline: Option<std::num::NonZeroUsize>,
    /// Keys read per second and replica, 0 for unlimited [default: 0]
    #[arg(long, value_name = "N", value_parser = super::limits::number)]
    #[arg(allow_negative_numbers = true)]
    pub keys_per_second: Option<u64>,
    /// Memory that entries may take; beyond it the work is done in two passes [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = super::limits::memory)]
    pub memory: Option<ByteSize>,
    /// The pause before differing keys are read again [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = super::limits::settle)]
    #[arg(allow_hyphen_values = true)]
    pub settle: Option<Duration>,
}

impl LimitArgs {
    /// Whether any is given.
    pub(super) fn are_set(&self) -> bool {
        let paces = self.pipeline.is_some() || self.keys_per_second.is_some();
        paces || self.memory.is_some() || self.settle.is_some()
    }
}

/// What is shown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// The form of what goes to standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// How many differing keys the human report shows
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::limits::count)]
    #[arg(allow_negative_numbers = true)]
    pub show: usize,
}

/// The form of what goes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON document.
    Json,
    /// One JSON document per line, as it becomes known.
    Ndjson,
}

/// Reads an escaped key, with or without the quotes that redis-cli and the reports put around it. Quotes that belong
/// to a key are escaped, so they cannot be taken for those.
pub(super) fn parse_key(text: &str) -> Result<Key, String> {
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let backslashes = |inner: &str| inner.len() - inner.trim_end_matches('\\').len();
    let quoted = inner.filter(|inner| backslashes(inner).is_multiple_of(2));
    unescape(quoted.unwrap_or(text)).map(Key::new)
}

/// What is printed instead of running: help, the version, or what is wrong with the command line.
#[derive(Debug)]
pub struct Refusal {
    /// The text without passwords.
    pub text: String,
    /// The same with terminal colours.
    pub styled: String,
    /// Whether it was asked for, and goes to standard output with exit code 0; else standard error and 2.
    pub asked_for: bool,
}

impl Refusal {
    /// What clap wants to print; a mistyped command line is repeated in it, help repeats nothing.
    fn of(error: &clap::Error) -> Self {
        let rendered = error.render();
        let asked_for = !error.use_stderr();
        let advice = match error.kind() {
            ErrorKind::InvalidUtf8 => "\nWrite bytes that are not UTF-8 escaped, as in '\\xff'.\n",
            _ => "",
        };
        let show = |text: String| match asked_for {
            true => text,
            false => config::redact(&text) + advice,
        };
        Self {
            text: show(rendered.to_string()),
            styled: show(rendered.ansi().to_string()),
            asked_for,
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        if self.asked_for { 0 } else { 2 }
    }
}

impl Cli {
    /// Reads a command line whose first word is the program's name.
    ///
    /// # Errors
    /// What to print instead of running.
    pub fn read<I, T>(words: I) -> Result<Self, Box<Refusal>>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::try_parse_from(words).map_err(|error| Box::new(Refusal::of(&error)))
    }
}

#[cfg(test)]
mod tests;
