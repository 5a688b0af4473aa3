//! Whose code an address is.

use serde::{Deserialize, Serialize};

use crate::placement::Image;

/// Whose code was sampled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "owner", content = "name", rename_all = "kebab-case")]
pub enum Owner {
    /// The measured program at that place in the order of visits.
    Measured(u32),
    /// Another program of ours: entry, filler or plug.
    Tool,
    /// A BPF program, trampoline or dispatcher of others.
    Foreign(String),
    /// A function of the kernel or of a module.
    Kernel(String),
    User,
    /// A kernel address that no symbol covers.
    Unknown,
}

impl Owner {
    /// The kind, as reports add it up.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Measured(_) => "measured programs",
            Self::Tool => "other programs of ours",
            Self::Foreign(_) => "programs of others",
            Self::Kernel(_) => "kernel text",
            Self::User => "user space",
            Self::Unknown => "unknown",
        }
    }
}

/// A symbol of kernel text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Symbol {
    addr: u64,
    name: String,
    bpf: bool,
}

/// The text symbols of the running kernel, BPF programs among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// By address.
    sorted: Vec<Symbol>,
}

/// What the kernel appends to the name of a program of ours.
const OURS: &str = "_itlbench";

impl Symbols {
    /// Reads `/proc/kallsyms`. Hidden addresses (kptr_restrict) are all 0 and make every kernel address unknown.
    pub fn parse(kallsyms: &str) -> Self {
        let mut sorted: Vec<Symbol> = kallsyms.lines().filter_map(symbol).collect();
        sorted.sort_by_key(|symbol| symbol.addr);
        Self { sorted }
    }

    /// The symbol at or below `addr`.
    fn below(&self, addr: u64) -> Option<&Symbol> {
        let behind = self.sorted.partition_point(|symbol| symbol.addr <= addr);
        self.sorted.get(behind.checked_sub(1)?)
    }

    /// Whose code `addr` is; `images` are the measured programs in the order of visits.
    pub fn owner(&self, addr: u64, images: &ByAddress) -> Owner {
        if addr >> 63 == 0 {
            return Owner::User;
        }
        if let Some(program) = images.program(addr) {
            return Owner::Measured(program);
        }
        match self.below(addr) {
            Some(symbol) if symbol.bpf && symbol.name.ends_with(OURS) => Owner::Tool,
            Some(symbol) if symbol.bpf => Owner::Foreign(symbol.name.clone()),
            Some(symbol) => Owner::Kernel(symbol.name.clone()),
            None => Owner::Unknown,
        }
    }
}

/// `ffffffffc0048108 t bpf_prog_6deef7357e7b4530_itlbench [bpf]`; `None` for data and hidden addresses.
fn symbol(line: &str) -> Option<Symbol> {
    let mut words = line.split_ascii_whitespace();
    let addr = u64::from_str_radix(words.next()?, 16).ok().filter(|addr| *addr != 0)?;
    let is_text = matches!(words.next()?, "t" | "T" | "w" | "W");
    let name = words.next()?.to_owned();
    let bpf = words.next() == Some("[bpf]");
    is_text.then_some(Symbol { addr, name, bpf })
}

/// Measured programs sorted by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByAddress {
    sorted: Vec<(Image, u32)>,
}

impl ByAddress {
    /// Sorts `images`, which come in the order of visits.
    pub fn new(images: &[Image]) -> Self {
        let mut sorted: Vec<(Image, u32)> = images.iter().copied().zip(0..).collect();
        sorted.sort_by_key(|(image, _)| image.addr.0);
        Self { sorted }
    }

    fn program(&self, addr: u64) -> Option<u32> {
        let behind = self.sorted.partition_point(|(image, _)| image.addr.0 <= addr);
        let (image, program) = self.sorted.get(behind.checked_sub(1)?)?;
        (addr - image.addr.0 < u64::from(image.len)).then_some(*program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Addr;

    const KALLSYMS: &str = "\
ffffffff81000000 T _stext
ffffffff81a00100 t bpf_test_run
ffffffff82000000 D some_data
ffffffffc0048000 t bpf_prog_aaaa_itlbench\t[bpf]
ffffffffc0048100 t bpf_prog_bbbb_itlbench\t[bpf]
ffffffffc0049000 t bpf_prog_cccc_sd_devices\t[bpf]
ffffffffc0050000 t nf_hook_slow\t[nf_tables]
";

    #[test]
    fn every_kind_of_owner_is_told_apart() {
        let symbols = Symbols::parse(KALLSYMS);
        let image = |addr, len| Image { addr: Addr(addr), len };
        let images = ByAddress::new(&[image(0xffff_ffff_c004_8200, 16), image(0xffff_ffff_c004_8100, 121)]);
        let kernel = |name: &str| Owner::Kernel(name.to_owned());
        for (addr, expected) in [
            (0x7f00_0000_1000, Owner::User),
            (0xffff_ffff_c004_8100, Owner::Measured(1)),
            (0xffff_ffff_c004_8178, Owner::Measured(1)),
            (0xffff_ffff_c004_8179, Owner::Tool),
            (0xffff_ffff_c004_820f, Owner::Measured(0)),
            (0xffff_ffff_c004_8004, Owner::Tool),
            (0xffff_ffff_c004_9010, Owner::Foreign("bpf_prog_cccc_sd_devices".to_owned())),
            (0xffff_ffff_81a0_0123, kernel("bpf_test_run")),
            (0xffff_ffff_8200_0010, kernel("bpf_test_run")),
            (0xffff_ffff_c005_0001, kernel("nf_hook_slow")),
            (0xffff_ffff_8000_0000, Owner::Unknown),
        ] {
            assert_eq!(symbols.owner(addr, &images), expected, "{addr:#x}");
        }
    }

    #[test]
    fn hidden_addresses_leave_the_kernel_unknown() {
        let symbols = Symbols::parse("0000000000000000 T _stext\n0000000000000000 t f\n");
        assert_eq!(symbols.owner(0xffff_ffff_8100_0000, &ByAddress::default()), Owner::Unknown);
    }
}
