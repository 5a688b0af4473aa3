//! Memory that holds generated code: mapped, written, made executable, called. All unsafe code of the twin is in this file.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

use crate::placement::image::REGION_BYTES;

/// How memory is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Pages {
    #[serde(rename = "4k")]
    Small,
    #[serde(rename = "2m")]
    Huge,
}

impl std::fmt::Display for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Small => "4k",
            Self::Huge => "2m",
        })
    }
}

/// Where pages of 2 MiB come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// Transparent huge pages, asked for by madvise(2).
    Transparent,
    /// The pool of hugetlbfs.
    Pool,
}

/// Executable memory, read-only once it is made; unmapped when dropped.
#[derive(Debug)]
pub struct Code {
    map: Mapping,
    /// Code begins here, on a multiple of 2 MiB.
    base: *mut u8,
    bytes: usize,
}

#[derive(Debug)]
struct Mapping {
    start: *mut c_void,
    bytes: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by us, and nothing that points into it outlives `self`. A failure leaves it mapped.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

impl Code {
    /// Maps enough for `parts` (offset and bytes), writes them, and makes the memory executable and no longer writable.
    pub fn new(parts: &[(usize, &[u8])], pages: Pages, supply: Supply) -> io::Result<Self> {
        let region = REGION_BYTES as usize;
        let needed = parts.iter().map(|(at, bytes)| at + bytes.len()).max().unwrap_or(1);
        let bytes = needed.next_multiple_of(region);
        let pool = pages == Pages::Huge && supply == Supply::Pool;
        // The kernel aligns a mapping of the pool; for any other one region more is enough to begin at a multiple.
        let room = if pool { bytes } else { bytes + region };
        let flags = if pool { MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB } else { MapFlags::PRIVATE };
        // SAFETY: a fresh private mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), room, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        let map = Mapping { start, bytes: room };
        let base = start.cast::<u8>().wrapping_add((start as usize).next_multiple_of(region) - start as usize);
        let code = Self { map, base, bytes };
        if !pool {
            code.advise(pages)?;
        }
        code.write(parts);
        code.seal()?;
        Ok(code)
    }

    fn advise(&self, pages: Pages) -> io::Result<()> {
        let advice = match pages {
            Pages::Small => Advice::LinuxNoHugepage,
            Pages::Huge => Advice::LinuxHugepage,
        };
        // SAFETY: the range is ours, and both pieces of advice leave its content as it is.
        Ok(unsafe { madvise(self.map.start, self.map.bytes, advice) }?)
    }

    fn write(&self, parts: &[(usize, &[u8])]) {
        for (at, bytes) in parts {
            // SAFETY: `at + bytes.len() <= self.bytes` by the way `new` reckons it, the memory is still writable, nothing
            // else points into it yet, and `bytes` lies in another mapping.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.add(*at), bytes.len()) };
        }
    }

    fn seal(&self) -> io::Result<()> {
        // SAFETY: the range is ours, and no reference to it exists that would go on writing.
        Ok(unsafe { mprotect(self.base.cast(), self.bytes, MprotectFlags::READ | MprotectFlags::EXEC) }?)
    }

    /// Calls the code at the begin with `count`; it must be of `stubs`, which returns once it has counted down to zero.
    #[inline]
    pub fn run(&self, count: u32) {
        // SAFETY: `base` points to code of `stubs` that `new` wrote and sealed. It follows the C convention: the count comes in
        // edi, only eax, edi and flags change, the stack is left alone, and it ends by ret after `count` (at least 1) steps.
        let entry: extern "sysv64" fn(u32) = unsafe { std::mem::transmute(self.base) };
        entry(count.max(1));
    }

    /// Addresses from and to.
    pub fn range(&self) -> (u64, u64) {
        (self.base as u64, self.base as u64 + self.bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::stubs::{self, Layout};

    fn chain(layout: Layout, stubs: u32) -> Code {
        let code = stubs::code(layout, &stubs::order(stubs, 1));
        let parts: Vec<(usize, &[u8])> = code.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        Code::new(&parts, Pages::Small, Supply::Transparent).expect("executable memory")
    }

    #[test]
    fn generated_code_runs_and_returns() {
        for layout in [Layout::Packed, Layout::Spread] {
            for stubs in [1, 2, 33, 600] {
                let code = chain(layout, stubs);
                [0, 1, 7, 100_000].into_iter().for_each(|count| code.run(count));
            }
        }
    }

    #[test]
    fn twice_the_jumps_take_about_twice_the_time() {
        let code = chain(Layout::Packed, 64);
        let time = |count| {
            let began = std::time::Instant::now();
            code.run(count);
            began.elapsed().as_nanos() as f64
        };
        // In turns, and again where other work on the CPU fell upon one of the two.
        let ratio = |_| {
            let (mut once, mut twice) = (f64::MAX, f64::MAX);
            for _ in 0..15 {
                once = once.min(time(2_000_000));
                twice = twice.min(time(4_000_000));
            }
            twice / once
        };
        let ratios: Vec<f64> = (0..40).map(ratio).take_while(|ratio| !(1.5..2.7).contains(ratio)).collect();
        assert!(ratios.len() < 40, "{ratios:?}");
    }

    #[test]
    fn the_clock_code_returns() {
        let code = stubs::clock_code();
        Code::new(&[(0, &code)], Pages::Small, Supply::Transparent).expect("executable memory").run(10);
    }

    #[test]
    fn memory_goes_when_the_code_is_dropped() {
        // A size that no other test maps: its memory might come to lie where this one's was.
        let code = chain(Layout::Spread, 777);
        let (from, _) = code.range();
        let mapped = || std::fs::read_to_string("/proc/self/maps").expect("maps").contains(&format!("{from:x}-"));
        assert!(mapped());
        drop(code);
        assert!(!mapped());
    }
}
