//! `itlbench run`: the main job.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::counting::Counting;
use super::machines::{self, Opened};
use super::publish::publish;
use super::report::Modelling;
use super::session::Session;
use super::{Failure, doctor, dry_run};
use crate::caveat::Caveat;
use crate::counters::host::Host;
use crate::counters::layout::Layout;
use crate::counters::{Choice, Events, Refusal};
use crate::host::checks::{blocking, checks};
use crate::host::{Facts, Live};
use crate::machine::{Machine, MachineError, MissSampler, Tandem};
use crate::report::table;
use crate::runfile::manifest::{Design, MachineKind};
use crate::runfile::{Manifest, Run};
use crate::trial::in_company::OtherCpus;
use crate::trial::protocol::ROUNDS;
use crate::trial::runner::Instruments;
use crate::victim::{Asked, VictimKind};
use crate::workload::{Body, Cpus, FillerRule, OffsetRule, Order, PackMode, Plan, Spec, Stride};

/// Arguments of `itlbench run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Built-in workloads or paths of .toml files; see `itlbench list`
    #[arg(value_name = "WORKLOAD", default_value = "chain")]
    pub workloads: Vec<String>,
    /// Where programs lie: dense in the kernel's packs, each on a page or in a 2 MiB region of its own, or dense in another order
    #[arg(long, value_enum, value_delimiter = ',')]
    pub pack: Option<Vec<PackMode>>,
    /// Numbers of programs
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub programs: Option<Vec<u32>>,
    /// JITed size of every program, about, in bytes
    #[arg(long, value_enum)]
    pub body: Option<Body>,
    /// Distance between programs in pack off
    #[arg(long, value_enum)]
    pub stride: Option<Stride>,
    /// Offset of programs inside their pages in pack off
    #[arg(long, value_enum)]
    pub offset: Option<OffsetRule>,
    /// Whether the fillers of pack off stay loaded while programs run, in every arm alike
    #[arg(long, value_enum)]
    pub fillers: Option<FillerRule>,
    /// Order of visits: sequential or permuted in turn, random or zipf(S) drawn; by default the trigger's own
    #[arg(long, value_name = "ORDER")]
    pub order: Option<Order>,
    /// Load so many programs in every case and run the --programs first of their order: reuse distance without another placement
    #[arg(long, value_name = "N")]
    pub loaded: Option<u32>,
    /// Fresh loads of each case
    #[arg(long, value_name = "N")]
    pub trials: Option<u32>,
    /// Counted windows in each trial
    #[arg(long, value_name = "N")]
    pub samples: Option<u32>,
    /// Seed of every random choice; by default drawn from the clock and recorded
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
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
    let specs = args.specs()?;
    let modelling = Modelling::find(&args.model, args.calibration.as_deref())?;
    let seed = args.seed.unwrap_or_else(seed_from_clock);
    let (design, plan) = match args.aa {
        false => (Design::Arms, Plan::new(&specs, seed)),
        true => (Design::AgainstItself, Plan::against_itself(&specs, seed)),
    };
    if args.dry_run {
        let victim = args.asked().map(|asked| dry_run::Victim { asked, rounds: args.repetitions });
        let text = dry_run::text(&specs, &plan, seed, victim.as_ref())?;
        out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
        return Ok(0);
    }
    let stop = stop_on_signals()?;
    let facts = Facts::read(Path::new("/"));
    if args.machine == MachineKind::Kernel {
        refuse_blocked_host(&facts)?;
    }
    let Opened { mut machine, cpu } = machines::open(args.machine, args.cpu, seed, &facts, Arc::clone(&stop))?;
    let mut counters = machine.counters(&args.counting.choice())?;
    warn_of_refusals(&args.counting.counters, counters.refused());
    let mut meters = machine.meters()?;
    let others = reserve(&specs, machine.as_mut(), cpu, args.counting.choice())?;
    let churn = one_of(&specs, "churn", |spec| spec.churn)?.map(|per_s| machine.churn(per_s)).transpose()?;
    let asked = args.asked();
    let mut tandem = asked.map(|asked| machine.tandem(&asked)).transpose()?;
    let (mut sampler, no_sampler) = open_sampler(args, machine.as_mut());
    let manifest = Manifest {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: args.machine,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        argv: std::env::args().collect(),
        seed,
        design,
        cpu,
        workloads: specs,
        planned_trials: plan.slots.len() as u32,
        groups: counters.groups().to_vec(),
        refused: counters.refused().to_vec(),
        meters: meters.meters().to_vec(),
        meters_absent: meters.absent().to_vec(),
        sampling: sampler.as_ref().map(|sampler| sampler.sampling().clone()),
        victim: tandem.as_ref().map(|tandem| tandem.victim().clone()),
        caveats: caveats(
            machine.caveats().into_iter().chain(no_sampler).chain(args.aa.then_some(Caveat::AgainstItself)).collect(),
            &facts,
            counters.groups(),
            (args.machine, cpu),
        ),
        host: facts,
    };
    let dir = make_directory(&args.out, &manifest)?;
    let session = Session::create(&dir.join("run.jsonl"), &manifest)?;
    let mut instruments = Instruments {
        counters: counters.as_mut(),
        meters: meters.as_mut(),
        sampler: sampler.as_mut().map(|sampler| sampler.as_mut() as &mut dyn MissSampler),
        tandem: tandem.as_mut().map(|tandem| tandem.as_mut() as &mut dyn Tandem),
        others,
        churn,
    };
    let ended = session.run(&plan, args.repetitions, machine.as_mut(), &mut instruments, &stop)?;
    if ended.interrupted && ended.trials == 0 {
        return Err(MachineError::interrupted().into());
    }
    if args.verbose {
        eprintln!("recording took {:.6} s", ended.recording.as_secs_f64());
    }
    show(&dir, &modelling, out)?;
    Ok(if ended.interrupted { 130 } else { 0 })
}

