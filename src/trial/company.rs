//! What is recorded of windows in company: the same windows on several CPUs at once, and while others load and unload programs.

use serde::{Deserialize, Serialize};

use super::record::Sample;
use crate::counters::Reading;

/// Windows that begin on several CPUs at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parallel {
    /// The CPU of the run first.
    pub cpus: Vec<u32>,
    /// Runs of the trigger, and executions, on each CPU in each window.
    pub runs: u64,
    pub executions: u64,
    /// Of every window one part for each CPU.
    pub windows: Vec<Vec<CpuWindow>>,
}

/// A window on one CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuWindow {
    pub wall_ns: u64,
    /// In the order of the run's groups; empty for groups of later passes.
    pub readings: Vec<Reading>,
}

/// Windows while other programs come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Churn {
    /// Loads a second that were asked for.
    pub per_s: u32,
    /// Programs loaded, and about as many unloaded, in this time.
    pub loads: u64,
    pub elapsed_ns: u64,
    /// Of each load and each close as the system call took: HDR V2 in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_latency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unload_latency: Option<String>,
    /// Pages of the direct map that were split meanwhile, on the whole host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<u64>,
    /// As many windows as were counted before it began.
    pub windows: Vec<Sample>,
}

/// What a machine says of a time of churn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Churned {
    pub loads: u64,
    pub elapsed_ns: u64,
    pub load_ns: Vec<u64>,
    pub unload_ns: Vec<u64>,
    pub splits: Option<u64>,
}
