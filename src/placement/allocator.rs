//! A model of the kernel's allocator: `bpf_prog_pack_alloc`, `bpf_prog_pack_free` and the start hole of
//! `bpf_jit_binary_pack_alloc` (kernel/bpf/core.c). The simulated machine loads into it, and the planner is tested against it.

use std::collections::BTreeMap;

use super::image::{Addr, Image, PAGE_BYTES, REGION_BYTES};
use super::pack::{self, CHUNK_BYTES, CHUNKS_PER_PAGE, HEADER_BYTES};
use super::planner::FillerKind;

/// First address of the module area without KASLR.
const AREA: u64 = 0xffff_ffff_c000_0000;
/// Bytes of the module area: `MODULES_LEN` with KASLR configured.
const AREA_BYTES: u64 = 1008 << 20;

/// How the kernel chooses among packs that have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackChoice {
    /// The first.
    First,
    /// Where freed text is flushed from the branch predictors before it is used again (2026): eBPF takes the first dirty pack,
    /// classic BPF the first clean one; where there is none the first of all. Classic BPF in a dirty pack flushes, which makes
    /// every pack clean; a free makes its pack dirty, and a new one is.
    DirtyOrClean,
}

/// Chunks in use: what has to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    slot: usize,
    first: u32,
    pub chunks: u32,
}

/// A place in the module area, large enough for a pack and the guard page of vmalloc.
#[derive(Debug)]
enum Slot {
    /// Free address space: taken again first.
    Gone,
    /// Part of an image larger than a pack, which gets an area of its own.
    Large,
    Pack(Pack),
}

#[derive(Debug)]
struct Pack {
    /// Free runs of chunks by their first chunk. The lowest long enough run is the lowest zero run of the kernel's bitmap.
    free: BTreeMap<u32, u32>,
    dirty: bool,
}

impl Pack {
    fn fit(&self, chunks: u32) -> Option<u32> {
        self.free.iter().find(|(_, len)| **len >= chunks).map(|(first, _)| *first)
    }
}

/// All packs.
#[derive(Debug)]
pub struct Allocator {
    base: Addr,
    choice: PackChoice,
    pack_chunks: u32,
    slots: Vec<Slot>,
    /// Packs in the order of creation, in which the kernel searches them (`list_add_tail`).
    order: Vec<usize>,
}

impl Allocator {
    /// Nothing allocated. KASLR moves the area by `shift` pages, and a pack has 2 MiB for each possible node.
    pub fn new(choice: PackChoice, shift: u64, nodes: u32) -> Self {
        let pack_chunks = nodes * (REGION_BYTES / CHUNK_BYTES) as u32;
        Self { base: Addr(AREA + shift * PAGE_BYTES), choice, pack_chunks, slots: Vec::new(), order: Vec::new() }
    }

    /// One pack with `programs` programs of others in it and holes where others have gone; KASLR moves the area.
    pub fn with_foreign(programs: u32, random: &mut oorandom::Rand64) -> Self {
        let mut packs = Self::new(PackChoice::First, random.rand_range(1..1025), 1);
        let mut gone = Vec::new();
        for program in 0..programs * 2 {
            let chunks = random.rand_range(1..12) as u32;
            // A fresh machine is far from full; the area has room for these.
            let Some(span) = packs.reserve(chunks, FillerKind::Extended) else { break };
            if program % 2 == 1 {
                gone.push(span);
            }
        }
        gone.into_iter().for_each(|span| packs.free(span));
        packs
    }

    /// Every pack there is: its first address and its bytes.
    pub fn packs(&self) -> Vec<(Addr, u64)> {
        let at = |slot: &usize| Addr(self.base.0 + *slot as u64 * self.slot_bytes());
        self.order.iter().map(|slot| (at(slot), self.pack_bytes())).collect()
    }

    /// Bytes of a pack.
    pub fn pack_bytes(&self) -> u64 {
        u64::from(self.pack_chunks) * CHUNK_BYTES
    }

    /// Reserves `chunks` for a program of `kind`; a new pack if no pack has room. `None` if the module area is full.
    pub fn reserve(&mut self, chunks: u32, kind: FillerKind) -> Option<Span> {
        if chunks > self.pack_chunks {
            return self.reserve_large(chunks);
        }
        let (slot, first) = match self.choose(chunks, kind) {
            Some(found) => found,
            None => (self.make_pack()?, 0),
        };
        if kind == FillerKind::Classic && self.pack(slot)?.dirty {
            self.flush();
        }
        let free = &mut self.pack(slot)?.free;
        let len = free.remove(&first)?;
        if len > chunks {
            free.insert(first + chunks, len - chunks);
        }
        Some(Span { slot, first, chunks })
    }

