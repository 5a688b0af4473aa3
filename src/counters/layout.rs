//! How many counters a core has, and whether a set of events fits them at once.

/// Counters of one hardware thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// General-purpose counters.
    pub general: u32,
    /// Cycles have a counter of their own.
    pub fixed_cycles: bool,
    /// Instructions have a counter of their own.
    pub fixed_instructions: bool,
}

/// What CPUID says of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidWords {
    /// EAX, EBX, ECX, EDX of leaf 0xA; zeros if there is none.
    pub architectural: [u32; 4],
    /// ECX of leaf 0x80000001.
    pub extended_features: u32,
    /// The four registers of leaf 0x80000022; zeros if there is none.
    pub amd: [u32; 4],
}

impl Layout {
    /// Where nothing is known: the four counters that every x86_64 PMU has.
    pub const UNKNOWN: Self = Self { general: 4, fixed_cycles: false, fixed_instructions: false };

    /// Intel's architectural monitoring (leaf 0xA), else AMD's core counters as `amd_core_pmu_init` counts them.
    pub fn decode(words: &CpuidWords) -> Self {
        let [eax, _, ecx, edx] = words.architectural;
        let (version, general, fixed) = (eax & 0xff, eax >> 8 & 0xff, edx & 0x1f);
        if version > 0 && general > 0 {
            let has = |n: u32| fixed > n || version >= 5 && ecx >> n & 1 == 1;
            return Self { general, fixed_cycles: version >= 2 && has(1), fixed_instructions: version >= 2 && has(0) };
        }
        /// `PerfCtrExtCore`.
        const SIX_COUNTERS: u32 = 1 << 23;
        let told = words.amd[1] & 0xf;
        let general = match (words.amd[0] & 1, words.extended_features & SIX_COUNTERS) {
            (1, _) if told > 0 => told,
            (_, SIX_COUNTERS) => 6,
            _ => 4,
        };
        Self { general, ..Self::UNKNOWN }
    }

    /// Less what the NMI watchdog holds: one pinned `cycles` on every CPU (kernel/watchdog_perf.c). Where cycles have a
    /// counter of their own it takes that one.
    pub fn without_watchdog(self) -> Self {
        match self.fixed_cycles {
            true => Self { fixed_cycles: false, ..self },
            false => Self { general: self.general.saturating_sub(1), ..self },
        }
    }
}

/// What an event asks of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub fixed: Fixed,
    /// Bit n: general-purpose counter n can hold it.
    pub counters: u64,
    /// `MSR_PEBS_FRONTEND`, of which a core has one: 0, or the value that must be in it.
    pub frontend: u64,
}

/// The counter of its own that an event may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    None,
    Cycles,
    Instructions,
}

/// Whether all of `needs` can be counted at once: each general-purpose counter holds one event, and some events fit some
/// counters only.
pub fn fit(needs: &[Need], layout: Layout) -> bool {
    let mut frontends: Vec<u64> = needs.iter().map(|need| need.frontend).filter(|&value| value != 0).collect();
    frontends.dedup();
    if frontends.len() > 1 {
        return false;
    }
    let is_general = |need: &&Need| match need.fixed {
        Fixed::None => true,
        Fixed::Cycles => !layout.fixed_cycles,
        Fixed::Instructions => !layout.fixed_instructions,
    };
    let masks: Vec<u64> = needs.iter().filter(is_general).map(|need| need.counters).collect();
    let mut holder = vec![None; layout.general as usize];
    (0..masks.len()).all(|event| find_counter(event, &masks, &mut holder, &mut 0))
}

