//! How long a window is, how many there are, and when warming up ends.

/// The rules of one trial's measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Counted windows.
    pub samples: u32,
    /// A window lasts at least this long.
    pub window_ns: u64,
    /// A window holds at least this many executions.
    pub window_executions: u64,
}
