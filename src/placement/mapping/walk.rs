//! Walks page tables that something else reads: the kernel through BPF, /proc/kcore, or a table made by hand.

use std::collections::HashMap;
use std::rc::Rc;

use super::entry::{Decoder, FRAME_SHIFT, LOWEST, Leaf, Rights, Step};

/// Entries in a table of any level.
pub const ENTRIES: usize = 512;
/// Address bits that one level resolves.
const LEVEL_BITS: u32 = 9;

/// One page of entries.
pub type Table = [u64; ENTRIES];

/// Why a walk ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    #[error("failed to read the page table in frame {frame:#x}: {reason}")]
    Unreadable { frame: u64, reason: String },
    #[error("the entry of {addr:#x} at level {level} is no page-table entry")]
    Nonsense { addr: u64, level: u32 },
    #[error("the page tables map {addr:#x} to frame {found:#x?}, where frame {known:#x} is known to lie")]
    Wrong { addr: u64, known: u64, found: Option<u64> },
}

/// The seam to whatever can read memory by its physical address.
pub trait Tables {
    /// The table in `frame`.
    fn table(&mut self, frame: u64) -> Result<Table, WalkError>;
}

/// Where a walk begins and how entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Frame of the top table.
    pub frame: u64,
    /// 4, or 5 with LA57.
    pub levels: u32,
    /// As /proc/cpuinfo reports them.
    pub physical_bits: u32,
}

/// A walker with the tables it has read. They can change under it: forget them with each new look.
#[derive(Debug)]
pub struct Walker<'t, T> {
    tables: &'t mut T,
    root: Root,
    decoder: Decoder,
    read: HashMap<u64, Rc<Table>>,
}

impl<'t, T: Tables> Walker<'t, T> {
    /// A walker that has read nothing yet.
    pub fn new(tables: &'t mut T, root: Root) -> Self {
        Self { tables, root, decoder: Decoder::new(root.physical_bits), read: HashMap::new() }
    }

    /// How `addr` is mapped; `None` if it is not.
    pub fn walk(&mut self, addr: u64) -> Result<Option<Leaf>, WalkError> {
        if !is_canonical(addr, self.root.levels) {
            return Ok(None);
        }
        let (mut frame, mut rights) = (self.root.frame, Rights::ALL);
        for level in (LOWEST..=self.root.levels).rev() {
            let raw = self.table(frame)?[index(addr, level)];
            match self.decoder.decode(level, raw, rights, addr) {
                Step::Absent => return Ok(None),
                Step::Leaf(leaf) => return Ok(Some(leaf)),
                Step::Nonsense => return Err(WalkError::Nonsense { addr, level }),
                Step::Table { frame: below, rights: so_far } => (frame, rights) = (below, so_far),
            }
        }
        Ok(None)
    }

    /// Fails unless `addr` is found in the frame where it is known to lie: a wrong root or a wrong way of reading shows at once.
    pub fn expect(&mut self, addr: u64, known: u64) -> Result<(), WalkError> {
        match self.walk(addr)?.and_then(|leaf| leaf.frame) {
            Some(found) if found == known => Ok(()),
            found => Err(WalkError::Wrong { addr, known, found }),
        }
    }

    fn table(&mut self, frame: u64) -> Result<Rc<Table>, WalkError> {
        if let Some(table) = self.read.get(&frame) {
            return Ok(Rc::clone(table));
        }
        let table = Rc::new(self.tables.table(frame)?);
        self.read.insert(frame, Rc::clone(&table));
        Ok(table)
    }
}

/// Which entry of a table of `level` leads to `addr`.
fn index(addr: u64, level: u32) -> usize {
    (addr >> (FRAME_SHIFT + LEVEL_BITS * (level - 1))) as usize % ENTRIES
}

