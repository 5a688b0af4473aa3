//! Places every program on pages, or in 2 MiB regions, that no other measured program uses.
//!
//! First-fit puts the next program right behind the last filler, until a filler does not fit into what is left of the pack. It
//! then lies at the start of the next pack, and small programs go on landing in the rest of the old one. The rest is filled up
//! with fillers of half the size each time; once the address of one pack is known, the ends of all later ones are.

use std::collections::HashSet;

use super::super::image::{Image, LINE_BYTES, PAGE_BYTES, REGION_BYTES};
use super::super::pack::{self, CHUNK_BYTES, CHUNKS_PER_PAGE};
use super::{FillerKind, Landing, Rules, Step, Wanted};
use crate::workload::{OffsetRule, PackMode};

/// A program that lands so little behind the place it was expected at lies behind a foreign one.
const DRIFT_BYTES: u64 = 12 * PAGE_BYTES;
/// Chunks by which a filler may be too short.
const SLACK_CHUNKS: u32 = 2;
/// After so many programs with fillers of the other kind the cheaper ones are tried again.
const OTHER_KIND_FOR: u32 = 32;
/// In `off-2m` programs begin in the first pages of their regions: in different ones, since an iTLB for 4 KiB pages picks its
/// set by the low bits of the page number.
const REGION_PAGES: u64 = 32;

#[derive(Debug)]
pub(super) struct Spread {
    wanted: Wanted,
    rules: Rules,
    random: oorandom::Rand64,
    /// Pages, or regions, that are taken.
    used: HashSet<u64>,
    kept: u32,
    /// Programs that may still land in vain; then every landing is kept, and verification says what came of it.
    spare: u32,
    kind: FillerKind,
    /// Programs for which that kind still holds.
    kind_for: u32,
    /// Chunks of fillers still to load before the next program, and the longest of them.
    filling: u32,
    filler: u32,
    /// End of the last program, and where the next is expected: behind the fillers.
    end: u64,
    expected: Option<u64>,
    /// Less than so many chunks are left at the end of the pack.
    rest: Option<u32>,
    /// Chunks of fillers that did not fit: they lie at the start of the next pack.
    astray: u32,
    /// End of a program that landed in nobody knows which hole.
    stray: Option<u64>,
    /// First address of the last pack that was recognised.
    pack: Option<u64>,
    /// How far behind its place the last program lay, if it was to no use there, or had one place only: others who load in step do so
    /// again.
    drift: u64,
}

/// How a landing compares to what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As expected.
    Expected,
    /// So many chunks behind the last program: the other fillers did not fit.
    Rest { fitted: u32 },
    /// In a pack not seen before.
    NewPack,
    /// In a hole.
    Stray,
}

impl Spread {
    pub(super) fn new(wanted: Wanted, rules: Rules, foreign: &[Image]) -> Self {
        let pages = match wanted.arm {
            PackMode::OffTwoMeg => HashSet::new(),
            _ => foreign.iter().flat_map(Image::pages).collect(),
        };
        Self {
            wanted,
            rules,
            random: oorandom::Rand64::new(u128::from(wanted.seed)),
            used: pages,
            kept: 0,
            spare: wanted.programs.saturating_mul(8).saturating_add(16_384),
            kind: FillerKind::Classic,
            kind_for: 0,
            filling: 0,
            filler: 0,
            end: 0,
            expected: None,
            rest: None,
            astray: 0,
            stray: None,
            pack: None,
            drift: 0,
        }
    }

    pub(super) fn kept(&self) -> u32 {
        self.kept
    }

    /// A program was loaded in vain; false once there may be no more of them.
    pub(super) fn spend(&mut self) -> bool {
        self.spare = self.spare.saturating_sub(1);
        self.spare > 0
    }

    pub(super) fn next_step(&mut self) -> Option<Step> {
        if self.kept == self.wanted.programs {
            return None;
        }
        if self.filling == 0 {
            return Some(Step::Measured { number: self.kept });
        }
        let chunks = self.filling.min(self.rules.longest_filler);
        self.filling -= chunks;
        Some(Step::Filler { chunks, kind: self.kind })
    }

    pub(super) fn landed(&mut self, image: &Image) -> Landing {
        let base = pack::base(image);
        let (place, late) = (self.place(base), base.saturating_sub(self.expected.unwrap_or(base)));
        let verdict = self.verdict(image);
        let again = verdict == Landing::Hold || self.wanted.offset == OffsetRule::Fixed;
        self.drift = if again && place == Place::Expected { late } else { 0 };
        match (place, self.rest) {
            (Place::Stray, _) => self.stray = Some(pack::end(image)),
            (Place::Rest { fitted }, rest) => self.did_not_fit(image, fitted, rest),
            (Place::Expected, Some(rest)) => self.did_fit(image, rest),
            (Place::Expected | Place::NewPack, _) => self.go_on(image),
        }
        verdict
    }

    fn place(&mut self, base: u64) -> Place {
        let Some(expected) = self.expected else { return Place::NewPack };
        let filled_up = self.pack.is_some_and(|pack| pack + self.rules.pack_bytes == expected);
        // A filler may be a chunk or two shorter than calibrated.
        let short = self.filler > 2 * SLACK_CHUNKS
            && (expected - u64::from(SLACK_CHUNKS) * CHUNK_BYTES..expected).contains(&base);
        if (base == expected || short) && !filled_up {
            return Place::Expected;
        }
        if (self.end..expected).contains(&base) {
            return Place::Rest { fitted: ((base - self.end) / CHUNK_BYTES) as u32 };
        }
        let start = base.wrapping_sub(u64::from(self.astray) * CHUNK_BYTES);
        if (self.astray > 0 || filled_up) && start.is_multiple_of(PAGE_BYTES) {
            (self.pack, self.kind) = (Some(start), FillerKind::Classic);
            return Place::NewPack;
        }
        if base > expected && base - expected < DRIFT_BYTES {
            return Place::Expected;
        }
        // The second program in a row there, whether or not others loaded in between: more than a hole.
        let beside = self.stray.is_some_and(|stray| (stray..stray + DRIFT_BYTES).contains(&base));
        if beside { Place::NewPack } else { Place::Stray }
    }

