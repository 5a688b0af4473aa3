//! What was seen while a sequence was carried out: the material of every check.

use super::body::Body;
use super::operation::Op;
use crate::placement::mapping::PageSize;
use crate::placement::{Addr, Image};

/// One step, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub lane: u16,
    /// Nanoseconds since the sequence began.
    pub began_ns: u64,
    pub ended_ns: u64,
    pub op: Op,
    pub event: Event,
}

/// Where one image lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub image: Image,
    /// First address of the mapped stretch it lies in, where that could be found out: its pack.
    pub pack: Option<Addr>,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Nothing was to be done: the slot is empty, or taken.
    Nothing,
    Done,
    /// Every image of the program; none can be asked for where it is a classic filter.
    Loaded(Vec<Place>),
    /// The kernel said no, with this error number.
    Refused(i32),
    Returned(u32),
    RunFailed(i32),
    Inspected(Vec<Inspected>),
    Remains(Vec<Remains>),
    Mapped(Vec<MappedPage>),
    /// Of a list of programs only what is known of programs.
    Surveyed(Surveyed),
    Watched(Watched),
    /// Frees were waited for; how many, and how long the longest took.
    Settled {
        frees: u32,
        longest_ms: u32,
    },
    /// The lowest bpf_jit_limit at which one more filter is loaded.
    Charged(u64),
    /// This cannot be done or seen here; the reason.
    CannotHere(String),
}

/// The memory of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    pub image: Image,
    /// First word of its first chunk: the size in `struct bpf_binary_header`.
    pub header: u32,
    /// Bytes that are not what bpf_prog_info says they are.
    pub differing: u32,
    /// Digest of the whole image in memory.
    pub digest: u32,
}

/// What lies where an image was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    pub image: Image,
    pub state: Left,
}

/// State of freed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// All INT3.
    Filled,
    Unmapped,
    /// Somebody else's code.
    Taken,
    /// Bytes of the program that is gone.
    Stale {
        bytes: u32,
    },
}

/// Rights of a page of text, and of its alias in the direct map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedPage {
    pub page: u64,
    /// Text of a kernel module, which shares its area with that of programs.
    pub of_module: bool,
    /// `None` if it is not mapped.
    pub text: Option<Mapped>,
    /// `None` if the alias is not mapped, or cannot be found.
    pub alias: Option<Mapped>,
}

/// Rights of one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub size: PageSize,
    pub writable: bool,
    pub executable: bool,
}

/// The kernel's memory and everybody's code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// Code of others.
    pub foreign: Vec<Image>,
    /// Own programs the kernel lists.
    pub own: u32,
    /// Programs this subject has loaded, ever.
    pub loads: u64,
    /// Areas of vmalloc memory that the kernel made for programs, own and foreign; `None` if /proc/vmallocinfo does not say.
    pub program_areas: Option<u32>,
    /// Areas of packs: first address, and bytes without the guard page; empty where addresses are hashed.
    pub areas: Vec<(Addr, u64)>,
    /// How many there are, and their pages; `None` if /proc/vmallocinfo does not say.
    pub packs: Option<(u32, u64)>,
    pub vmalloc_kib: u64,
    pub direct_map_4k_kib: u64,
}

/// What a watcher of the page tables saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    pub looks: u64,
    /// Mapped pages, of all looks together.
    pub pages: u64,
    /// Pages that were writable and executable at the same time.
    pub writable_executable: Vec<u64>,
}

impl Step {
    /// The program that this step loaded.
    pub fn loaded(&self) -> Option<(u16, &Body, &[Place])> {
        match (&self.op, &self.event) {
            (Op::Load { slot, body }, Event::Loaded(places)) => Some((*slot, body, places)),
            _ => None,
        }
    }
}

/// A program's life in a trace.
#[derive(Clone, Debug)]
pub struct Life<'a> {
    pub lane: u16,
    pub slot: u16,
    pub body: &'a Body,
    pub places: &'a [Place],
    /// It was there at the latest when its load returned, and until its unloading began.
    pub from_ns: u64,
    pub to_ns: u64,
}

/// Every program that was loaded, in the order of the steps.
pub fn lives(steps: &[Step]) -> Vec<Life<'_>> {
    let mut lives: Vec<Life<'_>> = Vec::new();
    let mut open: std::collections::HashMap<(u16, u16), usize> = std::collections::HashMap::new();
    for step in steps {
        if let Some((slot, body, places)) = step.loaded() {
            open.insert((step.lane, slot), lives.len());
            lives.push(Life { lane: step.lane, slot, body, places, from_ns: step.ended_ns, to_ns: u64::MAX });
        } else if let (Op::Unload { slot }, Event::Done) = (&step.op, &step.event)
            && let Some(at) = open.remove(&(step.lane, *slot))
        {
            lives[at].to_ns = step.began_ns;
        }
    }
    lives
}

/// The first reason why something could not be done or seen.
pub fn cannot(steps: &[Step]) -> Option<&str> {
    steps.iter().find_map(|step| match &step.event {
        Event::CannotHere(reason) => Some(reason.as_str()),
        _ => None,
    })
}
