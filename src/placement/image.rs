//! One program's JITed code: where it is and how long.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes in the page that a 4 KiB iTLB entry maps.
pub const PAGE_BYTES: u64 = 4096;
/// Bytes in the region that a 2 MiB iTLB entry maps.
pub const REGION_BYTES: u64 = 2 << 20;
/// Bytes in a cache line, the grain of offsets inside a page.
pub const LINE_BYTES: u64 = 64;

/// A kernel virtual address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Addr(pub u64);

impl Addr {
    /// Number of the 4 KiB page.
    pub fn page(self) -> u64 {
        self.0 / PAGE_BYTES
    }

    /// Number of the 2 MiB region.
    pub fn region(self) -> u64 {
        self.0 / REGION_BYTES
    }

    /// Cache line inside the page, 0 to 63.
    pub fn line_in_page(self) -> u32 {
        (self.0 % PAGE_BYTES / LINE_BYTES) as u32
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// JITed code of one function: `bpf_prog_info.jited_ksyms[i]` and `jited_func_lens[i]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Image {
    pub addr: Addr,
    /// Bytes of code, without header and exception table.
    pub len: u32,
}

impl Image {
    /// First address behind the code.
    pub fn end(&self) -> Addr {
        Addr(self.addr.0 + u64::from(self.len))
    }

    /// The 4 KiB pages that hold its code.
    pub fn pages(&self) -> std::ops::RangeInclusive<u64> {
        self.addr.page()..=Addr(self.end().0.max(self.addr.0 + 1) - 1).page()
    }

    /// The 2 MiB regions that hold its code.
    pub fn regions(&self) -> std::ops::RangeInclusive<u64> {
        self.addr.region()..=Addr(self.end().0.max(self.addr.0 + 1) - 1).region()
    }
}