    fn choose(&self, chunks: u32, kind: FillerKind) -> Option<(usize, u32)> {
        let roomy = || {
            self.order.iter().filter_map(|&slot| match &self.slots[slot] {
                Slot::Pack(pack) => Some((slot, pack.fit(chunks)?, pack.dirty)),
                _ => None,
            })
        };
        let preferred = match self.choice {
            PackChoice::First => None,
            PackChoice::DirtyOrClean => roomy().find(|(_, _, dirty)| *dirty == (kind == FillerKind::Extended)),
        };
        preferred.or_else(|| roomy().next()).map(|(slot, first, _)| (slot, first))
    }

    fn flush(&mut self) {
        for slot in &mut self.slots {
            if let Slot::Pack(pack) = slot {
                pack.dirty = false;
            }
        }
    }

    fn pack(&mut self, slot: usize) -> Option<&mut Pack> {
        match self.slots.get_mut(slot)? {
            Slot::Pack(pack) => Some(pack),
            _ => None,
        }
    }

    /// Gives `span` back; a pack that is empty then goes back to the module area.
    pub fn free(&mut self, span: Span) {
        if span.chunks > self.pack_chunks {
            let end = span.slot + self.slots_for(span.chunks);
            self.slots[span.slot..end].iter_mut().for_each(|slot| *slot = Slot::Gone);
            return;
        }
        let whole = self.pack_chunks;
        let Some(pack) = self.pack(span.slot) else { return };
        pack.dirty = true;
        let (mut first, mut len) = (span.first, span.chunks);
        if let Some(behind) = pack.free.remove(&(first + len)) {
            len += behind;
        }
        if let Some((&before, &before_len)) = pack.free.range(..first).next_back()
            && before + before_len == first
        {
            (first, len) = (before, len + before_len);
        }
        pack.free.insert(first, len);
        if len == whole {
            self.slots[span.slot] = Slot::Gone;
            self.order.retain(|slot| *slot != span.slot);
        }
    }

    /// First address of `span`.
    pub fn addr(&self, span: Span) -> Addr {
        Addr(self.base.0 + span.slot as u64 * self.slot_bytes() + u64::from(span.first) * CHUNK_BYTES)
    }

    /// Where a program of `len` bytes lies in `span`: behind the header and a random hole in steps of four bytes.
    pub fn image(&self, span: Span, len: u32, random: &mut oorandom::Rand64) -> Image {
        let room = u64::from(span.chunks) * CHUNK_BYTES - HEADER_BYTES - u64::from(len);
        let hole = random.rand_range(0..room.min(CHUNK_BYTES - HEADER_BYTES)) & !3;
        Image { addr: Addr(self.addr(span).0 + HEADER_BYTES + hole), len }
    }

    /// Loads a program of `len` bytes.
    pub fn load(&mut self, len: u32, random: &mut oorandom::Rand64) -> Option<(Span, Image)> {
        let span = self.reserve(pack::chunks(len), FillerKind::Extended)?;
        Some((span, self.image(span, len, random)))
    }

    fn make_pack(&mut self) -> Option<usize> {
        let slot = self.slots.iter().position(|slot| matches!(slot, Slot::Gone)).unwrap_or(self.slots.len());
        if slot >= self.most_slots() {
            return None;
        }
        let fresh = Slot::Pack(Pack { free: BTreeMap::from([(0, self.pack_chunks)]), dirty: true });
        match self.slots.get_mut(slot) {
            Some(gone) => *gone = fresh,
            None => self.slots.push(fresh),
        }
        self.order.push(slot);
        Some(slot)
    }

    fn reserve_large(&mut self, chunks: u32) -> Option<Span> {
        let needed = self.slots_for(chunks);
        let gone = |slots: &[Slot]| slots.iter().all(|slot| matches!(slot, Slot::Gone));
        let slot = self.slots.windows(needed).position(gone).unwrap_or(self.slots.len());
        if slot + needed > self.most_slots() {
            return None;
        }
        self.slots.resize_with(self.slots.len().max(slot + needed), || Slot::Large);
        self.slots[slot..slot + needed].iter_mut().for_each(|slot| *slot = Slot::Large);
        Some(Span { slot, first: 0, chunks })
    }

    fn slots_for(&self, chunks: u32) -> usize {
        let pages = u64::from(chunks.div_ceil(CHUNKS_PER_PAGE)) + 1;
        (pages * PAGE_BYTES).div_ceil(self.slot_bytes()) as usize
    }

    fn slot_bytes(&self) -> u64 {
        self.pack_bytes() + PAGE_BYTES
    }

