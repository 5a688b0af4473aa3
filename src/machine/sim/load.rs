//! Loads a case into the simulated packs: plugs the holes, lays the programs out, and runs them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::caveat::Caveat;
use crate::counters::{Choice, Group};
use crate::machine::{Fired, Loaded, MachineError, Peers, Result, Target};
use crate::model::visits::Visits;
use crate::placement::allocator::{Allocator, Span};
use crate::placement::mapping::observed::{pages_of, with_neighbours};
use crate::placement::mapping::{Leaf, Mapping, PageSize, Source};
use crate::placement::planner::{FillerKind, Landing, Planner, Rules, Step, Wanted};
use crate::placement::{Image, Observed, pack};
use crate::trial::{Check, LoadCost};
use crate::workload::{Case, FillerRule, Order, PackMode, plan};

use super::cpu::Cpu;
use super::peers::SimPeers;
use super::trigger::Run;

/// Chunks of the longest filler.
const LONGEST_FILLER: u32 = 896;
/// Simulated time to load and to unload one program.
const LOAD_NS: u64 = 39_000;
const UNLOAD_NS: u64 = 3_000;

/// A case in the packs; leaves them when dropped.
#[derive(Debug)]
pub struct SimLoaded<'a> {
    packs: &'a mut Allocator,
    cpu: Rc<RefCell<Cpu>>,
    /// Measured programs and plugs.
    spans: Vec<Span>,
    fillers: Vec<Span>,
    /// In the order of visits.
    images: Vec<Image>,
    /// Loaded and not run.
    beside: Vec<Image>,
    cost: LoadCost,
    visits: Visits,
    run: Run,
    pack: PackMode,
}

impl<'a> SimLoaded<'a> {
    /// Places the programs of `case` as the planner says; `seed` decides start holes, offsets and the order of visits.
    pub fn place(packs: &'a mut Allocator, cpu: Rc<RefCell<Cpu>>, case: &Case, seed: u64) -> Result<Self> {
        if case.programs == 0 {
            return Err(MachineError::failed(format!("failed to load case `{case}`: it has no programs")));
        }
        let mut random = oorandom::Rand64::new(u128::from(seed));
        let visits = Visits::new(case.order(), case.programs, random.rand_u64());
        let (spans, fillers, images, cost) = (Vec::new(), Vec::new(), Vec::new(), LoadCost::default());
        let mut loaded = Self {
            packs,
            cpu,
            spans,
            fillers,
            images,
            beside: Vec::new(),
            cost,
            visits,
            run: Run::of(case.trigger, case.programs),
            pack: case.pack,
        };
        loaded.carry_out(case, seed, &mut random)?;
        if case.pack == PackMode::Placebo {
            // Another order from the same seed.
            plan::shuffle(&mut loaded.images, &mut oorandom::Rand64::new(u128::from(!seed)));
        }
        if case.order() != Order::Sequential {
            plan::shuffle(&mut loaded.images, &mut random);
        }
        loaded.beside = loaded.images.split_off(case.programs as usize);
        loaded.cost.load_ns = LOAD_NS * (loaded.spans.len() + loaded.fillers.len()) as u64;
        Ok(loaded)
    }

    fn carry_out(&mut self, case: &Case, seed: u64, random: &mut oorandom::Rand64) -> Result<()> {
        let rules = Rules { pack_bytes: self.packs.pack_bytes(), longest_filler: LONGEST_FILLER };
        let mut plan = Planner::new(Wanted::of(case, seed), rules, &[]);
        while let Some(step) = plan.next_step() {
            let number = match step {
                Step::Filler { chunks, kind } => {
                    let span = self.reserve(chunks, kind, case.loaded())?;
                    self.fillers.push(span);
                    continue;
                }
                Step::Plug => None,
                Step::Measured { number } => Some(number),
            };
            let body = number.map_or(case.body.smallest(), |number| case.body.at(number));
            let len = body.nominal_bytes();
            let span = self.reserve(pack::chunks(len), FillerKind::Extended, case.loaded())?;
            self.spans.push(span);
            let image = self.packs.image(span, len, random);
            match (plan.landed(&image), number) {
                (Landing::Keep, Some(number)) => {
                    self.images.truncate(number as usize);
                    self.images.push(image);
                }
                _ => self.cost.plugs += 1,
            }
        }
        self.cost.programs = case.loaded();
        self.cost.fillers = self.fillers.len() as u32;
        if case.fillers == FillerRule::Release {
            self.fillers.drain(..).for_each(|span| self.packs.free(span));
        }
        Ok(())
    }

    fn reserve(&mut self, chunks: u32, kind: FillerKind, programs: u32) -> Result<Span> {
        self.packs.reserve(chunks, kind).ok_or_else(|| full(self.images.len(), programs))
    }

    /// Counts the executions of every program in `runs` runs of the trigger.
    fn count(&mut self, counts: &mut [u64], runs: u32) {
        for _ in 0..runs * self.run.executions {
            counts[self.visits.advance()] += 1;
        }
    }
}

/// What the kernel says when the module area is full.
fn full(loaded: usize, programs: u32) -> MachineError {
    MachineError::host_cannot(
        format!("failed to load program {} of {programs}: error 524 (ENOTSUPP): the JIT memory is full", loaded + 1),
        "ask for fewer programs with `--programs`",
    )
}

impl Loaded for SimLoaded<'_> {
    fn images(&self) -> &[Image] {
        &self.images
    }

    fn beside(&self) -> &[Image] {
        &self.beside
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
        let round = self.visits.round().div_ceil(self.run.executions);
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
            Target::Programs => cpu.run_programs(&self.images, &mut self.visits, self.run, runs),
            Target::Empty => cpu.run_empty(self.run, runs),
        };
        Ok(Fired { wall_ns })
    }

    fn peers(&mut self, cpus: &[u32], _choice: &Choice, groups: &[Group]) -> Result<Box<dyn Peers>> {
        Ok(Box::new(SimPeers::new(cpus, &self.images, &self.visits, self.run, groups.len())))
    }

    fn caveats(&self) -> Vec<Caveat> {
        match self.pack {
            PackMode::On | PackMode::Placebo => Vec::new(),
            PackMode::Off | PackMode::OffTwoMeg => vec![Caveat::PackOffEmulated],
        }
    }

    fn unload(self: Box<Self>) -> Result<u64> {
        Ok(UNLOAD_NS * (self.spans.len() + self.fillers.len()) as u64)
    }
}

impl Drop for SimLoaded<'_> {
    fn drop(&mut self) {
        for span in self.spans.drain(..).chain(self.fillers.drain(..)) {
            self.packs.free(span);
        }
    }
}
