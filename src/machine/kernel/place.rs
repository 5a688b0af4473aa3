//! Carries out the planner's steps: plugs holes, loads dense or spread, reads every address back.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use libbpf_rs::MapHandle;

use super::fillers::{Fillers, Held};
use super::pace::Pace;
use super::programs::{Maps, Programs};
use super::settle::{Extent, Settle};
use super::sys;
use super::trigger::load_failed;
use crate::machine::{MachineError, Result};
use crate::placement::planner::{FillerKind, Landing, Planner, Rules, Step, Wanted};
use crate::placement::{Addr, Image, pack};
use crate::trial::LoadCost;
use crate::workload::Case;

/// Everything one load of a case has put into the kernel. Dropping it unloads: the descriptors here are the only holders.
#[derive(Debug)]
pub struct Placed {
    pub maps: Maps,
    /// By position: the order of visits.
    pub images: Vec<Image>,
    /// Loaded and not run.
    pub beside: Vec<Image>,
    pub cost: LoadCost,
    /// Fillers and plugs.
    extras: Extras,
    held: Held,
}

/// Where plugs lie, and where fillers should: they have no address that could be asked for.
#[derive(Debug, Default)]
struct Extras {
    plugs: Vec<Extent>,
    fillers: Vec<Extent>,
    /// First address behind what was loaded last.
    end: u64,
}

impl Extras {
    fn filler(&mut self, chunks: u32) {
        let bytes = chunks * pack::CHUNK_BYTES as u32;
        self.fillers.push(Extent { base: self.end, bytes });
        self.end += u64::from(bytes);
    }
}

impl Placed {
    /// Everything that is going to be free once this is unloaded; fillers only as far as they are where they should be.
    pub fn extents(&self, settle: &Settle) -> Vec<Extent> {
        let measured = self.images.iter().chain(&self.beside).map(Extent::of);
        measured.chain(self.held(settle)).collect()
    }

    /// The same for fillers and plugs alone.
    fn held(&self, settle: &Settle) -> Vec<Extent> {
        let fillers = settle.found(&self.extras.fillers);
        self.extras.plugs.iter().copied().chain(fillers).collect()
    }

    /// Unloads fillers and plugs; returns where they lay.
    pub fn release(&mut self, settle: &Settle) -> Vec<Extent> {
        let extents = self.held(settle);
        self.held.release(&mut Pace::seeing(settle));
        self.extras = Extras::default();
        extents
    }

    /// Unloads all of it, with every jump led to `empty` first; returns the arrays to keep until the programs are gone.
    pub fn unload(&mut self, empty: BorrowedFd<'_>, pace: &mut Pace<'_>) -> Vec<MapHandle> {
        self.held.release(pace);
        let retired = self.maps.retire(empty);
        self.maps.unpublish(pace);
        retired
    }
}

/// What fills the packs of a kernel that has them.
#[derive(Clone, Copy, Debug)]
pub struct Packing<'a> {
    pub fillers: &'a Fillers,
    /// Bytes of a pack.
    pub pack_bytes: u64,
}

/// Loads cases; knows the kernel's habits as found out at the start.
#[derive(Debug)]
pub struct Placer<'a> {
    pub programs: &'a Programs,
    /// `None` if this kernel does not pack programs at all.
    pub packing: Option<Packing<'a>>,
    /// Programs of others, as they were when the run began.
    pub foreign: &'a [Image],
    /// Descriptors that fillers may take.
    pub most_sockets: usize,
    /// Looked at between loads; set by a signal.
    pub stop: &'a AtomicBool,
}

impl Placer<'_> {
    /// Descriptors that the programs of `case` and their hook take.
    fn descriptors(&self, case: &Case) -> usize {
        /// A program, its link, and two sockets for each of two hooks: no trigger takes more for each program.
        const EACH: usize = 6;
        if case.trigger.is_tail_calls() { 0 } else { EACH * case.programs as usize }
    }

    /// Loads `case`; the program of number i gets position `order[i]`. `seed` decides random offsets.
    pub fn place(&self, case: &Case, order: &[u32], seed: u64) -> Result<Placed> {
        let began = Instant::now();
        let maps = self.programs.maps_of(case)?;
        let mut load = Load {
            placer: self,
            order,
            images: vec![Image { addr: Addr(0), len: 0 }; case.loaded() as usize],
            recent: VecDeque::new(),
            extras: Extras::default(),
            held: Held::new(self.most_sockets.saturating_sub(self.descriptors(case))),
            cost: LoadCost::default(),
            maps: &maps,
            programs: case.programs,
        };
        match self.packing {
            Some(Packing { pack_bytes, fillers }) => {
                let rules = Rules { pack_bytes, longest_filler: fillers.longest() };
                load.carry_out(Planner::new(Wanted::of(case, seed), rules, self.foreign))?;
            }
            None => load.plain()?,
        }
        let Load { mut images, extras, held, mut cost, .. } = load;
        cost.load_ns = began.elapsed().as_nanos() as u64;
        cost.programs = case.loaded();
        let beside = images.split_off(case.programs as usize);
        Ok(Placed { maps, images, beside, cost, extras, held })
    }
}

