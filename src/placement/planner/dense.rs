//! Places programs one behind the other.

use super::super::image::{Image, PAGE_BYTES};
use super::super::pack::{self, CHUNK_BYTES, CHUNKS_PER_PAGE};
use super::{Landing, Step};

/// A run of 64 pages is worth its break: the break costs one page more.
const LONG_RUN_CHUNKS: u32 = 64 * CHUNKS_PER_PAGE;
/// Programs that land behind each other elsewhere show that the run's place is full. Fewer lie in somebody's hole.
const STRAYS: u32 = 8;
/// So many in a row that land elsewhere, with others' programs between them, show the same.
const STRAYS_BESIDE_OTHERS: u32 = 64;
/// So many programs, and twice as many as are wanted, may be loaded in vain. Then every landing is kept, so that the plan ends: all
/// holes of this host are too small, or others load all the time. Verification says by how much the goal is missed.
const SPARE: u32 = 4096;
/// Gaps may take one chunk in so many of the whole, or the rest of one page.
const GAPS_ONE_IN: u32 = 20;

#[derive(Debug)]
pub(super) struct Dense {
    programs: u32,
    kept: u32,
    /// Number of the first program of the run, and the chunks placed in it.
    run_from: u32,
    run_chunks: u32,
    last: Option<Image>,
    /// Chunks left out because others loaded in between.
    gaps: u32,
    /// Programs in a row that landed elsewhere, and those of them that lie one behind the other.
    astray: u32,
    strays: u32,
    stray: Option<Image>,
    spare: u32,
}

impl Dense {
    pub(super) fn new(programs: u32) -> Self {
        Self {
            programs,
            kept: 0,
            run_from: 0,
            run_chunks: 0,
            last: None,
            gaps: 0,
            astray: 0,
            strays: 0,
            stray: None,
            spare: programs.saturating_mul(2).saturating_add(SPARE),
        }
    }

    pub(super) fn next_step(&self) -> Option<Step> {
        (self.kept < self.programs).then_some(Step::Measured { number: self.kept })
    }

    /// No restart gives numbers below this again.
    pub(super) fn settled(&self) -> u32 {
        if self.is_long() { self.kept } else { self.run_from }
    }

    pub(super) fn landed(&mut self, image: &Image) -> Landing {
        let follows = self.last.is_none_or(|last| self.follows(&last, image));
        if follows || self.spare == 0 { self.keep(image) } else { self.strayed(image) }
    }

    /// Takes `loads` off what may be loaded in vain; false once that is used up.
    pub(super) fn spend(&mut self, loads: u32) -> bool {
        self.spare = self.spare.saturating_sub(loads);
        self.spare > 0
    }

    /// Behind `last`, at most so far away that the gaps together stay small.
    fn follows(&mut self, last: &Image, image: &Image) -> bool {
        let Some(gap) = pack::base(image).checked_sub(pack::end(last)) else { return false };
        let chunks = u64::from(pack::chunks(image.len)) * u64::from(self.programs);
        let most = (chunks / u64::from(GAPS_ONE_IN)).max(u64::from(CHUNKS_PER_PAGE) - 1);
        let gaps = u64::from(self.gaps) + gap / CHUNK_BYTES;
        let follows = gaps <= most;
        if follows {
            self.gaps = gaps as u32;
        }
        follows
    }

    fn keep(&mut self, image: &Image) -> Landing {
        self.last = Some(*image);
        (self.astray, self.strays, self.stray) = (0, 0, None);
        self.kept += 1;
        self.run_chunks += pack::chunks(image.len);
        Landing::Keep
    }

    fn strayed(&mut self, image: &Image) -> Landing {
        let beside = self.stray.is_some_and(|stray| super::is_next(&stray, image));
        self.strays = if beside { self.strays + 1 } else { 1 };
        self.astray += 1;
        self.stray = Some(*image);
        // The first program in a pack begins a page.
        let new_pack = self.is_long() && pack::base(image).is_multiple_of(PAGE_BYTES);
        if !new_pack && self.strays < STRAYS && self.astray < STRAYS_BESIDE_OTHERS {
            self.spend(1);
            return Landing::Hold;
        }
        let run = self.kept - self.run_from;
        if self.is_long() || !self.spend(run + 1) {
            (self.run_from, self.run_chunks, self.gaps) = (self.kept, 0, 0);
            return self.keep(image);
        }
        self.kept = self.run_from;
        (self.run_chunks, self.gaps, self.astray, self.strays) = (0, 0, 0, 0);
        (self.last, self.stray) = (None, None);
        Landing::Restart { from: self.kept }
    }

    fn is_long(&self) -> bool {
        self.run_chunks >= LONG_RUN_CHUNKS
    }
}
