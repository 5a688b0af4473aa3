//! `itlbench calibrate`: where this CPU's iTLB runs out and what a miss costs, in user space and without privileges.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use indicatif::{ProgressBar, ProgressStyle};

use super::measure::seed_from_clock;
use super::run::stop_on_signals;
use super::{Failure, machines};
use crate::counters::{Group, Refusal};
use crate::host::{Facts, per_cpu};
use crate::machine::Counters;
use crate::machine::pin::Pinned;
use crate::model::cpuid::Reported;
use crate::model::geometry::{Core, Named};
use crate::report::calibration;
use crate::report::chart::twin;
use crate::twin::calibration::{Disturbances, SCHEMA};
use crate::twin::code::Supply;
use crate::twin::loops::{Company, Loops, core_groups};
use crate::twin::sweep::{self, Plan, Sweep, SweepError};
use crate::twin::{Calibration, Findings};

/// Arguments of `itlbench calibrate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Most stubs in the chain; 16384 spread ones take 130 MiB
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(16..=131_072))]
    pub most: u32,
    /// Fresh allocations of each arm; fewer than 4 give no interval
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub allocations: u32,
    /// The CPU to time; by default the highest this process may use
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u32>,
    /// Check against this model instead of the CPU's own; `itlbench list models` names them
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Seed of the orders of visits; by default drawn from the clock and recorded
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Directory for calibration.json and the chart
    #[arg(long, value_name = "DIR", default_value = "reports/calibration")]
    pub out: PathBuf,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables and sentences
    Text,
    /// What calibration.json holds
    Json,
}

/// Times the twin, writes what was found; returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let stop = stop_on_signals()?;
    let reported = Reported::here();
    let model = match &args.model {
        Some(name) => Some(Named::find(name).map_err(|error| Failure::Usage(error.to_string()))?),
        None => Core::of(reported.cpu_id()).map(Named::from),
    };
    // Claimed like the CPU of a run, so that neither disturbs the other.
    let pinned = Pinned::to(args.cpu)?;
    std::fs::create_dir_all(&args.out).map_err(|error| Failure::output(args.out.display(), error))?;
    let calibration = calibrate(args, pinned.cpu(), &reported, model.as_ref(), &stop)?;
    if calibration.interrupted && calibration.points.iter().all(|point| point.ns.is_empty()) {
        return Err(crate::machine::MachineError::interrupted().into());
    }
    let json = serde_json::to_string_pretty(&calibration).map_err(|error| {
        Failure::Other(anyhow::Error::new(error).context("failed to write the calibration as JSON"))
    })?;
    write(&args.out, "calibration.json", json.as_bytes())?;
    let drawing = twin::draw(&calibration)?;
    write(&args.out, "calibration.svg", drawing.svg.as_bytes())?;
    write(&args.out, "calibration.png", &drawing.png)?;
    let text = match args.format {
        Format::Text => {
            let text = calibration::text(&calibration);
            format!("{text}\ncalibration.json and the chart are in\n{}\n", args.out.display())
        }
        Format::Json => json + "\n",
    };
    out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
    Ok(if calibration.interrupted { 130 } else { 0 })
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).map_err(|error| Failure::output(path.display(), error))
}

fn calibrate(
    args: &Args,
    cpu: u32,
    reported: &Reported,
    model: Option<&Named>,
    stop: &AtomicBool,
) -> Result<Calibration, Failure> {
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let supply = sweep::supply();
    let seed = args.seed.unwrap_or_else(seed_from_clock);
    let plan = Plan {
        numbers: Plan::numbers(args.most),
        allocations: args.allocations,
        seed,
        supply: supply.as_ref().ok().copied(),
    };
    let timed = time(&plan, cpu, stop)?;
    let no_huge = supply.as_ref().err().map(String::as_str);
    Ok(Calibration {
        schema: SCHEMA,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        argv: super::argv(),
        host: Facts::read(Path::new("/")),
        cpu,
        seed,
        model: model.map(|model| model.name.clone()),
        cpuid_differs: model.map(|model| reported.against(model.core)).unwrap_or_default(),
        supply: plan.supply.map(|supply| supply_name(supply).to_owned()),
        cycles_per_ns: timed.cycles_per_ns,
        interrupted: timed.swept.interrupted,
        findings: Findings::of(&timed.swept.points, &timed.groups, model.map(|model| &model.geometry), no_huge),
        company: timed.company,
        groups: timed.groups,
        refused: timed.refused,
        points: timed.swept.points,
    })
}

/// What was timed and counted, and in which company.
struct Timed {
    cycles_per_ns: (f64, f64),
    swept: Sweep,
    company: Disturbances,
    groups: Vec<Group>,
    refused: Vec<String>,
}

fn time(plan: &Plan, cpu: u32, stop: &AtomicBool) -> Result<Timed, Failure> {
    let (mut counters, refused) = match machines::user_counters(cpu) {
        Ok(counters) => (Some(counters), Vec::new()),
        Err(refused) => (None, refused),
    };
    let groups = counters.as_ref().map(|counters| core_groups(counters.groups())).unwrap_or_default();
    let refused = counters.as_ref().map_or(refused, |some| some.refused().iter().map(Refusal::to_string).collect());
    let mut thread = Company::of_this_thread();
    let mut account = Company::of_this_thread();
    let mut waited_ns = || account.scheduled().map(|scheduled| scheduled.waited_ns);
    let (waited, stolen) = (waited_ns(), steal_ticks(cpu));
    let counters = counters.as_mut().map(|counters| &mut **counters as &mut dyn Counters);
    let mut loops = Loops::new(counters, || thread.scheduled().map(|scheduled| scheduled.times));
    let before = clock(&mut loops, cpu)?;
    let bar = progress();
    let swept = sweep::sweep(plan, &mut loops, stop, &mut |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let swept = swept.map_err(failed)?;
    let cycles_per_ns = (before, clock(&mut loops, cpu)?);
    let company = Disturbances {
        switched_loops: loops.switched,
        waited_ns: waited_ns().zip(waited).map(|(now, then)| now.saturating_sub(then)),
        steal_ticks: steal_ticks(cpu).zip(stolen).map(|(now, then)| now.saturating_sub(then)),
    };
    Ok(Timed { cycles_per_ns, swept, company, groups, refused })
}

fn steal_ticks(cpu: u32) -> Option<u64> {
    per_cpu::steal_ticks(&std::fs::read("/proc/stat").ok()?, cpu)
}

/// Core cycles a nanosecond; a CPU that others keep busy is refused.
fn clock(loops: &mut Loops<'_>, cpu: u32) -> Result<f64, Failure> {
    let ghz = sweep::cycles_per_ns(loops).map_err(|error| failed(error.into()))?;
    ghz.ok_or_else(|| {
        Failure::HostCannot(format!(
            "failed to time anything on CPU {cpu}: other work runs on it all the time; stop it, or choose another CPU with --cpu"
        ))
    })
}

fn failed(error: SweepError) -> Failure {
    match error {
        SweepError::Counters(error) => error.into(),
        SweepError::Code(_) => Failure::HostCannot(format!(
            "{error}; this needs memory that may be made executable and --most x 8 KiB of it"
        )),
    }
}

fn supply_name(supply: Supply) -> &'static str {
    match supply {
        Supply::Transparent => "transparent huge pages",
        Supply::Pool => "hugetlbfs",
    }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{pos}/{len} allocations [{elapsed}, {eta} left]");
    let bar = ProgressBar::new(0);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
