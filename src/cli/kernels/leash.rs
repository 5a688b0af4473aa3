//! `itlbench leash`: see [`crate::vm::leash`].

use std::ffi::OsString;

use crate::cli::Failure;
use crate::vm::leash;

/// Arguments of `itlbench leash`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The process that asks for it
    parent: i32,
    program: OsString,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes the program; returns only if that failed.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let error = leash::become_program(args.parent, &args.program, &args.arguments);
    Err(Failure::HostCannot(format!("failed to run `{}`: {error}", args.program.to_string_lossy())))
}