/// Whether the bits above those that the levels resolve repeat the highest of them.
fn is_canonical(addr: u64, levels: u32) -> bool {
    let unused = 64 - (FRAME_SHIFT + LEVEL_BITS * levels);
    (addr << unused) as i64 >> unused == addr as i64
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// Tables made by hand, by frame. What has no table cannot be read.
    #[derive(Debug, Default)]
    pub struct HandMade {
        pub tables: HashMap<u64, Table>,
        pub reads: u32,
    }

    impl HandMade {
        /// Puts `raw` where the walk to `addr` looks for it in the table of `level` in `frame`.
        pub fn set(&mut self, frame: u64, level: u32, addr: u64, raw: u64) {
            self.tables.entry(frame).or_insert([0; ENTRIES])[index(addr, level)] = raw;
        }
    }

    impl Tables for HandMade {
        fn table(&mut self, frame: u64) -> Result<Table, WalkError> {
            self.reads += 1;
            let unreadable = || WalkError::Unreadable { frame, reason: "not mapped".to_owned() };
            self.tables.get(&frame).copied().ok_or_else(unreadable)
        }
    }

    /// Four levels from frame 1 to `addr`: 4 KiB in frame 0x77, read-only, executable, global.
    pub fn four_levels(addr: u64) -> (HandMade, Root) {
        let mut made = HandMade::default();
        for (frame, level) in [(1, 4), (2, 3), (3, 2)] {
            made.set(frame, level, addr, (frame + 1) << FRAME_SHIFT | 0x63);
        }
        made.set(4, 1, addr, 0x77 << FRAME_SHIFT | 0x161);
        (made, Root { frame: 1, levels: 4, physical_bits: 48 })
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{HandMade, four_levels};
    use super::*;
    use crate::placement::mapping::PageSize;

    const ADDR: u64 = 0xffff_ffff_c020_5000;

    #[test]
    fn four_levels_end_in_a_small_page() {
        let (mut made, root) = four_levels(ADDR);
        let mut walker = Walker::new(&mut made, root);
        let leaf = walker.walk(ADDR + 0x123).unwrap().unwrap();
        assert_eq!((leaf.size, leaf.frame), (PageSize::Small, Some(0x77)));
        assert!(!leaf.writable && leaf.executable && leaf.global);
        assert_eq!(walker.walk(ADDR + 0x1000), Ok(None), "the next page is not mapped");
        assert_eq!(walker.walk(ADDR - (1 << 30)), Ok(None), "nor is the gigabyte before");
    }

    #[test]
    fn every_table_is_read_once() {
        let (mut made, root) = four_levels(ADDR);
        let mut walker = Walker::new(&mut made, root);
        for offset in 0..100 {
            walker.walk(ADDR + offset * 4096).unwrap();
        }
        assert_eq!(made.reads, 4);
    }

    #[test]
    fn five_levels_begin_one_table_higher() {
        let high = 0xff11_0000_4020_0000;
        let mut made = HandMade::default();
        for (frame, level) in [(9, 5), (1, 4), (2, 3)] {
            made.set(frame, level, high, (if frame == 9 { 1 } else { frame + 1 }) << FRAME_SHIFT | 0x63);
        }
        made.set(3, 2, high, 1 << 63 | 0x4020_0000 | 0x1e3);
        let root = Root { frame: 9, levels: 5, physical_bits: 52 };
        let leaf = Walker::new(&mut made, root).walk(high + 0x5000).unwrap().unwrap();
        assert_eq!((leaf.size, leaf.frame), (PageSize::Large, Some(0x4_0205)));
        assert!(leaf.writable && !leaf.executable);
    }

    #[test]
    fn a_gigabyte_leaf_ends_the_walk_early() {
        let mut made = HandMade::default();
        made.set(1, 4, ADDR, 2 << FRAME_SHIFT | 0x63);
        made.set(2, 3, ADDR, 0x1_4000_0000 | 0x1e3);
        let root = Root { frame: 1, levels: 4, physical_bits: 48 };
        let leaf = Walker::new(&mut made, root).walk(ADDR).unwrap().unwrap();
        assert_eq!((leaf.size, leaf.frame), (PageSize::Huge, Some(0x14_0000 | ADDR >> 12 & 0x3_ffff)));
    }

    #[test]
    fn a_wrong_root_is_noticed_by_a_page_whose_frame_is_known() {
        let (mut made, root) = four_levels(ADDR);
        assert_eq!(Walker::new(&mut made, root).expect(ADDR, 0x77), Ok(()));
        let wrong = Walker::new(&mut made, root).expect(ADDR, 0x78).unwrap_err();
        assert_eq!(wrong, WalkError::Wrong { addr: ADDR, known: 0x78, found: Some(0x77) });
        let elsewhere = Root { frame: 3, ..root };
        assert!(Walker::new(&mut made, elsewhere).expect(ADDR, 0x77).is_err());
    }

    #[test]
    fn what_cannot_be_read_or_is_no_table_is_an_error_and_not_an_answer() {
        let (mut made, root) = four_levels(ADDR);
        made.tables.remove(&4);
        assert!(matches!(Walker::new(&mut made, root).walk(ADDR), Err(WalkError::Unreadable { frame: 4, .. })));
        made.set(1, 4, ADDR, 0x1000 | 0xe3);
        assert_eq!(Walker::new(&mut made, root).walk(ADDR), Err(WalkError::Nonsense { addr: ADDR, level: 4 }));
    }

    #[test]
    fn an_address_the_levels_cannot_reach_is_not_mapped() {
        let (mut made, root) = four_levels(ADDR);
        let mut walker = Walker::new(&mut made, root);
        for addr in [0x0001_0000_0000_0000, 0xff11_0000_0000_0000, ADDR & 0x0000_ffff_ffff_ffff] {
            assert_eq!(walker.walk(addr), Ok(None), "{addr:#x}");
        }
        assert_eq!(made.reads, 0);
        assert!(is_canonical(0xff11_0000_0000_0000, 5) && is_canonical(0x7fff_ffff_f000, 4));
    }
}