    fn most_slots(&self) -> usize {
        (AREA_BYTES / self.slot_bytes()) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK_CHUNKS: u32 = 32_768;

    fn empty() -> Allocator {
        Allocator::new(PackChoice::First, 0, 1)
    }

    fn take(packs: &mut Allocator, chunks: u32) -> Span {
        packs.reserve(chunks, FillerKind::Extended).expect("room")
    }

    #[test]
    fn the_lowest_hole_that_is_long_enough_is_taken() {
        let mut packs = empty();
        let spans: Vec<Span> = [2, 1, 2, 3, 2].iter().map(|&n| take(&mut packs, n)).collect();
        packs.free(spans[1]);
        packs.free(spans[3]);
        assert_eq!(take(&mut packs, 2).first, 5);
        assert_eq!(take(&mut packs, 1).first, 2);
        assert_eq!(take(&mut packs, 2).first, 10);
    }

    #[test]
    fn neighbouring_holes_become_one() {
        let mut packs = empty();
        let spans: Vec<Span> = (0..4).map(|_| take(&mut packs, 2)).collect();
        for i in [0, 2, 1] {
            packs.free(spans[i]);
        }
        assert_eq!(take(&mut packs, 6).first, 0);
    }

    #[test]
    fn a_full_pack_is_followed_by_one_behind_its_guard_page() {
        let mut packs = empty();
        let first = take(&mut packs, PACK_CHUNKS);
        let second = take(&mut packs, 1);
        assert_eq!(packs.addr(second).0 - packs.addr(first).0, REGION_BYTES + PAGE_BYTES);
        packs.free(first);
        assert_eq!(take(&mut packs, 1).slot, 1, "an empty pack is freed, a used one comes first");
        assert_eq!(take(&mut packs, PACK_CHUNKS).slot, 0, "its address is used again");
        assert_eq!(take(&mut packs, 1).slot, 1, "the pack made first is searched first, wherever it lies");
    }

    #[test]
    fn the_module_area_ends() {
        let mut packs = empty();
        for _ in 0..503 {
            take(&mut packs, PACK_CHUNKS);
        }
        assert_eq!(packs.reserve(1, FillerKind::Extended), None);
    }

    #[test]
    fn an_image_larger_than_a_pack_gets_an_area_of_its_own() {
        let mut packs = empty();
        take(&mut packs, 4);
        let large = take(&mut packs, PACK_CHUNKS + 1);
        assert_eq!((take(&mut packs, 4).slot, packs.addr(large).0 % PAGE_BYTES), (0, 0));
        let behind = take(&mut packs, PACK_CHUNKS);
        assert!(packs.addr(behind).0 >= packs.addr(large).0 + u64::from(large.chunks) * CHUNK_BYTES);
        packs.free(large);
        assert_eq!(take(&mut packs, PACK_CHUNKS).slot, large.slot);
    }

    #[test]
    fn a_pack_of_two_nodes_is_twice_as_long() {
        let mut packs = Allocator::new(PackChoice::First, 5, 2);
        let first = take(&mut packs, 2 * PACK_CHUNKS);
        let second = take(&mut packs, 1);
        assert_eq!(packs.addr(first).0, AREA + 5 * PAGE_BYTES);
        assert_eq!(packs.addr(second).0 - packs.addr(first).0, 2 * REGION_BYTES + PAGE_BYTES);
    }

    #[test]
    fn classic_programs_keep_out_of_dirty_packs_and_others_seek_them() {
        let mut packs = Allocator::new(PackChoice::DirtyOrClean, 0, 1);
        let slot = |packs: &mut Allocator, kind| packs.reserve(10, kind).expect("room").slot;
        let first = take(&mut packs, PACK_CHUNKS - 100);
        let old = take(&mut packs, 50);
        take(&mut packs, PACK_CHUNKS - 100);
        assert_eq!(first.slot, 0);
        assert_eq!(slot(&mut packs, FillerKind::Classic), 0, "both are dirty: the first, flushed");
        packs.free(old);
        assert_eq!(slot(&mut packs, FillerKind::Extended), 0, "dirtied by the free");
        assert_eq!(slot(&mut packs, FillerKind::Classic), 1, "the clean one");
    }

    #[test]
    fn an_image_stays_inside_its_chunks_behind_the_header() {
        let mut packs = empty();
        let mut random = oorandom::Rand64::new(1);
        for len in [20, 40, 41, 64, 256, 4096] {
            let span = take(&mut packs, pack::chunks(len));
            for _ in 0..100 {
                let image = packs.image(span, len, &mut random);
                let end = packs.addr(span).0 + u64::from(span.chunks) * CHUNK_BYTES;
                assert_eq!(pack::chunk_base(image.addr), packs.addr(span));
                assert!(image.addr.0 >= packs.addr(span).0 + HEADER_BYTES && image.end().0 <= end);
                assert_eq!(image.addr.0 % 4, 0);
            }
        }
    }
}
