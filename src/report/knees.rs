//! Where the cost of an execution bends over a sweep of numbers of programs, beside what the CPU's iTLB holds.

use serde::Serialize;

use super::Summary;
use super::modelled::{Modelled, array};
use super::summary::CaseSummary;
use super::units;
use crate::samples::Metric;
use crate::stats::knee::{FEWEST_POINTS, Knee, knees};
use crate::workload::PackMode;

/// Modelled misses of 1000 executions that make a knee of the model.
const MODELLED_KNEE: f64 = 100.0;

/// The knees of one arm of one workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    pub workload: String,
    pub pack: PackMode,
    pub metric: Metric,
    /// Fewest and most programs.
    pub range: (u32, u32),
    pub knees: Vec<Bend>,
    /// First number of programs at which one execution in ten misses L1, and both levels, as the CPU's model has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_l1: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_walks: Option<u32>,
}

/// A knee, and the pages that so many programs touch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bend {
    pub programs: u32,
    pub low: u32,
    pub high: u32,
    pub pages_4k: u32,
    pub before_percent: f64,
    pub after_percent: f64,
}

/// Of every arm with numbers of programs enough.
pub fn sweeps(summary: &Summary<'_>) -> Vec<Sweep> {
    let mut arms: Vec<(&str, PackMode)> = Vec::new();
    for case in &summary.cases {
        let arm = (case.case.workload.as_str(), case.case.pack);
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    }
    arms.into_iter().filter_map(|(workload, pack)| sweep(summary, workload, pack)).collect()
}

fn sweep(summary: &Summary<'_>, workload: &str, pack: PackMode) -> Option<Sweep> {
    let metric = summary.primary();
    let mut cases: Vec<&CaseSummary> =
        summary.cases.iter().filter(|case| case.case.workload == workload && case.case.pack == pack).collect();
    cases.sort_by_key(|case| case.case.programs);
    let trials = |case: &CaseSummary| {
        let spread = case.metrics.get(&metric)?;
        Some((f64::from(case.case.programs), spread.trial_medians.clone()))
    };
    let points: Vec<(f64, Vec<f64>)> = cases.iter().filter_map(|case| trials(case)).collect();
    if points.len() < FEWEST_POINTS {
        return None;
    }
    let pages =
        |programs: u32| cases.iter().find(|case| case.case.programs == programs).map(|case| case.footprint.pages_4k);
    let bend = |knee: Knee| {
        let programs = knee.at.round() as u32;
        Some(Bend {
            programs,
            low: knee.low.round() as u32,
            high: knee.high.round() as u32,
            pages_4k: pages(programs)?,
            before_percent: knee.before_percent,
            after_percent: knee.after_percent,
        })
    };
    let first = |misses: fn(&super::modelled::Row) -> f64| {
        let rows = summary.modelled.first()?.rows.iter();
        let rows = rows.filter(|row| row.case.workload == workload && row.case.pack == pack);
        rows.filter(|row| misses(row) >= MODELLED_KNEE).map(|row| row.case.programs).min()
    };
    Some(Sweep {
        workload: workload.to_owned(),
        pack,
        metric,
        range: (cases.first()?.case.programs, cases.last()?.case.programs),
        knees: knees(&points).into_iter().filter_map(bend).collect(),
        model_l1: first(|row| row.l1),
        model_walks: first(|row| row.walks),
    })
}

/// What the sweeps of a run say; nothing for a run without one.
pub fn lines(summary: &Summary<'_>) -> Vec<String> {
    let sweeps = sweeps(summary);
    let geometry = summary.modelled.first().filter(|_| !sweeps.is_empty()).map(geometry);
    let provenance = |metric| units::provenance(metric, summary.run.manifest.machine);
    let sentences = sweeps.iter().map(|sweep| sentence(sweep, provenance(sweep.metric)));
    let modelled = sweeps.iter().filter(|_| geometry.is_some()).map(model_sentence);
    sentences.chain(geometry.clone()).chain(modelled).collect()
}

fn sentence(sweep: &Sweep, provenance: &str) -> String {
    let Sweep { workload, pack, metric, range: (fewest, most), knees, .. } = sweep;
    let what = format!("{workload}, pack {pack}: {} ({provenance})", units::label(*metric));
    let bend = |knee: &Bend| {
        format!(
            "{} programs [{}, {}] on {} pages ({:+.0} % a doubling before, {:+.0} % behind)",
            knee.programs, knee.low, knee.high, knee.pages_4k, knee.before_percent, knee.after_percent
        )
    };
    match knees.as_slice() {
        [] => format!("{what} has no knee from {fewest} to {most} programs"),
        knees => format!("{what} bends up at {}", knees.iter().map(bend).collect::<Vec<_>>().join(", and at ")),
    }
}

fn geometry(modelled: &Modelled) -> String {
    let geometry = &modelled.model.geometry;
    format!(
        "beside it, {}: L1 iTLB {} entries of 4 KiB, L2 {}",
        modelled.model.name,
        array(geometry.l1.small),
        array(geometry.l2.small)
    )
}

fn model_sentence(sweep: &Sweep) -> String {
    let from =
        |knee: Option<u32>| knee.map_or("at no number".to_owned(), |programs| format!("from {programs} programs on"));
    format!(
        "{}, pack {}, modelled: one execution in ten misses L1 {}, and walks {}",
        sweep.workload,
        sweep.pack,
        from(sweep.model_l1),
        from(sweep.model_walks)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_run_of_three_numbers_has_no_sweep() {
        assert_eq!(lines(&Summary::of(&fixture::timed_run())), Vec::<String>::new());
    }

    #[test]
    fn a_sweep_is_said_beside_the_model() {
        let bend = Bend { programs: 64, low: 48, high: 96, pages_4k: 64, before_percent: 0.4, after_percent: 21.0 };
        let sweep = Sweep {
            workload: "sweep".to_owned(),
            pack: PackMode::Off,
            metric: Metric::WallNs,
            range: (16, 2048),
            knees: vec![bend, Bend { programs: 512, low: 512, high: 512, ..bend }],
            model_l1: Some(64),
            model_walks: None,
        };
        let text = sentence(&sweep, "timed");
        assert!(text.ends_with(
            "bends up at 64 programs [48, 96] on 64 pages (+0 % a doubling before, +21 % behind), and at 512 programs [512, 512] on 64 pages (+0 % a doubling before, +21 % behind)"
        ), "{text}");
        assert!(sentence(&Sweep { knees: Vec::new(), ..sweep.clone() }, "timed").contains("no knee from 16 to 2048"));
        assert!(model_sentence(&sweep).ends_with("misses L1 from 64 programs on, and walks at no number"));
    }
}
