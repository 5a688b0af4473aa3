//! Events by role, with the raw code that stands beside every name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an event is for; reports find their columns by role, never by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Cycles,
    Instructions,
    ItlbMisses,
    ItlbLoads,
    DtlbMisses,
    L1iMisses,
    BranchMisses,
    /// `msr/tsc/`: time stamp counter ticks, wall time and not core cycles.
    Tsc,
    TaskClock,
    ContextSwitches,
    Migrations,
    PageFaults,
}

/// The kernel's encoding: `perf_event_attr.type` and `.config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventCode {
    pub pmu_type: u32,
    pub config: u64,
}

impl fmt::Display for EventCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} config {:#x}", self.pmu_type, self.config)
    }
}

/// An event as counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub role: Role,
    /// perf's name for it.
    pub name: String,
    pub code: EventCode,
}

/// Events that are scheduled together; the first is the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub events: Vec<Event>,
    pub pinned: bool,
}

/// An event that the host would not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub event: Event,
    /// Symbolic, as in `ENOENT`.
    pub errno: String,
    pub meaning: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}: {}", self.event.name, self.event.code, self.errno, self.meaning)
    }
}
