//! `itlbench selftest`: is the kernel's allocator of BPF text correct?

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::measure::seed_from_clock;
use super::run::stop_on_signals;
use super::{Failure, machines};
use crate::machine::sim::selftest::SimSubject;
use crate::runfile::manifest::MachineKind;
use crate::selftest::session::{self, SessionError};
use crate::selftest::{Allowed, Ktap, Plan, Subject, Subtest, Totals, suite};

/// Nothing could be tested: what kselftest calls KSFT_SKIP.
pub const ALL_SKIPPED: u8 = 4;

/// Arguments of `itlbench selftest`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long, about; every subtest runs at least once
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub seconds: u32,
    /// Seed of every sequence; by default drawn from the clock and printed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Only these subtests, also those that would be left out because they take minutes here; `--list` names them
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Print the subtests and what each holds
    #[arg(long)]
    pub list: bool,
    /// What to test: the running kernel, or a simulation of its allocator
    #[arg(long, value_enum, default_value = "kernel")]
    pub machine: MachineKind,
    /// Also under net.core.bpf_jit_harden 0, 1 and 2, and at net.core.bpf_jit_limit: both are changed for moments and restored, also if
    /// this process is killed
    #[arg(long)]
    pub change_sysctls: bool,
    /// Also with this share of the available memory taken
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=95))]
    pub pressure: u32,
    /// Also fill the module area to its end: 1 to 1.5 GiB of memory, and no module can be loaded meanwhile
    #[arg(long)]
    pub fill_area: bool,
    /// Write VALUE to PATH once stdin ends: how a killed test leaves nothing changed
    #[arg(long, hide = true, value_name = "PATH=VALUE")]
    pub restore: Option<String>,
}

/// Runs the subtests and writes their results; returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    if let Some(what) = &args.restore {
        return restore(what);
    }
    let subtests = chosen(&args.only)?;
    if args.list {
        return list(&subtests, out);
    }
    let seed = args.seed.unwrap_or_else(seed_from_clock);
    let stop = stop_on_signals()?;
    let mut subject = open(args, seed, stop)?;
    let plan = Plan { subtests: &subtests, seed, time: Duration::from_secs(args.seconds.into()) };
    let totals = tested(&plan, subject.as_mut(), out)?;
    Ok(match totals {
        Totals { fail: 1.., .. } => 1,
        Totals { pass: 0, .. } => ALL_SKIPPED,
        _ => 0,
    })
}

fn tested(plan: &Plan<'_>, subject: &mut dyn Subject, out: &mut dyn Write) -> Result<Totals, Failure> {
    let failed = |error: SessionError| match error {
        SessionError::Machine(error) => Failure::Machine(error),
        SessionError::Write(error) => Failure::output("stdout", error),
    };
    let written = |error| Failure::output("stdout", error);
    let mut ktap = Ktap::begin(out, plan.subtests.len()).map_err(written)?;
    let (version, kernel) = (env!("CARGO_PKG_VERSION"), subject.facts().kernel.clone());
    ktap.note(&format!("itlbench {version} selftest, {kernel}, seed {}", plan.seed)).map_err(written)?;
    if let Err(error) = session::run(plan, subject, &mut ktap) {
        let failure = failed(error);
        // What is missing of the plan is not passed: parsers see that too.
        ktap.note(&format!("ended early: {failure}")).map_err(written)?;
        return Err(failure);
    }
    ktap.end().map_err(written)
}

fn open(args: &Args, seed: u64, stop: Arc<AtomicBool>) -> Result<Box<dyn Subject>, Failure> {
    let allowed = Allowed {
        sysctls: args.change_sysctls,
        pressure_percent: args.pressure,
        fill_area: args.fill_area,
        slow: !args.only.is_empty(),
    };
    match args.machine {
        MachineKind::Sim => Ok(Box::new(SimSubject::new(seed, allowed, None))),
        MachineKind::Kernel => machines::subject(allowed, stop),
    }
}

