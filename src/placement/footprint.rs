//! The pages a set of images touches: what an iTLB has to hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::image::{Image, PAGE_BYTES};
use super::pack;
use crate::workload::PackMode;

/// What a placement amounts to; computed from addresses read back, never from what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Programs whose address and length were read back.
    pub programs: u32,
    /// Bytes of JITed code.
    pub jited_bytes: u64,
    /// Distinct 4 KiB pages that hold code.
    pub pages_4k: u32,
    /// Distinct 2 MiB regions that hold code.
    pub regions_2m: u32,
    /// Pages that the same chunks would need without any gap.
    pub ideal_pages_4k: u32,
    /// Programs none of whose pages holds another program of the set.
    pub own_page_programs: u32,
    /// Programs whose 2 MiB region holds no other program of the set.
    #[serde(default)]
    pub own_region_programs: u32,
    /// Distinct cache-line offsets inside the page at which programs begin, of 64.
    pub line_offsets: u32,
}

/// A goal of placement that was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub goal: String,
    pub reached: String,
}

/// Pack on may use so many percent of the ideal number of pages, or one page more.
const DENSE_PERCENT: u32 = 110;
/// Pack off must give so many percent of the programs pages, or regions, of their own.
const OWN_PERCENT: f64 = 99.0;

impl Footprint {
    /// Whether this placement is what its arm is for; `None` if it is.
    pub fn missed(&self, pack: PackMode) -> Option<Missed> {
        match pack {
            PackMode::On | PackMode::Placebo => {
                let most = (self.ideal_pages_4k * DENSE_PERCENT / 100).max(self.ideal_pages_4k + 1);
                (self.pages_4k > most).then(|| Missed {
                    goal: format!("at most {most} pages"),
                    reached: format!("{} pages", self.pages_4k),
                })
            }
            PackMode::Off => missed_own("pages", self.own_page_programs, self.programs),
            PackMode::OffTwoMeg => missed_own("2 MiB regions", self.own_region_programs, self.programs),
        }
    }

    /// Footprint of `images`.
    pub fn of(images: &[Image]) -> Self {
        let users = count(images.iter().flat_map(Image::pages));
        let regions = count(images.iter().flat_map(Image::regions));
        let lines = images.iter().fold(0u64, |seen, image| seen | 1 << image.addr.line_in_page());
        let chunks: u64 = images.iter().map(|image| u64::from(pack::chunks(image.len))).sum();
        let alone = |image: &&Image| image.pages().all(|page| users.get(&page) == Some(&1));
        let region_alone = |image: &&Image| image.regions().all(|region| regions.get(&region) == Some(&1));
        Self {
            programs: images.len() as u32,
            jited_bytes: images.iter().map(|image| u64::from(image.len)).sum(),
            pages_4k: users.len() as u32,
            regions_2m: regions.len() as u32,
            ideal_pages_4k: (chunks * pack::CHUNK_BYTES).div_ceil(PAGE_BYTES) as u32,
            own_page_programs: images.iter().filter(alone).count() as u32,
            own_region_programs: images.iter().filter(region_alone).count() as u32,
            line_offsets: lines.count_ones(),
        }
    }

    /// Share of the touched pages' bytes that is code, in percent.
    pub fn density_percent(&self) -> f64 {
        100.0 * self.jited_bytes as f64 / (f64::from(self.pages_4k.max(1)) * PAGE_BYTES as f64)
    }

    /// Share of the programs that have their pages to themselves, in percent.
    pub fn own_pages_percent(&self) -> f64 {
        100.0 * f64::from(self.own_page_programs) / f64::from(self.programs.max(1))
    }
}

/// How many programs touch each page, or region.
fn count(units: impl Iterator<Item = u64>) -> BTreeMap<u64, u32> {
    let mut users = BTreeMap::new();
    for unit in units {
        *users.entry(unit).or_default() += 1;
    }
    users
}

