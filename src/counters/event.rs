//! Events, with the raw code that stands beside every name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Role;

/// The kernel's encoding: `perf_event_attr.type`, `.config` and, where a PMU needs more, `.config1` to `.config3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventCode {
    pub pmu_type: u32,
    pub config: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config1: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config2: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config3: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl EventCode {
    /// `PERF_TYPE_HARDWARE`: generic events.
    pub const HARDWARE: u32 = 0;
    /// `PERF_TYPE_SOFTWARE`.
    pub const SOFTWARE: u32 = 1;
    /// `PERF_TYPE_TRACEPOINT`.
    pub const TRACEPOINT: u32 = 2;
    /// `PERF_TYPE_HW_CACHE`: `cache | op << 8 | result << 16`.
    pub const HW_CACHE: u32 = 3;
    /// `PERF_TYPE_RAW`: the CPU's own codes.
    pub const RAW: u32 = 4;

    /// A code that needs `config` only.
    pub const fn new(pmu_type: u32, config: u64) -> Self {
        Self { pmu_type, config, config1: 0, config2: 0, config3: 0 }
    }
}

impl fmt::Display for EventCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} config {:#x}", self.pmu_type, self.config)?;
        for (name, value) in [("config1", self.config1), ("config2", self.config2), ("config3", self.config3)] {
            if value != 0 {
                write!(f, " {name} {value:#x}")?;
            }
        }
        Ok(())
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

/// Whose cycles count: BPF programs run in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CountSide {
    #[default]
    Kernel,
    User,
    Both,
}

impl CountSide {
    /// As perf puts it behind a name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Kernel => ":k",
            Self::User => ":u",
            Self::Both => ":uk",
        }
    }
}

impl fmt::Display for CountSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel side",
            Self::User => "user side",
            Self::Both => "kernel and user side",
        })
    }
}

/// Events that are scheduled together; the first is the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub events: Vec<Event>,
    pub pinned: bool,
    /// The pass in whose windows it is counted; `None` for every window. In other windows its reading is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u32>,
    /// Whose cycles it counts; `None` where the PMU does not tell them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<CountSide>,
}

impl Group {
    /// Whether it is counted in the windows of `pass`.
    pub fn is_in(&self, pass: u32) -> bool {
        self.pass.is_none_or(|own| own == pass)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.name)?;
        if self.pinned {
            f.write_str(", pinned")?;
        }
        if let Some(side) = self.side {
            write!(f, ", {side}")?;
        }
        self.pass.map_or(Ok(()), |pass| write!(f, ", pass {}", pass + 1))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_shows_what_is_not_zero_and_old_files_without_config1_are_read() {
        let code = EventCode { config1: 0x14, ..EventCode::new(EventCode::RAW, 0x1c6) };
        assert_eq!(code.to_string(), "type 4 config 0x1c6 config1 0x14");
        let json = serde_json::to_string(&code).unwrap();
        assert_eq!(json, r#"{"pmu_type":4,"config":454,"config1":20}"#);
        assert_eq!(serde_json::from_str::<EventCode>(&json).unwrap(), code);
        let old = serde_json::from_str::<EventCode>(r#"{"pmu_type":3,"config":65540}"#).unwrap();
        assert_eq!(old, EventCode::new(EventCode::HW_CACHE, 0x10004));
    }
}
