//! What is known of a block of code once qemu has translated it, and the marks among its instructions.

/// Bytes of the smallest page.
const PAGE_BYTES: u64 = 4096;

/// A mark of the guest: `nopl 0x5ab100NN(%rax,%rax,1)`, an instruction that no compiler emits and every CPU skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A window begins. RDI: base of the direct map; RSI: the window's number; RDX: the end of the kernel's image. 0 if not known.
    Begin,
    End,
}

/// What a guest tells at the beginning of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where the kernel maps all memory, 0 if not known.
    pub direct_map: u64,
    /// The window's number.
    pub tag: u64,
    /// First address behind the kernel's image, 0 if not known.
    pub kernel_end: u64,
}

/// Bytes of a mark.
pub const MARK_BYTES: usize = 8;

impl Mark {
    /// The mark that an instruction is.
    pub fn of(instruction: &[u8]) -> Option<Self> {
        match instruction {
            [0x0f, 0x1f, 0x84, 0x00, 0x01, 0x00, 0xb1, 0x5a] => Some(Self::Begin),
            [0x0f, 0x1f, 0x84, 0x00, 0x02, 0x00, 0xb1, 0x5a] => Some(Self::End),
            _ => None,
        }
    }
}

/// A translated block: code that is run from its first instruction on, without a jump inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    first: u64,
    last: u64,
    instructions: u32,
}

impl Block {
    /// A block of `instructions` from `first` on, the last of which lies at `last_instruction` and has `last_bytes`.
    pub fn new(first: u64, last_instruction: u64, last_bytes: u64, instructions: u32) -> Self {
        let last = last_instruction.wrapping_add(last_bytes.saturating_sub(1));
        Self { first, last: last.max(first), instructions }
    }

    /// How many instructions it has.
    pub fn instructions(&self) -> u32 {
        self.instructions
    }

    /// An address in each page that fetching it touches, in order. qemu ends a block at the second page at the latest.
    pub fn pages(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, last) = (self.first, self.last);
        let crosses = first / PAGE_BYTES != last / PAGE_BYTES;
        [Some(first), crosses.then_some(last)].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_nops_of_compilers() {
        assert_eq!(Mark::of(&[0x0f, 0x1f, 0x84, 0, 1, 0, 0xb1, 0x5a]), Some(Mark::Begin));
        assert_eq!(Mark::of(&[0x0f, 0x1f, 0x84, 0, 2, 0, 0xb1, 0x5a]), Some(Mark::End));
        assert_eq!(Mark::of(&[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]), None);
        assert_eq!(Mark::of(&[0x0f, 0x1f, 0x84, 0, 3, 0, 0xb1, 0x5a]), None);
        assert_eq!(Mark::of(&[0x0f, 0x1f, 0x84, 0, 1, 0, 0xb1]), None);
        assert_eq!(Mark::of(&[]), None);
    }

    #[test]
    fn a_block_touches_the_page_of_its_last_byte_too() {
        let pages = |block: Block| block.pages().collect::<Vec<_>>();
        assert_eq!(pages(Block::new(0x1000, 0x1ff0, 16, 9)), [0x1000]);
        assert_eq!(pages(Block::new(0x1000, 0x1ff0, 17, 9)), [0x1000, 0x2000]);
        assert_eq!(pages(Block::new(0x1ffe, 0x1ffe, 5, 1)), [0x1ffe, 0x2002]);
        let top = u64::MAX - 3;
        assert_eq!(pages(Block::new(top, top, 9, 1)), [top], "an end that wraps");
    }
}
