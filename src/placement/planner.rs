//! What to load next to get a placement. Pure: it is told where each program landed and answers with the next step; the
//! machine executes the steps. It never trusts a landing it was not told of, so foreign programs that load or
//! unload meanwhile cost extra loads, not a wrong placement.

use std::collections::HashSet;

use super::image::{Addr, Image, LINE_BYTES, PAGE_BYTES};
use super::pack::{self, CHUNK_BYTES, CHUNKS_PER_PAGE};
use crate::workload::{OffsetRule, Stride};

/// The next thing to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next measured program.
    Measured,
    /// A filler of exactly so many chunks.
    Filler { chunks: u32 },
}

/// What to do with a measured program that has just been loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It lies where its arm wants it.
    Keep,
    /// It does not: hold it to the end of the trial, so that its place stays taken, and load it again.
    Plug,
}

/// Places every program on pages that no other measured program uses.
#[derive(Debug)]
pub struct Spread {
    stride_bytes: u64,
    offset: OffsetRule,
    used_pages: HashSet<u64>,
    kept: u32,
    filler: Option<u32>,
}

impl Spread {
    /// A plan for programs `stride` apart with offsets by `offset`.
    pub fn new(stride: Stride, offset: OffsetRule) -> Self {
        Self { stride_bytes: stride.bytes(), offset, used_pages: HashSet::new(), kept: 0, filler: None }
    }

    /// The next step: a filler after every landing, then a measured program.
    pub fn next_step(&mut self) -> Step {
        match self.filler.take() {
            Some(chunks) => Step::Filler { chunks },
            None => Step::Measured,
        }
    }

    /// Tells where a measured program landed, and decides whether it may stay.
    pub fn landed(&mut self, image: &Image) -> Landing {
        let pages = image.pages();
        let needs = u64::from(image.len).div_ceil(PAGE_BYTES);
        let straddles = pages.end() - pages.start() + 1 > needs.max(1);
        let fresh = pages.clone().all(|page| !self.used_pages.contains(&page));
        let verdict = if fresh && !straddles { Landing::Keep } else { Landing::Plug };
        if verdict == Landing::Keep {
            self.used_pages.extend(pages);
            self.kept += 1;
        }
        self.filler = self.gap_after(image);
        verdict
    }

    /// Chunks between this image and the place the next one is to take, a stride further on.
    fn gap_after(&self, image: &Image) -> Option<u32> {
        let chunks = pack::chunks(image.len);
        let end = pack::chunk_base(image.addr).0 + u64::from(chunks) * CHUNK_BYTES;
        let page = Addr(pack::chunk_base(image.addr).0).page() * PAGE_BYTES;
        let mut target = page + self.stride_bytes + u64::from(self.line(chunks)) * LINE_BYTES;
        while target < end {
            target += PAGE_BYTES;
        }
        let gap = (target - end) / CHUNK_BYTES;
        (gap > 0).then_some(gap as u32)
    }

    /// Cache line inside the page for the next program: such that it does not cross the page's end.
    fn line(&self, chunks: u32) -> u32 {
        let lines = CHUNKS_PER_PAGE.saturating_sub(chunks % CHUNKS_PER_PAGE) + 1;
        match self.offset {
            OffsetRule::Walk => self.kept % lines.min(CHUNKS_PER_PAGE),
            OffsetRule::Fixed => 0,
        }
    }
}

/// Places programs one behind the other.
#[derive(Debug)]
pub struct Dense {
    programs: u32,
    last: Option<Image>,
    kept: u32,
    /// Programs and chunks placed without a break.
    run: u32,
    run_chunks: u32,
    spare_loads: u32,
}

/// What a landing means for a dense placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseLanding {
    /// Right behind the last one, or the first of a run.
    Keep,
    /// Somewhere else: the run so far lies in a hole that is too small. Its programs and this one are held as plugs, and the
    /// places of the run are given again, from number [`Dense::kept`] on.
    StartOver,
}

/// A run of 64 pages is worth its break: the break costs one page more.
const LONG_RUN_CHUNKS: u32 = 64 * CHUNKS_PER_PAGE;

impl Dense {
    /// A plan for `programs` programs.
    pub fn new(programs: u32) -> Self {
        Self { programs, last: None, kept: 0, run: 0, run_chunks: 0, spare_loads: 4 * programs + 4096 }
    }

    /// Tells where a measured program landed. Once the spare loads are used up every landing is kept.
    pub fn landed(&mut self, image: &Image) -> DenseLanding {
        let contiguous = self.last.is_none_or(|last| is_next(&last, image));
        if !contiguous && self.run_chunks < LONG_RUN_CHUNKS && self.spare_loads > self.run {
            self.spare_loads -= self.run + 1;
            self.kept -= self.run;
            (self.run, self.run_chunks, self.last) = (0, 0, None);
            return DenseLanding::StartOver;
        }
        if !contiguous {
            (self.run, self.run_chunks) = (0, 0);
        }
        self.last = Some(*image);
        self.kept += 1;
        self.run += 1;
        self.run_chunks += pack::chunks(image.len);
        DenseLanding::Keep
    }

