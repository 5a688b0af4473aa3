//! The running kernel: programs through libbpf, counters through perf_event_open.
//! In: cases. Out: programs where their arm wants them, verified, and windows fired through BPF_PROG_TEST_RUN.
//! Apart because it alone needs root and a kernel; nothing outside names libbpf or perf-event-open.

pub mod churn;
pub mod fillers;
pub mod loaded;
pub mod maps;
pub mod marked;
pub mod memory;
pub mod meters;
mod models;
pub mod pace;
pub mod pagewalk;
pub mod peers;
pub mod perf;
pub mod place;
pub mod probe;
pub mod programs;
pub mod sampler;
pub mod selftest;
pub mod settle;
pub mod sys;
pub mod tandem;
pub mod trigger;
pub mod victim_events;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::churn::KernelChurn;
use self::fillers::{Fillers, Held};
use self::loaded::KernelLoaded;
use self::meters::KernelMeters;
use self::place::{Packing, Placer, verified};
use self::programs::{Maps, Programs};
use self::sampler::KernelSampler;
use self::settle::{Extent, Settle};
use self::tandem::KernelTandem;
use super::pin::Pinned;
use super::{Churn, Counters, Loaded, Machine, MachineError, Meters, MissSampler, Result, Settled, Tandem};
use crate::caveat::Caveat;
use crate::counters::Choice;
use crate::host::Facts;
use crate::placement::image::REGION_BYTES;
use crate::placement::mapping::Looks;
use crate::placement::{Image, pack, planner};
use crate::trial::Freed;
use crate::victim::Asked;
use crate::workload::{Body, Case, Cpus, FillerRule, Order, PackMode, TriggerKind, plan};

/// Descriptors that are not for fillers: object, maps, counters, output files.
const RESERVED_DESCRIPTORS: u64 = 1024;

/// The kernel this process runs on.
#[derive(Debug)]
pub struct KernelMachine {
    pinned: Pinned,
    /// Other CPUs that windows are run on.
    others: Vec<u32>,
    stop: Arc<AtomicBool>,
    settle: Settle,
    looks: Looks,
    /// Waited since the last load.
    settled_ns: u64,
    kits: BTreeMap<(TriggerKind, Body), Kit>,
    /// Bytes of a pack; `None` if the kernel does not pack.
    pack_bytes: Option<u64>,
    most_sockets: usize,
    foreign: Vec<Image>,
    foreign_programs: u32,
    harden: bool,
}

/// What is prepared once for a trigger and body.
#[derive(Debug)]
struct Kit {
    programs: Programs,
    /// `None` where there are no packs to fill.
    fillers: Option<Fillers>,
}

impl KernelMachine {
    /// Pins the thread, raises this process's own descriptor limit to its hard limit, and finds out whether the kernel packs.
    pub fn new(cpu: Option<u32>, harden: bool, stop: Arc<AtomicBool>) -> Result<Self> {
        let pinned = Pinned::to(cpu)?;
        trigger::remove_abandoned();
        let (foreign_programs, foreign) = probe::foreign();
        let mut machine = Self {
            pinned,
            others: Vec::new(),
            stop,
            settle: Settle::watching(),
            looks: pagewalk::open(),
            settled_ns: 0,
            kits: BTreeMap::new(),
            pack_bytes: None,
            most_sockets: raise_descriptor_limit(),
            foreign,
            foreign_programs,
            harden,
        };
        machine.pack_bytes = machine.detect_packs()?.then(pack_bytes);
        Ok(machine)
    }

    /// The CPU the windows run on.
    pub fn cpu(&self) -> u32 {
        self.pinned.cpu()
    }

    /// Whether programs share pages: true since 5.18 on x86, found by behaviour and not by version.
    pub fn packs(&self) -> bool {
        self.pack_bytes.is_some()
    }

    fn detect_packs(&mut self) -> Result<bool> {
        let programs = Programs::open(TriggerKind::Chain, Body::B128)?;
        let maps = programs.maps(1)?;
        let loads: Vec<_> = (0..8).map(|_| probe_load(&programs, &maps)).collect::<Result<_>>()?;
        let images: Vec<Image> = loads.iter().map(verified).collect::<Result<_>>()?;
        drop(loads);
        self.settle.unloaded(images.iter().map(Extent::of));
        Ok(share_pages(&images))
    }

    fn wait_for_frees(&mut self) -> u64 {
        self.settle.wait(&mut self.looks, self.pack_bytes).as_nanos() as u64
    }

    fn prepare(&mut self, trigger: TriggerKind, body: Body) -> Result<()> {
        if self.kits.contains_key(&(trigger, body)) {
            return Ok(());
        }
        let programs = Programs::open(trigger, body)?;
        let maps = programs.maps(1)?;
        let mut landed = Vec::new();
        // What lands apart fills the holes that it lies in.
        let mut apart = Held::new(0);
        let mut probe = || {
            let (program, image) = probe_in_one_piece(&programs, &maps, &mut landed, &mut apart)?;
            landed.push(Extent::of(&image));
            Ok((program, image))
        };
        let fillers = self.packs().then(|| Fillers::calibrate(&mut probe)).transpose()?;
        drop(apart);
        self.settle.unloaded(landed);
        self.kits.insert((trigger, body), Kit { programs, fillers });
        Ok(())
    }
}

