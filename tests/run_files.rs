//! Run files of every schema ever written stay readable.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use itlbench::runfile::Run;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/run-v{version}.jsonl"))
}

/// Written by version 0.1.0 on a kernel 6.18: `itlbench run chain --seed 7 --programs 8,64 --trials 4 --samples 6`; host name and boot line
/// were replaced, and the checksum made anew.
#[test]
fn schema_1_is_read_as_it_was_written() {
    let run = Run::read(&fixture(1)).unwrap();
    assert!(run.complete && run.caveats.is_empty());
    assert_eq!((run.trials.len(), run.manifest.planned_trials, run.manifest.seed), (16, 16, 7));
    assert_eq!(run.manifest.host.cpu_model.as_deref(), Some("AMD EPYC"));
    assert_eq!(run.manifest.host.boot_id, None);
    let trial = &run.trials[5];
    assert_eq!((trial.samples.len(), trial.images.len() as u32), (6, trial.case.programs));
    assert!(run.trials.iter().all(|trial| trial.samples.iter().all(|sample| sample.readings.len() == 2)));
    assert!(run.histograms.iter().all(|histograms| histograms.len() == 3));
}
