//! perf's symbolic names of generic events, with the kernel's codes (include/uapi/linux/perf_event.h).

use super::{EventCode, Role};

/// A generic event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub role: Role,
    pub pmu_type: u32,
    pub config: u64,
}

const HARDWARE: [(&str, Role, u64); 12] = [
    ("cycles", Role::Cycles, 0),
    ("cpu-cycles", Role::Cycles, 0),
    ("instructions", Role::Instructions, 1),
    ("cache-references", Role::Other, 2),
    ("cache-misses", Role::Other, 3),
    ("branches", Role::Other, 4),
    ("branch-instructions", Role::Other, 4),
    ("branch-misses", Role::BranchMisses, 5),
    ("bus-cycles", Role::Other, 6),
    ("stalled-cycles-frontend", Role::Other, 7),
    ("stalled-cycles-backend", Role::Other, 8),
    ("ref-cycles", Role::Other, 9),
];

const SOFTWARE: [(&str, Role, u64); 13] = [
    ("cpu-clock", Role::Other, 0),
    ("task-clock", Role::TaskClock, 1),
    ("page-faults", Role::PageFaults, 2),
    ("faults", Role::PageFaults, 2),
    ("context-switches", Role::ContextSwitches, 3),
    ("cs", Role::ContextSwitches, 3),
    ("cpu-migrations", Role::Migrations, 4),
    ("migrations", Role::Migrations, 4),
    ("minor-faults", Role::Other, 5),
    ("major-faults", Role::Other, 6),
    ("alignment-faults", Role::Other, 7),
    ("emulation-faults", Role::Other, 8),
    ("dummy", Role::Other, 9),
];

/// Caches by number; the words behind them say operation and result.
const CACHES: [(&str, u64); 7] =
    [("L1-dcache", 0), ("L1-icache", 1), ("LLC", 2), ("dTLB", 3), ("iTLB", 4), ("branch", 5), ("node", 6)];
/// `op << 8 | result << 16`.
const ACCESSES: [(&str, u64); 6] = [
    ("loads", 0),
    ("load-misses", 1 << 16),
    ("stores", 1 << 8),
    ("store-misses", 1 << 8 | 1 << 16),
    ("prefetches", 2 << 8),
    ("prefetch-misses", 2 << 8 | 1 << 16),
];

/// The generic event that perf calls `name`.
pub fn known(name: &str) -> Option<Known> {
    let of = |table: &[(&str, Role, u64)], pmu_type| {
        let found = table.iter().find(|(known, ..)| *known == name);
        found.map(|&(_, role, config)| Known { role, pmu_type, config })
    };
    of(&HARDWARE, EventCode::HARDWARE).or_else(|| of(&SOFTWARE, EventCode::SOFTWARE)).or_else(|| cache(name))
}

fn cache(name: &str) -> Option<Known> {
    CACHES.iter().find_map(|(cache, number)| {
        let access = name.strip_prefix(cache)?.strip_prefix('-')?;
        let (_, bits) = ACCESSES.iter().find(|(known, _)| *known == access)?;
        let config = number | bits;
        let role = match config {
            0x1_0001 => Role::L1iMisses,
            0x1_0003 => Role::DtlbMisses,
            0x1_0004 => Role::ItlbMisses,
            0x4 => Role::ItlbLoads,
            _ => Role::Other,
        };
        Some(Known { role, pmu_type: EventCode::HW_CACHE, config })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_names_have_the_codes_of_the_kernels_header() {
        for (name, pmu_type, config) in [
            ("cycles", 0, 0),
            ("instructions", 0, 1),
            ("branch-misses", 0, 5),
            ("page-faults", 1, 2),
            ("cs", 1, 3),
            ("iTLB-loads", 3, 0x4),
            ("iTLB-load-misses", 3, 0x1_0004),
            ("dTLB-store-misses", 3, 0x1_0103),
            ("L1-icache-load-misses", 3, 0x1_0001),
            ("node-prefetches", 3, 0x206),
        ] {
            let found = known(name).unwrap();
            assert_eq!((found.pmu_type, found.config), (pmu_type, config), "{name}");
        }
        assert_eq!(known("iTLB-misses"), None);
        assert_eq!(known("iTLB"), None);
    }
}
