//! Everybody's code and the kernel's memory, as /proc and the list of programs show them.

use std::collections::HashSet;
use std::fs;

use crate::machine::kernel::{memory, probe};
use crate::placement::image::PAGE_BYTES;
use crate::placement::{Addr, Image};
use crate::selftest::trace::Surveyed;
use crate::survey::vmalloc::{self, Packs};

/// Everybody's programs; for the parameters see [`survey`].
pub fn programs(own: &[Image], name: &str) -> Surveyed {
    let ours: HashSet<u64> = own.iter().map(|image| image.addr.0).collect();
    let (mine, others): (Vec<_>, Vec<_>) =
        probe::jited_programs().unwrap_or_default().into_iter().partition(|program| program.name == name);
    let foreign = others
        .iter()
        .flat_map(|program| program.images.iter().copied())
        .filter(|image| image.addr.0 != 0 && !ours.contains(&image.addr.0));
    Surveyed { foreign: foreign.collect(), own: mine.len() as u32, ..Surveyed::default() }
}

/// What is there now; `own` are the images of the programs that this process loaded for the test, `name` is what those are called and
/// nobody else's, `loads` is how many there have been.
pub fn survey(own: &[Image], name: &str, loads: u64) -> Surveyed {
    let listed = programs(own, name);
    let text = fs::read_to_string("/proc/vmallocinfo").unwrap_or_default();
    let parsed = vmalloc::parse(&text);
    let known: Vec<Addr> = own.iter().chain(&listed.foreign).map(|image| image.addr).collect();
    // By address only what holds known code is found, by its maker also what is empty.
    let made = Packs::of(&parsed, &[]);
    let held = Packs::of(&parsed, &known).map(|packs| packs.ranges).unwrap_or_default();
    Surveyed {
        loads,
        program_areas: (!parsed.is_empty()).then(|| vmalloc::for_programs(&parsed)),
        areas: held.into_iter().map(|(start, pages)| (start, u64::from(pages) * PAGE_BYTES)).collect(),
        packs: made.map(|packs| (packs.areas, packs.reserved_pages)),
        vmalloc_kib: meminfo("VmallocUsed:"),
        direct_map_4k_kib: memory::direct_map().kib_4k.unwrap_or(0),
        ..listed
    }
}

/// A line of /proc/meminfo, in KiB.
pub fn meminfo(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