impl Machine for KernelMachine {
    fn load(&mut self, case: &Case, seed: u64) -> Result<Box<dyn Loaded + '_>> {
        if !self.offers(case.pack) {
            return Err(MachineError::host_cannot(
                format!(
                    "failed to place programs with --pack {}: this kernel does not pack BPF programs (before 5.18)",
                    case.pack
                ),
                "use --pack off, which is native here",
            ));
        }
        refuse_if_too_large(case)?;
        trigger::refuse_if_too_many(case)?;
        self.prepare(case.trigger, case.body)?;
        let settle_ns = std::mem::take(&mut self.settled_ns) + self.wait_for_frees();
        let Some(kit) = self.kits.get(&(case.trigger, case.body)) else {
            return Err(MachineError::failed("failed to prepare the BPF programs"));
        };
        let placer = Placer {
            programs: &kit.programs,
            packing: kit
                .fillers
                .as_ref()
                .zip(self.pack_bytes)
                .map(|(fillers, pack_bytes)| Packing { fillers, pack_bytes }),
            foreign: &self.foreign,
            most_sockets: self.most_sockets,
            stop: &self.stop,
        };
        // What was loaded to prepare is no cost of the case.
        kit.programs.take_latencies_ns();
        let mut placed = placer.place(case, &visit_order(case, seed), seed)?;
        placed.cost.settle_ns = settle_ns;
        let latencies_ns = kit.programs.take_latencies_ns();
        if case.fillers == FillerRule::Release {
            // Grace periods and work queues must not run within the windows.
            let released = placed.release(&self.settle);
            self.settle.unloaded(released);
            placed.cost.settle_ns += self.settle.wait(&mut self.looks, self.pack_bytes).as_nanos() as u64;
        }
        let trigger = trigger::open(case.trigger, seed, &kit.programs, &placed)?;
        let mut caveats = Vec::new();
        if self.harden && case.trigger == TriggerKind::Chain {
            caveats.push(Caveat::ChainIndirect { reason: "net.core.bpf_jit_harden blinds constants".to_owned() });
        }
        Ok(Box::new(KernelLoaded::new(placed, trigger, &mut self.settle, &mut self.looks, latencies_ns, caveats)))
    }

    fn settled(&mut self) -> Option<Settled> {
        let waited_ns = self.wait_for_frees();
        self.settled_ns += waited_ns;
        Some(Settled { direct_map: memory::direct_map(), waited_ns })
    }

    fn freed(&mut self, images: &[Image]) -> Option<Freed> {
        self.settle.freed(images, &mut self.looks)
    }

    fn offers(&self, arm: PackMode) -> bool {
        arm == PackMode::Off || self.packs()
    }

    fn counters(&mut self, choice: &Choice) -> Result<Box<dyn Counters>> {
        Ok(Box::new(perf::open(choice, self.cpu())?))
    }

    fn meters(&mut self) -> Result<Box<dyn Meters>> {
        let root = Path::new("/");
        let guest = Facts::read(root).hypervisor.is_some();
        Ok(Box::new(KernelMeters::open(root, self.cpu(), guest)))
    }

    fn sampler(&mut self) -> std::result::Result<Box<dyn MissSampler>, String> {
        let root = Path::new("/");
        let ways = sampler::candidates(root, &Facts::read(root), self.cpu());
        Ok(Box::new(KernelSampler::open(ways)?))
    }

    fn reserve(&mut self, cpus: &Cpus) -> Result<Vec<u32>> {
        self.others = self.pinned.reserve(cpus)?;
        Ok(self.others.clone())
    }

    fn churn(&mut self, per_s: u32) -> Result<Box<dyn Churn>> {
        let measured: Vec<u32> = self.others.iter().copied().chain([self.cpu()]).collect();
        Ok(Box::new(KernelChurn::new(per_s, &measured, self.pinned.allowed())))
    }

    fn tandem(&mut self, asked: &Asked) -> Result<Box<dyn Tandem>> {
        Ok(Box::new(KernelTandem::open(asked, Arc::clone(&self.stop))?))
    }

    fn caveats(&self) -> Vec<Caveat> {
        let mut caveats = Vec::new();
        if self.foreign_programs > 0 {
            caveats.push(Caveat::ForeignPrograms { programs: self.foreign_programs });
        }
        caveats.push(if self.packs() { Caveat::PackOffEmulated } else { Caveat::PackOffNative });
        caveats
    }
}

/// The next machine of this process, or the next process, finds a settled host.
impl Drop for KernelMachine {
    fn drop(&mut self) {
        self.settle.wait(&mut self.looks, self.pack_bytes);
    }
}

fn probe_load(programs: &Programs, maps: &Maps) -> Result<OwnedFd> {
    programs.load_plug(maps).map_err(|error| trigger::load_failed(programs.trigger(), "probe", &error))
}