    /// Whether all programs are placed.
    pub fn is_complete(&self) -> bool {
        self.kept >= self.programs
    }

    /// Programs placed so far.
    pub fn kept(&self) -> u32 {
        self.kept
    }
}

/// Plugs holes with programs of the measured size until loads land one behind the other and the last ends a page. A filler would
/// not do for that: first-fit would put a small one into an earlier hole.
#[derive(Debug, Default)]
pub struct Plugging {
    last: Option<Image>,
    in_a_row: u32,
    loaded: u32,
}

/// Contiguous loads that show that first-fit has left the holes behind.
const ENOUGH_IN_A_ROW: u32 = CHUNKS_PER_PAGE;
/// Contiguous loads within which one ends a page, unless the programs' size rules it out.
const MOST_IN_A_ROW: u32 = 2 * CHUNKS_PER_PAGE;
/// A hole-ridden host is not plugged beyond this many loads; verification decides then.
const MOST_PLUGS: u32 = 16_384;

impl Plugging {
    /// Tells where a plug landed; true as long as more are needed.
    pub fn landed(&mut self, image: &Image) -> bool {
        let contiguous = self.last.is_some_and(|last| is_next(&last, image));
        self.in_a_row = if contiguous { self.in_a_row + 1 } else { 0 };
        self.last = Some(*image);
        self.loaded += 1;
        let done = self.in_a_row >= ENOUGH_IN_A_ROW && (ends_page(image) || self.in_a_row >= MOST_IN_A_ROW);
        !done && self.loaded < MOST_PLUGS
    }
}

/// Whether the chunk behind `image` begins a page.
fn ends_page(image: &Image) -> bool {
    (pack::chunk_base(image.addr).0 + u64::from(pack::chunks(image.len)) * CHUNK_BYTES).is_multiple_of(PAGE_BYTES)
}

