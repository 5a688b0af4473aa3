//! What to load next to get a placement. Pure: it is told where each program landed and answers with the next step; the
//! machine executes the steps. It trusts no landing it was not told of, so foreign programs that load or unload
//! meanwhile cost extra loads, not a wrong placement.
//!
//! Known of the kernel (kernel/bpf/core.c): chunks of 64 bytes, header and start hole (in [`super::pack`]), packs of a known size
//! at unknown addresses, searched first-fit. Lengths are read back with the addresses, never assumed.

mod dense;
mod plugging;
mod spread;

use super::image::{Image, REGION_BYTES};
use super::pack::{self, CHUNK_BYTES, CHUNKS_PER_PAGE};
use crate::workload::{Case, FillerRule, OffsetRule, PackMode, Stride};

use self::dense::Dense;
use self::plugging::Plugging;
use self::spread::Spread;

/// The next thing to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A program of the measured size that is never run, held to the end of the trial. Tell where it landed.
    Plug,
    /// The measured program of this number, counted from 0. Tell where it landed.
    Measured { number: u32 },
    /// A filler of exactly so many chunks.
    Filler { chunks: u32, kind: FillerKind },
}

/// What a filler is made of. Kernels that flush branch predictors put the two kinds into different packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillerKind {
    /// Classic BPF: cheaper, since it needs no verifier.
    Classic,
    /// eBPF: first-fit treats it as the measured programs.
    Extended,
}

/// What to do with a program that has just been loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It lies where its arm wants it.
    Keep,
    /// It does not, or was a plug: hold it to the end of the trial, so that its place stays taken.
    Hold,
    /// It does not, and the programs kept from this number on lie where there is too little room: hold them too. Their
    /// numbers are given again.
    Restart { from: u32 },
}

/// What is known of the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// 2 MiB for each possible NUMA node.
    pub pack_bytes: u64,
    /// Chunks of the longest filler that loads cheaply.
    pub longest_filler: u32,
}

/// The placement that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub programs: u32,
    pub arm: PackMode,
    /// The arm whose number of fillers is loaded; pack on needs none.
    pub fillers_of: PackMode,
    pub stride: Stride,
    pub offset: OffsetRule,
    /// Decides the random offsets.
    pub seed: u64,
}

impl Wanted {
    /// What `case` asks for.
    pub fn of(case: &Case, seed: u64) -> Self {
        let Case { pack: arm, stride, offset, .. } = *case;
        let fillers_of = if case.fillers == FillerRule::Needed { arm } else { case.fillers_of };
        Self { programs: case.loaded(), arm, fillers_of, stride, offset, seed }
    }

    /// How far apart programs are put, in bytes.
    fn spacing(&self) -> u64 {
        match self.arm {
            PackMode::OffTwoMeg => REGION_BYTES,
            PackMode::On | PackMode::Placebo | PackMode::Off => self.stride.bytes(),
        }
    }
}

/// Plugs the holes of others, lays the programs out, then loads what fillers the arm lacks.
#[derive(Debug)]
pub struct Planner {
    plugging: Option<Plugging>,
    layout: Layout,
    fillers: Equal,
    /// Whether a plug or a measured program was asked for last.
    plug: bool,
    /// Plugs behind a restart are loads in vain.
    restarted: bool,
}

#[derive(Debug)]
enum Layout {
    Dense(Dense),
    Spread(Box<Spread>),
}

impl Planner {
    /// A plan for `wanted`, which stays off the pages of `foreign` images as far as they are known.
    pub fn new(wanted: Wanted, rules: Rules, foreign: &[Image]) -> Self {
        let layout = match wanted.arm {
            PackMode::On | PackMode::Placebo => Layout::Dense(Dense::new(wanted.programs)),
            PackMode::Off | PackMode::OffTwoMeg => Layout::Spread(Box::new(Spread::new(wanted, rules, foreign))),
        };
        let page_end = matches!(layout, Layout::Dense(_));
        Self {
            plugging: Some(Plugging::new(page_end)),
            layout,
            fillers: Equal::new(wanted, rules),
            plug: true,
            restarted: false,
        }
    }

