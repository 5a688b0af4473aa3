//! The page tables of the guest: which mapping an address is fetched through.

use crate::model::itlb::PageSize;

/// CR4.LA57: five levels of tables.
const LA57: u64 = 1 << 12;
const PRESENT: u64 = 1;
/// PS: the entry maps a page instead of naming a table.
const LARGE: u64 = 1 << 7;
/// Bits of an entry, and of CR3, that are an address. CR3 has PCID and NOFLUSH in others.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Registers that say where the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    pub cr3: u64,
    pub cr4: u64,
}

/// A mapping of a size the hardware knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Huge,
    Giant,
}

impl Size {
    /// Bits of an address inside the page.
    pub fn shift(self) -> u32 {
        match self {
            Self::Small => 12,
            Self::Huge => 21,
            Self::Giant => 30,
        }
    }

    /// What the model takes it for: CPUs without entries of 1 GiB split them into some of 2 MiB.
    pub fn modelled(self) -> PageSize {
        match self {
            Self::Small => PageSize::Small,
            Self::Huge | Self::Giant => PageSize::Huge,
        }
    }
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub size: Size,
    /// Physical address.
    pub phys: u64,
}

/// The mapping of `addr`. `read` gives eight bytes at a physical address. `None` where the tables do not lead to a page.
pub fn walk(control: Control, addr: u64, mut read: impl FnMut(u64) -> Option<u64>) -> Option<Mapping> {
    let levels = if control.cr4 & LA57 == 0 { 4 } else { 5 };
    let upper = addr as i64 >> (12 + 9 * levels - 1);
    if upper != 0 && upper != -1 {
        return None;
    }
    let mut table = control.cr3 & FRAME;
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level - 1);
        let entry = read(table + (addr >> shift & 0x1ff) * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        let size = match level {
            1 => Some(Size::Small),
            2 if entry & LARGE != 0 => Some(Size::Huge),
            3 if entry & LARGE != 0 => Some(Size::Giant),
            _ => None,
        };
        if let Some(size) = size {
            let inside = (1 << size.shift()) - 1;
            // Bit 12 of a large page's entry is PAT, which the mask of the offset takes out.
            return Some(Mapping { size, phys: entry & FRAME & !inside | addr & inside });
        }
        table = entry & FRAME;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const NX: u64 = 1 << 63;
    const PCID_NOFLUSH: u64 = 1 << 63 | 0x7;

    /// Tables that are filled as mappings ask for them.
    struct Tables {
        words: HashMap<u64, u64>,
        next: u64,
        levels: u32,
    }

    impl Tables {
        fn new(levels: u32) -> Self {
            Self { words: HashMap::new(), next: 0x2000, levels }
        }

        fn control(&self) -> Control {
            Control { cr3: 0x1000 | PCID_NOFLUSH, cr4: 0x30_20f0 | if self.levels == 5 { LA57 } else { 0 } }
        }

        fn map(&mut self, addr: u64, last_level: u32, leaf: u64) {
            let mut table = 0x1000;
            for level in (last_level + 1..=self.levels).rev() {
                let slot = table + (addr >> (12 + 9 * (level - 1)) & 0x1ff) * 8;
                let next = &mut self.next;
                let entry = self.words.entry(slot).or_insert_with(|| {
                    *next += 0x1000;
                    *next | 0x67
                });
                table = *entry & FRAME;
            }
            self.words.insert(table + (addr >> (12 + 9 * (last_level - 1)) & 0x1ff) * 8, leaf);
        }

        fn walk(&self, addr: u64) -> Option<Mapping> {
            walk(self.control(), addr, |phys| Some(self.words.get(&phys).copied().unwrap_or(0)))
        }
    }

    #[test]
    fn every_size_is_found_with_four_levels_and_with_five() {
        for levels in [4, 5] {
            let mut tables = Tables::new(levels);
            let (jit, text, direct) = (0xffff_ffff_c020_1234, 0xffff_ffff_8160_0010, 0xffff_8880_4321_0008);
            tables.map(jit, 1, 0x1234_5000 | 0x161);
            tables.map(text, 2, 0x0360_0000 | 0x1000 | 0x1e1);
            tables.map(direct, 3, NX | 0x4000_0000 | 0x1e3);
            let found = |addr| tables.walk(addr).map(|mapping| (mapping.size, mapping.phys));
            assert_eq!(found(jit), Some((Size::Small, 0x1234_5234)), "{levels}");
            assert_eq!(found(text), Some((Size::Huge, 0x0360_0010)), "the PAT bit is no address");
            assert_eq!(found(direct), Some((Size::Giant, 0x4321_0008)), "{levels}");
            assert_eq!(found(jit + 4096), None, "not present");
            assert_eq!(found(0x7f00_0000_0000), None, "no table");
        }
    }

    #[test]
    fn user_space_of_five_levels_is_not_canonical_with_four() {
        let addr = 0x00ff_0000_0000_1000;
        for (levels, found) in [(4, false), (5, true)] {
            let mut tables = Tables::new(levels);
            tables.map(addr, 1, 0x7000 | 0x25);
            assert_eq!(tables.walk(addr).is_some(), found, "{levels}");
        }
    }

    #[test]
    fn a_table_that_cannot_be_read_is_no_mapping() {
        let control = Control { cr3: 0x1000, cr4: 0 };
        assert_eq!(walk(control, 0x1000, |_| None), None);
        // Tables that name themselves come to an end.
        assert!(walk(control, 0x1000, |_| Some(0x1067)).is_some());
    }
}
