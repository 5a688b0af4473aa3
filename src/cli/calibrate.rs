//! `itlbench calibrate`: where this CPU's iTLB runs out and what a miss costs, in user space and without privileges.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use indicatif::{ProgressBar, ProgressStyle};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Failure;
use super::measure::seed_from_clock;
use super::run::stop_on_signals;
use crate::host::Facts;
use crate::model::cpuid::Reported;
use crate::model::geometry::{Core, Named};
use crate::report::chart::twin;
use crate::report::units::figure;
use crate::twin::calibration::SCHEMA;
use crate::twin::code::{Pages, Supply};
use crate::twin::findings::{Comparison, Cost};
use crate::twin::stubs::Layout;
use crate::twin::sweep::{self, Plan};
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
    let cpu = pin(args.cpu)?;
    let reported = Reported::here();
    let model = match &args.model {
        Some(name) => Some(Named::find(name).map_err(|error| Failure::Usage(error.to_string()))?),
        None => Core::of(reported.cpu_id()).map(Named::from),
    };
    std::fs::create_dir_all(&args.out).map_err(|error| Failure::output(args.out.display(), error))?;
    let calibration = calibrate(args, cpu, &reported, model.as_ref(), &stop)?;
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
            format!("{}\ncalibration.json and the chart are in\n{}\n", text(&calibration), args.out.display())
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

fn pin(cpu: Option<u32>) -> Result<u32, Failure> {
    let failed = |error: rustix::io::Errno| Failure::HostCannot(format!("failed to pin to a CPU: {error}"));
    let allowed = sched_getaffinity(None).map_err(failed)?;
    let usable: Vec<u32> = (0..CpuSet::MAX_CPU as u32).filter(|&cpu| allowed.is_set(cpu as usize)).collect();
    let cpu = cpu.or(usable.last().copied()).unwrap_or(0);
    if !usable.contains(&cpu) {
        return Err(Failure::HostCannot(format!(
            "failed to pin to CPU {cpu}: it is not among those this process may use"
        )));
    }
    let mut only = CpuSet::new();
    only.set(cpu as usize);
    sched_setaffinity(None, &only).map_err(failed)?;
    Ok(cpu)
}

