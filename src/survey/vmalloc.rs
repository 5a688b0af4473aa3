//! The areas that packs lie in, from /proc/vmallocinfo. Its addresses are hashed at kptr_restrict=0, real at 1 with CAP_SYSLOG, and
//! zero at 2, so an area is a pack's if known code lies in it; where addresses are hashed, by its size and who made it.

use serde::{Deserialize, Serialize};

use crate::placement::Addr;
use crate::placement::image::{PAGE_BYTES, REGION_BYTES};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmArea {
    pub start: Addr,
    /// Bytes with the guard page at the end.
    pub bytes: u64,
    /// The function that made it.
    pub caller: String,
}

/// How packs were told from other areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToldBy {
    /// Known code lies in them.
    Address,
    /// Their addresses are hashed: by the function that made them, and a pack's size.
    Caller,
}

/// The areas that JITed code lies in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packs {
    pub told_by: ToldBy,
    pub areas: u32,
    /// Pages in them, without guard pages.
    pub reserved_pages: u64,
    /// First address and pages of each, if addresses are real.
    #[serde(skip)]
    pub ranges: Vec<(Addr, u32)>,
}

/// Who makes packs: `bpf_prog_pack_alloc` itself, or what it calls once that is inlined or moved (execmem came with 6.10).
const CALLERS: [&str; 4] = ["bpf_prog_pack_alloc", "alloc_new_pack", "bpf_jit_alloc_exec", "execmem_"];

/// Every area of the text.
pub fn parse(text: &str) -> Vec<VmArea> {
    text.lines().filter_map(area).collect()
}

fn area(line: &str) -> Option<VmArea> {
    let mut words = line.split_whitespace();
    let (start, _) = words.next()?.split_once('-')?;
    let start = Addr(u64::from_str_radix(start.strip_prefix("0x")?, 16).ok()?);
    let bytes = words.next()?.parse().ok()?;
    Some(VmArea { start, bytes, caller: words.next().unwrap_or_default().to_owned() })
}

/// Areas made for programs: what holds a `struct bpf_prog`, its instructions, or code.
pub fn for_programs(areas: &[VmArea]) -> u32 {
    let is_for_one = |area: &&VmArea| {
        area.caller.starts_with("bpf_prog_") || CALLERS.iter().any(|caller| area.caller.starts_with(caller))
    };
    areas.iter().filter(is_for_one).count() as u32
}

impl Packs {
    /// The areas of `areas` that hold one of the `known` addresses; `None` if none can be told.
    pub fn of(areas: &[VmArea], known: &[Addr]) -> Option<Self> {
        let mut known = known.to_vec();
        known.sort_unstable();
        let holds = |area: &&VmArea| {
            let next = known.partition_point(|addr| *addr < area.start);
            known.get(next).is_some_and(|addr| addr.0 - area.start.0 < area.bytes)
        };
        let mut found: Vec<&VmArea> = areas.iter().filter(holds).collect();
        found.sort_by_key(|area| area.start);
        if !found.is_empty() {
            let ranges = found.iter().map(|area| (area.start, pages(area) as u32)).collect();
            return Some(Self { ranges, ..Self::count(ToldBy::Address, &found) });
        }
        let is_pack =
            |area: &&VmArea| area.bytes > REGION_BYTES && CALLERS.iter().any(|caller| area.caller.starts_with(caller));
        let made: Vec<&VmArea> = areas.iter().filter(is_pack).collect();
        (!made.is_empty()).then(|| Self::count(ToldBy::Caller, &made))
    }

    fn count(told_by: ToldBy, areas: &[&VmArea]) -> Self {
        let reserved_pages = areas.iter().map(|area| pages(area)).sum();
        Self { told_by, areas: areas.len() as u32, reserved_pages, ranges: Vec::new() }
    }
}

/// Pages without the guard page, which every area ends with.
fn pages(area: &VmArea) -> u64 {
    (area.bytes / PAGE_BYTES).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "\
0xffffc90000000000-0xffffc90000005000   20480 irq_init_percpu_irqstack+0xca/0x100 vmap
0xffffffffc0000000-0xffffffffc0201000 2101248 bpf_prog_pack_alloc+0x28b/0x3a0 pages=512 vmalloc N0=512
0xffffffffc0201000-0xffffffffc0203000    8192 arch_ftrace_update_trampoline+0x5/0x10 pages=1 vmalloc N0=1
0xffffffffc0205000-0xffffffffc0406000 2101248 bpf_prog_pack_alloc+0x28b/0x3a0 pages=512 vmalloc N0=512
";

    #[test]
    fn an_area_is_a_packs_if_known_code_lies_in_it() {
        let known = [Addr(0xffff_ffff_c020_5fff), Addr(0xffff_ffff_c000_0008), Addr(0xffff_ffff_c000_1008)];
        let packs = Packs::of(&parse(REAL), &known).unwrap();
        assert_eq!((packs.told_by, packs.areas, packs.reserved_pages), (ToldBy::Address, 2, 1024));
        assert_eq!(packs.ranges, [(Addr(0xffff_ffff_c000_0000), 512), (Addr(0xffff_ffff_c020_5000), 512)]);
        assert_eq!(Packs::of(&parse(REAL), &known[..1]).unwrap().areas, 1);
    }

    #[test]
    fn hashed_addresses_are_not_believed() {
        let hashed = REAL.replace("0xffffffff", "0x00000000");
        let packs = Packs::of(&parse(&hashed), &[Addr(0xffff_ffff_c000_0008)]).unwrap();
        assert_eq!((packs.told_by, packs.areas, packs.reserved_pages), (ToldBy::Caller, 2, 1024));
        assert!(packs.ranges.is_empty());
    }

    #[test]
    fn areas_for_programs_are_told_from_stacks_by_who_made_them() {
        let more = "0x1000-0x3000 8192 bpf_prog_alloc_no_stats+0x1/0x2 pages=1 vmalloc\n0x4000-0x9000 20480 kernel_clone+0x1/0x2 pages=4\n";
        assert_eq!(for_programs(&parse(&format!("{REAL}{more}"))), 3);
    }

    #[test]
    fn without_packs_nothing_is_claimed() {
        assert_eq!(Packs::of(&parse("0x1-0x2 8192 bpf_jit_binary_alloc+0x1/0x2 pages=1\n"), &[]), None);
        assert_eq!(Packs::of(&parse("not readable"), &[Addr(1)]), None);
    }
}
