//! What was observed of all pages of a placement, boiled down to what an iTLB sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::entry::{Leaf, PageSize};
use crate::placement::image::{Image, PAGE_BYTES};

/// Pages that AMD processors since Zen can hold in one entry where they are mapped to as many frames in a row, both aligned.
pub const COALESCED_PAGES: u64 = 4;

/// Where an observation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Page tables read through the direct map by a BPF program.
    BpfWalk,
    /// Page tables read through /proc/kcore.
    KcoreWalk,
    /// The kernel's own dump in debugfs.
    Ptdump,
    /// The simulated machine's invention.
    Simulated,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BpfWalk => "BPF page walk",
            Self::KcoreWalk => "/proc/kcore page walk",
            Self::Ptdump => "ptdump",
            Self::Simulated => "simulation",
        })
    }
}

/// How the pages of a placement are mapped, or why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    Seen(Mapping),
    Unknown { reason: String },
}

/// How the 4 KiB pages of a placement are mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub source: Source,
    /// Sources that were asked too and said the same of every page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreeing: Vec<Source>,
    /// Distinct 4 KiB pages that hold code.
    pub pages: u32,
    /// How many of them lie in a page of each size.
    pub mapped_4k: u32,
    pub mapped_2m: u32,
    pub mapped_1g: u32,
    /// How many are not mapped at all: code that is gone, or a wrong walk.
    pub unmapped: u32,
    pub read_only: u32,
    pub executable: u32,
    pub global: u32,
    /// Page-table leaves they lie in: the iTLB entries of a processor that merges none.
    pub leaves: u32,
    /// Where the frames are; absent if the source shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<Frames>,
    /// How the same source sees the kernel's own text; 2 MiB shows that it can see more than 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_text: Option<PageSize>,
}

/// Physical neighbourhood, which decides what can be merged into one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// Series of neighbouring pages that lie in neighbouring frames.
    pub runs: u32,
    /// Pages in the longest of them.
    pub longest: u32,
    /// iTLB entries of a processor that holds four such pages, aligned in both spaces, as one.
    pub leaves_merged_16k: u32,
}

/// The 4 KiB pages, by number, that hold code of `images`; sorted, each once.
pub fn pages_of(images: &[Image]) -> Vec<u64> {
    let pages: BTreeSet<u64> = images.iter().flat_map(Image::pages).collect();
    pages.into_iter().collect()
}

/// `pages` and those that could be merged with them, each once: what has to be looked at to count [`Frames`].
pub fn with_neighbours(pages: &[u64]) -> Vec<u64> {
    let blocks: BTreeSet<u64> = pages.iter().map(|page| page / COALESCED_PAGES).collect();
    blocks.into_iter().flat_map(|block| (0..COALESCED_PAGES).map(move |at| block * COALESCED_PAGES + at)).collect()
}

impl Mapping {
    /// Counts `pages`, as `leaves` (by page number, neighbours included) says they are mapped.
    pub fn of(source: Source, pages: &[u64], leaves: &BTreeMap<u64, Leaf>) -> Self {
        let seen: Vec<(u64, Leaf)> = pages.iter().filter_map(|page| Some((*page, *leaves.get(page)?))).collect();
        let count = |wanted: &dyn Fn(&Leaf) -> bool| seen.iter().filter(|(_, leaf)| wanted(leaf)).count() as u32;
        let distinct: BTreeSet<u64> = seen.iter().map(|(page, leaf)| leaf_start(*page, leaf)).collect();
        Self {
            source,
            agreeing: Vec::new(),
            pages: pages.len() as u32,
            mapped_4k: count(&|leaf| leaf.size == PageSize::Small),
            mapped_2m: count(&|leaf| leaf.size == PageSize::Large),
            mapped_1g: count(&|leaf| leaf.size == PageSize::Huge),
            unmapped: (pages.len() - seen.len()) as u32,
            read_only: count(&|leaf| !leaf.writable),
            executable: count(&|leaf| leaf.executable),
            global: count(&|leaf| leaf.global),
            leaves: distinct.len() as u32,
            frames: Frames::of(&seen, leaves),
            kernel_text: None,
        }
    }

    /// The size of page that maps all of it; `None` if sizes are mixed or something is not mapped.
    pub fn size(&self) -> Option<PageSize> {
        [(self.mapped_4k, PageSize::Small), (self.mapped_2m, PageSize::Large), (self.mapped_1g, PageSize::Huge)]
            .into_iter()
            .find_map(|(pages, size)| (pages == self.pages && pages > 0).then_some(size))
    }

