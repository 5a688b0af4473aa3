//! Loads a case into the simulated packs: plugs the holes, lays the programs out, and runs them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::caveat::Caveat;
use crate::machine::{Fired, Loaded, MachineError, Result, Target};
use crate::model::visits::Visits;
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::observed::{pages_of, with_neighbours};
use crate::placement::mapping::{Leaf, Mapping, PageSize, Source};
use crate::placement::pack::{self, CHUNK_BYTES, CHUNKS_PER_PAGE};
use crate::placement::{Addr, Image, Observed};
use crate::trial::{Check, LoadCost};
use crate::workload::{Case, OffsetRule, PackMode, plan};

use super::EXECUTIONS_PER_RUN;
use super::cpu::Cpu;
use super::packs::{self, Packs, Span};

/// Loads in a row that must be neighbours before the holes count as plugged.
const PLUGGED_IN_A_ROW: u32 = 64;
/// Simulated time to load and to unload one program.
const LOAD_NS: u64 = 39_000;
const UNLOAD_NS: u64 = 3_000;

/// A case in the packs; leaves them when dropped.
#[derive(Debug)]
pub struct SimLoaded<'a> {
    packs: &'a mut Packs,
    cpu: Rc<RefCell<Cpu>>,
    spans: Vec<Span>,
    /// In the order of visits.
    images: Vec<Image>,
    cost: LoadCost,
    visits: Visits,
    pack: PackMode,
}

impl<'a> SimLoaded<'a> {
    /// Places the programs of `case`; `seed` decides start holes and the order of visits.
    pub fn place(packs: &'a mut Packs, cpu: Rc<RefCell<Cpu>>, case: &Case, seed: u64) -> Result<Self> {
        if case.programs == 0 {
            return Err(MachineError::failed(format!("failed to load case `{case}`: it has no programs")));
        }
        let mut random = oorandom::Rand64::new(u128::from(seed));
        let visits = Visits::new(case.trigger, case.programs, random.rand_u64());
        let (spans, images, cost) = (Vec::new(), Vec::new(), LoadCost::default());
        let mut loaded = Self { packs, cpu, spans, images, cost, visits, pack: case.pack };
        let layout = Layout::of(case);
        loaded.plug_holes(layout)?;
        match case.pack {
            PackMode::On => loaded.place_dense(layout, &mut random)?,
            PackMode::Off => loaded.place_spread(layout, &mut random)?,
        }
        plan::shuffle(&mut loaded.images, &mut random);
        loaded.cost.load_ns = LOAD_NS * loaded.spans.len() as u64;
        Ok(loaded)
    }

    fn reserve(&mut self, chunks: u32, programs: u32) -> Result<Span> {
        let span = self.packs.reserve(chunks).ok_or_else(|| packs::full(self.images.len(), programs))?;
        self.spans.push(span);
        Ok(span)
    }

    fn plug(&mut self, chunks: u32, programs: u32) -> Result<Addr> {
        self.cost.plugs += 1;
        let span = self.reserve(chunks, programs)?;
        Ok(self.packs.addr(span))
    }

    fn filler(&mut self, chunks: u32, programs: u32) -> Result<()> {
        self.cost.fillers += 1;
        self.reserve(chunks, programs).map(drop)
    }

    fn measured(&mut self, layout: Layout, span: Span, random: &mut oorandom::Rand64) {
        self.cost.programs += 1;
        self.images.push(self.packs.image(span, layout.jited_bytes, random));
    }

    /// Loads programs of the measured size until 64 in a row are neighbours, then one up to the next page border.
    fn plug_holes(&mut self, layout: Layout) -> Result<()> {
        let bytes = u64::from(layout.chunks) * CHUNK_BYTES;
        let mut previous = self.plug(layout.chunks, layout.programs)?;
        let mut in_a_row = 0;
        while in_a_row < PLUGGED_IN_A_ROW {
            let next = self.plug(layout.chunks, layout.programs)?;
            in_a_row = if next.0 == previous.0 + bytes { in_a_row + 1 } else { 0 };
            previous = next;
        }
        match chunks_to_page_border(Addr(previous.0 + bytes)) {
            0 => Ok(()),
            gap => self.plug(gap, layout.programs).map(drop),
        }
    }

    /// All measured programs, then as many fillers as the other arm has.
    fn place_dense(&mut self, layout: Layout, random: &mut oorandom::Rand64) -> Result<()> {
        for _ in 0..layout.programs {
            let span = self.reserve(layout.chunks, layout.programs)?;
            self.measured(layout, span, random);
        }
        (0..layout.programs).try_for_each(|_| self.filler(layout.filler(), layout.programs))
    }

