//! Counters and meters around the trigger: one window after the other, with nothing else in between.

use super::record::Sample;
use super::runner::Instruments;
use crate::counters::Reading;
use crate::machine::{Counters, Loaded, Meters, Result, Target};

/// Counters and meters around the trigger.
pub(super) struct Bracket<'a> {
    pub(super) counters: &'a mut dyn Counters,
    meters: &'a mut dyn Meters,
    loaded: &'a mut dyn Loaded,
    /// The pass whose groups count.
    pass: u32,
    last: Vec<Reading>,
    metered: Vec<u64>,
    executions_per_run: u32,
}

impl<'a> Bracket<'a> {
    pub(super) fn new(
        loaded: &'a mut dyn Loaded,
        instruments: &'a mut Instruments<'_>,
        executions_per_run: u32,
    ) -> Self {
        let (counters, meters) = (&mut *instruments.counters, &mut *instruments.meters);
        Self { counters, meters, loaded, pass: 0, last: Vec::new(), metered: Vec::new(), executions_per_run }
    }

    /// Lets the groups of `pass` count from here on, and reads counters and meters for the first time.
    pub(super) fn enter(&mut self, pass: u32) -> Result<()> {
        self.pass = pass;
        self.counters.select(pass);
        self.counters.read(&mut self.last)?;
        self.meters.read(&mut self.metered)
    }

    pub(super) fn windows(&mut self, target: Target, runs: u32, count: u32, into: &mut Vec<Sample>) -> Result<()> {
        self.loaded.prepare(target)?;
        for _ in 0..count {
            into.push(self.window(target, runs)?);
        }
        Ok(())
    }

    /// One window. Between enable and disable there is nothing but the trigger; the meters are read after the counters, so that
    /// a window's share of them covers a little more than the window.
    pub(super) fn window(&mut self, target: Target, runs: u32) -> Result<Sample> {
        let mut now = Vec::with_capacity(self.last.len());
        self.counters.enable()?;
        let fired = self.loaded.fire(target, runs);
        self.counters.disable()?;
        let fired = fired?;
        self.counters.read(&mut now)?;
        let readings: Vec<Reading> = now.iter().zip(&self.last).map(|(now, last)| now.since(last)).collect();
        self.last = now;
        let meters = self.meter()?;
        let executions = match target {
            Target::Programs => u64::from(runs) * u64::from(self.executions_per_run),
            Target::Empty => 0,
        };
        let groups = self.counters.groups().iter().zip(&readings);
        let discarded = groups.filter(|(group, _)| group.is_in(self.pass)).find_map(|(_, reading)| reading.unusable());
        Ok(Sample { runs: runs.into(), executions, wall_ns: fired.wall_ns, readings, meters, discarded })
    }

    /// What the meters went on by since they were read last.
    fn meter(&mut self) -> Result<Vec<u64>> {
        let mut now = Vec::with_capacity(self.metered.len());
        self.meters.read(&mut now)?;
        let share = now.iter().zip(&self.metered).map(|(now, last)| now.wrapping_sub(*last)).collect();
        self.metered = now;
        Ok(share)
    }
}