/// The CPUs that the workloads ask for besides that of the run.
fn reserve(specs: &[Spec], machine: &mut dyn Machine, own: u32, choice: Choice) -> Result<Option<OtherCpus>, Failure> {
    let Some(cpus) = one_of(specs, "cpus", |spec| spec.cpus.clone())? else { return Ok(None) };
    Ok(Some(OtherCpus { own, cpus: machine.reserve(&cpus)?, choice }))
}

/// What all workloads of a run must agree on.
fn one_of<T: PartialEq>(specs: &[Spec], key: &str, of: impl Fn(&Spec) -> Option<T>) -> Result<Option<T>, Failure> {
    let first = specs.first().and_then(&of);
    match specs.iter().all(|spec| of(spec) == first) {
        true => Ok(first),
        false => Err(Failure::Usage(format!("the workloads differ in `{key}`: give --{key}, or run them one by one"))),
    }
}

/// What samples misses, if that was asked for; where nothing does, the run goes on with a caveat.
fn open_sampler(args: &Args, machine: &mut dyn Machine) -> (Option<Box<dyn MissSampler>>, Option<Caveat>) {
    match args.attribute.then(|| machine.sampler()) {
        None => (None, None),
        Some(Ok(sampler)) => (Some(sampler), None),
        Some(Err(reason)) => (None, Some(Caveat::NoMissSamples { reason })),
    }
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
    fn asked(&self) -> Option<Asked> {
        let command = (!self.command.is_empty()).then(|| Asked::Command(self.command.clone()));
        command.or(self.victim.map(Asked::BuiltIn))
    }

    /// The workloads, with what the command line changes.
    fn specs(&self) -> Result<Vec<Spec>, Failure> {
        let mut names = self.workloads.clone();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Failure::Usage(format!("workload `{}` is named twice", twice[0])));
        }
        self.workloads.iter().map(|name| self.spec(name)).collect()
    }

    fn spec(&self, name: &str) -> Result<Spec, Failure> {
        let mut spec = Spec::find(name)?;
        spec.pack = self.pack.clone().unwrap_or(spec.pack);
        spec.programs = self.programs.clone().unwrap_or(spec.programs);
        spec.body = self.body.unwrap_or(spec.body);
        spec.stride = self.stride.unwrap_or(spec.stride);
        spec.offset = self.offset.unwrap_or(spec.offset);
        spec.fillers = self.fillers.unwrap_or(spec.fillers);
        spec.order = self.order.or(spec.order);
        spec.loaded = self.loaded.or(spec.loaded);
        spec.cpus = self.cpus.clone().or(spec.cpus);
        spec.churn = self.churn.or(spec.churn);
        spec.trials = self.trials.unwrap_or(spec.trials);
        spec.samples = self.samples.unwrap_or(spec.samples);
        spec.check(name)?;
        Ok(spec)
    }
}

