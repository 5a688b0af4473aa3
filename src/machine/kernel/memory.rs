//! The kernel's memory as /proc shows it.

use std::fs;

use crate::placement::{Addr, Image};
use crate::survey::vmalloc::{self, Packs};
use crate::trial::beside::DirectMap;

/// How all physical memory is mapped now.
pub fn direct_map() -> DirectMap {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    DirectMap::parse(&read("/proc/meminfo"), &read("/proc/vmstat"))
}

/// Everybody's packs now; `None` if /proc/vmallocinfo cannot be read, or shows none.
pub fn packs(images: &[Image]) -> Option<Packs> {
    let text = fs::read_to_string("/proc/vmallocinfo").ok()?;
    let known: Vec<Addr> = images.iter().map(|image| image.addr).collect();
    Packs::of(&vmalloc::parse(&text), &known)
}
