//! The result tables: both arms beside each other for each number of programs, one table a metric.

use super::super::beside;
use super::super::echo;
use super::super::summary::{CaseSummary, Summary};
use super::super::table::{grid, headed, pages};
use super::super::units::{self, ABSENT, figure, percent, ratio};
use super::super::wording::{ascii, wrap};
use super::{Block, COLUMNS};
use crate::compare::{Effect, pairing};
use crate::samples::Metric;
use crate::workload::{Case, PackMode};

/// Results, one grid for each workload and metric, then the pages.
pub(super) fn blocks(summary: &Summary<'_>) -> Vec<Block> {
    let mut workloads: Vec<&str> = summary.cases.iter().map(|case| case.case.workload.as_str()).collect();
    workloads.dedup();
    let mut lines = Vec::new();
    for workload in &workloads {
        for metric in summary.shown() {
            lines.extend(results(summary, workload, metric));
        }
    }
    lines.extend(echo::sentence(&summary.echoes).into_iter().flat_map(|text| wrap(&text, COLUMNS, "  ", "  ")));
    let verified = workloads.iter().flat_map(|workload| footprints(summary, workload)).collect();
    let beside = workloads.iter().flat_map(|workload| beside_it(summary, workload)).collect();
    vec![
        Block { title: "Results (per execution, less is better, empty program subtracted)", lines },
        Block { title: "Pages (median trial, range if it varies)", lines: verified },
        Block { title: "Cost beside (median trial)", lines: beside },
    ]
}

fn results(summary: &Summary<'_>, workload: &str, metric: Metric) -> Vec<String> {
    let mut points: Vec<&Case> =
        summary.cases.iter().map(|case| &case.case).filter(|case| case.workload == workload).collect();
    points.dedup_by_key(|case| case.programs);
    let arms = [PackMode::Off, PackMode::OffTwoMeg, PackMode::Placebo];
    let has =
        |arm: &PackMode| summary.cases.iter().any(|case| case.case.workload == workload && case.case.pack == *arm);
    let more = arms.into_iter().filter(|arm| *arm == PackMode::Off || has(arm));
    let grids = more.flat_map(|arm| {
        let rows = points.iter().map(|point| result_row(summary, point, arm, metric)).collect();
        let ratio = format!("{arm}/on");
        let header = ["programs", "pack on", pairing::arm_name(arm), &ratio, "95 % interval", "n", "p"];
        grid(&header, rows, &[], COLUMNS)
    });
    indented(&format!("{workload}, {}", headed(summary, metric)), grids.collect())
}

fn result_row(summary: &Summary<'_>, point: &Case, candidate: PackMode, metric: Metric) -> Vec<String> {
    let arm = |pack| {
        let case = Case { pack, ..point.clone() };
        let spread = summary.cases.iter().find(|found| found.case == case).and_then(|case| case.metrics.get(&metric));
        spread.map_or((ABSENT.to_owned(), 0), |spread| (figure(spread.median), spread.trials))
    };
    let ((on, on_trials), (off, off_trials)) = (arm(PackMode::On), arm(candidate));
    let effect = effect(summary, point, candidate, metric);
    vec![
        point.programs.to_string(),
        on,
        off,
        units::or_absent(effect.and_then(|effect| effect.ratio), ratio),
        units::interval(effect.and_then(|effect| effect.interval), ratio),
        format!("{on_trials}+{off_trials}"),
        units::or_absent(effect.and_then(|effect| effect.p), units::p_value),
    ]
}

fn effect<'a>(summary: &'a Summary<'_>, point: &Case, arm: PackMode, metric: Metric) -> Option<&'a Effect> {
    let mut of_arm = summary.effects.iter().filter(|effect| effect.candidate.name == pairing::arm_name(arm));
    of_arm.find(|effect| {
        effect.case.workload == point.workload && effect.case.programs == point.programs && effect.metric == metric
    })
}

fn footprints(summary: &Summary<'_>, workload: &str) -> Vec<String> {
    let row = |case: &CaseSummary| {
        vec![
            case.case.programs.to_string(),
            case.case.pack.to_string(),
            pages(&case.footprint, case.pages),
            case.footprint.ideal_pages_4k.to_string(),
            case.footprint.regions_2m.to_string(),
            percent(case.footprint.own_pages_percent()),
            case.footprint.line_offsets.to_string(),
        ]
    };
    let rows = summary.cases.iter().filter(|case| case.case.workload == workload).map(row).collect();
    let header = ["programs", "pack", "4K pages", "ideal", "2M regions", "own pages %", "offsets"];
    indented(workload, grid(&header, rows, &[1], COLUMNS))
}

fn beside_it(summary: &Summary<'_>, workload: &str) -> Vec<String> {
    let of_workload = |(case, _): &(&CaseSummary, Vec<String>)| case.case.workload == workload;
    let row = |(case, cells): (&CaseSummary, Vec<String>)| {
        [vec![case.case.programs.to_string(), case.case.pack.to_string()], cells].concat()
    };
    let rows: Vec<Vec<String>> = beside::rows(summary).into_iter().filter(of_workload).map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let header: Vec<&str> = ["n", "pack"].into_iter().chain(beside::HEADER).collect();
    let mut lines = indented(workload, grid(&header, rows, &[1], COLUMNS));
    lines.extend(wrap(beside::LEGEND, COLUMNS, "  ", "  "));
    lines
}

fn indented(heading: &str, lines: Vec<String>) -> Vec<String> {
    let mut indented = wrap(&ascii(heading), COLUMNS, "  ", "    ");
    indented.extend(lines.into_iter().map(|line| format!("  {line}")));
    indented
}