fn calibrate(
    args: &Args,
    cpu: u32,
    reported: &Reported,
    model: Option<&Named>,
    stop: &AtomicBool,
) -> Result<Calibration, Failure> {
    let failed = |error: std::io::Error| {
        Failure::HostCannot(format!(
            "failed to map or to run generated code: {error}; this needs memory that may be made executable and --most x 8 KiB of it"
        ))
    };
    let supply = sweep::supply();
    let seed = args.seed.unwrap_or_else(seed_from_clock);
    let plan = Plan {
        numbers: Plan::numbers(args.most),
        allocations: args.allocations,
        seed,
        supply: supply.as_ref().ok().copied(),
    };
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let before = sweep::cycles_per_ns().map_err(failed)?;
    let bar = progress();
    let swept = sweep::sweep(&plan, stop, &mut |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let swept = swept.map_err(failed)?;
    let no_huge = supply.as_ref().err().map(String::as_str);
    Ok(Calibration {
        schema: SCHEMA,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        argv: std::env::args().collect(),
        host: Facts::read(Path::new("/")),
        cpu,
        seed,
        model: model.map(|model| model.name.clone()),
        cpuid_differs: model.map(|model| reported.against(model.core)).unwrap_or_default(),
        supply: plan.supply.map(|supply| supply_name(supply).to_owned()),
        cycles_per_ns: (before, sweep::cycles_per_ns().map_err(failed)?),
        interrupted: swept.interrupted,
        findings: Findings::of(&swept.points, model.map(|model| &model.geometry), no_huge),
        points: swept.points,
    })
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

/// The findings as a reader at a terminal wants them.
fn text(calibration: &Calibration) -> String {
    let host = &calibration.host;
    let mut text = format!(
        "{}, CPU {}, {}; {}; {:.2} cycles/ns (timed: multiplications of 3 cycles)\n",
        host.cpu_model.as_deref().unwrap_or("an unknown CPU"),
        calibration.cpu,
        host.hypervisor.as_ref().map_or("no hypervisor".to_owned(), |name| format!("virtual machine ({name})")),
        calibration
            .supply
            .as_ref()
            .map_or("no pages of 2 MiB".to_owned(), |supply| format!("2 MiB pages from {supply}")),
        calibration.ghz(),
    );
    text += &table(calibration);
    text += &sentences(calibration);
    text
}

/// Median ns a jump of each arm, and what 4 KiB pages cost more.
fn table(calibration: &Calibration) -> String {
    let mut text =
        "\nns a jump (timed), median over allocations of the least of the loops; more: 4k - 2m, [95 % interval]\n"
            .to_owned();
    let _ = writeln!(
        text,
        "  {:>6} {:>10} {:>10} {:>24} {:>10} {:>10} {:>24}  {:>3}",
        "stubs", "packed 4k", "packed 2m", "more", "spread 4k", "spread 2m", "more", "n"
    );
    let mut numbers: Vec<u32> = calibration.points.iter().map(|point| point.stubs).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for stubs in numbers {
        let _ = write!(text, "  {stubs:>6}");
        let mut fewest = usize::MAX;
        for layout in [Layout::Packed, Layout::Spread] {
            for pages in [Pages::Small, Pages::Huge] {
                let point = calibration.points.iter().find(|p| (p.layout, p.pages, p.stubs) == (layout, pages, stubs));
                let ns = point.and_then(|point| crate::stats::median(&point.ns));
                fewest = fewest.min(point.map_or(0, |point| point.ns.len()));
                let _ = write!(text, " {:>10}", ns.map_or("-".to_owned(), figure));
            }
            let step = calibration.findings.steps.iter().find(|step| step.layout == layout && step.stubs == stubs);
            let more = |step: &crate::twin::findings::Step| {
                format!("{} [{}, {}]", figure(step.more_ns), figure(step.low_ns), figure(step.high_ns))
            };
            let _ = write!(text, " {:>24}", step.map_or("-".to_owned(), more));
        }
        let _ = writeln!(text, "  {fewest:>3}");
    }
    text
}

fn sentences(calibration: &Calibration) -> String {
    let findings = &calibration.findings;
    let mut lines = vec![match &findings.comparison {
        Comparison::Holds => {
            "beyond the knee of L2 4 KiB pages cost more than 2 MiB pages: the comparison holds".to_owned()
        }
        Comparison::Void { reason } => format!("the comparison is VOID: {reason}"),
        Comparison::Absent { reason } => format!("no comparison: {reason}"),
    }];
    let guest = calibration.host.hypervisor.is_some() && findings.comparison == Comparison::Holds;
    if guest {
        lines.push(
            "a virtual machine: the host may map parts of it by 4 KiB, so every cost here is a lower bound".to_owned(),
        );
    }
    let stubs = |knee: Option<u32>| knee.map_or("nowhere up to there".to_owned(), |stubs| format!("at {stubs} stubs"));
    lines.push(format!("4 KiB pages cost more for good from: {}", stubs(findings.knee)));
    match &calibration.model {
        Some(model) => lines.push(format!(
            "{model} in the table misses L1 {}, L2 {}{}",
            stubs(findings.model_l1_knee),
            stubs(findings.model_l2_knee),
            agreement(findings)
        )),
        None => lines.push("this CPU is not in the table of `itlbench list models`: no cost a miss".to_owned()),
    }
    let cost = |what: &str, cost: &Option<Cost>| {
        cost.map(|Cost { ns, low_ns, high_ns, steps }| {
            let cycles = ns * calibration.ghz();
            let range = format!("{} to {} over {steps} numbers of stubs", figure(low_ns), figure(high_ns));
            format!(
                "{what}: {} ns, {} cycles ({range}; timed difference over modelled misses)",
                figure(ns),
                figure(cycles)
            )
        })
    };
    lines.extend(cost("a miss of L1 that hits L2", &findings.l1_miss));
    lines.extend(cost("a miss of both: a walk", &findings.walk));
    lines.push("no PMU was asked: the misses are the model's, the times a clock's".to_owned());
    lines.extend(calibration.cpuid_differs.iter().map(|line| format!("CPUID and the table differ: {line}")));
    lines.iter().fold("\n".to_owned(), |text, line| text + "  - " + line + "\n")
}

/// Whether the knee lies where the table has it, as far as the numbers of the sweep tell.
fn agreement(findings: &Findings) -> &'static str {
    match (findings.knee, findings.model_l1_knee, findings.model_l2_knee) {
        _ if findings.comparison != Comparison::Holds => "",
        (Some(knee), Some(l1), _) if knee >= l1 / 2 && knee <= l1 * 2 => ": L1 agrees with what was timed",
        (Some(knee), _, Some(l2)) if knee >= l2 / 2 && knee <= l2 * 2 => {
            ": L2 agrees with what was timed, a miss of L1 alone was too cheap to be seen"
        }
        _ => ": that is NOT where the times rise; believe the times",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::sweep::Point;

    /// An invented CPU with the iTLB of zen4, no noise to speak of, and costs of 2 and 9 ns.
    fn invented(huge_helps: bool) -> Calibration {
        let mut points = Vec::new();
        for layout in [Layout::Packed, Layout::Spread] {
            for pages in [Pages::Small, Pages::Huge] {
                for stubs in Plan::numbers(2048) {
                    let late = pages == Pages::Small || !huge_helps;
                    let walks = layout == Layout::Spread && late && stubs > 512;
                    let hits = layout == Layout::Spread && late && stubs > 64;
                    let ns = if walks {
                        10.0
                    } else if hits {
                        3.0
                    } else {
                        1.0
                    };
                    let ns = (0..8).map(|i| ns * (1.0 + 0.001 * f64::from(i))).collect();
                    points.push(Point { layout, pages, stubs, ns, left_out: 0 });
                }
            }
        }
        let zen4 = Named::find("zen4").unwrap();
        let findings = Findings::of(&points, Some(&zen4.geometry), None);
        let host = Facts {
            cpu_model: Some("Invented CPU".to_owned()),
            hypervisor: Some("KVM".to_owned()),
            ..Facts::default()
        };
        let sample = crate::twin::calibration::tests::sample();
        Calibration { host, model: Some(zen4.name), points, findings, ..sample }
    }

    #[test]
    fn calibration_that_holds() {
        insta::assert_snapshot!(text(&invented(true)));
    }

    #[test]
    fn calibration_that_is_void() {
        let text = text(&invented(false));
        assert!(text.contains("the comparison is VOID") && !text.contains("a walk:"), "{text}");
    }

    #[test]
    fn the_chart_says_what_it_shows_and_what_is_void() {
        let drawing = twin::draw(&invented(true)).unwrap();
        for words in ["spread 4k: 10.0", "only the page size differs", "(modelled)", "ns a jump (timed"] {
            assert!(drawing.svg.contains(words), "{words}");
        }
        assert!(drawing == twin::draw(&invented(true)).unwrap());
        assert!(twin::draw(&invented(false)).unwrap().svg.contains("VOID"));
    }
}
