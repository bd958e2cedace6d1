//! The `reknit` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    reknit::cli::main()
}
