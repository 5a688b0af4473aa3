//! One entry of an x86-64 page table, as the processor reads it (Intel SDM 3A, 4.5; arch/x86/include/asm/pgtable_types.h).

use std::fmt;

use serde::{Deserialize, Serialize};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
/// `PS`: the entry is a leaf. In the lowest level the same bit is `PAT` and says nothing of the size.
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
/// Most bits of a physical address that an entry can hold.
const MOST_PHYSICAL_BITS: u32 = 52;

/// Bits of an address below its 4 KiB frame.
pub const FRAME_SHIFT: u32 = 12;
/// The level whose entries map 4 KiB; the one above it maps 2 MiB, and so on up to 5.
pub const LOWEST: u32 = 1;

/// Size of the page that a leaf maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PageSize {
    #[serde(rename = "4k")]
    Small,
    #[serde(rename = "2m")]
    Large,
    #[serde(rename = "1g")]
    Huge,
}

impl PageSize {
    /// Bytes it maps.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Small => 4 << 10,
            Self::Large => 2 << 20,
            Self::Huge => 1 << 30,
        }
    }

    /// The size a leaf of `level` maps; `None` where a leaf cannot be.
    fn of_level(level: u32) -> Option<Self> {
        match level {
            1 => Some(Self::Small),
            2 => Some(Self::Large),
            3 => Some(Self::Huge),
            _ => None,
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "4 KiB",
            Self::Large => "2 MiB",
            Self::Huge => "1 GiB",
        })
    }
}

/// How one 4 KiB page is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub size: PageSize,
    /// Rights of all levels together, as the processor forms them.
    pub writable: bool,
    pub executable: bool,
    /// Kept in the TLB across address spaces.
    pub global: bool,
    /// Frame of the 4 KiB page asked for, inside the large page if it is one; `None` if the source shows none.
    pub frame: Option<u64>,
}

/// Rights gathered on the way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    pub writable: bool,
    pub executable: bool,
}

impl Rights {
    /// Above the first table nothing is forbidden.
    pub const ALL: Self = Self { writable: true, executable: true };

    fn and(self, raw: u64) -> Self {
        Self { writable: self.writable && raw & WRITABLE != 0, executable: self.executable && raw & NO_EXECUTE == 0 }
    }
}

/// Where an entry leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not present. Such entries may be inverted (arch/x86/include/asm/pgtable-invert.h): nothing in them is to be believed.
    Absent,
    /// The next table is in this frame.
    Table {
        frame: u64,
        rights: Rights,
    },
    Leaf(Leaf),
    /// A leaf where the processor has none: this is no page table.
    Nonsense,
}

/// Decodes entries for a processor whose physical addresses have `physical_bits`. Encryption bits of SME and SEV lie above those that
/// /proc/cpuinfo reports (`early_detect_mem_encrypt`) and fall away with the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    frame_mask: u64,
}

impl Decoder {
    /// A decoder that takes `physical_bits` bits of an entry as address.
    pub fn new(physical_bits: u32) -> Self {
        let bits = physical_bits.clamp(32, MOST_PHYSICAL_BITS);
        Self { frame_mask: (1 << (bits - FRAME_SHIFT)) - 1 }
    }

