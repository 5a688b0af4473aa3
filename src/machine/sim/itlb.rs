//! The simulated iTLB: two levels, set-associative, least recently used goes first.

/// Where a page was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    L1,
    L2,
    /// In neither: a page walk.
    Walk,
}

/// One level of `WAYS` ways.
#[derive(Debug)]
struct Level<const WAYS: usize> {
    /// Page numbers, most recently used first; 0 is nobody's JITed page.
    sets: Vec<[u64; WAYS]>,
    set_bits: u32,
}

impl<const WAYS: usize> Level<WAYS> {
    fn new(entries: usize) -> Self {
        let sets = entries / WAYS;
        Self { sets: vec![[0; WAYS]; sets], set_bits: sets.trailing_zeros() }
    }

    /// Whether `page` is there; it is the most recently used afterwards.
    fn touch(&mut self, page: u64) -> bool {
        // Folded once, so that a stride of two pages does not leave half the sets empty.
        let folded = page ^ (page >> self.set_bits);
        let set = &mut self.sets[folded as usize & ((1 << self.set_bits) - 1)];
        let found = set.iter().position(|&held| held == page);
        set[..=found.unwrap_or(WAYS - 1)].rotate_right(1);
        set[0] = page;
        found.is_some()
    }
}

/// Both levels. A page that is walked for enters both.
#[derive(Debug)]
pub struct Itlb {
    l1: Level<4>,
    l2: Level<8>,
}

impl Itlb {
    /// 16 entries in 4 ways, 128 entries in 8 ways; empty.
    pub fn new() -> Self {
        Self { l1: Level::new(16), l2: Level::new(128) }
    }

    /// Looks `page` up, a 4 KiB page number.
    pub fn touch(&mut self, page: u64) -> Found {
        if self.l1.touch(page) {
            return Found::L1;
        }
        if self.l2.touch(page) { Found::L2 } else { Found::Walk }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks and L2 hits of the tenth round over `pages`.
    fn steady(pages: impl Iterator<Item = u64> + Clone) -> (usize, usize) {
        let mut itlb = Itlb::new();
        for _ in 0..9 {
            pages.clone().for_each(|page| {
                itlb.touch(page);
            });
        }
        let found: Vec<Found> = pages.map(|page| itlb.touch(page)).collect();
        let count = |wanted| found.iter().filter(|found| **found == wanted).count();
        (count(Found::Walk), count(Found::L2))
    }

    #[test]
    fn each_level_holds_what_it_says_and_lru_loses_everything_beyond() {
        let first = 0xf_ffff_ffc0_0000;
        for (pages, expected) in [(16, (0, 0)), (32, (0, 32)), (128, (0, 128)), (256, (256, 0))] {
            assert_eq!(steady(first..first + pages), expected, "{pages} pages");
        }
    }

    #[test]
    fn a_stride_of_two_pages_uses_every_set() {
        assert_eq!(steady((0x1000..0x1010).step_by(2)), (0, 0));
    }

    #[test]
    fn the_least_recently_used_entry_goes() {
        let mut level: Level<4> = Level::new(4);
        for page in [1, 2, 3, 4, 1, 5] {
            level.touch(page);
        }
        assert!(level.touch(1));
        assert!(!level.touch(2));
    }
}
