//! `itlbench run`: the main job.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::counting::Counting;
use super::measure::{self, Task};
use super::publish::publish;
use super::report::Modelling;
use super::session::Bar;
use super::shape::Shape;
use super::{Failure, dry_run};
use crate::machine::MachineError;
use crate::report::table;
use crate::runfile::manifest::{Design, MachineKind};
use crate::runfile::{Manifest, Run, Writer};
use crate::trial::protocol::ROUNDS;
use crate::victim::{Asked, VictimKind};
use crate::workload::{Cpus, Spec};

/// Arguments of `itlbench run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Built-in workloads or paths of .toml files; see `itlbench list`
    #[arg(value_name = "WORKLOAD", default_value = "chain")]
    pub workloads: Vec<String>,
    #[command(flatten)]
    pub shape: Shape,
    /// The CPU to measure on; by default the highest this process may use
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u32>,
    #[command(flatten)]
    pub counting: Counting,
    /// What to measure: the running kernel, or a simulation for trying the tool out
    #[arg(long, value_enum, default_value = "kernel")]
    pub machine: MachineKind,
    /// Sample iTLB misses in windows of their own and say whose code missed
    #[arg(long)]
    pub attribute: bool,
    /// Measure every case against itself: how often does the tool call equal things different? (--trials of each half)
    #[arg(long)]
    pub aa: bool,
    /// Predict the iTLB misses of this CPU too, and not of the own alone; `itlbench list models` names them
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub model: Vec<String>,
    /// Split the difference in time by what `itlbench calibrate` found a miss to cost
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Run one of the tool's own victims beside the programs too, on the same CPU: alone, interrupted for nothing, and beside them
    #[arg(long, value_enum, conflicts_with = "command")]
    pub victim: Option<VictimKind>,
    /// Runs of the victim in each company and trial; they count user and kernel side in turn
    #[arg(long, value_name = "N", default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repetitions: u32,
    /// Run the victim once more in each round with all programs on a hook that it hits itself: for triggers `tracepoint` and `syscall`
    /// sys_enter, so that its system calls run them, and those of every other process meanwhile; for trigger `cgroup` a control group
    /// in which it is then alone, so that its packets do
    #[arg(long)]
    pub hooked: bool,
    /// Run as many windows again on several CPUs at once, with counters on each: all, or a list as in 0,2-3
    #[arg(long, value_name = "all|LIST")]
    pub cpus: Option<Cpus>,
    /// Run as many windows again, and the victim, while so many programs a second are loaded and unloaded on another CPU
    #[arg(long, value_name = "PER SECOND")]
    pub churn: Option<u32>,
    /// Print the plan (cases, arms, order of the trials, loads, time) and stop; needs no privileges
    #[arg(long)]
    pub dry_run: bool,
    /// Say on stderr how long recording took
    #[arg(long)]
    pub verbose: bool,
    /// Directory in which the directory of this run is made
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
    /// A command to run beside the programs, as --victim does
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// Measures, records and reports; the last line on `out` is the directory of the run.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let task = Task {
        machine: args.machine,
        cpu: args.cpu,
        design: if args.aa { Design::AgainstItself } else { Design::Arms },
        workloads: args.specs()?,
        seed: args.shape.seed(),
        choice: args.counting.choice(),
        attribute: args.attribute,
        argv: super::argv(),
        victim: args.asked(),
        rounds: args.repetitions,
        hooked: args.hooked,
        guest: None,
        marks: false,
    };
    let modelling = Modelling::find(&args.model, args.calibration.as_deref())?;
    if args.dry_run {
        let victim = args.asked().map(|asked| dry_run::Victim { asked, rounds: args.repetitions, hooked: args.hooked });
        let text = dry_run::text(&task.workloads, &task.plan(), task.seed, victim.as_ref())?;
        out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
        return Ok(0);
    }
    let stop = stop_on_signals()?;
    let mut made = PathBuf::new();
    let ended = measure::measure(task, &stop, &mut Bar::default(), |manifest| {
        made = make_directory(&args.out, manifest)?;
        Ok(Writer::create(&made.join("run.jsonl"), manifest)?)
    })?;
    if ended.interrupted && ended.trials == 0 {
        return Err(MachineError::interrupted().into());
    }
    if args.verbose {
        eprintln!("recording took {:.6} s", ended.recording.as_secs_f64());
    }
    show(&made, &modelling, out)?;
    Ok(if ended.interrupted { 130 } else { 0 })
}

