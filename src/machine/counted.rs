//! Groups over a source, as the seam wants them.

use super::{Counters, MachineError, Result};
use crate::counters::set::{CountError, CounterSet};
use crate::counters::source::Source;
use crate::counters::{Group, Reading, Refusal};

impl From<CountError> for MachineError {
    fn from(error: CountError) -> Self {
        Self::failed(error.to_string())
    }
}

impl<S: Source> Counters for CounterSet<S> {
    fn groups(&self) -> &[Group] {
        self.groups()
    }

    fn refused(&self) -> &[Refusal] {
        self.refused()
    }

    fn passes(&self) -> u32 {
        self.passes()
    }

    fn select(&mut self, pass: u32) {
        self.select(pass);
    }

    fn enable(&mut self) -> Result<()> {
        Ok(self.enable()?)
    }

    fn disable(&mut self) -> Result<()> {
        Ok(self.disable()?)
    }

    fn read(&mut self, into: &mut Vec<Reading>) -> Result<()> {
        Ok(self.read(into)?)
    }
}
