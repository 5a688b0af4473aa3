//! Waits until the memory of unloaded programs is free.
//!
//! The last put of a program frees its image only after an RCU grace period and on a work queue (`bpf_prog_free_deferred`).
//! Until then its chunks look taken, and loading the next trial meanwhile scatters it over the holes as they open.

use std::time::{Duration, Instant};

use libbpf_rs::{MapHandle, Object, ObjectBuilder, ProgramInput};

use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::Looks;
use crate::placement::mapping::look::REST;
use crate::placement::mapping::observed::pages_of;
use crate::placement::{Addr, Image, pack};
use crate::trial::Freed;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/peek.bpf.o"));
/// Grace periods are longer under load; a minute of waiting would be worse than a disturbed placement, which is verified.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// So long without a single free: what is left is somebody else's program of the same size, or a kernel that leaves freed text as it
/// was (5.18).
const STALLED: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(3);
/// Where kernel memory cannot be read: an average free takes 21 ms, most take less than this.
const BLIND_WAIT: Duration = Duration::from_millis(400);

/// What an image takes in memory, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub base: u64,
    pub bytes: u32,
}

impl Extent {
    /// The chunks of `image`.
    pub fn of(image: &Image) -> Self {
        Self { base: pack::base(image), bytes: pack::chunks(image.len) * pack::CHUNK_BYTES as u32 }
    }
}

/// What a freed chunk holds: INT3 in every byte.
const FREED: u32 = 0xcccc_cccc;

/// Watches freed memory.
#[derive(Debug)]
pub struct Settle {
    peek: Option<Object>,
    /// What was unloaded and may not be free yet.
    pending: Vec<Extent>,
    /// Arrays whose direct jumps lead to the empty program; see [`Maps::retire`](super::programs::Maps::retire).
    retired: Vec<MapHandle>,
}

impl Settle {
    /// Loads the peek program; where that is refused (lockdown=confidentiality) waiting is blind.
    pub fn watching() -> Self {
        let peek = ObjectBuilder::default().open_memory(OBJECT).and_then(|open| open.load()).ok();
        Self { peek, pending: Vec::new(), retired: Vec::new() }
    }

    /// Whether freed memory can be seen.
    pub fn sees(&self) -> bool {
        self.peek.is_some()
    }

    /// Where fillers really lie that should lie at `expected`, in the order of their loading; those that are found nowhere are left out.
    /// One that did not fit into a pack begins the next one, a page behind its end, and others follow it there.
    pub fn found(&self, expected: &[Extent]) -> Vec<Extent> {
        let (mut found, mut end, mut shift) = (Vec::with_capacity(expected.len()), 0, 0);
        for extent in expected {
            shift = if extent.base == end { shift } else { 0 };
            end = extent.base + u64::from(extent.bytes);
            let base = extent.base + shift;
            let next_pack =
                || (base.next_multiple_of(PAGE_BYTES)..=end + shift + 2 * PAGE_BYTES).step_by(PAGE_BYTES as usize);
            let Some(there) = std::iter::once(base).chain(next_pack()).find_map(|at| self.at(at, extent.bytes)) else {
                continue;
            };
            shift = there.base - extent.base;
            found.push(there);
        }
        found
    }

    /// The program that begins at `base`, if it is as large as `bytes` or little smaller: fillers may be a chunk or two too short.
    fn at(&self, base: u64, bytes: u32) -> Option<Extent> {
        const SLACK_BYTES: u32 = 2 * pack::CHUNK_BYTES as u32;
        let size = self.word(base).filter(|size| size.is_multiple_of(pack::CHUNK_BYTES as u32))?;
        (size > 0 && size <= bytes && bytes - size <= SLACK_BYTES).then_some(Extent { base, bytes: size })
    }

    /// Waits for one free, no longer than `longest`.
    pub fn wait_for(&self, extent: &Extent, longest: Duration) {
        let began = Instant::now();
        while self.holds(extent) && began.elapsed() < longest {
            std::thread::sleep(POLL);
        }
    }

