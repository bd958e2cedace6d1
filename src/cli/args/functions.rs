//! `reknit functions`: writes with stamps, for applications.

use clap::{Args, Subcommand};

use super::ConnectionArgs;

pub(super) const FUNCTIONS_HELP: &str = "\
Examples:
  reknit functions install -c reknit.yaml --dry-run
  reknit functions install -c reknit.yaml
  redis-cli -h 10.0.0.1 FCALL reknit_hset 1 user:7 name ada
  reknit functions show us                  # the library that the replica us gets
  reknit functions show us --script incrby  # one function, for EVAL

What is written with them carries stamps, which decide in a repair (layout: dynomite). A replica
counts under its own name: no two may have the same. Exits 0 if every server has them, 2 if none
could get them, 3 if some could not.";

/// `reknit functions`
#[derive(Debug, Args)]
pub struct FunctionsArgs {
    /// What is done.
    #[command(subcommand)]
    pub command: FunctionsCommand,
}

/// What is done with them.
#[derive(Debug, Subcommand)]
pub enum FunctionsCommand {
    /// Load them into every replica's servers; what is there already is left as it is
    #[command(after_help = FUNCTIONS_HELP)]
    Install(InstallArgs),
    /// Print the library, or a function as a script
    #[command(after_help = FUNCTIONS_HELP)]
    Show(ShowArgs),
}

/// `reknit functions install`
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Print what would be loaded; load nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Replace a library of reknit's that is another: of another version, or another name to count under
    #[arg(long)]
    pub replace: bool,
    /// Load scripts for EVALSHA and print their digests, also where the server has functions
    #[arg(long, conflicts_with = "replace")]
    pub scripts: bool,
    /// Replicas.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `reknit functions show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The replica's name, under which it counts
    #[arg(value_name = "NAME")]
    pub replica: String,
    /// This function alone, as a script for EVAL
    #[arg(long, value_name = "FUNCTION", value_parser = clap::builder::PossibleValuesParser::new(crate::store::FUNCTIONS))]
    pub script: Option<String>,
}
