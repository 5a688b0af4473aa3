//! Raw data of AMD's IBS Fetch, as the kernel hands it on: `perf_ibs_handle_irq` in arch/x86/events/amd/ibs.c writes the
//! capabilities, then IBS_FETCH_CTL, the linear and the physical address and, where the CPU has it, IC_IBS_EXTD_CTL. The bits are
//! those of `union ibs_fetch_ctl` in arch/x86/include/asm/amd-ibs.h.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What of the CPU changes the meaning of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub family: u32,
    pub model: u32,
}

impl Revision {
    /// Zen 3: errata 1347 (page sizes) and 1238 (IcMiss), as in tools/perf/util/amd-sample-raw.c.
    fn is_zen3(self) -> bool {
        self.family == 0x19 && self.model < 0x10
    }

    /// Bits 60 and 61 mean something from Zen 4 on.
    fn has_op_cache_bits(self) -> bool {
        self.family >= 0x1a || (self.family == 0x19 && self.model >= 0x10)
    }
}

/// Size of the page that the L1 iTLB found or was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Page {
    #[serde(rename = "4K")]
    Small,
    /// Four neighbouring 4 KiB pages in one entry.
    #[serde(rename = "16K")]
    Coalesced,
    #[serde(rename = "2M")]
    Huge,
    #[serde(rename = "1G")]
    Gigantic,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "4K",
            Self::Coalesced => "16K",
            Self::Huge => "2M",
            Self::Gigantic => "1G",
        })
    }
}

/// One sampled instruction fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Linear address of the fetch.
    pub addr: u64,
    /// False for a fetch that was given up; its other fields still tell what it had met.
    pub complete: bool,
    pub l1_itlb_miss: bool,
    /// Both levels missed: a walk.
    pub l2_itlb_miss: bool,
    /// Only where the physical address is valid.
    pub page: Option<Page>,
    pub latency_cycles: u16,
    /// Cycles from the miss of the L1 iTLB to its refill; only of misses, and only where the CPU has IC_IBS_EXTD_CTL.
    pub refill_cycles: Option<u16>,
    /// `None` where an erratum makes the bit void.
    pub icache_miss: Option<bool>,
    pub l2_cache_miss: bool,
    pub op_cache_miss: Option<bool>,
    pub l3_miss: Option<bool>,
}

/// Decodes the raw data of one sample; `None` if it is too short.
pub fn decode(raw: &[u8], revision: Revision) -> Option<Fetch> {
    let register = |number: usize| raw.get(4 + 8 * number..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let control = register(0)?;
    let bit = |number: u32| control >> number & 1 == 1;
    let (l1_itlb_miss, has_more) = (bit(55), revision.has_op_cache_bits());
    Some(Fetch {
        addr: register(1)?,
        complete: bit(50),
        l1_itlb_miss,
        l2_itlb_miss: bit(56),
        page: if bit(52) { page(control >> 53 & 3, revision) } else { None },
        latency_cycles: (control >> 32) as u16,
        refill_cycles: register(3).filter(|_| l1_itlb_miss).map(|extended| extended as u16),
        icache_miss: (!revision.is_zen3()).then(|| bit(51)),
        l2_cache_miss: bit(58),
        op_cache_miss: has_more.then(|| bit(60)),
        l3_miss: has_more.then(|| bit(61)),
    })
}

fn page(code: u64, revision: Revision) -> Option<Page> {
    match (code, revision.is_zen3()) {
        (0, _) => Some(Page::Small),
        (1, true) => Some(Page::Coalesced),
        (1, false) | (2, true) => Some(Page::Huge),
        (2, false) | (3, true) => Some(Page::Gigantic),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEN2: Revision = Revision { family: 0x17, model: 0x31 };
    const ZEN3: Revision = Revision { family: 0x19, model: 0x01 };
    const ZEN4: Revision = Revision { family: 0x19, model: 0x11 };
    const ZEN5: Revision = Revision { family: 0x1a, model: 0x02 };

    const VALID: u64 = 1 << 49;
    const COMPLETE: u64 = 1 << 50;
    const PHYSICAL: u64 = 1 << 52;

    fn raw(control: u64, extended: Option<u64>) -> Vec<u8> {
        let mut bytes = 0x0080_1bffu32.to_le_bytes().to_vec();
        for register in [control, 0xffff_ffff_c004_8000, 0x1234_5000].into_iter().chain(extended) {
            bytes.extend(register.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_walk_shows_both_misses_its_page_and_its_refill() {
        let control = VALID | COMPLETE | PHYSICAL | 1 << 55 | 1 << 56 | 1 << 51 | 1 << 58 | 0x007b << 32;
        let found = decode(&raw(control, Some(0xabcd_0025)), ZEN2).expect("whole");
        let expected = Fetch {
            addr: 0xffff_ffff_c004_8000,
            complete: true,
            l1_itlb_miss: true,
            l2_itlb_miss: true,
            page: Some(Page::Small),
            latency_cycles: 0x7b,
            refill_cycles: Some(0x25),
            icache_miss: Some(true),
            l2_cache_miss: true,
            op_cache_miss: None,
            l3_miss: None,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn page_sizes_are_encoded_otherwise_on_zen_3() {
        let page = |code: u64, revision| decode(&raw(PHYSICAL | code << 53, None), revision).expect("whole").page;
        let all = |revision| [0, 1, 2, 3].map(|code| page(code, revision));
        assert_eq!(all(ZEN3), [Some(Page::Small), Some(Page::Coalesced), Some(Page::Huge), Some(Page::Gigantic)]);
        for other in [ZEN2, ZEN4, ZEN5] {
            assert_eq!(all(other), [Some(Page::Small), Some(Page::Huge), Some(Page::Gigantic), None]);
        }
        let without = decode(&raw(1 << 53, None), ZEN2).expect("whole");
        assert_eq!(without.page, None, "no physical address, no page size");
    }

    #[test]
    fn bits_that_a_cpu_lacks_or_that_an_erratum_voids_are_absent() {
        let control = 1 << 51 | 1 << 60 | 1 << 61;
        let found = |revision| {
            let fetch = decode(&raw(control, None), revision).expect("whole");
            (fetch.icache_miss, fetch.op_cache_miss, fetch.l3_miss)
        };
        assert_eq!(found(ZEN2), (Some(true), None, None));
        assert_eq!(found(ZEN3), (None, None, None));
        assert_eq!(found(ZEN4), (Some(true), Some(true), Some(true)));
        assert_eq!(found(ZEN5), (Some(true), Some(true), Some(true)));
    }

    #[test]
    fn a_refill_latency_is_told_of_misses_only() {
        assert_eq!(decode(&raw(COMPLETE, Some(0x99)), ZEN4).expect("whole").refill_cycles, None);
        assert_eq!(decode(&raw(COMPLETE | 1 << 55, None), ZEN4).expect("whole").refill_cycles, None);
    }

    #[test]
    fn data_cut_short_is_no_fetch() {
        let whole = raw(COMPLETE, None);
        assert!(decode(&whole[..19], ZEN4).is_none());
        assert!(decode(&whole[..20], ZEN4).is_some());
    }
}
