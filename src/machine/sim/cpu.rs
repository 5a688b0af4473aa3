//! The simulated CPU: what executions cost, and what its counters saw of it.

use crate::counters::Reading;
use crate::counters::cost::SIMULATED_SECOND_LEVEL_HIT;
use crate::model::itlb::{Array, Found, Index, Level};
use crate::model::visits::Visits;
use crate::model::{Geometry, Itlb, PageSize};
use crate::placement::image::PAGE_BYTES;
use crate::placement::{Addr, Image};

use super::neighbours::Neighbours;
use super::trigger::Run;

/// The table in the module's description, and `simulated` among the models; a folded index, so that a stride of two pages does not leave half the sets empty.
const GEOMETRY: Geometry = Geometry {
    l1: Level { small: array(16, 4), huge: None },
    l2: Level { small: array(128, 8), huge: None },
    coalesced: 1,
};

const EXECUTION_CYCLES: u64 = 12;
const L1_MISS_CYCLES: u64 = SIMULATED_SECOND_LEVEL_HIT;
const WALK_CYCLES: u64 = 26;
/// Nanoseconds that enabling and disabling add to the time a group is enabled.
const SWITCH_NS: u64 = 60;
/// Events of the hardware group: cycles, instructions, the generic misses, walks, walk cycles, second-level hits.
const HARDWARE_EVENTS: usize = 6;
/// Where a victim's code begins: in user space.
const VICTIM_BASE: u64 = 0x5555_0000_0000;
/// One window in this many is multiplexed.
const MULTIPLEXED_ONE_IN: u64 = 200;

const fn array(entries: u32, ways: u32) -> Array {
    match Array::new(entries, ways, Index::Folded) {
        Ok(array) => array,
        Err(_) => panic!("an array as no hardware is built"),
    }
}

/// What something cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    cycles: u64,
    instructions: u64,
    /// Page walks.
    walks: u64,
    second_level_hits: u64,
}

impl Cost {
    fn add(&mut self, other: Self, times: u64) {
        self.cycles += other.cycles * times;
        self.instructions += other.instructions * times;
        self.walks += other.walks * times;
        self.second_level_hits += other.second_level_hits * times;
    }
}

/// The CPU with its iTLB, its noise and its counters.
#[derive(Debug)]
pub struct Cpu {
    itlb: Itlb,
    random: oorandom::Rand64,
    /// How much slower or faster everything is since the last load; physical pages differ from load to load.
    load_factor: f64,
    pmu: Pmu,
    neighbours: Neighbours,
    churn_per_s: u32,
    churned_ns: u64,
}

/// Counters since the start of the machine; never reset.
#[derive(Debug, Default)]
struct Pmu {
    enabled: bool,
    hardware: Reading,
    software: Reading,
    /// Thousandths of the window in which the hardware group is on the PMU.
    running_permille: u64,
}

impl Cpu {
    /// A CPU with empty iTLB.
    pub fn new(seed: u64) -> Self {
        let random = oorandom::Rand64::new(u128::from(seed));
        let hardware = Reading { counts: vec![0; HARDWARE_EVENTS], ..Reading::default() };
        let software = Reading { counts: vec![0; 1], ..Reading::default() };
        let pmu = Pmu { enabled: false, hardware, software, running_permille: 1000 };
        let neighbours = Neighbours::new(seed);
        Self { itlb: Itlb::new(&GEOMETRY), random, load_factor: 1.0, pmu, neighbours, churn_per_s: 0, churned_ns: 0 }
    }

    /// Programs were loaded: pages are elsewhere in memory now, and the kernel's own code ran.
    pub fn new_load(&mut self) {
        self.itlb = Itlb::new(&GEOMETRY);
        self.load_factor = 1.0 + 0.015 * (2.0 * self.random.rand_float() - 1.0);
    }