/// One load under way.
struct Load<'a> {
    placer: &'a Placer<'a>,
    order: &'a [u32],
    maps: &'a Maps,
    /// Those that are run.
    programs: u32,
    images: Vec<Image>,
    /// Programs whose numbers may be given again, oldest first. Their places stay taken as long as they are here.
    recent: VecDeque<(u32, OwnedFd, Image)>,
    extras: Extras,
    held: Held,
    cost: LoadCost,
}

impl Load<'_> {
    fn carry_out(&mut self, mut plan: Planner) -> Result<()> {
        while let Some(step) = plan.next_step() {
            match step {
                Step::Filler { chunks, kind } => self.filler(chunks, kind)?,
                Step::Plug => {
                    let program = self.placer.programs.load_plug(self.maps);
                    let program =
                        program.map_err(|error| load_failed(self.placer.programs.trigger(), "plug", &error))?;
                    let image = verified(&program)?;
                    plan.landed(&image);
                    self.plug(&program, &image)?;
                }
                Step::Measured { number } => self.measured(number, &mut plan)?,
            }
        }
        Ok(())
    }

    fn measured(&mut self, number: u32, plan: &mut Planner) -> Result<()> {
        let position = self.order[number as usize];
        let (program, image) = self.load(position)?;
        match plan.landed(&image) {
            Landing::Keep => {
                self.publish(position, &program, image)?;
                self.extras.end = pack::end(&image);
                self.recent.push_back((number, program, image));
            }
            Landing::Hold => self.plug(&program, &image)?,
            Landing::Restart { from } => {
                let keep = self.recent.partition_point(|(number, ..)| *number < from);
                for (_, program, image) in self.recent.split_off(keep) {
                    self.plug(&program, &image)?;
                }
                self.plug(&program, &image)?;
            }
        }
        let settled = plan.settled();
        while self.recent.front().is_some_and(|(number, ..)| *number < settled) {
            self.recent.pop_front();
        }
        Ok(())
    }

    /// A kernel before 5.18 gives every program pages of its own.
    fn plain(&mut self) -> Result<()> {
        for &position in self.order {
            let (program, image) = self.load(position)?;
            self.publish(position, &program, image)?;
        }
        Ok(())
    }

    fn load(&self, position: u32) -> Result<(OwnedFd, Image)> {
        if self.placer.stop.load(Ordering::Relaxed) {
            return Err(MachineError::interrupted());
        }
        let program = self.placer.programs.load_body(self.maps, position, self.programs);
        let program = program
            .map_err(|error| load_failed(self.placer.programs.trigger(), &format!("program {position}"), &error))?;
        let image = verified(&program)?;
        Ok((program, image))
    }

    fn publish(&mut self, position: u32, program: &OwnedFd, image: Image) -> Result<()> {
        self.images[position as usize] = image;
        if !self.maps.runs(position) {
            return self.held.keep_plug(program);
        }
        self.maps.publish(position, program.as_fd()).map_err(|error| {
            MachineError::failed(format!("failed to store program {position} in its prog array: {error}"))
        })
    }

    fn plug(&mut self, program: &OwnedFd, image: &Image) -> Result<()> {
        self.cost.plugs += 1;
        self.extras.plugs.push(Extent::of(image));
        self.extras.end = pack::end(image);
        self.held.keep_plug(program)
    }

    fn filler(&mut self, chunks: u32, kind: FillerKind) -> Result<()> {
        self.cost.fillers += 1;
        self.extras.filler(chunks);
        if self.placer.stop.load(Ordering::Relaxed) {
            return Err(MachineError::interrupted());
        }
        match self.placer.packing {
            Some(packing) => packing.fillers.load(chunks, kind, &mut self.held),
            None => Ok(()),
        }
    }
}

/// Where the kernel put `program`; an error if it will not say.
pub fn verified(program: &OwnedFd) -> Result<Image> {
    let image = sys::image(program.as_fd())
        .map_err(|error| MachineError::failed(format!("failed to query a program's address: {error}")))?;
    if image.addr.0 == 0 {
        return Err(MachineError::host_cannot(
            "failed to verify placement: the kernel shows no addresses of JITed code",
            "set `sysctl kernel.kptr_restrict=1` or 0, and run with CAP_SYSLOG",
        ));
    }
    if image.len == 0 {
        return Err(MachineError::host_cannot(
            "failed to verify placement: the program was not JITed",
            "set `sysctl net.core.bpf_jit_enable=1`",
        ));
    }
    Ok(image)
}
