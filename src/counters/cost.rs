//! What a miss costs in cycles, as far as somebody vouches for it.

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, CpuId};

/// A cost and who says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub cycles: f64,
    /// "Intel, top-down analysis", "itlbench calibrate", ...
    pub source: String,
}

/// Costs of both kinds of miss; absent where nobody vouches for one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MissCosts {
    /// First level missed, second level hit.
    pub second_level_hit: Option<Cost>,
    /// A page walk, for CPUs that count walks and not the cycles they take.
    pub walk: Option<Cost>,
}

/// Cycles of an L1 iTLB miss that hits the second level, on the simulated CPU.
pub const SIMULATED_SECOND_LEVEL_HIT: u64 = 7;

impl MissCosts {
    /// What the vendor publishes for the CPU: Intel's `ITLB_Misses` of Haswell and Broadwell takes 14 cycles for a hit in
    /// the STLB (kernel, tools/perf/pmu-events/arch/x86/haswell/hsw-metrics.json). From Skylake on Intel counts stalls instead
    /// and names no cost, and AMD names none.
    pub fn published(cpu: Option<&CpuId>) -> Self {
        let known = cpu.and_then(|id| Catalog::get().identify(id));
        let haswell = known.is_some_and(|cpu| cpu.name.starts_with("haswell") || cpu.name.starts_with("broadwell"));
        let source = "Intel's ITLB_Misses metric".to_owned();
        Self { second_level_hit: haswell.then_some(Cost { cycles: 14.0, source }), walk: None }
    }

    /// Those of the simulated CPU.
    pub fn simulated() -> Self {
        let source = "as the simulation is made".to_owned();
        Self { second_level_hit: Some(Cost { cycles: SIMULATED_SECOND_LEVEL_HIT as f64, source }), walk: None }
    }
}
