//! Reads what the kernel says of its own page tables: `/sys/kernel/debug/page_tables/kernel` (CONFIG_PTDUMP_DEBUGFS).
//!
//! A line is a range, its size, its flags and the level that maps it (`note_page` and `printk_prot`, arch/x86/mm/dump_pagetables.c):
//!
//! ```text
//! 0xffffffff81000000-0xffffffff82200000          18M     ro         PSE     GLB x  pmd
//! ```
//!
//! A range that is not mapped has no flags. The rights are those of the leaf alone, and no frame is shown.

use std::collections::BTreeMap;

use super::entry::{Leaf, PageSize};

/// The ranges that are mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ptdump {
    /// First address to the address behind the range, and how it is mapped.
    ranges: BTreeMap<u64, (u64, Leaf)>,
}

impl Ptdump {
    /// Reads a dump; `None` if no line of it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let ranges: BTreeMap<u64, (u64, Leaf)> = text.lines().filter_map(range).collect();
        (!ranges.is_empty()).then_some(Self { ranges })
    }

    /// How `addr` is mapped; `None` if it is not.
    pub fn lookup(&self, addr: u64) -> Option<Leaf> {
        let (_, (end, leaf)) = self.ranges.range(..=addr).next_back()?;
        (addr < *end).then_some(*leaf)
    }
}

/// The range of one line, if it is one and mapped.
fn range(line: &str) -> Option<(u64, (u64, Leaf))> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (from, to) = (address(from)?, address(to)?);
    let flags: Vec<&str> = words.skip(1).collect();
    let size = match *flags.last()? {
        "pte" => PageSize::Small,
        "pmd" => PageSize::Large,
        "pud" => PageSize::Huge,
        _ => return None,
    };
    let has = |flag: &str| flags.contains(&flag);
    if !has("RW") && !has("ro") {
        return None;
    }
    let leaf = Leaf { size, writable: has("RW"), executable: has("x"), global: has("GLB"), frame: None };
    Some((from, (to, leaf)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the columns of `printk_prot`, with a range that is not mapped, a marker and a note between them.
    const DUMP: &str = "\
---[ User Space ]---
0x0000000000000000-0xffff800000000000    16777088T                               pgd
---[ Low Kernel Mapping ]---
0xffff888000000000-0xffff888000099000         612K     RW                 GLB NX pte
0xffff888040000000-0xffff888140000000           4G     RW         PSE     GLB NX pud
... 512 entries skipped ...
---[ High Kernel Mapping ]---
0xffffffff80000000-0xffffffff81000000          16M                               pmd
0xffffffff81000000-0xffffffff82200000          18M     ro         PSE     GLB x  pmd
0xffffffff82200000-0xffffffff8220c000          48K     ro                 GLB x  pte
---[ Modules ]---
0xffffffffc0000000-0xffffffffc0200000           2M     ro         PSE         x  pmd
0xffffffffc0200000-0xffffffffc0201000           4K                               pte
0xffffffffc0201000-0xffffffffc0205000          16K     ro                     x  pte
0xffffffffc0205000-0xffffffffc0206000           4K     RW     PCD             NX pte
";

    fn seen(addr: u64) -> Option<(PageSize, bool, bool, bool)> {
        let leaf = Ptdump::parse(DUMP).expect("a dump").lookup(addr)?;
        assert_eq!(leaf.frame, None);
        Some((leaf.size, leaf.writable, leaf.executable, leaf.global))
    }

    #[test]
    fn sizes_and_rights_are_those_of_the_line() {
        assert_eq!(seen(0xffff_ffff_8122_3344), Some((PageSize::Large, false, true, true)), "kernel text");
        assert_eq!(seen(0xffff_ffff_c01f_ffff), Some((PageSize::Large, false, true, false)), "a 2 MiB pack");
        assert_eq!(seen(0xffff_ffff_c020_1000), Some((PageSize::Small, false, true, false)));
        assert_eq!(seen(0xffff_ffff_c020_5fff), Some((PageSize::Small, true, false, false)));
        assert_eq!(seen(0xffff_8880_8000_0000), Some((PageSize::Huge, true, false, true)));
    }

    #[test]
    fn what_has_no_flags_or_no_line_is_not_mapped() {
        for addr in [0x1000, 0xffff_ffff_8000_0000, 0xffff_ffff_c020_0000, 0xffff_ffff_c020_6000, u64::MAX] {
            assert_eq!(seen(addr), None, "{addr:#x}");
        }
    }

    #[test]
    fn other_text_is_no_dump() {
        assert_eq!(Ptdump::parse(""), None);
        assert_eq!(Ptdump::parse("---[ Modules ]---\nnonsense - of 3 words\n0x1-0x2 pte\n"), None);
    }
}