    /// What `raw`, an entry of `level` on the way to `addr`, means under the `rights` of the levels above.
    pub fn decode(self, level: u32, raw: u64, rights: Rights, addr: u64) -> Step {
        if raw & PRESENT == 0 {
            return Step::Absent;
        }
        let rights = rights.and(raw);
        let frame = raw >> FRAME_SHIFT & self.frame_mask;
        if level > LOWEST && raw & LARGE == 0 {
            return Step::Table { frame, rights };
        }
        let Some(size) = PageSize::of_level(level) else { return Step::Nonsense };
        // In a large leaf bit 12 is PAT and the bits up to the size are reserved: the address fills them.
        let inside = (size.bytes() >> FRAME_SHIFT) - 1;
        let frame = frame & !inside | addr >> FRAME_SHIFT & inside;
        let Rights { writable, executable } = rights;
        Step::Leaf(Leaf { size, writable, executable, global: raw & GLOBAL != 0, frame: Some(frame) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dirty and accessed, as the kernel presets them.
    const USED: u64 = 0x60;

    fn decode(level: u32, raw: u64) -> Step {
        Decoder::new(48).decode(level, raw, Rights::ALL, 0xffff_ffff_c012_3456)
    }

    fn leaf(level: u32, raw: u64) -> Leaf {
        match decode(level, raw) {
            Step::Leaf(leaf) => leaf,
            other => panic!("{raw:#x} at level {level} is {other:?}"),
        }
    }

    #[test]
    fn rights_and_frame_of_a_small_page() {
        // ROX and global, as set_memory_rox leaves BPF text.
        let text = leaf(1, 0x1_2345_6000 | USED | GLOBAL | PRESENT);
        let expected =
            Leaf { size: PageSize::Small, writable: false, executable: true, global: true, frame: Some(0x12_3456) };
        assert_eq!(text, expected);
        let data = leaf(1, NO_EXECUTE | 0x7000 | WRITABLE | PRESENT);
        assert!(data.writable && !data.executable && !data.global);
    }

    #[test]
    fn pat_of_a_small_page_does_not_make_it_large() {
        assert_eq!(leaf(1, 0x5000 | LARGE | PRESENT).size, PageSize::Small);
        assert_eq!(leaf(1, 0x5000 | LARGE | PRESENT).frame, Some(5));
    }

    #[test]
    fn large_leaves_take_the_rest_of_the_frame_from_the_address() {
        // The 2 MiB leaf of 0x40000000 with PAT (bit 12) set; 0x...123456 is its page 0x123.
        let two = leaf(2, 0x4000_0000 | 1 << 12 | LARGE | PRESENT);
        assert_eq!((two.size, two.frame), (PageSize::Large, Some(0x4_0123)));
        let even = Decoder::new(48).decode(2, 0x4000_0000 | 1 << 12 | LARGE | PRESENT, Rights::ALL, 0x12_2000);
        assert!(
            matches!(even, Step::Leaf(Leaf { frame: Some(0x4_0122), .. })),
            "PAT is no part of the frame: {even:?}"
        );
        let one = leaf(3, 0x8000_0000 | 1 << 12 | LARGE | PRESENT);
        assert_eq!((one.size, one.frame), (PageSize::Huge, Some(0x8_0000 | 0xffff_ffff_c012_3456u64 >> 12 & 0x3_ffff)));
    }

    #[test]
    fn an_entry_that_is_not_present_is_not_decoded() {
        for raw in [0, GLOBAL, !PRESENT, LARGE | WRITABLE] {
            assert_eq!(decode(1, raw), Step::Absent, "{raw:#x}");
            assert_eq!(decode(3, raw), Step::Absent, "{raw:#x}");
        }
    }

    #[test]
    fn a_leaf_above_one_gigabyte_is_nonsense() {
        assert_eq!(decode(4, 0x1000 | LARGE | PRESENT), Step::Nonsense);
        assert_eq!(decode(5, 0x1000 | LARGE | PRESENT), Step::Nonsense);
    }

    #[test]
    fn one_forbidding_level_forbids() {
        let Step::Table { rights, .. } = decode(4, 0x1000 | PRESENT) else { panic!("a table") };
        assert_eq!(rights, Rights { writable: false, executable: true });
        let below = Decoder::new(48).decode(1, NO_EXECUTE | 0x1000 | WRITABLE | PRESENT, rights, 0);
        let Step::Leaf(below) = below else { panic!("a leaf") };
        assert!(!below.writable && !below.executable);
    }

    #[test]
    fn encryption_bits_are_no_part_of_the_frame() {
        // SME: bit 47 is the C-bit, and the kernel reports 43 bits.
        let raw = 1 << 47 | 0x3000 | PRESENT;
        let Step::Leaf(leaf) = Decoder::new(43).decode(1, raw, Rights::ALL, 0) else { panic!("a leaf") };
        assert_eq!(leaf.frame, Some(3));
        // SEV: the C-bit is 51.
        let Step::Table { frame, .. } = Decoder::new(51).decode(3, 1 << 51 | 0x9000 | PRESENT, Rights::ALL, 0) else {
            panic!("a table")
        };
        assert_eq!(frame, 9);
    }
}
