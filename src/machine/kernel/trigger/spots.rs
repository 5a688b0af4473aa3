//! Trigger `fentry`: entry probes on functions of a BPF program of ours, which nothing else can call. A trampoline takes few
//! programs, so there are many functions; a run of the program calls them all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::btf::{Btf, types::Func};
use libbpf_sys::BPF_TRACE_FENTRY;

use super::attached::{Pair, Point};
use super::{attach_failed, hits};
use crate::machine::kernel::fillers::load_failed;
use crate::machine::kernel::programs::Programs;
use crate::machine::kernel::sys::{self, TestRun, attach};
use crate::machine::{MachineError, Result};
use crate::workload::TriggerKind;

/// Below `BPF_MAX_TRAMP_LINKS`, 38 on x86_64: a trampoline is one page, and where mitigations make its calls longer 32 fit and 38 do not.
pub const PROGRAMS_PER_SPOT: u32 = 24;
/// Functions in bpf/hits.bpf.c.
pub const SPOTS: u32 = 56;
const NAME: &str = "hit_spots";

/// A program whose functions can be attached to.
#[derive(Debug)]
pub struct Spots {
    program: OwnedFd,
    /// BTF ids of its functions.
    functions: Vec<u32>,
}

impl Spots {
    /// Loads one.
    pub fn open() -> Result<Self> {
        let program = hits::program(NAME)?;
        let failed = |error: String| MachineError::failed(format!("failed to find the functions of `{NAME}`: {error}"));
        let id = sys::id(program.as_fd()).map_err(|error| failed(error.to_string()))?;
        let btf = Btf::from_prog_id(id).map_err(|error| failed(error.to_string()))?;
        let function = |number| {
            let name = format!("spot_{number}");
            let function = btf.type_by_name::<Func<'_>>(&name).ok_or_else(|| failed(format!("no `{name}`")))?;
            Ok(u32::from(libbpf_rs::btf::BtfType::type_id(&function)))
        };
        let functions = (0..SPOTS).map(function).collect::<Result<_>>()?;
        Ok(Self { program, functions })
    }

    /// The program, and its function of that number.
    pub fn target(&self, spot: u32) -> Option<(BorrowedFd<'_>, u32)> {
        Some((self.program.as_fd(), *self.functions.get(spot as usize)?))
    }
}

/// Programs on the functions of one [`Spots`].
#[derive(Debug)]
pub struct Fentry {
    _links: Vec<OwnedFd>,
    hit: TestRun,
}

impl Fentry {
    /// Attaches every program where it was loaded for. The last one attached runs first.
    fn attach(spots: &Spots, programs: &[OwnedFd]) -> io::Result<Self> {
        let links = programs.iter().rev().map(|program| attach::link(program.as_fd(), 0, BPF_TRACE_FENTRY, 0));
        let links = links.collect::<io::Result<_>>()?;
        Ok(Self { _links: links, hit: TestRun::new(spots.program.try_clone()?, [0; 5]) })
    }
}

impl Point for Fentry {
    fn hit(&mut self, times: u32) -> io::Result<()> {
        self.hit.run(times).map(drop)
    }

    /// The links stay with the one that made them.
    fn again(&self) -> io::Result<Self> {
        Ok(Self { _links: Vec::new(), hit: self.hit.again()? })
    }
}

/// Attaches the programs, and one empty program to every function that they are attached to.
pub fn open(objects: &Programs, programs: &[OwnedFd]) -> Result<Pair<Fentry>> {
    let Some([spots, empty_spots]) = &objects.form().spots else {
        return Err(MachineError::failed("failed to attach entry probes: there are no functions to attach to"));
    };
    let failed = |error: io::Error| attach_failed(TriggerKind::Fentry, "attach programs", &error);
    let used = (0..programs.len() as u32).step_by(PROGRAMS_PER_SPOT as usize);
    let empties = used.map(|position| objects.load_empty_at(position, objects.form().returns));
    let empties: Vec<OwnedFd> =
        empties.collect::<io::Result<_>>().map_err(|error| load_failed("trigger program", &error))?;
    Ok(Pair {
        programs: Fentry::attach(spots, programs).map_err(failed)?,
        empty: Fentry::attach(empty_spots, &empties).map_err(failed)?,
    })
}