fn missed_own(unit: &str, own: u32, programs: u32) -> Option<Missed> {
    let percent = 100.0 * f64::from(own) / f64::from(programs.max(1));
    (percent < OWN_PERCENT).then(|| Missed {
        goal: format!("{OWN_PERCENT} % of the programs on own {unit}"),
        reached: format!("{percent:.1} %, {} programs too few", own_goal(programs).saturating_sub(own)),
    })
}

fn own_goal(programs: u32) -> u32 {
    (f64::from(programs) * OWN_PERCENT / 100.0).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Addr;

    fn image(addr: u64, len: u32) -> Image {
        Image { addr: Addr(addr), len }
    }

    #[test]
    fn packed_programs_share_a_page() {
        let images: Vec<Image> = (0..32).map(|i| image(0xffff_ffff_c000_0008 + i * 128, 100)).collect();
        let footprint = Footprint::of(&images);
        assert_eq!((footprint.pages_4k, footprint.regions_2m, footprint.ideal_pages_4k), (1, 1, 1));
        assert_eq!(footprint.own_page_programs, 0);
        assert_eq!(footprint.line_offsets, 32);
        assert!((footprint.density_percent() - 78.125).abs() < 1e-9);
    }

    #[test]
    fn a_program_across_a_page_border_counts_both_pages() {
        let footprint = Footprint::of(&[image(0x1fc8, 100)]);
        assert_eq!((footprint.pages_4k, footprint.own_page_programs), (2, 1));
    }

    #[test]
    fn spread_programs_have_their_own_pages() {
        let images: Vec<Image> = (0..512).map(|i| image(0xffff_ffff_c000_0008 + i * 8256, 100)).collect();
        let footprint = Footprint::of(&images);
        assert_eq!(footprint.own_page_programs, 512);
        assert_eq!(footprint.line_offsets, 64);
        assert_eq!(footprint.regions_2m, 3);
    }

    #[test]
    fn a_shared_page_is_nobodys_own() {
        let footprint = Footprint::of(&[image(0x1000, 64), image(0x1080, 64), image(0x3000, 64)]);
        assert_eq!((footprint.pages_4k, footprint.own_page_programs), (2, 1));
    }

    #[test]
    fn a_missed_goal_says_by_how_much() {
        let shared: Vec<Image> = (0..64).map(|i| image(0x10_0000 + i * 2048, 121)).collect();
        let footprint = Footprint::of(&shared);
        let on = footprint.missed(PackMode::On).expect("32 pages instead of 3");
        assert_eq!((on.goal.as_str(), on.reached.as_str()), ("at most 4 pages", "32 pages"));
        assert_eq!(footprint.missed(PackMode::Off).expect("two to a page").reached, "0.0 %, 64 programs too few");
        let spread: Vec<Image> = (0..64).map(|i| image(0x10_0000 + i * 8256, 121)).collect();
        assert_eq!(Footprint::of(&spread).missed(PackMode::Off), None);
        let regions = Footprint::of(&spread).missed(PackMode::OffTwoMeg).expect("one region");
        assert_eq!(regions.goal, "99 % of the programs on own 2 MiB regions");
        assert_eq!(footprint.missed(PackMode::Placebo), Some(on));
    }

    #[test]
    fn programs_in_regions_of_their_own_are_counted() {
        let at = |region: u64| image(0xffff_ffff_c000_0040 + region * (2 << 20), 121);
        let footprint = Footprint::of(&[at(0), at(1), at(1), at(7)]);
        assert_eq!((footprint.regions_2m, footprint.own_region_programs), (3, 2));
        assert_eq!(Footprint::of(&[at(0), at(1), at(7)]).missed(PackMode::OffTwoMeg), None);
    }

    #[test]
    fn nothing_loaded_is_nothing_touched() {
        let footprint = Footprint::of(&[]);
        assert_eq!((footprint.pages_4k, footprint.programs), (0, 0));
        assert_eq!(footprint.own_pages_percent(), 0.0);
    }
}
