//! Carries out the planner's steps: plug holes, load dense or spread, read every address back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use libbpf_rs::MapHandle;

use super::fillers::{Fillers, Held, load_failed};
use super::programs::{Maps, Programs};
use super::sys;
use crate::machine::{MachineError, Result};
use crate::placement::planner::{Dense, DenseLanding, Landing, Plugging, Spread, Step};
use crate::placement::{Addr, Image, pack};
use crate::trial::LoadCost;
use crate::workload::{Case, OffsetRule, PackMode};

/// Everything one load of a case has put into the kernel. Dropping it unloads: the descriptors here are the only holders.
#[derive(Debug)]
pub struct Placed {
    pub maps: Maps,
    /// By position: the order of visits.
    pub images: Vec<Image>,
    pub cost: LoadCost,
    held: Held,
}

impl Placed {
    /// Unloads all of it; returns the arrays to keep until the programs are gone.
    pub fn unload(self, empty: BorrowedFd<'_>) -> Vec<MapHandle> {
        let Self { maps, held, .. } = self;
        drop(held);
        maps.retire(empty)
    }
}

/// Loads cases; knows the kernel's habits as found out at the start.
#[derive(Debug)]
pub struct Placer<'a> {
    pub programs: &'a Programs,
    pub fillers: &'a Fillers,
    /// Whether this kernel packs programs at all.
    pub packs: bool,
    /// Descriptors that fillers may take.
    pub most_sockets: usize,
    /// Looked at between loads; set by a signal.
    pub stop: &'a AtomicBool,
}

impl Placer<'_> {
    /// Loads `case`; the program loaded i-th gets position `order[i]`.
    pub fn place(&self, case: &Case, order: &[u32]) -> Result<Placed> {
        let began = Instant::now();
        let maps = self.programs.maps(case.programs)?;
        let mut load = Load {
            placer: self,
            case,
            images: vec![Image { addr: Addr(0), len: 0 }; case.programs as usize],
            held: Held::new(self.most_sockets),
            cost: LoadCost::default(),
            maps: &maps,
        };
        if self.packs {
            load.plug_holes()?;
        }
        match case.pack {
            PackMode::On => load.dense(order)?,
            PackMode::Off if self.packs => load.spread(order)?,
            PackMode::Off => load.plain(order)?,
        }
        let Load { images, held, mut cost, .. } = load;
        cost.load_ns = began.elapsed().as_nanos() as u64;
        cost.programs = case.programs;
        Ok(Placed { maps, images, cost, held })
    }
}

/// One load under way.
struct Load<'a> {
    placer: &'a Placer<'a>,
    case: &'a Case,
    maps: &'a Maps,
    images: Vec<Image>,
    held: Held,
    cost: LoadCost,
}

impl Load<'_> {
    /// Fills the holes that others left, so that first-fit has to go on behind them.
    fn plug_holes(&mut self) -> Result<()> {
        let mut plugging = Plugging::default();
        loop {
            let program = self.placer.programs.load_plug(self.maps).map_err(|error| load_failed("plug", &error))?;
            let image = verified(&program)?;
            self.plug(&program)?;
            if !plugging.landed(&image) {
                return Ok(());
            }
        }
    }

    /// Pack on: one behind the other, then as many fillers as pack off would load.
    fn dense(&mut self, order: &[u32]) -> Result<()> {
        let mut plan = Dense::new(self.case.programs);
        while !plan.is_complete() {
            let position = order[plan.kept() as usize];
            let (program, image) = self.load(position)?;
            // Held apart from its place, so that its chunks stay taken should the place be given again.
            self.held.keep(&program)?;
            match plan.landed(&image) {
                DenseLanding::Keep => self.publish(position, &program, image)?,
                DenseLanding::StartOver => self.cost.plugs += 1,
            }
        }
        self.fill_as_off_would(order.len())
    }

    fn fill_as_off_would(&mut self, programs: usize) -> Result<()> {
        let walk = u32::from(self.case.offset == OffsetRule::Walk);
        let stride = (self.case.stride.bytes() / pack::CHUNK_BYTES) as u32 + walk;
        let program = self.images.first().map_or(1, |image| pack::chunks(image.len));
        (0..programs).try_for_each(|_| self.filler(stride.saturating_sub(program).max(1)))
    }

    /// Pack off on a kernel that packs: fillers in between.
    fn spread(&mut self, order: &[u32]) -> Result<()> {
        let mut plan = Spread::new(self.case.stride, self.case.offset);
        let mut rest = order.iter().peekable();
        while let Some(&&position) = rest.peek() {
            match plan.next_step() {
                Step::Filler { chunks } => self.filler(chunks)?,
                Step::Measured => {
                    let (program, image) = self.load(position)?;
                    match plan.landed(&image) {
                        Landing::Keep => {
                            self.publish(position, &program, image)?;
                            rest.next();
                        }
                        Landing::Plug => self.plug(&program)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// A kernel before 5.18 gives every program pages of its own.
    fn plain(&mut self, order: &[u32]) -> Result<()> {
        for &position in order {
            let (program, image) = self.load(position)?;
            self.publish(position, &program, image)?;
        }
        Ok(())
    }

    fn load(&self, position: u32) -> Result<(OwnedFd, Image)> {
        if self.placer.stop.load(Ordering::Relaxed) {
            return Err(MachineError::interrupted());
        }
        let program = self.placer.programs.load_body(self.maps, position, self.case.programs);
        let program = program.map_err(|error| load_failed(&format!("program {position}"), &error))?;
        let image = verified(&program)?;
        Ok((program, image))
    }

    fn publish(&mut self, position: u32, program: &OwnedFd, image: Image) -> Result<()> {
        self.images[position as usize] = image;
        self.maps.publish(position, program.as_fd()).map_err(|error| {
            MachineError::failed(format!("failed to store program {position} in its prog array: {error}"))
        })
    }

    fn plug(&mut self, program: &OwnedFd) -> Result<()> {
        self.cost.plugs += 1;
        self.held.keep(program)
    }

    fn filler(&mut self, chunks: u32) -> Result<()> {
        self.cost.fillers += 1;
        self.placer.fillers.load(chunks, &mut self.held)
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
