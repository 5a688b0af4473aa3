//! One group read, and the rule by which it counts or is thrown out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One read of one group: raw counts in the order of the group's events, and both times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub counts: Vec<u64>,
    pub enabled_ns: u64,
    pub running_ns: u64,
}

/// Why a window is left out. It stays in the run file and is counted, never scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unusable {
    /// `time_running` differs from `time_enabled`: the group was not on the PMU all the time.
    Multiplexed,
    /// read(2) gave 0 bytes: the pinned group lost its counters.
    Empty,
    /// The measuring thread was taken off the CPU in the window or just before it.
    Preempted,
    /// More interrupts or softirqs, the tick's apart, than the trial's median window and one a millisecond.
    Interrupted,
    /// The firmware ran (system management interrupt).
    ManagementInterrupt,
    /// The hypervisor ran something else.
    Stolen,
    /// The measuring thread met a page fault.
    Faulted,
    /// The core's frequency was off the trial's median by more than a twentieth.
    OffFrequency,
    /// An emulator ran it: neither its time nor what a clock says of it tells anything.
    Emulated,
}

impl Unusable {
    /// Every reason, in the order in which reports name them.
    pub const ALL: [Self; 9] = [
        Self::Multiplexed,
        Self::Empty,
        Self::Preempted,
        Self::Interrupted,
        Self::ManagementInterrupt,
        Self::Stolen,
        Self::Faulted,
        Self::OffFrequency,
        Self::Emulated,
    ];
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Multiplexed => "multiplexed",
            Self::Empty => "lost its counters",
            Self::Preempted => "preempted by another task",
            Self::Interrupted => "interrupted more than usual",
            Self::ManagementInterrupt => "hit by a system management interrupt",
            Self::Stolen => "robbed of time by the hypervisor",
            Self::Faulted => "page fault",
            Self::OffFrequency => "at a frequency more than 5 % off the trial's median",
            Self::Emulated => "run by an emulator",
        })
    }
}

impl Reading {
    /// Counts of the window between two reads of a group that is never reset.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.wrapping_sub(*then)).collect(),
            enabled_ns: self.enabled_ns.saturating_sub(earlier.enabled_ns),
            running_ns: self.running_ns.saturating_sub(earlier.running_ns),
        }
    }

    /// Makes it empty, keeping its memory.
    pub fn clear(&mut self) {
        self.counts.clear();
        (self.enabled_ns, self.running_ns) = (0, 0);
    }

    /// `None` if the counts may be used.
    pub fn unusable(&self) -> Option<Unusable> {
        if self.counts.is_empty() || self.enabled_ns == 0 {
            Some(Unusable::Empty)
        } else if self.running_ns != self.enabled_ns {
            Some(Unusable::Multiplexed)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(counts: &[u64], enabled_ns: u64, running_ns: u64) -> Reading {
        Reading { counts: counts.to_vec(), enabled_ns, running_ns }
    }

    #[test]
    fn a_window_is_the_difference_of_two_reads_even_across_a_wrap() {
        let window = reading(&[5, 20], 300, 300).since(&reading(&[u64::MAX - 4, 7], 100, 100));
        assert_eq!(window, reading(&[10, 13], 200, 200));
    }

    #[test]
    fn multiplexed_and_empty_readings_are_unusable() {
        assert_eq!(reading(&[1], 10, 9).unusable(), Some(Unusable::Multiplexed));
        assert_eq!(reading(&[], 0, 0).unusable(), Some(Unusable::Empty));
        assert_eq!(reading(&[5], 0, 0).unusable(), Some(Unusable::Empty), "never enabled");
        assert_eq!(reading(&[1], 10, 10).unusable(), None);
    }
}
