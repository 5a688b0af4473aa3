//! In: the same requests that the kernel gets. Out: placements, counts and times of a small CPU that does not exist.
//! Apart so that run, record, compare and report can be tested without root, and the same seed gives the same run file.
//!
//! Real is the arithmetic of placement: first fit of 64-byte chunks in 2 MiB packs that other programs use too, holes
//! plugged first. Invented is the CPU, 2.5 GHz, which maps all JITed code by 4 KiB pages:
//!
//! | level | entries | ways | replacement | a miss costs |
//! |---|---|---|---|---|
//! | L1 iTLB | 16 | 4 | LRU | 7 cycles |
//! | L2 iTLB | 128 | 8 | LRU | 26 cycles more; counted as `iTLB-load-misses` and walks, all 33 as walk cycles |
//!
//! An execution costs 12 cycles and one per 16 bytes of code; one run of a chain or walk 75 cycles. Other triggers run every program
//! in one run and cost what `trigger.rs` says, invented too. Interrupts evict entries,
//! every load is up to 1.5 % faster or slower than the next, every window about 0.5 %, and one in 200 is multiplexed.
//! There is no cache, no branch predictor and no out-of-order execution: nothing here predicts a real CPU.

mod counters;
mod cpu;
mod load;
mod neighbours;
mod peers;
pub mod selftest;
mod tandem;
mod trigger;

use std::cell::RefCell;
use std::rc::Rc;

use crate::caveat::Caveat;
use crate::counters::Choice;
use crate::placement::allocator::Allocator;
use crate::workload::{Case, Cpus};

use self::counters::SimCounters;
use self::cpu::Cpu;
use self::load::SimLoaded;
use self::neighbours::SimMeters;
use self::peers::SimChurn;
use self::tandem::SimTandem;
use super::{Churn, Counters, Loaded, Machine, Meters, MissSampler, Result, Tandem};
use crate::victim::Asked;

/// Programs of others in the packs of a fresh machine.
const FOREIGN: u32 = 24;

/// A machine whose every answer follows from its seed and the calls made before.
#[derive(Debug)]
pub struct SimMachine {
    packs: Allocator,
    /// Shared with the counters, which outlive any one load.
    cpu: Rc<RefCell<Cpu>>,
}

impl SimMachine {
    /// A machine with foreign programs and holes between them already in its first pack.
    pub fn new(seed: u64) -> Self {
        let mut random = oorandom::Rand64::new(u128::from(seed));
        let packs = Allocator::with_foreign(FOREIGN, &mut random);
        Self { packs, cpu: Rc::new(RefCell::new(Cpu::new(random.rand_u64()))) }
    }
}

impl Machine for SimMachine {
    fn load(&mut self, case: &Case, seed: u64) -> Result<Box<dyn Loaded + '_>> {
        self.cpu.borrow_mut().new_load();
        Ok(Box::new(SimLoaded::place(&mut self.packs, Rc::clone(&self.cpu), case, seed)?))
    }

    fn counters(&mut self, choice: &Choice) -> Result<Box<dyn Counters>> {
        Ok(Box::new(SimCounters::new(Rc::clone(&self.cpu), choice)?))
    }

    fn meters(&mut self) -> Result<Box<dyn Meters>> {
        Ok(Box::new(SimMeters::new(Rc::clone(&self.cpu))))
    }

    fn sampler(&mut self) -> std::result::Result<Box<dyn MissSampler>, String> {
        Err("the simulated CPU takes no samples".to_owned())
    }

    fn reserve(&mut self, cpus: &Cpus) -> Result<Vec<u32>> {
        Ok(match cpus {
            Cpus::All => vec![1],
            Cpus::List(cpus) => cpus.iter().copied().filter(|cpu| *cpu != 0).collect(),
        })
    }

    fn churn(&mut self, per_s: u32) -> Result<Box<dyn Churn>> {
        Ok(Box::new(SimChurn::new(Rc::clone(&self.cpu), per_s)))
    }

    fn tandem(&mut self, asked: &Asked) -> Result<Box<dyn Tandem>> {
        Ok(Box::new(SimTandem::open(Rc::clone(&self.cpu), asked)?))
    }

    fn caveats(&self) -> Vec<Caveat> {
        vec![Caveat::Simulated, Caveat::ForeignPrograms { programs: FOREIGN }]
    }
}

#[cfg(test)]
mod tests;