    /// Whether a program of exactly that size begins there now; false where kernel memory cannot be read.
    fn holds(&self, extent: &Extent) -> bool {
        self.word(extent.base) == Some(extent.bytes)
    }

    /// Remembers what is being unloaded.
    pub fn unloaded(&mut self, extents: impl IntoIterator<Item = Extent>) {
        self.pending.extend(extents);
    }

    /// Keeps arrays until the programs that jump through them are gone.
    pub fn retired(&mut self, arrays: Vec<MapHandle>) {
        self.retired.extend(arrays);
    }

    /// Waits until all that was unloaded is free; returns the time it took. A kernel that does not pack unmaps what it frees.
    pub fn wait(&mut self, looks: &mut Looks, pack_bytes: Option<u64>) -> Duration {
        let waited = match pack_bytes {
            Some(_) => self.wait_for_frees(),
            None => self.wait_for_unmapping(looks),
        };
        self.retired.clear();
        waited
    }

    /// Until no page of what was unloaded is mapped; by the page tables, since a read may find what the TLB remembers.
    fn wait_for_unmapping(&mut self, looks: &mut Looks) -> Duration {
        let began = Instant::now();
        let pending = std::mem::take(&mut self.pending);
        let mut pages: Vec<u64> = pending.into_iter().map(|extent| Addr(extent.base).page()).collect();
        pages.sort_unstable();
        pages.dedup();
        let mut progressed = Instant::now();
        while !pages.is_empty() && began.elapsed() < LONGEST_WAIT && progressed.elapsed() < STALLED {
            let before = pages.len();
            match looks.leaves(&pages) {
                Ok(seen) => pages.retain(|page| seen.leaves.contains_key(page)),
                Err(_) if looks.sources().is_empty() => {
                    std::thread::sleep(BLIND_WAIT);
                    break;
                }
                Err(_) => {}
            }
            if pages.len() < before {
                progressed = Instant::now();
            }
            std::thread::sleep(POLL);
        }
        began.elapsed()
    }

    fn wait_for_frees(&mut self) -> Duration {
        let began = Instant::now();
        let mut pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Duration::ZERO;
        }
        if !self.sees() {
            std::thread::sleep(BLIND_WAIT);
            return began.elapsed();
        }
        let mut progressed = Instant::now();
        while began.elapsed() < LONGEST_WAIT && progressed.elapsed() < STALLED {
            let before = pending.len();
            // Once somebody else's program lies there, the word is not our size any more.
            pending.retain(|extent| self.holds(extent));
            if pending.is_empty() {
                break;
            }
            if pending.len() < before {
                progressed = Instant::now();
            }
            std::thread::sleep(POLL);
        }
        began.elapsed()
    }

    /// What is left where `images` lay. Whether a page is mapped is asked of the page tables: a read may still find what the TLB
    /// remembers. `None` where kernel memory cannot be read.
    pub fn freed(&self, images: &[Image], looks: &mut Looks) -> Option<Freed> {
        if !self.sees() {
            return None;
        }
        let leaves = looks.leaves_at_rest(&pages_of(images), REST).ok()?.leaves;
        let mut freed = Freed { images: images.len() as u32, ..Freed::default() };
        for image in images {
            if image.pages().any(|page| !leaves.contains_key(&page)) {
                freed.unmapped += 1;
            } else if self.is_poisoned(image) {
                freed.poisoned += 1;
            } else {
                freed.other += 1;
            }
        }
        Some(freed)
    }

    fn is_poisoned(&self, image: &Image) -> bool {
        let mut chunks = (pack::base(image)..pack::end(image)).step_by(pack::CHUNK_BYTES as usize);
        chunks.all(|address| self.word(address) == Some(FREED))
    }

    /// What lies at `address`: the size in `struct bpf_binary_header` as long as a program begins there. `None` if it cannot be read.
    fn word(&self, address: u64) -> Option<u32> {
        let program = self.peek.as_ref().and_then(|object| object.progs_mut().next())?;
        let mut context = address.to_ne_bytes();
        let input = ProgramInput { context_in: Some(&mut context), ..Default::default() };
        program.test_run(input).ok().map(|output| output.return_value)
    }
}
