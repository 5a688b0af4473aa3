//! How much of a CPU's iTLB all of it would take, were it all in use.

use serde::Serialize;

use crate::model::geometry::Core;
use crate::model::itlb::Level;
use crate::model::{self, WhatIf};
use crate::placement::image::{PAGE_BYTES, REGION_BYTES};
use crate::placement::mapping::PageSize;
use crate::placement::{Image, Mapping};

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

/// What the same code would need in another world.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Elsewhere {
    pub world: WhatIf,
    /// Translations, and the size of the pages they map.
    pub needed: u32,
    pub page_bytes: u64,
    /// Core in the table of models, and shares of its levels in percent; absent if the CPU is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modelled: Option<Shares>,
}

/// Shares of the levels of an iTLB in percent; beyond 100 it cannot hold all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shares {
    pub core: String,
    pub l1_percent: f64,
    pub l2_percent: f64,
}

impl Elsewhere {
    /// `images` in `world`, against `core`.
    pub fn of(world: WhatIf, images: &[Image], core: Option<&Core>) -> Self {
        let (needed, size) = world.needed(images);
        let entries = |level: Level| match size {
            model::PageSize::Small => level.small.entries(),
            model::PageSize::Huge => level.huge.unwrap_or(level.small).entries(),
        };
        let shares = |core: &Core| {
            let geometry = core.geometry();
            let [l1_percent, l2_percent] = [geometry.l1, geometry.l2].map(|level| percent(needed, entries(level)));
            Shares { core: core.title.clone(), l1_percent, l2_percent }
        };
        let page_bytes = match size {
            model::PageSize::Small => PAGE_BYTES,
            model::PageSize::Huge => REGION_BYTES,
        };
        Self { world, needed, page_bytes, modelled: core.map(shares) }
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
    use crate::placement::Addr;
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

    #[test]
    fn other_worlds_are_counted_in_translations_and_shares_of_the_itlb() {
        let images: Vec<Image> = (0..128).map(|i| Image { addr: Addr(0x20_0000 + i * 8192), len: 121 }).collect();
        let zen4 = cores().iter().find(|core| core.name == "zen4").expect("in the table");
        let of = |world| {
            let elsewhere = Elsewhere::of(world, &images, Some(zen4));
            let l1_percent = elsewhere.modelled.expect("zen4").l1_percent;
            (elsewhere.needed, elsewhere.page_bytes, (l1_percent * 10.0).round() / 10.0)
        };
        assert_eq!(of(WhatIf::Huge), (1, 2 << 20, 1.6));
        assert_eq!(of(WhatIf::Dense), (6, 4096, 9.4));
        assert_eq!(of(WhatIf::Spread), (128, 4096, 200.0));
        let nowhere = Elsewhere::of(WhatIf::Huge, &[], None);
        assert_eq!((nowhere.needed, nowhere.modelled), (0, None));
    }
}
