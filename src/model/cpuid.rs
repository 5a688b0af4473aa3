//! What CPUID says of the iTLB, and whether the table agrees. In a virtual machine CPUID is the hypervisor's invention.

use raw_cpuid::CpuIdResult;

use super::geometry::{Core, CoreKind, CpuId};

/// One array as CPUID describes it; `ways` is `None` where it is fully associative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlb {
    pub entries: u32,
    pub ways: Option<u32>,
}

/// Everything CPUID says of code translations; absent is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub vendor: String,
    pub family: u32,
    pub model: u32,
    pub kind: Option<CoreKind>,
    /// CPUID.1:ECX[31]: figures below are whatever the hypervisor chose.
    pub hypervisor: bool,
    pub l1_4k: Option<Tlb>,
    pub l1_2m: Option<Tlb>,
    pub l2_4k: Option<Tlb>,
    pub l2_2m: Option<Tlb>,
}

impl Reported {
    /// Of the CPU that this thread runs on: on a hybrid another CPU may answer otherwise.
    pub fn here() -> Self {
        Self::read(&|leaf, sub| raw_cpuid::native_cpuid::cpuid_count(leaf, sub))
    }

    /// Decodes what `cpuid` answers for leaf and subleaf.
    pub fn read(cpuid: &dyn Fn(u32, u32) -> CpuIdResult) -> Self {
        let base = cpuid(0, 0);
        let bytes = [base.ebx, base.edx, base.ecx].map(u32::to_le_bytes).concat();
        let version = cpuid(1, 0);
        let (family, model) = family_and_model(version.eax);
        let mut reported = Self {
            vendor: String::from_utf8_lossy(&bytes).into_owned(),
            family,
            model,
            hypervisor: version.ecx >> 31 == 1,
            ..Self::default()
        };
        match reported.vendor.as_str() {
            "AuthenticAMD" | "HygonGenuine" => reported.read_amd(cpuid),
            _ => reported.read_intel(base.eax, cpuid),
        }
        reported
    }

    /// The numbers by which the table is asked.
    pub fn cpu_id(&self) -> CpuId<'_> {
        CpuId { vendor: &self.vendor, family: self.family, model: self.model, core: self.kind }
    }

    fn read_intel(&mut self, most: u32, cpuid: &dyn Fn(u32, u32) -> CpuIdResult) {
        if most >= 0x1a {
            self.kind = match cpuid(0x1a, 0).eax >> 24 {
                0x40 => Some(CoreKind::Performance),
                0x20 => Some(CoreKind::Efficient),
                _ => None,
            };
        }
        if most >= 2 {
            let leaf = cpuid(2, 0);
            // The lowest byte of EAX is no descriptor; a register with its highest bit set holds none.
            let registers = [leaf.eax & !0xff, leaf.ebx, leaf.ecx, leaf.edx];
            let valid = registers.into_iter().filter(|register| register >> 31 == 0);
            valid.flat_map(u32::to_le_bytes).for_each(|byte| self.descriptor(byte));
        }
        if most >= 0x18 {
            (0..=cpuid(0x18, 0).eax.min(64)).for_each(|sub| self.translation_cache(cpuid(0x18, sub)));
        }
    }

    /// One descriptor byte of leaf 2; only those of the cores in the table.
    fn descriptor(&mut self, byte: u8) {
        let tlb = |entries, ways| Some(Tlb { entries, ways: Some(ways) });
        match byte {
            0x76 => self.l1_2m = Some(Tlb { entries: 8, ways: None }),
            0xb5 => self.l1_4k = tlb(64, 8),
            0xb6 => self.l1_4k = tlb(128, 8),
            0xc1 => (self.l2_4k, self.l2_2m) = (tlb(1024, 8), tlb(1024, 8)),
            0xc3 => (self.l2_4k, self.l2_2m) = (tlb(1536, 6), tlb(1536, 6)),
            _ => {}
        }
    }

    /// One subleaf of leaf 0x18. Arrays of one level and size add up: 4 KiB entries may lie in two.
    fn translation_cache(&mut self, leaf: CpuIdResult) {
        const INSTRUCTION: u32 = 2;
        const UNIFIED: u32 = 3;
        let (kind, level) = (leaf.edx & 0x1f, leaf.edx >> 5 & 7);
        if kind != INSTRUCTION && kind != UNIFIED {
            return;
        }
        let (ways, sets) = (leaf.ebx >> 16, leaf.ecx);
        let full = leaf.edx >> 8 & 1 == 1;
        let tlb = Tlb { entries: ways.saturating_mul(sets), ways: (!full).then_some(ways) };
        let (small, huge) = match level {
            1 => (&mut self.l1_4k, &mut self.l1_2m),
            2 => (&mut self.l2_4k, &mut self.l2_2m),
            _ => return,
        };
        if leaf.ebx & 1 == 1 {
            *small = Some(small.map_or(tlb, |before| both(before, tlb)));
        }
        if leaf.ebx & 2 == 2 {
            *huge = Some(huge.map_or(tlb, |before| both(before, tlb)));
        }
    }

    fn read_amd(&mut self, cpuid: &dyn Fn(u32, u32) -> CpuIdResult) {
        let most = cpuid(0x8000_0000, 0).eax;
        if most >= 0x8000_0005 {
            let leaf = cpuid(0x8000_0005, 0);
            let l1 = |register: u32| amd_tlb(register & 0xff, amd_l1_ways(register >> 8 & 0xff));
            (self.l1_2m, self.l1_4k) = (l1(leaf.eax), l1(leaf.ebx));
        }
        if most >= 0x8000_0006 {
            let leaf = cpuid(0x8000_0006, 0);
            // L2TlbSizeX32; cpu_detect_tlb_amd of Linux 6.12 does not know it.
            let times = if most >= 0x8000_0021 && cpuid(0x8000_0021, 0).eax >> 14 & 1 == 1 { 32 } else { 1 };
            let l2 = |register: u32| amd_tlb((register & 0xfff) * times, amd_l2_ways(register >> 12 & 0xf));
            (self.l2_2m, self.l2_4k) = (l2(leaf.eax), l2(leaf.ebx));
        }
    }

    /// What of the table CPUID contradicts, one sentence each; empty if nothing.
    pub fn against(&self, core: &Core) -> Vec<String> {
        let geometry = core.geometry();
        let huge = |level: super::itlb::Level| level.huge.unwrap_or(level.small);
        let halves = core.cpuid_halves_l1;
        let mut differ = Vec::new();
        for (what, reported, table, half) in [
            ("L1, 4 KiB", self.l1_4k, geometry.l1.small, halves),
            ("L1, 2 MiB", self.l1_2m, huge(geometry.l1), false),
            ("L2, 4 KiB", self.l2_4k, geometry.l2.small, false),
            ("L2, 2 MiB", self.l2_2m, huge(geometry.l2), false),
        ] {
            let Some(Tlb { entries, .. }) = reported else { continue };
            if entries != table.entries() && !(half && entries * 2 == table.entries()) {
                differ.push(format!("{what}: CPUID says {entries} entries, the table {}", table.entries()));
            }
        }
        differ
    }
}