/// Prints the table, writes every other output, and names the directory last.
fn show(dir: &Path, modelling: &Modelling, out: &mut dyn Write) -> Result<(), Failure> {
    let run = Run::read(&dir.join("run.jsonl"))?;
    let text = table::table(&modelling.summary(&run));
    let print = |out: &mut dyn Write, text: &str| {
        out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))
    };
    print(out, &text)?;
    publish(dir, &run, modelling)?;
    print(out, &format!("\nmail.txt, report.html, charts and every raw sample (run.jsonl) are in\n{}\n", dir.display()))
}

impl Args {
    /// The workloads, with what the command line changes.
    fn specs(&self) -> Result<Vec<Spec>, Failure> {
        let mut specs = self.shape.specs(&self.workloads)?;
        for (spec, name) in specs.iter_mut().zip(&self.workloads) {
            spec.cpus = self.cpus.clone().or(spec.cpus.take());
            spec.churn = self.churn.or(spec.churn);
            spec.check(name)?;
        }
        self.refuse_hooked(&specs)?;
        Ok(specs)
    }

    fn refuse_hooked(&self, specs: &[Spec]) -> Result<(), Failure> {
        if !self.hooked {
            return Ok(());
        }
        if self.asked().is_none() {
            return Err(Failure::Usage(
                "--hooked: there is nobody to hit the hook: add --victim, or `-- CMD`".to_owned(),
            ));
        }
        if self.machine == MachineKind::Sim {
            return Err(Failure::Usage(
                "--hooked: the simulated machine has no system calls; leave --machine out".to_owned(),
            ));
        }
        if let Some(spec) = specs.iter().find(|spec| spec.trigger.victims_hook().is_none()) {
            return Err(Failure::Usage(format!(
                "--hooked: programs of trigger `{}` cannot hang on a hook that a victim hits; use workload tracepoint, syscall or cgroup",
                spec.trigger
            )));
        }
        let first = specs.first().and_then(|spec| spec.trigger.victims_hook());
        match specs.iter().all(|spec| spec.trigger.victims_hook() == first) {
            true => Ok(()),
            false => Err(Failure::Usage(
                "--hooked: the programs of the workloads hang on different hooks; run them one by one".to_owned(),
            )),
        }
    }

    fn asked(&self) -> Option<Asked> {
        let command = (!self.command.is_empty()).then(|| Asked::Command(self.command.clone()));
        command.or(self.victim.map(Asked::BuiltIn))
    }
}

/// Set by SIGINT and SIGTERM; a second signal of the kind does not force the end, SIGKILL does and leaves nothing behind.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::Other(anyhow::Error::new(error).context("failed to install signal handler")))?;
    }
    Ok(stop)
}

/// Makes `<out>/<UTC stamp>-<kernel release>`.
fn make_directory(out: &Path, manifest: &Manifest) -> Result<PathBuf, Failure> {
    let kernel = match manifest.machine {
        MachineKind::Kernel => manifest.host.kernel_release.as_deref().unwrap_or("unknown"),
        MachineKind::Sim => "sim",
    };
    make_stamped(out, &manifest.started, kernel)
}

/// Makes `<out>/<UTC stamp>-<of>` for a start at `started`; a second one in the same second gets a number.
pub(super) fn make_stamped(out: &Path, started: &str, of: &str) -> Result<PathBuf, Failure> {
    let stamp: String = started.chars().filter(|c| *c != '-' && *c != ':').collect();
    std::fs::create_dir_all(out).map_err(|error| Failure::output(out.display(), error))?;
    for attempt in 1.. {
        let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        let dir = out.join(format!("{stamp}-{of}{suffix}"));
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < 1000 => {}
            Err(error) => return Err(Failure::output(dir.display(), error)),
        }
    }
    Err(Failure::Usage(format!("`{}` holds too many runs of this second", out.display())))
}
