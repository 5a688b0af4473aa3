//! In: the run boiled down. Out: charts as SVG text and PNG bytes, the same bytes for the same run.
//! Apart because pictures alone need a font and a drawing library; no figure is made here but for where ink goes.

mod axis;
mod canvas;
mod ecdf;
#[cfg(test)]
pub(crate) mod fixture;
mod forest;
mod frame;
#[cfg(test)]
mod golden;
mod layout_map;
pub mod matrix;
mod pack_map;
mod percentile;
mod reach;
mod scaling;
pub mod twin;

use canvas::Picture;
use ecdf::Ecdf;
use forest::Forest;
use layout_map::LayoutMap;
pub use pack_map::pack_maps;
use percentile::{Curve, Percentile};
use scaling::Scaling;

use super::Summary;
use super::comparison::View;
use super::summary::CaseSummary;
use crate::samples::{Metric, series};
use crate::workload::PackMode;

/// One chart, in both forms.
#[derive(Clone, PartialEq, Eq)]
pub struct Drawing {
    /// File name without extension: lower-case letters, digits and `-`; no two of a run are the same.
    pub stem: String,
    pub title: String,
    /// What is drawn, n, and what whiskers mean.
    pub caption: String,
    pub svg: String,
    pub png: Vec<u8>,
}

impl std::fmt::Debug for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drawing({}, {} B of SVG, {} B of PNG)", self.stem, self.svg.len(), self.png.len())
    }
}

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    #[error("failed to read the embedded font; this build of itlbench is broken")]
    Font,
    #[error("failed to draw chart: {0}")]
    Draw(String),
    #[error("failed to encode chart as PNG: {0}")]
    Png(#[from] png::EncodingError),
}

/// Draws every chart of a run: all effects, and per workload the cost by number of programs, the iTLB misses by number of
/// programs if they were counted, the distribution and the percentiles of the cost, and the map of the placement.
pub fn draw(summary: &Summary) -> Result<Vec<Drawing>, ChartError> {
    let mut workloads: Vec<&str> = Vec::new();
    for case in &summary.cases {
        if !workloads.contains(&case.case.workload.as_str()) {
            workloads.push(&case.case.workload);
        }
    }
    let mut drawings: Vec<Drawing> = Vec::new();
    if let Some(chart) = Forest::of_run(summary) {
        drawings.push(drawing("effects".to_owned(), chart.title(), chart.caption(), &chart)?);
    }
    for workload in workloads {
        for mut drawing in of_workload(summary, workload)? {
            drawing.stem = unused(drawing.stem, &drawings);
            drawings.push(drawing);
        }
    }
    Ok(drawings)
}

/// Draws every chart of a comparison: all effects, and per workload and arm the cost by number of programs, and at the largest
/// number of programs the distribution of the trials and the percentiles of the windows.
pub fn draw_comparison(view: &View) -> Result<Vec<Drawing>, ChartError> {
    let mut drawings: Vec<Drawing> = Vec::new();
    if let Some(chart) = Forest::of_kernels(view) {
        drawings.push(drawing("effects".to_owned(), chart.title(), chart.caption(), &chart)?);
    }
    let metric = view.comparison.primary();
    for workload in view.workloads() {
        for pack in [PackMode::On, PackMode::Off, PackMode::OffTwoMeg, PackMode::Placebo] {
            for mut drawing in of_arm(view, workload, pack, metric)? {
                drawing.stem = unused(drawing.stem, &drawings);
                drawings.push(drawing);
            }
        }
    }
    Ok(drawings)
}

fn of_arm(view: &View, workload: &str, pack: PackMode, metric: Metric) -> Result<Vec<Drawing>, ChartError> {
    let mut out = Vec::new();
    let name = format!("{}-{}-pack-{pack}", word(metric), slug(workload));
    if let Some(chart) = Scaling::of_kernels(view, workload, pack, metric) {
        out.push(drawing(format!("scaling-{name}"), chart.title(), chart.caption(), &chart)?);
    }
    let cases = view.comparison.candidates.iter().flat_map(|candidate| &candidate.cases).map(|case| &case.case);
    let of_arm = cases.filter(|case| case.workload == workload && case.pack == pack);
    let largest = of_arm.max_by_key(|case| case.programs);
    if let Some(chart) = largest.and_then(|case| Ecdf::of_kernels(view, case, metric)) {
        out.push(drawing(format!("ecdf-{name}"), chart.title(), chart.caption(), &chart)?);
    }
    if let Some(chart) = largest.and_then(|case| Percentile::of_kernels(view, case, metric)) {
        out.push(drawing(format!("percentile-{name}"), chart.title(), chart.caption(), &chart)?);
    }
    Ok(out)
}

fn of_workload(summary: &Summary, workload: &str) -> Result<Vec<Drawing>, ChartError> {
    let mut out = Vec::new();
    let cost = summary.primary();
    for metric in [cost, Metric::ItlbMissesPer1000] {
        if let Some(chart) = Scaling::of(summary, workload, metric) {
            let stem = format!("scaling-{}-{}", word(metric), slug(workload));
            out.push(drawing(stem, chart.title(), chart.caption(), &chart)?);
        }
    }
    let curves = curves(summary, workload, cost);
    if let Some(chart) = Ecdf::of_windows(summary, workload, cost, &curves) {
        out.push(drawing(format!("ecdf-{}-{}", word(cost), slug(workload)), chart.title(), chart.caption(), &chart)?);
    }
    if let Some(chart) = Percentile::of(summary, workload, cost, curves) {
        let stem = format!("percentile-{}-{}", word(cost), slug(workload));
        out.push(drawing(stem, chart.title(), chart.caption(), &chart)?);
    }
    if let Some(chart) = LayoutMap::of(summary, workload) {
        out.push(drawing(format!("layout-{}", slug(workload)), chart.title(), chart.caption(), &chart)?);
    }
    Ok(out)
}

