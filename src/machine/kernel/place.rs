//! Carries out the planner's steps: plugs holes, loads dense or spread, reads every address back.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use libbpf_rs::MapHandle;

use super::fillers::{Fillers, Held};
use super::maps::not_jited;
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
    /// Of measured programs: their functions behind the first, which have headers of their own.
    functions: Vec<Extent>,
    /// First address behind what was loaded last.
    end: u64,
}

impl Extras {
    /// A measured program stays.
    fn keep(&mut self, functions: &[Image]) {
        if functions.len() > 1 {
            self.functions.extend(functions.iter().map(Extent::of));
        }
        self.end = functions.last().map_or(0, pack::end);
    }

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
        measured.chain(self.extras.functions.iter().copied()).chain(self.held(settle)).collect()
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
        (self.extras.plugs, self.extras.fillers) = (Vec::new(), Vec::new());
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
    recent: VecDeque<(u32, OwnedFd, Vec<Image>)>,
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
                    let functions = functions(&program)?;
                    match pack::piece(&functions) {
                        Some(image) => drop(plan.landed(&image)),
                        None => self.worth_another(&mut plan)?,
                    }
                    self.plug(&program, &functions)?;
                }
                Step::Measured { number } => self.measured(number, &mut plan)?,
            }
        }
        Ok(())
    }

    fn measured(&mut self, number: u32, plan: &mut Planner) -> Result<()> {
        let position = self.order[number as usize];
        let (program, functions) = self.load(position)?;
        let Some(image) = pack::piece(&functions) else {
            self.worth_another(plan)?;
            return self.plug(&program, &functions);
        };
        match plan.landed(&image) {
            Landing::Keep => {
                self.publish(position, &program, image)?;
                self.extras.keep(&functions);
                self.recent.push_back((number, program, functions));
            }
            Landing::Hold => self.plug(&program, &functions)?,
            Landing::Restart { from } => {
                let keep = self.recent.partition_point(|(number, ..)| *number < from);
                for (_, program, functions) in self.recent.split_off(keep) {
                    self.plug(&program, &functions)?;
                }
                self.plug(&program, &functions)?;
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
            let (program, functions) = self.load(position)?;
            let image = pack::piece(&functions).ok_or_else(|| {
                MachineError::host_cannot(
                    "this kernel gives each function of a program pages of its own",
                    "measure a body of one function here",
                )
            })?;
            self.publish(position, &program, image)?;
        }
        Ok(())
    }

    /// A program whose functions lie apart is held; an error once that is to no end.
    fn worth_another(&self, plan: &mut Planner) -> Result<()> {
        if plan.apart() { Ok(()) } else { Err(MachineError::failed(APART)) }
    }

    fn load(&self, position: u32) -> Result<(OwnedFd, Vec<Image>)> {
        if self.placer.stop.load(Ordering::Relaxed) {
            return Err(MachineError::interrupted());
        }
        let program = self.placer.programs.load_body(self.maps, position, self.programs);
        let program = program
            .map_err(|error| load_failed(self.placer.programs.trigger(), &format!("program {position}"), &error))?;
        let functions = functions(&program)?;
        Ok((program, functions))
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

    fn plug(&mut self, program: &OwnedFd, functions: &[Image]) -> Result<()> {
        self.cost.plugs += 1;
        self.extras.plugs.extend(functions.iter().map(Extent::of));
        self.extras.end = functions.last().map_or(0, pack::end);
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

/// Where the kernel put `program`, as one piece; an error if it will not say, or put its functions apart.
pub fn verified(program: &OwnedFd) -> Result<Image> {
    pack::piece(&functions(program)?).ok_or_else(|| MachineError::failed(APART))
}

/// Said when no attempt puts a program into one piece.
pub const APART: &str = "the functions of a program lie apart: others load all the time, or this kernel gives each function pages of its own";

/// Where the kernel put each function of `program`; an error if it will not say.
pub fn functions(program: &OwnedFd) -> Result<Vec<Image>> {
    let functions = sys::images(program.as_fd())
        .map_err(|error| MachineError::failed(format!("failed to query a program's address: {error}")))?;
    if functions.iter().any(|function| function.addr.0 == 0) {
        return Err(MachineError::host_cannot(
            "failed to verify placement: the kernel shows no addresses of JITed code",
            "set `sysctl kernel.kptr_restrict=1` or 0, and run with CAP_SYSLOG",
        ));
    }
    if functions.is_empty() || functions.iter().any(|function| function.len == 0) {
        return Err(not_jited("failed to verify placement"));
    }
    Ok(functions)
}
