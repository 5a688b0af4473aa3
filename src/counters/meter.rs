//! Noise meters: what else ran on the CPU of the windows, as counters that only grow and are read outside the windows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One counter that tells of a disturbance; the window's share is the difference of two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meter {
    /// Local timer interrupts: the scheduler's tick and timers of others.
    TimerInterrupts,
    /// Rescheduling, function call and TLB shootdown interrupts from other CPUs.
    CpuInterrupts,
    /// Interrupts of devices.
    DeviceInterrupts,
    /// The rest: NMI, performance monitoring, thermal, machine check, hypervisor callback.
    OtherInterrupts,
    /// Softirqs that a tick raises: TIMER, SCHED, HRTIMER, RCU.
    TickSoftirqs,
    /// Softirqs of network, block devices and tasklets.
    OtherSoftirqs,
    /// Times that the measuring thread was put on a CPU anew.
    Switches,
    /// Nanoseconds that the measuring thread was ready and another ran.
    WaitedNs,
    /// Time the hypervisor ran something else, in clock ticks of 10 ms.
    StealTicks,
    /// System management interrupts, of which no kernel knows otherwise.
    Smis,
    /// Cycles at the actual frequency; with [`Meter::Mperf`] the effective frequency.
    Aperf,
    /// Cycles at the nominal frequency while the core was awake.
    Mperf,
}

impl Meter {
    /// The unit of a difference, as a reader of a report knows it.
    pub fn words(self) -> &'static str {
        match self {
            Self::TimerInterrupts => "timer interrupts",
            Self::CpuInterrupts => "interrupts from other CPUs",
            Self::DeviceInterrupts => "device interrupts",
            Self::OtherInterrupts => "other interrupts",
            Self::TickSoftirqs => "tick softirqs",
            Self::OtherSoftirqs => "network, block and tasklet softirqs",
            Self::Switches => "context switches",
            Self::WaitedNs => "ns waiting for the CPU",
            Self::StealTicks => "ticks of 10 ms stolen by the hypervisor",
            Self::Smis => "system management interrupts",
            Self::Aperf => "aperf cycles",
            Self::Mperf => "mperf cycles",
        }
    }
}

/// Meters that this host does not offer, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterAbsence {
    pub meters: Vec<Meter>,
    pub reason: String,
}

impl fmt::Display for MeterAbsence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.meters.iter().map(|meter| meter.words()).collect();
        write!(f, "{}: {}", names.join(", "), self.reason)
    }
}
