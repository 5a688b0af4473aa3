//! `itlbench victim`: one of the tool's own victims by itself, as `run --victim` starts it.

use super::Failure;
use crate::victim::{VictimKind, work};

/// Arguments of `itlbench victim`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[arg(value_enum)]
    pub kind: VictimKind,
    /// How much of it; a unit takes up to some milliseconds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub units: u32,
}

/// Does the work on the CPUs that this process may use; prints nothing.
pub fn run(args: &Args) -> Result<u8, Failure> {
    work(args.kind, args.units).map_err(|error| {
        Failure::Other(anyhow::Error::new(error).context(format!("failed to run victim `{}`", args.kind)))
    })?;
    Ok(0)
}