    fn verdict(&mut self, image: &Image) -> Landing {
        let units = match self.wanted.arm {
            PackMode::OffTwoMeg => image.regions(),
            _ => image.pages(),
        };
        let straddles = match self.wanted.arm {
            PackMode::OffTwoMeg => units.end() > units.start(),
            _ => units.end() - units.start() >= u64::from(pack::chunks(image.len).div_ceil(CHUNKS_PER_PAGE)),
        };
        let aligned = self.wanted.offset != OffsetRule::Fixed || image.addr.line_in_page() == 0;
        let fresh = units.clone().all(|unit| !self.used.contains(&unit));
        if (fresh && aligned && !straddles) || self.spare == 0 {
            self.used.extend(units);
            self.kept += 1;
            return Landing::Keep;
        }
        self.spare -= 1;
        Landing::Hold
    }

    /// On from here: fillers up to the place of the next program, or to the end of the pack.
    fn go_on(&mut self, image: &Image) {
        (self.rest, self.astray, self.stray) = (None, 0, None);
        self.kind_for = self.kind_for.saturating_sub(1);
        if self.kind_for == 0 {
            self.kind = FillerKind::Classic;
        }
        let end = pack::end(image);
        let chunks = pack::chunks(image.len);
        let target = self.target(image);
        let pack_end = self.pack.map(|pack| pack + self.rules.pack_bytes).filter(|&pack_end| pack_end >= end);
        let target = match pack_end {
            Some(pack_end) if target + u64::from(chunks) * CHUNK_BYTES > pack_end => pack_end,
            _ => target,
        };
        let target = self.before_drift(target, end);
        self.fill(end, ((target - end) / CHUNK_BYTES) as u32);
    }

    /// As much before `target` as the last program lay behind its own, and whole pages further on if there is no room for a filler.
    fn before_drift(&self, target: u64, end: u64) -> u64 {
        let Some(mut before) = target.checked_sub(self.drift).filter(|_| self.drift > 0) else { return target };
        while before < end + PAGE_BYTES / 2 {
            before += PAGE_BYTES;
        }
        before
    }

    fn fill(&mut self, end: u64, chunks: u32) {
        (self.filling, self.filler) = (chunks, chunks.min(self.rules.longest_filler));
        self.end = end;
        self.expected = Some(end + u64::from(chunks) * CHUNK_BYTES);
    }

    /// Fillers did not fit behind the last program, this one did.
    fn did_not_fit(&mut self, image: &Image, fitted: u32, rest: Option<u32>) {
        let asked = self.expected.map_or(0, |expected| ((expected - self.end) / CHUNK_BYTES) as u32);
        self.astray += asked - fitted;
        match self.filler.checked_sub(pack::chunks(image.len)) {
            Some(left) => self.halve(image, left.min(rest.unwrap_or(left))),
            None => self.other_kind(image),
        }
    }

    /// A filler of half the rest fitted, and a program behind it.
    fn did_fit(&mut self, image: &Image, rest: u32) {
        match rest.checked_sub(self.filler + pack::chunks(image.len)) {
            Some(left) => self.halve(image, left),
            None => self.other_kind(image),
        }
    }

    /// Less than `left` chunks are left in the pack: a filler of half as many, unless no program fits any more.
    fn halve(&mut self, image: &Image, left: u32) {
        self.rest = Some(left);
        let more = left > pack::chunks(image.len);
        self.fill(pack::end(image), if more { left / 2 } else { 0 });
    }

    /// There is room where there should be none: the fillers go to another pack. Those of the programs' own kind do not.
    fn other_kind(&mut self, image: &Image) {
        (self.kind, self.kind_for) = (FillerKind::Extended, OTHER_KIND_FOR);
        self.go_on(image);
    }

    /// First address for the program after `image`: such that its pages, or its region, are its own.
    fn target(&mut self, image: &Image) -> u64 {
        let chunks = pack::chunks(image.len);
        let line = u64::from(self.line(chunks)) * LINE_BYTES;
        if self.wanted.arm == PackMode::OffTwoMeg {
            return self.region_target(image, line);
        }
        let page = pack::base(image) / PAGE_BYTES * PAGE_BYTES;
        let mut target = page + self.wanted.spacing() + line;
        while target < pack::end(image) {
            target += PAGE_BYTES;
        }
        target
    }

    fn region_target(&self, image: &Image, line: u64) -> u64 {
        let page = match self.wanted.offset {
            OffsetRule::Fixed => 0,
            OffsetRule::Walk | OffsetRule::Random => u64::from(self.kept) % REGION_PAGES * PAGE_BYTES,
        };
        let mut region = pack::end(image) / REGION_BYTES;
        loop {
            let target = region * REGION_BYTES + page + line;
            if target >= pack::end(image) && !self.used.contains(&region) {
                return target;
            }
            region += 1;
        }
    }

    /// Cache line inside the page for the next program: such that it does not cross the page's end.
    fn line(&mut self, chunks: u32) -> u32 {
        let lines = CHUNKS_PER_PAGE - (chunks - 1) % CHUNKS_PER_PAGE;
        match self.wanted.offset {
            OffsetRule::Walk => self.kept % lines,
            OffsetRule::Random => self.random.rand_range(0..u64::from(lines)) as u32,
            OffsetRule::Fixed => 0,
        }
    }
}
