//! One group read, and the rule by which it counts or is thrown out.

use serde::{Deserialize, Serialize};

/// One read of one group: raw counts in the order of the group's events, and both times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub counts: Vec<u64>,
    pub enabled_ns: u64,
    pub running_ns: u64,
}

/// Why a reading is thrown out. It is counted, never scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unusable {
    /// `time_running` differs from `time_enabled`: the group was not on the PMU all the time.
    Multiplexed,
    /// read(2) gave 0 bytes: the pinned group lost its counters.
    Empty,
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

    /// `None` if the counts may be used.
    pub fn unusable(&self) -> Option<Unusable> {
        if self.counts.is_empty() {
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
        assert_eq!(reading(&[1], 10, 10).unusable(), None);
    }
}
