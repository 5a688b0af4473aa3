//! Misses per execution that a placement, a mapping and the trigger's order amount to on a given iTLB.

use super::itlb::{Found, Geometry, Itlb, PageSize};
use super::visits::Visits;
use crate::placement::Image;
use crate::placement::image::PAGE_BYTES;
use crate::workload::Order;

/// Entries of 2 MiB that the kernel's own text on the way of one run takes: `bpf_test_run`, the indirect-call and return thunks,
/// `__local_bh_enable_ip` and its like, the clock. On Linux 6.18 they lie in four regions of 2 MiB; the text is mapped so.
pub const TEXT_ENTRIES: u64 = 4;
/// Where kernel text begins without KASLR.
const TEXT_BASE: u64 = 0xffff_ffff_8100_0000;
const REGION_BYTES: u64 = 2 << 20;

/// Rounds over all programs before counting begins, and as many that count.
const ROUNDS: u32 = 4;
/// Runs of the trigger that those rounds take, at least and at most; 304 are the 10 000 executions of a window.
const RUNS: std::ops::RangeInclusive<u32> = 304..=16_384;

/// What is run, and how it is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// In the order of visits; not empty.
    pub images: &'a [Image],
    /// Size of the pages that map the programs.
    pub pages: PageSize,
    pub order: Order,
    pub seed: u64,
    pub executions_per_run: u32,
}

/// What the model counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    pub executions: u64,
    /// Lookups that the first level missed, walks included; of programs, the entry program and kernel text alike.
    pub l1_misses: u64,
    /// Lookups that both levels missed.
    pub walks: u64,
}

impl Prediction {
    /// Misses of L1 per 1000 executions.
    pub fn l1_per_1000(&self) -> f64 {
        per_1000(self.l1_misses, self.executions)
    }

    /// Page walks per 1000 executions.
    pub fn walks_per_1000(&self) -> f64 {
        per_1000(self.walks, self.executions)
    }
}

fn per_1000(count: u64, executions: u64) -> f64 {
    1000.0 * count as f64 / executions.max(1) as f64
}

/// Runs `load` on an iTLB that it has already warmed up.
pub fn predict(load: &Load<'_>, geometry: &Geometry) -> Prediction {
    let programs = load.images.len() as u32;
    if programs == 0 || load.executions_per_run == 0 {
        return Prediction::default();
    }
    let mut machine = Machine::new(load, geometry, programs);
    let runs =
        (machine.visits.round().saturating_mul(ROUNDS) / load.executions_per_run).clamp(*RUNS.start(), *RUNS.end());
    (0..runs).for_each(|_| machine.run());
    machine.counted = Prediction::default();
    (0..runs).for_each(|_| machine.run());
    machine.counted
}

/// As [`predict`], for a chain: one round over all programs to warm up, one that counts.
pub(super) fn one_round(load: &Load<'_>, geometry: &Geometry) -> Prediction {
    let programs = load.images.len() as u32;
    let runs = programs.div_ceil(load.executions_per_run);
    let mut machine = Machine::new(load, geometry, programs);
    (0..runs + 1).for_each(|_| machine.run());
    machine.counted = Prediction::default();
    (0..runs).for_each(|_| machine.run());
    machine.counted
}

/// One CPU that does nothing but run the trigger.
struct Machine<'a> {
    load: &'a Load<'a>,
    /// Entries of kernel text.
    text: u64,
    itlb: Itlb,
    visits: Visits,
    entry: u64,
    counted: Prediction,
}

impl<'a> Machine<'a> {
    fn new(load: &'a Load<'a>, geometry: &Geometry, programs: u32) -> Self {
        // Where the entry program lies is not recorded: a page of its own, behind the last program.
        let entry = load.images.iter().map(|image| image.end().0).max().unwrap_or(0).next_multiple_of(PAGE_BYTES);
        let visits = Visits::new(load.order, programs, load.seed);
        Self { load, text: TEXT_ENTRIES, itlb: Itlb::new(geometry), visits, entry, counted: Prediction::default() }
    }

    /// The kernel's way to the entry program, the entry program, and the programs it leads to.
    fn run(&mut self) {
        (0..self.text).for_each(|at| self.fetch(TEXT_BASE + at * REGION_BYTES, PageSize::Huge));
        self.fetch(self.entry, self.load.pages);
        for _ in 0..self.load.executions_per_run {
            let image = self.load.images[self.visits.advance()];
            image.pages().for_each(|page| self.fetch(page * PAGE_BYTES, self.load.pages));
        }
        self.counted.executions += u64::from(self.load.executions_per_run);
    }

    #[inline]
    fn fetch(&mut self, addr: u64, size: PageSize) {
        let found = self.itlb.fetch(addr, size);
        self.counted.l1_misses += u64::from(found != Found::L1);
        self.counted.walks += u64::from(found == Found::Walk);
    }
}

#[cfg(test)]
mod tests;
