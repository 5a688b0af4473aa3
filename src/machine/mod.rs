//! The seam between the protocol and what it runs on: the kernel, or a simulation of it.
//! In: a request to load a case. Out: programs that can be fired, counters around them. Nothing above knows which machine it is.

mod counted;
#[cfg(feature = "kernel")]
pub mod kernel;
pub mod pin;
pub mod sim;

use std::path::{Path, PathBuf};

use crate::caveat::Caveat;
use crate::counters::{Choice, CountSide, Group, Meter, MeterAbsence, Reading, Refusal};
use crate::placement::{Image, Observed};
use crate::sampling::{Record, Sampling, Symbols};
use crate::survey::vmalloc::Packs;
use crate::trial::beside::DirectMap;
use crate::trial::company::{Churned, CpuWindow};
use crate::trial::victim::{Victim, VictimRun};
use crate::trial::{Check, Freed, LoadCost};
use crate::victim::Asked;
use crate::workload::{Case, Cpus, PackMode};

/// What went wrong on the machine; `kind` decides the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}", remedy.as_ref().map(|text| format!("; {text}")).unwrap_or_default())]
pub struct MachineError {
    pub kind: ErrorKind,
    /// "failed to <verb> <object>: <cause>".
    pub what: String,
    /// What the user can do about it.
    pub remedy: Option<String>,
}

/// Kinds of trouble that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// This host cannot, as it is set up now.
    HostCannot,
    /// What was asked for makes no sense, on any host or on this one.
    BadRequest,
    /// A signal asked us to stop.
    Interrupted,
    /// Anything else.
    Failed,
}

impl MachineError {
    /// This host cannot do it; `remedy` says what would help.
    pub fn host_cannot(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind: ErrorKind::HostCannot, what: what.into(), remedy: Some(remedy.into()) }
    }

    /// What was asked for names nothing.
    pub fn bad_request(what: impl Into<String>) -> Self {
        Self { kind: ErrorKind::BadRequest, what: what.into(), remedy: None }
    }

    /// Something failed that ought to work.
    pub fn failed(what: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, what: what.into(), remedy: None }
    }

    /// A signal arrived.
    pub fn interrupted() -> Self {
        Self { kind: ErrorKind::Interrupted, what: "interrupted".to_owned(), remedy: None }
    }
}

pub type Result<T> = std::result::Result<T, MachineError>;

/// What is fired: the measured programs, or the empty program reached the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Programs,
    Empty,
}

/// One firing of the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    pub wall_ns: u64,
}

/// The machine once nothing of the tool's is left in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub direct_map: DirectMap,
    pub waited_ns: u64,
}

/// A load as the kernel's memory shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedMemory {
    pub direct_map: DirectMap,
    /// Everybody's packs.
    pub packs: Option<Packs>,
    /// Of every load of a program like the measured ones.
    pub load_latencies_ns: Vec<u64>,
}

/// A machine that loads cases.
pub trait Machine: std::fmt::Debug {
    /// Loads the programs of `case` where its arm wants them, and verifies where they are.
    fn load(&mut self, case: &Case, seed: u64) -> Result<Box<dyn Loaded + '_>>;
    /// Waits until all that was unloaded is free, and looks at the direct map; `None` where there is none.
    fn settled(&mut self) -> Option<Settled> {
        None
    }
    /// What is left where `images` lay, now that they are unloaded; `None` where nobody can look.
    fn freed(&mut self, _images: &[Image]) -> Option<Freed> {
        None
    }
    /// Whether it can place programs as `arm` wants them.
    fn offers(&self, _arm: PackMode) -> bool {
        true
    }
    /// Opens what can be counted around the trigger.
    fn counters(&mut self, choice: &Choice) -> Result<Box<dyn Counters>>;
    /// Opens the meters of what else runs on the CPU of the windows.
    fn meters(&mut self) -> Result<Box<dyn Meters>>;
    /// Opens what samples iTLB misses; otherwise why there is none.
    fn sampler(&mut self) -> std::result::Result<Box<dyn MissSampler>, String>;
    /// Claims other CPUs to run the same programs on, all or those listed; which they are, the CPU of the windows not among them.
    fn reserve(&mut self, cpus: &Cpus) -> Result<Vec<u32>>;
    /// Prepares programs that come and go, so many a second.
    fn churn(&mut self, per_s: u32) -> Result<Box<dyn Churn>>;
    /// Prepares a victim to run beside what is loaded.
    fn tandem(&mut self, asked: &Asked) -> Result<Box<dyn Tandem>>;
    /// What a reader must know about this machine.
    fn caveats(&self) -> Vec<Caveat>;
}

