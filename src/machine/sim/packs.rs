//! The kernel's pack allocator: `bpf_prog_pack_alloc`, `bpf_prog_pack_free` and the start hole of
//! `bpf_jit_binary_pack_alloc` (kernel/bpf/core.c).

use std::collections::BTreeMap;

use crate::machine::MachineError;
use crate::placement::image::{PAGE_BYTES, REGION_BYTES};
use crate::placement::{Addr, Image, pack};

/// First address of the module area without KASLR.
const AREA: u64 = 0xffff_ffff_c000_0000;
/// Packs in the 1008 MiB module area: each 2 MiB and the guard page of vmalloc.
const MOST_PACKS: usize = 503;
/// Chunks in a pack.
const PACK_CHUNKS: u32 = (REGION_BYTES / pack::CHUNK_BYTES) as u32;
/// `struct bpf_binary_header` at the start of the first chunk.
const HEADER_BYTES: u64 = 8;

/// Chunks in use: what has to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pack: usize,
    first: u32,
    chunks: u32,
}

/// All packs, in the order in which they were made.
#[derive(Debug)]
pub struct Packs {
    base: Addr,
    /// Free runs of chunks by their first chunk. The lowest long enough run is the lowest zero run of the bitmap that the
    /// kernel keeps. `None`: the pack was freed, since it was empty; its address is taken again first.
    packs: Vec<Option<BTreeMap<u32, u32>>>,
}

impl Packs {
    /// One pack with `programs` programs of others in it and holes where others have gone; KASLR moves the area.
    pub fn with_foreign(programs: u32, random: &mut oorandom::Rand64) -> Self {
        let base = Addr(AREA + random.rand_range(1..1025) * PAGE_BYTES);
        let mut packs = Self { base, packs: Vec::new() };
        let mut gone = Vec::new();
        for program in 0..programs * 2 {
            let chunks = random.rand_range(1..12) as u32;
            // A fresh machine is far from full; the area has room for these.
            let Some(span) = packs.reserve(chunks) else { break };
            if program % 2 == 1 {
                gone.push(span);
            }
        }
        gone.into_iter().for_each(|span| packs.free(span));
        packs
    }

    /// Reserves `chunks`, first fit; a new pack if no pack has room. `None` if the module area is full.
    pub fn reserve(&mut self, chunks: u32) -> Option<Span> {
        let fit = |free: &BTreeMap<u32, u32>| free.iter().find(|(_, len)| **len >= chunks).map(|(first, _)| *first);
        let found = self.packs.iter().enumerate().find_map(|(i, free)| Some((i, fit(free.as_ref()?)?)));
        let (pack, first) = match found {
            Some(found) => found,
            None => (self.make_pack()?, 0),
        };
        let free = self.packs[pack].as_mut()?;
        let len = free.remove(&first)?;
        if len > chunks {
            free.insert(first + chunks, len - chunks);
        }
        Some(Span { pack, first, chunks })
    }

    /// Gives `span` back; a pack that is empty then goes back to the module area.
    pub fn free(&mut self, span: Span) {
        let Some(free) = self.packs[span.pack].as_mut() else { return };
        let (mut first, mut len) = (span.first, span.chunks);
        if let Some(behind) = free.remove(&(first + len)) {
            len += behind;
        }
        if let Some((&before, &before_len)) = free.range(..first).next_back()
            && before + before_len == first
        {
            (first, len) = (before, len + before_len);
        }
        free.insert(first, len);
        if len == PACK_CHUNKS {
            self.packs[span.pack] = None;
        }
    }

    /// First address of `span`.
    pub fn addr(&self, span: Span) -> Addr {
        let pack = span.pack as u64 * (REGION_BYTES + PAGE_BYTES);
        Addr(self.base.0 + pack + u64::from(span.first) * pack::CHUNK_BYTES)
    }