/// Who names events wants to know at once which of them are not counted; otherwise the report says it.
fn warn_of_refusals(events: &Events, refused: &[Refusal]) {
    if matches!(events, Events::List(_)) {
        refused.iter().for_each(|refusal| eprintln!("itlbench: not counted: {refusal}"));
    }
}

fn refuse_blocked_host(facts: &Facts) -> Result<(), Failure> {
    let live = Live::read(Path::new("/"));
    match blocking(&checks(facts, &live)) {
        Some(check) => Err(Failure::HostCannot(doctor::one_line(check))),
        None => Ok(()),
    }
}

fn caveats(
    mut caveats: Vec<Caveat>,
    facts: &Facts,
    groups: &[crate::counters::Group],
    (machine, cpu): (MachineKind, u32),
) -> Vec<Caveat> {
    if machine == MachineKind::Sim {
        return caveats;
    }
    if let Some(hypervisor) = &facts.hypervisor {
        caveats.push(Caveat::VirtualMachine { hypervisor: hypervisor.clone() });
    }
    if !groups.iter().any(|group| group.name == "hardware") {
        let reason = if facts.pmus.keys().any(|name| name.starts_with("cpu")) {
            "the PMU took none of the events"
        } else {
            "this host offers no CPU PMU"
        };
        caveats.push(Caveat::NoHardwareCounters { reason: reason.to_owned() });
    } else if !Host::read(Path::new("/sys"), facts.cpu_id().as_ref(), cpu, Layout::UNKNOWN).is_known() {
        let cpu = facts.cpu_id().map_or_else(|| "no identity in /proc/cpuinfo".to_owned(), |id| id.to_string());
        caveats.push(Caveat::UnknownCpu { cpu });
    }
    caveats
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

pub(super) fn seed_from_clock() -> u64 {
    // Short enough to be typed again.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| u64::from(time.subsec_nanos()) / 1000 + 1)
}

/// Makes `<out>/<UTC stamp>-<kernel release>`; a second run in the same second gets a number.
fn make_directory(out: &Path, manifest: &Manifest) -> Result<PathBuf, Failure> {
    let stamp: String = manifest.started.chars().filter(|c| *c != '-' && *c != ':').collect();
    let kernel = match manifest.machine {
        MachineKind::Kernel => manifest.host.kernel_release.as_deref().unwrap_or("unknown"),
        MachineKind::Sim => "sim",
    };
    std::fs::create_dir_all(out).map_err(|error| Failure::output(out.display(), error))?;
    for attempt in 1.. {
        let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        let dir = out.join(format!("{stamp}-{kernel}{suffix}"));
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < 1000 => {}
            Err(error) => return Err(Failure::output(dir.display(), error)),
        }
    }
    Err(Failure::Usage(format!("`{}` holds too many runs of this second", out.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Group;

    fn found(model: u32, groups: &[&str], machine: MachineKind) -> Vec<Caveat> {
        let facts = Facts {
            cpu_vendor: Some("GenuineIntel".to_owned()),
            cpu_family: Some(6),
            cpu_model_number: Some(model),
            ..Facts::default()
        };
        let group = |name: &&str| Group { name: (*name).to_owned(), ..Group::default() };
        caveats(Vec::new(), &facts, &groups.iter().map(group).collect::<Vec<_>>(), (machine, 0))
    }

    #[test]
    fn counting_on_a_cpu_that_the_catalogue_does_not_know_is_a_caveat() {
        let kernel = |model, groups: &[&str]| found(model, groups, MachineKind::Kernel);
        let [Caveat::UnknownCpu { cpu }] = &kernel(0xff, &["hardware", "software"])[..] else { panic!("unknown") };
        assert_eq!(cpu, "GenuineIntel family 6 model 255 stepping 0");
        assert_eq!(kernel(0x55, &["hardware"]), [], "Skylake is known");
        assert!(matches!(kernel(0xff, &["software"])[..], [Caveat::NoHardwareCounters { .. }]), "nothing to misread");
        assert_eq!(found(0xff, &["hardware"], MachineKind::Sim), []);
    }
}
