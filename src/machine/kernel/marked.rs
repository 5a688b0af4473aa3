//! Counters whose windows an emulator can tell: each is fenced with marks that carry its number.

use super::sys;
use crate::counters::{Group, Reading, Refusal};
use crate::machine::{Counters, Result};

/// Other counters, with marks around their windows.
#[derive(Debug)]
pub struct Marked {
    counters: Box<dyn Counters>,
    /// Where the kernel maps all memory, by which the emulator reads page tables.
    direct_map: u64,
    /// Number of the next window.
    next: u64,
}

impl Marked {
    /// Marks the windows of `counters`, from 0.
    pub fn new(counters: Box<dyn Counters>, direct_map: u64) -> Self {
        Self { counters, direct_map, next: 0 }
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

    fn enable(&mut self) -> Result<()> {
        self.counters.enable()?;
        sys::mark_begin(self.direct_map, self.next);
        self.next += 1;
        Ok(())
    }

    fn disable(&mut self) -> Result<()> {
        sys::mark_end();
        self.counters.disable()
    }

    fn read(&mut self, into: &mut Vec<Reading>) -> Result<()> {
        self.counters.read(into)
    }
}
