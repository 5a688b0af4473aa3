//! The BPF object: opened and loaded once, its instructions taken, patched and loaded again for every instance.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use libbpf_rs::{MapCore, MapHandle, MapType, Object, ObjectBuilder};
use libbpf_sys::bpf_insn;

use super::models;
use super::sys;
use super::trigger::Form;
use crate::machine::{MachineError, Result};
use crate::model::visits::Deal;
use crate::workload::{Body, Case, Order, TriggerKind};

pub use super::maps::{Maps, SLOTS, load_error, map, prog_array, set_program};

const SIZES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bodies.bpf.o"));
const MODELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/models.bpf.o"));

/// `BPF_LD | BPF_IMM | BPF_DW`, the first half of a 16-byte load.
const LD_IMM64: u8 = 0x18;
/// `BPF_ALU64 | BPF_MOV | BPF_K`, and the same of 32 bits.
const MOV64_IMM: u8 = 0xb7;
const MOV32_IMM: u8 = 0xb4;
/// `RETURN_STAND_IN` of bpf/frame.h.
const RETURN_STAND_IN: i32 = 0x5eed;
/// `BPF_PSEUDO_MAP_FD` and `BPF_PSEUDO_MAP_VALUE` in `src_reg`.
const MAP_FD: u8 = 1;
const MAP_VALUE: u8 = 2;

/// The loaded object, kept for its instructions and for the descriptors patched into them.
#[derive(Debug)]
pub struct Programs {
    trigger: TriggerKind,
    /// By position in turn: one, or those of a mix.
    bodies: Vec<Vec<bpf_insn>>,
    /// The shortest of them.
    plug: Vec<bpf_insn>,
    /// Starts a chain or a walk; empty for other triggers.
    entry: Vec<bpf_insn>,
    empty: Vec<bpf_insn>,
    form: Form,
    sites: Sites,
    /// What each load took since they were last taken.
    latencies_ns: RefCell<Vec<u64>>,
    object: Object,
}

/// Descriptors of the object's own maps, by which the places to patch are found.
#[derive(Clone, Copy, Debug)]
struct Sites {
    programs: i32,
    successors: i32,
    executed: i32,
    checking: i32,
}

impl Programs {
    /// Loads the object's programs for one trigger and body.
    pub fn open(trigger: TriggerKind, body: Body) -> Result<Self> {
        let family = if trigger.is_tail_calls() { trigger.to_string() } else { "hook".to_owned() };
        let name = |part: Body| format!("{family}_{}", part.to_string().replace('-', "_"));
        let names: Vec<String> = body.parts().into_iter().map(name).collect();
        let entry_name = trigger.is_tail_calls().then(|| format!("{family}_entry"));
        let empty_name = if trigger.is_tail_calls() { "empty" } else { "hook_empty" };
        let mut open = ObjectBuilder::default()
            .open_memory(if body.is_size() { SIZES } else { MODELS })
            .map_err(|error| load_error("BPF object", &error))?;
        let wanted: Vec<&str> =
            names.iter().map(String::as_str).chain([empty_name]).chain(entry_name.as_deref()).collect();
        for mut program in open.progs_mut() {
            let wanted = wanted.iter().any(|name| program.name() == *name);
            program.set_autoload(wanted);
        }
        let object = open.load().map_err(|error| load_error("BPF object", &error))?;
        if !body.is_size() {
            models::fill(&object)?;
        }
        let insns = |name: &str| {
            let found = object.progs().find(|program| program.name() == name);
            let missing = || MachineError::failed(format!("failed to find program `{name}` in the BPF object"));
            found.map(|program| program.insns().to_vec()).ok_or_else(missing)
        };
        let map = |name: &str| {
            // libbpf names the map of a global variable `<object>.bss`.
            object
                .maps()
                .find(|map| map.name().to_string_lossy().ends_with(name))
                .map_or(-1, |map| map.as_fd().as_raw_fd())
        };
        Ok(Self {
            trigger,
            bodies: names.iter().map(|name| insns(name)).collect::<Result<_>>()?,
            plug: insns(&name(body.smallest()))?,
            entry: entry_name.as_deref().map(insns).transpose()?.unwrap_or_default(),
            empty: insns(empty_name)?,
            form: Form::of(trigger)?,
            sites: Sites {
                programs: map("programs"),
                successors: map("successors"),
                executed: map(".bss"),
                checking: map(".checking"),
            },
            latencies_ns: RefCell::default(),
            object,
        })
    }

    /// What runs them.
    pub fn trigger(&self) -> TriggerKind {
        self.trigger
    }

    /// What the bodies look up and leave: a map of the object by its name, or of a variable by its section's.
    pub fn map_named(&self, name: &str) -> Option<MapHandle> {
        let map = self.object.maps().find(|map| map.name().to_string_lossy().ends_with(name))?;
        MapHandle::try_from(&map).ok()
    }

    /// What the trigger needs of its programs.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Makes the maps for `programs` programs.
    pub fn maps(&self, programs: u32) -> Result<Maps> {
        self.maps_in_arrays(programs, SLOTS)
    }

    /// The same with successors in arrays of `slots`.
    pub fn maps_in_arrays(&self, programs: u32, slots: u32) -> Result<Maps> {
        self.dealt_maps(Deal::new(Order::of(self.trigger), programs), programs, programs, slots)
    }

