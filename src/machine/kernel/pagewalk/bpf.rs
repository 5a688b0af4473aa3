//! Reads page tables through the direct map with a BPF program: works where neither /proc/kcore nor ptdump exists, and under
//! lockdown=integrity. Under lockdown=confidentiality the kernel refuses `bpf_probe_read_kernel` at load.

use std::collections::BTreeMap;
use std::fs;

use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput};

use super::direct_map::{candidates, levels, ram_top};
use super::marker::Marker;
use super::{physical_bits, walk_all};
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::look::Look;
use crate::placement::mapping::walk::{ENTRIES, Root, Table, Tables, WalkError, Walker};
use crate::placement::mapping::{Leaf, Source};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pagewalk.bpf.o"));

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
    /// Loads the programs, finds the top table and the direct map, and checks both against a page whose frame is known.
    pub fn open() -> Result<Self, String> {
        let memory = Memory::open()?;
        let pgd = memory.top_table()?;
        let ram_top = ram_top(&fs::read_to_string("/proc/zoneinfo").unwrap_or_default())
            .ok_or("`/proc/zoneinfo` does not tell where memory ends")?;
        let marker = Marker::new(pgd ^ u64::from(std::process::id()));
        let frame = marker.frame()?;
        let shows_marker = |base: &u64| memory.page(base + frame * PAGE_BYTES).is_ok_and(|page| page == marker.bytes());
        let base = candidates(pgd, ram_top).find(shows_marker).ok_or("the kernel's direct map was not found")?;
        let root = Root { frame: (pgd - base) / PAGE_BYTES, levels: levels(pgd), physical_bits: physical_bits() };
        let mut walk = Self { direct_map: DirectMap { memory, base }, root };
        walk.check(pgd, &marker).map_err(|error| error.to_string())?;
        Ok(walk)
    }

    /// The top table must map itself to where it was found, and our own page to its frame, which may have moved meanwhile.
    fn check(&mut self, pgd: u64, marker: &Marker) -> Result<(), String> {
        let root = self.root;
        let mut walker = Walker::new(&mut self.direct_map, root);
        walker.expect(pgd, root.frame).map_err(|error| error.to_string())?;
        walker.expect(marker.addr(), marker.frame()?).map_err(|error| error.to_string())
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
        let loaded = ObjectBuilder::default().open_memory(OBJECT).and_then(|open| open.load());
        loaded.map(|object| Self { object }).map_err(|error| why_not(&error))
    }

    /// The page at `addr`, which begins one.
    fn page(&self, addr: u64) -> Result<Vec<u8>, String> {
        self.run("itlbench_read", &[addr, PAGE_BYTES])?;
        let map = self.object.maps().find(|map| map.name().to_string_lossy().ends_with(".bss"));
        let value = map.and_then(|map| map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok().flatten());
        value.filter(|bytes| bytes.len() as u64 == PAGE_BYTES).ok_or_else(|| "the result was not found".to_owned())
    }

    /// Address of the top table of this process, whose upper half is the kernel's; under PTI it is the kernel's copy.
    fn top_table(&self) -> Result<u64, String> {
        self.run("itlbench_root", &[0, 0])?;
        let map = self.object.maps().find(|map| map.name().to_string_lossy().ends_with(".bss"));
        let value = map.and_then(|map| map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok().flatten());
        let pgd = value.and_then(|bytes| Some(u64::from_ne_bytes(*bytes.first_chunk::<8>()?))).unwrap_or(0);
        if pgd == 0 { Err("the top page table was not found".to_owned()) } else { Ok(pgd) }
    }

    fn run(&self, name: &str, context: &[u64; 2]) -> Result<(), String> {
        let program = self.object.progs_mut().find(|program| program.name() == name);
        let program = program.ok_or_else(|| format!("program `{name}` is missing"))?;
        let mut bytes: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let input = ProgramInput { context_in: Some(&mut bytes), ..Default::default() };
        let output = program.test_run(input).map_err(|error| format!("BPF_PROG_TEST_RUN of `{name}`: {error}"))?;
        match output.return_value as i32 {
            0 => Ok(()),
            errno => Err(format!("{:#x} is not mapped (error {errno})", context[0])),
        }
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
