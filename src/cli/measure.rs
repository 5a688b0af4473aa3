//! One run: the machine opened, its facts read, the plan measured. What `itlbench run` does on this host, and what a guest does
//! that `itlbench kernels` boots.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::machines::{self, Opened};
use super::session::{Ended, Progress, Session};
use super::{Failure, doctor};
use crate::caveat::Caveat;
use crate::counters::host::Host;
use crate::counters::layout::Layout;
use crate::counters::{Choice, Events, Group, Refusal};
use crate::host::checks::{blocking, checks};
use crate::host::{Facts, Live};
use crate::machine::{Machine, MissSampler, Tandem};
use crate::runfile::manifest::{Design, Fetches, Guest, MachineKind};
use crate::runfile::{Manifest, Writer};
use crate::trial::in_company::OtherCpus;
use crate::trial::record::Victim;
use crate::trial::runner::Instruments;
use crate::victim::Asked;
use crate::workload::{PackMode, Plan, Spec, TriggerKind};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Task {
    pub machine: MachineKind,
    pub cpu: Option<u32>,
    pub seed: u64,
    pub design: Design,
    pub workloads: Vec<Spec>,
    pub choice: Choice,
    /// Sample misses in windows of their own.
    pub attribute: bool,
    pub argv: Vec<String>,
    /// Who runs beside the programs.
    pub victim: Option<Asked>,
    /// Rounds of the victim.
    pub rounds: u32,
    /// Run the victim with the programs on sys_enter too.
    pub hooked: bool,
    /// The guest that measures, if it is one of `itlbench kernels`.
    pub guest: Option<Guest>,
    /// Fence every window with marks for an emulator.
    pub marks: bool,
}

impl Task {
    /// The trials and their order.
    pub fn plan(&self) -> Plan {
        match self.design {
            Design::Arms if self.is_emulated() => Plan::new(&self.workloads, self.seed).in_order(),
            Design::Arms => Plan::new(&self.workloads, self.seed),
            Design::AgainstItself => Plan::against_itself(&self.workloads, self.seed),
        }
    }

    /// No window is shown to the emulator: the run says that nothing is modelled, and why.
    pub fn go_unmarked(&mut self, reason: &str) {
        self.marks = false;
        if let Some(guest) = &mut self.guest {
            let reason = format!("{} does not show where it maps all memory: {reason}", guest.kernel);
            guest.fetches = Fetches::NotModelled { reason };
        }
    }

    fn is_emulated(&self) -> bool {
        self.guest.as_ref().is_some_and(Guest::is_emulated)
    }
}

/// Measures `task` and records it in the file that `create` makes; it is made once all is opened and before anything is measured.
pub fn measure(
    mut task: Task,
    stop: &Arc<AtomicBool>,
    progress: &mut dyn Progress,
    create: impl FnOnce(&Manifest) -> Result<Writer, Failure>,
) -> Result<Ended, Failure> {
    let facts = Facts::read(Path::new("/"));
    if task.machine == MachineKind::Kernel {
        refuse_blocked_host(&facts)?;
    }
    let Opened { mut machine, cpu } = machines::open(task.machine, task.cpu, task.seed, &facts, Arc::clone(stop))?;
    if task.guest.is_some() {
        task.workloads.iter_mut().for_each(|spec| offered(spec, machine.as_ref()));
    }
    let plan = task.plan();
    let mut counters = machines::counters(&mut task, machine.as_mut())?;
    warn_of_refusals(&task.choice.events, counters.refused());
    let mut meters = machine.meters()?;
    let others = reserve(&task.workloads, machine.as_mut(), cpu, task.choice.clone())?;
    let churn = one_of(&task.workloads, "churn", |spec| spec.churn)?.map(|per_s| machine.churn(per_s)).transpose()?;
    let mut tandem = task.victim.as_ref().map(|asked| machine.tandem(asked)).transpose()?;
    let (mut sampler, no_sampler) = open_sampler(task.attribute, machine.as_mut());
    let hook = task.hooked.then(|| hook(&task.workloads)).flatten();
    let own = machine.caveats().into_iter().chain(no_sampler);
    let manifest = Manifest {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: task.machine,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        caveats: caveats(own.collect(), (&task, cpu), &facts, counters.groups()),
        argv: task.argv,
        seed: task.seed,
        design: task.design,
        cpu,
        planned_trials: plan.slots.len() as u32,
        workloads: task.workloads,
        groups: counters.groups().to_vec(),
        refused: counters.refused().to_vec(),
        meters: meters.meters().to_vec(),
        meters_absent: meters.absent().to_vec(),
        sampling: sampler.as_ref().map(|sampler| sampler.sampling().clone()),
        victim: tandem.as_ref().map(|tandem| Victim { hook: hook.clone(), ..tandem.victim().clone() }),
        guest: task.guest,
        host: facts,
    };
    let session = Session::new(create(&manifest)?, &manifest);
    let mut instruments = Instruments {
        counters: counters.as_mut(),
        meters: meters.as_mut(),
        sampler: sampler.as_mut().map(|sampler| sampler.as_mut() as &mut dyn MissSampler),
        tandem: tandem.as_mut().map(|tandem| tandem.as_mut() as &mut dyn Tandem),
        others,
        churn,
        hooked: task.hooked,
    };
    session.run(&plan, task.rounds, machine.as_mut(), &mut instruments, stop, progress)
}