    /// The maps that `case` takes: its order decides how its programs are dealt to slots, and more may be loaded than are run.
    pub fn maps_of(&self, case: &Case) -> Result<Maps> {
        self.dealt_maps(Deal::new(case.order(), case.programs), case.programs, case.loaded(), SLOTS)
    }

    fn dealt_maps(&self, deal: Deal, programs: u32, loaded: u32, slots: u32) -> Result<Maps> {
        let arrays = match self.trigger {
            TriggerKind::Chain => programs.div_ceil(slots),
            _ => 0,
        };
        let tail_calls = self.trigger.is_tail_calls();
        Ok(Maps {
            programs,
            by_position: tail_calls.then(|| prog_array(deal.slots())).transpose()?,
            deal,
            descriptors: RefCell::new((0..if tail_calls { 0 } else { programs }).map(|_| None).collect()),
            checking: map(MapType::Array, "checking", 4, 1)?,
            successors: (0..arrays).map(|_| prog_array(slots)).collect::<Result<_>>()?,
            slots,
            executed: map(MapType::Array, "executed", 4 * loaded, 1)?,
        })
    }

    /// Loads the instance for `position`.
    pub fn load_body(&self, maps: &Maps, position: u32, programs: u32) -> io::Result<OwnedFd> {
        let body = &self.bodies[position as usize % self.bodies.len()];
        self.load(body.clone(), maps, position, programs)
    }

    fn load(&self, mut insns: Vec<bpf_insn>, maps: &Maps, position: u32, programs: u32) -> io::Result<OwnedFd> {
        let next = (position + 1) % programs;
        let successor = maps.successors.get((next / maps.slots) as usize);
        self.patch(&mut insns, maps, position, successor, next % maps.slots);
        let began = Instant::now();
        let loaded = sys::load(&insns, self.form.load_as(position));
        self.latencies_ns.borrow_mut().push(began.elapsed().as_nanos() as u64);
        loaded
    }

    /// Nanoseconds of each load of a body since this was last asked.
    pub fn take_latencies_ns(&self) -> Vec<u64> {
        self.latencies_ns.take()
    }

    /// Loads the entry, jumping through `array`.
    pub fn load_entry(&self, array: &MapHandle) -> io::Result<OwnedFd> {
        let mut insns = self.entry.clone();
        for insn in &mut insns {
            if self.is_site(insn, MAP_FD, self.sites.programs) {
                insn.imm = array.as_fd().as_raw_fd();
            }
        }
        sys::load_sched_cls(&insns)
    }

    /// Loads the program that does nothing.
    pub fn load_empty(&self) -> io::Result<OwnedFd> {
        self.load_empty_at(0, self.form.returns)
    }

    /// The same in the place of the program at `position`, with what it returns.
    pub fn load_empty_at(&self, position: u32, returns: i32) -> io::Result<OwnedFd> {
        let mut insns = self.empty.clone();
        patch_return(&mut insns, returns);
        sys::load(&insns, self.form.load_empty_as(position))
    }

    /// A program like the measured ones, for plugging holes: it has the size of the shortest to the byte.
    pub fn load_plug(&self, maps: &Maps) -> io::Result<OwnedFd> {
        self.load(self.plug.clone(), maps, 0, 1)
    }

    fn is_site(&self, insn: &bpf_insn, kind: u8, fd: i32) -> bool {
        insn.code == LD_IMM64 && insn.src_reg() == kind && insn.imm == fd
    }

    /// Points the instance at its own counter, and at the array and slot of its successor.
    fn patch(&self, insns: &mut [bpf_insn], maps: &Maps, position: u32, successor: Option<&MapHandle>, slot: u32) {
        patch_return(insns, self.form.returns);
        for i in 0..insns.len().saturating_sub(1) {
            if self.is_site(&insns[i], MAP_VALUE, self.sites.executed) {
                insns[i].imm = maps.executed.as_fd().as_raw_fd();
                insns[i + 1].imm = 4 * position as i32;
            } else if self.is_site(&insns[i], MAP_VALUE, self.sites.checking) {
                insns[i].imm = maps.checking.as_fd().as_raw_fd();
            } else if self.is_site(&insns[i], MAP_FD, self.sites.programs) {
                if let Some(array) = &maps.by_position {
                    insns[i].imm = array.as_fd().as_raw_fd();
                }
            } else if self.is_site(&insns[i], MAP_FD, self.sites.successors) {
                if let Some(array) = successor {
                    insns[i].imm = array.as_fd().as_raw_fd();
                }
                // bpf_tail_call_static puts the constant index right behind the map.
                if let Some(index) =
                    insns[i + 1..].iter_mut().find(|insn| insn.code == MOV64_IMM && insn.dst_reg() == 3)
                {
                    index.imm = slot as i32;
                }
            }
        }
    }
}

fn patch_return(insns: &mut [bpf_insn], returns: i32) {
    let is_return = |insn: &&mut bpf_insn| matches!(insn.code, MOV64_IMM | MOV32_IMM) && insn.imm == RETURN_STAND_IN;
    insns.iter_mut().filter(is_return).for_each(|insn| insn.imm = returns);
}

/// Replaces the map with descriptor `old` by the one with `new` wherever instructions name it.
pub fn point_to_map(insns: &mut [bpf_insn], old: i32, new: i32) {
    let names_it = |insn: &&mut bpf_insn| insn.code == LD_IMM64 && insn.src_reg() == MAP_FD && insn.imm == old;
    insns.iter_mut().filter(names_it).for_each(|insn| insn.imm = new);
}
