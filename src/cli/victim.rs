//! `itlbench victim`: one of the tool's own victims by itself, as `run --victim` starts it.

use super::{Failure, machines};
use crate::victim::{VictimKind, work};

/// Arguments of `itlbench victim`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[arg(value_enum, required_unless_present = "remove_abandoned")]
    pub kind: Option<VictimKind>,
    /// How much of it; a unit takes up to some milliseconds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub units: u32,
    /// Once stdin and that process have ended remove the control groups of processes that are gone: how a killed run leaves none
    #[arg(long, hide = true, value_name = "PID")]
    pub remove_abandoned: Option<u32>,
}

/// Does the work on the CPUs that this process may use; prints nothing.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let Some(kind) = args.kind else {
        let gone = args.remove_abandoned.is_none_or(machines::remove_for_the_dead);
        return Ok(if gone { 0 } else { 1 });
    };
    work(kind, args.units)
        .map_err(|error| Failure::Other(anyhow::Error::new(error).context(format!("failed to run victim `{kind}`"))))?;
    Ok(0)
}
