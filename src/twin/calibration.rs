//! The file that `itlbench calibrate` leaves: what was timed, on which host, and what follows.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::findings::Findings;
use super::sweep::Point;
use crate::counters::Group;
use crate::host::Facts;

/// The schema that this build writes, and the newest it reads.
pub const SCHEMA: u32 = 1;

/// One calibration. All times are from a clock; misses are counted where there is a PMU, else modelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub schema: u32,
    pub tool_version: String,
    pub started: String,
    pub argv: Vec<String>,
    pub host: Facts,
    /// The CPU it ran on.
    pub cpu: u32,
    pub seed: u64,
    /// Name of the iTLB model it is checked against; absent if the CPU is not in the table.
    pub model: Option<String>,
    /// Where CPUID contradicts the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpuid_differs: Vec<String>,
    /// Where the pages of 2 MiB came from: transparent huge pages or hugetlbfs.
    pub supply: Option<String>,
    /// Core cycles a nanosecond before and after, from multiplications of known latency.
    pub cycles_per_ns: (f64, f64),
    pub interrupted: bool,
    /// What else ran on the CPU meanwhile.
    #[serde(default)]
    pub company: Disturbances,
    /// Core events that were counted, user side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Events that the host would not count, or the one reason why none was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    pub points: Vec<Point>,
    pub findings: Findings,
}

/// What else ran on the CPU of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbances {
    /// Loops that were run again because the thread was switched out in them.
    pub switched_loops: u32,
    /// How long the thread waited for the CPU; `None` if the kernel keeps no account.
    pub waited_ns: Option<u64>,
    /// Time the hypervisor took, in clock ticks; `None` if it is not told.
    pub steal_ticks: Option<u64>,
}

/// Why a calibration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    #[error("failed to read calibration `{path}`: {source}; `itlbench calibrate` writes one")]
    Read { path: String, source: std::io::Error },
    #[error("failed to read calibration `{path}`: {source}")]
    Parse { path: String, source: serde_json::Error },
    #[error("calibration `{path}` has schema {schema}, this itlbench reads up to {SCHEMA}; use a newer itlbench")]
    Newer { path: String, schema: u32 },
}

impl Calibration {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, CalibrationError> {
        let name = || path.display().to_string();
        let text = std::fs::read(path).map_err(|source| CalibrationError::Read { path: name(), source })?;
        let parse = |source| CalibrationError::Parse { path: name(), source };
        let tag: Tag = serde_json::from_slice(&text).map_err(parse)?;
        if tag.schema > SCHEMA {
            return Err(CalibrationError::Newer { path: name(), schema: tag.schema });
        }
        serde_json::from_slice(&text).map_err(parse)
    }

    /// Core cycles a nanosecond, the mean of both looks.
    pub fn ghz(&self) -> f64 {
        (self.cycles_per_ns.0 + self.cycles_per_ns.1) / 2.0
    }
}

#[derive(Deserialize)]
struct Tag {
    schema: u32,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::twin::findings::{Comparison, Cost, Misses};

    /// A calibration of a CPU whose L1 misses cost 2 ns and whose walks cost 10.
    pub(crate) fn sample() -> Calibration {
        let cost = |ns| Some(Cost { ns, low_ns: ns * 0.9, high_ns: ns * 1.1, steps: 4, misses: Misses::Modelled });
        let findings = Findings {
            comparison: Comparison::Holds,
            steps: Vec::new(),
            knee: Some(96),
            model_l1_knee: Some(96),
            model_l2_knee: Some(384),
            counted_l1_knee: None,
            counted_l2_knee: None,
            l1_miss: cost(2.0),
            walk: cost(10.0),
        };
        Calibration {
            schema: SCHEMA,
            tool_version: "0.1.0".to_owned(),
            started: "2026-01-02T03:04:05Z".to_owned(),
            argv: Vec::new(),
            host: Facts::default(),
            cpu: 1,
            seed: 7,
            model: Some("zen3".to_owned()),
            cpuid_differs: Vec::new(),
            supply: Some("transparent huge pages".to_owned()),
            cycles_per_ns: (2.4, 2.6),
            interrupted: false,
            company: Disturbances::default(),
            groups: Vec::new(),
            refused: Vec::new(),
            points: Vec::new(),
            findings,
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calibration.json");
        std::fs::write(&path, serde_json::to_vec(&sample()).unwrap()).unwrap();
        let read = Calibration::read(&path).unwrap();
        assert_eq!((&read, read.ghz()), (&sample(), 2.5));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calibration.json");
        let error = || Calibration::read(&path).unwrap_err().to_string();
        assert!(error().contains("itlbench calibrate"), "{}", error());
        std::fs::write(&path, "{\"schema\": 99}").unwrap();
        assert!(error().contains("schema 99"), "{}", error());
        std::fs::write(&path, "{").unwrap();
        assert!(error().starts_with("failed to read calibration `"), "{}", error());
    }
}
