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

/// What events of the front end cost; absent where nobody vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MissCosts {
    /// First level missed, second level hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_level_hit: Option<Cost>,
    /// A page walk, for CPUs that count walks and not the cycles they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub walk: Option<Cost>,
    /// What a walk costs beside the cycles that the CPU counts of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub walk_beside: Option<Cost>,
    /// A cycle in which fetch waits for its tags, as cost of the iTLB: what is not walk cycles is second-level hits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_stall: Option<Cost>,
    /// An issue slot lost by the front end: an E-core has so many a cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Cost>,
    /// A branch that the predictor did not know (BACLEARS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resteer: Option<Cost>,
    /// The front end's part of a mispredicted branch, where its cycles are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misprediction: Option<Cost>,
}

/// Cycles of an L1 iTLB miss that hits the second level, on the simulated CPU.
pub const SIMULATED_SECOND_LEVEL_HIT: u64 = 7;

impl MissCosts {
    /// What the vendor publishes for the CPU: `tma_itlb_misses`, `tma_unknown_branches` and `tma_branch_resteers` of Intel's
    /// top-down analysis (the metrics in the kernel's tools/perf/pmu-events/arch/x86, 7.3). AMD names no cost.
    pub fn published(cpu: Option<&CpuId>) -> Self {
        let name = cpu.and_then(|id| Catalog::get().identify(id)).map_or("", |cpu| cpu.name);
        let of = |metric: &str, cycles| Some(Cost { cycles, source: format!("Intel's {metric} metric") });
        let itlb = |cycles| of("ITLB_Misses", cycles);
        let (resteer, none) = (|cycles| of("Branch_Resteers", cycles), Self::default());
        let stalls = Self { tag_stall: itlb(1.0), ..none.clone() };
        let slots = |width: f64| Self { slot: of("ITLB_Misses", 1.0 / width), ..none.clone() };
        let haswell =
            Self { second_level_hit: itlb(14.0), resteer: resteer(12.0), misprediction: resteer(12.0), ..none.clone() };
        match name {
            "haswell" | "haswellx" => haswell,
            "broadwell" | "broadwellde" | "broadwellx" => Self { walk_beside: itlb(7.0), ..haswell },
            "skylake" | "skylakex" | "cascadelakex" => Self { resteer: resteer(9.0), ..stalls },
            "icelake" | "icelakex" | "tigerlake" | "rocketlake" => Self { resteer: resteer(10.0), ..stalls },
            "sapphirerapids" | "emeraldrapids" | "graniterapids" => stalls,
            // The roles of the two kinds of cores are distinct.
            "alderlake" => Self { tag_stall: itlb(1.0), ..slots(5.0) },
            "meteorlake" => Self { tag_stall: itlb(1.0), ..slots(6.0) },
            "alderlaken" => slots(5.0),
            "sierraforest" | "grandridge" => slots(6.0),
            // On their P-cores the metric takes stalls away that have no role here.
            "arrowlake" | "lunarlake" => slots(8.0),
            _ => none,
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
            assert_eq!(costs.walk, None, "nobody publishes one");
            let cycles = |cost: Option<Cost>| cost.map_or(0.0, |cost| cost.cycles);
            [costs.second_level_hit, costs.walk_beside, costs.tag_stall, costs.slot, costs.resteer, costs.misprediction]
                .map(cycles)
        };
        let intel = |model| published("GenuineIntel", 6, model);
        assert_eq!(intel(0x3f), [14.0, 0.0, 0.0, 0.0, 12.0, 12.0], "Haswell");
        assert_eq!(intel(0x4f), [14.0, 7.0, 0.0, 0.0, 12.0, 12.0], "Broadwell");
        assert_eq!(intel(0x55), [0.0, 0.0, 1.0, 0.0, 9.0, 0.0], "Skylake");
        assert_eq!(intel(0x6a), [0.0, 0.0, 1.0, 0.0, 10.0, 0.0], "Ice Lake");
        assert_eq!(intel(0x8f), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0], "Sapphire Rapids counts the cycles of resteers");
        assert_eq!(intel(0x97), [0.0, 0.0, 1.0, 0.2, 0.0, 0.0], "Alder Lake");
        assert_eq!(intel(0xaf), [0.0, 0.0, 0.0, 1.0 / 6.0, 0.0, 0.0], "Sierra Forest");
        assert_eq!(intel(0xbd), [0.0, 0.0, 0.0, 0.125, 0.0, 0.0], "Lunar Lake");
        assert_eq!(published("AuthenticAMD", 25, 0x01), [0.0; 6], "Zen 3");
        assert_eq!(MissCosts::published(None), MissCosts::default());
    }
}
