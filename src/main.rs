//! Parses, dispatches, prints the error, sets the exit code.

use std::process::ExitCode;

use clap::Parser;
use itlbench::cli::Cli;
use itlbench::cli::kernels::guest;

fn main() -> ExitCode {
    let result = if guest::is_here() { guest::run() } else { Cli::parse().execute(&mut std::io::stdout()) };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("itlbench: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
