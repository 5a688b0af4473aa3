//! Comparisons for the tests of reports: four boots of a kernel, four of one that packs worse, two of a third.

use crate::compare::{Comparison, Digest, Force};
use crate::report::fixture;
use crate::runfile::Run;
use crate::samples::histogram;
use crate::workload::PackMode;

/// Two kernels, enough boots for a verdict; the second pays 8 % more where programs are packed.
pub fn two_kernels() -> Comparison {
    let base = boots(fixture::timed_run, "6.18.5", 4, 1.0);
    let new = boots(fixture::timed_run, "6.19.0-rc1", 4, 1.08);
    Comparison::of(base, vec![new], Force::No).expect("comparable")
}

/// Three kernels with a PMU; the third has too few boots.
pub fn three_kernels() -> Comparison {
    let base = boots(fixture::pmu_run, "6.18.5", 4, 1.0);
    let slower = boots(fixture::pmu_run, "6.19.0-rc1", 4, 1.08);
    let few = boots(fixture::pmu_run, "7.0.0", 2, 0.9);
    Comparison::of(base, vec![slower, few], Force::No).expect("comparable")
}

/// Two seeds of the simulated machine.
pub fn simulated() -> Comparison {
    let base = boots(fixture::sim_run, "6.18.5", 4, 1.0);
    let new = boots(fixture::sim_run, "6.18.5", 4, 1.0);
    let renamed = new.into_iter().enumerate().map(|(at, mut digest)| {
        digest.manifest.seed += 100 + at as u64;
        digest
    });
    Comparison::of(base, vec![renamed.collect()], Force::No).expect("comparable")
}

/// One run in each of `count` boots of `release`, whose packed programs cost `factor` times as much; every boot has its own half
/// per cent.
fn boots(made: fn() -> Run, release: &str, count: u32, factor: f64) -> Vec<Digest> {
    (0..count).map(|boot| digest(made(), release, boot, factor)).collect()
}

fn digest(mut run: Run, release: &str, boot: u32, factor: f64) -> Digest {
    let host = &mut run.manifest.host;
    host.kernel_release = Some(release.to_owned());
    host.boot_id = Some(format!("{release}-{boot}"));
    run.manifest.started = format!("2026-01-0{}T0{}:00:00Z", boot + 1, release.len() % 9);
    run.manifest.seed = u64::from(boot) + 1;
    let luck = 1.0 + 0.005 * f64::from(boot * 7 % 4);
    for trial in &mut run.trials {
        let cost = luck * if trial.case.pack == PackMode::On { factor } else { 1.0 };
        for sample in &mut trial.samples {
            sample.wall_ns = (sample.wall_ns as f64 * cost) as u64;
            for count in sample.readings.iter_mut().flat_map(|reading| &mut reading.counts) {
                *count = (*count as f64 * cost) as u64;
            }
        }
    }
    let histograms = run.trials.iter().map(|trial| histogram::encode_trial(trial, &run.manifest.groups));
    run.histograms = histograms.collect::<Result<_, _>>().expect("histograms");
    Digest::of(&format!("{release}-{boot}/run.jsonl"), &run)
}
