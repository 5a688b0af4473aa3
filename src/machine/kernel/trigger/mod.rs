//! In: loaded programs. Out: something that runs them all with one call, and the same with an empty program in their place.
//! One file for each way, each on a hook of its own that nobody else's events reach; apart because only here differs how programs run.
//!
//! Whatever is made here, links, network namespaces, control groups and sockets, hangs on descriptors of this process.

pub mod attached;
pub mod cgroup;
pub mod cls;
mod form;
pub mod hits;
mod inhabited;
mod kprobe;
mod netns;
pub mod offer;
pub mod socket;
mod spots;
mod syscall;
mod tail_calls;
mod tracepoint;
mod uprobe;
pub mod xdp;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::fillers;
use super::pace::Pace;
use super::place::Placed;
use super::programs::{Maps, Programs};
use crate::machine::{Fired, MachineError, Result, Target};
use crate::trial::Check;
use crate::workload::{Case, TriggerKind};

pub use self::form::Form;

/// What a thread on another CPU fires.
pub trait Firing: Debug + Send {
    /// Runs what `target` is `times` times.
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()>;
}

/// Runs the programs of one load, or the empty program reached the same way.
pub trait Trigger: Debug {
    /// Lets every program count its executions, and compares with what was claimed.
    fn check(&mut self, maps: &Maps) -> Result<Check>;
    /// Makes `target` what is fired next.
    fn prepare(&mut self, target: Target) -> Result<()>;
    /// Fires; nothing but the trigger happens between the two looks at the clock.
    fn fire(&mut self, target: Target, runs: u32) -> Result<Fired>;
    /// The same to be fired from another thread, as long as `self` keeps what is attached attached.
    fn again(&self) -> io::Result<Box<dyn Firing>>;
    /// Hangs every program on a hook that other processes hit, and lets them count; where who is to hit it has to enter a control
    /// group, the file by which it does.
    fn hook(&mut self, _maps: &Maps) -> Result<Option<PathBuf>> {
        Err(MachineError::bad_request("--hooked: programs that tail calls reach cannot hang on a hook"))
    }
    /// Takes them off it; how often they ran there.
    fn unhook(&mut self, _maps: &Maps) -> Result<u64> {
        Ok(0)
    }
    /// The program that does nothing.
    fn empty_program(&self) -> BorrowedFd<'_>;
    /// Takes what was attached off its hook, and lets go of the programs a few at a time.
    fn release(&mut self, pace: &mut Pace<'_>);
}

/// Prepares the trigger of a case whose programs are loaded.
pub fn open(kind: TriggerKind, seed: u64, objects: &Programs, placed: &Placed) -> Result<Box<dyn Trigger>> {
    match kind {
        TriggerKind::Chain | TriggerKind::Walk => {
            Ok(Box::new(tail_calls::TailCalls::new(kind, seed, objects, &placed.maps)?))
        }
        _ => Ok(Box::new(attached::Attached::new(kind, objects, placed.maps.attachable())?)),
    }
}

/// Most programs that the trigger can run here; `None` if memory alone bounds it.
pub fn most_programs(kind: TriggerKind) -> Option<u32> {
    match kind {
        TriggerKind::Fentry => Some(spots::SPOTS * spots::PROGRAMS_PER_SPOT),
        _ => None,
    }
}

/// Removes what a killed run could not: only control groups have names that outlive their owner.
pub fn remove_abandoned() {
    cgroup::remove_abandoned();
}

/// The same for who waits until its parent is gone; whether nothing is left.
pub fn remove_for_the_dead(parent: u32) -> bool {
    inhabited::remove_for_the_dead(parent)
}

/// Says how many would do, before anything is loaded.
pub fn refuse_if_too_many(case: &Case) -> Result<()> {
    match most_programs(case.trigger) {
        Some(most) if case.programs > most => Err(MachineError::host_cannot(
            format!("failed to attach {} programs: trigger `{}` takes {most} at most", case.programs, case.trigger),
            format!("use --programs {most} or fewer, or another trigger; see `itlbench list triggers`"),
        )),
        _ => Ok(()),
    }
}

/// Why programs of the trigger's type would not load, where others do.
pub fn load_failed(kind: TriggerKind, what: &str, error: &io::Error) -> MachineError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput if !kind.is_tail_calls() => {
            attach_failed(kind, &format!("load {what}"), error)
        }
        _ => fillers::load_failed(what, error),
    }
}

/// What a refused attachment means.
fn attach_failed(kind: TriggerKind, what: &str, error: &io::Error) -> MachineError {
    let remedy = match kind {
        TriggerKind::Tracepoint => "it needs bpf_trigger_tp and bpf_modify_return_test_tp, Linux 6.10 and later",
        TriggerKind::Cls => {
            "it needs CAP_SYS_ADMIN for a network namespace, CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS"
        }
        TriggerKind::Cgroup => "it needs a cgroup2 mount that may be written, and CONFIG_CGROUP_BPF",
        TriggerKind::Uprobe => "it needs CONFIG_UPROBES, CONFIG_BPF_EVENTS, and Linux 6.6 for multi-uprobes",
        TriggerKind::Xdp => {
            "it needs CAP_SYS_ADMIN for a network namespace, and Linux 5.14 for programs in device maps"
        }
        TriggerKind::Fentry => "it needs CONFIG_DEBUG_INFO_BTF and tracing programs, which lockdown may forbid",
        TriggerKind::Kprobe => "it needs CONFIG_FPROBE (multi-kprobes), Linux 6.10 and later",
        TriggerKind::Socket | TriggerKind::Syscall | TriggerKind::Chain | TriggerKind::Walk => "run as root",
    };
    MachineError::host_cannot(format!("failed to {what} for trigger `{kind}`: {error}"), remedy)
}
