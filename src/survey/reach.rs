//! How much of a CPU's iTLB all of it would take, were it all in use.

use serde::Serialize;

use crate::model::geometry::Core;
use crate::model::itlb::Level;
use crate::placement::Mapping;
use crate::placement::mapping::PageSize;

/// A number of translations against the entries of an iTLB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Core in the table of models.
    pub core: String,
    /// Translations that the code needs.
    pub needed: u32,
    /// Size of the pages they map.
    pub size: PageSize,
    /// Whether that size was observed, and not taken for granted.
    pub observed: bool,
    pub l1_entries: u32,
    pub l2_entries: u32,
    /// The L2 array holds data translations too.
    pub l2_holds_data: bool,
}

impl Reach {
    /// Against `core`: by 4 KiB pages unless `mapping` shows that all of it lies in larger ones.
    pub fn of(core: &Core, pages_4k: u32, mapping: Option<&Mapping>) -> Self {
        let size = mapping.and_then(Mapping::size).unwrap_or(PageSize::Small);
        let needed = mapping.map_or(pages_4k, |mapping| mapping.leaves);
        let geometry = core.geometry();
        let entries = |level: Level| match size {
            PageSize::Small => level.small.entries(),
            PageSize::Large | PageSize::Huge => level.huge.unwrap_or(level.small).entries(),
        };
        Self {
            core: core.title.clone(),
            needed,
            size,
            observed: mapping.is_some(),
            l1_entries: entries(geometry.l1),
            l2_entries: entries(geometry.l2),
            l2_holds_data: core.l2_holds_data,
        }
    }

    /// Share of the L1 in percent; beyond 100 it cannot hold it all.
    pub fn l1_percent(&self) -> f64 {
        percent(self.needed, self.l1_entries)
    }

    /// Share of the L2 in percent.
    pub fn l2_percent(&self) -> f64 {
        percent(self.needed, self.l2_entries)
    }
}

fn percent(part: u32, whole: u32) -> f64 {
    100.0 * f64::from(part) / f64::from(whole.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::geometry::cores;
    use crate::placement::mapping::{Leaf, Source};

    #[test]
    fn small_pages_are_taken_for_granted_until_larger_ones_are_seen() {
        let core = cores().iter().find(|core| core.name == "zen3").expect("in the table");
        let blind = Reach::of(core, 32, None);
        assert_eq!((blind.needed, blind.l1_entries, blind.observed), (32, 64, false));
        assert!((blind.l1_percent() - 50.0).abs() < 1e-9);
        let leaf = Leaf { size: PageSize::Large, writable: false, executable: true, global: false, frame: None };
        let leaves: BTreeMap<u64, Leaf> = (0..32).map(|page| (page, leaf)).collect();
        let pages: Vec<u64> = leaves.keys().copied().collect();
        let seen = Reach::of(core, 32, Some(&Mapping::of(Source::Ptdump, &pages, &leaves)));
        assert_eq!((seen.needed, seen.size, seen.observed), (1, PageSize::Large, true));
    }
}
