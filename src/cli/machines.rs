//! The one place that names concrete machines.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Failure;
use super::measure::Task;
use crate::counters::Choice;
use crate::host::{Facts, Live};
use crate::machine::sim::SimMachine;
use crate::machine::{Counters, Machine};
use crate::placement::{Image, Observed};
use crate::runfile::manifest::MachineKind;
use crate::selftest::{Allowed, Subject};
use crate::survey::Program;
use crate::workload::{Body, TriggerKind};

#[cfg(not(feature = "kernel"))]
const NO_KERNEL: &str = "this build has no kernel machine";

/// A machine, and the CPU its windows run on.
#[derive(Debug)]
pub struct Opened {
    pub machine: Box<dyn Machine>,
    pub cpu: u32,
}

/// Opens the machine asked for. `stop` is set by a signal.
pub fn open(
    kind: MachineKind,
    cpu: Option<u32>,
    seed: u64,
    facts: &Facts,
    stop: Arc<AtomicBool>,
) -> Result<Opened, Failure> {
    match kind {
        MachineKind::Sim => Ok(Opened { machine: Box::new(SimMachine::new(seed)), cpu: cpu.unwrap_or(0) }),
        MachineKind::Kernel => open_kernel(cpu, facts, stop),
    }
}

#[cfg(feature = "kernel")]
fn open_kernel(cpu: Option<u32>, facts: &Facts, stop: Arc<AtomicBool>) -> Result<Opened, Failure> {
    use crate::machine::kernel::KernelMachine;

    let hardened = facts.sysctl("net.core.bpf_jit_harden").is_some_and(|value| value != "0");
    let machine = KernelMachine::new(cpu, hardened, stop)?;
    Ok(Opened { cpu: machine.cpu(), machine: Box::new(machine) })
}

#[cfg(not(feature = "kernel"))]
fn open_kernel(_: Option<u32>, _: &Facts, _: Arc<AtomicBool>) -> Result<Opened, Failure> {
    Err(Failure::HostCannot(
        "this build has no kernel machine; build with the feature `kernel`, or use --machine sim".to_owned(),
    ))
}

/// The running kernel, to be tested.
#[cfg(feature = "kernel")]
pub fn subject(allowed: Allowed, stop: Arc<AtomicBool>) -> Result<Box<dyn Subject>, Failure> {
    Ok(Box::new(crate::machine::kernel::selftest::KernelSubject::open(allowed, stop)?))
}

/// Without the kernel machine there is only the simulation.
#[cfg(not(feature = "kernel"))]
pub fn subject(_: Allowed, _: Arc<AtomicBool>) -> Result<Box<dyn Subject>, Failure> {
    Err(Failure::HostCannot(format!("{NO_KERNEL}; build with the feature `kernel`, or use --machine sim")))
}

/// Opens what counts the windows of `task`, with marks around them if it wants them. Where the kernel does not show what an emulator
/// reads page tables by, windows go unmarked, and the task says why.
pub fn counters(task: &mut Task, machine: &mut dyn Machine) -> Result<Box<dyn Counters>, Failure> {
    let counters = machine.counters(&task.choice)?;
    Ok(if task.marks { marked(counters, task) } else { counters })
}

#[cfg(feature = "kernel")]
fn marked(counters: Box<dyn Counters>, task: &mut Task) -> Box<dyn Counters> {
    use crate::machine::kernel::marked::{Guide, Marked};

    match Guide::find() {
        Ok(guide) => Box::new(Marked::new(counters, guide)),
        Err(reason) => {
            task.go_unmarked(&reason);
            counters
        }
    }
}

#[cfg(not(feature = "kernel"))]
fn marked(counters: Box<dyn Counters>, task: &mut Task) -> Box<dyn Counters> {
    task.go_unmarked(NO_KERNEL);
    counters
}