    /// Fires the trigger `runs` times at `images`; nanoseconds it took.
    pub fn run_programs(&mut self, images: &[Image], visits: &mut Visits, run: Run, runs: u32) -> u64 {
        self.interrupt();
        self.shoot_down();
        let mut cost = self.execute_in_order(images, visits, u64::from(run.executions) * u64::from(runs));
        cost.cycles += run.dispatch * u64::from(run.executions) * u64::from(runs);
        self.account(cost, run, runs)
    }

    /// Fires the trigger `runs` times at the empty program, whose page is never evicted; nanoseconds it took.
    pub fn run_empty(&mut self, run: Run, runs: u32) -> u64 {
        let cycles = run.dispatch * u64::from(run.empties) * u64::from(runs);
        self.account(Cost { cycles, ..Cost::default() }, run, runs)
    }

    /// A victim fetches from each of its pages in turn, `rounds` times; nanoseconds it took.
    pub fn run_victim(&mut self, pages: u32, rounds: u32) -> u64 {
        self.shoot_down();
        let image = |page| Image { addr: Addr(VICTIM_BASE + page * PAGE_BYTES), len: 64 };
        let images: Vec<Image> = (0..u64::from(pages)).map(image).collect();
        let cost = self.execute_rounds(u64::from(rounds), |cpu, cost| {
            images.iter().for_each(|image| cpu.execute(image, cost));
        });
        (cost.cycles as f64 * self.load_factor * 0.4) as u64
    }

    /// Other programs come and go `per_s` times a second from now on, or no more if 0; nanoseconds of windows since it was last told.
    pub fn churn(&mut self, per_s: u32) -> u64 {
        self.churn_per_s = per_s;
        std::mem::take(&mut self.churned_ns)
    }

    /// Starts counting; decides whether something else wants the PMU in this window.
    pub fn enable(&mut self) {
        let busy = self.random.rand_range(0..MULTIPLEXED_ONE_IN) == 0;
        self.pmu.running_permille = if busy { self.random.rand_range(500..950) } else { 1000 };
        self.pmu.enabled = true;
    }

    /// Stops counting.
    pub fn disable(&mut self) {
        if std::mem::take(&mut self.pmu.enabled) {
            self.pmu.pass(SWITCH_NS);
        }
    }

    /// The hardware group and the software group, since the start of the machine.
    pub fn readings(&self) -> [&Reading; 2] {
        [&self.pmu.hardware, &self.pmu.software]
    }

    /// What the noise meters saw since the start of the machine.
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    fn execute_in_order(&mut self, images: &[Image], visits: &mut Visits, executions: u64) -> Cost {
        let period = visits.period().map_or(u64::MAX, u64::from);
        let mut visit = |cpu: &mut Self, count: u64, cost: &mut Cost| {
            (0..count).for_each(|_| cpu.execute(&images[visits.advance()], cost));
        };
        let mut cost = self.execute_rounds(executions / period, |cpu, cost| visit(cpu, period, cost));
        visit(self, executions % period, &mut cost);
        cost
    }

    /// Once a whole round has left the iTLB as it found it, every further round costs the same: those are multiplied out.
    fn execute_rounds(&mut self, rounds: u64, mut round: impl FnMut(&mut Self, &mut Cost)) -> Cost {
        let mut total = Cost::default();
        for done in 1..=rounds {
            let (before, mut cost) = (self.itlb.clone(), Cost::default());
            round(self, &mut cost);
            total.add(cost, 1);
            if self.itlb == before {
                total.add(cost, rounds - done);
                break;
            }
        }
        total
    }

    fn execute(&mut self, image: &Image, cost: &mut Cost) {
        cost.cycles += EXECUTION_CYCLES + u64::from(image.len) / 16;
        cost.instructions += u64::from(image.len) / 4;
        for page in image.pages() {
            match self.itlb.fetch(page * PAGE_BYTES, PageSize::Small) {
                Found::L1 => {}
                Found::L2 => {
                    cost.cycles += L1_MISS_CYCLES;
                    cost.second_level_hits += 1;
                }
                Found::Walk => {
                    cost.cycles += L1_MISS_CYCLES + WALK_CYCLES;
                    cost.walks += 1;
                }
            }
        }
    }