    /// A measured program and a filler in turn. A program that lands on a used page is kept as a plug, as in the kernel,
    /// where first fit finds what a pack's end left over.
    fn place_spread(&mut self, layout: Layout, random: &mut oorandom::Rand64) -> Result<()> {
        let mut used = BTreeSet::new();
        while self.images.len() < layout.programs as usize {
            let span = self.reserve(layout.chunks, layout.programs)?;
            let pages = layout.pages(self.packs.addr(span));
            if pages.clone().any(|page| used.contains(&page)) {
                self.cost.plugs += 1;
                continue;
            }
            used.extend(pages);
            self.measured(layout, span, random);
            let end = self.packs.addr(span).0 + u64::from(layout.chunks) * CHUNK_BYTES;
            self.filler(layout.filler_behind(Addr(end)), layout.programs)?;
        }
        Ok(())
    }

    /// Counts the executions of every program in `runs` runs of the trigger.
    fn count(&mut self, counts: &mut [u64], runs: u32) {
        for _ in 0..runs * EXECUTIONS_PER_RUN {
            counts[self.visits.advance()] += 1;
        }
    }
}

/// What the case asks of the packs, in chunks.
#[derive(Clone, Copy, Debug)]
struct Layout {
    programs: u32,
    jited_bytes: u32,
    chunks: u32,
    /// From one program to the next.
    stride: u32,
}

impl Layout {
    /// The JITed length is the body's nominal one.
    fn of(case: &Case) -> Self {
        let jited_bytes = case.body.nominal_bytes();
        let step = match case.offset {
            OffsetRule::Walk => 1,
            OffsetRule::Fixed => 0,
        };
        let chunks = pack::chunks(jited_bytes);
        let pages = (case.stride.bytes() / PAGE_BYTES) as u32;
        // A body of 4096 bytes needs 65 chunks: it cannot keep a stride of one page.
        let pages = pages.max(chunks.div_ceil(CHUNKS_PER_PAGE));
        Self { programs: case.programs, jited_bytes, chunks, stride: pages * CHUNKS_PER_PAGE + step }
    }

    fn filler(self) -> u32 {
        (self.stride - self.chunks).max(1)
    }

    /// The filler behind a program that ends at `end`: longer by whole pages if the next program would share a page.
    fn filler_behind(self, end: Addr) -> u32 {
        let last_page = Addr(end.0 - 1).page();
        let lands = |filler: u32| Addr(end.0 + u64::from(filler) * CHUNK_BYTES).page();
        let mut filler = self.filler();
        while lands(filler) <= last_page {
            filler += CHUNKS_PER_PAGE;
        }
        filler
    }

    fn pages(self, addr: Addr) -> std::ops::RangeInclusive<u64> {
        addr.page()..=Addr(addr.0 + u64::from(self.chunks) * CHUNK_BYTES - 1).page()
    }
}

fn chunks_to_page_border(addr: Addr) -> u32 {
    (CHUNKS_PER_PAGE - addr.line_in_page()) % CHUNKS_PER_PAGE
}

impl Loaded for SimLoaded<'_> {
    fn images(&self) -> &[Image] {
        &self.images
    }

    fn observe_mapping(&mut self) -> Observed {
        let pages = pages_of(&self.images);
        let leaf = |page: &u64| Leaf {
            size: PageSize::Small,
            writable: false,
            executable: true,
            global: false,
            frame: Some(*page),
        };
        let leaves = with_neighbours(&pages).iter().map(|page| (*page, leaf(page))).collect();
        Observed::Seen(Mapping::of(Source::Simulated, &pages, &leaves))
    }

    fn load_cost(&self) -> &LoadCost {
        &self.cost
    }

    fn check(&mut self) -> Result<Check> {
        let mut counts = vec![0; self.images.len()];
        let round = self.cost.programs.div_ceil(EXECUTIONS_PER_RUN);
        let mut runs = 0;
        // The walk needs about n ln n draws to meet all of n programs; 64 n leave none out below a million.
        while runs < 64 * round && counts.contains(&0) {
            self.count(&mut counts, round);
            runs += round;
        }
        Ok(Check {
            executed: counts.iter().filter(|&&count| count > 0).count() as u32,
            fewest: counts.iter().copied().min().unwrap_or(0),
            most: counts.iter().copied().max().unwrap_or(0),
            executions_per_run: (counts.iter().sum::<u64>() / u64::from(runs.max(1))) as u32,
        })
    }

    fn fire(&mut self, target: Target, runs: u32) -> Result<Fired> {
        let mut cpu = self.cpu.borrow_mut();
        let wall_ns = match target {
            Target::Programs => cpu.run_programs(&self.images, &mut self.visits, runs),
            Target::Empty => cpu.run_empty(runs),
        };
        Ok(Fired { wall_ns })
    }

    fn caveats(&self) -> Vec<Caveat> {
        match self.pack {
            PackMode::On => Vec::new(),
            PackMode::Off => vec![Caveat::PackOffEmulated],
        }
    }

    fn unload(self: Box<Self>) -> Result<u64> {
        Ok(UNLOAD_NS * self.spans.len() as u64)
    }
}

impl Drop for SimLoaded<'_> {
    fn drop(&mut self) {
        for span in self.spans.drain(..) {
            self.packs.free(span);
        }
    }
}
