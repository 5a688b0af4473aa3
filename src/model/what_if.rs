//! The same programs under another mapping or placement, and the number of programs at which an iTLB runs out.

use std::collections::{BTreeMap, BTreeSet};

use super::itlb::{Geometry, PageSize};
use super::predict::{Load, Prediction, one_round};
use crate::placement::image::{LINE_BYTES, PAGE_BYTES};
use crate::placement::pack::{CHUNK_BYTES, chunks};
use crate::placement::{Addr, Image};
use crate::workload::Order;

/// Where placements of our own begin: a multiple of 2 MiB with room behind it.
const BASE: u64 = 0xffff_c000_0000_0000;
/// Bytes of `struct bpf_binary_header` before the code.
const HEADER_BYTES: u64 = 8;
/// Page and guard page, as `bpf_jit_binary_alloc` places programs on vmalloc.
const SPREAD_BYTES: u64 = 2 * PAGE_BYTES;

/// Another world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WhatIf {
    /// Where they are, mapped by pages of 2 MiB
    #[serde(rename = "2m")]
    #[value(name = "2m")]
    Huge,
    /// One behind the other at the kernel's 64-byte grain, in pages of 4 KiB
    Dense,
    /// Each on pages of its own and a guard page behind, as before Linux 5.18
    Spread,
}

impl WhatIf {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Huge, Self::Dense, Self::Spread];

    /// Where `images` would lie, in the same order, and by which pages they would be mapped.
    pub fn of(self, images: &[Image]) -> (Vec<Image>, PageSize) {
        match self {
            Self::Huge => (images.to_vec(), PageSize::Huge),
            Self::Dense => (dense(images.iter().map(|image| image.len)), PageSize::Small),
            Self::Spread => (spread(images.iter().map(|image| image.len)), PageSize::Small),
        }
    }
}

impl WhatIf {
    /// How many translations `images` would need, and of which size.
    pub fn needed(self, images: &[Image]) -> (u32, PageSize) {
        let (images, pages) = self.of(images);
        let numbers: BTreeSet<u64> = match pages {
            PageSize::Small => images.iter().flat_map(Image::pages).collect(),
            PageSize::Huge => images.iter().flat_map(Image::regions).collect(),
        };
        (numbers.len() as u32, pages)
    }
}

impl std::fmt::Display for WhatIf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Huge => "2m",
            Self::Dense => "dense",
            Self::Spread => "spread",
        })
    }
}

/// Programs of the given lengths, as many chunks each as `bpf_prog_pack_alloc` takes for them, without a gap.
pub fn dense(lengths: impl Iterator<Item = u32>) -> Vec<Image> {
    let mut at = BASE;
    lengths
        .map(|len| {
            let image = Image { addr: Addr(at + HEADER_BYTES), len };
            at += u64::from(chunks(len)) * CHUNK_BYTES;
            image
        })
        .collect()
}

/// Programs of the given lengths, each on pages of its own, each a cache line further in its page than the last.
pub fn spread(lengths: impl Iterator<Item = u32>) -> Vec<Image> {
    let mut at = BASE;
    lengths
        .enumerate()
        .map(|(i, len)| {
            let room = PAGE_BYTES.saturating_sub(HEADER_BYTES + u64::from(len)) / LINE_BYTES + 1;
            let addr = at + i as u64 % room * LINE_BYTES + HEADER_BYTES;
            at = (addr + u64::from(len)).next_multiple_of(PAGE_BYTES).max(at + PAGE_BYTES) + SPREAD_BYTES - PAGE_BYTES;
            Image { addr: Addr(addr), len }
        })
        .collect()
}

/// Programs of the given lengths, each at the begin of a region of 2 MiB.
pub fn regions(lengths: impl Iterator<Item = u32>) -> Vec<Image> {
    let at = (0..).map(|nth: u64| Addr(BASE + nth * (2 << 20) + HEADER_BYTES));
    lengths.zip(at).map(|(len, addr)| Image { addr, len }).collect()
}

/// The number of programs from which on a level misses; `None`: not up to [`MOST_PROGRAMS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knees {
    pub l1: Option<u32>,
    pub l2: Option<u32>,
}

/// No knee is looked for beyond.
pub const MOST_PROGRAMS: u32 = 1 << 17;
/// Misses per 1000 executions that make a knee.
const KNEE_PER_1000: f64 = 10.0;