    /// An interrupt's code takes some entries of the iTLB.
    fn interrupt(&mut self) {
        for _ in 0..self.random.rand_range(0..9) {
            let page = self.random.rand_range(0xf_ffff_ff80_0000..0xf_ffff_ff80_4000);
            self.itlb.fetch(page * PAGE_BYTES, PageSize::Small);
        }
    }

    /// What comes and goes takes its translations along: one look into the kernel for each ten a second.
    fn shoot_down(&mut self) {
        (0..self.churn_per_s / 10).for_each(|_| self.interrupt());
    }

    /// Adds the trigger's own cost and noise, and lets the counters see the sum.
    fn account(&mut self, programs: Cost, run: Run, runs: u32) -> u64 {
        // Sum of four uniform draws: a bell of 0.5 % about 1, the same on every host, as no library's logarithm is.
        let bell: f64 = (0..4).map(|_| self.random.rand_float() - 0.5).sum();
        let factor = self.load_factor * (1.0 + 0.0087 * bell);
        let cycles = programs.cycles + run.cycles * u64::from(runs);
        let cycles = (cycles as f64 * factor).round() as u64;
        let instructions = programs.instructions + run.instructions * u64::from(runs);
        let wall_ns = (cycles * 2).div_ceil(5);
        if self.pmu.enabled {
            let walk_cycles = programs.walks * (L1_MISS_CYCLES + WALK_CYCLES);
            let walk_cycles = (walk_cycles as f64 * factor).round() as u64;
            let counts =
                [cycles, instructions, programs.walks, programs.walks, walk_cycles, programs.second_level_hits];
            self.pmu.see(counts, wall_ns);
        }
        if self.churn_per_s > 0 {
            self.churned_ns += wall_ns;
        }
        wall_ns + self.neighbours.during(wall_ns)
    }
}

impl Pmu {
    /// `counts` in the order of the hardware group's events.
    fn see(&mut self, counts: [u64; HARDWARE_EVENTS], wall_ns: u64) {
        for (count, seen) in self.hardware.counts.iter_mut().zip(counts) {
            *count += seen * self.running_permille / 1000;
        }
        self.software.counts[0] += wall_ns;
        self.pass(wall_ns);
    }

    fn pass(&mut self, ns: u64) {
        self.hardware.enabled_ns += ns;
        self.hardware.running_ns += ns * self.running_permille / 1000;
        self.software.enabled_ns += ns;
        self.software.running_ns += ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::geometry::Named;
    use crate::workload::Order;

    #[test]
    fn the_model_called_simulated_is_this_cpu() {
        assert_eq!(Named::find("simulated").expect("in the table").geometry, GEOMETRY);
    }

    /// Two CPUs side by side, one of which executes one program after the other, with interrupts in between.
    #[test]
    fn rounds_multiplied_out_cost_what_they_cost_one_by_one() {
        for (order, programs, stride) in [
            (Order::Sequential, 1, 1),
            (Order::Sequential, 9, 1),
            (Order::Permuted, 100, 3),
            (Order::Permuted, 300, 1),
            (Order::Random, 100, 2),
        ] {
            let image = |at: u64| Image { addr: Addr(at * stride * PAGE_BYTES + 4000), len: 80 + 7 * at as u32 };
            let images: Vec<Image> = (0..programs).map(image).collect();
            let (mut quick, mut slow) = (Cpu::new(7), Cpu::new(7));
            let mut visits = [(); 2].map(|()| Visits::new(order, programs as u32, 7));
            for executions in [1, 33, 10_032, 998, 3000] {
                quick.interrupt();
                slow.interrupt();
                let cost = quick.execute_in_order(&images, &mut visits[0], executions);
                let mut one_by_one = Cost::default();
                (0..executions).for_each(|_| slow.execute(&images[visits[1].advance()], &mut one_by_one));
                assert_eq!(cost, one_by_one, "{order} {programs} {executions}");
            }
            assert_eq!(quick.itlb, slow.itlb, "{order} {programs}");
        }
    }
}
