//! In: the command line. Out: data on stdout, progress and warnings on stderr, an exit code.
//! Apart because it alone names concrete machines and puts the parts together.

pub mod calibrate;
pub mod counting;
pub mod compare;
pub mod doctor;
pub mod dry_run;
pub mod failure;
pub mod kernels;
pub mod layout;
pub mod list;
pub mod list_bodies;
pub mod list_events;
pub mod list_models;
pub mod list_triggers;
pub mod machines;
pub mod measure;
pub mod publish;
pub mod report;
pub mod run;
pub mod selftest;
pub mod session;
pub mod victim;
pub mod shape;

use std::io::Write;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// The command line as a run file keeps it. Paths may be no UTF-8; what is not is replaced.
fn argv() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Measures what the placement of JITed BPF code costs in iTLB misses and cycles.
#[derive(Debug, Parser)]
#[command(name = "itlbench", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load, place, trigger, count, record, report
    Run(run::Args),
    /// Say what changed between kernels, and how sure that is
    Compare(compare::Args),
    /// Write the reports of run files again
    Report(report::Args),
    /// Show where all JITed code of this host lies now, and what that costs in iTLB entries
    Layout(layout::Args),
    /// Say what can be measured on this host, what spoils it, and how to fix it
    Doctor(doctor::Args),
    /// Test whether the kernel's allocator of BPF text is correct; prints KTAP
    Selftest(selftest::Args),
    /// Find where this CPU's iTLB runs out and what a miss costs: in user space, without privileges
    Calibrate(calibrate::Args),
    /// Do the work of one of the tool's own victims, by itself
    Victim(victim::Args),
    /// Measure the same workload in several kernel images, each booted in qemu
    Kernels(kernels::Args),
    /// List workloads, or the events of a CPU
    List(list::Args),
    /// Become a program that dies with the process that asked for it
    #[command(name = crate::vm::leash::VERB, hide = true)]
    Leash(kernels::leash::Args),
}

impl Cli {
    /// Runs the command; data goes to `out`. Returns the exit code.
    pub fn execute(self, out: &mut dyn Write) -> Result<u8, Failure> {
        match self.command {
            Command::Run(args) => run::run(&args, out),
            Command::Compare(args) => compare::run(&args, out),
            Command::Report(args) => report::run(&args, out),
            Command::Layout(args) => layout::run(&args, out),
            Command::Doctor(args) => doctor::run(&args, |live| machines::probe(live, &args.counting.choice()), out),
            Command::Selftest(args) => selftest::run(&args, out),
            Command::Calibrate(args) => calibrate::run(&args, out),
            Command::Victim(args) => victim::run(&args),
            Command::Kernels(args) => kernels::run(&args, out),
            Command::List(args) => list::run(&args, out),
            Command::Leash(args) => kernels::leash::run(&args),
        }
    }
}