/// Loads a program like the measured ones until its functions lie one behind the other: in small holes they lie apart, and are held.
fn probe_in_one_piece(
    programs: &Programs,
    maps: &Maps,
    landed: &mut Vec<Extent>,
    apart: &mut Held,
) -> Result<(OwnedFd, Image)> {
    const ATTEMPTS: u32 = 4096;
    for _ in 0..ATTEMPTS {
        let program = probe_load(programs, maps)?;
        let functions = place::functions(&program)?;
        match pack::piece(&functions) {
            Some(image) => return Ok((program, image)),
            None => apart.keep_plug(&program)?,
        }
        landed.extend(functions.iter().map(Extent::of));
    }
    Err(MachineError::failed(place::APART))
}

/// Whether any two images are in one page.
fn share_pages(images: &[Image]) -> bool {
    let mut pages: Vec<u64> = images.iter().map(|image| image.addr.page()).collect();
    pages.sort_unstable();
    pages.windows(2).any(|pair| pair[0] == pair[1])
}

/// The position of the program of number i: unless they are visited as they lie, the order has nothing to do with their places.
/// The placebo takes another such order.
fn visit_order(case: &Case, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..case.loaded()).collect();
    if case.order() == Order::Sequential {
        return order;
    }
    let seed = if case.pack == PackMode::Placebo { !seed } else { seed };
    plan::shuffle(&mut order, &mut oorandom::Rand64::new(u128::from(seed)));
    order
}

/// `BPF_PROG_PACK_SIZE` of 6.9 and later; before, and in its stable kernels, the same on hosts of one node.
fn pack_bytes() -> u64 {
    let possible = std::fs::read_to_string("/sys/devices/system/node/possible").unwrap_or_default();
    REGION_BYTES * u64::from(nodes(possible.trim()))
}

/// Nodes in a list like `0-1,4`.
fn nodes(list: &str) -> u32 {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.split(',').filter_map(count).sum::<u32>().max(1)
}

/// The module area on x86_64: `MODULES_LEN` with KASLR configured, arch/x86/include/asm/pgtable_64_types.h.
const MODULE_AREA_BYTES: u64 = 1008 << 20;

/// Says at once what the kernel would say after minutes of loading, with error 524.
fn refuse_if_too_large(case: &Case) -> Result<()> {
    let body = u64::from(pack::chunks(case.body.largest_bytes())) * pack::CHUNK_BYTES;
    let spacing = match planner::Wanted::of(case, 0).fillers_of {
        PackMode::OffTwoMeg => REGION_BYTES,
        PackMode::Off => case.stride.bytes(),
        PackMode::On | PackMode::Placebo => 0,
    };
    let each = (spacing + pack::CHUNK_BYTES).max(body);
    let bytes = u64::from(case.loaded()) * each;
    if bytes <= MODULE_AREA_BYTES {
        return Ok(());
    }
    let most = MODULE_AREA_BYTES / each;
    Err(MachineError::host_cannot(
        format!(
            "failed to place {} programs: they and their fillers take {} MiB, the kernel's module area holds {} MiB (error 524)",
            case.loaded(),
            bytes >> 20,
            MODULE_AREA_BYTES >> 20
        ),
        format!("use --programs {most} or fewer, or --stride 4k"),
    ))
}

/// Raises the soft limit of this process alone; returns how many descriptors fillers may take.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.unwrap_or(1 << 20).saturating_sub(RESERVED_DESCRIPTORS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Addr;
    use crate::workload::Spec;

    #[test]
    fn programs_on_one_page_show_a_packing_kernel() {
        let at = |addr| Image { addr: Addr(addr), len: 121 };
        assert!(share_pages(&[at(0x1008), at(0x10c8), at(0x5008)]));
        assert!(!share_pages(&[at(0x1a08), at(0x3128), at(0x5f08)]));
    }

    #[test]
    fn more_than_the_module_area_holds_is_refused_with_the_most_that_fits() {
        let spec = Spec::builtin("chain").expect("built in");
        assert!(refuse_if_too_large(&spec.case(100_000, PackMode::Off)).is_ok());
        let error = refuse_if_too_large(&spec.case(200_000, PackMode::Off)).expect_err("too many");
        assert!(error.to_string().contains("--programs 128023 or fewer"), "{error}");
    }

    #[test]
    fn a_list_of_nodes_is_counted() {
        for (list, expected) in [("0", 1), ("0-1", 2), ("0-1,4", 3), ("0,2-7", 7), ("", 1), ("x-y", 1), ("3-1", 1)] {
            assert_eq!(nodes(list), expected, "{list}");
        }
    }

    #[test]
    fn the_order_of_visits_is_a_permutation() {
        let case = Spec::builtin("chain").expect("built in").case(512, PackMode::On);
        let mut order = visit_order(&case, 9);
        assert_ne!(order, visit_order(&Case { pack: PackMode::Placebo, ..case.clone() }, 9), "the placebo's differs");
        assert_eq!(order, visit_order(&Case { pack: PackMode::Off, ..case }, 9), "pack off's does not");
        assert_ne!(order, (0..512).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..512).collect::<Vec<_>>());
    }
}
