//! Other simulated CPUs, each with an iTLB of its own, and a churn that shoots down translations of the first.

use std::cell::RefCell;
use std::rc::Rc;

use super::cpu::Cpu;
use super::trigger::Run;
use crate::machine::{Churn, Peers, Result, Target};
use crate::model::visits::Visits;
use crate::placement::Image;
use crate::trial::company::{Churned, CpuWindow};

/// CPUs that run the same programs.
#[derive(Debug)]
pub struct SimPeers {
    cpus: Vec<(Cpu, Visits)>,
    images: Vec<Image>,
    run: Run,
    /// Event groups of the run; of the others nothing is counted.
    groups: usize,
    asked: Option<(Target, u32)>,
}

impl SimPeers {
    /// Fresh CPUs that visit `images`.
    pub fn new(cpus: &[u32], images: &[Image], visits: &Visits, run: Run, groups: usize) -> Self {
        let cpus = cpus.iter().map(|&cpu| (Cpu::new(cpu.into()), visits.clone())).collect();
        Self { cpus, images: images.to_vec(), run, groups, asked: None }
    }
}

impl Peers for SimPeers {
    fn begin(&mut self, target: Target, runs: u32) -> Result<()> {
        self.asked = Some((target, runs));
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<CpuWindow>> {
        let Some((target, runs)) = self.asked.take() else { return Ok(Vec::new()) };
        let window = |(cpu, visits): &mut (Cpu, Visits)| {
            let wall_ns = match target {
                Target::Programs => cpu.run_programs(&self.images, visits, self.run, runs),
                Target::Empty => cpu.run_empty(self.run, runs),
            };
            CpuWindow { wall_ns, readings: vec![crate::counters::Reading::default(); self.groups] }
        };
        Ok(self.cpus.iter_mut().map(window).collect())
    }
}

/// Shoots down translations as long as it goes on.
#[derive(Debug)]
pub struct SimChurn {
    cpu: Rc<RefCell<Cpu>>,
    per_s: u32,
}

impl SimChurn {
    /// At `per_s` loads a second.
    pub fn new(cpu: Rc<RefCell<Cpu>>, per_s: u32) -> Self {
        Self { cpu, per_s }
    }
}

impl Churn for SimChurn {
    fn per_s(&self) -> u32 {
        self.per_s
    }

    fn start(&mut self) -> Result<()> {
        self.cpu.borrow_mut().churn(self.per_s);
        Ok(())
    }

    fn stop(&mut self) -> Result<Churned> {
        let elapsed_ns = self.cpu.borrow_mut().churn(0);
        let loads = elapsed_ns * u64::from(self.per_s) / 1_000_000_000;
        let latencies = |ns: u64| (0..loads).map(|load| ns + load % 7 * ns / 10).collect();
        Ok(Churned { loads, elapsed_ns, load_ns: latencies(39_000), unload_ns: latencies(3_000), splits: None })
    }
}
