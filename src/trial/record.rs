//! What one trial leaves behind: raw counts only, every rate is derived on read.

use serde::{Deserialize, Serialize};

pub use super::beside::{Beside, DirectMap};
pub use super::company::{Churn, CpuWindow, Parallel};
pub use super::freed::Freed;
pub use super::victim::{Company, Repetition, Victim, VictimEvent};
use crate::caveat::Caveat;
use crate::counters::{Reading, Unusable};
use crate::model::fetched::Window;
use crate::placement::{Footprint, Image, Observed};
use crate::sampling::Misses;
use crate::workload::Case;

/// One counted window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Repetitions of the trigger.
    pub runs: u64,
    /// Executions of measured programs in the window.
    pub executions: u64,
    /// CLOCK_MONOTONIC around the trigger, from user space.
    pub wall_ns: u64,
    /// One reading per group, in the order of the run's groups.
    pub readings: Vec<Reading>,
    /// Differences of the run's noise meters, in their order; empty if none was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<u64>,
    /// Set if the window is left out, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub discarded: Option<Unusable>,
}

/// What loading a trial cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCost {
    /// Measured programs.
    pub programs: u32,
    /// Fillers, loaded in every arm alike.
    pub fillers: u32,
    /// Programs loaded only to plug holes or because they landed on a used page.
    pub plugs: u32,
    /// Waiting for deferred frees of earlier programs.
    pub settle_ns: u64,
    /// Loading, placing and verifying.
    pub load_ns: u64,
}

/// The check pass: every program counts its own executions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Programs that ran at least once.
    pub executed: u32,
    /// Fewest and most executions of one program.
    pub fewest: u64,
    pub most: u64,
    /// Executions in one run of the trigger, counted and not assumed.
    pub executions_per_run: u32,
}

/// One fresh load of a case, measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub case: Case,
    /// 0-based trial of that case.
    pub trial: u32,
    /// 0-based position in the run.
    pub sequence: u32,
    pub seed: u64,
    /// Seconds since the run began.
    pub started_ms: u64,
    pub footprint: Footprint,
    /// By which pages they are mapped, before the windows; absent in files that were written before it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Observed>,
    /// Memory, direct map and loading; absent in files that were written before it was looked at, and where nothing is real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// Where every program lies, in the order of visits.
    pub images: Vec<Image>,
    /// False if the placement missed its goal; then the trial is left out of the effect.
    pub placed: bool,
    pub load: LoadCost,
    pub check: Check,
    /// Windows with an empty program in place of the measured ones.
    pub baseline: Vec<Sample>,
    pub samples: Vec<Sample>,
    /// Misses sampled behind the counted windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misses: Option<Misses>,
    /// Runs of a victim, alone and beside the programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tandem: Vec<Repetition>,
    /// Windows on several CPUs at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Parallel>,
    /// Windows while programs came and went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
    /// What an emulator saw in each of `samples`: modelled from fetches, not counted by a CPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fetched: Vec<Window>,
    /// What unloading left; absent in files that were written before it was looked at, and where nobody can look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<Freed>,
    pub unload_ns: u64,
    #[serde(default)]
    pub caveats: Vec<Caveat>,
}

impl Trial {
    /// Windows that count.
    pub fn kept(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.discarded.is_none())
    }
}

#[cfg(test)]
impl Trial {
    /// A placed trial of `images` that measured nothing, for fixtures to fill in.
    pub(crate) fn bare(case: Case, images: Vec<Image>) -> Self {
        Self {
            case,
            trial: 0,
            sequence: 0,
            seed: 0,
            started_ms: 0,
            footprint: Footprint::of(&images),
            mapping: None,
            beside: None,
            images,
            placed: true,
            load: LoadCost::default(),
            check: Check::default(),
            baseline: Vec::new(),
            samples: Vec::new(),
            misses: None,
            tandem: Vec::new(),
            parallel: None,
            churn: None,
            fetched: Vec::new(),
            freed: None,
            unload_ns: 0,
            caveats: Vec::new(),
        }
    }
}
