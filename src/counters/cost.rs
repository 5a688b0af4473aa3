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
    /// What a walk costs beside the cycles that the CPU counts of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk_beside: Option<Cost>,
}

/// Cycles of an L1 iTLB miss that hits the second level, on the simulated CPU.
pub const SIMULATED_SECOND_LEVEL_HIT: u64 = 7;

impl MissCosts {
    /// What the vendor publishes for the CPU: Intel's `ITLB_Misses` takes 14 cycles for a hit in the STLB on Haswell and
    /// Broadwell, and on Broadwell 7 for a completed walk beside its cycles (`tma_itlb_misses` in the kernel's
    /// tools/perf/pmu-events/arch/x86). From Skylake on Intel counts stalls instead and names no cost, and AMD names none.
    pub fn published(cpu: Option<&CpuId>) -> Self {
        let name = cpu.and_then(|id| Catalog::get().identify(id)).map_or("", |cpu| cpu.name);
        let broadwell = name.starts_with("broadwell");
        let cost = |cycles| Cost { cycles, source: "Intel's ITLB_Misses metric".to_owned() };
        Self {
            second_level_hit: (broadwell || name.starts_with("haswell")).then(|| cost(14.0)),
            walk: None,
            walk_beside: broadwell.then(|| cost(7.0)),
        }
    }

    /// Those of the simulated CPU.
    pub fn simulated() -> Self {
        let source = "as the simulation is made".to_owned();
        Self { second_level_hit: Some(Cost { cycles: SIMULATED_SECOND_LEVEL_HIT as f64, source }), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_that_intel_publishes_and_no_others() {
        let published = |vendor: &str, family, model| {
            let costs = MissCosts::published(Some(&CpuId { vendor: vendor.to_owned(), family, model, stepping: 1 }));
            let cycles = |cost: Option<Cost>| cost.map(|cost| cost.cycles);
            [costs.second_level_hit, costs.walk, costs.walk_beside].map(cycles)
        };
        assert_eq!(published("GenuineIntel", 6, 0x3f), [Some(14.0), None, None], "Haswell");
        assert_eq!(published("GenuineIntel", 6, 0x4f), [Some(14.0), None, Some(7.0)], "Broadwell");
        assert_eq!(published("GenuineIntel", 6, 0x55), [None; 3], "Skylake");
        assert_eq!(published("AuthenticAMD", 25, 0x01), [None; 3], "Zen 3");
        assert_eq!(MissCosts::published(None), MissCosts::default());
    }
}