/// A case, loaded.
pub trait Loaded: std::fmt::Debug {
    /// Where every program lies that is run, in the order of visits; read back, not assumed.
    fn images(&self) -> &[Image];
    /// Where the programs lie that are loaded beside them and not run.
    fn beside(&self) -> &[Image] {
        &[]
    }
    /// By which pages they are mapped now; observed, not assumed.
    fn observe_mapping(&mut self) -> Observed;
    /// What the load takes of the kernel's memory now; `None` where nothing is real.
    fn memory(&self) -> Option<LoadedMemory> {
        None
    }
    /// What loading took.
    fn load_cost(&self) -> &LoadCost;
    /// Lets every program count its executions and reads the counts.
    fn check(&mut self) -> Result<Check>;
    /// Makes `target` what is fired next, where both hang on the same hook; called outside of windows, for it takes time.
    fn prepare(&mut self, _target: Target) -> Result<()> {
        Ok(())
    }
    /// Fires the trigger `runs` times in one go. Does nothing else: it stands between enable and disable.
    fn fire(&mut self, target: Target, runs: u32) -> Result<Fired>;
    /// The same programs on other CPUs, counting there what is counted here.
    fn peers(&mut self, _cpus: &[u32], _choice: &Choice, _groups: &[Group]) -> Result<Box<dyn Peers>> {
        Err(MachineError::bad_request("--cpus: this trigger fires on one CPU only; use `chain` or `walk`"))
    }
    /// Hangs every program on a hook that other processes hit, besides its own; where who is to hit it has to enter a control group,
    /// the file by which it does.
    fn hook(&mut self) -> Result<Option<PathBuf>> {
        Err(MachineError::bad_request("--hooked: the simulated machine has no hook that a process could hit"))
    }
    /// Takes them off again; how often they ran there.
    fn unhook(&mut self) -> Result<u64> {
        Ok(0)
    }
    /// What a reader must know about this load.
    fn caveats(&self) -> Vec<Caveat>;
    /// Unloads; returns the nanoseconds it took.
    fn unload(self: Box<Self>) -> Result<u64>;
}

/// Counter groups around the windows.
pub trait Counters: std::fmt::Debug {
    /// The groups that count, in the order of the readings.
    fn groups(&self) -> &[Group];
    /// The events that the host would not count.
    fn refused(&self) -> &[Refusal];
    /// How often the windows are run, each time with other groups, so that all are counted and none is multiplexed.
    fn passes(&self) -> u32 {
        1
    }
    /// Chooses the groups that count in the windows to come: those that are in `pass`.
    fn select(&mut self, _pass: u32) {}
    fn enable(&mut self) -> Result<()>;
    fn disable(&mut self) -> Result<()>;
    /// Reads every group; one cumulative reading per group, empty counts if a group lost its counters or is not in the pass.
    fn read(&mut self, into: &mut Vec<Reading>) -> Result<()>;
}

/// Meters of what else ran on the CPU of the windows; read between windows, never inside.
pub trait Meters: std::fmt::Debug {
    /// What is read, in the order of the values.
    fn meters(&self) -> &[Meter];
    /// What this machine does not offer, and why.
    fn absent(&self) -> &[MeterAbsence];
    /// Cumulative values; a window's share is a difference.
    fn read(&mut self, into: &mut Vec<u64>) -> Result<()>;
}

/// Samples of iTLB misses, in windows of their own behind the counted ones.
pub trait MissSampler: std::fmt::Debug {
    /// What is sampled.
    fn sampling(&self) -> &Sampling;
    fn start(&mut self) -> Result<()>;
    fn stop(&mut self) -> Result<()>;
    /// Takes what was sampled since.
    fn drain(&mut self, into: &mut Vec<Record>) -> Result<()>;
    /// The symbols of kernel text as they are now.
    fn symbols(&self) -> Symbols;
}

/// Runs a victim on the CPU of the windows, again and again.
pub trait Tandem: std::fmt::Debug {
    /// Who it is, and what is counted of it.
    fn victim(&self) -> &Victim;
    /// Runs it once from begin to end and counts what it does on `side`; calls `burst` at the rhythm meanwhile.
    fn run(&mut self, side: CountSide, burst: Option<&mut dyn FnMut() -> Result<()>>) -> Result<VictimRun>;
    /// The same without bursts, in the control group that is entered by the file `entrance`.
    fn run_inside(&mut self, _side: CountSide, _entrance: &Path) -> Result<VictimRun> {
        Err(MachineError::bad_request("--hooked: the simulated machine has no control groups"))
    }
}

/// The programs of a load on other CPUs than that of the windows.
pub trait Peers: std::fmt::Debug {
    /// Fires on all of them; returns as they begin.
    fn begin(&mut self, target: Target, runs: u32) -> Result<()>;
    /// Waits for all; a window of each, in the order of the CPUs.
    fn end(&mut self) -> Result<Vec<CpuWindow>>;
}

/// Programs of no case that come and go.
pub trait Churn: std::fmt::Debug {
    /// The rate that was asked for.
    fn per_s(&self) -> u32;
    fn start(&mut self) -> Result<()>;
    /// Ends it, and says what was done since it began.
    fn stop(&mut self) -> Result<Churned>;
}
