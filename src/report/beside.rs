//! What each case cost beside its time: one row a case, the median of its trials.

use super::Summary;
use super::summary::CaseSummary;
use super::units::{ABSENT, fixed, or_absent, percent};
use crate::placement::pack::{self, CHUNK_BYTES};
use crate::samples::histogram::{decode, merge};
use crate::stats;
use crate::trial::{Beside, Trial};

/// Heads of the columns behind those that name the case.
pub const HEADER: [&str; 7] = ["text KiB", "waste %", "packs", "splits", "load us p50/p99", "unload ms", "freed ms"];
/// What the columns mean.
pub const LEGEND: &str = "text: JITed bytes of the measured programs; waste: of their chunks, not code; packs: everybody's, while \
                          loaded; splits: of the direct map by loading; load: a program; freed: until seen to be free";

/// A case and its cells; empty if no trial of the run looked.
pub fn rows<'a>(summary: &'a Summary<'_>) -> Vec<(&'a CaseSummary, Vec<String>)> {
    let row = |case: &'a CaseSummary| {
        let of_case = summary.run.trials.iter().filter(|trial| trial.case == case.case);
        let trials: Vec<(&Trial, &Beside)> =
            of_case.filter_map(|trial| Some((trial, trial.beside.as_ref()?))).collect();
        (!trials.is_empty()).then(|| (case, cells(&trials)))
    };
    summary.cases.iter().filter_map(row).collect()
}

fn cells(trials: &[(&Trial, &Beside)]) -> Vec<String> {
    let median = |value: &dyn Fn(&Trial, &Beside) -> Option<f64>| {
        let values: Vec<f64> = trials.iter().filter_map(|(trial, beside)| value(trial, beside)).collect();
        stats::median(&values)
    };
    let packs = median(&|_, beside| beside.packs.as_ref().map(|packs| f64::from(packs.areas)));
    let splits = median(&|_, beside| beside.before.splits_until(&beside.loaded).map(|splits| splits as f64));
    vec![
        or_absent(median(&|trial, _| Some(trial.footprint.jited_bytes as f64 / 1024.0)), |kib| fixed(kib, 1)),
        or_absent(median(&|trial, _| waste_percent(trial)), percent),
        or_absent(packs, |packs| fixed(packs, 0)),
        or_absent(splits, |splits| fixed(splits, 0)),
        latency(trials),
        or_absent(median(&|trial, _| Some(trial.unload_ns as f64 / 1e6)), |ms| fixed(ms, 1)),
        or_absent(median(&|_, beside| Some(beside.freed_ns as f64 / 1e6)), |ms| fixed(ms, 1)),
    ]
}

/// Share of the chunks that is header, hole and rounding.
fn waste_percent(trial: &Trial) -> Option<f64> {
    let chunks: u64 = trial.images.iter().map(|image| u64::from(pack::chunks(image.len))).sum();
    let charged = (chunks * CHUNK_BYTES) as f64;
    (chunks > 0).then(|| 100.0 * (charged - trial.footprint.jited_bytes as f64) / charged)
}

/// Percentiles over the loads of all trials.
fn latency(trials: &[(&Trial, &Beside)]) -> String {
    let parts: Vec<_> = trials.iter().filter_map(|(_, beside)| decode(beside.load_latency.as_deref()?).ok()).collect();
    match merge(&parts) {
        Ok(all) if !all.is_empty() => {
            let us = |quantile| fixed(all.value_at_quantile(quantile) as f64 / 1e3, 0);
            format!("{}/{}", us(0.5), us(0.99))
        }
        _ => ABSENT.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn each_case_has_its_row_and_runs_that_did_not_look_have_none() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        let rows = rows(&summary);
        assert_eq!(rows.len(), 6);
        // 64 programs of 100 bytes in two chunks each.
        assert_eq!(rows[0].1, ["6.2", "21.9", "3", "2", "40/79", "1.0", "21.5"]);
        let mut blind = fixture::timed_run();
        blind.trials.iter_mut().for_each(|trial| trial.beside = None);
        assert!(super::rows(&Summary::of(&blind)).is_empty());
    }

    #[test]
    fn what_the_kernel_does_not_count_is_absent() {
        let mut run = fixture::timed_run();
        for trial in &mut run.trials {
            trial.beside = Some(Beside::default());
        }
        let summary = Summary::of(&run);
        assert_eq!(rows(&summary)[0].1[2..5], [ABSENT, ABSENT, ABSENT]);
    }
}
