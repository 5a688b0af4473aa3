//! What a case costs beside its own time: memory for code, the direct map, and loading. Raw, and apart from the iTLB: a placement
//! that splits the direct map makes everybody's data side dearer, which must not be taken for an effect on the iTLB.

use serde::{Deserialize, Serialize};

use crate::machine::{LoadedMemory, Settled};
use crate::samples::histogram;
use crate::survey::vmalloc::Packs;

/// How the kernel maps all physical memory, from /proc/meminfo and /proc/vmstat. Absent is absent: not every kernel counts all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectMap {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kib_4k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kib_2m: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kib_1g: Option<u64>,
    /// Since boot: pages of 2 MiB (level 2) and 1 GiB (level 3) that were split, and merged again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits_2m: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits_1g: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapses_2m: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapses_1g: Option<u64>,
}

/// Of one trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// When nothing of the tool's was left from the trial before, with everything loaded, and when all of it was free again.
    pub before: DirectMap,
    pub loaded: DirectMap,
    pub unloaded: DirectMap,
    /// Everybody's packs while the case was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packs: Option<Packs>,
    /// Nanoseconds of each load of a measured program or of a plug like it, as the system call took: HDR V2 in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_latency: Option<String>,
    /// From the end of the unloading until the memory was seen to be free.
    pub freed_ns: u64,
}

impl Beside {
    /// What a trial cost beside its time.
    pub fn of(before: Settled, memory: LoadedMemory, after: Settled) -> Self {
        Self {
            before: before.direct_map,
            loaded: memory.direct_map,
            unloaded: after.direct_map,
            packs: memory.packs,
            load_latency: histogram::of_values(&memory.load_latencies_ns).and_then(|all| histogram::encode(&all)).ok(),
            freed_ns: after.waited_ns,
        }
    }
}

impl DirectMap {
    /// From the texts of /proc/meminfo and /proc/vmstat.
    pub fn parse(meminfo: &str, vmstat: &str) -> Self {
        let kib = |key: &str| field(meminfo, key);
        let count = |key: &str| field(vmstat, key);
        Self {
            kib_4k: kib("DirectMap4k:"),
            kib_2m: kib("DirectMap2M:"),
            kib_1g: kib("DirectMap1G:"),
            splits_2m: count("direct_map_level2_splits"),
            splits_1g: count("direct_map_level3_splits"),
            collapses_2m: count("direct_map_level2_collapses"),
            collapses_1g: count("direct_map_level3_collapses"),
        }
    }

    /// Pages of any size that were split between `self` and `later`.
    pub fn splits_until(&self, later: &Self) -> Option<u64> {
        let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
        let (two, one) = (between(self.splits_2m, later.splits_2m), between(self.splits_1g, later.splits_1g));
        two.map(|two| two + one.unwrap_or(0))
    }
}

fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix([' ', '\t']))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_found_and_what_a_kernel_lacks_is_absent() {
        let meminfo = "MemTotal:  1 kB\nDirectMap4k:      774144 kB\nDirectMap2M:    16003072 kB\n";
        let vmstat = "direct_map_level2_splits 368\ndirect_map_level3_splits 14\nnr_free_pages 7\n";
        let map = DirectMap::parse(meminfo, vmstat);
        assert_eq!((map.kib_4k, map.kib_2m, map.kib_1g), (Some(774_144), Some(16_003_072), None));
        assert_eq!((map.splits_2m, map.splits_1g, map.collapses_2m), (Some(368), Some(14), None));
        assert_eq!(DirectMap::parse("", ""), DirectMap::default());
        assert_eq!(serde_json::to_string(&DirectMap::default()).unwrap(), "{}");
    }

    #[test]
    fn splits_of_both_sizes_add_up_and_are_unknown_where_they_are_not_counted() {
        let map = |two, one| DirectMap { splits_2m: two, splits_1g: one, ..DirectMap::default() };
        assert_eq!(map(Some(3), Some(1)).splits_until(&map(Some(10), Some(2))), Some(8));
        assert_eq!(map(Some(3), None).splits_until(&map(Some(10), None)), Some(7));
        assert_eq!(map(None, None).splits_until(&map(Some(10), None)), None);
    }
}
