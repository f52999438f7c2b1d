//! The binary: parses arguments, runs the subcommand, prints the error and exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    llmwatch::cli::main()
}
