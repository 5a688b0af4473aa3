//! Reads page tables through the direct map with a BPF program: works where neither /proc/kcore nor ptdump exists, and under
//! lockdown=integrity. Under lockdown=confidentiality the kernel refuses `bpf_probe_read_kernel` at load.

use std::collections::BTreeMap;
use std::fs;

use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput};

use super::direct_map::{candidates, levels, ram_top};
use super::marker::Marker;
use super::{Anchor, physical_bits, walk_all};
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::look::Look;
use crate::placement::mapping::walk::{ENTRIES, Root, Table, Tables, WalkError, Walker};
use crate::placement::mapping::{Leaf, Source};

const READER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pagewalk.bpf.o"));
const FINDER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/toptable.bpf.o"));

/// Kernel memory by virtual address.
#[derive(Debug)]
struct Memory {
    object: Object,
}

/// Kernel memory by physical address.
#[derive(Debug)]
struct DirectMap {
    memory: Memory,
    base: u64,
}

/// Page tables, checked to be what they seem.
#[derive(Debug)]
pub struct BpfWalk {
    direct_map: DirectMap,
    root: Root,
}

impl BpfWalk {
    /// Loads the programs, and checks what is known, or else found by the kernel's BTF, against a page whose frame is known.
    pub fn open(known: Option<Anchor>) -> Result<Self, String> {
        let memory = Memory::open()?;
        match known {
            Some(anchor) => Self::at(memory, anchor),
            None => Self::search(memory),
        }
    }

    fn at(memory: Memory, Anchor { base, root }: Anchor) -> Result<Self, String> {
        let direct_map = DirectMap { memory, base };
        let marker = Marker::new(base ^ u64::from(std::process::id()));
        let frame = marker.frame()?;
        if !direct_map.memory.shows(&marker, base + frame * PAGE_BYTES) {
            return Err("the kernel's direct map is not where `/proc/kcore` has it".to_owned());
        }
        let mut walk = Self { direct_map, root };
        walk.expect(&[(base + root.frame * PAGE_BYTES, root.frame), (base + frame * PAGE_BYTES, frame)])?;
        Ok(walk)
    }

    /// The top table must map itself to where it was found, and our own page to its frame, which may have moved meanwhile.
    fn search(memory: Memory) -> Result<Self, String> {
        let pgd = top_table()?;
        let ram_top = ram_top(&fs::read_to_string("/proc/zoneinfo").unwrap_or_default())
            .ok_or("`/proc/zoneinfo` does not tell where memory ends")?;
        let marker = Marker::new(pgd ^ u64::from(std::process::id()));
        let frame = marker.frame()?;
        let shows_marker = |base: &u64| memory.shows(&marker, base + frame * PAGE_BYTES);
        let base = candidates(pgd, ram_top).find(shows_marker).ok_or("the kernel's direct map was not found")?;
        let root = Root { frame: (pgd - base) / PAGE_BYTES, levels: levels(pgd), physical_bits: physical_bits() };
        let mut walk = Self { direct_map: DirectMap { memory, base }, root };
        walk.expect(&[(pgd, root.frame), (marker.addr(), marker.frame()?)])?;
        Ok(walk)
    }

    /// Where the direct map begins.
    pub fn base(&self) -> u64 {
        self.direct_map.base
    }

    /// Walks to each address, which must lie in its frame.
    fn expect(&mut self, known: &[(u64, u64)]) -> Result<(), String> {
        let root = self.root;
        let mut walker = Walker::new(&mut self.direct_map, root);
        known.iter().try_for_each(|(addr, frame)| walker.expect(*addr, *frame)).map_err(|error| error.to_string())
    }
}

impl Look for BpfWalk {
    fn source(&self) -> Source {
        Source::BpfWalk
    }

    fn look(&mut self, pages: &[u64]) -> Result<BTreeMap<u64, Leaf>, String> {
        walk_all(&mut self.direct_map, self.root, pages)
    }

    fn alias(&self, frame: u64) -> Option<u64> {
        Some(self.direct_map.base / PAGE_BYTES + frame)
    }
}

impl Tables for DirectMap {
    fn table(&mut self, frame: u64) -> Result<Table, WalkError> {
        let unreadable = |reason: String| WalkError::Unreadable { frame, reason };
        let bytes = self.memory.page(self.base + frame * PAGE_BYTES).map_err(unreadable)?;
        let mut table = [0; ENTRIES];
        for (entry, bytes) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_ne_bytes(*bytes);
        }
        Ok(table)
    }
}

impl Memory {
    fn open() -> Result<Self, String> {
        Ok(Self { object: load(READER)? })
    }

    /// The page at `addr`, which begins one.
    fn page(&self, addr: u64) -> Result<Vec<u8>, String> {
        run(&self.object, "itlbench_read", &[addr, PAGE_BYTES])?;
        let page = variable(&self.object).filter(|bytes| bytes.len() as u64 == PAGE_BYTES);
        page.ok_or_else(|| "the result was not found".to_owned())
    }

    fn shows(&self, marker: &Marker, addr: u64) -> bool {
        self.page(addr).is_ok_and(|page| page == marker.bytes())
    }
}

/// Address of the top table of this process, whose upper half is the kernel's; under PTI it is the kernel's copy.
fn top_table() -> Result<u64, String> {
    let object = load(FINDER)?;
    run(&object, "itlbench_root", &[0, 0])?;
    let top = variable(&object).and_then(|bytes| Some(u64::from_ne_bytes(*bytes.first_chunk()?)));
    top.filter(|addr| *addr != 0).ok_or_else(|| "the top page table was not found".to_owned())
}

fn load(object: &[u8]) -> Result<Object, String> {
    let loaded = ObjectBuilder::default().open_memory(object).and_then(|open| open.load());
    loaded.map_err(|error| why_not(&error))
}

/// The bytes of the only variable of `object`.
fn variable(object: &Object) -> Option<Vec<u8>> {
    let map = object.maps().find(|map| map.name().to_string_lossy().ends_with(".bss"))?;
    map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok().flatten()
}

fn run(object: &Object, name: &str, context: &[u64; 2]) -> Result<(), String> {
    let program = object.progs_mut().find(|program| program.name() == name);
    let program = program.ok_or_else(|| format!("program `{name}` is missing"))?;
    let mut bytes: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let input = ProgramInput { context_in: Some(&mut bytes), ..Default::default() };
    let output = program.test_run(input).map_err(|error| format!("BPF_PROG_TEST_RUN of `{name}`: {error}"))?;
    match output.return_value as i32 {
        0 => Ok(()),
        errno => Err(format!("{:#x} is not mapped (error {errno})", context[0])),
    }
}

/// Why the kernel would not load the programs.
fn why_not(error: &libbpf_rs::Error) -> String {
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return "lockdown=confidentiality forbids reading kernel memory".to_owned();
    }
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => {
            "permission denied; CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN are needed".to_owned()
        }
        _ if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() => {
            "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)".to_owned()
        }
        _ => format!("failed to load its programs: {error}"),
    }
}