/// Where programs run out of `geometry` in the order of `chain`, so many of them as `place` puts them. One percent of the
/// executions missing makes a knee; the search takes more programs never to miss less.
pub fn knees(geometry: &Geometry, pages: PageSize, place: &dyn Fn(u32) -> Vec<Image>) -> Knees {
    let at = |programs: u32| {
        let images = place(programs);
        let load = Load { images: &images, pages, order: Order::Permuted, seed: 0, executions_per_run: 33 };
        one_round(&load, geometry)
    };
    let mut known: BTreeMap<u32, Prediction> = BTreeMap::new();
    let mut knee = |misses: fn(&Prediction) -> f64| {
        first(|programs| misses(known.entry(programs).or_insert_with(|| at(programs))) >= KNEE_PER_1000)
    };
    Knees { l1: knee(Prediction::l1_per_1000), l2: knee(Prediction::walks_per_1000) }
}

/// The least number from 1 on that `holds`, found by doubling and halving.
fn first(mut holds: impl FnMut(u32) -> bool) -> Option<u32> {
    let mut high = 1;
    while !holds(high) {
        high *= 2;
        if high > MOST_PROGRAMS {
            return None;
        }
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::geometry::Named;
    use crate::placement::Footprint;

    fn lengths(programs: u32) -> impl Iterator<Item = u32> {
        std::iter::repeat_n(121, programs as usize)
    }

    #[test]
    fn dense_programs_take_the_ideal_pages_and_spread_ones_a_page_each() {
        let lengths = || (0..500).map(|i| 100 + i % 7 * 300);
        let print = Footprint::of(&dense(lengths()));
        assert_eq!((print.pages_4k, print.programs), (print.ideal_pages_4k, 500));
        let print = Footprint::of(&spread(lengths()));
        assert_eq!((print.pages_4k, print.own_page_programs, print.regions_2m), (500, 500, 2));
        let long = Footprint::of(&spread(std::iter::repeat_n(6000, 20)));
        assert_eq!((long.pages_4k, long.own_page_programs), (40, 20));
    }

    #[test]
    fn another_world_keeps_order_and_lengths() {
        let images = [Image { addr: Addr(0x5000), len: 130 }, Image { addr: Addr(0x1000), len: 70 }];
        for what in WhatIf::ALL {
            let (other, _) = what.of(&images);
            assert_eq!(other.iter().map(|image| image.len).collect::<Vec<_>>(), [130, 70]);
        }
        assert_eq!(WhatIf::Huge.of(&images), (images.to_vec(), PageSize::Huge));
    }

    #[test]
    fn knees_are_where_pages_meet_entries() {
        // zen4: 64 entries for programs, the entry program and four of kernel text; 21 programs of 3 chunks to a page.
        let zen4 = Named::find("zen4").unwrap().geometry;
        let apart = knees(&zen4, PageSize::Small, &|n| spread(lengths(n)));
        let l1 = apart.l1.unwrap();
        assert!((50..=64).contains(&l1), "{l1}");
        // A stride of two pages uses half of the sets of a second level that is indexed by low bits.
        let l2 = apart.l2.unwrap();
        assert!((200..=257).contains(&l2), "{l2}");
        let packed = knees(&zen4, PageSize::Small, &|n| dense(lengths(n)));
        assert!((58 * 21..=64 * 22).contains(&packed.l1.unwrap()), "{packed:?}");
        // A set too many by one loses five pages, each to 21 executions: it takes some twenty sets to make a percent.
        assert!((512 * 21..=540 * 22).contains(&packed.l2.unwrap()), "{packed:?}");
        let huge = knees(&zen4, PageSize::Huge, &|n| spread(lengths(n)));
        // 256 in a row share an entry of 2 MiB: one execution in 256 misses at most, which is no knee.
        assert_eq!(huge, Knees { l1: None, l2: None });
        // A region each takes an entry of 2 MiB each; the entry program lies in the last one's.
        let own = knees(&zen4, PageSize::Huge, &|n| regions(lengths(n)));
        assert_eq!(own.l1, Some(61));
        assert!((500..=520).contains(&own.l2.unwrap()), "{own:?}");
    }

    #[test]
    fn the_first_number_is_found() {
        for wanted in [1, 2, 3, 700, MOST_PROGRAMS] {
            assert_eq!(first(|n| n >= wanted), Some(wanted));
        }
        assert_eq!(first(|_| false), None);
    }
}
