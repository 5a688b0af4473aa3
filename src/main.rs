//! Parses, dispatches, prints the error, sets the exit code.

use std::process::ExitCode;

use clap::Parser;
use itlbench::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute(&mut std::io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("itlbench: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
