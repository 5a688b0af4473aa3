//! How long a window is, how many there are, and when warming up ends.

/// The rules of one trial's measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Counted windows.
    pub samples: u32,
    /// A window lasts at least this long: enabling, disabling and reading the counters stay below 0.5 % of it.
    pub window_ns: u64,
    /// A window holds at least this many executions.
    pub window_executions: u64,
    /// Windows of the empty program before the counted windows, and as many after them.
    pub baseline: u32,
    /// Rounds of a victim: one run in each company.
    pub rounds: u32,
    pub clock: Clock,
}

/// Whether the machine's clock tells how long something took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Real,
    /// It is an emulator's: windows are sized by executions alone, and none counts as timed.
    Emulated,
}

impl Protocol {
    /// The default: windows of 3 ms with at least 10 000 executions.
    pub fn new(samples: u32) -> Self {
        Self {
            samples,
            window_ns: 3_000_000,
            window_executions: 10_000,
            baseline: 4,
            rounds: ROUNDS,
            clock: Clock::Real,
        }
    }

    /// Under an emulator: windows of 10 000 executions, for the counts of what is fetched.
    pub fn emulated(samples: u32) -> Self {
        Self { window_ns: 0, baseline: 1, clock: Clock::Emulated, ..Self::new(samples) }
    }

    /// Runs of the trigger a window needs, given how long `probed` runs took.
    pub fn runs(&self, executions_per_run: u32, probed: u32, probed_ns: u64) -> u32 {
        let by_count = self.window_executions.div_ceil(u64::from(executions_per_run.max(1)));
        let by_time = (u128::from(self.window_ns) * u128::from(probed)).div_ceil(u128::from(probed_ns.max(1)));
        by_count.max(u64::try_from(by_time).unwrap_or(u64::MAX)).clamp(1, MOST_RUNS) as u32
    }
}

/// Rounds of a victim in each trial, unless asked for otherwise.
pub const ROUNDS: u32 = 2;

/// An RT-throttled or hung kernel must not be asked for more in one call.
const MOST_RUNS: u64 = 1 << 24;

/// Warming up ends when two windows in a row differ by less than this, in percent, or after [`MOST_WARM_UPS`].
pub const STEADY_PERCENT: u64 = 5;
/// Windows after which warming up ends in any case.
pub const MOST_WARM_UPS: u32 = 12;
/// Twice the executions may take 2 +- 5 % of the time.
pub const LINEAR_PERCENT: (u32, u32) = (190, 210);
/// Windows in which misses are sampled, behind the counted ones.
pub const SAMPLED_WINDOWS: u32 = 16;
/// A window that is not linear is doubled so many times before it is accepted with a caveat.
pub const MOST_DOUBLINGS: u32 = 2;

/// Whether `now` is as long as `before` within [`STEADY_PERCENT`].
pub fn is_steady(before_ns: u64, now_ns: u64) -> bool {
    before_ns.abs_diff(now_ns) * 100 <= before_ns.max(now_ns) * STEADY_PERCENT
}

/// Time of 2N over time of N, in percent.
pub fn doubling_percent(once_ns: u64, twice_ns: u64) -> u32 {
    (u128::from(twice_ns) * 100 / u128::from(once_ns.max(1))).min(u128::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_long_enough_in_time_and_in_executions() {
        let protocol = Protocol::new(10);
        for (per_run, probed, probed_ns, expected) in [
            (33, 100, 60_000, 5000),    // 600 ns a run: 3 ms need 5000 runs
            (33, 100, 10_000_000, 304), // slow programs: 10 000 executions decide
            (1, 1, 1_000_000_000, 10_000),
            (33, 100, 0, 1 << 24), // a clock that stands still asks for no more than the cap
        ] {
            assert_eq!(protocol.runs(per_run, probed, probed_ns), expected, "{per_run} {probed} {probed_ns}");
        }
    }

    #[test]
    fn under_an_emulator_only_executions_size_a_window() {
        assert_eq!(Protocol::emulated(3).runs(33, 100, 1), Protocol::emulated(3).runs(33, 100, 1_000_000_000));
        assert_eq!(Protocol::emulated(3).runs(33, 1, 1), 304);
    }

    #[test]
    fn steady_means_within_five_percent() {
        assert!(is_steady(1000, 1049) && is_steady(1049, 1000) && is_steady(0, 0));
        assert!(!is_steady(1000, 1060) && !is_steady(1060, 1000));
    }

    #[test]
    fn doubling_is_a_percentage_and_never_divides_by_zero() {
        assert_eq!(doubling_percent(100, 203), 203);
        assert_eq!(doubling_percent(0, 5), 500);
    }
}
