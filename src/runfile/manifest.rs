//! The head of a run: what was run, where, by which build of the tool.

use serde::{Deserialize, Serialize};

use crate::caveat::Caveat;
use crate::counters::{Group, Meter, MeterAbsence, Refusal};
use crate::host::Facts;
use crate::sampling::Sampling;
use crate::trial::record::Victim;
use crate::workload::Spec;

/// Which machine produced the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MachineKind {
    /// Real BPF programs in the running kernel.
    Kernel,
    /// A deterministic simulation; nothing was measured.
    Sim,
}

/// What stands against what in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// Pack off against pack on.
    #[default]
    Arms,
    /// Every case against itself: any difference is a false alarm.
    AgainstItself,
}

impl Design {
    /// The one that files do not spell out.
    pub fn is_arms(&self) -> bool {
        *self == Self::Arms
    }
}

/// What runs the instructions of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// qemu's own translator: the guest's time tells nothing.
    Tcg,
    /// The CPU itself.
    Kvm,
}

/// Whether an iTLB was modelled from the instructions that the guest fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fetches {
    /// The iTLB of this model.
    Modelled {
        model: String,
    },
    NotModelled {
        reason: String,
    },
}

/// The guest that a run was made in, if `itlbench kernels` booted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// What the command line calls the kernel.
    pub kernel: String,
    /// What the kernel's image says of itself.
    pub banner: String,
    /// From 1.
    pub boot: u32,
    pub accelerator: Accelerator,
    /// `qemu 10.0.2, TCG`.
    pub emulator: String,
    pub cpu_model: String,
    pub cpus: u32,
    pub memory_mib: u32,
    /// Added to the kernel's command line.
    pub append: String,
    /// Of the emulator: it decides KASLR and all other random numbers of the guest's firmware.
    pub seed: u64,
    /// What becomes of the guest's own instruction fetches.
    pub fetches: Fetches,
    /// How earlier tries of this boot ended, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deaths: Vec<String>,
}

impl Guest {
    /// Whether its times are the emulator's.
    pub fn is_emulated(&self) -> bool {
        self.accelerator == Accelerator::Tcg
    }
}

/// First record of a run file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub tool_version: String,
    pub machine: MachineKind,
    /// RFC 3339, UTC.
    pub started: String,
    pub argv: Vec<String>,
    pub seed: u64,
    pub design: Design,
    /// The CPU the windows ran on.
    pub cpu: u32,
    pub workloads: Vec<Spec>,
    pub planned_trials: u32,
    pub groups: Vec<Group>,
    pub refused: Vec<Refusal>,
    /// Noise meters read with every window, and those that were not to be had.
    pub meters: Vec<Meter>,
    pub meters_absent: Vec<MeterAbsence>,
    /// What `--attribute` samples.
    pub sampling: Option<Sampling>,
    /// Who ran beside the programs, if anybody was asked to.
    pub victim: Option<Victim>,
    /// Where a guest measured that `itlbench kernels` booted.
    pub guest: Option<Guest>,
    pub host: Facts,
    pub caveats: Vec<Caveat>,
}

impl Manifest {
    /// Whether an emulator ran the instructions, so that no time of the run tells anything.
    pub fn is_emulated(&self) -> bool {
        self.guest.as_ref().is_some_and(Guest::is_emulated)
    }
}
