//! The figures derived from windows, each with its denominator and its provenance.

use serde::{Deserialize, Serialize};

use crate::counters::Role;

/// Where a figure comes from. Never mixed in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// From a PMU.
    Measured,
    /// From a clock.
    Timed,
}

/// A figure per execution of a measured program, the empty-program baseline subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Wall nanoseconds per execution; always there.
    WallNs,
    /// Task-clock nanoseconds per execution.
    TaskClockNs,
    /// TSC ticks per execution: wall time, not core cycles.
    TscTicks,
    /// Core cycles per execution, kernel side.
    Cycles,
    /// Instructions per execution, kernel side.
    Instructions,
    /// The generic `iTLB-load-misses` per 1000 executions; what it counts differs by CPU.
    ItlbMissesPer1000,
    DtlbMissesPer1000,
    L1iMissesPer1000,
    BranchMissesPer1000,
}

impl Metric {
    /// Every metric, in the order of columns.
    pub const ALL: [Self; 9] = [
        Self::WallNs,
        Self::TaskClockNs,
        Self::TscTicks,
        Self::Cycles,
        Self::Instructions,
        Self::ItlbMissesPer1000,
        Self::DtlbMissesPer1000,
        Self::L1iMissesPer1000,
        Self::BranchMissesPer1000,
    ];

    /// The event behind it; `None` for wall time.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::WallNs => None,
            Self::TaskClockNs => Some(Role::TaskClock),
            Self::TscTicks => Some(Role::Tsc),
            Self::Cycles => Some(Role::Cycles),
            Self::Instructions => Some(Role::Instructions),
            Self::ItlbMissesPer1000 => Some(Role::ItlbMisses),
            Self::DtlbMissesPer1000 => Some(Role::DtlbMisses),
            Self::L1iMissesPer1000 => Some(Role::L1iMisses),
            Self::BranchMissesPer1000 => Some(Role::BranchMisses),
        }
    }

    /// Executions in the denominator.
    pub fn executions(self) -> u32 {
        match self {
            Self::ItlbMissesPer1000 | Self::DtlbMissesPer1000 | Self::L1iMissesPer1000 | Self::BranchMissesPer1000 => {
                1000
            }
            _ => 1,
        }
    }

    /// The name in files and options.
    pub fn key(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => format!("{self:?}"),
        }
    }

    /// Clock or PMU.
    pub fn provenance(self) -> Provenance {
        match self {
            Self::WallNs | Self::TaskClockNs | Self::TscTicks => Provenance::Timed,
            _ => Provenance::Measured,
        }
    }

    /// Unit with its denominator, as it heads a column.
    pub fn unit(self) -> &'static str {
        match self {
            Self::WallNs => "ns/exec",
            Self::TaskClockNs => "task ns/exec",
            Self::TscTicks => "TSC ticks/exec",
            Self::Cycles => "cycles/exec",
            Self::Instructions => "instructions/exec",
            Self::ItlbMissesPer1000 => "iTLB-load-misses/1000 exec",
            Self::DtlbMissesPer1000 => "dTLB-load-misses/1000 exec",
            Self::L1iMissesPer1000 => "L1-icache-load-misses/1000 exec",
            Self::BranchMissesPer1000 => "branch-misses/1000 exec",
        }
    }
}
