//! Memory of the simulated kernel: packs, what lies in their chunks, and how pages are mapped.

use std::collections::{BTreeSet, HashMap};

use crate::placement::allocator::{Allocator, PackChoice, Span};
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::PageSize;
use crate::placement::pack::{self, CHUNK_BYTES};
use crate::placement::planner::FillerKind;
use crate::placement::{Addr, Image};
use crate::selftest::body::{Body, Kind};
use crate::selftest::trace::{Left, Mapped, MappedPage, Place};

/// A loaded program.
#[derive(Clone, Debug)]
pub struct Program {
    pub body: Body,
    pub places: Vec<Place>,
    spans: Vec<Span>,
}

impl Program {
    /// Bytes of all its chunks.
    pub fn bytes(&self) -> u64 {
        self.spans.iter().map(|span| u64::from(span.chunks) * CHUNK_BYTES).sum()
    }
}

/// How a load goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wrong {
    /// It is put into the second hole that is long enough.
    pub second_fit: bool,
}

/// Packs and their contents.
#[derive(Debug)]
pub struct Memory {
    packs: Allocator,
    random: oorandom::Rand64,
    /// Of every chunk in use, what stands for its bytes.
    contents: HashMap<u64, u32>,
    foreign: Vec<Image>,
}

/// Entries of an exception table that an image has behind its code, in bytes.
const EXTABLE_BYTES: u32 = 3 * 12;

/// Of an image of megabytes no check looks at more.
const MOST_CHUNKS: u32 = 256;

impl Memory {
    /// A pack with programs of others, and holes between them.
    pub fn new(seed: u64) -> Self {
        let mut random = oorandom::Rand64::new(u128::from(seed));
        let mut packs = Allocator::new(PackChoice::First, random.rand_range(1..1025), 1);
        let mut foreign = Vec::new();
        for at in 0..24u32 {
            let len = random.rand_range(20..900) as u32;
            let Some((span, image)) = packs.load(len, &mut random) else { break };
            if at % 3 == 2 { packs.free(span) } else { foreign.push(image) }
        }
        Self { packs, random, contents: HashMap::new(), foreign }
    }

    pub fn pack_bytes(&self) -> u64 {
        self.packs.pack_bytes()
    }

    /// How many packs there are.
    pub fn packs(&self) -> u32 {
        self.packs.packs().len() as u32
    }

    pub fn foreign(&self) -> &[Image] {
        &self.foreign
    }

    /// Loads `body`; `None` if the module area is full.
    pub fn load(&mut self, body: Body, wrong: Wrong) -> Option<Program> {
        let mut program = Program { body, places: Vec::new(), spans: Vec::new() };
        let kind = if body.kind == Kind::Classic { FillerKind::Classic } else { FillerKind::Extended };
        for len in lengths(&body) {
            let chunks = pack::chunks(len + if body.kind == Kind::Extable { EXTABLE_BYTES } else { 0 });
            let skipped = wrong.second_fit.then(|| self.packs.reserve(chunks, kind)).flatten();
            let reserved = self.packs.reserve(chunks, kind);
            skipped.into_iter().for_each(|span| self.packs.free(span));
            let Some(span) = reserved else {
                program.spans.iter().for_each(|span| self.packs.free(*span));
                return None;
            };
            program.spans.push(span);
            self.fill(span);
            if kind == FillerKind::Extended {
                let image = self.packs.image(span, len, &mut self.random);
                program.places.push(Place { image, pack: self.pack_of(image.addr) });
            }
        }
        Some(program)
    }

    fn fill(&mut self, span: Span) {
        let base = self.packs.addr(span).0;
        for chunk in 0..u64::from(span.chunks.min(MOST_CHUNKS)) {
            self.contents.insert(base + chunk * CHUNK_BYTES, self.random.rand_u64() as u32);
        }
    }

    fn pack_of(&self, addr: Addr) -> Option<Addr> {
        self.packs.packs().into_iter().map(|(start, _)| start).filter(|start| *start <= addr).max()
    }

    /// Gives the chunks back; `scribble` changes the one behind as well.
    pub fn free(&mut self, program: &Program, scribble: bool) {
        for span in &program.spans {
            let base = self.packs.addr(*span).0;
            let end = base + u64::from(span.chunks) * CHUNK_BYTES;
            for chunk in (base..end).step_by(CHUNK_BYTES as usize).take(MOST_CHUNKS as usize) {
                self.contents.remove(&chunk);
            }
            if scribble && let Some(behind) = self.contents.get_mut(&end) {
                *behind ^= 0xcc;
            }
            self.packs.free(*span);
        }
    }

    /// The size in the header of `image`.
    pub fn header(&self, program: &Program, image: &Image) -> u32 {
        let base = pack::chunk_base(image.addr);
        let span = program.spans.iter().find(|span| self.packs.addr(**span) == base);
        span.map_or(0, |span| span.chunks * CHUNK_BYTES as u32)
    }

    /// What stands for all bytes of `image`.
    pub fn digest(&self, image: &Image) -> u32 {
        chunks_of(image).fold(0, |sum, chunk| sum.rotate_left(5) ^ self.contents.get(&chunk).copied().unwrap_or(0))
    }

    /// What lies where `image` was.
    pub fn left(&self, image: &Image, stale: bool) -> Left {
        let mapped = self.packs.packs().iter().any(|(start, bytes)| (start.0..start.0 + bytes).contains(&image.addr.0));
        match (stale, mapped) {
            (true, _) => Left::Stale { bytes: image.len },
            (false, false) => Left::Unmapped,
            (false, true) if chunks_of(image).any(|chunk| self.contents.contains_key(&chunk)) => Left::Taken,
            (false, true) => Left::Filled,
        }
    }

    /// How the pages of `images` are mapped.
    pub fn mapped(&self, images: impl Iterator<Item = Image>, writable: bool) -> Vec<MappedPage> {
        let pages: BTreeSet<u64> = images.flat_map(|image| image.pages()).collect();
        let small = |writable, executable| Some(Mapped { size: PageSize::Small, writable, executable });
        pages
            .into_iter()
            .map(|page| MappedPage { page, of_module: false, text: small(writable, true), alias: small(false, false) })
            .collect()
    }

    /// Packs, and areas of images too large for one.
    pub fn areas<'p>(&self, programs: impl Iterator<Item = &'p Program>) -> Vec<(Addr, u64)> {
        let mut areas = self.packs.packs();
        let bytes = |span: &Span| u64::from(span.chunks) * CHUNK_BYTES;
        let large = programs.flat_map(|program| &program.spans).filter(|span| bytes(span) > self.pack_bytes());
        areas.extend(large.map(|span| (self.packs.addr(*span), bytes(span).next_multiple_of(PAGE_BYTES))));
        areas.sort_unstable();
        areas
    }
}

fn chunks_of(image: &Image) -> impl Iterator<Item = u64> + use<> {
    (pack::base(image)..pack::end(image)).step_by(CHUNK_BYTES as usize)
}

/// Lengths of the images of a program, as a JIT might make them.
fn lengths(body: &Body) -> Vec<u32> {
    let (fixed, step) = match body.kind {
        Kind::Long => (30, 14),
        Kind::Classic if body.steps > 1000 => (30, 10),
        _ => (30, 6),
    };
    let images = match body.kind {
        Kind::Subprograms | Kind::TailCalls => body.parts + 1,
        _ => 1,
    };
    vec![fixed + body.steps * step; images as usize]
}
