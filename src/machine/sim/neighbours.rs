//! Whoever else runs on the simulated CPU, and the meters that see it: a tick every 4 ms, a device now and then, and once
//! in a while a task that keeps the CPU from the trigger. The time it takes is wall time and no cycle of ours.

use std::cell::RefCell;
use std::rc::Rc;

use crate::counters::{Meter, MeterAbsence};
use crate::machine::{Meters, Result};

use super::cpu::Cpu;

const TICK_NS: u64 = 4_000_000;
/// One call of the trigger in so many meets another task, and one in so many a device.
const PREEMPTED_ONE_IN: u64 = 100;
const DEVICE_ONE_IN: u64 = 12;
/// For how long another task keeps the CPU.
const AWAY_NS: std::ops::Range<u64> = 200_000..4_000_000;

/// Has dice of its own: what it does changes no count.
#[derive(Debug)]
pub struct Neighbours {
    random: oorandom::Rand64,
    clock_ns: u64,
    devices: u64,
    switches: u64,
    waited_ns: u64,
}

impl Neighbours {
    /// Neighbours of a fresh CPU.
    pub fn new(seed: u64) -> Self {
        let random = oorandom::Rand64::new(u128::from(seed) ^ 0x6e65_6967);
        Self { random, clock_ns: 0, devices: 0, switches: 0, waited_ns: 0 }
    }

    /// The trigger runs for `ns`; for how long others kept it from running besides.
    pub fn during(&mut self, ns: u64) -> u64 {
        if self.random.rand_range(0..DEVICE_ONE_IN) == 0 {
            self.devices += 1;
        }
        let preempted = self.random.rand_range(0..PREEMPTED_ONE_IN) == 0;
        let away_ns = if preempted { self.random.rand_range(AWAY_NS) } else { 0 };
        self.switches += u64::from(preempted);
        self.waited_ns += away_ns;
        self.clock_ns += ns + away_ns;
        away_ns
    }

    fn values(&self) -> [u64; METERS.len()] {
        let ticks = self.clock_ns / TICK_NS;
        [self.switches, self.waited_ns, ticks, ticks, self.devices]
    }
}

const METERS: [Meter; 5] =
    [Meter::Switches, Meter::WaitedNs, Meter::TickSoftirqs, Meter::TimerInterrupts, Meter::DeviceInterrupts];

/// Meters of the simulated CPU.
#[derive(Debug)]
pub struct SimMeters {
    cpu: Rc<RefCell<Cpu>>,
    absent: Vec<MeterAbsence>,
}

impl SimMeters {
    /// Meters of `cpu`.
    pub fn new(cpu: Rc<RefCell<Cpu>>) -> Self {
        let meters = vec![Meter::Smis, Meter::Aperf, Meter::Mperf];
        let reason = "the simulated CPU has no such registers".to_owned();
        Self { cpu, absent: vec![MeterAbsence { meters, reason }] }
    }
}

impl Meters for SimMeters {
    fn meters(&self) -> &[Meter] {
        &METERS
    }

    fn absent(&self) -> &[MeterAbsence] {
        &self.absent
    }

    fn read(&mut self, into: &mut Vec<u64>) -> Result<()> {
        into.clear();
        into.extend(self.cpu.borrow().neighbours().values());
        Ok(())
    }
}