    /// As one short phrase: `4 KiB RO+X`, or every size with its pages where they are mixed.
    pub fn phrase(&self) -> String {
        let of = |pages: u32, what: &str| (pages > 0).then(|| format!("{what}: {pages}"));
        let sizes = match self.size() {
            Some(size) => size.to_string(),
            None => [(self.mapped_4k, "4 KiB"), (self.mapped_2m, "2 MiB"), (self.mapped_1g, "1 GiB")]
                .into_iter()
                .filter_map(|(pages, size)| of(pages, size))
                .chain(of(self.unmapped, "not mapped"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        format!("{sizes} {}+{}", self.share(self.read_only, "RO", "RW"), self.share(self.executable, "X", "NX"))
    }

    fn share(&self, with: u32, all: &str, none: &str) -> String {
        let mapped = self.pages - self.unmapped;
        match with {
            0 => none.to_owned(),
            with if with == mapped => all.to_owned(),
            with => format!("{all} on {with} of {mapped}"),
        }
    }

    /// The source, and those that agree.
    pub fn sources(&self) -> String {
        let agreeing: Vec<String> = self.agreeing.iter().map(ToString::to_string).collect();
        match agreeing.is_empty() {
            true => self.source.to_string(),
            false => format!("{}, confirmed by {}", self.source, agreeing.join(" and ")),
        }
    }
}

impl Frames {
    /// `None` if the source shows no frames.
    fn of(seen: &[(u64, Leaf)], leaves: &BTreeMap<u64, Leaf>) -> Option<Self> {
        let framed: Vec<(u64, u64)> =
            seen.iter().map(|(page, leaf)| Some((*page, leaf.frame?))).collect::<Option<_>>()?;
        let (mut runs, mut longest, mut length) = (0, 0, 0);
        let mut before = None;
        for &(page, frame) in &framed {
            let goes_on = before == Some((page.wrapping_sub(1), frame.wrapping_sub(1)));
            length = if goes_on { length + 1 } else { 1 };
            runs += u32::from(!goes_on);
            longest = longest.max(length);
            before = Some((page, frame));
        }
        let merged: BTreeSet<u64> = seen.iter().map(|(page, leaf)| merged_start(*page, leaf, leaves)).collect();
        Some(Self { runs, longest, leaves_merged_16k: merged.len() as u32 })
    }
}

/// First page of the leaf that `page` lies in.
fn leaf_start(page: u64, leaf: &Leaf) -> u64 {
    let pages = leaf.size.bytes() / PAGE_BYTES;
    page / pages * pages
}

/// First page of what a processor that merges can hold in one entry with `page`.
fn merged_start(page: u64, leaf: &Leaf, leaves: &BTreeMap<u64, Leaf>) -> u64 {
    let start = page / COALESCED_PAGES * COALESCED_PAGES;
    let first = leaves.get(&start).and_then(|first| first.frame);
    let alike = |at: u64| {
        leaves.get(&(start + at)).is_some_and(|other| {
            let same = (other.size, other.writable, other.executable, other.global)
                == (leaf.size, leaf.writable, leaf.executable, leaf.global);
            same && other.frame == first.map(|frame| frame + at)
        })
    };
    let aligned = first.is_some_and(|frame| frame % COALESCED_PAGES == 0);
    match leaf.size {
        PageSize::Small if aligned && (0..COALESCED_PAGES).all(alike) => start,
        _ => leaf_start(page, leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Addr;

    fn text(size: PageSize, frame: u64) -> Leaf {
        Leaf { size, writable: false, executable: true, global: false, frame: Some(frame) }
    }

    /// Pages from 512 on, mapped one by one to `frames`.
    fn small(frames: &[u64]) -> BTreeMap<u64, Leaf> {
        frames.iter().enumerate().map(|(at, frame)| (512 + at as u64, text(PageSize::Small, *frame))).collect()
    }

    fn mapping(leaves: &BTreeMap<u64, Leaf>, pages: &[u64]) -> Mapping {
        Mapping::of(Source::BpfWalk, pages, leaves)
    }

    #[test]
    fn small_pages_are_a_leaf_each_and_large_ones_share_theirs() {
        let leaves = small(&[7, 9, 11, 20]);
        let seen = mapping(&leaves, &[512, 513, 515]);
        assert_eq!((seen.pages, seen.mapped_4k, seen.leaves, seen.size()), (3, 3, 3, Some(PageSize::Small)));
        assert_eq!(seen.phrase(), "4 KiB RO+X");
        let large: BTreeMap<u64, Leaf> = (512..1536).map(|page| (page, text(PageSize::Large, page))).collect();
        let seen = mapping(&large, &[512, 600, 1023, 1024]);
        assert_eq!((seen.mapped_2m, seen.leaves, seen.phrase().as_str()), (4, 2, "2 MiB RO+X"));
    }

    #[test]
    fn what_is_mixed_or_missing_is_said_page_by_page() {
        let mut leaves = small(&[1, 2, 3]);
        leaves.insert(1024, Leaf { writable: true, ..text(PageSize::Large, 0x200) });
        let seen = mapping(&leaves, &[512, 513, 514, 1024, 4000]);
        assert_eq!((seen.unmapped, seen.size()), (1, None));
        assert_eq!(seen.phrase(), "4 KiB: 3, 2 MiB: 1, not mapped: 1 RO on 3 of 4+X");
        assert_eq!(mapping(&leaves, &[]).size(), None);
    }

    #[test]
    fn runs_are_neighbours_in_both_spaces() {
        let leaves = small(&[100, 101, 102, 300, 301, 50]);
        let frames = mapping(&leaves, &[512, 513, 514, 515, 516, 517]).frames.unwrap();
        assert_eq!((frames.runs, frames.longest), (3, 3));
        // A page in between is not used: its neighbours are no run.
        assert_eq!(mapping(&leaves, &[512, 514]).frames.unwrap().runs, 2);
        assert_eq!(mapping(&small(&[100, 7, 101]), &[512, 514]).frames.unwrap().runs, 2, "frames alone make no run");
    }

    #[test]
    fn four_aligned_neighbours_merge_and_nothing_less() {
        let merged = |frames: &[u64], pages: &[u64]| mapping(&small(frames), pages).frames.unwrap().leaves_merged_16k;
        assert_eq!(merged(&[8, 9, 10, 11, 40, 41, 42, 43], &[512, 513, 515, 516]), 2);
        assert_eq!(merged(&[9, 10, 11, 12], &[512, 513, 514, 515]), 4, "frames are not aligned");
        assert_eq!(merged(&[8, 9, 10, 12], &[512, 513]), 2, "the fourth lies elsewhere, though it is not used");
        assert_eq!(merged(&[8, 9, 10], &[512, 513]), 2, "the fourth is not mapped");
    }

    #[test]
    fn rights_must_be_the_same_to_merge() {
        let mut leaves = small(&[8, 9, 10, 11]);
        leaves.get_mut(&515).unwrap().executable = false;
        assert_eq!(mapping(&leaves, &[512, 513]).frames.unwrap().leaves_merged_16k, 2);
    }

    #[test]
    fn a_source_without_frames_says_nothing_of_runs() {
        let leaves = BTreeMap::from([(512, Leaf { frame: None, ..text(PageSize::Small, 0) })]);
        assert_eq!(Mapping::of(Source::Ptdump, &[512], &leaves).frames, None);
    }

    #[test]
    fn pages_are_looked_at_once_and_with_the_block_they_lie_in() {
        let images = [Image { addr: Addr(0x5fc8), len: 100 }, Image { addr: Addr(0x6100), len: 64 }];
        assert_eq!(pages_of(&images), [5, 6]);
        assert_eq!(with_neighbours(&[5, 6, 9]), [4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn the_wire_form_is_short_and_reads_back() {
        let mut seen = mapping(&small(&[8, 9]), &[512, 513]);
        let json = serde_json::to_string(&Observed::Seen(seen.clone())).unwrap();
        assert!(json.starts_with(r#"{"seen":{"source":"bpf_walk","pages":2,"mapped_4k":2,"#), "{json}");
        seen.agreeing = vec![Source::KcoreWalk, Source::Ptdump];
        seen.kernel_text = Some(PageSize::Large);
        assert_eq!(seen.sources(), "BPF page walk, confirmed by /proc/kcore page walk and ptdump");
        let json = serde_json::to_string(&Observed::Seen(seen.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Observed>(&json).unwrap(), Observed::Seen(seen));
        let unknown = Observed::Unknown { reason: "lockdown".to_owned() };
        assert_eq!(serde_json::to_string(&unknown).unwrap(), r#"{"unknown":{"reason":"lockdown"}}"#);
    }
}