    /// The next step; `None` once everything is loaded.
    pub fn next_step(&mut self) -> Option<Step> {
        self.plug = self.plugging.is_some();
        if self.plug {
            return Some(Step::Plug);
        }
        let step = match &mut self.layout {
            Layout::Dense(dense) => dense.next_step(),
            Layout::Spread(spread) => spread.next_step(),
        };
        match step {
            Some(Step::Filler { .. }) => self.fillers.loaded += 1,
            None => return self.fillers.next_step(),
            _ => {}
        }
        step
    }

    /// Tells where the plug or measured program of the last step landed.
    pub fn landed(&mut self, image: &Image) -> Landing {
        self.fillers.program_chunks = pack::chunks(image.len);
        if self.plug {
            self.plugged(image);
            return Landing::Hold;
        }
        let landing = match &mut self.layout {
            Layout::Dense(dense) => dense.landed(image),
            Layout::Spread(spread) => spread.landed(image),
        };
        if matches!(landing, Landing::Restart { .. }) {
            (self.plugging, self.restarted) = (Some(Plugging::new(true)), true);
        }
        landing
    }

    /// The functions of the last plug or measured program lie apart: it is held, and the step comes again. False once that is to no end,
    /// since holes or others are too many.
    pub fn apart(&mut self) -> bool {
        if let Some(plugging) = self.plugging.as_mut().filter(|_| self.plug) {
            // What copes with holes afterwards finds out whether this host has room for a program in one piece.
            if !plugging.apart() {
                self.plugging = None;
            }
            return true;
        }
        match &mut self.layout {
            Layout::Dense(dense) => dense.spend(1),
            Layout::Spread(spread) => spread.spend(),
        }
    }

    fn plugged(&mut self, image: &Image) {
        let more = self.plugging.as_mut().is_some_and(|plugging| plugging.needs_more(image));
        let worth = match &mut self.layout {
            Layout::Dense(dense) if self.restarted => dense.spend(1),
            _ => true,
        };
        if !more || !worth {
            self.plugging = None;
        }
    }

    /// Programs below this number stay where they are; no restart gives their numbers again.
    pub fn settled(&self) -> u32 {
        match &self.layout {
            Layout::Dense(dense) => dense.settled(),
            Layout::Spread(spread) => spread.kept(),
        }
    }
}

/// Fillers that an arm loads only so that it loads as many as the others.
#[derive(Debug)]
struct Equal {
    count: u32,
    /// Chunks from one program to the next, where fillers are one for each.
    stride: u32,
    longest: Option<u32>,
    program_chunks: u32,
    loaded: u32,
}

impl Equal {
    fn new(wanted: Wanted, rules: Rules) -> Self {
        let region = (REGION_BYTES / CHUNK_BYTES) as u32;
        let (each, longest) = match wanted.fillers_of {
            PackMode::OffTwoMeg => (region.div_ceil(rules.longest_filler.max(1)), Some(rules.longest_filler)),
            PackMode::Off => (1, None),
            PackMode::On | PackMode::Placebo => (0, None),
        };
        let walk = u32::from(wanted.offset == OffsetRule::Walk);
        let stride = (wanted.stride.bytes() / CHUNK_BYTES) as u32 + walk;
        Self { count: wanted.programs.saturating_mul(each), stride, longest, program_chunks: 1, loaded: 0 }
    }

    fn next_step(&mut self) -> Option<Step> {
        if self.loaded >= self.count {
            return None;
        }
        self.loaded += 1;
        let gap = match self.program_chunks {
            chunks if chunks < self.stride => self.stride - chunks,
            chunks => CHUNKS_PER_PAGE - chunks % CHUNKS_PER_PAGE,
        };
        Some(Step::Filler { chunks: self.longest.unwrap_or(gap), kind: FillerKind::Classic })
    }
}

/// Whether `image` takes the chunks right behind `last`.
fn is_next(last: &Image, image: &Image) -> bool {
    pack::end(last) == pack::base(image)
}

#[cfg(test)]
mod tests;