/// Counters of the calling thread in user space, pinned to `cpu`; the error says what was refused where nothing of the core
/// counts.
#[cfg(feature = "kernel")]
pub fn user_counters(cpu: u32) -> Result<Box<dyn Counters>, Vec<String>> {
    use crate::counters::{CountSide, Events, Refusal};

    let choice = Choice { events: Events::Auto, side: CountSide::User };
    let counters = crate::machine::kernel::perf::open(&choice, cpu).map_err(|error| vec![error.to_string()])?;
    match counters.groups().iter().any(|group| group.pinned) {
        true => Ok(Box::new(counters)),
        false => Err(counters.refused().iter().map(Refusal::to_string).collect()),
    }
}

/// Without the kernel machine nobody counts.
#[cfg(not(feature = "kernel"))]
pub fn user_counters(_: u32) -> Result<Box<dyn Counters>, Vec<String>> {
    Err(vec![NO_KERNEL.to_owned()])
}

/// Every program the kernel lists, with the places of its functions; the error says why it does not.
#[cfg(feature = "kernel")]
pub fn jited_programs() -> Result<Vec<Program>, String> {
    crate::machine::kernel::probe::jited_programs()
}

/// Without the kernel machine nobody can ask.
#[cfg(not(feature = "kernel"))]
pub fn jited_programs() -> Result<Vec<Program>, String> {
    Err(NO_KERNEL.to_owned())
}

/// By which pages `images` are mapped.
#[cfg(feature = "kernel")]
pub fn observe_mapping(images: &[Image]) -> Observed {
    crate::machine::kernel::pagewalk::open().observe(images)
}

/// Without the kernel machine nobody can look.
#[cfg(not(feature = "kernel"))]
pub fn observe_mapping(_: &[Image]) -> Observed {
    Observed::Unknown { reason: NO_KERNEL.to_owned() }
}

/// Asks the kernel what `/proc` does not answer.
#[cfg(feature = "kernel")]
pub fn probe(live: &mut Live, choice: &Choice) -> Result<(), Failure> {
    use crate::machine::kernel::probe;

    live.events = probe::events(choice)?;
    live.foreign_programs = probe::loaded_programs();
    live.test_run = Some(probe::test_run());
    Ok(())
}

/// Without the kernel machine there is nothing to ask.
#[cfg(not(feature = "kernel"))]
pub fn probe(_: &mut Live, _: &Choice) -> Result<(), Failure> {
    Ok(())
}

/// Nanoseconds of a run of `trigger` that reaches the empty program alone, and the most programs it takes where anything but
/// memory bounds them; the error says why this host does not offer it.
#[cfg(feature = "kernel")]
pub fn try_trigger(trigger: TriggerKind) -> Result<(f64, Option<u32>), String> {
    use crate::machine::kernel::trigger::offer;

    offer::try_out(trigger).map(|offer| (offer.empty_ns, offer.most_programs)).map_err(|error| error.to_string())
}

/// Without the kernel machine nothing can be tried.
#[cfg(not(feature = "kernel"))]
pub fn try_trigger(_: TriggerKind) -> Result<(f64, Option<u32>), String> {
    Err(NO_KERNEL.to_owned())
}

/// JITed bytes of each function of a program with `body` for `trigger`, as this kernel makes it; the error says why it does not.
#[cfg(feature = "kernel")]
pub fn jited_lengths(trigger: TriggerKind, body: Body) -> Result<Vec<u32>, String> {
    crate::machine::kernel::probe::jited_lengths(trigger, body)
}

/// Without the kernel machine nothing is compiled.
#[cfg(not(feature = "kernel"))]
pub fn jited_lengths(_: TriggerKind, _: Body) -> Result<Vec<u32>, String> {
    Err(NO_KERNEL.to_owned())
}

/// Once stdin and process `parent` have ended removes the control groups of processes that are gone; whether nothing is left.
#[cfg(feature = "kernel")]
pub fn remove_for_the_dead(parent: u32) -> bool {
    crate::machine::kernel::trigger::remove_for_the_dead(parent)
}

/// Without the kernel machine there are none.
#[cfg(not(feature = "kernel"))]
pub fn remove_for_the_dead(_: u32) -> bool {
    true
}
