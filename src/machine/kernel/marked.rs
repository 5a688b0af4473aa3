//! Counters whose windows an emulator can tell: each is fenced with marks that carry its number.

use super::{pagewalk, sys};
use crate::counters::{Group, Reading, Refusal};
use crate::machine::{self, Counters};

/// What the marks tell of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guide {
    /// Where it maps all memory, by which the emulator reads page tables.
    direct_map: u64,
    /// Where its image ends, and modules and BPF programs can begin; 0 if not known.
    kernel_end: u64,
}

impl Guide {
    /// Finds it out; the error says why page tables cannot be read.
    pub fn find() -> Result<Self, String> {
        Ok(Self { direct_map: pagewalk::direct_map()?, kernel_end: pagewalk::kernel_end().unwrap_or(0) })
    }
}

/// Other counters, with marks around their windows.
#[derive(Debug)]
pub struct Marked {
    counters: Box<dyn Counters>,
    guide: Guide,
    /// Number of the next window.
    next: u64,
}

impl Marked {
    /// Marks the windows of `counters`, from 0.
    pub fn new(counters: Box<dyn Counters>, guide: Guide) -> Self {
        Self { counters, guide, next: 0 }
    }
}

impl Counters for Marked {
    fn groups(&self) -> &[Group] {
        self.counters.groups()
    }

    fn refused(&self) -> &[Refusal] {
        self.counters.refused()
    }

    fn passes(&self) -> u32 {
        self.counters.passes()
    }

    fn select(&mut self, pass: u32) {
        self.counters.select(pass);
    }

    fn enable(&mut self) -> machine::Result<()> {
        self.counters.enable()?;
        sys::mark_begin(self.guide.direct_map, self.next, self.guide.kernel_end);
        self.next += 1;
        Ok(())
    }

    fn disable(&mut self) -> machine::Result<()> {
        sys::mark_end();
        self.counters.disable()
    }

    fn read(&mut self, into: &mut Vec<Reading>) -> machine::Result<()> {
        self.counters.read(into)
    }
}
