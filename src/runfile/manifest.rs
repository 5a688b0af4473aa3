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
    pub host: Facts,
    pub caveats: Vec<Caveat>,
}
