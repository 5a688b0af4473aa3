//! A case, loaded into the running kernel.

use std::time::{Duration, Instant};

use super::memory;
use super::place::Placed;
use super::settle::Settle;
use super::trigger::Trigger;
use crate::caveat::Caveat;
use crate::machine::{Fired, Loaded, LoadedMemory, Result, Target};
use crate::placement::mapping::Looks;
use crate::placement::{Image, Observed};
use crate::trial::{Check, LoadCost};

/// Unloaded programs are freed on a work queue; so long it is left alone between two heaps of them.
const BETWEEN_RELEASES: Duration = Duration::from_millis(20);

/// Programs in the kernel and the trigger that runs them. Dropping it unloads them; the process ending does too, however it ends.
#[derive(Debug)]
pub struct KernelLoaded<'a> {
    placed: Placed,
    trigger: Box<dyn Trigger>,
    settle: &'a mut Settle,
    looks: &'a mut Looks,
    latencies_ns: Vec<u64>,
    caveats: Vec<Caveat>,
}

impl<'a> KernelLoaded<'a> {
    /// Takes over what was placed.
    pub fn new(
        placed: Placed,
        trigger: Box<dyn Trigger>,
        settle: &'a mut Settle,
        looks: &'a mut Looks,
        latencies_ns: Vec<u64>,
        caveats: Vec<Caveat>,
    ) -> Self {
        Self { placed, trigger, settle, looks, latencies_ns, caveats }
    }
}

impl Loaded for KernelLoaded<'_> {
    fn images(&self) -> &[Image] {
        &self.placed.images
    }

    fn beside(&self) -> &[Image] {
        &self.placed.beside
    }

    fn observe_mapping(&mut self) -> Observed {
        self.looks.observe(&self.placed.images)
    }

    fn memory(&self) -> Option<LoadedMemory> {
        Some(LoadedMemory {
            direct_map: memory::direct_map(),
            packs: memory::packs(&self.placed.images),
            load_latencies_ns: self.latencies_ns.clone(),
        })
    }

    fn load_cost(&self) -> &LoadCost {
        &self.placed.cost
    }

    fn check(&mut self) -> Result<Check> {
        self.trigger.check(&self.placed.maps)
    }

    fn prepare(&mut self, target: Target) -> Result<()> {
        self.trigger.prepare(target)
    }

    fn fire(&mut self, target: Target, runs: u32) -> Result<Fired> {
        self.trigger.fire(target, runs)
    }

    fn caveats(&self) -> Vec<Caveat> {
        self.caveats.clone()
    }

    fn unload(self: Box<Self>) -> Result<u64> {
        let Self { placed, trigger, settle, .. } = *self;
        let images = placed.all();
        let began = Instant::now();
        let retired = placed.unload(trigger.empty_program());
        trigger.release(&mut || std::thread::sleep(BETWEEN_RELEASES));
        let unload_ns = began.elapsed().as_nanos() as u64;
        settle.unloaded(&images);
        settle.retired(retired);
        Ok(unload_ns)
    }
}
