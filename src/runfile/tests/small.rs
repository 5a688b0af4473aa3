//! A small run with fixed values, and the ways to and from a file.

use std::collections::BTreeMap;
use std::path::Path;

use crate::caveat::Caveat;
use crate::counters::{Event, EventCode, Group, Reading, Role};
use crate::host::Facts;
use crate::placement::{Addr, Image};
use crate::runfile::manifest::{Design, MachineKind, Manifest};
use crate::runfile::{ReadError, Run, Writer};
use crate::samples::Metric;
use crate::trial::{Sample, Trial};
use crate::workload::{PackMode, Spec};

pub fn write(path: &Path, run: &Run, interrupted: bool) {
    let mut writer = Writer::create(path, &run.manifest).expect("creates");
    for (trial, histograms) in run.trials.iter().zip(&run.histograms) {
        writer.append(trial, histograms).expect("appends");
    }
    writer.finish(interrupted).expect("finishes");
}

/// A small run with fixed values.
pub fn small() -> Run {
    let spec = Spec { programs: vec![8], ..Spec::builtin("chain").expect("built in") };
    let event = Event { role: Role::Cycles, name: "cycles".to_owned(), code: EventCode::new(0, 0) };
    let manifest = Manifest {
        tool_version: "0.1.0".to_owned(),
        machine: MachineKind::Sim,
        started: "2025-01-01T00:00:00Z".to_owned(),
        argv: vec!["itlbench".to_owned()],
        seed: u64::MAX,
        design: Design::Arms,
        cpu: 1,
        workloads: vec![spec.clone()],
        planned_trials: 3,
        groups: vec![Group { name: "hardware".to_owned(), events: vec![event], pinned: true, ..Group::default() }],
        refused: Vec::new(),
        meters: Vec::new(),
        meters_absent: Vec::new(),
        sampling: None,
        victim: None,
        guest: None,
        host: Facts::default(),
        caveats: vec![Caveat::Simulated],
    };
    let images = vec![Image { addr: Addr(u64::MAX - 4096), len: 64 }];
    let reading = Reading { counts: vec![u64::MAX], enabled_ns: 5, running_ns: 5 };
    let sample =
        Sample { runs: 1, executions: 33, wall_ns: 9, readings: vec![reading], meters: Vec::new(), discarded: None };
    let trials = (0..3).map(|trial| Trial {
        trial,
        sequence: trial,
        seed: 4,
        started_ms: 10,
        baseline: vec![sample.clone()],
        samples: vec![sample.clone()],
        unload_ns: 1,
        ..Trial::bare(spec.case(8, PackMode::On), images.clone())
    });
    let trials: Vec<Trial> = trials.collect();
    let histograms = vec![BTreeMap::from([(Metric::WallNs, "HISTFAAA".to_owned())]); trials.len()];
    Run { manifest, trials, complete: true, caveats: Vec::new(), histograms }
}

pub fn small_text() -> String {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    write(&path, &small(), false);
    std::fs::read_to_string(path).expect("reads")
}

pub fn read(text: &str) -> Result<Run, ReadError> {
    Run::from_reader("run.jsonl", text.as_bytes())
}
