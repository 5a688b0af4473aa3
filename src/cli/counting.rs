//! What is counted, as the command line says it.

use crate::counters::{Choice, CountSide, Events};

/// Options of the verbs that count.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Counting {
    /// `auto`: this CPU's events from the catalogue (`itlbench list events`), in as many passes as they need; `generic`:
    /// iTLB-load-misses, iTLB-loads, cycles, instructions; or a list of names of the catalogue or of perf, raw codes (r0e85)
    /// and events of a PMU (cpu/event=0x85,umask=0xe/, msr/aperf/)
    #[arg(long, value_name = "auto|generic|LIST", default_value = "auto")]
    pub counters: Events,
    /// Whose events the CPU's counters count
    #[arg(long, value_enum, default_value = "kernel")]
    pub count: CountSide,
}

impl Counting {
    /// What is asked of the machine.
    pub fn choice(&self) -> Choice {
        Choice { events: self.counters.clone(), side: self.count }
    }
}
