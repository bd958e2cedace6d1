//! `reknit import`: configurations of other programs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) const IMPORT_HELP: &str = "\
Examples:
  reknit import dynomite node1.yml node2.yml node3.yml node4.yml > reknit.yaml
  reknit import dynomite nodes/*.yml -o reknit.yaml && reknit check -c reknit.yaml

Nothing is connected to. Exits 0, 2 if the files make no configuration.";

/// `reknit import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Whose.
    #[command(subcommand)]
    pub command: ImportCommand,
}

/// Programs whose configurations are understood.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Racks of Dynomite, from the files of all its nodes
    Dynomite(ImportDynomiteArgs),
}

/// `reknit import dynomite`
#[derive(Debug, Args)]
pub struct ImportDynomiteArgs {
    /// The nodes' own files: every node of every rack, in order of preference
    #[arg(value_name = "NODE.yml", required = true)]
    pub nodes: Vec<PathBuf>,
    /// Writes here instead of to standard output; a file that is there already is left as it is
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
