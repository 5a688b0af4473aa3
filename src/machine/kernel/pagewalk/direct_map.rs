//! Where the kernel's map of all physical memory may begin. With KASLR the base is moved in steps of 1 GiB (`kernel_randomize_memory`,
//! arch/x86/mm/kaslr.c), so it has to be found; a guess must never reach past the map, into memory of devices.

/// Grain of the base.
const STEP: u64 = 1 << 30;
/// Lowest address of the upper half with four levels.
const UPPER_HALF: u64 = 0xffff_8000_0000_0000;
/// `__PAGE_OFFSET_BASE_L4` and `_L5`, arch/x86/include/asm/page_64_types.h. KASLR moves the base upwards only.
const DEFAULT_BASE: [u64; 2] = [0xffff_8880_0000_0000, 0xff11_0000_0000_0000];

/// Levels of the page tables, told from an address in the direct map: with five levels it begins below the four-level upper half.
pub fn levels(pgd: u64) -> u32 {
    if pgd < UPPER_HALF { 5 } else { 4 }
}

/// Bases that are possible for a kernel whose top table is at `pgd` and whose memory ends at `ram_top`. The default comes first, then
/// all others upward: each guess is at most the true base, so no guess and no frame leads past the end of the map.
pub fn candidates(pgd: u64, ram_top: u64) -> impl Iterator<Item = u64> {
    let default = DEFAULT_BASE[usize::from(levels(pgd) == 5)];
    let lowest = pgd.saturating_sub(ram_top).next_multiple_of(STEP).max(default);
    let possible = move |base: &u64| *base <= pgd;
    let first = Some(default).filter(possible).filter(|base| pgd - base < ram_top);
    let others = (0u64..).map_while(move |at| lowest.checked_add(at * STEP)).take_while(possible);
    first.into_iter().chain(others.filter(move |base| Some(*base) != first))
}

/// The address behind the last zone, from /proc/zoneinfo.
pub fn ram_top(zoneinfo: &str) -> Option<u64> {
    let number = |line: &str, key: &str| line.trim_start().strip_prefix(key)?.trim().parse::<u64>().ok();
    let (mut spanned, mut top) = (0, 0);
    for line in zoneinfo.lines() {
        if let Some(pages) = number(line, "spanned ") {
            spanned = pages;
        } else if let Some(start) = number(line, "start_pfn:") {
            top = top.max((start + spanned) * crate::placement::image::PAGE_BYTES);
        }
    }
    (top > 0).then_some(top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_default_base_is_tried_first() {
        let bases: Vec<u64> = candidates(0xffff_8880_0000_0000 + 5 * GIB, 24 * GIB).collect();
        assert_eq!(bases[0], 0xffff_8880_0000_0000);
        assert_eq!(bases.len(), 6, "{bases:x?}");
        assert_eq!(levels(bases[0]), 4);
    }

    #[test]
    fn five_levels_begin_lower() {
        let pgd = 0xff11_0000_0000_0000 + 700 * GIB + 0x5000;
        assert_eq!(levels(pgd), 5);
        let bases: Vec<u64> = candidates(pgd, 8 * GIB).collect();
        assert_eq!(bases.len(), 8, "the default is too far below");
        assert!(bases.iter().all(|base| pgd - base < 8 * GIB));
    }

    proptest! {
        #[test]
        fn the_true_base_is_among_the_guesses_and_none_before_it_lies_above(
            steps in 0u64..40_000,
            ram in 1u64..4096,
            pgd_page in 0u64..1 << 30,
        ) {
            let base = 0xffff_8880_0000_0000 + steps * GIB;
            let ram_top = ram * GIB / 2;
            let pgd = base + pgd_page * 4096 % ram_top;
            let guesses: Vec<u64> = candidates(pgd, ram_top).collect();
            let at = guesses.iter().position(|guess| *guess == base);
            prop_assert!(at.is_some());
            prop_assert!(guesses[..at.unwrap_or(0)].iter().all(|guess| *guess < base));
        }
    }

    #[test]
    fn the_top_of_memory_is_behind_the_last_zone() {
        let text = "Node 0, zone      DMA\n  pages free     2816\n        spanned  4095\n        present  3998\n  start_pfn:           1\n\
                    Node 0, zone   Normal\n        spanned  5242880\n  start_pfn:           1048576\n";
        assert_eq!(ram_top(text), Some(24 * GIB));
        assert_eq!(ram_top("nothing"), None);
    }
}