/// A counter for `event`, moving others out of the way where that helps (augmenting paths).
fn find_counter(event: usize, masks: &[u64], holder: &mut [Option<usize>], tried: &mut u64) -> bool {
    for counter in 0..holder.len().min(64) {
        let bit = 1u64 << counter;
        if masks[event] & bit == 0 || *tried & bit != 0 {
            continue;
        }
        *tried |= bit;
        let free = match holder[counter] {
            None => true,
            Some(other) => find_counter(other, masks, holder, tried),
        };
        if free {
            holder[counter] = Some(event);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKYLAKE: Layout = Layout { general: 4, fixed_cycles: true, fixed_instructions: true };

    fn need(counters: u64) -> Need {
        Need { fixed: Fixed::None, counters, frontend: 0 }
    }

    fn base() -> Vec<Need> {
        [Fixed::Cycles, Fixed::Instructions].map(|fixed| Need { fixed, counters: u64::MAX, frontend: 0 }).to_vec()
    }

    #[test]
    fn cpuid_says_how_many_counters_there_are() {
        let intel =
            |eax, ecx, edx| Layout::decode(&CpuidWords { architectural: [eax, 0, ecx, edx], ..Default::default() });
        let fixed = |general| Layout { general, fixed_cycles: true, fixed_instructions: true };
        assert_eq!(intel(0x0730_0404, 0, 0x603), fixed(4), "Skylake with SMT");
        assert_eq!(intel(0x0730_0804, 0, 0x603), fixed(8), "Skylake without");
        assert_eq!(intel(0x0830_0805, 0xf, 0x8604), fixed(8), "Sapphire Rapids");
        assert_eq!(intel(0x0830_0806, 0x3, 0), fixed(8), "told by the bit map alone");
        assert_eq!(intel(0x0730_0401, 0, 0), Layout { general: 4, ..Layout::UNKNOWN }, "version 1 has no fixed ones");
        let amd = |ecx, amd| Layout::decode(&CpuidWords { extended_features: ecx, amd, ..Default::default() }).general;
        assert_eq!(amd(1 << 23, [0; 4]), 6, "Zen 1 to 3");
        assert_eq!(amd(1 << 23, [1, 0x6, 0, 0]), 6, "Zen 4");
        assert_eq!(amd(1 << 23, [1, 0x4, 0, 0]), 4, "a guest that is given four");
        assert_eq!(amd(0, [0; 4]), 4);
    }

    #[test]
    fn the_watchdog_takes_the_cycles_counter_or_one_of_the_general_ones() {
        assert_eq!(SKYLAKE.without_watchdog(), Layout { fixed_cycles: false, ..SKYLAKE });
        let zen = Layout { general: 6, ..Layout::UNKNOWN };
        assert_eq!(zen.without_watchdog().general, 5);
    }

    #[test]
    fn four_events_fit_beside_cycles_and_instructions_and_three_with_the_watchdog() {
        let with = |count: usize| [base(), vec![need(0xf); count]].concat();
        assert!(fit(&with(4), SKYLAKE) && !fit(&with(5), SKYLAKE));
        assert!(fit(&with(3), SKYLAKE.without_watchdog()) && !fit(&with(4), SKYLAKE.without_watchdog()));
        let zen = Layout { general: 6, ..Layout::UNKNOWN };
        let unbound = |count: usize| [base(), vec![need(u64::MAX); count]].concat();
        assert!(fit(&unbound(4), zen) && !fit(&unbound(5), zen) && !fit(&unbound(4), zen.without_watchdog()));
    }

    #[test]
    fn events_bound_to_the_first_counters_leave_the_others_to_the_rest() {
        let golden_cove = Layout { general: 8, ..SKYLAKE };
        let bound = vec![need(0xf); 4];
        assert!(fit(&[bound.clone(), vec![need(0xff); 4]].concat(), golden_cove));
        assert!(fit(&[vec![need(0xff); 4], bound.clone()].concat(), golden_cove), "whatever the order");
        assert!(!fit(&[bound, vec![need(0xf)]].concat(), golden_cove));
        assert!(!fit(&[need(0x1), need(0x1)], golden_cove));
        assert!(fit(&[need(0x3), need(0x1)], golden_cove), "the first moves over");
    }

    #[test]
    fn two_frontend_events_need_two_passes() {
        let retired = |frontend| Need { frontend, ..need(0xff) };
        assert!(fit(&[retired(0x14), need(0xf)], SKYLAKE));
        assert!(!fit(&[retired(0x14), retired(0x15)], SKYLAKE));
    }
}
