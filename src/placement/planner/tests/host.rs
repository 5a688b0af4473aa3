//! A host: the allocator, and others who use it too.

use super::super::*;
use crate::placement::Footprint;
use crate::placement::allocator::{Allocator, PackChoice, Span};

pub const RULES: Rules = Rules { pack_bytes: REGION_BYTES, longest_filler: 896 };

pub fn wanted(arm: PackMode, programs: u32) -> Wanted {
    Wanted {
        programs,
        arm,
        fillers_of: if arm == PackMode::OffTwoMeg { arm } else { PackMode::Off },
        stride: Stride::PageAndGuard,
        offset: OffsetRule::Walk,
        seed: 7,
    }
}

pub const PACK: u32 = (REGION_BYTES / CHUNK_BYTES) as u32;

/// What others do between two of our loads.
#[derive(Clone, Copy, Debug)]
pub enum Churn {
    Nothing,
    Load(u32),
    LoadClassic(u32),
    /// Unloads what they loaded first.
    Unload,
}

/// A host: the allocator, and others who use it too.
pub struct Host {
    pub packs: Allocator,
    pub foreign_chunks: u32,
    foreign: Vec<Span>,
    churn: Vec<Churn>,
    turn: usize,
    /// Others do the same in another order each time.
    out_of_step: bool,
    pub random: oorandom::Rand64,
}

impl Host {
    pub fn new(choice: PackChoice, shift: u64, nodes: u32, churn: Vec<Churn>) -> Self {
        let packs = Allocator::new(choice, shift, nodes);
        let random = oorandom::Rand64::new(3);
        Self { packs, foreign: Vec::new(), foreign_chunks: 0, churn, turn: 0, out_of_step: false, random }
    }

    /// Nobody else's loads come after as many of ours each time.
    pub fn out_of_step(self) -> Self {
        Self { out_of_step: true, ..self }
    }

    fn shuffle(&mut self) {
        for last in (1..self.churn.len()).rev() {
            self.churn.swap(last, self.random.rand_range(0..last as u64 + 1) as usize);
        }
    }

    pub fn quiet() -> Self {
        Self::new(PackChoice::First, 0, 1, Vec::new())
    }

    pub fn rules(&self) -> Rules {
        Rules { pack_bytes: self.packs.pack_bytes(), ..RULES }
    }

    /// Programs of `chunks` chunks, every second of which goes again.
    pub fn with_holes(mut self, count: usize, chunks: u32) -> Self {
        let spans: Vec<Span> = (0..count).map(|_| self.reserve(chunks, FillerKind::Extended)).collect();
        spans.iter().step_by(2).for_each(|span| self.packs.free(*span));
        self
    }

    pub fn reserve(&mut self, chunks: u32, kind: FillerKind) -> Span {
        self.packs.reserve(chunks, kind).expect("the module area has room")
    }

    pub fn others(&mut self) {
        let at = self.turn % self.churn.len().max(1);
        if at == 0 && self.out_of_step {
            self.shuffle();
        }
        let Some(&churn) = self.churn.get(at) else { return };
        self.turn += 1;
        match churn {
            Churn::Nothing => {}
            Churn::Load(chunks) => {
                let span = self.reserve(chunks, FillerKind::Extended);
                self.foreign_chunks += if chunks > PACK { 0 } else { chunks };
                self.foreign.push(span);
            }
            Churn::LoadClassic(chunks) => {
                let span = self.reserve(chunks, FillerKind::Classic);
                self.foreign_chunks += chunks;
                self.foreign.push(span);
            }
            Churn::Unload if !self.foreign.is_empty() => {
                let span = self.foreign.remove(0);
                self.packs.free(span);
            }
            Churn::Unload => {}
        }
    }

    pub fn place(&mut self, wanted: Wanted, len: u32) -> Placed {
        self.place_functions(wanted, vec![len])
    }

    /// The same for programs of several functions.
    pub fn place_functions(&mut self, wanted: Wanted, lens: Vec<u32>) -> Placed {
        let mut loader = Loader::of_functions(wanted, self.rules(), lens);
        while loader.step(self) {
            self.others();
        }
        loader.placed
    }
}

/// One who carries out a plan, step by step.
#[derive(Debug)]
pub struct Loader {
    plan: Planner,
    lens: Vec<u32>,
    pub placed: Placed,
}

impl Loader {
    pub fn new(wanted: Wanted, rules: Rules, len: u32) -> Self {
        Self::of_functions(wanted, rules, vec![len])
    }

    fn of_functions(wanted: Wanted, rules: Rules, lens: Vec<u32>) -> Self {
        Self { plan: Planner::new(wanted, rules, &[]), lens, placed: Placed::default() }
    }

    /// Loads once; false once everything is loaded.
    pub fn step(&mut self, host: &mut Host) -> bool {
        let Some(step) = self.plan.next_step() else { return false };
        self.placed.loads += 1;
        let number = match step {
            Step::Filler { chunks, kind } => {
                self.placed.fillers += 1;
                host.reserve(chunks, kind);
                return true;
            }
            Step::Plug => None,
            Step::Measured { number } => Some(number as usize),
        };
        let mut load = |len: &u32| host.packs.load(*len, &mut host.random).expect("the module area has room").1;
        let functions: Vec<Image> = self.lens.iter().map(&mut load).collect();
        let Some(image) = pack::piece(&functions) else {
            self.placed.apart += 1;
            assert!(self.plan.apart(), "no room for a program in one piece");
            return true;
        };
        match (self.plan.landed(&image), number) {
            (Landing::Keep, Some(number)) => {
                self.placed.images.truncate(number);
                self.placed.images.push(image);
            }
            (Landing::Keep, None) => panic!("a plug is no measured program"),
            (Landing::Hold, _) => {}
            (Landing::Restart { from }, _) => self.placed.restarts.push(from),
        }
        true
    }
}

#[derive(Debug, Default)]
pub struct Placed {
    /// Programs whose functions did not lie together.
    pub apart: u32,
    pub images: Vec<Image>,
    pub loads: u32,
    pub fillers: u32,
    pub restarts: Vec<u32>,
}

impl Placed {
    pub fn footprint(&self) -> Footprint {
        Footprint::of(&self.images)
    }
}