    /// Where a program of `len` bytes lies in `span`: behind the header and a random hole in steps of four bytes.
    pub fn image(&self, span: Span, len: u32, random: &mut oorandom::Rand64) -> Image {
        let room = u64::from(span.chunks) * pack::CHUNK_BYTES - HEADER_BYTES - u64::from(len);
        let hole = random.rand_range(0..room.min(pack::CHUNK_BYTES - HEADER_BYTES)) & !3;
        Image { addr: Addr(self.addr(span).0 + HEADER_BYTES + hole), len }
    }

    fn make_pack(&mut self) -> Option<usize> {
        let index = self.packs.iter().position(Option::is_none).unwrap_or(self.packs.len());
        if index >= MOST_PACKS {
            return None;
        }
        let fresh = Some(BTreeMap::from([(0, PACK_CHUNKS)]));
        match self.packs.get_mut(index) {
            Some(slot) => *slot = fresh,
            None => self.packs.push(fresh),
        }
        Some(index)
    }
}

/// What the kernel says when the module area is full.
pub fn full(loaded: usize, programs: u32) -> MachineError {
    MachineError::host_cannot(
        format!("failed to load program {} of {programs}: error 524 (ENOTSUPP): the JIT memory is full", loaded + 1),
        "ask for fewer programs with `--programs`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Packs {
        Packs { base: Addr(AREA), packs: Vec::new() }
    }

    #[test]
    fn the_lowest_hole_that_is_long_enough_is_taken() {
        let mut packs = empty();
        let spans: Vec<Span> = [2, 1, 2, 3, 2].iter().map(|&n| packs.reserve(n).expect("room")).collect();
        packs.free(spans[1]);
        packs.free(spans[3]);
        assert_eq!(packs.reserve(2).expect("room").first, 5);
        assert_eq!(packs.reserve(1).expect("room").first, 2);
        assert_eq!(packs.reserve(2).expect("room").first, 10);
    }

    #[test]
    fn neighbouring_holes_become_one() {
        let mut packs = empty();
        let spans: Vec<Span> = (0..4).map(|_| packs.reserve(2).expect("room")).collect();
        for i in [0, 2, 1] {
            packs.free(spans[i]);
        }
        assert_eq!(packs.reserve(6).expect("room").first, 0);
    }

    #[test]
    fn a_full_pack_is_followed_by_one_behind_its_guard_page() {
        let mut packs = empty();
        let first = packs.reserve(PACK_CHUNKS).expect("room");
        let second = packs.reserve(1).expect("room");
        assert_eq!(packs.addr(second).0 - packs.addr(first).0, REGION_BYTES + PAGE_BYTES);
        packs.free(first);
        assert_eq!(packs.reserve(1).expect("room").pack, 1, "an empty pack is freed, a used one comes first");
        assert_eq!(packs.reserve(PACK_CHUNKS).expect("room").pack, 0, "its address is used again");
    }

    #[test]
    fn the_module_area_ends() {
        let mut packs = empty();
        for _ in 0..MOST_PACKS {
            packs.reserve(PACK_CHUNKS).expect("room");
        }
        assert_eq!(packs.reserve(1), None);
    }

    #[test]
    fn an_image_stays_inside_its_chunks_behind_the_header() {
        let mut packs = empty();
        let mut random = oorandom::Rand64::new(1);
        for len in [20, 40, 41, 64, 256, 4096] {
            let span = packs.reserve(pack::chunks(len)).expect("room");
            for _ in 0..100 {
                let image = packs.image(span, len, &mut random);
                let end = packs.addr(span).0 + u64::from(span.chunks) * pack::CHUNK_BYTES;
                assert_eq!(pack::chunk_base(image.addr), packs.addr(span));
                assert!(image.addr.0 >= packs.addr(span).0 + HEADER_BYTES && image.end().0 <= end);
                assert_eq!(image.addr.0 % 4, 0);
            }
        }
    }
}