fn both(a: Tlb, b: Tlb) -> Tlb {
    let ways = a.ways.zip(b.ways).map(|(a, b)| a + b);
    Tlb { entries: a.entries.saturating_add(b.entries), ways }
}

fn amd_tlb(entries: u32, ways: Option<Option<u32>>) -> Option<Tlb> {
    ways.filter(|_| entries > 0).map(|ways| Tlb { entries, ways })
}

/// Leaf 0x80000005: the number itself, 0xff for fully associative.
fn amd_l1_ways(code: u32) -> Option<Option<u32>> {
    match code {
        0 => None,
        0xff => Some(None),
        ways => Some(Some(ways)),
    }
}

/// Leaf 0x80000006: a code of four bits.
fn amd_l2_ways(code: u32) -> Option<Option<u32>> {
    match code {
        0xf => Some(None),
        1..=4 => Some(Some(code)),
        5 => Some(Some(6)),
        6 => Some(Some(8)),
        8 => Some(Some(16)),
        _ => None,
    }
}

/// Of the signature in CPUID.1:EAX.
fn family_and_model(signature: u32) -> (u32, u32) {
    let field = |shift: u32, mask: u32| signature >> shift & mask;
    let (family, model) = (field(8, 0xf), field(4, 0xf));
    let extended = if family == 0xf { family + field(20, 0xff) } else { family };
    let wide = if family == 6 || family == 0xf { field(16, 0xf) << 4 } else { 0 };
    (extended, model | wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Leaf = ((u32, u32), [u32; 4]);

    fn read(dump: &[Leaf]) -> Reported {
        let answer = |leaf: u32, sub: u32| {
            let found = dump.iter().find(|(at, _)| *at == (leaf, sub)).map_or([0; 4], |(_, registers)| *registers);
            CpuIdResult { eax: found[0], ebx: found[1], ecx: found[2], edx: found[3] }
        };
        Reported::read(&answer)
    }

    fn tlb(entries: u32, ways: u32) -> Option<Tlb> {
        Some(Tlb { entries, ways: Some(ways) })
    }

    const INTEL: [u32; 3] = [0x756e_6547, 0x6c65_746e, 0x4965_6e69];
    const AMD: [u32; 3] = [0x6874_7541, 0x444d_4163, 0x6974_6e65];

    fn leaf0(most: u32, [ebx, ecx, edx]: [u32; 3]) -> Leaf {
        ((0, 0), [most, ebx, ecx, edx])
    }

    #[test]
    fn a_skylake_lists_its_descriptors_and_half_an_l1_where_smt_is_on() {
        let reported = read(&[
            leaf0(0x16, INTEL),
            ((1, 0), [0x0005_06e3, 0, 0, 0]),
            ((2, 0), [0x7603_6301, 0x00f0_b5ff, 0, 0x00c3_0000]),
        ]);
        assert_eq!((reported.family, reported.model, reported.hypervisor), (6, 0x5e, false));
        assert_eq!((reported.l1_4k, reported.l2_4k), (tlb(64, 8), tlb(1536, 6)));
        assert_eq!(reported.l1_2m, Some(Tlb { entries: 8, ways: None }));
        let core = Core::of(reported.cpu_id()).unwrap();
        assert_eq!(core.name, "skylake");
        assert_eq!(reported.against(core), Vec::<String>::new());
    }

    #[test]
    fn leaf_0x18_adds_up_the_two_arrays_of_a_golden_cove() {
        // ways and sizes; sets; kind, level, fully associative.
        let sub =
            |sub, ways: u32, sizes: u32, sets, kind_level| ((0x18, sub), [7, ways << 16 | sizes, sets, kind_level]);
        let reported = read(&[
            leaf0(0x20, INTEL),
            ((1, 0), [0x0009_0672, 0, 0, 0]),
            ((2, 0), [0x00fe_ff01, 0xf0, 0, 0]),
            ((0x1a, 0), [0x4000_0001, 0, 0, 0]),
            sub(0, 0, 0, 0, 0),
            sub(1, 8, 0b0001, 32, 2 | 1 << 5),
            sub(2, 8, 0b0110, 4, 2 | 1 << 5),
            sub(3, 6, 0b0001, 16, 4 | 1 << 5),
            sub(4, 8, 0b0111, 128, 3 | 2 << 5),
            sub(5, 8, 0b1001, 128, 3 | 2 << 5),
        ]);
        assert_eq!((reported.l1_4k, reported.l1_2m), (tlb(256, 8), tlb(32, 8)));
        assert_eq!((reported.l2_4k, reported.l2_2m), (tlb(2048, 16), tlb(1024, 8)));
        assert_eq!(reported.kind, Some(CoreKind::Performance));
        let core = Core::of(reported.cpu_id()).unwrap();
        assert_eq!((core.name.as_str(), reported.against(core)), ("golden-cove", Vec::new()));
    }

    #[test]
    fn a_zen4_guest_is_read_and_known_as_a_guest() {
        let reported = read(&[
            leaf0(0x1c, AMD),
            ((1, 0), [0x00a1_0f11, 0x0102_0800, 0xfffa_3203, 0x178b_fbff]),
            ((0x8000_0000, 0), [0x8000_0028, 0, 0, 0]),
            ((0x8000_0005, 0), [0xff48_ff40, 0xff48_ff40, 0, 0]),
            ((0x8000_0006, 0), [0x5c00_2200, 0x6c00_4200, 0, 0]),
            ((0x8000_0021, 0), [0x204, 0, 0, 0]),
        ]);
        assert_eq!((reported.family, reported.model, reported.hypervisor), (0x19, 0x11, true));
        assert_eq!(
            (reported.l1_4k, reported.l1_2m),
            (Some(Tlb { entries: 64, ways: None }), Some(Tlb { entries: 64, ways: None }))
        );
        assert_eq!((reported.l2_4k, reported.l2_2m), (tlb(512, 4), tlb(512, 2)));
        let core = Core::of(reported.cpu_id()).unwrap();
        assert_eq!((core.name.as_str(), reported.against(core)), ("zen4", Vec::new()));
    }

    #[test]
    fn the_x32_bit_of_a_zen5_multiplies_its_second_level() {
        let reported = read(&[
            leaf0(0x20, AMD),
            ((1, 0), [0x00b0_0f21, 0, 0, 0]),
            ((0x8000_0000, 0), [0x8000_0028, 0, 0, 0]),
            ((0x8000_0006, 0), [0x0000_6040, 0x0000_6040, 0, 0]),
            ((0x8000_0021, 0), [1 << 14, 0, 0, 0]),
        ]);
        assert_eq!(reported.l2_4k, tlb(2048, 8));
        assert_eq!(reported.against(Core::of(reported.cpu_id()).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn an_emulated_cpu_that_contradicts_the_table_is_found_out() {
        let reported = read(&[
            leaf0(0x10, AMD),
            ((1, 0), [0x00a0_0f11, 0, 1 << 31, 0]),
            ((0x8000_0000, 0), [0x8000_0008, 0, 0, 0]),
            ((0x8000_0005, 0), [0x01ff_01ff, 0x0140_0140, 0, 0]),
        ]);
        let core = Core::of(reported.cpu_id()).unwrap();
        assert_eq!(reported.against(core), ["L1, 2 MiB: CPUID says 255 entries, the table 64"]);
        assert!(reported.hypervisor);
    }

    #[test]
    fn this_cpu_answers() {
        let reported = Reported::here();
        assert_eq!(reported.vendor.len(), 12);
        assert!(reported.family >= 5);
    }
}