/// What the victim runs the programs through. If the hook is the whole host's the user is told.
fn hook(workloads: &[Spec]) -> Option<String> {
    let trigger = workloads.first()?.trigger;
    if trigger != TriggerKind::Cgroup {
        eprintln!(
            "itlbench: --hooked: while the victim runs so, every system call of every process of this host runs the programs"
        );
    }
    trigger.victims_hook().map(str::to_owned)
}

/// A kernel that does not pack has one placement of its own, which is pack off: its arm pack on becomes that.
fn offered(spec: &mut Spec, machine: &dyn Machine) {
    let mut arms: Vec<PackMode> = Vec::new();
    for arm in &spec.pack {
        let arm = if machine.offers(*arm) { *arm } else { PackMode::Off };
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    }
    spec.pack = arms;
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
fn open_sampler(asked: bool, machine: &mut dyn Machine) -> (Option<Box<dyn MissSampler>>, Option<Caveat>) {
    match asked.then(|| machine.sampler()) {
        None => (None, None),
        Some(Ok(sampler)) => (Some(sampler), None),
        Some(Err(reason)) => (None, Some(Caveat::NoMissSamples { reason })),
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

/// What a reader must know of the run: what the machine says of itself, and what kind of host it is.
fn caveats(mut caveats: Vec<Caveat>, (task, cpu): (&Task, u32), facts: &Facts, groups: &[Group]) -> Vec<Caveat> {
    if task.design == Design::AgainstItself {
        caveats.push(Caveat::AgainstItself);
    }
    if task.machine == MachineKind::Sim {
        return caveats;
    }
    if let Some(guest) = task.guest.as_ref().filter(|guest| guest.is_emulated()) {
        caveats.push(Caveat::Emulated { by: guest.emulator.clone() });
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

pub(super) fn seed_from_clock() -> u64 {
    // Short enough to be typed again.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| u64::from(time.subsec_nanos()) / 1000 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(machine: MachineKind) -> Task {
        Task {
            machine,
            cpu: None,
            seed: 1,
            design: Design::Arms,
            workloads: Vec::new(),
            choice: Choice::default(),
            attribute: false,
            argv: Vec::new(),
            victim: None,
            rounds: 0,
            hooked: false,
            guest: None,
            marks: false,
        }
    }

    #[test]
    fn windows_that_go_unmarked_are_modelled_by_nothing_and_the_run_says_why() {
        let guest = crate::report::kernels::fixture::runs().remove(1).manifest.guest;
        let mut task = Task { guest, marks: true, ..task(MachineKind::Kernel) };
        task.go_unmarked("`/proc/kcore`: No such file");
        let reason = "6.12 does not show where it maps all memory: `/proc/kcore`: No such file".to_owned();
        assert_eq!(task.guest.map(|guest| guest.fetches), Some(Fetches::NotModelled { reason }));
        assert!(!task.marks);
    }

    fn found(model: u32, groups: &[&str], machine: MachineKind) -> Vec<Caveat> {
        let facts = Facts {
            cpu_vendor: Some("GenuineIntel".to_owned()),
            cpu_family: Some(6),
            cpu_model_number: Some(model),
            ..Facts::default()
        };
        let group = |name: &&str| Group { name: (*name).to_owned(), ..Group::default() };
        caveats(Vec::new(), (&task(machine), 0), &facts, &groups.iter().map(group).collect::<Vec<_>>())
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