fn drawing<P: Picture>(stem: String, title: &str, caption: String, picture: &P) -> Result<Drawing, ChartError> {
    Ok(Drawing { stem, title: title.to_owned(), caption, svg: canvas::svg(picture)?, png: canvas::png(picture)? })
}

fn curves(summary: &Summary, workload: &str, metric: Metric) -> Vec<Curve> {
    let cases = summary.cases.iter().filter(|case| case.case.workload == workload);
    cases.map(|case| curve(summary, case, metric)).collect()
}

fn curve(summary: &Summary, case: &CaseSummary, metric: Metric) -> Curve {
    let counted = summary.run.trials.iter().filter(|trial| trial.case == case.case && trial.placed);
    let per_trial: Vec<Vec<f64>> =
        counted.filter_map(|trial| series::per_execution(trial, &summary.run.manifest.groups, metric)).collect();
    Curve { programs: case.case.programs, pack: case.case.pack, trials: per_trial.len(), windows: per_trial.concat() }
}

/// Metric in a file name.
fn word(metric: Metric) -> &'static str {
    match metric {
        Metric::WallNs => "ns",
        Metric::TaskClockNs => "task-ns",
        Metric::TscTicks => "tsc",
        Metric::Cycles => "cycles",
        Metric::Instructions => "instructions",
        Metric::ItlbMissesPer1000 => "itlb",
        Metric::DtlbMissesPer1000 => "dtlb",
        Metric::L1iMissesPer1000 => "l1i",
        Metric::BranchMissesPer1000 => "branch",
    }
}

/// `name` as part of a file name: a workload may be called anything.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let parts: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let joined: String = parts.join("-").chars().take(60).collect();
    if joined.is_empty() { "workload".to_owned() } else { joined }
}

/// `stem`, numbered if another chart of the run has it.
fn unused(stem: String, taken: &[Drawing]) -> String {
    let free = |candidate: &String| taken.iter().all(|drawing| drawing.stem != *candidate);
    let numbered = (2..).map(|i| format!("{stem}-{i}"));
    std::iter::once(stem.clone()).chain(numbered).find(free).unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runfile::manifest::MachineKind;

    #[test]
    fn a_run_gives_each_chart_once_and_the_same_bytes_every_time() {
        let run = fixture::run(8);
        let first = draw(&Summary::of(&run)).expect("charts");
        let stems: Vec<&str> = first.iter().map(|drawing| drawing.stem.as_str()).collect();
        let expected = [
            "effects",
            "scaling-cycles-chain",
            "scaling-itlb-chain",
            "ecdf-cycles-chain",
            "percentile-cycles-chain",
            "layout-chain",
        ];
        assert_eq!(stems, expected);
        assert!(first == draw(&Summary::of(&run)).expect("charts again"));
        let other = fixture::run(9);
        assert!(first != draw(&Summary::of(&other)).expect("charts of other data"));
    }

    #[test]
    fn pictures_are_well_formed_and_written_as_they_are() {
        let run = fixture::run(8);
        let directory = tempfile::tempdir().expect("directory");
        for drawing in draw(&Summary::of(&run)).expect("charts") {
            let path = directory.path().join(&drawing.stem).with_extension("png");
            std::fs::write(&path, &drawing.png).expect("write");
            let decoder = png::Decoder::new(std::fs::File::open(&path).expect("open"));
            let reader = decoder.read_info().expect("a PNG");
            assert_eq!(reader.info().width, canvas::WIDTH);
            assert!(drawing.svg.starts_with("<svg") && drawing.svg.trim_end().ends_with("</svg>"));
            assert!(!drawing.svg.contains("NaN") && !drawing.svg.contains("inf\""));
        }
    }

    #[test]
    fn only_simulated_runs_are_stamped() {
        let mut run = fixture::run(3);
        let stamped = |run: &crate::runfile::Run| {
            let drawings = draw(&Summary::of(run)).expect("charts");
            drawings.iter().map(|drawing| drawing.svg.contains("SIMULATED")).collect::<Vec<_>>()
        };
        assert_eq!(stamped(&run), [true; 6]);
        run.manifest.machine = MachineKind::Kernel;
        assert_eq!(stamped(&run), [false; 6]);
    }

    #[test]
    fn without_a_pmu_the_cost_is_wall_time() {
        let run = fixture::run(3);
        let mut summary = Summary::of(&run);
        summary.metrics = vec![Metric::WallNs];
        summary.cases.iter_mut().for_each(|case| case.metrics.retain(|&metric, _| metric == Metric::WallNs));
        let stems: Vec<String> = draw(&summary).expect("charts").into_iter().map(|drawing| drawing.stem).collect();
        assert_eq!(stems, ["effects", "scaling-ns-chain", "ecdf-ns-chain", "percentile-ns-chain", "layout-chain"]);
    }

    #[test]
    fn a_run_without_trials_draws_nothing() {
        let mut run = fixture::run(1);
        run.trials.clear();
        let summary = Summary {
            run: &run,
            metrics: Vec::new(),
            cases: Vec::new(),
            effects: Vec::new(),
            caveats: Vec::new(),
            echoes: Vec::new(),
            modelled: Vec::new(),
            calibrated: None,
        };
        assert_eq!(draw(&summary).expect("no charts"), []);
    }

    #[test]
    fn workload_names_become_harmless_file_names() {
        for (name, expected) in
            [("chain", "chain"), ("../My Load", "my-load"), ("äö", "workload"), ("a//b", "a-b"), ("", "workload")]
        {
            assert_eq!(slug(name), expected);
        }
    }
}