/// The subtests called so, or all; an error names one that there is not.
pub fn chosen(only: &[String]) -> Result<Vec<Subtest>, Failure> {
    let all = suite::all();
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|subtest| subtest.name == **name)) {
        return Err(Failure::Usage(format!("no subtest is called `{unknown}`; `itlbench selftest --list` names them")));
    }
    Ok(all.into_iter().filter(|subtest| only.is_empty() || only.iter().any(|name| name == subtest.name)).collect())
}

fn list(subtests: &[Subtest], out: &mut dyn Write) -> Result<u8, Failure> {
    for subtest in subtests {
        writeln!(out, "{:20} {}", subtest.name, subtest.promise).map_err(|error| Failure::output("stdout", error))?;
    }
    Ok(0)
}

/// The other half of `--change-sysctls`; takes nothing but what that needs.
fn restore(what: &str) -> Result<u8, Failure> {
    const HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";
    const LIMIT: &str = "/proc/sys/net/core/bpf_jit_limit";
    let (path, value) = match what.split_once('=') {
        Some((HARDEN, value @ ("0" | "1" | "2"))) => (HARDEN, value),
        Some((LIMIT, value)) if value.parse::<u64>().is_ok() => (LIMIT, value),
        _ => return Err(Failure::Usage(format!("--restore takes {HARDEN}=0, 1 or 2, or {LIMIT}=BYTES, not `{what}`"))),
    };
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::fs::write(path, format!("{value}\n")).map_err(|error| Failure::output(path, error))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn ended(line: &str) -> (Result<u8, String>, String) {
        let mut out = Vec::new();
        let cli = Cli::try_parse_from(line.split(' ')).expect("parsed");
        let code = cli.execute(&mut out).map_err(|failure| format!("{}: {failure}", failure.exit_code()));
        (code, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn the_simulated_kernel_passes_and_what_was_not_allowed_is_skipped_with_the_option_that_allows_it() {
        let (code, text) = ended("itlbench selftest --machine sim --seconds 0 --seed 5");
        assert_eq!(code, Ok(0), "{text}");
        assert!(text.starts_with("KTAP version 1\n1..27\n# itlbench "), "{text}");
        assert!(text.contains("memory-pressure # SKIP takes memory from all others; --pressure"), "{text}");
        assert!(text.contains("area-end # SKIP") && text.contains("--fill-area"), "{text}");
        assert!(text.ends_with("# Totals: pass:24 fail:0 xfail:0 xpass:0 skip:3 error:0\n"), "{text}");
    }

    #[test]
    fn one_subtest_can_be_chosen_and_an_unknown_one_is_named() {
        let (code, text) = ended("itlbench selftest --machine sim --seconds 0 --seed 5 --only bytes,header");
        assert_eq!(code, Ok(0));
        assert!(text.contains("1..2\n") && text.contains("ok 1 header\n") && text.contains("ok 2 bytes\n"), "{text}");
        let (code, _) = ended("itlbench selftest --only bites");
        assert!(code.expect_err("unknown").starts_with("2: no subtest is called `bites`"));
    }

    #[test]
    fn a_test_in_which_all_is_skipped_says_so_in_its_exit_code() {
        assert_eq!(ended("itlbench selftest --machine sim --seconds 0 --only area-end").0, Ok(ALL_SKIPPED));
    }

    #[test]
    fn every_subtest_is_listed_with_its_promise() {
        let (code, text) = ended("itlbench selftest --list");
        assert_eq!((code, text.lines().count()), (Ok(0), suite::all().len()));
    }

    #[test]
    fn nothing_but_the_sysctl_is_restored() {
        for what in [
            "/etc/passwd=0",
            "/proc/sys/net/core/bpf_jit_harden=3",
            "/proc/sys/net/core/bpf_jit_limit=x",
            "/proc/sys/net/core/bpf_jit_harden",
        ] {
            assert!(restore(what).is_err(), "{what}");
        }
    }
}
