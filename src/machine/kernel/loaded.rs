//! A case, loaded into the running kernel.

use std::path::PathBuf;
use std::time::Instant;

use super::memory;
use super::pace::Pace;
use super::peers::KernelPeers;
use super::place::Placed;
use super::settle::Settle;
use super::trigger::Trigger;
use crate::caveat::Caveat;
use crate::counters::{Choice, Group};
use crate::machine::{Fired, Loaded, LoadedMemory, MachineError, Peers, Result, Target};
use crate::placement::mapping::Looks;
use crate::placement::{Image, Observed};
use crate::trial::{Check, LoadCost};

/// Programs in the kernel and the trigger that runs them. Dropping it unloads them, and leaves word of what is to be waited for; the
/// process ending unloads them too, however it ends.
#[derive(Debug)]
pub struct KernelLoaded<'a> {
    placed: Placed,
    trigger: Box<dyn Trigger>,
    settle: &'a mut Settle,
    looks: &'a mut Looks,
    latencies_ns: Vec<u64>,
    caveats: Vec<Caveat>,
    left_word: bool,
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
        Self { placed, trigger, settle, looks, latencies_ns, caveats, left_word: false }
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

    fn peers(&mut self, cpus: &[u32], choice: &Choice, groups: &[Group]) -> Result<Box<dyn Peers>> {
        let failed = |error| MachineError::failed(format!("failed to fire from several CPUs: {error}"));
        let firings = cpus.iter().map(|_| self.trigger.again().map_err(failed)).collect::<Result<Vec<_>>>()?;
        Ok(Box::new(KernelPeers::start(cpus, firings, choice, groups)?))
    }

    fn hook(&mut self) -> Result<Option<PathBuf>> {
        self.trigger.hook(&self.placed.maps)
    }

    fn unhook(&mut self) -> Result<u64> {
        self.trigger.unhook(&self.placed.maps)
    }

    fn caveats(&self) -> Vec<Caveat> {
        self.caveats.clone()
    }

    fn unload(self: Box<Self>) -> Result<u64> {
        let mut loaded = self;
        loaded.leave_word();
        let began = Instant::now();
        drop(loaded);
        Ok(began.elapsed().as_nanos() as u64)
    }
}

impl KernelLoaded<'_> {
    /// Tells what is going to be free; once.
    fn leave_word(&mut self) {
        if !std::mem::replace(&mut self.left_word, true) {
            let extents = self.placed.extents(self.settle);
            self.settle.unloaded(extents);
        }
    }
}

impl Drop for KernelLoaded<'_> {
    fn drop(&mut self) {
        self.leave_word();
        let mut pace = Pace::seeing(self.settle);
        let retired = self.placed.unload(self.trigger.empty_program(), &mut pace);
        self.trigger.release(&mut pace);
        self.settle.retired(retired);
    }
}