/// Whether `image` takes the chunks right behind `last`.
fn is_next(last: &Image, image: &Image) -> bool {
    pack::chunk_base(last.addr).0 + u64::from(pack::chunks(last.len)) * CHUNK_BYTES == pack::chunk_base(image.addr).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The kernel's rule: packs in order of creation, lowest zero run of the bitmap in each (`bpf_prog_pack_alloc`).
    struct FirstFit {
        packs: Vec<Vec<bool>>,
        /// No chunk below is free; keeps the search short.
        lowest: Vec<usize>,
    }

    const PACK_CHUNKS: usize = 32_768;
    const BASE: u64 = 0xffff_ffff_c000_0000;

    impl FirstFit {
        fn new() -> Self {
            Self { packs: vec![vec![false; PACK_CHUNKS]], lowest: vec![0] }
        }

        fn load(&mut self, chunks: u32) -> u64 {
            let need = chunks as usize;
            for (index, pack) in self.packs.iter_mut().enumerate() {
                let mut run = 0;
                while self.lowest[index] < PACK_CHUNKS && pack[self.lowest[index]] {
                    self.lowest[index] += 1;
                }
                for chunk in self.lowest[index]..PACK_CHUNKS {
                    run = if pack[chunk] { 0 } else { run + 1 };
                    if run == need {
                        let first = chunk + 1 - need;
                        pack[first..=chunk].fill(true);
                        return Self::address(index, first);
                    }
                }
            }
            self.packs.push(vec![false; PACK_CHUNKS]);
            self.lowest.push(0);
            self.load(chunks)
        }

        fn free(&mut self, address: u64, chunks: u32) {
            let pack_stride = (2 << 20) + 4096;
            let index = ((address - BASE) / pack_stride) as usize;
            let first = ((address - BASE) % pack_stride / 64) as usize;
            self.packs[index][first..first + chunks as usize].fill(false);
            self.lowest[index] = self.lowest[index].min(first);
        }

        fn address(pack: usize, chunk: usize) -> u64 {
            BASE + pack as u64 * ((2 << 20) + 4096) + chunk as u64 * 64
        }

        fn program(&mut self, len: u32) -> Image {
            Image { addr: Addr(self.load(pack::chunks(len)) + 8), len }
        }
    }

    fn spread(
        allocator: &mut FirstFit,
        mut plan: Spread,
        len: u32,
        programs: usize,
        churn: &[(u8, u32)],
    ) -> (Vec<Image>, u32) {
        let (mut kept, mut loads, mut foreign, mut churn) = (Vec::new(), 0, Vec::new(), churn.iter().cycle());
        while kept.len() < programs {
            loads += 1;
            match plan.next_step() {
                Step::Filler { chunks } => drop(allocator.load(chunks)),
                Step::Measured => {
                    let image = allocator.program(len);
                    if plan.landed(&image) == Landing::Keep {
                        kept.push(image);
                    }
                }
            }
            match churn.next() {
                Some((0, chunks)) => foreign.push((allocator.load(*chunks), *chunks)),
                Some((1, _)) if !foreign.is_empty() => {
                    let (address, chunks) = foreign.swap_remove(0);
                    allocator.free(address, chunks);
                }
                _ => {}
            }
        }
        (kept, loads)
    }

    #[test]
    fn a_quiet_pack_needs_one_filler_a_program() {
        let plan = Spread::new(Stride::PageAndGuard, OffsetRule::Walk);
        let (images, loads) = spread(&mut FirstFit::new(), plan, 121, 2048, &[(9, 0)]);
        let footprint = crate::placement::Footprint::of(&images);
        assert_eq!(footprint.own_page_programs, 2048);
        assert_eq!(footprint.pages_4k, 2048);
        assert_eq!(footprint.line_offsets, 62, "every line at which a 3-chunk program does not cross the page's end");
        // The end of each of the 8 packs, too short for a filler, takes a few programs before first-fit leaves it.
        assert!(loads <= 2 * 2048 + 8 * 2 * 32, "{loads} loads");
    }

    #[test]
    fn fixed_offset_puts_every_program_at_the_same_line() {
        let plan = Spread::new(Stride::Page, OffsetRule::Fixed);
        let (images, _) = spread(&mut FirstFit::new(), plan, 121, 512, &[(9, 0)]);
        let footprint = crate::placement::Footprint::of(&images);
        assert_eq!((footprint.own_page_programs, footprint.line_offsets), (512, 1));
    }

    #[test]
    fn strides_are_what_they_say() {
        for (stride, bytes) in [(Stride::Page, 4096), (Stride::PageAndGuard, 8192)] {
            let (images, _) = spread(&mut FirstFit::new(), Spread::new(stride, OffsetRule::Fixed), 121, 100, &[(9, 0)]);
            let apart = images.windows(2).filter(|pair| pair[1].addr.0 - pair[0].addr.0 == bytes).count();
            assert_eq!(apart, 99, "{stride}");
        }
    }

    #[test]
    fn bodies_of_almost_a_page_get_pages_of_their_own() {
        let plan = Spread::new(Stride::PageAndGuard, OffsetRule::Walk);
        let (images, _) = spread(&mut FirstFit::new(), plan, 3717, 256, &[(9, 0)]);
        assert_eq!(crate::placement::Footprint::of(&images).own_page_programs, 256);
    }

    fn dense(allocator: &mut FirstFit, len: u32, programs: u32) -> Vec<Image> {
        let mut plan = Dense::new(programs);
        let mut kept = Vec::new();
        while !plan.is_complete() {
            let image = allocator.program(len);
            match plan.landed(&image) {
                DenseLanding::Keep => kept.push(image),
                DenseLanding::StartOver => kept.truncate(plan.kept() as usize),
            }
        }
        kept
    }

    #[test]
    fn a_hole_that_is_too_small_is_left_behind() {
        let mut allocator = FirstFit::new();
        let holes: Vec<u64> = (0..20).map(|_| allocator.load(600)).collect();
        for hole in holes.iter().step_by(2) {
            allocator.free(*hole, 600);
        }
        let images = dense(&mut allocator, 121, 2048);
        let footprint = crate::placement::Footprint::of(&images);
        assert_eq!(images.len(), 2048);
        assert!(footprint.pages_4k <= footprint.ideal_pages_4k + 1, "{footprint:?}");
    }

    #[test]
    fn dense_programs_begin_a_page_even_where_small_holes_are_left() {
        let mut allocator = FirstFit::new();
        let small = allocator.load(2);
        allocator.load(7);
        allocator.free(small, 2);
        let mut plugging = Plugging::default();
        while plugging.landed(&allocator.program(121)) {}
        assert_eq!(crate::placement::Footprint::of(&dense(&mut allocator, 121, 64)).pages_4k, 3);
    }

    #[test]
    fn more_programs_than_a_pack_holds_are_placed_in_two() {
        let images = dense(&mut FirstFit::new(), 3717, 700);
        let footprint = crate::placement::Footprint::of(&images);
        assert_eq!(images.len(), 700);
        assert!(footprint.pages_4k <= footprint.ideal_pages_4k * 102 / 100, "{footprint:?}");
    }

    #[test]
    fn plugging_ends_after_a_page_of_contiguous_loads() {
        let mut allocator = FirstFit::new();
        let holes: Vec<u64> = (0..100).map(|_| allocator.load(3)).collect();
        for hole in holes.iter().step_by(2) {
            allocator.free(*hole, 3);
        }
        let (mut plugging, mut loads) = (Plugging::default(), 1);
        while plugging.landed(&allocator.program(121)) {
            loads += 1;
        }
        assert!((50 + 1 + 64..=50 + 1 + 128).contains(&loads), "{loads}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_others_load_every_kept_program_has_its_own_page(
            len in 20u32..3900,
            programs in 1usize..80,
            fixed in any::<bool>(),
            churn in proptest::collection::vec((0u8..4, 1u32..80), 1..60),
        ) {
            let offset = if fixed { OffsetRule::Fixed } else { OffsetRule::Walk };
            let (images, _) = spread(&mut FirstFit::new(), Spread::new(Stride::PageAndGuard, offset), len, programs, &churn);
            prop_assert_eq!(crate::placement::Footprint::of(&images).own_page_programs as usize, programs);
        }
    }
}
